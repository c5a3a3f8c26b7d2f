"""Manifest × digests × files: is everything there that should be, and nothing else?

hour row   ─▶ its file: footer, and the digest of the rows that really stand in it
batch row  ─▶ its file: size and digest of its bytes
lake files ─▶ an hour row
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import text

from outlook_lake.errors import ForeignFileError
from outlook_lake.events.log import file_digest
from outlook_lake.lake import layout
from outlook_lake.lake.digest import read_digest, read_footer
from outlook_lake.lake.export import export
from outlook_lake.settings import Settings
from outlook_lake.state.database import Database

__all__ = ["Finding", "VerifyReport", "verify"]

_SEALED = text(
    "SELECT domain_id, hour, rows, digest FROM hour WHERE sealed_seq >= 0 AND digest IS NOT NULL "
    "AND sealed_at >= :since ORDER BY domain_id, hour"
)
_KNOWN = text("SELECT domain_id, hour FROM hour")
_BATCHES = text("SELECT path, bytes, digest FROM batch WHERE committed_at >= :since ORDER BY seq")
_MARK_DIRTY = text("UPDATE hour SET sealed_seq = -1 WHERE domain_id = :domain_id AND hour = :hour")


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is not as the manifest says."""

    kind: str  # hour, batch, foreign
    where: str
    what: str


@dataclass(slots=True)
class VerifyReport:
    """What was compared and what was found."""

    hours: int = 0
    batches: int = 0
    findings: list[Finding] = field(default_factory=list)
    repaired: list[str] = field(default_factory=list)

    @property
    def is_whole(self) -> bool:
        """Nothing was found, or every hour found was written again."""
        return {finding.where for finding in self.findings} <= set(self.repaired)

    def as_dict(self) -> dict[str, Any]:
        """For JSON; no addresses."""
        return {**dataclasses.asdict(self), "is_whole": self.is_whole}


def verify(settings: Settings, *, since_us: int = 0, repair: bool = False) -> VerifyReport:
    """Compare the lake and the event log of this home with the manifest.

    `since_us` (Graph time) leaves out hours sealed and batches committed before. With `repair`
    hours that differ are exported again; hours that are being sealed meanwhile may be named.
    """
    db = Database.open(settings)
    try:
        report = VerifyReport()
        _check_hours(db, settings, since_us, report)
        _check_batches(db, settings, since_us, report)
        _check_foreign(db, settings, report)
        if repair:
            _repair(db, settings, report)
        return report
    finally:
        db.close()


def _check_hours(db: Database, settings: Settings, since_us: int, report: VerifyReport) -> None:
    with db.read() as connection:
        rows = connection.execute(_SEALED, {"since": since_us}).all()
    for row in rows:
        report.hours += 1
        path = layout.hour_file(settings, row.domain_id, row.hour)
        for what in _hour_faults(path, row.digest, row.rows):
            report.findings.append(Finding("hour", f"{row.domain_id}/{row.hour}", what))


def _hour_faults(path: Any, digest: str, rows: int) -> Iterator[str]:
    if not path.is_file():
        yield "its file is missing"
        return
    try:
        footer = read_footer(path)
        if (footer.digest, footer.rows) != (digest, rows):
            yield "its file is not the one that was sealed"
        elif read_digest(path) != digest:
            yield "the rows in its file are not those that were sealed"
    except ForeignFileError as error:
        yield str(error)


def _check_batches(db: Database, settings: Settings, since_us: int, report: VerifyReport) -> None:
    with db.read() as connection:
        rows = connection.execute(_BATCHES, {"since": since_us}).all()
    for row in rows:
        report.batches += 1
        path = settings.home / row.path
        if not path.is_file():
            report.findings.append(Finding("batch", row.path, "its file is missing"))
        elif path.stat().st_size != row.bytes or file_digest(path) != row.digest:
            report.findings.append(Finding("batch", row.path, "its file has changed"))


def _check_foreign(db: Database, settings: Settings, report: VerifyReport) -> None:
    files = set((settings.lake_root / "events").glob("*/*/*/*.parquet"))
    with db.read() as connection:
        known = {
            layout.hour_file(settings, row.domain_id, row.hour)
            for row in connection.execute(_KNOWN)
        }
    for path in sorted(files - known):
        where = path.relative_to(settings.home).as_posix()
        report.findings.append(Finding("foreign", where, "no row of the manifest names it"))


def _repair(db: Database, settings: Settings, report: VerifyReport) -> None:
    damaged = {finding.where for finding in report.findings if finding.kind == "hour"}
    if not damaged:
        return
    with db.write() as connection:
        for where in sorted(damaged):
            domain_id, _, hour = where.rpartition("/")
            connection.execute(_MARK_DIRTY, {"domain_id": domain_id, "hour": hour})
    done = export(db, settings, run_id="verify")
    report.repaired = sorted(
        f"{one.domain_id}/{one.hour}"
        for one in done.sealed
        if f"{one.domain_id}/{one.hour}" in damaged
    )
