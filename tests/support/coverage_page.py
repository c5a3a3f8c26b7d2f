"""A state database as a large tenant leaves it after an outage, made in a second or two."""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import text

from outlook_lake.clock import HOUR, hour_name, to_us
from outlook_lake.lake.maturity import mature
from outlook_lake.state.database import Database

MAILBOXES = text("""
    WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i + 1 < :count)
    INSERT INTO mailbox (tenant_id, aad_id, tuid, shard, state, reason, watch_from, primed_at,
                         complete_through, unannounced, pause_until, round_wanted_at)
    SELECT :tenant, :tenant || '-' || i, :tenant || '-tuid-' || i, i % 256,
           CASE WHEN i % 211 = 7 THEN 'parked' ELSE 'live' END,
           CASE WHEN i % 211 = 7 THEN CASE WHEN i % 2 THEN 'MailboxNotEnabledForRESTAPI'
                ELSE 'no licence' END END,
           :since, :since, :proven - (i % 4) * 3600000000 * (i % 97 = 1), i % 997 = 5,
           CASE WHEN i % 5003 = 9 THEN :now + 40000000 ELSE 0 END,
           CASE WHEN i % 331 = 3 THEN :now END
    FROM n
""")
GAPS = text("""
    INSERT INTO gap (mailbox_id, from_at, to_at, cause, loss, state, opened_at, note)
    SELECT mailbox_id, :since, :until, :cause, :loss, :state, :since, 'made'
    FROM mailbox WHERE tenant_id = :tenant AND mailbox_id % :every = 0
""")
TENANT = text(
    "INSERT INTO tenant (tenant_id, domain_id, conn_id, cloud, internal_domains, state, watch_from)"
    " VALUES (:tenant, :tenant, 'outlook', 'global', '[]', :state, :since)"
)
HOUR_ROW = text(
    "INSERT INTO hour (domain_id, hour, maturity, rows, dirty_seq, sealed_seq) "
    "VALUES (:tenant, :hour, 'open', :rows, 1, 1)"
)


def add_outage(
    db: Database, tenant: str, mailboxes: int, now: datetime, *, days: int = 12, hurt: bool = True
) -> None:
    """A tenant watched for some days; `hurt`: no receiver was there for nine hours yesterday."""
    since, proven = now - timedelta(days=days), now - timedelta(hours=3)
    outage = now - timedelta(hours=30)
    values = {"tenant": tenant, "since": to_us(since), "now": to_us(now)}
    with db.write() as connection:
        connection.execute(TENANT, {**values, "state": "live"})
        connection.execute(MAILBOXES, {**values, "count": mailboxes, "proven": to_us(proven)})
        gaps = [
            ("silent", "timing", "open", 1999, now - timedelta(hours=6)),
            ("missed", "created_and_purged", "partial", 401, now - timedelta(days=3)),
        ]
        if hurt:
            gaps.append(("receiver_down", "changes", "open", 1, outage))
        for cause, loss, state, every, at in gaps:
            until = at + timedelta(hours=9 if cause == "receiver_down" else 2)
            span = {"since": to_us(at), "until": to_us(until), "tenant": tenant}
            more = {"cause": cause, "loss": loss, "state": state, "every": every}
            connection.execute(GAPS, span | more)
        hours = int((now - since) / HOUR)
        connection.execute(
            HOUR_ROW,
            [
                {"tenant": tenant, "hour": hour_name(since + n * HOUR), "rows": 40 * mailboxes + n}
                for n in range(hours)
            ],
        )
    mature(db)
