"""Who is in scope: tenants and their credentials, mailboxes, and the directory of addresses.

The one rule: addresses and names live in the directory only; everything else knows a mailbox
by its `tuid` and a correspondent by a keyed hash.
"""
