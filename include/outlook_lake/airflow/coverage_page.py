"""The Coverage page in Airflow's UI: which hours are proven, what is missing, and its repair.

    GET …/          the page: one file, nothing from outside
    GET …/data      its figures (`from`, `to`: hours `YYYY-MM-DDTHH`, the end not included)

Whoever may read the DAG `outlook_catch_up` may see it; everybody else is refused. The figures
name tenants and counts, never a person. Starting a reprocess is a call of Airflow's own API, with
the rights of who clicks.
"""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime
from importlib.resources import files
from typing import Annotated, Any

from airflow.api_fastapi.core_api.security import requires_access_dag
from airflow.models.dagrun import DagRun
from airflow.utils.session import create_session
from fastapi import Depends, FastAPI, HTTPException, Query
from fastapi.responses import HTMLResponse, JSONResponse
from sqlalchemy import select

from outlook_lake.clock import hour_name
from outlook_lake.coverage.page import overview
from outlook_lake.errors import OutlookLakeError, UsageError
from outlook_lake.settings import Settings
from outlook_lake.state.database import Database

__all__ = ["create_coverage"]

WATCHED = ("outlook_catch_up", "outlook_export")
LATEST = 5
GUARDS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; "
    "script-src 'unsafe-inline'; connect-src 'self'; frame-ancestors 'self'; base-uri 'none'; "
    "form-action 'none'",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
}


History = Callable[[datetime, datetime], dict[str, Any]]
"""What Airflow ran for the hours of a window."""


def history_of(since: datetime, until: datetime) -> dict[str, Any]:
    """From Airflow's own database: `runs` by hour, and the latest `reprocesses`."""
    return {"runs": _runs(since, until), "reprocesses": _reprocesses()}


def create_coverage(settings: Settings, history: History = history_of) -> FastAPI:
    """The sub-application Airflow's API server mounts; it opens nothing before it is asked."""
    figures = _Figures(settings, history)
    parts = files("outlook_lake.airflow")
    script = parts.joinpath("coverage.js").read_text(encoding="utf-8")
    page = parts.joinpath("coverage.html").read_text(encoding="utf-8")
    page = page.replace("//coverage.js", script)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        figures.close()

    app = FastAPI(
        title="Outlook coverage",
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        dependencies=[Depends(requires_access_dag("GET", param_dag_id="outlook_catch_up"))],
    )

    @app.get("/")
    def whole_page() -> HTMLResponse:
        return HTMLResponse(page, headers=GUARDS)

    @app.get("/data")
    def data(
        from_hour: Annotated[str | None, Query(alias="from")] = None,
        to_hour: Annotated[str | None, Query(alias="to")] = None,
    ) -> JSONResponse:
        try:
            told = figures.of(from_hour, to_hour)
        except UsageError as error:
            raise HTTPException(400, str(error)) from error
        except OutlookLakeError as error:
            raise HTTPException(503, str(error)) from error
        return JSONResponse(_plain(told), headers=GUARDS)

    return app


class _Figures:
    """Reads the state database and Airflow's; both are opened when first asked."""

    def __init__(self, settings: Settings, history: History) -> None:
        self._settings = settings
        self._history = history
        self._db: Database | None = None
        self._lock = threading.Lock()

    def of(self, from_hour: str | None, to_hour: str | None) -> dict[str, Any]:
        """Everything the page shows."""
        told = overview(self._database(), from_hour, to_hour)
        return {**told, **self._history(told["from"], told["to"])}

    def close(self) -> None:
        """Give the database back."""
        with self._lock:
            if self._db is not None:
                self._db.close()
                self._db = None

    def _database(self) -> Database:
        with self._lock:
            if self._db is None:
                self._db = Database.open(self._settings)
            return self._db


def _runs(since: datetime, until: datetime) -> dict[str, dict[str, dict[str, str]]]:
    """The newest run of each hourly DAG, by its hour: `run_id` and `state`."""
    begins = DagRun.data_interval_start
    query = (
        select(DagRun.dag_id, begins, DagRun.run_id, DagRun.state)
        .where(DagRun.dag_id.in_(WATCHED), begins >= since, begins < until)
        .order_by(DagRun.id)
    )
    found: dict[str, dict[str, dict[str, str]]] = {}
    with create_session() as session:
        for dag_id, begin, run_id, state in session.execute(query):
            run = {"run_id": run_id, "state": str(state)}
            found.setdefault(hour_name(begin), {})[dag_id] = run
    return found


def _reprocesses() -> list[dict[str, Any]]:
    """The latest runs of `outlook_reprocess`, with the window they were asked for."""
    query = (
        select(DagRun.run_id, DagRun.state, DagRun.queued_at, DagRun.conf)
        .where(DagRun.dag_id == "outlook_reprocess")
        .order_by(DagRun.id.desc())
        .limit(LATEST)
    )
    with create_session() as session:
        rows = session.execute(query).all()
    wished = ("tenant", "first_hour", "end_hour")
    return [
        {
            "run_id": run_id,
            "state": str(state),
            "at": at,
            **{name: (conf or {}).get(name) for name in wished},
        }
        for run_id, state, at, conf in rows
    ]


def _plain(value: Any) -> Any:
    """For JSON: moments as text."""
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, dict):
        return {name: _plain(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_plain(one) for one in value]
    return value
