"""`python -m graph_simulator`: start a simulated Microsoft Graph and run until stopped."""

from __future__ import annotations

import argparse
import asyncio
import logging
import signal
import sys
from datetime import UTC, datetime
from pathlib import Path

import uvloop

from graph_simulator.clock import parse_duration
from graph_simulator.config import Config
from graph_simulator.errors import SimulatorError
from graph_simulator.server import Simulator, refusal_text
from graph_simulator.traffic import TrafficSpec, start_back

EPILOG = """examples:
  python -m graph_simulator --port 8081 --mailboxes 20
  python -m graph_simulator --port 8081 --tls-port 8444 --state /tmp/sim --mailboxes 20 \\
      --start-back PT3H --speed 60
"""


def _seconds(text: str) -> float:
    try:
        return parse_duration(text)
    except ValueError as found:
        raise argparse.ArgumentTypeError(str(found)) from None


def _latency(text: str) -> tuple[float, float]:
    try:
        low, _, high = text.partition("-")
        bounds = (float(low) / 1000, float(high or low) / 1000)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not LOW-HIGH in milliseconds") from None
    if not 0 <= bounds[0] <= bounds[1]:
        raise argparse.ArgumentTypeError("the lower bound must not exceed the higher one")
    return bounds


def parser() -> argparse.ArgumentParser:
    """The command line."""
    cli = argparse.ArgumentParser(
        prog="python -m graph_simulator",
        description="A stateful Microsoft Graph (mail metadata) with a clock one can move.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = cli.add_argument
    add("--port", type=int, required=True, help="plain HTTP on 127.0.0.1: Graph, token, control")
    add("--tls-port", type=int, help="the same over TLS (msal wants an https authority)")
    add("--state", type=Path, default=Path("simulator-state"), help="folder of the state")
    add(
        "--clock-file",
        type=Path,
        help="where the clock's line is written (default STATE/clock.json)",
    )
    add("--start-back", type=_seconds, metavar="PT3H",
        help="how far behind machine time Graph time starts")  # fmt: skip
    add("--speed", type=float, default=1.0, help="Graph seconds a machine second, until they meet")
    add("--seed", type=int, default=1, help="same seed, same tenant, ids and baseline")
    add("--mailboxes", type=int, default=0, help="mailboxes of the default tenant")
    add("--history", type=int, default=20, help="messages each has from before the start")
    add("--domain", default="contoso.example", help="domain of the default tenant")
    add("--traffic", type=Path, metavar="FILE",
        help='Parquet file of mail; POST /simulator/traffic {"go": true} plays it')  # fmt: skip
    add("--unfolded", action="store_true", help="keep the dates of the traffic file")
    add("--minutes", type=float, help="machine minutes the play takes")
    add("--delivery-latency", type=_latency, default=(0.05, 0.3), metavar="50-300",
        help="milliseconds between a change and its notification")  # fmt: skip
    add("--request-latency", type=float, default=8.0, metavar="MS",
        help="milliseconds a Graph request takes")  # fmt: skip
    add("--batch", type=int, default=50, help="most notifications in one POST")
    add("--endpoint-states", action="store_true",
        help="hold notifications back from slow endpoints, drop very slow ones'")  # fmt: skip
    add("--legacy", action="store_true",
        help="plain message fields in notifications, which Graph never sends")  # fmt: skip
    add("--delta-days", type=int, default=30, help="Graph days until a delta token is forgotten")
    return cli


def config_of(arguments: list[str] | None = None) -> Config:
    """The options of a command line."""
    given = parser().parse_args(arguments)
    state: Path = given.state
    traffic, back = None, given.start_back
    if given.traffic is not None:
        traffic = TrafficSpec(
            file=given.traffic, minutes=given.minutes, mailboxes=given.mailboxes or None,
            unfolded=given.unfolded, seed=given.seed,
        )  # fmt: skip
        ahead = start_back(traffic, datetime.now(UTC))
        if back is None and ahead is not None:
            back = ahead.total_seconds()
    return Config(
        port=given.port, state=state, tls_port=given.tls_port,
        clock_file=given.clock_file or state / "clock.json", start_back_s=back or 0.0,
        speed=given.speed, seed=given.seed,
        mailboxes=0 if traffic else given.mailboxes, history=given.history,
        domain=given.domain, traffic=traffic,
        delivery_latency_s=given.delivery_latency,
        request_latency_s=given.request_latency / 1000, batch=given.batch,
        delta_days=given.delta_days,
        endpoint_states=given.endpoint_states, legacy=given.legacy,
    )  # fmt: skip


async def run(config: Config) -> None:
    """Run until SIGINT or SIGTERM."""
    simulator = Simulator(config)
    await simulator.start()
    tls = f", https://127.0.0.1:{config.tls_port}" if config.tls_port else ""
    print(f"Graph simulator at http://127.0.0.1:{config.port}{tls} (state in {config.state})")
    sys.stdout.flush()
    done = asyncio.Event()
    loop = asyncio.get_running_loop()
    for name in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(name, done.set)
    await done.wait()
    await simulator.stop()


def main() -> int:
    """Exit code 0 = stopped as asked, 1 = could not start."""
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(message)s")
    config = config_of()
    try:
        config.state.mkdir(parents=True, exist_ok=True)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(run(config))
    except (SimulatorError, OSError) as found:
        print(f"graph_simulator: {refusal_text(found)}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
