"""What has to be right on this machine before anybody is asked: settings, home, database."""

from __future__ import annotations

import shutil
import stat
import tempfile
from pathlib import Path

from sqlalchemy import func, select
from sqlalchemy.exc import SQLAlchemyError

from outlook_lake.doctor.findings import Report
from outlook_lake.errors import OutlookLakeError
from outlook_lake.settings import Settings
from outlook_lake.state import Database
from outlook_lake.state.migrate import HEAD
from outlook_lake.state.tables import mailbox, tenant

__all__ = ["check_database", "check_home", "check_permissions"]

LITTLE_SPACE = 5 << 30
"""Bytes free below which the doctor warns: about an hour of 100,000 busy mailboxes is 0.1 GB."""
NO_SPACE = 200 << 20
"""Bytes free below which it fails: segments, log and lake would stop."""


def check_home(report: Report, settings: Settings) -> bool:
    """Every folder can be written, and there is space; returns whether work can go on."""
    for name, folder in (
        ("home", settings.home),
        ("staging", settings.staging),
        ("log", settings.log),
        ("lake", settings.lake_root),
    ):
        why = _not_writable(folder)
        if why:
            report.fail(
                "home",
                f"the {name} folder cannot be written: {folder}: {why}",
                "Give the user who runs this write access to it, or name another folder in "
                "OUTLOOK_LAKE_HOME.",
            )
            return False
    free = shutil.disk_usage(settings.home).free
    told = f"{settings.home} can be written, {_gb(free)} free"
    if free < NO_SPACE:
        report.fail("home", told, "Free space, or move the home to a larger disk.")
        return False
    if free < LITTLE_SPACE:
        report.warn("home", told, "Free space soon: a full disk stops notifications.")
    else:
        report.ok("home", told)
    return True


def check_permissions(report: Report, settings: Settings) -> None:
    """Keys, directory and state are nobody else's business."""
    places = [settings.keys, settings.directory_root]
    if settings.state_file is not None:
        places.append(settings.state_file)
    open_ = [path for path in places if path.exists() and _others_may_read(path)]
    if open_:
        report.warn(
            "permissions",
            "others may read " + ", ".join(str(path) for path in open_),
            "`chmod -R go-rwx " + " ".join(str(path) for path in open_) + "`",
        )
    else:
        report.ok("permissions", "keys, directory and state are readable by their owner only")


def check_database(report: Report, settings: Settings) -> Database | None:
    """The state database opens, has this release's version, and answers."""
    where = settings.state_url.split("@")[-1]
    try:
        db = Database.open(settings)
        with db.read() as connection:
            tenants = connection.execute(select(func.count()).select_from(tenant)).scalar_one()
            boxes = connection.execute(select(func.count()).select_from(mailbox)).scalar_one()
    except OutlookLakeError as error:
        report.fail(
            "database",
            f"{where}: {error}",
            "Check that OUTLOOK_LAKE_DATABASE_URL is right and the server runs; "
            "docs/operate/deploy.md, State database, says more.",
        )
        return None
    except ImportError as error:
        report.fail(
            "database",
            f"{where}: its driver is not installed ({error.name})",
            f"`pip install {error.name}`, or leave OUTLOOK_LAKE_DATABASE_URL out for SQLite.",
        )
        return None
    except (SQLAlchemyError, OSError) as error:
        report.fail(
            "database",
            f"{where} does not answer ({type(error).__name__})",
            "Check that OUTLOOK_LAKE_DATABASE_URL is right and the server runs; an SQLite file "
            "that is damaged is put back from a backup, then `outlook-lake migrate --restored`.",
        )
        return None
    report.ok("database", f"{where}: version {HEAD}, {tenants} tenants, {boxes} mailboxes")
    return db


def _not_writable(folder: Path) -> str:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".doctor-"):
            return ""
    except OSError as error:
        return error.strerror or type(error).__name__


def _others_may_read(path: Path) -> bool:
    return bool(path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO))


def _gb(size: int) -> str:
    return f"{size / (1 << 30):.1f} GB"
