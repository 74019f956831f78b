"""Two drivers in two containers of one machine, or with two clocks, on one results folder: each trial is trained once, whole."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from harness.records.schema import read_history
from harness.records.store import Store
from harness.study.expand import load_study

STEPS, TRIALS = 40, 8
PIDS = ["--pid", "--fork", "--mount-proc"]
APART = {
    "pid namespace": PIDS,
    "network and name": [*PIDS, "--net", "--uts"],
    "clock": ["--mount"],
}
CLOCK = """
import time

_real, _start = time.time, time.monotonic()
_steps = (0, -300, -5, 5, 300)  # seconds, each for three seconds, again and again


def _stepped():
    return _real() + _steps[int(time.monotonic() - _start) // 3 % len(_steps)]


time.time = _stepped
time.time_ns = lambda: int(_stepped() * 1e9)
"""
OTHER_BOOT = """
awk '/^btime/ {print "btime", $2 + 5; next} {print}' /proc/stat > stat && mount --bind stat /proc/stat
PYTHONPATH=clock:$PYTHONPATH exec
"""
OTHER_HOST = "hostname elsewhere && ip link set lo up && exec"


def may_unshare(*kinds: str) -> bool:
    if not (shutil.which("unshare") and shutil.which("ip")):
        return False
    return subprocess.run(["unshare", *kinds, "true"], capture_output=True, check=False).returncode == 0


@pytest.mark.slow
@pytest.mark.whole_machine
@pytest.mark.parametrize("apart", APART)
def test_each_trial_is_trained_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, apart: str) -> None:
    own = APART[apart]
    if not may_unshare(*own):
        pytest.skip("this user may make no namespaces, or 'unshare' and 'ip' are missing")
    path = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    monkeypatch.setenv("PYTHONPATH", path)
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    study = {
        "question": "Who trains what?",
        "base": {
            "dataset": "few_patients:FewPatients", "architecture": "unet", "method": "supervised",
            "recipe": {"overlap": 0.0, "steps": STEPS},
        },
        "grid": {"seed": list(range(TRIALS))},
        "keep": "none",
    }  # fmt: skip
    (tmp_path / "study.yaml").write_text(json.dumps(study))
    store = Store(tmp_path / "results")
    run = [sys.executable, "-m", "harness", "run", "study.yaml", "--results", "results", "--workers", "1"]
    (tmp_path / "clock").mkdir()
    (tmp_path / "clock" / "sitecustomize.py").write_text(CLOCK)
    before = {"pid namespace": "exec", "network and name": OTHER_HOST, "clock": OTHER_BOOT}[apart]
    inside = ["bash", "-c", f'{before.rstrip()} "$@"', "run", *run]
    drivers = []
    for number, command in enumerate([run, ["unshare", *own, *inside]]):
        with (tmp_path / f"log{number}").open("w") as log:
            drivers.append(subprocess.Popen(command, cwd=tmp_path, stdout=log, stderr=subprocess.STDOUT))
    try:
        codes = [driver.wait(300) for driver in drivers]
    finally:
        for driver in drivers:
            driver.kill()
    logs = [(tmp_path / f"log{number}").read_text() for number in (0, 1)]
    assert codes == [0, 0], logs
    hosts = set()
    for cell in load_study(str(tmp_path / "study.yaml")).cells:
        record = store.record(cell.spec.id)
        assert record and record.status == "complete" and record.attempts == 1 and record.notes == []
        hosts.add(record.environment.host if record.environment else "")
        history = list(read_history(store.trials / cell.spec.id))
        assert [line["step"] for line in history if "losses" in line] == list(range(STEPS))
    assert len(hosts) == (2 if apart == "network and name" else 1), "one of the drivers has trained nothing"


@pytest.mark.slow
def test_it_runs_without_git_home_a_name_or_a_root_that_can_be_written(tmp_path: Path) -> None:
    tools = tmp_path / "bin"
    tools.mkdir()
    for name in ("bash", "sh", "env", "ls", "cat", "uname", "id"):
        (tools / name).symlink_to(str(shutil.which(name)))
    commands = Path(sys.executable).parent
    container = [
        "bwrap", "--unshare-user", "--uid", "12345", "--gid", "500", "--unshare-pid", "--ro-bind", "/", "/", "--proc", "/proc",
        "--dev", "/dev", "--tmpfs", "/var/tmp", "--bind", tmp_path, tmp_path, "--chdir", tmp_path, "--clearenv",
        "--setenv", "TMPDIR", "/var/tmp", "--setenv", "PATH", f"{commands}{os.pathsep}{tools}",
        "--setenv", "MEDCTX_CACHE", tmp_path / "cache",
    ]  # fmt: skip
    if (
        not shutil.which("bwrap")
        or subprocess.run([*container, "sh", "-c", "true"], check=False, capture_output=True).returncode
    ):
        pytest.skip("bubblewrap is missing, or makes no container here")
    medctx = [*container, commands / "medctx"]
    run = [
        *medctx,
        "run",
        "quickstart",
        "--set",
        "recipe.steps=4",
        "--only",
        "method=medcontext",
        "--results",
        "results",
    ]
    done = subprocess.run(run, check=False, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stdout + done.stderr
    records = [json.loads(path.read_text()) for path in tmp_path.glob("results/trials/*/trial.json")]
    assert [record["status"] for record in records] == ["complete"] * 4

    nowhere = subprocess.run(
        [*run[:-1], "/results"], check=False, capture_output=True, text=True, timeout=100
    )
    assert nowhere.returncode == 2 and "Name another with --results DIR." in nowhere.stderr
    container[container.index("MEDCTX_CACHE")] = "OTHER"
    again = [*container, commands / "medctx", *run[len(medctx) : -1], "other"]
    homeless = subprocess.run(again, check=False, capture_output=True, text=True, timeout=100)
    assert homeless.returncode == 2 and "Set MEDCTX_CACHE, or HOME." in homeless.stderr
