"""What Graph refuses is taken for what it is, and the rest goes on."""

from __future__ import annotations

from dataclasses import replace

import pytest

from outlook_lake import clock
from outlook_lake.errors import ConsentError, UnreachableError, UsageError
from outlook_lake.settings import ReceiverSettings
from outlook_lake.state.tables import mailbox, subscription
from tests.support.graph import graph_error
from tests.support.subscriptions import Company, counted


async def test_a_shorter_limit_named_by_graph_is_taken(company: Company):
    company.desk.longest_min = 4_230

    counts = await company.run()

    assert counts["created"] == 3
    lives = {(row.expires_at - company.began) / 60e6 for row in company.rows(subscription)}
    assert all(4_000 < life < 4_230 for life in lives)


async def test_a_mailbox_that_is_none_is_parked_and_the_rest_goes_on(company: Company):
    company.desk.answers_first = [lambda: graph_error(404, "MailboxNotEnabledForRESTAPI")]

    counts = await company.run()

    assert counted(counts) == {"planned": 3, "created": 2, "parked": 1, "priming": 2}
    (parked,) = [row for row in company.rows(mailbox) if row.state == "parked"]
    assert parked.reason == "no_mailbox"
    assert parked.recheck_at > clock.machine_us()


async def test_a_throttled_write_is_asked_again_in_the_same_run(company: Company):
    company.desk.answers_first = [
        lambda: graph_error(429, "TooManyRequests", headers={"Retry-After": "0.1"})
    ] * 5

    counts = await company.run()

    assert counts["created"] == 3


async def test_an_address_graph_cannot_reach_is_said_in_words(company: Company):
    company.desk.answers_first = [
        lambda: graph_error(
            400, "ValidationError", "Subscription validation request failed. CANARY"
        )
    ] * 3

    with pytest.raises(UnreachableError, match="receiver runs") as caught:
        await company.run()

    assert "CANARY" not in str(caught.value)
    assert {row.state for row in company.rows(mailbox)} == {"subscribing"}
    assert counted(await company.run())["created"] == 3


async def test_a_refused_permission_stops_the_run_and_is_told(company: Company):
    company.desk.answers_first = [lambda: graph_error(403, "ErrorAccessDenied")] * 3

    with pytest.raises(ConsentError):
        await company.run()

    assert all("ErrorAccessDenied" in row.last_error for row in company.rows(subscription))


async def test_without_a_public_address_nothing_is_asked(company: Company):
    company.settings = replace(company.settings, receiver=ReceiverSettings(notification_url=""))

    with pytest.raises(UsageError, match="OUTLOOK_LAKE_RECEIVER_NOTIFICATION_URL"):
        await company.run()

    assert company.desk.posts == []
