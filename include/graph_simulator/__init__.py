"""A faithful, stateful Microsoft Graph with a clock one can move.

It stands on the other side of the wire: it imports nothing of the product it judges, and its
journal of what people did is the ground truth that the product's record is compared with.

    people's acts ─▶ world (mailboxes, folders, messages) ─▶ journal
                          │                    │
                     graph (/v1.0)         delivery (notifications)
"""
