"""The digest stands for the rows and for nothing else."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

from outlook_lake.events.schema import EVENT_SCHEMA
from outlook_lake.lake.digest import PLAIN_SCHEMA, RowDigest
from tests.support import lake


def digest(rows: list[lake.Row]) -> str:
    taken = RowDigest()
    table = lake.table(rows).select(PLAIN_SCHEMA.names).cast(PLAIN_SCHEMA)
    for part in table.combine_chunks().to_batches():
        taken.update(part)
    return taken.hexdigest()


def other(field: pa.Field) -> Any:
    """A value of a column's type that `lake.event` never gives."""
    kind = PLAIN_SCHEMA.field(field.name).type
    if pa.types.is_timestamp(kind):
        return lake.NINE.replace(year=2020)
    if pa.types.is_boolean(kind):
        return field.name != "is_external_sender"
    if pa.types.is_integer(kind):
        return 77
    if pa.types.is_fixed_size_binary(kind):
        return lake.key("another")
    if pa.types.is_string(kind):
        return "another"
    if field.name == "recipients":
        return [{"key": lake.key("to"), "domain": "a", "kind": "to", "external": True}]
    if field.name == "rule":
        return {"rule_key": lake.key("rule"), "actions": ["forward"], "forward_keys": [b"k"]}
    return ["another"]


@pytest.mark.parametrize("field", list(EVENT_SCHEMA), ids=EVENT_SCHEMA.names)
def test_another_value_or_null_in_any_column_is_another_digest(field: pa.Field) -> None:
    rows = [lake.event(1), lake.event(2)]
    changed = [{**rows[0], field.name: other(field)}, rows[1]]
    empty = [{**rows[0], field.name: None}, rows[1]]

    assert len({digest(rows), digest(changed), digest(empty)}) == (
        2 if rows[0][field.name] is None else 3
    )


def test_null_and_nothing_inside_are_told_apart() -> None:
    for name, nothing in {
        "categories": [],
        "from_domain": "",
        "to_count": 0,
        "is_read": False,
    }.items():
        assert digest([lake.event(1, **{name: None})]) != digest([lake.event(1, **{name: nothing})])


def test_where_a_text_ends_matters() -> None:
    one = [lake.event(1, to_domains=["ab", "c"])]
    two = [lake.event(1, to_domains=["a", "bc"])]
    assert digest(one) != digest(two)


def test_what_lies_under_a_null_does_not_matter() -> None:
    mask = pa.py_buffer(b"\x01")
    clean, dirty = (
        pa.Array.from_buffers(pa.int32(), 2, [mask, pa.array([5, under], pa.int32()).buffers()[1]])
        for under in (0, 99)
    )
    digests = set()
    for array in (clean, dirty):
        taken = RowDigest()
        taken.update(pa.RecordBatch.from_arrays([array], ["n"]))
        digests.add(taken.hexdigest())
    assert len(digests) == 1


def test_a_slice_of_a_longer_table_has_the_digest_of_its_own_rows() -> None:
    rows = [
        lake.event(n, recipients=None if n % 2 else lake.event(n)["recipients"]) for n in range(9)
    ]
    table = lake.table(rows).select(PLAIN_SCHEMA.names).cast(PLAIN_SCHEMA).combine_chunks()
    taken = RowDigest()
    taken.update(table.to_batches()[0].slice(3, 4))

    assert taken.hexdigest() == digest(rows[3:7])


def test_another_key_inside_a_rule_is_another_digest() -> None:
    digests = {
        digest([lake.event(1, rule={"rule_key": lake.key("rule"), "forward_keys": keys})])
        for keys in ([], [b"a"], [b"b"], [b"a", b"b"], [b"ab"])
    }

    assert len(digests) == 5
