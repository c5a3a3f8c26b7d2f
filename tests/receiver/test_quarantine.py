"""What is refused is counted, sampled a little, and never kept."""

from __future__ import annotations

import hashlib

from outlook_lake.receiver.quarantine import Quarantine, quarantine_record

MINUTE = 60_000_000


def test_counts_are_by_minute_and_reason() -> None:
    quarantine = Quarantine()
    quarantine.add("forged", b"abc", 5)
    quarantine.add("forged", b"de", MINUTE - 1)
    quarantine.add("forged", b"f", MINUTE)
    quarantine.add("too_large", b"", 7, size=5_000)

    found = {(c.minute, c.reason): (c.count, c.bytes, len(c.samples)) for c in quarantine.drain()}

    assert found == {
        (0, "forged"): (2, 5, 2),
        (MINUTE, "forged"): (1, 1, 1),
        (0, "too_large"): (1, 5_000, 0),
    }
    assert quarantine.drain() == []


def test_a_sample_is_a_digest_and_a_size() -> None:
    quarantine = Quarantine()
    quarantine.add("forged", b"the content", 0)

    [entry] = quarantine.drain()

    assert entry.samples == [(hashlib.sha256(b"the content").hexdigest(), 11)]


def test_a_flood_costs_the_disk_no_more_than_a_trickle() -> None:
    quarantine = Quarantine()
    written = 0
    for _ in range(30):  # stored every two seconds of a minute
        for number in range(1_000):
            quarantine.add("forged", b"%d" % number, 30)
        written += len(quarantine_record(quarantine.drain()))

    assert written < 6_000  # 30 counts of about 100 bytes, 20 samples of about 75


def test_samples_stop_at_twenty_over_the_whole_minute() -> None:
    quarantine = Quarantine()
    samples = 0
    for _ in range(5):
        for number in range(9):
            quarantine.add("forged", b"%d" % number, 30)
        samples += sum(len(entry.samples) for entry in quarantine.drain())

    assert samples == 20


def test_counts_that_could_not_be_stored_are_added_to_the_next() -> None:
    quarantine = Quarantine()
    quarantine.add("forged", b"abc", 0)
    quarantine.put_back(quarantine.drain())
    quarantine.add("forged", b"abc", 0)

    [entry] = quarantine.drain()

    assert (entry.count, entry.bytes, len(entry.samples)) == (2, 6, 2)
