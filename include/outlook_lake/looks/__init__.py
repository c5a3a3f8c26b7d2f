"""Looks: reads of Graph that show an item's state or absence. Their rows go to apply.

items    what hints point at, twenty in a batch
tree     what Graph says of the folder tree
folders  which folder is which, and what changed in the tree
pages    one page of a folder's delta
waiting  which mailboxes wait for a full round that somebody wants
wanted   those rounds, beside the drain
walk     every folder of a mailbox, page by page: priming, and rounds (the only proof)
absences what a new listing or a gone folder leaves open
rules    inbox rules, by snapshot and keyed hash, redacted
windows  what came or changed in a span of the past (no proof)
running  many walks or window looks side by side
"""
