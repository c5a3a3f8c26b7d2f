"""`outlook-lake run STEP`: one step without Airflow, the same function the DAGs call."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from enum import StrEnum
from typing import Annotated, Any

import typer

from outlook_lake.application import Application
from outlook_lake.commands.output import AsJson, answer, fail_unless, guarded, say, table
from outlook_lake.errors import UsageError
from outlook_lake.lake.layout import check_hour
from outlook_lake.settings import Settings

__all__ = ["Step", "run"]


class Step(StrEnum):
    """The steps there are."""

    SUBSCRIPTIONS = "subscriptions"
    PRIME = "prime"
    STREAM = "stream"
    CATCH_UP = "catch-up"
    EXPORT = "export"
    MAINTAIN = "maintain"
    WITNESS = "witness"


@guarded
def run(
    step: Annotated[Step, typer.Argument(help="Which step.")],
    tenant: Annotated[
        str | None, typer.Option(metavar="DOMAIN_ID", help="Only this tenant.")
    ] = None,
    hour: Annotated[
        str | None,
        typer.Option(metavar="YYYY-MM-DDTHH", help="For catch-up, export and witness: this hour."),
    ] = None,
    until_idle: Annotated[
        bool, typer.Option("--until-idle", help="For stream and prime: end when nothing is left.")
    ] = False,
    plan_only: Annotated[
        bool,
        typer.Option("--plan-only", help="For subscriptions: show the plan, touch none of them."),
    ] = False,
    reconcile: Annotated[
        bool,
        typer.Option("--reconcile", help="For subscriptions: compare with Graph's own list now."),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Do one step, as the DAG of that name does it, and print what was done.

    What befell single tenants is told on stderr after all others were served; the exit code is
    1 then.

    Example: outlook-lake run export --hour 2026-11-24T09 --json
    """
    given = {
        "tenant": tenant,
        "hour": None if hour is None else check_hour(hour),
        "until_idle": until_idle or None,
        "plan_only": plan_only or None,
        "reconcile": reconcile or None,
    }
    with Application.open(Settings.load()) as app:
        counts = _call(step, app, {name: value for name, value in given.items() if value})
    if as_json:
        answer({"step": step.value, **counts})
    else:
        _show(f"{step.value}: {'planned' if plan_only else 'done'}", counts)
    fail_unless(not counts.get("troubles"))


def _show(title: str, counts: dict[str, Any]) -> None:
    for line in counts.get("plan") or []:
        typer.echo(line)
    rows = [(name, told) for name, told in counts.items() if name not in ("plan", "troubles")]
    table(title, ("what", "how much"), rows)
    for one in counts.get("troubles") or []:
        say(f"outlook-lake: {one['tenant']}: {one['what']}")


def _call(step: Step, app: Application, options: dict[str, Any]) -> dict[str, Any]:
    from outlook_lake import steps

    function: Callable[..., Any] = getattr(steps, step.value.replace("-", "_"))
    known = inspect.signature(function).parameters
    strange = sorted(name for name in options if name not in known)
    if strange:
        named = ", ".join("--" + name.replace("_", "-") for name in strange)
        raise UsageError(f"{step.value} does not take {named}; see `outlook-lake run --help`")
    done = function(app, **options)
    if inspect.isawaitable(done):
        done = asyncio.run(_await(done))
    return dict(done)


async def _await(work: Awaitable[Any]) -> Any:
    return await work
