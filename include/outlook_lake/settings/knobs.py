"""Every knob: typed, with its unit, its default and what it is for.

Secrets are never settings: they are Airflow connections, or `OUTLOOK_LAKE_CONN_<ID>` where
Airflow is absent. Where a value comes from is in `layers`.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

from outlook_lake.errors import SettingsError
from outlook_lake.settings.contradictions import contradictions
from outlook_lake.settings.layers import PREFIX, read_layers

__all__ = [
    "GraphSettings",
    "InventorySettings",
    "Knob",
    "LakeSettings",
    "LooksSettings",
    "PrivacySettings",
    "ReceiverSettings",
    "Settings",
    "StreamSettings",
    "SubscriptionSettings",
    "TenantSettings",
]

PLACES = ("home", "database_url", "sources")
"""Fields that are no groups of settings."""

T = TypeVar("T")


def knob(
    default: T,
    unit: str,
    doc: str,
    *,
    low: float | None = None,
    high: float | None = None,
    one_of: tuple[str, ...] = (),
) -> T:
    """A settings field with its unit, what it is for, and the values it may have."""
    return field(
        default=default,
        metadata={"unit": unit, "doc": doc, "low": low, "high": high, "one_of": one_of},
    )


@dataclass(frozen=True, slots=True)
class ReceiverSettings:
    """The webhook: `receiver.*`."""

    host: str = knob("127.0.0.1", "", "address the stand-alone receiver listens on")
    port: int = knob(8081, "port", "port of the stand-alone receiver", low=1)
    body_limit_bytes: int = knob(1 << 20, "bytes", "a larger POST is answered 413", low=1024)
    pending_limit_bytes: int = knob(
        32 << 20, "bytes", "waiting for the disk beyond this is answered 503", low=1024
    )
    segment_age_s: float = knob(0.5, "s machine", "an open segment is closed at this age", low=0.01)
    segment_bytes: int = knob(8 << 20, "bytes", "an open segment is closed at this size", low=1024)
    ship_to: str = knob(
        "", "URL", "closed segments go to this object store (abfs://…); empty = a shared disk"
    )
    open_segment: str = knob(
        "disk",
        "",
        "what a receiver writes to: its disk, or an append blob in ship_to",
        one_of=("disk", "append_blob"),
    )
    notification_url: str = knob(
        "", "URL", "public https address Graph posts to; the demo sets its own"
    )


@dataclass(frozen=True, slots=True)
class StreamSettings:
    """Landing, looking, applying: `stream.*`."""

    lanes: int = knob(1, "tasks", "parallel drain tasks; 1 on SQLite", low=1)
    coalesce_s: float = knob(1.0, "s machine", "a hint waits this long for company", low=0)
    idle_s: float = knob(60.0, "s machine", "a run ends when nothing was due for so long", low=0)
    run_s: float = knob(600.0, "s machine", "a run ends after this time", low=1)
    lease_s: float = knob(30.0, "s machine", "a mailbox lease lasts this long", low=1)
    renew_s: float = knob(10.0, "s machine", "a lane renews its leases this often", low=0.1)
    apply_rows: int = knob(5000, "rows", "most observations in one transaction", low=1)
    concurrency: int = knob(8, "requests", "requests in flight over all mailboxes", low=1)
    beat_s: float = knob(0.4, "s machine", "a turn of the loop takes at least this long", low=0)
    absence_s: float = knob(10.0, "s machine", "a 404 is asked again after this", low=0)
    lag_s: float = knob(30.0, "s machine", "an update that shows nothing is asked again", low=0)


@dataclass(frozen=True, slots=True)
class GraphSettings:
    """The Graph client: `graph.*`."""

    timeout_s: float = knob(20.0, "s machine", "a request times out after this", low=1)
    page_size: int = knob(200, "rows", "page size asked of delta and lists", low=1)
    retry_wait_s: float = knob(
        2.0, "s machine", "a longer Retry-After becomes a later due time", low=0
    )


@dataclass(frozen=True, slots=True)
class LooksSettings:
    """Rounds: `looks.*`."""

    full_every_h: int = knob(
        6,
        "h Graph",
        "all folders are read this often, and so is the watermark moved; "
        "Inbox, Sent, Deleted and Drafts are read every hour",
        low=1,
    )
    message_trace: str = knob(
        "off",
        "",
        "`on`: the witness asks the tenant's message trace for unrecorded arrivals; `off`",
        one_of=("on", "off"),
    )
    dumpster: str = knob(
        "off", "", "`on`: rounds read Recoverable Items as well; `off`", one_of=("on", "off")
    )


@dataclass(frozen=True, slots=True)
class TenantSettings:
    """Who is connected: `tenants.*`."""

    connections: str = knob("outlook_default", "ids", "connections, one a tenant, by comma")


@dataclass(frozen=True, slots=True)
class SubscriptionSettings:
    """Subscriptions: `subscriptions.*`."""

    lifetime_minutes: int = knob(
        9900, "min Graph", "asked of Graph; its limit is 10,080", low=45, high=10_070
    )
    writes_per_s: float = knob(
        20.0, "1/s machine", "creations and renewals; Graph allows 25", low=1, high=25
    )
    rich_lifetime_minutes: int = knob(
        1380, "min Graph", "the same with resource data; Graph's limit is 1,440", low=45, high=1_430
    )
    lists_per_s: float = knob(
        1.0, "1/s machine", "pages of the list of subscriptions; Graph allows 1.25", low=0.01
    )
    checks_per_run: int = knob(
        900, "subscriptions", "quiet ones asked for by id in a run, longest unproven first", low=0
    )
    silent_changes: int = knob(
        2, "changes", "so many that no notification told make a subscription silent", low=1
    )
    paused_retry_s: float = knob(
        900.0, "s machine", "a paused tenant is asked again after this, doubling to 4 h", low=0
    )


@dataclass(frozen=True, slots=True)
class LakeSettings:
    """Event log and lake: `lake.*`."""

    over_s: int = knob(120, "s Graph", "an hour is over this long after its end", low=0)
    orphan_s: int = knob(3600, "s machine", "a batch file without a manifest row is kept", low=60)
    log_keep_h: int = knob(48, "h Graph", "sealed batches of the event log are kept", low=1)
    threads: int = knob(2, "threads", "DuckDB threads", low=1)
    memory_mb: int = knob(1024, "MiB", "DuckDB memory", low=128)


@dataclass(frozen=True, slots=True)
class InventorySettings:
    """What is remembered of items: `inventory.*`."""

    horizon_days: int = knob(0, "days", "forget items untouched for so long; 0 = never", low=0)


@dataclass(frozen=True, slots=True)
class PrivacySettings:
    """What events may say about people: `privacy.*`."""

    recipients: str = knob(
        "hashed", "", "`hashed`: keyed hashes of recipients; `off`: none", one_of=("hashed", "off")
    )
    categories: str = knob(
        "clear", "", "`clear`: as the user wrote them; `hashed`", one_of=("clear", "hashed")
    )


@dataclass(frozen=True, slots=True)
class Settings:
    """All settings of one home."""

    home: Path = field(
        default=Path(".lake-home"),
        metadata={"unit": "folder", "doc": "everything the product keeps", "low": None},
    )
    database_url: str = knob("", "URL", "state database; default: SQLite under the home")
    receiver: ReceiverSettings = field(default_factory=ReceiverSettings)
    stream: StreamSettings = field(default_factory=StreamSettings)
    tenants: TenantSettings = field(default_factory=TenantSettings)
    graph: GraphSettings = field(default_factory=GraphSettings)
    looks: LooksSettings = field(default_factory=LooksSettings)
    subscriptions: SubscriptionSettings = field(default_factory=SubscriptionSettings)
    lake: LakeSettings = field(default_factory=LakeSettings)
    inventory: InventorySettings = field(default_factory=InventorySettings)
    privacy: PrivacySettings = field(default_factory=PrivacySettings)

    sources: Mapping[str, str] = field(default_factory=dict, repr=False, compare=False)
    """By name, where a value that is no default came from."""

    @classmethod
    def load(cls, environ: Mapping[str, str] | None = None) -> Settings:
        """Read all layers (`layers`); raises SettingsError with every fault of every layer."""
        env = os.environ if environ is None else environ
        home = Path(env.get(PREFIX + "HOME", ".lake-home")).absolute()
        groups = {
            entry.name: get_type_hints(cls)[entry.name]
            for entry in dataclasses.fields(cls)
            if entry.name not in PLACES
        }
        told = read_layers(home, env, groups)
        made: dict[str, Any] = {
            name: kind(**told.values.get(name, {})) for name, kind in groups.items()
        }
        url = env.get(PREFIX + "DATABASE_URL", "")
        settings = cls(home=home, database_url=url, sources=told.sources, **made)
        faults = told.faults or contradictions(settings)
        if faults:
            raise SettingsError(faults)
        return settings

    def knobs(self) -> Iterator[Knob]:
        """Every value with its name, unit, meaning and where it came from."""
        yield Knob(
            "home", str(self.home), "folder", "everything the product keeps", self._source("home")
        )
        yield Knob(
            "database_url",
            self.state_url.split("@")[-1],
            "URL",
            "state database",
            self._source("database_url"),
        )
        for group in dataclasses.fields(self):
            value = getattr(self, group.name)
            if not dataclasses.is_dataclass(value):
                continue
            for entry in dataclasses.fields(value):
                yield Knob(
                    f"{group.name}.{entry.name}",
                    str(getattr(value, entry.name)),
                    entry.metadata["unit"],
                    entry.metadata["doc"],
                    self._source(f"{group.name}.{entry.name}"),
                )

    def _source(self, name: str) -> str:
        if name in PLACES and PREFIX + name.upper() in os.environ:
            return f"environment ({PREFIX}{name.upper()})"
        return self.sources.get(name, "default")

    @property
    def state_url(self) -> str:
        """SQLAlchemy URL of the state database."""
        return self.database_url or f"sqlite:///{self.home / 'state' / 'outlook.db'}"

    @property
    def state_file(self) -> Path | None:
        """The file of the state database, when it is SQLite under the home."""
        return None if self.database_url else self.home / "state" / "outlook.db"

    @property
    def keys(self) -> Path:
        """Keys of this home (0700)."""
        return self.home / "state" / "keys"

    @property
    def staging(self) -> Path:
        """Where receivers put segments."""
        return self.home / "staging"

    @property
    def log(self) -> Path:
        """The event log: committed batches."""
        return self.home / "log"

    @property
    def lake_root(self) -> Path:
        """Sealed hours."""
        return self.home / "lake"

    @property
    def directory_root(self) -> Path:
        """Addresses and names, in a place of their own (0700)."""
        return self.home / "directory"


@dataclass(frozen=True, slots=True)
class Knob:
    """One setting as `outlook-lake settings` shows it."""

    name: str
    value: str
    unit: str
    doc: str
    source: str
