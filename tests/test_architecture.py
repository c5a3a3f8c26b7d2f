"""The rooms of the project, and the one direction in which they may know each other."""

from __future__ import annotations

import ast
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "include" / "outlook_lake"

# A room may import from rooms further down, and from its own. From architecture.md, "Rooms".
FLOORS: list[set[str]] = [
    {"cli", "commands"},
    {"demo"},
    {"airflow"},
    {"steps", "doctor"},
    {"application"},
    {"subscriptions", "hints", "looks", "coverage", "personas", "detections"},
    {"events", "lake"},
    {"graph", "receiver", "tenants"},
    {"state"},
    {"settings"},
    {"clock"},
    {"errors"},
]
FLOOR = {room: number for number, floor in enumerate(FLOORS) for room in floor}
ALLOWED_PYTHON = ("include/", "dags/", "plugins/", "tests/", "benchmarks/", "docs/")


def tracked(suffix: str) -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard", f"*{suffix}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return [ROOT / name for name in listed.stdout.split("\n") if name and (ROOT / name).exists()]


def imports(file: Path) -> set[str]:
    """Dotted names of all modules a file imports, wherever in the file."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module)
            if node.module == "outlook_lake":
                found |= {f"outlook_lake.{alias.name}" for alias in node.names}
    return found


def room(module: str) -> str | None:
    parts = module.split(".")
    return parts[1] if parts[0] == "outlook_lake" and len(parts) > 1 else None


def modules() -> list[Path]:
    return sorted(file for file in PACKAGE.rglob("*.py") if file.parent != PACKAGE) + sorted(
        file for file in PACKAGE.glob("*.py") if file.stem != "__init__"
    )


def own_room(file: Path) -> str:
    return file.relative_to(PACKAGE).parts[0].removesuffix(".py")


def test_every_room_of_the_package_has_its_floor():
    assert {own_room(file) for file in modules()} <= set(FLOOR)


def test_imports_point_down():
    wrong = []
    for file in modules():
        here = own_room(file)
        for module in imports(file):
            there = room(module)
            if there in FLOOR and there != here and FLOOR[there] < FLOOR[here]:
                wrong.append(f"{file.relative_to(ROOT)} imports {module}")
    assert not wrong


def test_only_one_room_of_the_package_knows_airflow():
    wrong = [
        str(file.relative_to(ROOT))
        for file in modules()
        if own_room(file) != "airflow"
        and any(module.split(".")[0] == "airflow" for module in imports(file))
    ]
    assert not wrong


def test_only_dags_plugins_and_their_tests_use_that_room():
    wrong = [
        str(file.relative_to(ROOT))
        for file in modules()
        if own_room(file) != "airflow"
        and any(module.startswith("outlook_lake.airflow") for module in imports(file))
    ]
    assert not wrong


def test_the_simulator_knows_nothing_of_the_product_nor_the_product_of_it():
    simulator = ROOT / "include" / "graph_simulator"
    wrong = [
        str(file.relative_to(ROOT))
        for folder, other in ((simulator, "outlook_lake"), (PACKAGE, "graph_simulator"))
        for file in folder.rglob("*.py")
        if any(module.split(".")[0] == other for module in imports(file))
    ]
    assert not wrong


def test_python_lives_in_its_rooms_only():
    names = [str(file.relative_to(ROOT)) for file in tracked(".py")]
    assert names
    assert not [name for name in names if not name.startswith(ALLOWED_PYTHON)]


@pytest.mark.parametrize("suffix", [".py", ".sql"])
def test_no_file_outgrew_its_room(suffix):
    long = {
        str(file.relative_to(ROOT)): lines
        for file in tracked(suffix)
        if (lines := len(file.read_text().splitlines())) > 400
    }
    assert not long


def test_nothing_is_called_by_a_name_that_says_nothing():
    vague = {"utils", "helpers", "common", "misc", "manager"}
    assert not [file for file in tracked(".py") if file.stem in vague]
