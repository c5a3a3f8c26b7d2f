"""A connection is read strictly: no secret goes to a host that is not Graph's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from outlook_lake.errors import UsageError
from outlook_lake.tenants.credentials import (
    connection_ids,
    from_environment,
    parse_connection,
)
from tests.support.certificates import certificate

TENANT = "3f0b1a9e-0000-4000-8000-000000000001"


def connection(**changes: Any) -> dict[str, Any]:
    extra = {"tenant_id": TENANT} | changes.pop("extra", {})
    return {"conn_type": "msgraph", "login": "id", "password": "CANARY", "extra": extra} | changes


def test_a_plain_connection_means_the_global_cloud():
    credentials = parse_connection("acme", connection()).credentials

    assert credentials.graph_url == "https://graph.microsoft.com"
    assert credentials.authority_url == "https://login.microsoftonline.com"
    assert credentials.cloud == "global"
    assert "CANARY" not in repr(credentials)


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"host": "127.0.0.1", "schema": "http", "port": 8090}, id="host and port"),
        pytest.param({"host": "127.0.0.1:8090", "schema": "http"}, id="port in the host"),
        pytest.param({"host": "http://127.0.0.1:8090"}, id="scheme in the host"),
        pytest.param({"extra": {"base_url": "http://127.0.0.1:8090/v1.0/"}}, id="base_url"),
    ],
)
def test_a_simulator_on_loopback_may_speak_plain_http(changes: dict[str, Any], tmp_path: Path):
    ca = tmp_path / "ca.pem"
    ca.write_text(certificate()[0])
    extra = {"authority": "127.0.0.1:8443", "verify": str(ca)} | changes.pop("extra", {})

    credentials = parse_connection("sim", connection(extra=extra, **changes)).credentials

    assert credentials.graph_url == "http://127.0.0.1:8090"
    assert credentials.authority_url == "https://127.0.0.1:8443"
    assert credentials.verify == str(ca)
    assert credentials.is_loopback


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        pytest.param({"host": "graph.evil.example"}, "not a Graph host", id="unknown host"),
        pytest.param(
            {"host": "graph.microsoft.com.evil.example"}, "not a Graph host", id="a look-alike"
        ),
        pytest.param({"schema": "http"}, "not a Graph host", id="plain http to Graph"),
        pytest.param({"host": "user@127.0.0.1"}, "not a URL", id="a user name in the host"),
        pytest.param(
            {"extra": {"authority": "evil.example"}}, "another cloud", id="unknown login host"
        ),
        pytest.param(
            {"host": "graph.microsoft.us", "extra": {"authority": "login.microsoftonline.com"}},
            "another cloud",
            id="login of another cloud",
        ),
        pytest.param(
            {"host": "127.0.0.1", "extra": {"authority": "http://127.0.0.1:1"}},
            "https",
            id="plain http for the secret",
        ),
        pytest.param({"host": "localhost"}, "authority is missing", id="no authority"),
        pytest.param({"extra": {"verify": False}}, "loopback only", id="no verification"),
        pytest.param({"extra": {"verify": "/no/ca.pem"}}, "no CA certificates", id="CA is missing"),
        pytest.param({"extra": {"verify": __file__}}, "no CA certificates", id="CA is no PEM"),
        pytest.param({"port": "many"}, "port is not a number", id="port"),
        pytest.param({"extra": {"tenant_id": "../x"}}, "tenant_id", id="no tenant"),
        pytest.param({"password": ""}, "client secret", id="no secret"),
        pytest.param({"conn_type": "http"}, "msgraph", id="another type"),
    ],
)
def test_a_connection_that_cannot_be_is_refused_in_words(changes: dict[str, Any], told: str):
    with pytest.raises(UsageError, match=told) as caught:
        parse_connection("acme", connection(**changes))

    assert "CANARY" not in str(caught.value)


def test_the_environment_is_read_in_either_name():
    text = json.dumps(connection(extra={"domain_id": "acme", "internal_domains": "A.example, b"}))

    for name in ("OUTLOOK_LAKE_CONN_ACME", "AIRFLOW_CONN_ACME"):
        assert from_environment("acme", {name: text}).tenant_id == TENANT
    assert connection_ids({"AIRFLOW_CONN_ACME": text, "AIRFLOW_CONN_DB": "x://y"}) == ["acme"]
    assert parse_connection("acme", json.loads(text)).internal_domains == ("a.example", "b")


def test_an_extra_that_airflow_stored_as_text_is_read_too():
    value = connection()
    value["extra"] = json.dumps(value["extra"])

    assert parse_connection("acme", value).credentials.tenant_id == TENANT


def test_a_missing_connection_says_what_to_set():
    with pytest.raises(UsageError, match="OUTLOOK_LAKE_CONN_ACME"):
        from_environment("acme", {})


def test_a_broken_connection_is_not_quoted():
    with pytest.raises(UsageError) as caught:
        from_environment("acme", {"OUTLOOK_LAKE_CONN_ACME": "msgraph://id:CANARY@host"})

    assert "CANARY" not in str(caught.value)
