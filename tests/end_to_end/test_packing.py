"""Shares of a logical GPU, trials at a time, and nodes that come and go; trials take no time, Ray is real."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import light_trial
import pytest

from harness.errors import UserError
from harness.records.store import Store
from harness.study.cells import Cell
from harness.study.expand import load_study
from harness.sweep.agenda import Work, plain_work
from harness.sweep.packing import Need, arm_key, share_for, write_needs

pytestmark = pytest.mark.whole_machine

TESTS = Path(__file__).parent.parent
GIB = 2**30
PROGRAM = """
import sys
from pathlib import Path
from harness.sweep.agenda import plain_work
from harness.records.store import Store
from harness.study.expand import load_study
from harness.sweep.ray_tune import sweep

study, results, address, body = sys.argv[1:]
store = Store(Path(results))
work = plain_work(load_study(study).cells, store)
sweep(work, store, data_root=None, keep="none", workers=None, address=address, run=body, say=print)
"""


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    monkeypatch.setenv("PYTHONPATH", f"{TESTS}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    yield Store(tmp_path / "results")


def cells_of(folder: Path, seeds: int) -> Sequence[Cell]:
    base = {"dataset": "phantom", "architecture": "unet", "method": "supervised"}
    study = {"question": "How many at a time?", "base": base, "grid": {"seed": list(range(seeds))}}
    (folder / "packing.yaml").write_text(json.dumps(study))
    return load_study(str(folder / "packing.yaml")).cells


def run(cells: Sequence[Cell], store: Store, body: str, **options: Any) -> None:
    from harness.sweep.ray_tune import sweep

    work: Iterator[Work] = plain_work(cells, store)
    options = {"workers": None, **options}
    sweep(work, store, data_root=None, keep="none", run=f"light_trial:{body}", **options)


def most_at_a_time(notes: Sequence[dict[str, Any]]) -> int:
    events = sorted([(note["begun"], 1) for note in notes] + [(note["ended"], -1) for note in notes])
    return max(sum(change for _, change in events[: number + 1]) for number in range(len(events)))


def test_four_trials_share_a_gpu_and_one_that_needs_more_gets_it(store: Store, tmp_path: Path) -> None:
    cells = cells_of(tmp_path, 6)
    write_needs(store.results, {arm_key(cells[0].spec): Need("a test", 1, 1.0, share=0.25)})
    run(cells, store, "crowd", gpus=1, workers=6)
    notes = light_trial.notes(store.results)
    assert {note["share"] for note in notes} == {0.25} and len(notes) == 6
    assert 2 <= most_at_a_time(notes) <= 4
    assert len({note["pid"] for note in notes}) <= 4  # processes are reused
    assert {store.status(cell.spec.id) for cell in cells} == {"complete"}


@pytest.mark.slow
def test_out_of_memory_brings_the_same_trial_a_larger_share(store: Store, tmp_path: Path) -> None:
    cells = cells_of(tmp_path, 4)
    write_needs(store.results, {arm_key(cells[0].spec): Need("a test", 1, 1.0, share=0.25)})
    said: list[str] = []
    run(cells, store, "hungry", gpus=1, workers=4, say=said.append)
    shares: dict[str, list[float]] = {}
    for note in light_trial.notes(store.results):
        shares.setdefault(note["id"], []).append(note["share"])
    first, *others = (cell.spec.id for cell in cells)
    assert shares == {first: [0.25, 0.5, 1.0]} | {id: [0.25] for id in others}
    assert {store.status(cell.spec.id) for cell in cells} == {"complete"} and len(said) == 2


def test_a_worker_that_ray_kills_for_memory_is_told_from_one_that_dies(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_memory_usage_threshold", "0.01")
    monkeypatch.setenv("RAY_memory_monitor_refresh_ms", "100")
    cells = cells_of(tmp_path, 1)
    (store.results / "hold").touch()
    run(cells, store, "patient")
    record = store.record(cells[0].spec.id)
    assert record and record.cause and record.cause.kind == "out_of_host_memory"
    assert record.cause.message.startswith("3 times") and "low on memory" in record.cause.traceback


def test_a_search_that_fails_ends_the_run_with_its_own_error(store: Store) -> None:
    from harness.sweep.ray_tune import sweep

    def search() -> Iterator[Work]:
        raise UserError("a search", "no range", "one", "Add it.")
        yield

    with pytest.raises(UserError, match="no range"):
        sweep(search(), store, data_root=None, keep="none", workers=1)
    assert not list((store.results / "running").glob(".driver-*"))


@pytest.fixture
def cluster(store: Store) -> Iterator[Any]:
    """Yield a cluster of Ray whose head runs no trials; processes that connect find its token."""
    import harness.sweep.ray_tune  # noqa: F401 - switches token authentication on

    subprocess.run(
        [Path(sys.executable).with_name("ray"), "get-auth-token", "--generate"],
        check=True,
        capture_output=True,
    )
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    yield cluster
    cluster.shutdown()


def drive(store: Store, cluster: Any, body: str) -> subprocess.Popen[str]:
    """Start a driver of the study in the folder of ``store`` on a cluster."""
    study = store.results.parent / "packing.yaml"
    program = [sys.executable, "-c", PROGRAM, study, store.results, cluster.address, f"light_trial:{body}"]
    return subprocess.Popen(program, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


@pytest.mark.slow
def test_a_grid_completes_while_a_node_is_lost_and_another_joins(
    store: Store, tmp_path: Path, cluster: Any
) -> None:
    cells = cells_of(tmp_path, 12)
    hold = store.results / "hold"
    nodes = [cluster.add_node(num_cpus=1) for _ in range(2)]
    cluster.wait_for_nodes()
    hold.touch()
    driver = drive(store, cluster, "patient")

    def seen(node: Any) -> bool:
        file = store.results / "notes.jsonl"
        return file.is_file() and node.node_id in file.read_text()

    def until_seen(*some: Any) -> None:
        end = time.monotonic() + 240
        while not any(map(seen, some)):
            assert time.monotonic() < end and driver.poll() is None, "no trial on this node in time"
            time.sleep(0.02)

    until_seen(*nodes)
    lost = next(filter(seen, nodes))
    cluster.remove_node(lost, allow_graceful=False)
    joined = cluster.add_node(num_cpus=1)
    until_seen(joined)
    hold.unlink()
    output, _ = driver.communicate(timeout=240)
    assert driver.returncode == 0, output
    notes = light_trial.notes(store.results)
    assert {store.status(cell.spec.id) for cell in cells} == {"complete"}
    runs = [[note["node"] for note in notes if note["id"] == cell.spec.id] for cell in cells]
    first, *others = sorted(runs, key=len, reverse=True)
    assert len(first) == 2 and first[0] == lost.node_id != first[1]  # once more, elsewhere
    assert [len(places) for places in others] == [1] * 11
    assert joined.node_id in {note["node"] for note in notes}
    records = [store.record(cell.spec.id) for cell in cells]
    assert sorted(record.attempts for record in records if record) == [1] * 11 + [2]


@pytest.mark.slow
def test_a_node_on_which_every_worker_dies_is_kept_off(store: Store, tmp_path: Path, cluster: Any) -> None:
    cells = cells_of(tmp_path, 24)
    whole, broken = ("127.0.0.2", "127.0.0.3")
    for address in (whole, broken):
        cluster.add_node(num_cpus=1, node_ip_address=address)
    cluster.wait_for_nodes()
    (store.results / "broken").write_text(broken)
    driver = drive(store, cluster, "fragile")
    output, _ = driver.communicate(timeout=300)
    assert driver.returncode == 0, output
    assert f"node {broken} is kept off" in output
    assert {store.status(cell.spec.id) for cell in cells} == {"complete"}
    places = [note["node"] for note in light_trial.notes(store.results)]
    assert places.count(whole) == 24
    assert 3 <= places.count(broken) <= 3 + 8  # and what Tune had asked for before, at most 8 at a time


@pytest.mark.parametrize(
    ("memory", "share"), [(0.3, 1 / 8), (8, 1 / 8), (15, 1 / 4), (30, 1 / 2), (37, 1.0), (200, 1.0)]
)
def test_the_share_is_the_smallest_part_that_holds_the_peak(memory: float, share: float) -> None:
    assert share_for(memory * GIB, 80 * GIB) == share
