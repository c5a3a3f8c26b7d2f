"""Registers the receiver in Airflow's API server, and the notes that runs write about themselves.

Graph posts to `/outlook/notifications`.
The route is open, as Graph cannot log in; what proves a notification is its `clientState`.

The deferrable `NotificationSensor` needs no registration in Airflow 3; any DAG imports it:
`from outlook_lake.airflow import NotificationSensor`.
"""

from __future__ import annotations

from functools import cache
from typing import Any, ClassVar

from airflow.plugins_manager import AirflowPlugin

from outlook_lake.airflow import RunNotes


@cache
def _receiver() -> list[dict[str, Any]]:
    from outlook_lake.receiver.mount import create_fastapi
    from outlook_lake.settings import Settings

    return [{"app": create_fastapi(Settings.load()), "url_prefix": "/outlook", "name": "outlook"}]


class _MadeWhenServed:
    """Every component loads plugins, but only the API server asks for their applications."""

    def __get__(self, instance: object, owner: type | None = None) -> list[dict[str, Any]]:
        return _receiver()


class OutlookPlugin(AirflowPlugin):
    """The receiver, mounted at `/outlook`, and the notes."""

    name = "outlook"
    fastapi_apps = _MadeWhenServed()  # type: ignore[assignment]
    listeners: ClassVar[list[Any]] = [RunNotes()]
