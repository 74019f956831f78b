"""A grid that is killed again and again, and what is left of it.

A grid on the phantom runs twice: undisturbed, and with its driver and workers killed by SIGKILL at random moments
(seeded): in training, within the write of a checkpoint, within the write of a record, between publishing it and
the removal of what else the trial had, and the driver alone, so that its workers are orphaned. Checkpoints of workers
that were killed, and records that were complete, are cut, emptied, filled with zeros, or get another byte. After each
death of the driver the same command is given again. At the end every planned trial has to be complete, published once, with
numbers, history and weights identical to those of the undisturbed run, and nothing else may be left of it.

Such moments are too short to be hit by chance: every process of the disturbed run sleeps for a moment before it
flushes a checkpoint or a record, and after it has published, by patches of ``os.fsync`` and ``os.rename`` that lie on
its PYTHONPATH; the harness knows nothing of them.

    python tests/benchmarks/chaos.py [--short] [--seed N]
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import psutil
import torch

from harness.records.damage import damage_of
from harness.records.schema import read_history, read_record

PATCH = """
import os
import time

_fsync, _rename = os.fsync, os.rename


def slow_fsync(file):
    number = file if isinstance(file, int) else file.fileno()
    if os.readlink(f"/proc/self/fd/{number}").endswith((".resume.pt", ".trial.json")):
        time.sleep(1.0)
    _fsync(number)


def slow_rename(source, target, **options):
    _rename(source, target, **options)
    if os.path.basename(os.path.dirname(target)) == "trials":
        time.sleep(0.5)


os.fsync, os.rename = slow_fsync, slow_rename
"""
WHOLE = {
    "training": 10,
    "checkpoint": 3,
    "record": 3,
    "published": 2,
    "driver": 4,
    "harmed checkpoint": 4,
    "harmed record": 3,
}
SHORT = {
    "training": 1,
    "checkpoint": 1,
    "record": 1,
    "published": 1,
    "driver": 1,
    "harmed checkpoint": 1,
    "harmed record": 1,
}
PATIENCE = 1800.0  # seconds for one kill


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--short", action="store_true", help="6 trials and 7 faults")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if arguments.short:
            Chaos(Path(folder), seeds=3, steps=25, kills=SHORT, seed=arguments.seed).run()
        else:
            Chaos(Path(folder), seeds=12, steps=100, kills=WHOLE, seed=arguments.seed).run()


class Chaos:
    """One grid of 2 methods x ``seeds`` trials, its calm run and its disturbed one."""

    def __init__(self, folder: Path, seeds: int, steps: int, kills: dict[str, int], seed: int) -> None:
        self.random = random.Random(seed)
        self.folder, self.kills = folder, kills
        self.calm, self.results = folder / "calm", folder / "disturbed"
        self.study = folder / "chaos.yaml"
        grid = {"method": ["supervised", "medcontext"], "seed": list(range(seeds))}
        recipe = {"steps": steps, "overlap": 0.0, "validate_every": steps // 2}
        base = {"dataset": "phantom", "architecture": "unet", "shots": 2, "recipe": recipe}
        study = {"question": "What is left?", "base": base, "grid": grid, "keep": "none"}
        self.study.write_text(json.dumps(study))
        (folder / "patch").mkdir()
        (folder / "patch" / "sitecustomize.py").write_text(PATCH)
        self.driver: subprocess.Popen[bytes] | None = None
        self.starts = 0
        self.done: Counter[str] = Counter()
        self.published: dict[str, int] = {}

    def run(self) -> None:
        start = time.monotonic()
        assert self._start(self.calm, disturbed=False).wait() == 0, self._log()
        print(f"undisturbed run: {time.monotonic() - start:.0f} s", flush=True)
        plan = [kind for kind, times in self.kills.items() for _ in range(times)]
        self.random.shuffle(plan)
        start = time.monotonic()
        for number, kind in enumerate(plan, 1):
            killed = self._kill(kind)
            print(f"{number:2d}  {time.monotonic() - start:6.1f} s  {killed}", flush=True)
        while self._running().wait() != 0 or self._has_harmed():
            # 1: a trial whose worker was killed three times, or a record that was harmed
            assert self.driver and self.driver.returncode in (0, 1), self._log()
            self.driver = None
        print(f"disturbed run: {time.monotonic() - start:.0f} s, the command given {self.starts - 1} times")
        print(f"killed: {dict(self.done)}")
        self._compare()

    def _start(self, results: Path, disturbed: bool = True) -> subprocess.Popen[bytes]:
        self.starts += 1
        path = [str(self.folder / "patch")] if disturbed else []
        path += [os.environ["PYTHONPATH"]] if os.environ.get("PYTHONPATH") else []
        command = [sys.executable, "-m", "harness", "run", str(self.study), "--results", str(results)]
        command += ["--workers", "2", "--checkpoint-minutes", "0.01"]
        with (self.folder / "log.txt").open("ab") as log:
            return subprocess.Popen(
                command, env={**os.environ, "PYTHONPATH": os.pathsep.join(path)}, stdout=log, stderr=log
            )

    def _log(self) -> str:
        return (self.folder / "log.txt").read_text()[-4000:]

    def _running(self) -> subprocess.Popen[bytes]:
        """Return the driver, started again where it has died or ended with a failed trial."""
        if self.driver is None or self.driver.poll() not in (None, 0):
            self.driver = self._start(self.results)
        return self.driver

    def _kill(self, kind: str) -> str:
        """Wait for a moment of one kind, kill, and return what was killed."""
        end = time.monotonic() + PATIENCE
        time.sleep(self.random.uniform(0, 2))
        while time.monotonic() < end:
            assert self._running().poll() != 0, "all trials are complete before all kills are done"
            self._watch_records()
            victim = self._victim(kind)
            if victim:
                self.done[kind] += 1
                return victim
            time.sleep(0.01)
        raise AssertionError(f"no moment of kind {kind!r}: {self._log()}")

    def _victim(self, kind: str) -> str | None:
        if kind in ("checkpoint", "record"):
            return self._kill_within_a_write("resume.pt" if kind == "checkpoint" else "trial.json")
        if kind == "published":
            return self._kill_after_publishing()
        if kind == "harmed record":
            return self._harm_record()
        training = list(self._training())
        if not training:
            return None
        if kind == "driver":
            assert self.driver
            self.driver.kill()
            self.driver.wait()
            orphans = [pid for _, pid, _ in training if psutil.pid_exists(pid)]
            if not orphans:
                return None
            return f"driver {self.driver.pid} killed, workers {orphans} outlived it"
        id, pid, step = self.random.choice(training)
        if kind == "harmed checkpoint":
            return self._harm_checkpoint(id, pid)
        os.kill(pid, signal.SIGKILL)
        return f"worker {pid} killed in training, trial {id} at step {step}"

    def _training(self) -> Iterator[tuple[str, int, int]]:
        """Yield trial, process and step of the workers that train and write nothing."""
        for claim in self.results.glob("running/*/claim.json"):
            try:
                owner = json.loads(claim.read_text())
                folder = claim.parent / owner["attempt"]
                lines = [line for line in read_history(folder) if "losses" in line or "resumed" in line]
                names = [path.name for path in folder.iterdir()]
            except (OSError, ValueError):
                continue
            if lines and psutil.pid_exists(owner["worker"]["pid"]) and not any(n[0] == "." for n in names):
                yield claim.parent.name, owner["worker"]["pid"], lines[-1]["step"]

    def _harm_checkpoint(self, id: str, pid: int) -> str | None:
        """Kill a worker and harm the checkpoint that it would have gone on from."""
        os.kill(pid, signal.SIGKILL)
        checkpoints = sorted(self.results.glob(f"running/{id}/attempt-*/resume.pt"), key=_age)
        if not checkpoints:
            return None
        return f"worker {pid} killed, checkpoint of trial {id} {self._harm(checkpoints[-1])}"

    def _harm_record(self) -> str | None:
        """Harm a record that is complete; it has to be made again, and its first writing does not count."""
        if not self.published:
            return None
        id = self.random.choice(sorted(self.published))
        name = self.random.choice(("trial.json", "cases.parquet"))
        del self.published[id]
        return f"{name} of trial {id} {self._harm(self.results / 'trials' / id / name)}"

    def _harm(self, path: Path) -> str:
        content = path.read_bytes()
        middle = self.random.randrange(len(content))
        how, changed = self.random.choice(
            [
                ("cut", content[:middle]),
                ("emptied", b""),
                ("filled with zeros", bytes(len(content))),
                (
                    "given another byte",
                    content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :],
                ),
            ]
        )
        path.write_bytes(changed)
        return how

    def _has_harmed(self) -> bool:
        """Return whether a record is harmed that the last driver had already seen whole."""
        return any(map(damage_of, self.results.glob("trials/[!.]*")))

    def _kill_within_a_write(self, name: str) -> str | None:
        for partial in self.results.glob(f"running/*/*/.*.{name}"):
            try:
                owner = json.loads((partial.parent.parent / "claim.json").read_text())
                if owner["attempt"] != partial.parent.name:
                    continue  # left by an earlier kill
                pid = owner["worker"]["pid"]
                os.kill(pid, signal.SIGKILL)
            except (OSError, ValueError):
                continue
            time.sleep(0.1)
            if partial.exists():  # otherwise the write had just ended
                size = partial.stat().st_size
                partial.rename(partial.with_name(f"torn-{partial.name}"))
                return f"worker {pid} killed within the write of {name}, trial {partial.parent.parent.name}, {size} bytes"
        return None

    def _kill_after_publishing(self) -> str | None:
        for claim in self.results.glob("running/*/claim.json"):
            id = claim.parent.name
            if not (self.results / "trials" / id).exists():
                continue
            try:
                pid = json.loads(claim.read_text())["worker"]["pid"]
                os.kill(pid, signal.SIGKILL)
            except (OSError, ValueError):
                continue  # it had just ended
            time.sleep(0.1)
            if claim.parent.exists():
                return f"worker {pid} killed after publishing trial {id}"
        return None

    def _watch_records(self) -> None:
        """Remember when each complete record appeared; one that changes later was written twice."""
        for path in self.results.glob("trials/*/trial.json"):
            id, time_ = path.parent.name, path.stat().st_mtime_ns
            whole = damage_of(path.parent) is None
            if id not in self.published and whole and read_record(path.parent).status == "complete":
                self.published[id] = time_

    def _compare(self) -> None:
        counts = self._status()
        planned = {path.name for path in (self.calm / "trials").iterdir()}
        assert counts["planned"] == counts["complete"] == len(planned), counts
        found = {path.name for path in (self.results / "trials").iterdir()}
        assert {name for name in found if not name.startswith(".damaged-")} == planned
        assert len(found) - len(planned) == self.done["harmed record"], found  # kept
        left = sorted(str(path) for path in (self.results / "running").glob("[!.]*/**"))
        assert not left, f"something is left of running trials: {left}"
        attempts = Counter[int]()
        for id in sorted(planned):
            calm, disturbed = self.calm / "trials" / id, self.results / "trials" / id
            record = read_record(disturbed)
            attempts[record.attempts] += 1
            assert record.status == "complete" and record.selected_step == read_record(calm).selected_step
            written = (disturbed / "trial.json").stat().st_mtime_ns
            assert self.published.get(id, written) == written, f"{id} was published twice"
            pd.testing.assert_frame_equal(*map(_cases, (calm, disturbed)), check_exact=True)
            assert _lines(calm) == _lines(disturbed), f"histories of {id} differ"
            one, other = (
                torch.load(f / "checkpoint.pt", weights_only=True)["method"] for f in (calm, disturbed)
            )
            assert one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one), id
        print(f"attempts: {dict(sorted(attempts.items()))}")
        print(
            f"{len(planned)} trials complete once, identical to the undisturbed run: cases, history, weights"
        )

    def _status(self) -> dict[str, int]:
        command = [sys.executable, "-m", "harness", "status", str(self.study), "--json", "--results"]
        done = subprocess.run([*command, str(self.results)], check=True, stdout=subprocess.PIPE)
        counts: dict[str, int] = json.loads(done.stdout)
        return counts


def _age(path: Path) -> float:
    return path.stat().st_mtime


def _cases(folder: Path) -> pd.DataFrame:
    return pd.read_parquet(folder / "cases.parquet")


def _lines(folder: Path) -> list[dict[str, Any]]:
    return [line for line in read_history(folder) if "resumed" not in line]


if __name__ == "__main__":
    main()
