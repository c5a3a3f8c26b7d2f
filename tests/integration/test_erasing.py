"""A person is forgotten: nothing names them, the lake stays whole, nobody brings them back."""

from __future__ import annotations

import json
from pathlib import Path

import duckdb
import pyarrow.parquet as pq
import pytest
from sqlalchemy import text

from outlook_lake.errors import UsageError
from outlook_lake.steps import erase_preview
from tests.support.stage import stage

pytestmark = pytest.mark.slow


def everything_under(home: Path) -> bytes:
    """All bytes of state, directory, log, lake and receipts (Parquet decompressed)."""
    found = []
    for path in sorted(home.rglob("*")):
        if "simulator" in path.parts or not path.is_file():
            continue
        if path.suffix == ".parquet":
            found.append(str(pq.read_table(path).to_pylist()).encode())
        else:
            found.append(path.read_bytes())
    return b"\n".join(found)


def test_an_erased_person_is_named_nowhere_and_never_comes_back(tmp_path: Path):
    with stage(tmp_path, OUTLOOK_LAKE_LAKE_THREADS="1") as made:
        made.run("subscriptions")
        made.run("prime")
        made.advance("PT5S")
        made.act(0, "receive", to=[made.address(0)])
        made.act(1, "send", to=[made.address(0)])
        made.settle()
        address, aad_id = made.address(0), made.users[0]["id"]
        events = duckdb.sql(
            f"SELECT count(*) FROM read_parquet('{made.home}/log/date=*/*.parquet')"
        ).fetchall()[0][0]

        with made.app() as app:
            shown = erase_preview(app, address)
        assert shown["rows"]["people"] >= 1
        assert shown["lake"]["events"] >= 2

        done = made.run("erase", person=address, by="tester")
        counts = made.run("subscriptions")
        made.act(0, "receive", to=[address])
        made.act(1, "send", to=[address])  # a colleague's mail does not bring them back
        made.settle()
        made.run("subscriptions")

        assert done["troubles"] == []
        assert counts["added"] == 0
        receipt = json.loads(Path(done["receipt"]).read_text())
        assert receipt["tuids"] == shown["tuids"]
        with made.app() as app:
            with app.db.write() as connection:
                states = connection.execute(text("SELECT state FROM mailbox")).scalars().all()
            with pytest.raises(UsageError, match="nobody is known"):
                erase_preview(app, address)
        assert sorted(states) == ["erased", "live", "live"]
        watched = {row["mailbox"] for row in made.call("GET", "subscriptions")["subscriptions"]}
        assert aad_id not in watched
        assert (
            duckdb.sql(
                f"SELECT count(*) FROM read_parquet('{made.home}/log/date=*/*.parquet')"
            ).fetchall()[0][0]
            >= events
        )
        told = everything_under(made.home / "directory") + Path(done["receipt"]).read_bytes()
        assert address.encode() not in told
        assert aad_id.encode() not in told


def test_forgetting_somebody_nobody_knows_is_told_so(tmp_path: Path):
    with stage(tmp_path, mailboxes=1) as made, made.app() as app:
        for person in ("nobody@elsewhere.example", "0" * 8 + "-0000-4000-8000-" + "0" * 12):
            with pytest.raises(UsageError, match="nothing to erase"):
                erase_preview(app, person)
        with pytest.raises(UsageError, match="by a mail address or by a tuid"):
            erase_preview(app, "Ann")
