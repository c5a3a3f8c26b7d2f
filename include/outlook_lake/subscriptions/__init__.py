"""Subscriptions: what should be watched, what is, and the steps between the two.

The one rule: the row of a subscription (with its nonce) is committed before Graph is asked,
because notifications can come before Graph's answer and a process can die after it.

    plan (pure) → carry_out (one POST or PATCH per action, paced) → mailbox `priming`
"""
