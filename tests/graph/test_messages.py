"""Answers are decoded by allow-list; nothing that people wrote becomes an object."""

from __future__ import annotations

import json
import time

import msgspec
import pytest
from msgspec import UNSET

from outlook_lake.graph.messages import (
    DeltaPage,
    Message,
    decode_folders,
    decode_message,
    decode_page,
    decode_users,
)
from outlook_lake.graph.resources import MESSAGE_FIELDS
from tests.support.graph import message_row


def page(*rows: object, **links: str) -> bytes:
    return json.dumps({"value": list(rows), **links}).encode()


def test_subject_and_preview_never_become_objects():
    decoded = decode_page(page(message_row(1)))

    assert "CANARY" not in repr(decoded)
    assert decoded.value[0].to[0].email_address.address == "ann@contoso.example"


def test_the_decoder_takes_exactly_what_is_asked_for():
    names = {field.encode_name for field in msgspec.structs.fields(Message)}

    assert names - {"@removed"} == set(MESSAGE_FIELDS)


def test_a_partial_row_tells_what_it_does_not_say_from_what_it_empties():
    row = decode_message(b'{"id": "x", "isRead": true, "from": null}')

    assert row.is_read is True
    assert row.from_ is None
    assert row.received_at is msgspec.UNSET
    assert row.flag is msgspec.UNSET


def test_a_removed_row_is_its_id_and_a_reason():
    row = decode_page(page({"id": "x", "@removed": {"reason": "deleted"}})).value[0]

    assert row.removed.reason == "deleted"


def test_an_empty_page_may_still_lead_on():
    decoded = decode_page(page(**{"@odata.nextLink": "https://next"}))

    assert decoded == DeltaPage([], "https://next", None, 0)


def test_one_bad_row_does_not_fail_its_neighbours():
    decoded = decode_page(
        page(message_row(1), message_row(2, isRead="perhaps"), message_row(3), "no row")
    )

    assert [row.id[-3:] for row in decoded.value] == ["01=", "02=", "03="]
    assert decoded.value[1].is_read is UNSET, "only the id of a bad row is kept, to look at it"
    assert decoded.refused == 1


def test_a_body_that_is_no_page_is_refused():
    with pytest.raises(msgspec.DecodeError):
        decode_page(b"<html>")


def test_a_search_folder_is_told_from_a_real_one():
    decoded = decode_folders(
        page(
            {"id": "a", "displayName": "x", "@odata.type": "#microsoft.graph.mailSearchFolder"},
            {"id": "b", "displayName": "y", "parentFolderId": "a", "totalItemCount": 3},
        )
    )

    assert [folder.is_search for folder in decoded.value] == [True, False]


def test_users_are_read_with_what_scope_needs():
    decoded = decode_users(page({"id": "a", "mail": "a@x.example", "jobTitle": "CANARY"}))

    assert decoded.value[0].mail == "a@x.example"
    assert "CANARY" not in repr(decoded)


@pytest.mark.slow
def test_a_core_decodes_more_than_a_hundred_thousand_messages_a_second():
    body = page(*(message_row(number) for number in range(200)))
    best = 1e9
    for _ in range(20):
        begun = time.process_time()
        decode_page(body)
        best = min(best, time.process_time() - begun)

    assert 200 / best > 100_000
