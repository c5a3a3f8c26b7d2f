"""Where things lie in the lake, and the one place a tenant's name becomes a folder."""

from __future__ import annotations

import re
from pathlib import Path

from outlook_lake.clock import hour_name, parse_hour
from outlook_lake.errors import UsageError
from outlook_lake.settings import Settings

__all__ = [
    "check_domain",
    "check_hour",
    "directory_file",
    "empty_table",
    "events_glob",
    "hour_file",
    "table_file",
    "table_files",
]

_DOMAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*(\.[A-Za-z0-9_-]+)*")
_DOMAIN_LENGTH = 100


def check_domain(domain_id: str) -> str:
    """The tenant's name if it can be a folder; UsageError otherwise."""
    if len(domain_id) > _DOMAIN_LENGTH or not _DOMAIN.fullmatch(domain_id):
        raise UsageError(
            f"{domain_id!r} cannot name a tenant in the lake: expected up to {_DOMAIN_LENGTH} "
            "letters, digits, '-', '_' and single dots, beginning with a letter or digit"
        )
    return domain_id


def check_hour(name: str) -> str:
    """An hour's name in its one spelling, `YYYY-MM-DDTHH` UTC; UsageError otherwise."""
    try:
        return hour_name(parse_hour(name))
    except ValueError as error:
        raise UsageError(str(error)) from None


def hour_file(settings: Settings, domain_id: str, hour: str) -> Path:
    """The file of one tenant and hour, whether it is there or not."""
    date, _, number = check_hour(hour).partition("T")
    return (
        settings.lake_root
        / "events"
        / f"domain_id={check_domain(domain_id)}"
        / f"event_date={date}"
        / f"event_hour={number}"
        / "events.parquet"
    )


def events_glob(settings: Settings) -> str:
    """A pattern that matches every sealed hour and nothing else."""
    return str(settings.lake_root / "events" / "*" / "*" / "*" / "events.parquet")


def table_file(settings: Settings, name: str, domain_id: str) -> Path:
    """A tenant's table of that name (`hours`, `gaps`, …), whether it is there or not."""
    folder = f"domain_id={check_domain(domain_id)}"
    return settings.lake_root / name / folder / f"{name}.parquet"


def table_files(settings: Settings, name: str) -> dict[str, Path]:
    """The tables of that name that are there, by tenant."""
    found = (settings.lake_root / name).glob(f"domain_id=*/{name}.parquet")
    return {path.parent.name.partition("=")[2]: path for path in found}


def empty_table(settings: Settings, name: str) -> Path:
    """A file without rows, so that a lake with no tenant has columns."""
    return settings.lake_root / name / "_columns" / f"{name}.parquet"


def directory_file(settings: Settings) -> Path:
    """Addresses and names; only `--reveal` opens it."""
    return settings.directory_root / "directory.parquet"
