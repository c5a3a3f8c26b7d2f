"""The doctor as a DAG: all checks in one task, then each as a task of its own to look at.

Airflow's own side is checked too: without a triggerer no doorbell rings.
"""

from __future__ import annotations

import asyncio
import json
import logging
import urllib.error
import urllib.request
from typing import Any

from outlook_lake.airflow.connections import tenant_connection
from outlook_lake.airflow.variable import VARIABLE, current_settings
from outlook_lake.doctor.findings import Finding, Report, summary

__all__ = ["check_one", "examine_all"]

log = logging.getLogger(__name__)

SPARE_SLOTS = 6
"""Executor slots beside one for each lane of the stream."""


def examine_all(tenant: str | None = None) -> list[dict[str, Any]]:
    """Every check, as dictionaries; the note of the run says how many are well."""
    from airflow.sdk import get_current_context
    from airflow.sdk.exceptions import AirflowFailException

    from outlook_lake.doctor import examine
    from outlook_lake.errors import UsageError

    try:
        findings = asyncio.run(examine(current_settings, tenant_connection, tenant))
    except UsageError as error:
        raise AirflowFailException(str(error)) from error
    findings += check_airflow()
    for finding in findings:
        log.info("%s", _line(finding))
    get_current_context()["ti"].xcom_push("note", summary(findings))
    return [finding.as_dict() for finding in findings]


def check_one(finding: dict[str, Any]) -> str:
    """Show one finding as this task: red when it failed, skipped when it could not be told."""
    from airflow.sdk import get_current_context
    from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

    one = Finding(**finding)
    about = f"{one.tenant} · " if one.tenant else ""
    get_current_context()["label"] = f"{about}{one.check}: {one.verdict}"  # type: ignore[typeddict-unknown-key]
    if one.verdict == "failed":
        raise AirflowFailException(_line(one))
    if one.verdict == "skipped":
        raise AirflowSkipException(_line(one))
    log.info("%s", _line(one))
    return _line(one)


def check_airflow() -> list[Finding]:
    """Airflow's own side: its parts, its slots, the Variable."""
    from airflow.sdk import conf

    report = Report()
    base = str(conf.get("api", "base_url", fallback="") or "http://localhost:8080").rstrip("/")
    _check_parts(report, base)
    slots = int(conf.get("core", "parallelism", fallback="32"))
    try:
        lanes = current_settings().stream.lanes
    except Exception:
        return report.findings  # told by the check of settings already
    needed = lanes + SPARE_SLOTS
    if slots < needed:
        report.warn(
            "slots",
            f"{slots} tasks may run at once; {needed} are needed beside a stream of {lanes} lanes",
            f"Set AIRFLOW__CORE__PARALLELISM to {needed} or more.",
        )
    else:
        report.ok("slots", f"{slots} tasks may run at once, {needed} are needed")
    report.ok("variable", f"{VARIABLE} can be used")
    return report.findings


def _check_parts(report: Report, base: str) -> None:
    url = f"{base}/api/v2/monitor/health"
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            health = json.load(answer)
    except (urllib.error.URLError, TimeoutError, ValueError) as error:
        report.warn(
            "airflow",
            f"{base} does not tell how Airflow is ({type(error).__name__})",
            "Set AIRFLOW__API__BASE_URL to an address tasks reach the API server at.",
        )
        return
    parts = ("scheduler", "triggerer", "dag_processor")
    ill = [name for name in parts if (health.get(name) or {}).get("status") != "healthy"]
    if ill:
        report.fail(
            "airflow",
            f"not healthy: {', '.join(ill)}",
            "Start it (`airflow triggerer`, `airflow dag-processor`): the doorbell of "
            "outlook_stream lives in the triggerer.",
        )
    else:
        report.ok("airflow", "scheduler, triggerer and dag-processor are healthy")


def _line(finding: Finding) -> str:
    about = f"{finding.tenant}: " if finding.tenant else ""
    told = f"{finding.verdict}: {about}{finding.check}: {finding.evidence}"
    return f"{told} → {finding.cure}" if finding.cure else told
