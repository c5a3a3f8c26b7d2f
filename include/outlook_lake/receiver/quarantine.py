"""What was refused, counted by minute and reason, never kept.

    one minute x one reason = a count, bytes, and at most 20 samples (sha256 and size)

The reasons are a fixed list and the samples are bounded, so a flood of a million forgeries
costs the disk what ten of them cost.
"""

from __future__ import annotations

import hashlib
import logging

import msgspec

from outlook_lake.receiver.segments import Quarantined, record

__all__ = ["REASONS", "Quarantine"]

log = logging.getLogger(__name__)

STAGE = "receiver"
SAMPLES = 20
MINUTE_US = 60_000_000
MOST_WAITING = 200
"""Beyond so many minutes x reasons that could not be stored, samples are given up."""

REASONS = {
    "malformed_http": "what came is not HTTP",
    "malformed_json": "the body is not JSON with a list called value",
    "content_type": "the body is not announced as plain application/json",
    "too_large": "the body is over the limit",
    "too_slow": "a request that took longer than 10 s to come in",
    "too_many_items": "one POST holds more notifications than Graph would send",
    "bad_handshake": "a validation token that is empty, too long or not text",
    "bad_shape": "a notification whose fields have the wrong types",
    "bad_tenant": "a tenant id that is not one",
    "bad_subscription": "a subscription id that is not one",
    "bad_change": "neither a change nor a lifecycle event that we know",
    "bad_item_id": "an item id with characters no Graph id has",
    "no_client_state": "a notification without clientState",
    "bad_client_state": "a clientState that is none of ours by its form",
    "unknown_key": "a clientState signed with a key we do not have",
    "forged": "a clientState whose signature is wrong",
    "other_mailbox": "a clientState of another mailbox",
}
"""Every reason a receiver gives, in words an operator understands."""


class _Tally:
    __slots__ = ("bytes", "count", "samples")

    def __init__(self) -> None:
        self.count = 0
        self.bytes = 0
        self.samples: list[tuple[str, int]] = []


class Quarantine:
    """Counts of one receiver. Used from its event loop only."""

    def __init__(self) -> None:
        self._tallies: dict[tuple[int, str], _Tally] = {}
        self._sampled: dict[tuple[int, str], int] = {}
        self._said: dict[str, int] = {}
        self.total = 0

    def add(self, reason: str, content: bytes | memoryview, now: int, *, size: int = 0) -> None:
        """Count one refusal at `now` (microseconds, Graph time).

        `size` is what was announced where the content was not read.
        """
        key = (now - now % MINUTE_US, reason)
        tally = self._tallies.get(key)
        if tally is None:
            tally = self._tallies[key] = _Tally()
        tally.count += 1
        tally.bytes += size or len(content)
        self.total += 1
        sampled = self._sampled.get(key, 0)
        if content and sampled < SAMPLES:
            self._sampled[key] = sampled + 1
            tally.samples.append((hashlib.sha256(content).hexdigest(), len(content)))

    def drain(self) -> list[Quarantined]:
        """Take the counts since the last time; the log hears of each reason once a minute."""
        if not self._tallies:
            return []
        counts = [
            Quarantined(minute, STAGE, reason, tally.count, tally.bytes, tally.samples)
            for (minute, reason), tally in self._tallies.items()
        ]
        newest = max(minute for minute, _ in self._tallies)
        self._tallies.clear()
        for entry in counts:
            if self._said.get(entry.reason) != entry.minute:
                self._said[entry.reason] = entry.minute
                log.warning(
                    "refused %d time(s) so far this minute: %s, %s",
                    entry.count,
                    entry.reason,
                    REASONS[entry.reason],
                )
        for key in [key for key in self._sampled if key[0] < newest - MINUTE_US]:
            del self._sampled[key]
        return counts

    def put_back(self, counts: list[Quarantined]) -> None:
        """Counts that could not be written wait for the next time."""
        for entry in counts:
            tally = self._tallies.setdefault((entry.minute, entry.reason), _Tally())
            tally.count += entry.count
            tally.bytes += entry.bytes
            if len(self._tallies) <= MOST_WAITING:
                tally.samples += entry.samples


def quarantine_record(counts: list[Quarantined]) -> bytes:
    """The counts as one line of a segment."""
    return record(b"q", msgspec.json.encode(counts))
