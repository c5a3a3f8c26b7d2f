"""One token per tenant, asked for once, renewed early, forgotten when it is refused."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from outlook_lake.errors import TokenRefusedError, UnreachableError
from outlook_lake.graph.auth import TokenSource
from outlook_lake.tenants.credential import Credential, read_certificate
from tests.support.certificates import certificate
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
        credentials = replace(graph.credentials, current=Credential("current", secret="CANARY"))
        with pytest.raises(TokenRefusedError) as caught:
            await TokenSource(credentials).token()

    assert "wrong client secret" in str(caught.value)
    assert "Certificates & secrets" in str(caught.value)
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
        source._apps["current"].remove_tokens_for_client()
    assert await source.token() == first


async def test_while_two_secrets_stand_the_next_one_is_tried_first(tmp_path: Path):
    async with small_graph(tmp_path) as graph:
        graph.secrets = {"secret", "new"}
        both = replace(graph.credentials, next=Credential("next", secret="new"))
        source = TokenSource(both)
        await source.token()

    assert (source.in_use, source.requests) == ("next", 1)


async def test_the_old_secret_serves_until_the_next_one_is_known(tmp_path: Path):
    async with small_graph(tmp_path) as graph:
        both = replace(graph.credentials, next=Credential("next", secret="not known yet"))
        source = TokenSource(both)
        first = await source.token()
        in_between = source.in_use
        graph.secrets = {"not known yet"}  # the administrator deletes the old one
        source.drop(first)
        await source.token()

    assert (in_between, source.in_use) == ("current", "next")


async def test_a_certificate_signs_for_its_application(tmp_path: Path):
    public, key = certificate()
    async with small_graph(tmp_path) as graph:
        graph.certificates = [public]
        mine = Credential("current", certificate=read_certificate(public + key))
        source = TokenSource(replace(graph.credentials, current=mine))
        await source.token()

    assert source.in_use == "current"
    assert "PRIVATE" not in repr(mine)


async def test_a_certificate_nobody_uploaded_is_told_so(tmp_path: Path):
    public, key = certificate()
    async with small_graph(tmp_path) as graph:
        mine = Credential("current", certificate=read_certificate(key + public))
        with pytest.raises(TokenRefusedError, match="upload the public part"):
            await TokenSource(replace(graph.credentials, current=mine)).token()


async def test_a_certificate_that_has_ended_is_not_tried(tmp_path: Path):
    public, key = certificate(timedelta(days=-3))
    async with small_graph(tmp_path) as graph:
        ended = Credential("current", certificate=read_certificate(public + key))
        source = TokenSource(replace(graph.credentials, current=ended))
        with pytest.raises(TokenRefusedError, match="ended on"):
            await source.token()

    assert source.requests == 0


@pytest.mark.parametrize("status", [429, 500, 503])
async def test_a_good_token_carries_on_while_the_endpoint_is_busy(tmp_path: Path, status: int):
    async with small_graph(tmp_path) as graph:
        source = TokenSource(graph.credentials)
        first = await source.token()
        graph.token_status = status
        source._renew_at = 0.0
        source._apps["current"].remove_tokens_for_client()
        again = await source.token()

    assert again == first


async def test_an_endpoint_that_fails_is_not_asked_at_every_use(tmp_path: Path):
    async with small_graph(tmp_path) as graph:
        source = TokenSource(graph.credentials)
        await source.token()
        graph.token_status = 503
        source._renew_at = 0.0
        source._apps["current"].remove_tokens_for_client()
        before = source.requests
        for _ in range(20):
            await source.token()

    assert source.requests == before + 1


async def test_a_refusal_before_the_end_leaves_the_good_token_in_use(tmp_path: Path):
    async with small_graph(tmp_path) as graph:
        source = TokenSource(graph.credentials)
        first = await source.token()
        graph.secrets = set()
        source._renew_at = 0.0
        source._apps["current"].remove_tokens_for_client()

        assert await source.token() == first
