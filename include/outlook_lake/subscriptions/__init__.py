"""Subscriptions: what should be watched, what is, and the steps between the two.

The one rule: the row of a subscription (with its nonce) is committed before Graph is asked,
because notifications can come before Graph's answer and a process can die after it.

    records ─▶ plan (pure) ─▶ carry_out ─▶ run ─▶ desk (paced requests) ─▶ answers │ endings
                              └▶ listing (daily)   what Graph tells meanwhile ─▶ signals
                                                   a tenant that refuses      ─▶ trouble
"""
