"""Write the file of one hour: a pure function of the batches the manifest lists for it.

    batches (and the sealed file, when old batches were cleared away)
      ─▶ DuckDB: rows of this hour, sorted ─▶ parts of 20,480 ─▶ digest, Parquet beside its place

DuckDB sorts and pyarrow writes: the same rows then give the same bytes however many files
they came in, which DuckDB's own writer does not promise.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from outlook_lake.errors import StorageError
from outlook_lake.events.log import sync_folder
from outlook_lake.events.schema import EVENT_SCHEMA, ROW_GROUP, SCHEMA_VERSION
from outlook_lake.lake import layout
from outlook_lake.lake.digest import PLAIN_SCHEMA, Footer, RowDigest, read_digest, read_footer
from outlook_lake.lake.engine import sql
from outlook_lake.settings import Settings

__all__ = ["HourSource", "Part", "StagedHour", "stage_hour"]

_UNIQUE = frozenset({"event_id", "platform_event_id", "item_key", "internet_message_id"})
"""Columns whose values hardly repeat: a dictionary would only cost."""
_COMPRESSION_LEVEL = 3
_WRITTEN_AS_WORDS = [
    field.name
    for field in EVENT_SCHEMA
    if field.name not in _UNIQUE and not pa.types.is_nested(field.type)
]


@dataclass(frozen=True, slots=True)
class Part:
    """One batch's rows of the hour; `path` is None when the batch was cleared away."""

    seq: int
    path: str | None
    rows: int


@dataclass(frozen=True, slots=True)
class HourSource:
    """What an hour is made from: everything the manifest lists up to `bound`."""

    domain_id: str
    hour: str
    bound: int
    parts: tuple[Part, ...]

    @property
    def is_cleared(self) -> bool:
        """Whether some of its batches are only in the sealed file by now."""
        return any(part.path is None for part in self.parts)


@dataclass(frozen=True, slots=True)
class StagedHour:
    """A finished file beside its place; `publish` puts it there in one step."""

    staged: Path
    final: Path
    footer: Footer
    bytes: int
    repeats: int

    def publish(self) -> None:
        """Replace the hour's file. Readers see the old one or the new one."""
        self.staged.replace(self.final)
        sync_folder(self.final.parent)

    def discard(self) -> None:
        """Leave the hour as it was."""
        self.staged.unlink(missing_ok=True)


def stage_hour(
    engine: duckdb.DuckDBPyConnection, settings: Settings, source: HourSource
) -> StagedHour:
    """Write an hour's file beside its place, durable and complete.

    Raises StorageError when the disk refuses or a batch is not what the manifest says, and
    ForeignFileError when the sealed file is needed and is not one of ours.
    """
    final = layout.hour_file(settings, source.domain_id, source.hour)
    staged = final.with_name(f".events.{uuid.uuid4()}.tmp")
    try:
        _make_folder(final.parent, settings.home)
        batches, repeats = _rows(engine, settings, source, final)
        rows = RowDigest()
        count = 0
        with staged.open("wb") as handle:
            with pq.ParquetWriter(
                handle,
                EVENT_SCHEMA,
                compression="zstd",
                compression_level=_COMPRESSION_LEVEL,
                use_dictionary=_WRITTEN_AS_WORDS,
            ) as writer:
                for part in _parts(batches):
                    rows.update(part)
                    count += part.num_rows
                    table = pa.Table.from_batches([part]).cast(EVENT_SCHEMA)
                    writer.write_table(table, row_group_size=ROW_GROUP)
                footer = Footer(
                    source.domain_id, source.hour, count, rows.hexdigest(), SCHEMA_VERSION
                )
                writer.add_key_value_metadata(footer.as_metadata())
            handle.flush()
            os.fsync(handle.fileno())
        return StagedHour(staged, final, footer, staged.stat().st_size, repeats)
    except (OSError, duckdb.Error) as error:
        staged.unlink(missing_ok=True)
        raise StorageError(
            f"hour {source.hour} cannot be written ({type(error).__name__}): it stays as it was "
            "and is tried again by the next export. Check space and rights under "
            "OUTLOOK_LAKE_HOME, and run `outlook-lake verify`."
        ) from error


def _rows(
    engine: duckdb.DuckDBPyConnection, settings: Settings, source: HourSource, final: Path
) -> tuple[Iterator[pa.RecordBatch], int]:
    expected = sum(part.rows for part in source.parts if part.path is not None)
    files = {str(settings.home / part.path): part.seq for part in source.parts if part.path}
    sealed: str | None = None
    if source.is_cleared:
        sealed = str(final)
        expected += _sealed_rows(final, source)
        files[sealed] = 0  # what it holds came first
    if not files:
        return iter(()), 0
    where = {"files": list(files), "domain_id": source.domain_id, "hour": source.hour}
    found, repeats = engine.execute(sql("hour_repeats"), {**where, "sealed": sealed}).fetchall()[0]
    if found != expected:
        raise StorageError(
            f"hour {source.hour}: the manifest lists {expected} rows, the event log gives {found}. "
            "The hour stays as it was; `outlook-lake verify` names the files that differ."
        )
    if sealed is None and repeats == 0:
        relation = engine.sql(sql("hour_rows"), params=where)
    else:
        engine.register(
            "sources", pa.table({"filename": list(files), "batch_seq": list(files.values())})
        )
        relation = engine.sql(sql("hour_rows_once"), params={**where, "sealed": sealed})
    return iter(relation.to_arrow_reader(ROW_GROUP)), int(repeats)


def _sealed_rows(final: Path, source: HourSource) -> int:
    if not final.is_file():
        raise StorageError(
            f"hour {source.hour}: its batches were cleared away and its sealed file is missing. "
            "Bring the file back from a backup; later events wait in the event log."
        )
    footer = read_footer(final)
    if footer.digest != read_digest(final):
        raise StorageError(
            f"hour {source.hour}: the sealed file is damaged and its batches were cleared away. "
            "Bring the file back from a backup; later events wait in the event log."
        )
    return footer.rows


def _parts(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Cut a stream of batches into parts of exactly ROW_GROUP rows, the last one shorter."""
    waiting: list[pa.RecordBatch] = []
    count = 0
    for batch in batches:
        waiting.append(batch.select(PLAIN_SCHEMA.names).cast(PLAIN_SCHEMA))
        count += batch.num_rows
        while count >= ROW_GROUP:
            whole = _joined(waiting)
            yield whole.slice(0, ROW_GROUP)
            count -= ROW_GROUP
            waiting = [whole.slice(ROW_GROUP)]
    if count:
        yield _joined(waiting)


def _joined(batches: list[pa.RecordBatch]) -> pa.RecordBatch:
    return pa.concat_batches(batches) if len(batches) > 1 else batches[0]


def _make_folder(folder: Path, home: Path) -> None:
    missing = [place for place in (folder, *folder.parents) if not place.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for place in missing:
        if place.is_relative_to(home):
            sync_folder(place.parent)
