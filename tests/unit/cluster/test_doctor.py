"""What the doctor makes of what it sees; the checks of a live cluster are in ``end_to_end``."""

from __future__ import annotations

import json
import shutil
from collections import namedtuple
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from harness.cluster import storage
from harness.cluster.check_result import CheckResult
from harness.cluster.doctor import (
    CheckedNode,
    check_cache,
    check_clocks,
    check_data,
    check_gpus,
    check_loaders,
    check_versions,
)
from harness.cluster.node import DataReport, NodeReport, describe_node, usable_gpus
from harness.study.expand import load_study
from harness.sweep.packing import Need, arm_key

VERSIONS = {"python": "3.11.7", "torch": "2.13.0"}


def member(name: str, ray_gpus: float | None = None, ahead: float = 0.0, **report: object) -> CheckedNode:
    known = {
        "versions": VERSIONS, "gpus": (), "gpu_problem": "", "cache": Path("/cache"),
        "cache_problem": "", "data": (),
    }  # fmt: skip
    return CheckedNode(name, NodeReport(**(known | report)), ray_gpus, ahead)  # type: ignore[arg-type]


def grades(findings: object) -> list[tuple[str, str]]:
    assert isinstance(findings, list) and all(isinstance(one, CheckResult) for one in findings)
    assert all(bool(one.remedy) == (one.grade != "ok") for one in findings)
    return [(one.node, one.grade) for one in findings]


def test_versions() -> None:
    same = list(check_versions(VERSIONS, [member("a"), member("b")]))
    assert grades(same) == [("", "ok")] and "torch 2.13.0 on 2 nodes" in same[0].found
    other = list(
        check_versions(VERSIONS, [member("a"), member("b", versions=VERSIONS | {"torch": "2.12.1"})])
    )
    assert grades(other) == [("b", "error")] and other[0].found == "torch 2.12.1, here 2.13.0"


@pytest.mark.parametrize(
    ("ahead", "grade"),
    [
        ((0.0, 0.2), "ok"),
        ((0.0, -2.0), "warning"),
        ((0.0, 6.0), "error"),
        ((-5.1,), "error"),
        ((3.0, -3.0), "error"),
    ],
)
def test_clocks(ahead: tuple[float, ...], grade: str) -> None:
    members = [member(str(number), ahead=seconds) for number, seconds in enumerate(ahead)]
    assert grades(list(check_clocks(members))) == [("", grade)]


@pytest.mark.parametrize(
    ("by_ray", "by_torch", "problem", "grade"),
    [
        (None, 0, "", "ok"),
        (None, 2, "", "ok"),
        (2, 2, "", "ok"),
        (2, 1, "", "error"),
        (1, 2, "", "warning"),
        (0, 0, "torch uses none of them", "error"),
    ],
)
def test_gpus(by_ray: float | None, by_torch: int, problem: str, grade: str) -> None:
    seen = member("a", by_ray, gpus=("H100",) * by_torch, gpu_problem=problem)
    assert grades(list(check_gpus([seen]))) == [("a", grade)]


def test_data_of_every_node() -> None:
    whole, part, gone = (
        DataReport("x", 20),
        DataReport("x", 19),
        DataReport("x", problem="not there", remedy="Fetch it."),
    )
    findings = list(
        check_data([member("a", data=(whole,)), member("b", data=(part,)), member("c", data=(gone,))])
    )
    assert grades(findings) == [("a", "ok"), ("b", "error"), ("c", "error")]
    assert "19 cases, another node sees 20" in findings[1].found and findings[2].remedy == "Fetch it."


@pytest.fixture
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Spare a test the import of torch in a process of its own."""
    monkeypatch.setattr("harness.cluster.node.usable_gpus", lambda: ((), ""))


@pytest.mark.usefixtures("no_gpu")
def test_this_machine(small_msd: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    report = describe_node(["hippocampus", "phantom"], small_msd)
    assert report.data[0].cases == 8 and report.data[1].cases == 60 and report.cache_problem == ""
    assert report.versions["ray"].count(".") == 2 and report.lock_taken is None
    (small_msd / "Task04_Hippocampus" / "labelsTr" / "hippocampus_003.nii.gz").unlink()
    monkeypatch.setenv("MEDCTX_CACHE", "/proc/nowhere")
    report = describe_node(["hippocampus"], small_msd)
    assert "hippocampus_003.nii.gz" in report.data[0].problem
    assert grades(list(check_cache([CheckedNode("", report)]))) == [("", "error")]


def test_gpus_are_those_that_torch_can_use(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    assert len(usable_gpus()[0]) == torch.cuda.device_count()
    monkeypatch.setattr("harness.cluster.node._GPUS", "raise SystemExit('no CUDA driver')")
    assert usable_gpus() == ((), "torch fails: no CUDA driver")


def test_a_sound_folder(tmp_path: Path) -> None:
    findings = storage.check_storage(tmp_path / "results", alone=True)
    assert [one.check for one in findings] == [
        "results",
        "file system",
        "lock",
        "rename",
        "hard links",
        "file times",
    ]
    assert {one.grade for one in findings} <= {"ok", "warning"}
    assert findings[2].grade == "ok" and not list((tmp_path / "results").iterdir())


def test_a_file_system_without_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    unsafe = "import sys; print('won', flush=True); sys.stdin.read()"
    monkeypatch.setattr(storage, "_CONTENDER", unsafe)
    lock = storage.check_storage(tmp_path, alone=True)[2]
    assert (lock.check, lock.grade) == ("lock", "error") and "won and won" in lock.found


def test_a_file_system_without_links_and_with_another_clock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_links(*paths: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr("os.link", no_links)
    monkeypatch.setattr(storage, "time", SimpleNamespace(time=lambda: 0.0))
    graded = {one.check: one.grade for one in storage.check_storage(tmp_path, alone=True)}
    assert graded["hard links"] == "warning" and graded["file times"] == "error"


@pytest.mark.parametrize(
    ("kind", "alone", "grade"),
    [("nfs4", False, "ok"), ("ext4", True, "ok"), ("ext4", False, "warning"), ("tmpfs", True, "warning")],
)
def test_file_systems(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, alone: bool, grade: str
) -> None:
    mounts = [("/", "overlay"), (str(tmp_path), kind), (f"{tmp_path}/results2", "proc")]
    Part = namedtuple("Part", "mountpoint fstype")
    monkeypatch.setattr("psutil.disk_partitions", lambda all: [Part(*mount) for mount in mounts])
    assert storage.file_system(tmp_path / "results") == kind
    assert storage.check_storage(tmp_path / "results", alone)[1].grade == grade


def test_a_folder_that_cannot_be_written() -> None:
    (finding,) = storage.check_storage(Path("/proc/results"), alone=True)
    assert finding.grade == "error" and "--results" in finding.remedy


@pytest.mark.parametrize(("free", "grade"), [(100.0, "ok"), (30.0, "warning"), (10.0, "error")])
def test_room_for_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: float, grade: str
) -> None:
    cells = load_study("quickstart").cells
    done = tmp_path / "trials" / cells[0].spec.id
    done.mkdir(parents=True)
    (done / "trial.json").write_text(
        json.dumps({"status": "complete", "kind": "train", "spec": {"tested": False}})
    )
    (done / "checkpoint.pt").write_bytes(bytes(3 * 2**20))
    usage = namedtuple("usage", "free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(free * 2**20))
    finding = storage.check_space(tmp_path, cells)
    assert (
        finding.grade == grade
        and "7 trials need about 21 MiB (3 MiB each, the mean of 1 records)" in finding.found
    )


@pytest.mark.usefixtures("no_gpu")
def test_the_command(medctx: Callable, tmp_path: Path) -> None:
    sound = medctx("doctor", "quickstart", "--results", tmp_path / "r", "--json")
    told = json.loads(sound.out)
    assert sound.code == 0 and told["error"] == 0 and told["ok"] >= 10
    assert all(set(one) == {"check", "grade", "found", "remedy", "node"} for one in told["findings"])
    ill = medctx("doctor", "hippocampus_first_look", "--results", tmp_path / "r", "--data", tmp_path / "none")
    assert ill.code == 1 and "error    data" in ill.out and "1 error" in ill.out
    unknown = medctx("doctor", "quickstrat")
    assert unknown.code == 2 and "Did you mean 'quickstart'?" in unknown.err
    nobody = medctx("doctor", "--results", tmp_path / "r", "--address", "127.0.0.1:1")
    assert nobody.code == 2 and "127.0.0.1:1" in nobody.err


def test_loaders() -> None:
    study = load_study("quickstart")
    needs = {arm_key(study.cells[0].spec): Need("H100", 1, 0.1, seconds_per_batch=1.5)}
    few, many = member("few", gpus=("H100",) * 2, cores=8), member("many", gpus=("H100",), cores=32)
    found = list(check_loaders([few, many, member("no GPU", cores=1)], study, needs))
    assert grades(found) == [("few", "warning"), ("many", "ok")]
    assert "needs 15 loaders" in found[0].found and "allows 3" in found[0].found
    assert list(check_loaders([few], None, needs)) == list(check_loaders([few], study, {})) == []
    narrow = member("narrow", gpus=("H100",), cores=32, shared_memory=64 * 2**20)
    assert [one.found[:13] for one in check_loaders([narrow], None, {})] == ["/dev/shm has "]
    assert describe_node([], None).cores >= 1
