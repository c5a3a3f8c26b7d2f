"""What analysts see: each event once, seconds after it happened, from files alone."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sqlalchemy import text

from outlook_lake.clock import graph_now, hour_start
from outlook_lake.errors import UsageError
from outlook_lake.events.schema import EVENT_SCHEMA
from outlook_lake.lake import layout
from outlook_lake.lake.export import export
from outlook_lake.lake.views import VIEWS, open_lake, write_views
from outlook_lake.settings import Settings
from outlook_lake.state.database import Database
from tests.support import lake

SEED_EVENT = {
    "event_id": "d4e5f6a7-b8c9-0123-defg-456789012345",
    "event_type": "EMAIL",
    "source": "OUTLOOK",
    "signal_type": "COMMUNICATIONS",
    "domain_id": "customer-domain-001",
    "tuid": "tuid-jane-doe-001",
    "timestamp": "2026-03-15T09:15:02.000Z",
    "payload": {
        "event_id": "msg-graph-id-001",
        "user": "jane.doe@acme.com",
        "action": "email_received",
        "from_domain": "external.com",
        "is_external_sender": True,
        "recipient_count": 2,
        "to_domains": ["acme.com"],
        "cc_domains": ["acme.com"],
        "has_attachments": True,
        "importance": "high",
        "is_read": False,
        "conversation_id": "conv-id-001",
    },
    "raw_metadata": {
        "platform_event_id": "msg-graph-id-001",
        "change_type": "created",
        "from_address": "partner@external.com",
        "from_name": "External Partner",
        "to_count": 1,
        "cc_count": 1,
        "to_domains": ["acme.com"],
        "cc_domains": ["acme.com"],
        "from_domain": "external.com",
        "is_external": True,
        "has_attachments": True,
        "importance": "high",
        "is_read": False,
        "is_draft": False,
        "internet_message_id": "<AAkALgAAAAAAHYQD@acme.com>",
        "conversation_id": "conv-id-001",
        "flag_status": "notFlagged",
        "received_at": "2026-03-15T09:15:02.000Z",
        "sent_at": "2026-03-15T09:14:58.000Z",
        "created_at": "2026-03-15T09:15:00.000Z",
        "source_platform": "microsoft_outlook",
    },
    "platform_event_id": "msg-graph-id-001",
    "platform_event_source": "MICROSOFT_GRAPH_OUTLOOK_API",
}
"""The event the product promises to publish, word for word."""


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return lake.home(tmp_path)


@pytest.fixture
def db(settings: Settings) -> Iterator[Database]:
    database = Database.open(settings)
    yield database
    database.close()


def seqs(settings: Settings, view: str) -> list[int]:
    with open_lake(settings) as connection:
        return [
            row[0] for row in connection.execute(f"SELECT seq FROM {view} ORDER BY 1").fetchall()
        ]


def seed_row() -> lake.Row:
    at = lake.NINE.replace(year=2026, month=3, day=15, hour=9, minute=15, second=2)
    return lake.event(
        1,
        at=at,
        domain_id="customer-domain-001",
        event_id=SEED_EVENT["event_id"],
        tuid=SEED_EVENT["tuid"],
        platform_event_id="msg-graph-id-001",
        from_key=lake.key("partner@external.com"),
        from_domain="external.com",
        to_domains=["acme.com"],
        cc_domains=["acme.com"],
        has_attachments=True,
        importance="high",
        conversation_id="conv-id-001",
        internet_message_id="<AAkALgAAAAAAHYQD@acme.com>",
        received_at=at,
        sent_at=at - timedelta(seconds=4),
        created_at=at - timedelta(seconds=2),
    )


def write_directory(settings: Settings) -> None:
    path = layout.directory_file(settings)
    path.parent.mkdir(parents=True, exist_ok=True)
    people = [
        ("jane.doe@acme.com", "Jane Doe", SEED_EVENT["tuid"], "acme.com"),
        ("partner@external.com", "External Partner", None, "external.com"),
    ]
    rows = [
        {
            "tenant_id": lake.TENANT,
            "address_key": lake.key(address),
            "tuid": tuid,
            "address": address,
            "name": name,
            "domain": domain,
            "first_seen": lake.NINE,
        }
        for address, name, tuid, domain in people
    ]
    pq.write_table(pa.Table.from_pylist(rows), path)
    path.chmod(0o600)


def normalized(settings: Settings, *, reveal: bool) -> dict[str, object]:
    with open_lake(settings, reveal=reveal) as connection:
        ((line,),) = connection.execute("SELECT to_json(normalized) FROM normalized").fetchall()
    event: dict[str, object] = json.loads(line)
    return event


def test_normalized_renders_the_published_event_to_the_letter(
    db: Database, settings: Settings
) -> None:
    lake.commit(db, settings, [seed_row()])
    write_directory(settings)

    event = normalized(settings, reveal=True)

    assert json.dumps(event) == json.dumps(SEED_EVENT)  # the order of the keys counts, too


def test_without_reveal_nobodys_address_or_name_is_there(db: Database, settings: Settings) -> None:
    lake.commit(db, settings, [seed_row()])
    write_directory(settings)

    event = normalized(settings, reveal=False)

    expected = json.loads(json.dumps(SEED_EVENT))
    expected["payload"]["user"] = None
    expected["raw_metadata"]["from_address"] = None
    expected["raw_metadata"]["from_name"] = None
    assert event == expected


def test_revealing_without_a_directory_says_what_to_do(db: Database, settings: Settings) -> None:
    with pytest.raises(UsageError, match="outlook-lake run maintain"):
        open_lake(settings, reveal=True)


def test_a_lake_without_any_file_has_all_views_and_columns(settings: Settings) -> None:
    with open_lake(settings) as connection:
        for view in VIEWS:
            assert connection.execute(f"SELECT count(*) FROM {view}").fetchall() == [(0,)]
        columns = connection.sql("SELECT * FROM events_live").columns
    assert columns == ["domain_id", "hour", "event_date", "event_hour", *EVENT_SCHEMA.names]


def test_a_committed_event_is_live_before_its_hour_is_over(
    db: Database, settings: Settings
) -> None:
    lake.commit(db, settings, [lake.event(1, at=hour_start(graph_now()))])

    assert (seqs(settings, "events_live"), seqs(settings, "events")) == ([1], [])


def test_live_is_sealed_hours_and_what_follows_each_event_once(
    db: Database, settings: Settings
) -> None:
    lake.commit(db, settings, [lake.event(1), lake.event(2)])
    export(db, settings)
    lake.commit(db, settings, [lake.event(3), lake.event(4, at=hour_start(graph_now()))])

    assert seqs(settings, "events") == [1, 2]
    assert seqs(settings, "events_live") == [1, 2, 3, 4]


def test_a_batch_that_is_partly_sealed_gives_its_other_hours(
    db: Database, settings: Settings
) -> None:
    lake.commit(db, settings, [lake.event(1), lake.event(2, at=hour_start(graph_now()))])
    export(db, settings)

    assert seqs(settings, "events_live") == [1, 2]


def test_a_reader_between_the_files_replacement_and_the_new_list_sees_each_event_once(
    db: Database, settings: Settings
) -> None:
    lake.commit(db, settings, [lake.event(1), lake.event(2)])
    before = (settings.log / "live.parquet").read_bytes()
    export(db, settings)
    (settings.log / "live.parquet").write_bytes(before)

    assert seqs(settings, "events_live") == [1, 2]


def test_a_file_without_a_manifest_row_does_not_exist(db: Database, settings: Settings) -> None:
    from outlook_lake.events import log

    lake.commit(db, settings, [lake.event(1)])
    log.write_batch(lake.table([lake.event(2)]), settings)

    assert seqs(settings, "events_live") == [1]


def test_an_open_connection_sees_what_is_committed_and_sealed_later(
    db: Database, settings: Settings
) -> None:
    lake.commit(db, settings, [lake.event(1)])
    export(db, settings)
    with open_lake(settings) as connection:
        lake.commit(db, settings, [lake.event(4000)])
        live = connection.execute("SELECT count(*) FROM events_live").fetchall()
        export(db, settings)
        sealed = connection.execute("SELECT count(*) FROM events").fetchall()
    assert (live, sealed) == ([(2,)], [(2,)])


def test_a_question_about_one_hour_opens_one_file(db: Database, settings: Settings) -> None:
    lake.commit(db, settings, [lake.event(3600 * n) for n in range(8)])
    export(db, settings)
    with open_lake(settings) as connection:
        ((_, plan),) = connection.execute(
            "EXPLAIN ANALYZE SELECT count(event_id) FROM events WHERE hour = '2026-11-23T11'"
        ).fetchall()
    assert "Scanning Files: 1/8" in plan


def test_only_the_listed_batches_of_the_event_log_are_opened(
    db: Database, settings: Settings
) -> None:
    for number in range(6):
        lake.commit(db, settings, [lake.event(number)])
    export(db, settings)
    lake.commit(db, settings, [lake.event(9)])
    for batch in sorted(settings.log.glob("date=*/*.parquet")):
        with db.read() as connection:
            path = connection.execute(text("SELECT path FROM batch WHERE seq = 7")).scalar_one()
        if batch != settings.home / path:
            batch.write_bytes(b"not a Parquet file any more")

    assert seqs(settings, "events_live") == [0, 1, 2, 3, 4, 5, 9]


def test_times_of_normalized_are_utc_whatever_the_sessions_time_zone(
    db: Database, settings: Settings
) -> None:
    lake.commit(db, settings, [seed_row()])
    with open_lake(settings) as connection:
        connection.execute("SET TimeZone = 'America/New_York'")
        rows = connection.execute("SELECT timestamp FROM normalized").fetchall()
    assert rows == [("2026-03-15T09:15:02.000Z",)]


def test_the_views_file_serves_a_plain_duckdb_from_any_folder(
    db: Database, settings: Settings, tmp_path: Path
) -> None:
    lake.commit(db, settings, [lake.event(1)])
    export(db, settings)
    lake.commit(db, settings, [lake.event(2)])
    file = tmp_path / "elsewhere" / "lake.duckdb"

    assert write_views(settings, file) is True

    plain = (
        "import duckdb, sys; c = duckdb.connect(sys.argv[1], read_only=True);"
        "print([c.execute(f'SELECT count(*) FROM {v}').fetchone()[0]"
        " for v in ('events', 'events_live', 'normalized', 'hours', 'directory')])"
    )
    answer = subprocess.run(
        [sys.executable, "-c", plain, str(file)],
        cwd="/",
        capture_output=True,
        text=True,
        check=True,
    )
    assert answer.stdout.strip() == "[1, 2, 2, 1, 0]"
    assert [path.name for path in file.parent.iterdir()] == ["lake.duckdb"]


def test_the_views_file_of_an_empty_lake_says_so(settings: Settings, tmp_path: Path) -> None:
    assert write_views(settings, tmp_path / "lake.duckdb") is False


@pytest.mark.parametrize("folder", ["with space", "quote's", "brac[ket]s", "star*", "what?", "{x}"])
def test_a_home_may_have_any_folder_name(tmp_path: Path, folder: str) -> None:
    settings = lake.home(tmp_path / folder.replace("?", "7"))
    database = Database.open(settings)
    lake.commit(database, settings, [lake.event(1)])
    export(database, settings)
    lake.commit(database, settings, [lake.event(2)])
    database.close()

    assert seqs(settings, "events_live") == [1, 2]
