"""The lake is read with what people have: pandas, a bare DuckDB, Python."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, timedelta
from pathlib import Path

import duckdb
import pandas as pd
import pyarrow as pa
import pytest

from outlook_lake.lake import layout
from outlook_lake.lake.export import export
from outlook_lake.lake.views import open_lake, write_views
from outlook_lake.settings import Settings
from outlook_lake.state.database import Database
from tests.support import lake

RULE = {
    "rule_key": lake.key("rule"),
    "enabled": True,
    "opaque": False,
    "actions": ["forward"],
    "forward_keys": [lake.key("partner@external.example")],
    "forward_domains": ["external.example"],
    "external_forward": True,
    "target_folder_kind": None,
    "condition_kinds": [],
    "marks_read": False,
    "stops": False,
    "hides": False,
}


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    home = lake.home(tmp_path / "a häuschen 100%")
    database = Database.open(home)
    lake.add_tenant(database)
    lake.commit(database, home, [lake.event(1), lake.event(2, action="rule_created", rule=RULE)])
    export(database, home)
    lake.commit(database, home, [lake.event(3, at=lake.NINE + timedelta(hours=1))])
    database.close()
    return home


@pytest.fixture
def plain(settings: Settings, tmp_path: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    file = tmp_path / "lake.duckdb"
    write_views(settings, file)
    with duckdb.connect(str(file), read_only=True) as connection:
        yield connection


def test_pandas_reads_the_file_of_an_hour_with_every_column(settings: Settings) -> None:
    rows = pd.read_parquet(layout.hour_file(settings, lake.DOMAIN, "2026-11-23T09"))

    assert rows["action"].tolist() == ["email_received", "rule_created"]
    assert rows["timestamp"].dt.tz is not None
    rule = rows["rule"][1]
    assert list(rule["forward_keys"]) == RULE["forward_keys"]


def test_pandas_reads_the_lake_as_one_table(settings: Settings) -> None:
    rows = pd.read_parquet(settings.lake_root / "events")

    assert len(rows) == 2
    assert set(rows["domain_id"].astype(str)) == {lake.DOMAIN}


def test_times_come_into_python_with_their_zone(
    settings: Settings, plain: duckdb.DuckDBPyConnection
) -> None:
    query = "SELECT timestamp FROM events_live ORDER BY timestamp"
    with open_lake(settings) as ours:
        for connection in (ours, plain):
            rows = [row[0] for row in connection.sql(query).fetchall()]
            assert rows[0].astimezone(UTC) == lake.NINE + timedelta(seconds=1)
            assert rows[0].tzinfo is not None


@pytest.mark.parametrize("view", ["events", "events_live", "normalized", "hours"])
def test_every_view_becomes_a_data_frame_and_an_arrow_table(
    plain: duckdb.DuckDBPyConnection, view: str
) -> None:
    frame = plain.sql(f"FROM {view}").df()
    table = plain.sql(f"FROM {view}").to_arrow_table()

    assert isinstance(frame, pd.DataFrame)
    assert isinstance(table, pa.Table)
    assert len(frame) == table.num_rows > 0
