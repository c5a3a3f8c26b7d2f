"""Broken set-ups as a newcomer makes them: the doctor's words alone are enough to mend them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID
from typer.testing import CliRunner

from outlook_lake.cli import app
from tests.support.doctor import refusing_login
from tests.support.ports import free_port
from tests.support.stage import DOMAIN, Stage, stage

CONNECTION = "OUTLOOK_LAKE_CONN_OUTLOOK_DEFAULT"
URL = "OUTLOOK_LAKE_RECEIVER_NOTIFICATION_URL"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with stage(tmp_path_factory.mktemp("doctor"), mailboxes=2, history=2) as made:
        yield made


@pytest.fixture
def ask(whole: Stage, monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, Any]]:
    """The doctor's answer; `extra` and other fields change the connection, None removes."""

    def asked(*arguments: str, extra: dict[str, Any] | None = None, **fields: Any) -> Any:
        connection = json.loads(whole.environ[CONNECTION])
        for target, changes in ((connection, fields), (connection["extra"], extra or {})):
            for name, value in changes.items():
                target[name] = value
                if value is None:
                    del target[name]
        if fields or extra:
            monkeypatch.setenv(CONNECTION, json.dumps(connection))
        result = CliRunner().invoke(app, ["doctor", "--json", *arguments])
        answer = json.loads(result.stdout)
        assert result.exit_code == (0 if answer["healthy"] else 1)
        secret = json.loads(whole.environ[CONNECTION])["password"]
        assert secret not in result.output
        assert "@" not in result.stdout
        return answer

    return asked


def of(answer: dict[str, Any], check: str) -> dict[str, Any]:
    (found,) = [one for one in answer["checks"] if one["check"] == check]
    return found


def failed(answer: dict[str, Any]) -> list[str]:
    return [one["check"] for one in answer["checks"] if one["verdict"] == "failed"]


def cured(answer: dict[str, Any], check: str, *words: str) -> dict[str, Any]:
    """This check failed, and only this one; evidence and cure hold these words."""
    assert failed(answer) == [check]
    found = of(answer, check)
    told = f"{found['evidence']} → {found['cure']}"
    for word in words:
        assert word in told
    return found


def test_a_whole_set_up_is_healthy_and_nothing_stays_behind(whole: Stage, ask):
    answer = ask("--tenant", DOMAIN)

    assert failed(answer) == []
    checks = [one["check"] for one in answer["checks"]]
    for check in (
        "home",
        "database",
        "token",
        "roles",
        "users",
        "mailbox",
        "delta",
        "subscription",
    ):
        assert of(answer, check)["verdict"] == "ok", of(answer, check)
    assert checks.index("settings") < checks.index("connection") < checks.index("token")
    assert whole.call("GET", "subscriptions")["subscriptions"] == []


def test_people_read_the_same_with_its_cure(ask):
    ask()
    told = CliRunner().invoke(app, ["doctor"])
    assert told.exit_code == 0
    assert "ok      token: given" in told.stdout
    assert (
        "tenant: not registered yet\n            → Un-pause `outlook_subscriptions`" in told.stdout
    )


def test_an_unknown_tenant_is_wrong_use(whole: Stage):
    result = CliRunner().invoke(app, ["doctor", "--tenant", "nobody.example"])
    assert result.exit_code == 2
    assert f"no connection of tenant 'nobody.example'; known: {DOMAIN}" in result.stderr


# -- credentials -------------------------------------------------------------------------------


def test_a_wrong_secret(ask):
    found = cured(ask(password="wrong"), "token", "AADSTS7000215", "copy its Value", "Secret ID")
    assert "wrong client secret" in found["evidence"]


def test_a_wrong_client_id(ask):
    cured(
        ask(login="11111111-1111-4111-8111-111111111111"),
        "token",
        "no application with this client id",
        "Application (client) ID",
    )


def test_a_wrong_tenant_id(ask):
    answer = ask(extra={"tenant_id": "11111111-1111-4111-8111-111111111111"})
    (check,) = failed(answer)
    told = of(answer, check)
    assert check in ("login", "token")
    assert "no tenant with this id" in told["evidence"]
    assert "Directory (tenant) ID" in told["cure"]


@pytest.mark.parametrize(
    ("number", "words"),
    [
        pytest.param(7000222, ("the client secret has expired", "Make a new one"), id="expired"),
        pytest.param(7000112, ("disabled", "Enterprise applications"), id="disabled"),
        pytest.param(700027, ("certificate", "Upload"), id="certificate not uploaded"),
    ],
)
def test_what_entra_refuses_is_named_by_its_number(ask, tmp_path: Path, number, words):
    with refusing_login(tmp_path, number, "app") as authority:
        extra = {"authority": authority, "verify": str(tmp_path / "ca.pem")}
        cured(ask(extra=extra), "token", f"AADSTS{number}", *words)


def test_a_login_host_nobody_reaches(ask):
    answer = ask(extra={"authority": f"https://127.0.0.1:{free_port()}"})
    cured(answer, "login", "does not answer", "firewall, proxy")
    assert of(answer, "roles")["evidence"] == "mend `login` first"


def a_certificate(days: int) -> str:
    """Key and certificate as PEM; it ends in so many days."""
    key = rsa.generate_private_key(65537, 2048)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "outlook")])
    end = datetime.now(UTC) + timedelta(days=days)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(end - timedelta(days=365))
        .not_valid_after(end)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return (private + made.public_bytes(serialization.Encoding.PEM)).decode()


def test_a_certificate_that_has_ended(ask):
    answer = ask(password=None, extra={"certificate_data": a_certificate(-1)})
    assert failed(answer) == ["token", "expiry"]
    assert "certificate of the connection ended on" in of(answer, "token")["evidence"]
    assert "the current certificate ends" in of(answer, "expiry")["evidence"]


def test_a_certificate_without_its_private_key(ask):
    public = a_certificate(90).partition("-----END PRIVATE KEY-----")[2]
    answer = ask(password=None, extra={"certificate_data": public})
    cured(answer, "connection", "a certificate but no private key", "put both PEM blocks in it")


def test_a_certificate_that_lost_its_armour(ask):
    pem = a_certificate(90).replace("-----", "").replace("\n", "")
    answer = ask(password=None, extra={"certificate_data": pem})
    cured(answer, "connection", "neither PEM (-----BEGIN …) nor base64 of a PKCS#12 file")


def test_a_secret_that_ends_soon_is_told_in_time(ask):
    soon = (datetime.now(UTC) + timedelta(days=5)).date().isoformat()
    told = of(ask(extra={"secret_expires": soon}), "expiry")
    assert (told["verdict"], soon in told["evidence"]) == ("warning", True)
    assert "Rotate" in told["cure"]


def test_while_rotating_it_is_told_which_credential_is_in_use(whole: Stage, ask):
    good = json.loads(whole.environ[CONNECTION])["password"]
    told = of(ask(password="old", extra={"next_client_secret": good}), "token")
    assert (told["verdict"], "given for the next client secret" in told["evidence"]) == ("ok", True)
    told = of(ask(extra={"next_client_secret": "mistyped"}), "token")
    assert told["verdict"] == "warning"
    assert "the next one is refused" in told["evidence"]


# -- permissions -------------------------------------------------------------------------------


def tenant_with(whole: Stage, name: str, roles: list[str]) -> dict[str, Any]:
    """Fields of a connection to a new simulated tenant with these roles."""
    wish = {"domain": f"{name}.example", "mailboxes": 1, "seed": 3, "roles": roles}
    made = whole.call("POST", "tenants", wish)
    ids = {"tenant_id": made["tenant_id"], "domain_id": f"{name}.example"}
    return {"login": made["client_id"], "password": made["client_secret"], "extra": ids}


def test_a_missing_role(whole: Stage, ask):
    answer = ask(**tenant_with(whole, "few", ["Mail.ReadBasic.All", "MailboxSettings.Read"]))
    assert failed(answer) == ["roles", "users"]
    told = of(answer, "roles")
    assert "missing: User.Read.All" in told["evidence"]
    assert "Grant admin consent" in told["cure"]


def test_mail_that_is_granted_nowhere(whole: Stage, ask):
    answer = ask(**tenant_with(whole, "no-mail", ["User.Read.All", "MailboxSettings.Read"]))
    assert "RBAC for Applications" in of(answer, "roles")["cure"]
    assert "Mail.ReadBasic.All (Application)" in of(answer, "mailbox")["cure"]
    assert failed(answer) == ["mailbox"]


@pytest.mark.parametrize(
    ("too_much", "could"),
    [("Mail.Read", "could read bodies"), ("Mail.ReadWrite", "could change things")],
)
def test_a_role_that_is_too_wide_is_complained_about(whole: Stage, ask, too_much, could):
    roles = ["Mail.ReadBasic.All", "MailboxSettings.Read", "User.Read.All", too_much]
    answer = ask(**tenant_with(whole, f"wide-{too_much[-4:]}", roles))
    assert failed(answer) == []
    told = of(answer, "roles")
    assert told["verdict"] == "warning"
    assert could in told["evidence"]
    assert f"remove {too_much}" in told["cure"]


# -- the connection ----------------------------------------------------------------------------


def test_no_connection(whole: Stage, ask, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv(CONNECTION)
    cured(ask(), "connection", "outlook_default", "type msgraph")


def test_a_connection_with_several_faults_tells_all_of_them(ask):
    answer = ask(login=None, extra={"tenant_id": "no tenant!"})
    cured(answer, "connection", "client id", "tenant_id", "docs/connect.md")


# -- the way back to us ------------------------------------------------------------------------


def test_a_notification_address_that_is_not_https(ask, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(URL, "http://hooks.contoso.example/notifications?key=hidden")
    found = cured(ask(), "address", "is not https", "reverse proxy")
    assert "hidden" not in found["evidence"]


def test_no_notification_address(ask, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(URL, "")
    cured(ask(), "address", "no notification address is set", URL)


def test_a_notification_address_nobody_answers_at(ask, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(URL, f"http://127.0.0.1:{free_port()}/notifications")
    answer = ask()
    cured(answer, "handshake", "does not answer", "Start the receiver")
    assert of(answer, "subscription")["verdict"] == "skipped"


def test_a_wrong_path_behind_the_right_address(whole: Stage, ask, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(URL, f"http://127.0.0.1:{whole.receiver_port}/elsewhere")
    cured(ask(), "handshake", "answers 404", "/outlook/notifications")


# -- this machine ------------------------------------------------------------------------------


def test_settings_that_cannot_be_are_told_all_at_once(ask, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("OUTLOOK_LAKE_STREAM_LANES", "many")
    monkeypatch.setenv("OUTLOOK_LAKE_GRAPH_PAGE_SIZE", "0")
    cured(ask(), "settings", "OUTLOOK_LAKE_STREAM_LANES", "OUTLOOK_LAKE_GRAPH_PAGE_SIZE")


def test_a_home_that_cannot_be_written(ask, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("OUTLOOK_LAKE_HOME", "/proc/outlook")  # root cannot write there either
    answer = ask()
    cured(answer, "home", "cannot be written", "OUTLOOK_LAKE_HOME")
    assert of(answer, "database")["verdict"] == "skipped"
    assert of(answer, "token")["verdict"] == "ok"


def test_a_database_nobody_answers_at(ask, monkeypatch: pytest.MonkeyPatch):
    url = f"postgresql+psycopg://lake:hidden@127.0.0.1:{free_port()}/lake?connect_timeout=1"
    monkeypatch.setenv("OUTLOOK_LAKE_DATABASE_URL", url)
    found = cured(ask(), "database", "OUTLOOK_LAKE_DATABASE_URL")
    assert "hidden" not in found["evidence"]


def test_keys_others_may_read_are_a_warning(ask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    keys = tmp_path / "home" / "state" / "keys"
    keys.mkdir(parents=True)
    keys.chmod(0o755)
    monkeypatch.setenv("OUTLOOK_LAKE_HOME", str(tmp_path / "home"))
    told = of(ask(), "permissions")
    assert told["verdict"] == "warning"
    assert f"chmod -R go-rwx {keys}" in told["cure"]
