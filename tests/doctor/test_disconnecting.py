"""A tenant is disconnected: subscriptions go, data is kept or goes, nobody else notices."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from sqlalchemy import func, select, update
from typer.testing import CliRunner

from outlook_lake.cli import app
from outlook_lake.lake import layout
from outlook_lake.lake.export import export
from outlook_lake.lake.verify import verify
from outlook_lake.lake.views import open_lake
from outlook_lake.settings import Settings
from outlook_lake.state import Database
from outlook_lake.state import tables as t
from outlook_lake.steps.removing import holdings, remove
from tests.support import lake
from tests.support.stage import DOMAIN, Stage, stage

# -- against the simulator ---------------------------------------------------------------------


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Stage]:
    """Two people's mailboxes, live, with one new mail that is not looked at yet."""
    with stage(tmp_path, mailboxes=2, history=3) as made:
        made.run("subscriptions")
        made.run("prime", until_idle=True)
        made.act(0, "receive")
        made.wait_delivered()
        yield made


def call(*arguments: str) -> Any:
    result = CliRunner().invoke(app, [*arguments, "--json"])
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def states(made: Stage) -> dict[str, Any]:
    with made.app() as opened, opened.db.read() as connection:
        return {
            "tenant": connection.execute(select(t.tenant.c.state)).scalar_one(),
            "mailboxes": set(connection.scalars(select(t.mailbox.c.state))),
            "items": connection.execute(select(func.count()).select_from(t.item)).scalar_one(),
            "people": connection.execute(
                select(func.count()).select_from(t.directory)
            ).scalar_one(),
        }


@pytest.mark.slow
def test_disconnecting_keeps_the_data_and_is_not_undone_by_the_next_run(watched: Stage):
    before = call("disconnect", DOMAIN, "--reason", "contract ended", "--dry-run")
    assert before["subscriptions"] == 2
    assert states(watched)["tenant"] == "live"

    done = watched.run("disconnect", tenant=DOMAIN, reason="contract ended", stragglers_s=0.3)

    assert watched.call("GET", "subscriptions")["subscriptions"] == []
    assert done["subscriptions_removed"] == 2
    assert "1 events" in done["drained"]  # what was told before the end is an event
    after = states(watched)
    assert (after["tenant"], after["mailboxes"]) == ("gone", {"leaving"})
    assert after["items"] > 0
    receipt = Path(done["receipt"])
    assert receipt.stat().st_mode & 0o777 == 0o600
    assert json.loads(receipt.read_text())["reason"] == "contract ended"
    assert "@" not in receipt.read_text()

    # The connection is still listed, and somebody joins: nothing is served any more.
    again = watched.run("subscriptions")
    assert again["note"] == f"{DOMAIN}: disconnected, not served though still listed"
    assert watched.call("GET", "subscriptions")["subscriptions"] == []
    assert states(watched) == after


@pytest.mark.slow
def test_consent_that_was_revoked_already_is_named_and_harmless(watched: Stage):
    watched.act(0, "withdraw_consent")

    done = call("disconnect", DOMAIN, "--reason", "left us", "--remove-data")

    assert states(watched) == {"tenant": "gone", "mailboxes": set(), "items": 0, "people": 0}
    assert "no longer lets us in" in done["subscriptions_left"]
    assert "within 7 days" in done["note"]


@pytest.mark.slow
def test_an_unknown_tenant_or_no_reason_is_wrong_use(watched: Stage):
    result = CliRunner().invoke(app, ["disconnect", "nobody.example", "--reason", "because"])
    assert (result.exit_code, f"known: {DOMAIN}" in result.stderr) == (2, True)
    result = CliRunner().invoke(app, ["disconnect", DOMAIN, "--reason", " "])
    assert (result.exit_code, "say why" in result.stderr) == (2, True)
    assert states(watched)["tenant"] == "live"


# -- what is removed, and what of others stays -------------------------------------------------

OTHER = "other.example"


@pytest.fixture
def shared(tmp_path: Path) -> Iterator[tuple[Database, Settings]]:
    """Two tenants whose events lie in one batch, one hour sealed and one not."""
    settings = lake.home(tmp_path / "home")
    db = Database.open(settings)
    lake.add_tenant(db)
    with db.write() as connection:
        connection.execute(
            t.tenant.insert().values(
                tenant_id="other",
                domain_id=OTHER,
                conn_id="other",
                cloud="global",
                internal_domains=[],
                state="live",
            )
        )
    lake.commit(db, settings, [lake.event(1), {**lake.event(2), "domain_id": OTHER}])
    export(db, settings)
    lake.commit(db, settings, [lake.event(3)])
    lake.commit(db, settings, [lake.event(4), {**lake.event(5), "domain_id": OTHER}])
    yield db, settings
    db.close()


def rows_of(settings: Settings) -> list[tuple[str, int]]:
    with open_lake(settings) as connection:
        query = "SELECT domain_id, seq FROM events_live ORDER BY ALL"
        return [tuple(row) for row in connection.sql(query).fetchall()]


def test_what_is_removed_is_nowhere_and_what_others_have_in_the_same_file_stays(shared):
    db, settings = shared
    other = layout.hour_file(settings, OTHER, "2026-11-23T09")
    before = other.read_bytes()
    have = holdings(db, settings, lake.TENANT, lake.DOMAIN)
    assert (have["hours"], have["batches"], have["sealed_events"]) == (1, 3, 1)

    remove(db, settings, lake.TENANT, lake.DOMAIN)

    assert rows_of(settings) == [(OTHER, 2), (OTHER, 5)]
    assert not list(settings.lake_root.rglob(f"*domain_id={lake.DOMAIN}*"))
    for file in settings.log.rglob("*-*.parquet"):
        assert set(pq.read_table(file)["domain_id"].to_pylist()) == {OTHER}
    assert other.read_bytes() == before
    assert verify(settings).is_whole
    assert not any(holdings(db, settings, lake.TENANT, lake.DOMAIN).values())


def test_removing_twice_changes_nothing(shared):
    db, settings = shared
    remove(db, settings, lake.TENANT, lake.DOMAIN)
    known = rows_of(settings)
    assert not any(remove(db, settings, lake.TENANT, lake.DOMAIN).values())
    assert rows_of(settings) == known


def test_no_empty_hours_are_made_for_a_tenant_whose_data_is_gone(shared):
    db, settings = shared
    with db.write() as connection:
        watch = int(lake.NINE.timestamp()) * 1_000_000
        connection.execute(update(t.tenant).values(watch_from=watch))
    remove(db, settings, lake.TENANT, lake.DOMAIN)
    sealed = export(db, dataclasses.replace(settings)).sealed
    assert sealed
    assert {one.domain_id for one in sealed} == {OTHER}
