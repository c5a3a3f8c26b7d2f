"""What Airflow's API server serves beside its own: the receiver and the Coverage page; and notes.

Graph posts to `/outlook/notifications`.
That route is open, as Graph cannot log in; what proves a notification is its `clientState`.
`/outlook-coverage/` is for logged-in users, and an entry of the navigation leads there.

The deferrable `NotificationSensor` needs no registration in Airflow 3; any DAG imports it:
`from outlook_lake.airflow import NotificationSensor`.
"""

from __future__ import annotations

from functools import cache
from typing import Any, ClassVar

from airflow.plugins_manager import AirflowPlugin

from outlook_lake.airflow import RunNotes

COVERAGE = "/outlook-coverage"
"""Not below the receiver's `/outlook`, which the world may reach."""


@cache
def _served() -> list[dict[str, Any]]:
    from outlook_lake.airflow.coverage_page import create_coverage
    from outlook_lake.receiver.mount import create_fastapi
    from outlook_lake.settings import Settings

    settings = Settings.load()
    return [
        {
            "app": create_coverage(settings),
            "url_prefix": COVERAGE,
            "name": "outlook_coverage",
        },
        {"app": create_fastapi(settings), "url_prefix": "/outlook", "name": "outlook"},
    ]


class _MadeWhenServed:
    """Every component loads plugins, but only the API server asks for their applications."""

    def __get__(self, instance: object, owner: type | None = None) -> list[dict[str, Any]]:
        return _served()


class OutlookPlugin(AirflowPlugin):
    """The receiver at `/outlook`, the Coverage page, and the notes."""

    name = "outlook"
    fastapi_apps = _MadeWhenServed()  # type: ignore[assignment]
    external_views: ClassVar[list[Any]] = [
        {
            "name": "Coverage",
            # Without a leading slash: Airflow may be served below a path.
            "href": f"{COVERAGE.strip('/')}/",
            "destination": "nav",
            "url_route": "outlook_coverage",
            "nav_top_level": True,
        }
    ]
    listeners: ClassVar[list[Any]] = [RunNotes()]
