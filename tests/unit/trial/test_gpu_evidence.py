"""The table of a GPU where there is none: what asks CUDA is asked of a stand-in; what does not end in time is left out."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch

SCRIPT = Path(__file__).parents[2] / "gpu" / "evidence.py"


@pytest.fixture(scope="module")
def evidence() -> ModuleType:
    spec = importlib.util.spec_from_file_location("evidence", SCRIPT)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules["evidence"] = module  # where dataclasses look
    spec.loader.exec_module(module)
    return module


def test_a_gpu_is_waited_for_and_its_memory_says_how_many_trials_fit(
    evidence: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    waited = []

    def steps(stop: int) -> Iterator[None]:
        while True:
            time.sleep(0.01)
            yield

    monkeypatch.setattr(evidence, "DEVICE", torch.device("cuda"))
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: waited.append(1))
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda device: None)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: 30 * 2**30)
    monkeypatch.setattr(
        torch.cuda, "get_device_properties", lambda device: SimpleNamespace(total_memory=139 * 2**30)
    )
    monkeypatch.setattr(evidence, "trainer_of", lambda *of, **choice: SimpleNamespace(run_until=steps))
    row = evidence.measured(evidence.PAPER, "dynunet", "supervised", {"precision": "fp16"})
    assert row["trials_that_fit"] == 4 and row["peak_gib"] == 30 and row["precision"] == "fp16"
    assert 0.01 <= row["seconds"] < 0.1 and len(waited) == 2

    def none_left(*of: Any, **choice: Any) -> None:
        raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried")

    monkeypatch.setattr(evidence, "trainer_of", none_left)
    row = evidence.measured(evidence.PAPER, "dynunet", "supervised", {"precision": "fp16"})
    assert row["left out"] == "CUDA out of memory. Tried" and "seconds" not in row


def test_what_is_out_of_time_is_left_out_and_what_fails_is_told(
    evidence: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slow(size: Any) -> Iterator[dict[str, Any]]:
        for number in range(99):
            time.sleep(0.1)
            yield {"number": number}

    def wrong(size: Any) -> Iterator[dict[str, Any]]:
        yield {"number": 0.5}
        raise RuntimeError("no kernel image")

    monkeypatch.setattr(evidence, "PARTS", {"slow": (slow, 0.25), "wrong": (wrong, 1.0)})
    begun = time.perf_counter()
    found = evidence.run_parts(evidence.SMALL, 1.0)
    assert time.perf_counter() - begun < 1.5
    assert 1 <= len(found["slow"]) < 5 and "out of time" in found["slow"][-1]["left out"]
    assert found["wrong"] == [{"number": 0.5}, {"failed": "RuntimeError: no kernel image"}]
    table = evidence.as_tables("A GPU", found).splitlines()
    assert table[0] == "# A GPU" and "| number | failed |" in table and "| 0.5 |  |" in table


@pytest.mark.parametrize(
    ("missing", "said"), [("monai", "monai cannot be imported"), ("ray", "on a CPU, run it with")]
)
def test_it_says_what_is_missing_and_does_without_ray(missing: str, said: str) -> None:
    code = f"""
import importlib.util, runpy, sys
found = importlib.util.find_spec
importlib.util.find_spec = lambda name, *of: None if name == {missing!r} else found(name, *of)
sys.modules[{missing!r}] = None
sys.argv = [{str(SCRIPT)!r}]
runpy.run_path({str(SCRIPT)!r}, run_name="__main__")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False,
                          env={"CUDA_VISIBLE_DEVICES": "", "PATH": ""})  # fmt: skip
    assert done.returncode == 1 and said in done.stderr and len(done.stderr.splitlines()) == 1
