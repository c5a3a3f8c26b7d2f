"""The state database: every table, its key and what its columns mean.

Times are integer microseconds UTC. `*_at` is Graph time unless the comment says *machine*.
Keys of items, addresses and rules are 16-byte hashes; ids of Graph stand only where a
request needs them.
"""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    Table,
    Text,
    text,
)

metadata = MetaData()

Big = BigInteger().with_variant(Integer(), "sqlite")
"""64-bit integers; on SQLite the type must be INTEGER to be a row id."""


def _big(name: str, *, default: int | None = None, key: bool = False) -> Column[int]:
    return Column(
        name,
        Big,
        primary_key=key,
        autoincrement=False,
        nullable=default is None and not key,
        server_default=None if default is None else str(default),
    )


def _text(name: str, *, key: bool = False, null: bool = True) -> Column[str]:
    return Column(name, Text, primary_key=key, nullable=null and not key)


meta = Table(
    "meta",
    metadata,
    _text("name", key=True),  # epoch, clock_offset_s, ...
    _text("value", null=False),
)

tenant = Table(
    "tenant",
    metadata,
    _text("tenant_id", key=True),  # Entra's id of the organisation
    Column("domain_id", Text, nullable=False, unique=True),  # its name in events and paths
    _text("conn_id", null=False),
    _text("cloud", null=False),
    Column("internal_domains", JSON, nullable=False),
    _text("state", null=False),  # live paused leaving gone
    _text("reason"),
    _big("paused_at"),  # machine: since when consent or credentials are lost
    _big("retry_at"),  # machine: a paused tenant is asked again then
    _big("watch_from"),  # earliest of its mailboxes: from here on every hour has a file
    _text("users_link"),  # delta link of the users in scope
    _big("users_at"),  # last complete list of users
    _text("scope_hash"),  # of the scope the link belongs to: another scope lists anew
    _text("credential"),  # which one is in use: `current`, `next`; never the secret
    _big("minutes_limit"),  # longest subscription this tenant's Graph grants, learnt from refusals
)

mailbox = Table(
    "mailbox",
    metadata,
    Column("mailbox_id", Big, primary_key=True, autoincrement=True),
    _text("tenant_id", null=False),
    _text("aad_id", null=False),  # Entra object id, the only user id that enters a URL
    Column("tuid", Text, nullable=False, unique=True),
    Column("shard", SmallInteger, nullable=False),  # 0-255, fixed
    _text("time_zone"),
    Column("working_hours", JSON),
    _text("purpose"),
    _text("peer_group"),
    _text("state", null=False),  # new subscribing priming live parked leaving erased
    _text("reason"),
    _big("recheck_at"),  # machine
    _big("watch_from"),
    _big("primed_at"),
    _big("complete_through"),  # every hour that ends before is proven
    _big("pending_through"),  # becomes complete_through when the round's own hints are answered
    _text("tree_link"),
    _big("tree_at"),
    _big("rules_at"),  # last snapshot of the rules
    _big("settings_at"),  # machine: when mailboxSettings were last read
    _big("full_at"),  # start of the last round that read every folder
    _big("round_wanted_at"),  # a full round is wanted that starts after this; null = none
    _text("round_reason"),
    _big("witnessed_at"),  # Graph's counts were last compared with the inventory, and agreed
    _big("doubted_at"),  # they differ since then, by the same numbers; null = they agreed
    Column("unannounced", Integer, nullable=False, server_default="0"),
    _big("unannounced_since"),  # earliest change a round found that no notification had told
    Column("epoch", Integer, nullable=False, server_default="0"),
    _big("seq", default=0),
    _big("pause_until", default=0),  # machine: Graph asked this mailbox to wait
    _text("lease_by"),
    _big("lease_until", default=0),  # machine
    _big("fence", default=0),
    Index("mailbox_aad", "tenant_id", "aad_id", unique=True),
    Index("mailbox_state", "state", "shard"),
    Index(
        "mailbox_wanted",
        "round_wanted_at",
        sqlite_where=text("round_wanted_at IS NOT NULL"),
        postgresql_where=text("round_wanted_at IS NOT NULL"),
    ),
)

directory = Table(
    "directory",
    metadata,
    _text("tenant_id", key=True),
    Column("address_key", LargeBinary(16), primary_key=True),
    _big("mailbox_id"),
    _text("address", null=False),
    _text("name"),
    _text("domain", null=False),
    _big("first_seen"),
    _big("last_seen"),
    sqlite_with_rowid=False,
)

subscription = Table(
    "subscription",
    metadata,
    _text("nonce", key=True),
    _text("subscription_id"),  # null while `creating`
    _big("mailbox_id"),
    _text("mode", null=False),  # basic, rich
    _big("expires_at"),
    _big("renew_at"),
    _text("key_id", null=False),
    _text("cert_id"),
    _text("state", null=False),  # creating active lost tombstone
    _big("created_at"),
    _big("renewed_at"),  # Graph's last good answer to a POST or PATCH
    _big("proven_at"),  # the same, or to a GET: it existed then
    _big("last_notified_at"),  # by a change; a lifecycle notification proves no delivery
    _big("reauthorize_at"),  # Graph asked for it then; null = it did not
    _text("notification_url"),  # where changes go; PATCH moves it
    _text("lifecycle_url"),  # where lifecycle notifications go; fixed when it is made
    _text("last_error"),
    Index("subscription_mailbox", "mailbox_id", "state"),
)

folder = Table(
    "folder",
    metadata,
    _big("mailbox_id", key=True),
    Column("folder_no", Integer, primary_key=True, autoincrement=False),
    _text("folder_id", null=False),
    Column("parent_no", Integer),
    _text("kind", null=False),  # inbox sent deleted drafts outbox junk archive dumpster other
    Column("name_key", LargeBinary(16)),
    Column("hidden", Boolean, nullable=False, server_default="0"),
    _text("link"),  # next or delta link: where the next page of this folder starts
    _text("link_state", null=False),  # none priming live lost unavailable
    _big("round_started_at"),
    _big("poll_at"),  # machine
    Column("witness_count", Integer),  # items Graph counted more than the inventory; null = none
    _big("gone_at"),
    Index("folder_id", "mailbox_id", "folder_id", unique=True),
    sqlite_with_rowid=False,
)

item = Table(
    "item",
    metadata,
    Column("shard", SmallInteger, primary_key=True, autoincrement=False),
    _big("mailbox_id", key=True),
    Column("item_key", LargeBinary(16), primary_key=True),  # BLAKE2b-128 of the immutable id
    Column("folder_no", Integer, nullable=False),
    _big("created_at"),
    _big("received_at"),
    _big("modified_at"),
    _big("seen_at", default=0),
    Column("bits", Integer, nullable=False),  # events/bits.sql
    _big("mutable_hash"),  # high half: categories; low half: flag dates
    Column("from_domain_no", Integer),
    Column("recipients", Integer, nullable=False),
    _big("imid_hash"),
    Column("origin", SmallInteger, nullable=False),  # 0 baseline, 1 live, 2 touched
    _big("gone_at"),
    sqlite_with_rowid=False,
)

domain = Table(
    "domain",
    metadata,
    Column("domain_no", Integer, primary_key=True, autoincrement=True),
    Column("name", Text, nullable=False, unique=True),
)

rule = Table(
    "rule",
    metadata,
    _big("mailbox_id", key=True),
    Column("rule_key", LargeBinary(16), primary_key=True),
    Column("canonical_hash", LargeBinary(16), nullable=False),
    Column("summary", JSON, nullable=False),
    Column("opaque", Boolean, nullable=False),
    Column("enabled", Boolean, nullable=False),
    _big("seen_at", default=0),
)

hint = Table(
    "hint",
    metadata,
    _big("mailbox_id", key=True),
    Column("item_key", LargeBinary(16), primary_key=True),
    _text("item_id", null=False),
    Column("kinds", Integer, nullable=False),  # hints/kinds.py
    _big("first_at", default=0),
    _big("last_at", default=0),
    _big("earliest_at"),  # the change cannot be older: a receiver vouches; null = unknown
    Column("count", Integer, nullable=False),
    Column("attempts", Integer, nullable=False, server_default="0"),
    _big("due_at", default=0),  # machine
    _big("absent_at"),  # machine: when a look was first answered 404
    _text("reason"),
    Index("hint_due", "due_at"),
    sqlite_with_rowid=False,
)

rich = Table(
    "rich",  # ciphertext of rich notifications, beside the hints they came with
    metadata,
    _big("mailbox_id", key=True),
    Column("item_key", LargeBinary(16), primary_key=True),
    Column("digest", LargeBinary(16), primary_key=True),  # of ciphertext and key
    _big("received_at", default=0),
    Column("copies", Integer, nullable=False),  # how often it came
    _text("token"),  # validation token of its tenant, unchecked
    _text("data", null=False),
    _text("signature", null=False),
    _text("key", null=False),
    _text("certificate", null=False),
    _text("thumbprint", null=False),
    _big("kept_at", default=0),  # machine
)

segment = Table(
    "segment",
    metadata,
    _text("path", key=True),  # file name
    _text("receiver", null=False),
    Column("rows", Integer, nullable=False),
    Column("rejected", Integer, nullable=False),
    _big("first_at"),
    _big("last_at"),
    _big("landed_at", default=0),
)

batch = Table(
    "batch",
    metadata,
    Column("seq", Big, primary_key=True, autoincrement=True),
    Column("path", Text, nullable=False, unique=True),
    _text("lane", null=False),
    Column("rows", Integer, nullable=False),
    _big("bytes", default=0),
    _text("digest", null=False),
    _text("run_id", null=False),
    _big("committed_at", default=0),
    _big("committed_machine_at", default=0),  # machine
)

batch_hour = Table(
    "batch_hour",
    metadata,
    _big("seq", key=True),
    _text("domain_id", key=True),
    _text("hour", key=True),
    Column("rows", Integer, nullable=False),
    Index("batch_hour_hour", "domain_id", "hour", "seq"),
    sqlite_with_rowid=False,
)

hour = Table(
    "hour",
    metadata,
    _text("domain_id", key=True),
    _text("hour", key=True),
    _big("dirty_seq", default=0),  # highest batch that touched it
    _big("sealed_seq", default=-1),  # highest batch its file contains; -1 = no file yet
    _big("rows", default=0),
    _big("bytes", default=0),
    _text("digest"),
    _big("sealed_at"),
    _text("maturity", null=False),  # open settled final
    _big("mailboxes", default=0),
    _big("complete", default=0),
    _big("gaps", default=0),
    _text("lease_by"),
    _big("lease_until", default=0),  # machine
    _big("fence", default=0),
    sqlite_with_rowid=False,
)

gap = Table(
    "gap",
    metadata,
    Column("gap_id", Big, primary_key=True, autoincrement=True),
    _big("mailbox_id"),
    _big("from_at"),
    _big("to_at"),
    _text("cause", null=False),
    _text("loss", null=False),
    _text("state", null=False),  # open filled partial
    _big("opened_at", default=0),
    _big("closed_at"),
    _text("closed_by"),
    _text("note"),
    Index("gap_mailbox", "mailbox_id", "state"),
    Index(
        "gap_open",
        "cause",
        "mailbox_id",
        sqlite_where=text("state = 'open'"),
        postgresql_where=text("state = 'open'"),
    ),
)

outcome = Table(
    "outcome",
    metadata,
    _big("mailbox_id", key=True),
    Column("item_key", LargeBinary(16), primary_key=True),
    _text("kind", key=True),  # gone_unseen, refused, ...
    _big("at", default=0),
    _big("first_hint_at"),
    Column("count", Integer, nullable=False, server_default="1"),
)

quarantine = Table(
    "quarantine",
    metadata,
    _big("minute", key=True),
    _text("stage", key=True),
    _text("reason", key=True),
    _big("count", default=0),
    _big("bytes", default=0),
    Column("samples", JSON, nullable=False),  # sha256 and size only, at most 20
)

lease = Table(
    "lease",
    metadata,
    _text("name", key=True),  # landing, live: work that one process at a time does
    _text("lease_by"),
    _big("lease_until", default=0),  # machine
    _big("fence", default=0),
)
