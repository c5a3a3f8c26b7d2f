"""Ids behave like Exchange's: opaque, checkable, default ones die with a move."""

from __future__ import annotations

import re

import pytest

from graph_simulator.ids import (
    IdError,
    default_id,
    folder_id,
    immutable_id,
    parse_folder_id,
    parse_item_id,
)

NUMBERS = [1, 1 << 24 | 7, 300 << 24 | 99_999, (1 << 40) - 1]


@pytest.mark.parametrize("number", NUMBERS)
def test_an_id_names_its_item_and_nothing_else(number: int) -> None:
    assert parse_item_id(immutable_id(number)) == (number, None)
    assert parse_item_id(default_id(number, 3)) == (number, 3)
    assert parse_folder_id(folder_id(number)) == number
    assert len({immutable_id(number), default_id(number, 3), default_id(number, 4)}) == 3


def test_ids_use_graphs_alphabet_and_its_dangerous_characters() -> None:
    ids = [immutable_id(n) for n in range(2000)]
    assert all(re.fullmatch(r"[A-Za-z0-9_=-]{40,200}", one) for one in ids)
    assert all(any(mark in "".join(ids) for mark in marks) for marks in ("=", "-", "_"))


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("inbox", id="a word"),
        pytest.param("x?$select=body", id="an injection"),
        pytest.param("../../users/other", id="a path"),
        pytest.param(immutable_id(5).swapcase(), id="the wrong case"),
        pytest.param(immutable_id(5)[:-4], id="cut"),
        pytest.param(folder_id(5), id="a folder's"),
        pytest.param("ä" * 64, id="not ascii"),
    ],
)
def test_what_is_no_item_id_is_refused(text: str) -> None:
    with pytest.raises(IdError):
        parse_item_id(text)
