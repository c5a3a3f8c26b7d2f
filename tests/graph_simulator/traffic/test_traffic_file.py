"""A traffic file is read with care: what is wrong is said, what is broken is left out."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from graph_simulator.traffic import TrafficFileError
from graph_simulator.traffic.file import read_traffic_file
from tests.support.traffic import SCHEMA, message, write_file


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(TrafficFileError, match=r"no file 'gone.parquet'.*Check the path"):
        read_traffic_file(tmp_path / "gone.parquet")


def test_a_file_that_is_no_parquet_says_how_to_get_one(tmp_path: Path) -> None:
    path = tmp_path / "mail.csv"
    path.write_text("sender,to\n")

    with pytest.raises(TrafficFileError, match=r"cannot be opened as Parquet.*write it with"):
        read_traffic_file(path)


def test_missing_columns_are_all_named_with_the_columns_a_file_needs(tmp_path: Path) -> None:
    path = tmp_path / "mail.parquet"
    pq.write_table(pa.table({"message_id": ["m1"], "sender": ["a@b.example"]}), path)

    with pytest.raises(TrafficFileError) as refusal:
        read_traffic_file(path)

    assert "lacks the columns sent_at, sender_internal, to, cc" in refusal.value.message
    assert "to (list of strings)" in refusal.value.message


def test_a_column_of_the_wrong_type_is_named_with_the_type_it_should_have(tmp_path: Path) -> None:
    schema = SCHEMA.set(1, pa.field("sent_at", pa.string()))
    path = write_file(tmp_path / "mail.parquet", [{"message_id": "m1"}], schema)

    with pytest.raises(TrafficFileError, match=r"column sent_at .* is string, not timestamp"):
        read_traffic_file(path)


def test_optional_columns_may_be_missing(tmp_path: Path) -> None:
    path = tmp_path / "mail.parquet"
    table = pa.Table.from_pylist([message("m1")], SCHEMA)
    needed = ["message_id", "sent_at", "sender", "sender_internal", "to", "cc"]
    pq.write_table(table.select(needed), path)

    assert read_traffic_file(path).table["clock"].to_pylist() == [None]


def test_texts_written_as_dictionaries_or_large_strings_are_read(tmp_path: Path) -> None:
    path = tmp_path / "mail.parquet"
    table = pa.Table.from_pylist([message("m1")], SCHEMA)
    table = table.set_column(4, "sender", table["sender"].dictionary_encode())
    table = table.set_column(0, "message_id", table["message_id"].cast(pa.large_string()))
    pq.write_table(table, path)

    assert read_traffic_file(path).table["sender"].to_pylist() == ["ann@corp.example"]


def test_a_broken_row_group_is_counted_and_the_rest_is_read(tmp_path: Path) -> None:
    path = tmp_path / "mail.parquet"
    rows = [message(f"m{n}") for n in range(30)]
    pq.write_table(pa.Table.from_pylist(rows, SCHEMA), path, row_group_size=10)
    column = pq.ParquetFile(path).metadata.row_group(1).column(0)
    damaged = bytearray(path.read_bytes())
    first = column.dictionary_page_offset or column.data_page_offset
    damaged[first : first + column.total_compressed_size] = b"\xff" * column.total_compressed_size
    path.write_bytes(damaged)

    file = read_traffic_file(path)

    assert (len(file.table), file.unreadable_rows) == (20, 10)


def test_a_file_without_one_readable_row_is_refused(tmp_path: Path) -> None:
    path = write_file(tmp_path / "mail.parquet", [])

    with pytest.raises(TrafficFileError, match=r"it has no rows\. Copy or export"):
        read_traffic_file(path)


def test_a_text_that_is_not_utf8_costs_its_own_row_only(tmp_path: Path) -> None:
    path = tmp_path / "mail.parquet"
    table = pa.Table.from_pylist([message("m1"), message("m2")], SCHEMA)
    broken = pa.array([b"\xff\xfe", b"bob@corp.example"], pa.binary()).view(pa.string())
    recipients = pa.ListArray.from_arrays(pa.array([0, 1, 2], pa.int32()), broken)
    table = table.set_column(4, "sender", broken).set_column(6, "to", recipients)
    pq.write_table(table, path)

    read = read_traffic_file(path).table

    assert read["sender"].to_pylist() == [None, "bob@corp.example"]
    assert read["to"].to_pylist() == [[None], ["bob@corp.example"]]
