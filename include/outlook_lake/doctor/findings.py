"""What a check found, in a form that a terminal, a task note and a program can show."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

__all__ = ["Finding", "Report", "Verdict", "has_failed", "summary"]

Verdict = Literal["ok", "warning", "failed", "skipped"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One check: what was looked at, how it stands, what shows it, what to do."""

    check: str
    """Short name, one word: what tests and programs know it by."""
    verdict: Verdict
    evidence: str
    cure: str = ""
    """What to do; empty when nothing is."""
    tenant: str | None = None
    """Its domain_id; None = the check is about this home."""

    def as_dict(self) -> dict[str, Any]:
        """For JSON and XCom."""
        return dataclasses.asdict(self)


class Report:
    """Collects findings of one tenant, or of the home (None)."""

    def __init__(self, tenant: str | None = None) -> None:
        self.tenant = tenant
        self.findings: list[Finding] = []

    def ok(self, check: str, evidence: str) -> None:
        """As it should be."""
        self.add(check, "ok", evidence)

    def warn(self, check: str, evidence: str, cure: str) -> None:
        """Works, but somebody should look at it."""
        self.add(check, "warning", evidence, cure)

    def fail(self, check: str, evidence: str, cure: str) -> None:
        """Does not work until the cure is done."""
        self.add(check, "failed", evidence, cure)

    def skip(self, checks: Iterable[str], because: str) -> None:
        """Cannot be told before another check is mended."""
        for check in checks:
            self.add(check, "skipped", f"mend `{because}` first")

    def add(self, check: str, verdict: Verdict, evidence: str, cure: str = "") -> None:
        """One finding."""
        self.findings.append(Finding(check, verdict, evidence, cure, self.tenant))


def has_failed(findings: Iterable[Finding]) -> bool:
    """Whether something has to be mended; warnings and skipped checks are not that."""
    return any(finding.verdict == "failed" for finding in findings)


def summary(findings: Iterable[Finding]) -> str:
    """`17 ok, 1 failed: webhook`: one line for a note."""
    found = list(findings)
    counts = Counter(finding.verdict for finding in found)
    parts = []
    for verdict in ("ok", "warning", "failed", "skipped"):
        if counts[verdict]:
            named = [one.check for one in found if one.verdict == verdict]
            names = "" if verdict in ("ok", "skipped") else ": " + ", ".join(named)
            parts.append(f"{counts[verdict]} {verdict}{names}")
    return ", ".join(parts)
