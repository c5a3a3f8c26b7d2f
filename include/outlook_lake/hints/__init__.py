"""Hints: "look at item X of mailbox M, not before T". One row an item, coalesced.

land (segments → hints) → due (which mailboxes, under lease) → answer (in apply's transaction)
"""
