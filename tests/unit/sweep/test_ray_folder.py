"""Where Ray's sockets lie, and its token, on machines as they are."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from harness.errors import UserError
from harness.sweep import ray_tune


def test_a_short_folder_is_left_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_TMPDIR", "/tmp/mine")
    assert ray_tune._short_folder() is None


@pytest.mark.parametrize("variable", ["RAY_TMPDIR", "TMPDIR"])
def test_a_long_one_is_not_used(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, variable: str) -> None:
    deep = tmp_path / "net" / "tdfcarhc" / "people" / "slurm_jobdir" / "1355700"
    deep.mkdir(parents=True)
    monkeypatch.delenv("RAY_TMPDIR", raising=False)
    monkeypatch.setenv(variable, str(deep))
    monkeypatch.setattr("tempfile.tempdir", None)
    short = ray_tune._short_folder()
    assert short is not None and len(short) <= ray_tune.LONGEST_FOLDER


def test_where_there_is_no_short_one_the_variable_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_TMPDIR", "/" + "deep/" * 20)
    monkeypatch.setattr(os, "access", lambda *arguments: False)
    with pytest.raises(UserError, match=r"TMPDIR: found a path of 101 letters.*Set RAY_TMPDIR"):
        ray_tune._short_folder()


@pytest.mark.parametrize("writable", [True, False])
def test_a_token_is_made_where_ray_could_keep_none(monkeypatch: pytest.MonkeyPatch, writable: bool) -> None:
    for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os, "access", lambda *arguments: writable)
    ray_tune._give_token()
    token = os.environ.pop("RAY_AUTH_TOKEN", "")
    assert (len(token) == 64) == (not writable)


def test_a_user_without_a_name_gets_one_before_anything_asks() -> None:
    code = (
        "import getpass, os, pwd\n"
        "def unknown(uid): raise KeyError('getpwuid(): uid not found: 12345')\n"
        "pwd.getpwuid = unknown\n"
        "import harness\n"
        "print(getpass.getuser())"
    )
    env = {
        name: value
        for name, value in os.environ.items()
        if name not in ("USER", "LOGNAME", "LNAME", "USERNAME")
    }
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(os.getuid())
