"""Rich notifications of the simulator: encrypted as Graph does, vouched for, and the old sample."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import jwt
import pytest

from tests.support.certificates import certificate
from tests.support.rich import PUBLISHER, der_of, open_by_hand, thumbprint_of
from tests.support.simulator import SimulatorProcess, in_hours, running_simulator, subscribe
from tests.support.sink import open_sink

SELECT = "?$select=id,parentFolderId,receivedDateTime,from,isRead,importance"


def rich(mailbox: str, pem: str, name: str, **more: Any) -> dict[str, Any]:
    return {
        "resource": f"users/{mailbox}/messages{SELECT}",
        "includeResourceData": True,
        "encryptionCertificate": der_of(pem),
        "encryptionCertificateId": name,
        **more,
    }


def sealed(items: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [item["encryptedContent"] for item in items if "encryptedContent" in item]


def test_an_item_holds_the_selected_properties_for_the_holder_of_the_certificate_only(
    graph: SimulatorProcess, mailbox: str
) -> None:
    (pem, key), (_, other) = certificate(), certificate()
    with open_sink() as sink:
        made = subscribe(
            graph, mailbox, sink.url,
            **rich(mailbox, pem, "kid-1", expirationDateTime=in_hours(graph, 23)),
        )  # fmt: skip
        assert made.status == 201, made.body
        assert made.body["includeResourceData"] is True
        mail = graph.act(mailbox, "receive", **{"from": "sales@fabrikam.example"})["item"]
        content = sealed(sink.wait_for(1))[0]
        shown = open_by_hand(content, key)
        with pytest.raises(ValueError):
            open_by_hand(content, other)
    names = {name for name in shown if "@" not in name}
    assert names == {"id", "parentFolderId", "receivedDateTime", "from", "isRead", "importance"}
    assert shown["id"] == mail and "importance@odata.type" in shown
    assert content["encryptionCertificateId"] == "kid-1"
    assert content["encryptionCertificateThumbprint"] == thumbprint_of(pem)
    assert "CANARY-" not in json.dumps(shown)


def test_each_post_vouches_for_its_tenant_with_tokens_of_both_versions(
    graph: SimulatorProcess, mailbox: str
) -> None:
    pem, _ = certificate()
    keys = {
        row["kid"]: row for row in graph.http("GET", "/common/discovery/v2.0/keys").body["keys"]
    }
    claims = []
    with open_sink() as sink:
        wish = rich(mailbox, pem, "kid-1", expirationDateTime=in_hours(graph, 23))
        assert subscribe(graph, mailbox, sink.url, **wish).status == 201
        while {one["ver"] for one in claims} != {"1.0", "2.0"}:
            assert len(claims) < 20
            count = len(sink.bodies)
            graph.act(mailbox, "receive")
            sink.wait_for(len(sink.items) + 1)
            for body in sink.bodies[count:]:
                (token,) = body["validationTokens"]
                key = jwt.PyJWK(keys[jwt.get_unverified_header(token)["kid"]])
                claims.append(jwt.decode(token, key, ["RS256"], audience=graph.tenant["client_id"]))
    assert {one["tid"] for one in claims} == {graph.tenant["tenant_id"]}
    assert {one.get("appid") or one.get("azp") for one in claims} == {PUBLISHER}


def test_a_certificate_is_replaced_by_a_patch(graph: SimulatorProcess, mailbox: str) -> None:
    (old, _), (new, key) = certificate(), certificate()
    with open_sink() as sink:
        wish = rich(mailbox, old, "old", expirationDateTime=in_hours(graph, 23))
        made = subscribe(graph, mailbox, sink.url, **wish).body
        path = f"/subscriptions/{made['id']}"
        half = {"encryptionCertificate": der_of(new)}
        assert graph.graph("PATCH", path, half).status == 400
        whole = {**half, "encryptionCertificateId": "new"}
        assert graph.graph("PATCH", path, whole).body["encryptionCertificateId"] == "new"
        mail = graph.act(mailbox, "receive")["item"]
        content = sealed(sink.wait_for(1))[0]
    assert content["encryptionCertificateId"] == "new"
    assert open_by_hand(content, key)["id"] == mail


@pytest.mark.parametrize(
    ("changed", "word"),
    [
        ({"resource": "users/{}/messages"}, "$select is required"),
        ({"resource": "users/{}/messages?$select=id,body"}, "cannot be selected"),
        ({"resource": "users/{}/messages?$select=id,colour"}, "property named"),
        ({"resource": "users/{}/messages?$select=id&$top=5"}, "$top"),
        ({"encryptionCertificate": "MIID"}, "ertificate"),
        ({"encryptionCertificate": base64.b64encode(b"x" * 300).decode()}, "ertificate"),
        ({"encryptionCertificateId": "x" * 129}, "128"),
        ({"hours": 25}, "1440 minutes"),
    ],
)
def test_what_graph_would_refuse_is_refused(
    graph: SimulatorProcess, mailbox: str, changed: dict[str, Any], word: str
) -> None:
    pem, _ = PAIR
    hours = changed.get("hours", 23)
    told = {name: str(text).replace("{}", mailbox) for name, text in changed.items()}
    told.pop("hours", None)
    wish = {**rich(mailbox, pem, "kid"), "expirationDateTime": in_hours(graph, hours), **told}
    with open_sink() as sink:
        reply = subscribe(graph, mailbox, sink.url, **wish)
    assert reply.status == 400 and word in reply.body["error"]["message"], reply.body


PAIR = certificate()


def test_in_legacy_mode_plain_fields_stand_in_resource_data(tmp_path: Path) -> None:
    with running_simulator(tmp_path / "state", mailboxes=1, options=("--legacy",)) as graph:
        one = graph.people[0]
        with open_sink() as sink:
            assert subscribe(graph, one, sink.url).status == 201
            mail = graph.act(one, "receive", **{"from": "sales@fabrikam.example"})["item"]
            shown = sink.wait_for(1)[0]["resourceData"]
    assert shown["id"] == mail
    assert shown["from"]["emailAddress"]["address"] == "sales@fabrikam.example"
    assert {"isRead", "receivedDateTime", "flag", "categories"} <= set(shown)
    assert "CANARY-" not in json.dumps(shown)
