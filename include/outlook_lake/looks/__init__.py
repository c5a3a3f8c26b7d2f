"""Looks: reads of Graph that show an item's state or absence. Their rows go to apply.

items    what hints point at, twenty in a batch
folders  the tree, and which folder is which
pages    one page of a folder's delta
waiting  which mailboxes wait for a full round that somebody wants
wanted   those rounds, beside the drain
walk     every folder of a mailbox, page by page: priming, and rounds (the only proof)
"""
