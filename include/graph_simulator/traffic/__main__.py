"""Show what a traffic file would play, without playing it.

    python -m graph_simulator.traffic FILE.parquet --mailboxes 300 --minutes 10
    python -m graph_simulator.traffic FILE.parquet --all-days --json

Exit code 0, or 2 when the file or an option is wrong.
"""

from __future__ import annotations

import argparse
import json
import sys
from datetime import UTC, datetime

from graph_simulator.traffic.errors import TrafficError
from graph_simulator.traffic.model import DEFAULT_FILE_MAILBOXES, DEFAULT_LIMIT, TrafficSpec
from graph_simulator.traffic.preview import preview, readable
from graph_simulator.traffic.replay import lay_spec


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m graph_simulator.traffic",
        description="Show what a traffic file would play, without playing it.",
        epilog="example: python -m graph_simulator.traffic mail.parquet --mailboxes 300 --json",
    )
    parser.add_argument("file", help="Parquet file, one row a message")
    parser.add_argument("--mailboxes", type=int, default=DEFAULT_FILE_MAILBOXES, metavar="N")
    parser.add_argument("--minutes", type=float, metavar="M", help="machine minutes of the play")
    parser.add_argument(
        "--limit",
        type=int,
        default=DEFAULT_LIMIT,
        metavar="RECORDS",
        help=f"take whole days until so many records (default {DEFAULT_LIMIT:,})",
    )
    parser.add_argument("--all-days", action="store_true", help="take all days of the file")
    parser.add_argument("--unfolded", action="store_true", help="keep the dates of the file")
    parser.add_argument("--time-zone", metavar="ZONE", help="default America/Chicago")
    parser.add_argument("--day", metavar="YYYY-MM-DD", help="day to lay everything on")
    parser.add_argument("--json", action="store_true", help="one JSON object")
    asked = vars(parser.parse_args(arguments))
    as_json = asked.pop("json")
    try:
        spec = TrafficSpec.parse(asked)
        laying, unreadable = lay_spec(spec, datetime.now(UTC))
    except TrafficError as error:
        print(error.message, file=sys.stderr)
        return 2
    counts = preview(laying, spec.time_zone, spec.minutes)
    if unreadable:
        counts["skipped"] = {**counts["skipped"], "unreadable": unreadable}
    print(json.dumps(counts) if as_json else readable(counts))
    return 0


if __name__ == "__main__":
    sys.exit(main())
