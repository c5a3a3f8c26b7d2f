"""The simulator's journal, fetched whole: what really happened, for the audit."""

from __future__ import annotations

import http.client
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.error import URLError
from urllib.parse import urlsplit
from urllib.request import urlopen

import duckdb
import pyarrow as pa

from outlook_lake.errors import AuditError, UsageError
from outlook_lake.state.kinds import item_key

__all__ = ["fetched", "load"]

_TIMEOUT_S = 60.0
_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})

_COLUMNS = {
    "number": "BIGINT",
    "at": "VARCHAR",
    "wall_at": "VARCHAR",
    "mailbox": "VARCHAR",
    "kind": "VARCHAR",
    "item": "VARCHAR",
    "object": "VARCHAR",
    "action": "VARCHAR",
    "field": "VARCHAR",
    "from_folder": "VARCHAR",
    "to_folder": "VARCHAR",
    "state": "VARCHAR",
    "bumped": "BOOLEAN",
    "observable": "BOOLEAN",
    "by": "VARCHAR",
    "dates": "STRUCT(created VARCHAR, received VARCHAR, sent VARCHAR, modified VARCHAR)",
}


@contextmanager
def fetched(simulator: str, folder: Path) -> Iterator[Path]:
    """The journal of the simulator at this address (loopback only), as a file of JSON Lines.

    The file is gone when the block ends. Raises AuditError when the simulator does not answer.
    """
    place = urlsplit(simulator)
    if place.scheme not in ("http", "https") or place.hostname not in _LOOPBACK:
        raise UsageError(
            f"--simulator {simulator!r}: expected the address of a simulator on this machine, "
            "such as http://127.0.0.1:8083"
        )
    with TemporaryDirectory(dir=folder, prefix="journal-") as private:
        path = Path(private) / "journal.jsonl"
        url = f"{place.scheme}://{place.netloc}/simulator/journal?after=0"
        try:
            with urlopen(url, timeout=_TIMEOUT_S) as answer, path.open("wb") as file:
                shutil.copyfileobj(answer, file, 1 << 20)
        except (URLError, OSError, http.client.HTTPException) as error:
            raise AuditError(
                f"the simulator's journal cannot be read ({type(error).__name__}): "
                "is the simulator running at this address?"
            ) from error
        yield path


def load(connection: duckdb.DuckDBPyConnection, path: Path) -> int:
    """Load journal rows into the tables `raw_journal` and `item_keys`; returns their number.

    Raises AuditError when a row is torn, repeated or missing: an audit against half a journal
    would find fault with nobody.
    """
    try:
        connection.execute(
            "CREATE OR REPLACE TEMP TABLE raw_journal AS FROM read_json($path, "
            "format = 'newline_delimited', columns = $columns)",
            {"path": str(path), "columns": _COLUMNS},
        )
    except duckdb.Error as error:
        raise AuditError(
            f"the journal is not one JSON object a line ({type(error).__name__}): get it again"
        ) from error
    ((rows, distinct, least, most),) = connection.execute(
        "SELECT count(*), count(DISTINCT number), min(number), max(number) FROM raw_journal"
    ).fetchall()
    if rows and (rows != distinct or most - least + 1 != rows):
        raise AuditError(
            f"the journal has holes or repeats: {rows} rows, numbers {least} to {most}; "
            "get it again, whole"
        )
    items = connection.sql(
        "SELECT item FROM raw_journal WHERE item IS NOT NULL "
        "UNION SELECT object FROM raw_journal WHERE object IS NOT NULL"
    )
    names = items.to_arrow_table()["item"].to_pylist()
    keys = pa.array([item_key(name) for name in names], pa.binary(16))
    table = pa.table({"item": pa.array(names, pa.string()), "item_key": keys})
    connection.register("keys_of_items", table)
    connection.execute("CREATE OR REPLACE TEMP TABLE item_keys AS FROM keys_of_items")
    connection.unregister("keys_of_items")
    return int(rows)
