"""Values that are each possible and together are not."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from outlook_lake.settings.knobs import Settings

__all__ = ["contradictions"]


def contradictions(settings: Settings) -> list[str]:
    """Every pair that cannot be, in words that say what to change."""
    stream, faults = settings.stream, []
    if stream.lanes > 1 and settings.state_url.startswith("sqlite"):
        faults.append(
            f"stream.lanes={stream.lanes} needs PostgreSQL (OUTLOOK_LAKE_DATABASE_URL): SQLite "
            "has one writer, and one lane keeps it busy"
        )
    if stream.renew_s >= stream.lease_s:
        faults.append(
            f"stream.renew_s={stream.renew_s:g} is not under stream.lease_s={stream.lease_s:g}: "
            "leases would end before they are renewed"
        )
    if stream.coalesce_s > stream.run_s:
        faults.append(
            f"stream.coalesce_s={stream.coalesce_s:g} is over stream.run_s={stream.run_s:g}: no "
            "run would last until a hint is due"
        )
    if settings.graph.retry_wait_s >= stream.lease_s:
        faults.append(
            f"graph.retry_wait_s={settings.graph.retry_wait_s:g} is not under "
            f"stream.lease_s={stream.lease_s:g}: nobody sleeps under a lease for so long"
        )
    return faults
