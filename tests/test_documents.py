"""What the documents say is so: queries run, links lead somewhere, packages have their reason."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from outlook_lake.lake.views import open_lake

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_to_a_file_leads_to_one(page):
    text = re.sub(r"```.*?```|`[^`]*`", "", page.read_text(), flags=re.DOTALL)
    targets = [t.split("#")[0] for t in re.findall(r"\]\(([^)\s]+)\)", text)]
    local = [target for target in targets if target and "://" not in target]
    assert not [target for target in local if not (page.parent / target).exists()]


def test_every_query_of_the_analysts_page_runs(settings):
    text = (ROOT / "docs" / "analyse.md").read_text()
    questions = text[text.index("## Questions to start with") :]
    (block,) = re.findall(r"```sql\n(.*?)```", questions, re.DOTALL)
    queries = [query for query in block.split(";") if query.strip()]
    assert len(queries) >= 4
    with open_lake(settings) as lake:
        for query in queries:
            lake.sql(query).to_arrow_table()


def test_the_queries_the_demo_offers_run(settings):
    from outlook_lake.demo.play import QUERIES

    with open_lake(settings) as lake:
        for query in QUERIES:
            lake.sql(query).to_arrow_table()


def test_every_package_we_ask_for_has_its_reason_and_every_reason_its_package():
    asked = set(
        re.findall(r"^([a-z0-9-]+)(?:\[[a-z,]+\])?==", (ROOT / "requirements.in").read_text(), re.M)
    )
    page = (ROOT / "docs" / "decisions" / "dependencies.md").read_text()
    rows = re.findall(r"^\| ([a-z0-9, -]+) \|", page, re.M)
    told = {name for row in rows for name in row.split(", ")} - {"package"}
    assert asked == told


def test_everything_asked_for_is_pinned_as_asked():
    asked = re.findall(r"^[a-z0-9-]+==\S+", (ROOT / "requirements.in").read_text(), re.M)
    pinned = set(re.findall(r"^[a-z0-9-]+==\S+", (ROOT / "requirements.txt").read_text(), re.M))
    assert asked
    assert set(asked) <= pinned
    everything = (ROOT / "requirements.txt").read_text().split("\n")
    assert not [line for line in everything if line.strip() and "==" not in line]


def test_every_target_of_make_is_explained_by_make_help():
    text = (ROOT / "Makefile").read_text()
    (phony,) = re.findall(r"^\.PHONY: (.*)$", text, re.M)
    explained = set(re.findall(r"^([a-z-]+):.*## ", text, re.M))
    assert set(phony.split()) == explained
