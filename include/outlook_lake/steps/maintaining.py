"""`maintain`: take away what is no longer needed, and compare the lake with the manifest."""

from __future__ import annotations

from typing import Any

from outlook_lake.application import Application
from outlook_lake.lake.maintain import maintain as tidy

__all__ = ["maintain"]


def maintain(app: Application) -> dict[str, Any]:
    """Landed segments, orphans, sealed batches past their keep; returns counts."""
    return dict(tidy(app.db, app.settings))
