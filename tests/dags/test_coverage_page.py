"""The Coverage page: for those who may read the DAGs, quick with 100,000 mailboxes, no people."""

from __future__ import annotations

import time
from datetime import timedelta

import pytest
from starlette.testclient import TestClient

from outlook_lake.clock import graph_now, hour_name
from tests.support.coverage_page import add_outage

ROUTES = ("/", "/data", "/data?from=2026-11-24T00")


@pytest.fixture
def app(settings):
    from airflow.api_fastapi.app import create_auth_manager

    from outlook_lake.airflow.coverage_page import create_coverage

    create_auth_manager()
    return create_coverage(settings, history=lambda since, until: {"runs": {}, "reprocesses": []})


@pytest.fixture
def seen(app):
    """The page as somebody sees it who is logged in."""
    (guard,) = app.router.dependencies
    app.dependency_overrides[guard.dependency] = lambda: None
    with TestClient(app) as client:
        yield client


@pytest.mark.parametrize("route", ROUTES)
def test_nobody_sees_it_without_a_login(app, route, settings):
    with TestClient(app) as client:
        assert client.get(route).status_code == 401
        client.cookies.set("_token", "forged")
        assert client.get(route).status_code in (401, 403)
    assert settings.state_file is not None
    assert not settings.state_file.exists()


def test_every_route_asks_who_is_there(app):
    assert [route.path for route in app.routes] == ["/", "/data"]
    assert len(app.router.dependencies) == 1


def test_the_page_brings_everything_itself_and_may_load_nothing_else(seen):
    answer = seen.get("/")
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    for foreign in ("http://", "https://", "src=", "@import", "url(", "innerHTML"):
        assert foreign not in answer.text


def test_a_window_that_cannot_be_is_refused_in_words(seen):
    answer = seen.get("/data?from=2026-11-24T09&to=2026-11-24T08")
    assert answer.status_code == 400
    assert "holds no hour" in answer.json()["detail"]


def test_an_hour_tells_what_is_proven_and_what_may_be_missing(seen, db):
    now = graph_now()
    add_outage(db, "contoso.example", 400, now)

    told = seen.get("/data").json()

    cells = {cell["hour"]: cell for cell in told["cells"]["contoso.example"]}
    assert len(cells) == 48
    assert cells[hour_name(now - timedelta(hours=28))]["open_gaps"] == 400
    assert 0 < cells[hour_name(now - timedelta(hours=5))]["complete"] <= 400
    assert {gap["cause"] for gap in told["gaps"]} == {"receiver_down"}
    assert sum(one["mailboxes"] for one in told["parked"]) == told["tenants"][0]["parked"] > 0
    assert (told["runs"], told["reprocesses"]) == ({}, [])


@pytest.mark.slow
def test_it_comes_for_a_hundred_thousand_mailboxes_and_says_how_long_it_took(seen, db, capsys):
    now = graph_now()
    add_outage(db, "contoso.example", 80_000, now)
    add_outage(db, "fabrikam.example", 20_000, now, hurt=False)
    seen.get("/data")
    took = []
    for hours in (48, 14 * 24):
        began = time.perf_counter()
        answer = seen.get(f"/data?from={hour_name(now - timedelta(hours=hours))}")
        took.append(time.perf_counter() - began)
        assert answer.status_code == 200
    with capsys.disabled():
        print(f"\nCoverage, 100,000 mailboxes: 48 h {took[0]:.2f} s, 14 days {took[1]:.2f} s")
