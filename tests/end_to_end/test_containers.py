"""Two drivers in two containers of one machine, on one results folder: each trial is trained once, and whole."""

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
OTHER_HOST = "hostname elsewhere && ip link set lo up && exec"


def may_unshare(*kinds: str) -> bool:
    if not (shutil.which("unshare") and shutil.which("ip")):
        return False
    return subprocess.run(["unshare", *kinds, "true"], capture_output=True, check=False).returncode == 0


@pytest.mark.slow
@pytest.mark.whole_machine
@pytest.mark.parametrize("apart", ["pid namespace", "network and name"])
def test_each_trial_is_trained_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, apart: str) -> None:
    own = [*PIDS, *([] if apart == "pid namespace" else ["--net", "--uts"])]
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
    inside = run if apart == "pid namespace" else ["bash", "-c", f'{OTHER_HOST} "$@"', "run", *run]
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
    assert len(hosts) == (1 if apart == "pid namespace" else 2), "one of the drivers has trained nothing"
