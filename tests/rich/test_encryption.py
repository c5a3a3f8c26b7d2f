"""Key pairs: made once, private, kept until nothing refers to them."""

from __future__ import annotations

import base64
import json
import os
import time
from pathlib import Path

import pytest
from cryptography import x509
from typer.testing import CliRunner

from outlook_lake.cli import app
from outlook_lake.errors import StateError
from outlook_lake.settings import Settings
from outlook_lake.state.database import Database
from outlook_lake.tenants.encryption import ensure_pairs, forget_pairs, load_pairs, make_pair


def test_the_first_pair_is_made_once_and_only_its_owner_reads_it(tmp_path: Path):
    folder = tmp_path / "rich"
    (pair,) = ensure_pairs(folder)
    assert [one.cert_id for one in ensure_pairs(folder)] == [pair.cert_id]
    (file,) = folder.iterdir()
    assert file.stat().st_mode & 0o777 == 0o600 and folder.stat().st_mode & 0o777 == 0o700
    certificate = x509.load_der_x509_certificate(base64.b64decode(pair.certificate))
    assert certificate.public_key() == pair.private.public_key()
    assert len(pair.cert_id) <= 128 and "PRIVATE" not in repr(pair)


def test_a_replaced_pair_stays_while_it_is_used_or_fresh(tmp_path: Path):
    old, new = make_pair(tmp_path), make_pair(tmp_path)
    assert {one.cert_id for one in load_pairs(tmp_path)} == {old.cert_id, new.cert_id}
    assert forget_pairs(tmp_path, ()) == []  # what it opens may still be on its way
    newest = load_pairs(tmp_path)[-1].cert_id
    past = time.time() - 5 * 3600
    os.utime(tmp_path / f"{newest}.pem", (past, past))
    oldest = load_pairs(tmp_path)[0].cert_id
    assert forget_pairs(tmp_path, {oldest}) == []
    assert forget_pairs(tmp_path, ()) == [oldest]
    assert [one.cert_id for one in load_pairs(tmp_path)] == [newest]


def test_a_broken_file_is_named_with_what_to_do(tmp_path: Path):
    (tmp_path / "rich-1.pem").write_text("nothing")
    with pytest.raises(StateError, match=r"rich-1\.pem .* Restore it"):
        load_pairs(tmp_path)


def test_an_operator_makes_another_pair_and_retires_none(tmp_path: Path):
    home = {"OUTLOOK_LAKE_HOME": str(tmp_path / "home")}
    settings = Settings.load(home)
    Database.open(settings).close()
    first = make_pair(settings.keys / "rich")
    runner = CliRunner(env=home)
    done = runner.invoke(app, ["keys", "rotate", "--rich", "--json"])
    assert done.exit_code == 0, done.output
    rows = json.loads(done.stdout)["pairs"]
    assert [(row["cert_id"] == first.cert_id, row["state"]) for row in rows] == [
        (True, "opens"),
        (False, "encrypts"),
    ]
    assert runner.invoke(app, ["keys", "retire", first.cert_id, "--rich"]).exit_code == 2
