"""Registers the receiver in Airflow's API server: Graph posts to `/outlook/notifications`.

The route is open, as Graph cannot log in; what proves a notification is its `clientState`.
"""

from __future__ import annotations

from typing import Any, ClassVar

from airflow.plugins_manager import AirflowPlugin

from outlook_lake.receiver.mount import create_fastapi


class OutlookPlugin(AirflowPlugin):
    """The receiver, mounted at `/outlook`."""

    name = "outlook"
    fastapi_apps: ClassVar[list[dict[str, Any]]] = [
        {"app": create_fastapi(), "url_prefix": "/outlook", "name": "outlook"}
    ]
