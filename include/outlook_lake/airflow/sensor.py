"""Wait until Graph has told something: a sensor any DAG can use.

    from outlook_lake.airflow import NotificationSensor

    NotificationSensor(task_id="mail_moves", tenant="contoso.com", timeout=600)

It takes no worker slot while it waits. What it waits for is a notification that came in, was
proven and landed: the whole way from Graph to the state database works then.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, NoReturn

from airflow.sdk import BaseSensorOperator
from airflow.triggers.base import BaseTrigger, TriggerEvent

from outlook_lake.airflow.window import Window
from outlook_lake.settings import Settings

if TYPE_CHECKING:
    from airflow.sdk import Context

__all__ = ["NotificationSensor", "NotificationTrigger"]

log = logging.getLogger(__name__)

NEWEST = """
    SELECT max(s.last_notified_at) AS at
    FROM subscription s
    JOIN mailbox m ON m.mailbox_id = s.mailbox_id
    JOIN tenant t ON t.tenant_id = m.tenant_id
    WHERE s.last_notified_at > :since
      AND (CAST(:tenant AS TEXT) IS NULL OR t.domain_id = :tenant)
      AND (CAST(:mailbox AS TEXT) IS NULL OR m.tuid = :mailbox)
"""


class NotificationTrigger(BaseTrigger):
    """Fires once: when a notification newer than `since_us` landed, or at `until`.

    `since_us`: microseconds, Graph time; `until`: Unix seconds, machine time; `poke_s`: seconds.
    """

    def __init__(
        self,
        since_us: int,
        until: float,
        tenant: str | None = None,
        mailbox: str | None = None,
        poke_s: float = 1.0,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.since_us = since_us
        self.until = until
        self.tenant = tenant
        self.mailbox = mailbox
        self.poke_s = poke_s

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Class path and arguments: enough to go on after a restart of the triggerer."""
        names = ("since_us", "until", "tenant", "mailbox", "poke_s")
        return (
            "outlook_lake.airflow.sensor.NotificationTrigger",
            {name: getattr(self, name) for name in names},
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Look, wait, look again; never blocks the triggerer's loop."""
        window = Window(Settings.load())
        try:
            while True:
                at = await asyncio.to_thread(self.newest, window)
                if at is not None or time.time() >= self.until:
                    yield TriggerEvent({"notified_at": at})  # type: ignore[no-untyped-call]
                    return
                await asyncio.sleep(self.poke_s)
        finally:
            window.close()

    def newest(self, window: Window) -> int | None:
        """When the newest notification came (microseconds, Graph time); None = none since."""
        asked = {"since": self.since_us, "tenant": self.tenant, "mailbox": self.mailbox}
        row = window.first(NEWEST, asked)
        return None if row is None or row.at is None else int(row.at)


class NotificationSensor(BaseSensorOperator):
    """Wait for the next notification of a tenant (its domain_id) or of one mailbox (its tuid).

    `since` (an instant, Graph time) is the beginning of the task when it is not given.
    `timeout` in seconds of machine time; with `soft_fail` the end of it is a green skip. The
    task returns `notified_at` (Graph time) and `waited_s` (machine time).
    """

    template_fields = ("tenant", "mailbox", "since")

    def __init__(
        self,
        *,
        tenant: str | None = None,
        mailbox: str | None = None,
        since: str | datetime | None = None,
        timeout: float = 600.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(timeout=timeout, **kwargs)
        self.tenant = tenant
        self.mailbox = mailbox
        self.since = since

    def execute(self, context: Context) -> None:
        """Hand the waiting to the triggerer."""
        from outlook_lake.airflow.variable import current_settings
        from outlook_lake.clock import graph_us, to_us

        current_settings()
        since = self.since or None
        if isinstance(since, str):
            since = datetime.fromisoformat(since)
        if since is not None and since.tzinfo is None:
            since = since.replace(tzinfo=UTC)
        began = time.time()
        trigger = NotificationTrigger(
            since_us=graph_us() if since is None else to_us(since),
            until=began + self.timeout,
            tenant=self.tenant or None,
            mailbox=self.mailbox or None,
        )
        # Airflow's own limit comes later: ours ends with words.
        self.defer(
            trigger=trigger,
            method_name="heard",
            kwargs={"began": began},
            timeout=timedelta(seconds=self.timeout + 120),
        )

    def heard(self, context: Context, event: dict[str, Any], began: float) -> dict[str, Any]:
        """What the trigger said: a notification, or that none came in time."""
        waited = round(time.time() - began, 1)
        at = event["notified_at"]
        if at is None:
            self._nothing(context, waited)
        told = f"{datetime.fromtimestamp(at / 1e6, UTC):%Y-%m-%d %H:%M:%S}"
        note = f"a notification came at {told} (Graph time), after {waited:.0f} s of waiting"
        context["ti"].xcom_push("note", note)
        log.info("%s", note)
        return {"notified_at": told.replace(" ", "T") + "Z", "waited_s": waited}

    def _nothing(self, context: Context, waited: float) -> NoReturn:
        from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

        about = self.mailbox or self.tenant or "any tenant"
        note = (
            f"no notification of {about} in {waited:.0f} s. We cannot send a mail ourselves (the "
            "application may only read, by design): send one to a mailbox in scope and run this "
            "again. Is outlook_stream un-paused? Notifications count once it has landed them"
        )
        context["ti"].xcom_push("note", note)
        log.warning("%s", note)
        raise (AirflowSkipException if self.soft_fail else AirflowFailException)(note)
