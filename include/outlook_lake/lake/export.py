"""Export: every dirty hour that is over becomes one file, whoever asks and however often.

`hour(dirty_seq, sealed_seq)` is the truth about what to do; nothing else is remembered. Only who
names one hour has that one written again, dirty or not.

    lease the hour ─▶ read its parts ─▶ stage the file ─▶ renew the lease ─▶ replace
                   ─▶ commit sealed_seq WHERE the fence holds ─▶ log/live.parquet
"""

from __future__ import annotations

import dataclasses
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, text

from outlook_lake.clock import (
    HOUR,
    from_us,
    graph_now,
    graph_us,
    hour_name,
    hour_start,
    machine_us,
    parse_hour,
)
from outlook_lake.errors import LeaseLostError, OutlookLakeError
from outlook_lake.events.manifest import write_live
from outlook_lake.lake import hours_table, layout
from outlook_lake.lake.engine import connect
from outlook_lake.lake.hour_writer import HourSource, Part, StagedHour, stage_hour
from outlook_lake.settings import Settings
from outlook_lake.state.database import Database

__all__ = ["ExportReport", "FailedHour", "SealedHour", "export", "is_over"]

LEASE_S = 60
"""Seconds of machine time one exporter may work on an hour before another may take it."""
_WAIT_S = 0.5

_DIRTY = text(
    "SELECT domain_id, hour FROM hour WHERE dirty_seq > sealed_seq AND sealed_seq < :known "
    "ORDER BY hour, domain_id"
)
_NEWEST = text("SELECT coalesce(max(dirty_seq), 0) FROM hour")
_TAKE = text(
    "UPDATE hour SET lease_by = :owner, lease_until = :until, fence = fence + 1 "
    "WHERE domain_id = :domain_id AND hour = :hour AND lease_until < :now "
    "AND (dirty_seq > sealed_seq OR :rewrite) RETURNING fence, dirty_seq, sealed_seq, digest"
)
_NAMED = text("SELECT domain_id, hour FROM hour WHERE hour = :hour ORDER BY domain_id")
_RENEW = text(
    "UPDATE hour SET lease_until = :until "
    "WHERE domain_id = :domain_id AND hour = :hour AND fence = :fence AND lease_until > :now"
)
_GIVE_BACK = text(
    "UPDATE hour SET lease_until = 0 "
    "WHERE domain_id = :domain_id AND hour = :hour AND fence = :fence"
)
_SEAL = text(
    "UPDATE hour SET sealed_seq = :bound, rows = :rows, bytes = :bytes, digest = :digest, "
    "sealed_at = :sealed_at, lease_until = 0 "
    "WHERE domain_id = :domain_id AND hour = :hour AND fence = :fence"
)
_UNSEAL = text("UPDATE hour SET sealed_seq = -1 WHERE domain_id = :domain_id AND hour = :hour")
_PARTS = text(
    "SELECT part.seq, batch.path, part.rows FROM batch_hour AS part "
    "LEFT JOIN batch ON batch.seq = part.seq "
    "WHERE part.domain_id = :domain_id AND part.hour = :hour AND part.seq <= :bound "
    "ORDER BY part.seq"
)
_EXPECTED = text(
    "SELECT domain_id, watch_from FROM tenant "
    "WHERE watch_from IS NOT NULL AND state <> 'gone' ORDER BY domain_id"
)
_KNOWN = text("SELECT hour FROM hour WHERE domain_id = :domain_id")
_ADD_HOUR = text(
    "INSERT INTO hour (domain_id, hour, maturity) VALUES (:domain_id, :hour, 'open') "
    "ON CONFLICT (domain_id, hour) DO NOTHING"
)


@dataclass(frozen=True, slots=True)
class SealedHour:
    """An hour whose file was replaced; `repeats` rows had an event id that was there already.

    `changed`: there was no file before, or one of other rows.
    """

    domain_id: str
    hour: str
    rows: int
    bytes: int
    digest: str
    repeats: int
    seconds: float
    changed: bool


@dataclass(frozen=True, slots=True)
class FailedHour:
    """An hour that stays as it was, with the reason in words."""

    domain_id: str
    hour: str
    reason: str


@dataclass(slots=True)
class ExportReport:
    """What one export did. `not_over`: asked for by name, but still running: not an error."""

    sealed: list[SealedHour] = field(default_factory=list)
    not_over: list[str] = field(default_factory=list)
    busy: list[str] = field(default_factory=list)
    failed: list[FailedHour] = field(default_factory=list)
    waiting: int = 0

    def as_dict(self) -> dict[str, Any]:
        """For JSON; no addresses."""
        return dataclasses.asdict(self)


def export(
    db: Database,
    settings: Settings,
    *,
    hour: str | None = None,
    tenant: str | None = None,
    only: bool = False,
    run_id: str = "cli",
) -> ExportReport:
    """Seal every dirty hour that is over, whatever interval was asked for.

    `hour` (`YYYY-MM-DDTHH`) is the interval of the run: when it is not over yet the report
    says so. With `only` exactly this hour is written again, dirty or not, and no other; a tenant
    that was not watched then has no such hour. `tenant` is a domain_id and limits the work to it.
    One hour's trouble is reported in `failed` and does not stop the others. Returns when every
    hour that is over holds what was committed before this export began; what rounds commit
    meanwhile is the next one's, or an hour of a long repair would be written again and again.
    Hours in the hands of another exporter are waited for.
    """
    report = ExportReport()
    if hour is not None and not is_over(layout.check_hour(hour), settings):
        report.not_over.append(hour)
    _add_missing_hours(db, settings, tenant)
    owner = f"{run_id}/{uuid.uuid4()}"
    patience = time.monotonic() + LEASE_S + 5
    with db.read() as connection:
        known = int(connection.execute(_NEWEST).scalar_one())
    given_up: set[tuple[str, str]] = set()
    while True:
        if only and hour is not None:
            done = {(one.domain_id, one.hour) for one in report.sealed}
            wanted = [] if report.not_over else _named(db, hour, tenant)
            wanted = [place for place in wanted if place not in done]
        else:
            wanted = _dirty(db, settings, tenant, report, known)
        todo = [place for place in wanted if place not in given_up]
        if not todo:
            break
        sealed_before = len(report.sealed)
        busy = _export_all(db, settings, todo, owner, report, rewrite=only)
        given_up |= {(one.domain_id, one.hour) for one in report.failed}
        if not busy and len(report.sealed) == sealed_before:
            continue
        if busy and time.monotonic() > patience:
            report.busy = sorted(f"{domain_id} {name}" for domain_id, name in busy)
            break
        if busy:
            time.sleep(_WAIT_S)
    write_live(db, settings)
    hours_table.write(db, settings)
    return report


def is_over(name: str, settings: Settings) -> bool:
    """Whether the hour of this name ended long enough ago to be sealed; Graph time."""
    return graph_now() >= parse_hour(name) + HOUR + timedelta(seconds=settings.lake.over_s)


def _dirty(
    db: Database, settings: Settings, tenant: str | None, report: ExportReport, known: int
) -> list[tuple[str, str]]:
    """Hours that lack a batch up to `known`."""
    with db.read() as connection:
        rows = [(row.domain_id, row.hour) for row in connection.execute(_DIRTY, {"known": known})]
    mine = [row for row in rows if tenant is None or row[0] == tenant]
    over = [row for row in mine if is_over(row[1], settings)]
    report.waiting = len(mine) - len(over)
    return over


def _named(db: Database, hour: str, tenant: str | None) -> list[tuple[str, str]]:
    with db.read() as connection:
        rows = connection.execute(_NAMED, {"hour": hour}).all()
    return [(row.domain_id, row.hour) for row in rows if tenant in (None, row.domain_id)]


def _add_missing_hours(db: Database, settings: Settings, tenant: str | None) -> None:
    """From a tenant's first `watch_from` every hour that is over has a file, if need be empty."""
    with db.read() as connection:
        missing = [
            {"domain_id": row.domain_id, "hour": name}
            for row in connection.execute(_EXPECTED)
            if tenant is None or row.domain_id == tenant
            for name in _hours_since(from_us(row.watch_from), settings, connection, row.domain_id)
        ]
    if missing:
        with db.write() as connection:
            connection.execute(_ADD_HOUR, missing)


def _hours_since(
    start: datetime, settings: Settings, connection: Connection, domain_id: str
) -> list[str]:
    known = {row.hour for row in connection.execute(_KNOWN, {"domain_id": domain_id})}
    last = graph_now() - timedelta(seconds=settings.lake.over_s)
    moment = hour_start(start)
    names: list[str] = []
    while moment + HOUR <= last:
        if (name := hour_name(moment)) not in known:
            names.append(name)
        moment += HOUR
    return names


def _export_all(
    db: Database,
    settings: Settings,
    todo: list[tuple[str, str]],
    owner: str,
    report: ExportReport,
    *,
    rewrite: bool,
) -> list[tuple[str, str]]:
    """Work through the hours, two side by side where there are several; returns the busy ones."""
    workers = max(1, min(settings.lake.threads, len(todo)))

    def one(place: tuple[str, str]) -> SealedHour | FailedHour | None:
        try:
            return _export_hour(db, settings, place, owner, workers, rewrite)
        except LeaseLostError:
            return None
        except OutlookLakeError as error:
            return FailedHour(*place, reason=str(error))

    with ThreadPoolExecutor(workers, thread_name_prefix="export") as pool:
        done = list(pool.map(one, todo))
    report.sealed += [one for one in done if isinstance(one, SealedHour)]
    report.failed += [one for one in done if isinstance(one, FailedHour)]
    return [place for place, one in zip(todo, done, strict=True) if one is None]


def _export_hour(
    db: Database,
    settings: Settings,
    place: tuple[str, str],
    owner: str,
    workers: int,
    rewrite: bool,
) -> SealedHour | None:
    started = time.monotonic()
    key = {"domain_id": place[0], "hour": place[1]}
    lease = {"owner": owner, "until": _until(), "now": machine_us(), "rewrite": rewrite}
    with db.write() as connection:
        taken = connection.execute(_TAKE, {**key, **lease}).first()
        if taken is None:
            return None
        parts = tuple(
            Part(row.seq, row.path, row.rows)
            for row in connection.execute(_PARTS, {**key, "bound": taken.dirty_seq})
        )
    fenced = {**key, "fence": taken.fence}
    source = HourSource(*place, bound=taken.dirty_seq, parts=parts)
    try:
        with connect(
            settings, threads=max(1, settings.lake.threads // workers), share=workers
        ) as engine:
            staged = stage_hour(engine, settings, source)
    except BaseException:
        with db.write() as connection:
            connection.execute(_GIVE_BACK, fenced)
        raise
    _publish(db, staged, source, fenced)
    return SealedHour(
        *place,
        rows=staged.footer.rows,
        bytes=staged.bytes,
        digest=staged.footer.digest,
        repeats=staged.repeats,
        seconds=round(time.monotonic() - started, 3),
        changed=taken.sealed_seq < 0 or staged.footer.digest != taken.digest,
    )


def _publish(db: Database, staged: StagedHour, source: HourSource, fenced: dict[str, Any]) -> None:
    with db.write() as connection:
        held = connection.execute(_RENEW, {**fenced, "now": machine_us(), "until": _until()})
        if held.rowcount != 1:
            staged.discard()
            raise LeaseLostError(frozenset())
    staged.publish()
    with db.write() as connection:
        sealed = connection.execute(
            _SEAL,
            {
                **fenced,
                "bound": source.bound,
                "rows": staged.footer.rows,
                "bytes": staged.bytes,
                "digest": staged.footer.digest,
                "sealed_at": graph_us(),
            },
        )
        if sealed.rowcount != 1:
            # Somebody took the hour while we replaced its file: whose file lies there now is
            # unknown, so the hour is dirty again.
            connection.execute(_UNSEAL, fenced)
    if sealed.rowcount != 1:
        raise LeaseLostError(frozenset())


def _until() -> int:
    return machine_us() + LEASE_S * 1_000_000
