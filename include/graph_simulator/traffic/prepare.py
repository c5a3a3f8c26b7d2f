"""Prepare first, go later: mailboxes exist and can be primed before the clock starts to run.

start(world, spec)   tenant and mailboxes, the plan ready; the clock is left alone
go(world, traffic)   Graph time to the first minute of the play, and its speed
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from graph_simulator.traffic.errors import TrafficClockError
from graph_simulator.traffic.laying import last_whole_wednesday, played_hours
from graph_simulator.traffic.model import DEFAULT_OFFICE_MAILBOXES, Traffic, TrafficSpec
from graph_simulator.traffic.office import OfficeTraffic
from graph_simulator.traffic.people import Office, Seat, found_office
from graph_simulator.traffic.readers import Hours
from graph_simulator.traffic.replay import ReplayTraffic, lay_spec
from graph_simulator.traffic.steady import SteadyTraffic
from graph_simulator.world.model import Mailbox
from graph_simulator.world.world import World

__all__ = ["OFFICE_DOMAIN", "go", "start", "start_back"]

OFFICE_DOMAIN = "contoso.example"
AHEAD = timedelta(hours=1)
"""Graph time before the first act in which mailboxes are subscribed and primed."""


def start(
    world: World, spec: Mapping[str, Any] | TrafficSpec, *, history: int = 20
) -> ReplayTraffic | OfficeTraffic | SteadyTraffic:
    """Make the tenant and mailboxes that `spec` needs, and its traffic. The clock is left alone.

    A tenant or mailbox that exists already is used as it is. `history` = messages a new mailbox
    holds from before now. Raises TrafficError.
    """
    asked = spec if isinstance(spec, TrafficSpec) else TrafficSpec.parse(spec)
    if asked.file is not None:
        laying, unreadable = lay_spec(asked, datetime.now(UTC))
        _add_mailboxes(
            world, laying.internal_domains[0], laying.mailboxes, asked.time_zone, history
        )
        return ReplayTraffic(laying, asked, unreadable)
    office = _office(world, asked, history)
    begins_at = world.when(world.clock.instant())
    if asked.rate:
        return SteadyTraffic(office, asked, begins_at)
    return OfficeTraffic(office, asked, begins_at)


def go(world: World, traffic: Traffic) -> None:
    """Let `traffic` begin: a replay sets the clock to its first minute and to its speed.

    Raises TrafficClockError when Graph time is past that minute.
    """
    now = world.when(world.clock.instant())
    if isinstance(traffic, ReplayTraffic):
        ahead = (traffic.begins_at - now).total_seconds()
        if ahead < 0:
            raise TrafficClockError(
                f"Graph time is {now:%Y-%m-%d %H:%M} UTC, and this traffic begins at "
                f"{traffic.begins_at:%Y-%m-%d %H:%M} UTC",
                "Start a simulator with --traffic FILE, or with a --start-back before that",
            )
        world.clock.advance(ahead)
        if traffic.speed is not None:
            world.clock.set_speed(traffic.speed)
        now = traffic.begins_at
    traffic.begin(now, world.clock.speed)
    world.clock.changed.append(lambda: traffic.keep_pace(world.clock.speed))


def start_back(spec: TrafficSpec, now: datetime) -> timedelta | None:
    """How far behind machine time `now` (UTC) the clock must start; None = as one likes.

    One Graph hour is left before the first act, for subscribing and priming.
    """
    if spec.file is None:
        return None
    if spec.unfolded:
        return now - lay_spec(spec, now)[0].begins_at + AHEAD
    day = spec.day or last_whole_wednesday(now, spec.time_zone)
    return now - played_hours(day, spec.time_zone)[0] + AHEAD


def _add_mailboxes(
    world: World, domain: str, addresses: Iterable[str], zone: str, history: int
) -> None:
    tenant = world.tenant(domain) or world.create_tenant(domain, 0)
    for address in addresses:
        if world.find(address) is None:
            world.add_mailbox(tenant, address, history=history, time_zone=zone)


def _office(world: World, asked: TrafficSpec, history: int) -> Office:
    wanted = asked.mailboxes or DEFAULT_OFFICE_MAILBOXES
    staff = next((people for people in world.staff.values() if people), None)
    if staff is None:
        tenant = world.create_tenant(OFFICE_DOMAIN, wanted, seed=asked.seed, history=history)
        staff = world.staff[tenant.number]
    return found_office([_seat(mailbox) for mailbox in staff[:wanted]], asked.seed)


def _seat(mailbox: Mailbox) -> Seat:
    first, last = int(mailbox.day_start[:2]), int(mailbox.day_end[:2])
    hours = Hours(mailbox.time_zone, first, last, weekends=False)
    return Seat(mailbox.address, mailbox.aad_id, mailbox.department, hours)
