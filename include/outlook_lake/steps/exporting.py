"""`export`: every dirty hour that is over becomes one atomic file."""

from __future__ import annotations

from typing import Any

from outlook_lake.application import Application
from outlook_lake.coverage import settle
from outlook_lake.errors import StorageError, UsageError
from outlook_lake.lake.export import export as export_hours
from outlook_lake.steps.telling import told_of_export
from outlook_lake.tenants.registry import tenants

__all__ = ["export"]


def export(
    app: Application, hour: str | None = None, tenant: str | None = None, *, only: bool = False
) -> dict[str, Any]:
    """Seal the hours that are dirty and over; `hour` is the run's own interval.

    With `only` exactly this hour is written again, dirty or not, and no other. An hour
    that is not over is named in `not_over` and left alone. Raises UsageError for a
    tenant nobody knows, StorageError when an hour could not be written, after all others were.
    """
    known = sorted(one.domain_id for one in tenants(app.db))
    if tenant is not None and tenant not in known:
        raise UsageError(f"no tenant {tenant!r} here; known: {', '.join(known) or 'none'}")
    report = export_hours(
        app.db, app.settings, hour=hour, tenant=tenant, only=only, run_id=app.run_id
    )
    settled = settle(app.db, app.settings)
    if report.failed:
        raise StorageError(
            f"{len(report.failed)} hour(s) stay unsealed, {len(report.sealed)} were written: "
            + "; ".join(f"{one.domain_id} {one.hour}: {one.reason}" for one in report.failed[:5])
        )
    return {
        **({"note": told_of_export(hour, report)} if only and hour else {}),
        "sealed": [f"{one.domain_id}/{one.hour}" for one in report.sealed],
        "changed": [f"{one.domain_id}/{one.hour}" for one in report.sealed if one.changed],
        "rows": sum(one.rows for one in report.sealed),
        "repeats": sum(one.repeats for one in report.sealed),
        "not_over": report.not_over,
        "busy": report.busy,
        "waiting": report.waiting,
        "gaps": {"filled": settled.filled, "partial": settled.partial, "opened": settled.opened},
    }
