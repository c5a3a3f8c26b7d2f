"""Serving tenants by hand: plans shown, troubles told, and nothing secret or personal printed."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from outlook_lake.cli import app
from tests.support.stage import DOMAIN, Stage, stage

pytestmark = pytest.mark.slow
CONNECTION = "OUTLOOK_LAKE_CONN_OUTLOOK_DEFAULT"
CANARY = "CANARY~secret-8Q.never_seen"


@pytest.fixture
def made(tmp_path: Path) -> Iterator[Stage]:
    with stage(tmp_path, mailboxes=2, history=2) as standing:
        yield standing


def call(*arguments: str) -> Result:
    return CliRunner().invoke(app, arguments)


def connect(monkeypatch: pytest.MonkeyPatch, name: str = CONNECTION, **changes: Any) -> None:
    """The connection under another name or with other values."""
    value = json.loads(os.environ[CONNECTION])
    value["extra"] |= changes.pop("extra", {})
    monkeypatch.setenv(name, json.dumps(value | changes))


def watched(made: Stage) -> int:
    return len(made.call("GET", "subscriptions")["subscriptions"])


def test_a_plan_is_printed_to_be_read_and_carried_out_only_when_asked(made: Stage):
    planned = call("run", "subscriptions", "--plan-only")

    assert planned.exit_code == 0
    assert "create       missing               2" in planned.stdout
    assert "Graph refuses subscriptions on inbox rules" in planned.stdout
    assert watched(made) == 0

    done = call("run", "subscriptions", "--reconcile", "--json")
    assert done.exit_code == 0
    assert (json.loads(done.stdout)["created"], json.loads(done.stdout)["listed"]) == (2, 2)
    assert watched(made) == 2

    refused = call("run", "export", "--plan-only")
    assert refused.exit_code == 2
    assert "export does not take --plan-only" in refused.stderr


def test_one_tenants_trouble_is_told_and_ends_with_exit_code_1(
    made: Stage, monkeypatch: pytest.MonkeyPatch
):
    connect(monkeypatch, "OUTLOOK_LAKE_CONN_OTHER", extra={"domain_id": "../other"})
    monkeypatch.setenv("OUTLOOK_LAKE_TENANTS_CONNECTIONS", "outlook_default,other,third")

    done = call("run", "subscriptions")

    assert done.exit_code == 1
    assert "outlook-lake: other: domain_id '../other' cannot name a tenant" in done.stderr
    assert "outlook-lake: third: no connection 'third' in the environment" in done.stderr
    assert watched(made) == 2


def test_no_secret_no_token_and_no_address_leaves_any_command(
    made: Stage, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    caplog.set_level(logging.INFO)
    good = os.environ[CONNECTION]
    secret, addresses = json.loads(good)["password"], [made.address(0), made.address(1)]
    told: list[str] = []

    def say(*arguments: str) -> Result:
        result = call(*arguments)
        told.append(result.stdout + result.stderr)
        assert result.exception is None or isinstance(result.exception, SystemExit)
        return result

    say("run", "subscriptions")
    say("run", "prime")
    for changes in (
        {"password": CANARY},
        {"extra": {"next_client_secret": CANARY}},
        {"password": "", "extra": {"certificate_data": CANARY}},
        {"extra": {"next_certificate_data": CANARY}},
        {"extra": {"scope": {"include": [addresses[0]], "exclude": [addresses[0]]}}},
        {"extra": {"scope": {"include": [addresses[1]]}, "tenant_id": "nowhere.example"}},
        {"extra": {"verify": "/no/ca.pem"}},
    ):
        with monkeypatch.context() as with_changes:
            connect(with_changes, **changes)
            for arguments in (
                ("run", "subscriptions", "--tenant", DOMAIN),
                ("run", "subscriptions", "--json"),
                ("run", "stream", "--until-idle"),
                ("run", "catch-up", "--json"),
                ("doctor",),
                ("doctor", "--json"),
                ("status", "--json"),
                ("settings",),
            ):
                say(*arguments)
    monkeypatch.setenv(CONNECTION, "{" + CANARY)
    assert say("run", "subscriptions").exit_code != 0
    say("doctor", "--json")
    monkeypatch.setenv(CONNECTION, good)
    say("run", "subscriptions", "--tenant", DOMAIN)
    for arguments in (
        ("erase", addresses[0]),
        ("erase", addresses[0], "--yes"),
        ("erase", addresses[0], "--yes", "--json"),
        ("erase", addresses[0][:-1] + "%"),
        ("keys", "rotate", "--json"),
        ("keys", "retire", CANARY[:6]),
        ("disconnect", DOMAIN, "--reason", "contract ended", "--dry-run"),
    ):
        say(*arguments)

    said = "\n".join([*told, caplog.text])
    for private in (secret, CANARY, "eyJ", *addresses):
        assert private not in said, private
    for file in made.home.rglob("*"):
        if "simulator" in file.parts or "directory" in file.parts or not file.is_file():
            continue
        content = file.read_bytes()
        assert CANARY.encode() not in content, file
        assert secret.encode() not in content, file
        if file.parent.name == "receipts":
            assert addresses[0].encode() not in content
