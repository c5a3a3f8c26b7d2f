"""What a replay would play, in counts: nothing is played and no address is shown."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from graph_simulator.traffic.laying import Laying

__all__ = ["preview", "readable"]

BUSIEST_FOR_MINUTES = 10.0


def preview(laying: Laying, zone: str, minutes: float | None) -> dict[str, Any]:
    """Counts of a laying: per local hour, in the busiest second, over everything."""
    acts = laying.acts
    instants = acts["at_us"].cast(pa.timestamp("us", "UTC"))
    local = pc.local_timestamp(instants.cast(pa.timestamp("us", zone)))
    counted = pa.table(
        {
            "hour": pc.hour(local),
            "second": pc.floor_temporal(local, unit="second"),
            "do": acts["do"],
            "records": acts["records"],
        }
    )
    by_hour: dict[str, dict[str, int]] = {}
    for row in (
        counted.group_by(["hour", "do"])
        .aggregate([("records", "sum"), ("records", "count")])
        .to_pylist()
    ):
        hour = by_hour.setdefault(f"{row['hour']:02d}", {"send": 0, "receive": 0, "records": 0})
        hour[row["do"]] = row["records_count"]
        hour["records"] += row["records_sum"]
    seconds = counted.group_by("second").aggregate([("records", "sum")])
    top = seconds.sort_by([("records_sum", "descending"), ("second", "ascending")]).slice(0, 1)
    length = (laying.ends_at - laying.begins_at).total_seconds()
    machine_seconds = (minutes or BUSIEST_FOR_MINUTES) * 60
    return {
        "mailboxes": len(laying.mailboxes),
        "mailboxes_with_mail": laying.mailboxes_with_mail,
        "messages": pc.count_distinct(acts["message_no"]).as_py(),
        "acts": len(acts),
        "sends": pc.sum(pc.equal(acts["do"], "send")).as_py(),
        "receives": pc.sum(pc.equal(acts["do"], "receive")).as_py(),
        "records": laying.records,
        "begins_at": laying.begins_at.isoformat(),
        "ends_at": laying.ends_at.isoformat(),
        "minutes": machine_seconds / 60,
        "speed": length / machine_seconds,
        "mean_records_per_machine_s": round(laying.records / machine_seconds, 1),
        "by_hour": dict(sorted(by_hour.items())),
        "busiest_second": {
            "local": top["second"][0].as_py().isoformat(sep=" "),
            "records": top["records_sum"][0].as_py(),
        },
        "days_played": len(laying.days),
        "days_in_file": laying.days_in_file,
        "first_day": laying.days[0].day.isoformat(),
        "last_day": laying.days[-1].day.isoformat(),
        "records_in_file": laying.records_in_file,
        "skipped": laying.skipped,
        "recipients_dropped": laying.recipients_dropped,
    }


def readable(counts: dict[str, Any]) -> str:
    """The counts of `preview` as a page for people."""
    widest = max(hour["records"] for hour in counts["by_hour"].values())
    lines = [
        f"{counts['records']:,} records in {counts['mailboxes']} mailboxes: "
        f"{counts['sends']:,} sends, {counts['receives']:,} receives "
        f"({counts['messages']:,} messages)",
        f"{counts['days_played']} of {counts['days_in_file']} days of the file, "
        f"{counts['first_day']} to {counts['last_day']}" + _unplayed(counts),
        f"played from {counts['begins_at']} to {counts['ends_at']}: in {counts['minutes']:g} "
        f"minutes at {counts['speed']:,.0f}x, {counts['mean_records_per_machine_s']} records a "
        "machine second",
        "",
        "local hour   sends  receives  records",
        *(
            f"{hour:>10}  {n['send']:>6}  {n['receive']:>8}  {n['records']:>7}  "
            + "█" * round(30 * n["records"] / widest)
            for hour, n in counts["by_hour"].items()
        ),
        "",
        f"busiest second {counts['busiest_second']['local']}: "
        f"{counts['busiest_second']['records']} records",
    ]
    left_out = ", ".join(f"{reason} {n:,}" for reason, n in counts["skipped"].items())
    if left_out:
        lines.append(f"rows left out: {left_out}")
    if counts["recipients_dropped"]:
        lines.append(
            f"recipients that are no addresses, left out: {counts['recipients_dropped']:,}"
        )
    return "\n".join(lines)


def _unplayed(counts: dict[str, Any]) -> str:
    if counts["days_played"] == counts["days_in_file"]:
        return ""
    return (
        f" (all days hold {counts['records_in_file']:,} records: --all-days or a larger --limit "
        "plays more)"
    )
