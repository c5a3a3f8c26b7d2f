"""One token per tenant, asked for once, renewed early, forgotten when it is refused."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from outlook_lake.errors import TokenRefusedError, UnreachableError
from outlook_lake.graph.auth import TokenSource
from tests.support.graph import small_graph


async def test_many_askers_share_one_request(tmp_path: Path):
    async with small_graph(tmp_path) as graph:
        source = TokenSource(graph.credentials)
        tokens = await asyncio.gather(*(source.token() for _ in range(20)))

    assert set(tokens) == {"token-1"}
    assert graph.tokens_given == 1


async def test_a_dropped_token_is_not_handed_out_again(tmp_path: Path):
    async with small_graph(tmp_path) as graph:
        source = TokenSource(graph.credentials)
        first = await source.token()
        source.drop(first)
        second = await source.token()
        source.drop(first)  # a late 401 about the old one leaves the new one alone
        third = await source.token()

    assert (first, second, third) == ("token-1", "token-2", "token-2")


async def test_refused_credentials_are_told_without_the_secret(tmp_path: Path):
    async with small_graph(tmp_path) as graph:
        credentials = replace(graph.credentials, client_secret="CANARY")
        with pytest.raises(TokenRefusedError) as caught:
            await TokenSource(credentials).token()

    assert "invalid_client" in str(caught.value)
    assert "CANARY" not in str(caught.value)
    assert "CANARY" not in repr(credentials)


async def test_a_token_endpoint_that_is_down_is_a_passing_fault(tmp_path: Path):
    async with small_graph(tmp_path) as graph:
        credentials = graph.credentials
    with pytest.raises(UnreachableError):
        await TokenSource(credentials).token()


async def test_a_certificate_of_somebody_else_is_not_believed(tmp_path: Path):
    async with small_graph(tmp_path) as graph:
        credentials = replace(graph.credentials, verify=True)
        with pytest.raises(UnreachableError):
            await TokenSource(credentials).token()

    assert graph.tokens_given == 0


async def test_a_token_about_to_end_is_renewed_but_used_while_the_endpoint_is_down(
    tmp_path: Path,
):
    async with small_graph(tmp_path) as graph:
        graph.token_lifetime_s = 20  # renewed after 10 s; the clock is turned, not waited for
        source = TokenSource(graph.credentials)
        first = await source.token()
        source._renew_at = 0.0
        source._app.remove_tokens_for_client()
    assert await source.token() == first
