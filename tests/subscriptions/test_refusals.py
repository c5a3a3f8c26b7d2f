"""What Graph refuses is taken for what it is, and the rest goes on."""

from __future__ import annotations

from dataclasses import replace

import pytest

from outlook_lake import clock
from outlook_lake.errors import ConsentError, RefusedError, UnreachableError, UsageError
from outlook_lake.settings import ReceiverSettings
from outlook_lake.state.tables import mailbox, subscription, tenant
from outlook_lake.subscriptions.run import SPREADING_US
from tests.support.graph import graph_error
from tests.support.subscriptions import Company, counted, user_id


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


async def test_a_permission_refused_to_everybody_is_the_tenants(company: Company):
    company.desk.refuses = lambda method, about: graph_error(403, "ErrorAccessDenied")

    with pytest.raises(ConsentError):
        await company.run()

    assert all("ErrorAccessDenied" in row.last_error for row in company.rows(subscription))
    assert {row.state for row in company.rows(mailbox)} == {"subscribing"}


@pytest.mark.parametrize(
    "refusal",
    [
        pytest.param(("ErrorAccessDenied", "Access is denied."), id="ErrorAccessDenied"),
        pytest.param(
            ("ExtensionError", "Operation: Create; Exception: [Status Code: Forbidden; Reason: x]"),
            id="Forbidden inside an ExtensionError",
        ),
    ],
)
async def test_a_permission_that_is_still_spreading_is_waited_for(company: Company, refusal):
    company.desk.refuses = lambda method, about: (
        graph_error(403, *refusal) if method == "POST" and about == user_id(0) else None
    )

    counts = await company.run()

    assert (counts["created"], counts["spreading"], counts["parked"]) == (2, 1, 0)
    waiting = [row for row in company.rows(mailbox) if row.state == "subscribing"]
    assert [row.aad_id for row in waiting] == [user_id(0)]

    # Alone in its run: that others still may is proven by renewing one of them.
    counts = await company.run()
    assert (counts["spreading"], counts["renewed"]) == (1, 1)

    company.change(subscription, created_at=company.began - SPREADING_US - 1)
    counts = await company.run()
    assert (counts["spreading"], counts["parked"]) == (0, 1)
    (parked,) = [row for row in company.rows(mailbox) if row.state == "parked"]
    assert (parked.aad_id, parked.reason) == (user_id(0), "no_permission")


@pytest.mark.parametrize(
    ("status", "code", "message", "reason"),
    [
        pytest.param(
            403,
            "ExtensionError",
            "The mailbox has its maximum of 1,000 subscriptions already.",
            "quota",
            id="quota",
        ),
        pytest.param(
            400,
            "ExtensionError",
            "Operation: Create; Exception: [Status Code: BadRequest; Reason: The value]",
            "refused",
            id="BadRequest inside an ExtensionError",
        ),
    ],
)
async def test_what_asking_again_cannot_mend_parks_the_mailbox_with_its_reason(
    company: Company, status: int, code: str, message: str, reason: str
):
    company.desk.refuses = lambda method, about: (
        graph_error(status, code, message) if about == user_id(0) else None
    )

    counts = await company.run()

    assert (counts["created"], counts["parked"]) == (2, 1)
    (parked,) = [row for row in company.rows(mailbox) if row.state == "parked"]
    assert (parked.reason, parked.recheck_at > clock.machine_us()) == (reason, True)
    company.desk.posts.clear()
    await company.run()
    assert company.desk.posts == []


async def test_a_request_everybody_is_refused_parks_nobody(company: Company):
    assert company.tenant is None
    company.desk.refuses = lambda method, about: graph_error(400, "BadRequest", "no such property")
    with pytest.raises(RefusedError):
        await company.run(more_mailboxes=7)

    assert {row.state for row in company.rows(mailbox)} == {"subscribing"}
    assert len(company.desk.posts) < 10 + 7


@pytest.mark.parametrize("code", ["MailboxNotEnabledForRESTAPI", "ResourceNotFound"])
async def test_both_words_for_no_mailbox_park_it(company: Company, code: str):
    company.desk.refuses = lambda method, about: (
        graph_error(404, code) if about == user_id(0) else None
    )

    counts = await company.run()

    assert (counts["created"], counts["parked"]) == (2, 1)
    assert {row.reason for row in company.rows(mailbox)} == {None, "no_mailbox"}


async def test_a_status_hidden_in_an_extension_error_is_the_one_that_counts(company: Company):
    hidden = "Operation: Create; Exception: [Status Code: {}; Reason: x]"
    company.desk.answers_first = [
        lambda: graph_error(400, "ExtensionError", hidden.format("NotFound")),
        lambda: graph_error(400, "ExtensionError", hidden.format("ServiceUnavailable")),
    ]

    counts = await company.run()

    assert (counts["parked"], counts["created"]) == (1, 2)


async def test_the_limit_graph_named_is_remembered_by_the_next_run(company: Company):
    company.desk.longest_min = 4_230
    await company.run()
    company.change(subscription, renew_at=1)
    company.desk.asked.clear()

    counts = await company.run()

    assert counts["renewed"] == 3
    assert len(company.desk.writes("PATCH")) == 3  # no refusal was needed again
    assert company.rows(tenant)[0].minutes_limit == 4_230


async def test_without_a_public_address_nothing_is_asked(company: Company):
    company.settings = replace(company.settings, receiver=ReceiverSettings(notification_url=""))

    with pytest.raises(UsageError, match="OUTLOOK_LAKE_RECEIVER_NOTIFICATION_URL"):
        await company.run()

    assert company.desk.posts == []
