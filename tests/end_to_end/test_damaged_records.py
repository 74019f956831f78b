"""What each command says of a damaged record: one bad file never stops a study, and nothing is lost."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("few_patients")]

STUDY = """
question: What does one bad file cost?
base: {dataset: "few_patients:FewPatients", architecture: unet, shots: 2, method: supervised, recipe: {steps: 4, overlap: 0.0}}
grid: {seed: [0, 1]}
"""
SCORES = ("trial.json", "cases.parquet", "SHA256SUMS")


def harm(path: Path, kind: str) -> None:
    content = path.read_bytes()
    middle = len(content) // 2
    if kind == "missing":
        path.unlink()
    elif kind == "flipped":
        path.write_bytes(content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :])
    else:
        path.write_bytes(b"" if kind == "empty" else content[:middle])


def test_every_kind_of_damage_to_every_file(
    medctx: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study, whole = tmp_path / "damaged.yaml", tmp_path / "whole"
    study.write_text(STUDY)
    ids = [entry["id"] for entry in json.loads(medctx("plan", study, "--json").out)["trials"]]
    for id in ids:
        assert medctx("trial", study, id, "--results", whole).code == 0
    damaged, kept = ids
    prediction = next((whole / "trials" / damaged / "predictions").iterdir()).name
    monkeypatch.setattr("harness.sweep.ray_tune.sweep", lambda work, *arguments, **settings: list(work))
    for name in (*SCORES, "history.jsonl", "checkpoint.pt", f"predictions/{prediction}"):
        for kind in ("missing", "empty", "cut", "flipped"):
            results = tmp_path / f"{Path(name).name}-{kind}"
            shutil.copytree(whole, results)
            harm(results / "trials" / damaged / name, kind)
            is_damaged = name in SCORES and (name, kind) != ("SHA256SUMS", "missing")

            status = medctx("status", study, "--results", results)
            assert ("damaged record" in status.out) == is_damaged, (name, kind, status)
            assert status.code == is_damaged, (name, kind)
            with monkeypatch.context() as quick:
                if name in SCORES:  # figures read the other files
                    quick.setattr(
                        "harness.reporting.figures.drawing.drawing_in",
                        lambda *arguments: nullcontext(lambda _: []),
                    )
                report = medctx("report", study, "--results", results)
            told = is_damaged or name == "history.jsonl"
            assert (f"damaged: {damaged}" in report.out) == told, (name, kind, report)
            assert report.code == told, (name, kind, report)
            page = (results / "damaged" / "report.html").read_text()
            assert kept in page  # the rest is shown
            with monkeypatch.context() as quick:
                quick.setattr(
                    "harness.reporting.figures.drawing.drawing_in",
                    lambda *arguments: nullcontext(lambda _: []),
                )
                run = medctx("run", study, "--results", results)
            aside = results / "trials" / f".damaged-{damaged}-1"
            assert (f"{damaged} is damaged" in run.out) == aside.is_dir() == is_damaged, (name, kind, run)
            assert ("1 done, 1 to run" if is_damaged else "2 done, 0 to run") in run.out
            if is_damaged:  # nothing that is whole is lost
                others = {path.name for path in (whole / "trials" / damaged).iterdir()} - {name}
                assert others <= {path.name for path in aside.iterdir()}
            shutil.rmtree(results)
