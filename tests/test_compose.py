"""`docker-compose.yaml` is read by a real parser, and holds the same parts as the demo."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
SECRETS = ("FERNET_KEY", "JWT_SECRET", "API_SECRET_KEY", "POSTGRES_PASSWORD", "NOTIFICATION_URL")


def parse(tmp_path: Path, environ: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """What `podman-compose config` says; it wants to see a podman, and `config` does not use it."""
    podman = tmp_path / "podman"
    podman.write_text("#!/bin/sh\necho 'podman version 5.0.0'\n")
    podman.chmod(0o755)
    return subprocess.run(
        [sys.executable, "-m", "podman_compose", "-f", str(ROOT / "docker-compose.yaml"), "config"],
        env={"PATH": f"{tmp_path}:{os.environ['PATH']}", **environ},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def services(tmp_path_factory):
    done = parse(
        tmp_path_factory.mktemp("compose"), dict.fromkeys(SECRETS, "https://for-the-test.example")
    )
    assert done.returncode == 0, done.stderr
    return yaml.safe_load(done.stdout)["services"]


@pytest.mark.slow
def test_it_holds_every_part_of_the_demo(services):
    parts = {"api-server", "scheduler", "dag-processor", "triggerer", "receiver", "postgres"}
    assert parts <= set(services)


def test_every_part_that_runs_the_product_shares_home_code_and_keys(services):
    ours = [part for name, part in services.items() if name != "postgres"]
    for part in ours:
        assert part["environment"]["OUTLOOK_LAKE_HOME"] == "/var/lib/outlook"
        assert {"lake:/var/lib/outlook"} <= {
            mount if isinstance(mount, str) else f"{mount['source']}:{mount['target']}"
            for mount in part["volumes"]
        }


@pytest.mark.slow
def test_nothing_is_published_beyond_this_machine(services):
    published = [port for part in services.values() for port in part.get("ports", [])]
    assert published
    assert all(str(port).startswith("127.0.0.1:") for port in published)


@pytest.mark.parametrize("missing", ["JWT_SECRET", "NOTIFICATION_URL"])
def test_it_does_not_start_with_a_secret_left_out(missing, tmp_path):
    given = {name: "https://for-the-test.example" for name in SECRETS if name != missing}
    done = parse(tmp_path, given)
    assert done.returncode != 0
    assert missing in done.stderr or "set it in .env" in done.stderr
