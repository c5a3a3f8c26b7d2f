"""Forms people fill in when they trigger a DAG."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from airflow.sdk import Param

__all__ = ["disconnect_form", "one_tenant", "reprocess_form", "reprocess_wish"]


def one_tenant() -> Param:
    """The form field that limits a run to one tenant."""
    return Param(
        None,
        type=["null", "string"],
        title="Tenant",
        description="Its domain, for example contoso.com; empty = every tenant",
        section="Scope",
    )


def disconnect_form() -> dict[str, Param]:
    """Which tenant ends, what becomes of its data, and why."""
    section = "Disconnect"
    return {
        "tenant": Param(
            type="string",
            minLength=1,
            title="Tenant",
            description="Its domain, for example contoso.com",
            section=section,
        ),
        "data": Param(
            "keep",
            type="string",
            enum=["keep", "remove"],
            values_display={"keep": "Keep what is known", "remove": "Remove it for good"},
            title="Data",
            description="Sealed hours, event log, inventory and directory of this tenant",
            section=section,
        ),
        "reason": Param(
            type="string",
            minLength=3,
            title="Reason",
            description="Kept in the receipt; no names or addresses, please",
            section=section,
        ),
    }


def reprocess_form() -> dict[str, Param]:
    """Which hours of whom are proven again, how deep, and why."""
    window, whom = "Window", "Scope"
    return {
        "first_hour": Param(
            type="string",
            format="date-time",
            title="From",
            description="The first hour; minutes are cut off. Graph's hours are UTC",
            section=window,
        ),
        "end_hour": Param(
            type="string",
            format="date-time",
            title="To",
            description="Where the window ends: the hour this lies in still belongs to it, unless "
            "it is on the stroke",
            section=window,
        ),
        "tenant": Param(
            None,
            type=["null", "string"],
            title="Tenant",
            description="Its domain, for example contoso.com; empty = every tenant",
            section=whom,
        ),
        "mailboxes": Param(
            "all",
            type="string",
            enum=["all", "unproven", "parked", "list"],
            values_display={
                "all": "All",
                "unproven": "Those not proven for the window",
                "parked": "Parked ones: ask for them again",
                "list": "Those listed below",
            },
            title="Mailboxes",
            description="Whose changes",
            section=whom,
        ),
        "listed": Param(
            [],
            type="array",
            items={"type": "string"},
            title="Listed mailboxes",
            description="Their tuid, as in events and gaps, one a line; never an address",
            section=whom,
        ),
        "depth": Param(
            "rounds",
            type="string",
            enum=["rounds", "window"],
            values_display={
                "rounds": "Full rounds: read every folder, and prove the hours",
                "window": "Window looks: what came or changed then; a tenth of the cost, no proof",
            },
            title="Depth",
            description="How much is asked of Graph",
            section="Work",
        ),
        "reason": Param(
            type="string",
            minLength=3,
            title="Reason",
            description="Kept in the receipt; no names or addresses, please",
            section="Work",
        ),
    }


def reprocess_wish(params: dict[str, Any]) -> dict[str, Any]:
    """The filled-in form as arguments of the step `reprocess`: whole UTC hours, the end excluded.

    Raises AirflowFailException for a moment that is none.
    """
    listed = [str(one).strip() for one in params.get("listed") or [] if str(one).strip()]
    return {
        "from_hour": _hour(params["first_hour"]),
        "to_hour": _hour(params["end_hour"], upwards=True),
        "tenant": (params.get("tenant") or "").strip() or None,
        "mailboxes": listed if params["mailboxes"] == "list" else params["mailboxes"],
        "depth": params["depth"],
        "reason": params["reason"],
    }


def _hour(moment: str, *, upwards: bool = False) -> str:
    from airflow.sdk.exceptions import AirflowFailException

    from outlook_lake.clock import HOUR, hour_name, hour_start

    try:
        at = datetime.fromisoformat(moment)
    except ValueError:
        raise AirflowFailException(
            f"{moment!r:.40} is no moment; expected one such as 2026-11-24T09:00:00+00:00"
        ) from None
    at = at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
    start = hour_start(at)
    return hour_name(start + HOUR if upwards and at - start > timedelta(0) else start)
