"""Forms people fill in when they trigger a DAG."""

from __future__ import annotations

from airflow.sdk import Param

__all__ = ["disconnect_form", "one_tenant"]


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
