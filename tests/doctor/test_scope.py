"""The group a connection is limited to: missing, empty, forbidden, or as it should be."""

from __future__ import annotations

from pathlib import Path

import pytest
from aiohttp import web

from outlook_lake.doctor.boxes import check_scope
from outlook_lake.doctor.findings import Report
from outlook_lake.tenants.asked import Scope
from tests.support.graph import answering, graph_error, json_body, small_graph

GROUP = "7a1e5c00-1111-4222-8333-444455550000"


@pytest.mark.parametrize(
    ("answer", "verdict", "words"),
    [
        (graph_error(404, "Request_ResourceNotFound"), "failed", ("no group", "Object ID")),
        (json_body({"value": []}), "failed", ("nobody is watched", "add members")),
        (
            graph_error(403, "Authorization_RequestDenied"),
            "failed",
            ("GroupMember.Read.All", "Grant admin consent".lower()),
        ),
        (json_body({"value": [{"id": "x"}]}), "ok", ("with members",)),
    ],
    ids=["missing", "empty", "forbidden", "fine"],
)
async def test_the_group_of_a_scope(tmp_path: Path, answer: web.Response, verdict, words):
    report = Report("acme")
    async with small_graph(tmp_path, answering(answer)) as graph, graph.client() as client:
        await check_scope(report, client, Scope(group=GROUP))
    (found,) = report.findings
    assert found.verdict == verdict
    for word in words:
        assert word.lower() in f"{found.evidence} {found.cure}".lower()
    assert graph.asked[-1].path == f"/v1.0/groups/{GROUP}/members"
