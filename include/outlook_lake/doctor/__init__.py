"""Test Connection: is everything there that is needed, and if not, what is to be done?

    here (settings, home, database) → login (connection, token, roles) → mailboxes (users, one
    mailbox read as we read all, clock) → notifications (address, handshake, a subscription made
    and removed) → flow (subscriptions, notifications that wait)

Checks stand in the order a newcomer needs them. A check whose ground is missing is *skipped*
with the name of what has to be mended first: one fault, one cure. Nothing a finding says holds
a secret, a token or an address.
"""

from __future__ import annotations

from outlook_lake.doctor.examination import examine
from outlook_lake.doctor.findings import Finding, Verdict, has_failed, summary

__all__ = ["Finding", "Verdict", "examine", "has_failed", "summary"]
