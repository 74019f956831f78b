import base64
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import matplotlib
from fake_results import Fake, make_cell, make_record, make_study, write_trial

from harness.reporting.write import write_report

FIGURES = (
    "gains",
    "dice_dots",
    "few_shot_curves",
    "role_dots",
    "regions_dice_5",
    "regions_dice_all",
    "regions_hd95_5",
    "regions_hd95_all",
    "cost",
    "training_curves",
    "qualitative",
)


def test_every_file_is_there(fake: Fake, fake_page: Path) -> None:
    folder = fake.results / "fake_study"
    assert fake_page == folder / "report.html"
    tables = {
        f"{name}.{suffix}"
        for name in ("dice", "hd95", "contrasts", "comparisons", "cost", "trials")
        for suffix in ("tex", "md", "html", "csv")
    } | {"dice.trials.json", "hd95.trials.json"}
    assert {path.name for path in (folder / "tables").iterdir()} == tables
    figures = {f"{name}.{suffix}" for name in FIGURES for suffix in ("pdf", "svg", "png")}
    assert {path.name for path in (folder / "figures").iterdir()} == {*figures, "drawn.json"}
    starts = {"pdf": b"%PDF", "png": b"\x89PNG", "svg": b"<?xml", "json": b"{"}
    for path in (folder / "figures").iterdir():
        assert path.read_bytes().startswith(starts[path.suffix[1:]])


class Resources(HTMLParser):
    """Collects what a page would load."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        keys = ("src", "srcset", "data") if tag == "a" else ("src", "href", "srcset", "data")
        self.found += [value or "" for key, value in attrs if key in keys]


def test_page_is_self_contained(fake_page: Path) -> None:
    text = fake_page.read_text()
    parser = Resources()
    parser.feed(text)
    assert len(parser.found) == len(FIGURES)
    assert all(value.startswith("data:image/") for value in parser.found)
    assert "default-src 'none'" in text  # the browser itself would refuse what is not in the file
    assert "://" not in text and "url(" not in text and "@import" not in text
    for value in parser.found:
        content = base64.b64decode(value.partition(",")[2])
        assert content[:5] in (b"<?xml", b"\x89PNG\r")


def test_page_says_what_happened(fake: Fake, fake_page: Path) -> None:
    text = fake_page.read_text()
    assert fake.study.question in text
    counts = re.findall(r"<b>(\d+)</b> (\w+)</li>", text)
    assert {state: int(n) for n, state in counts} == {
        "planned": 16, "complete": 14, "failed": 1, "pending": 1, "skipped": 1,
    }  # fmt: skip
    assert "10% free &lt;of 8 GiB&gt;" in text
    assert "layer_19.py" in text and "layer_3.py" not in text
    assert "it has no patch tokens to mask" in text
    assert "5b1175b1175b1175" in text and "2.13.0" in text
    assert "median and lowest mean Dice of the student of Supervised" in text


def test_second_report_is_identical(fake: Fake, fake_page: Path) -> None:
    before = {path.name: path.read_bytes() for path in fake_page.parent.rglob("*") if path.is_file()}
    settings = dict(matplotlib.rcParams)
    write_report(fake.study, fake.results)
    assert dict(matplotlib.rcParams) == settings
    after = {path.name: path.read_bytes() for path in fake_page.parent.rglob("*") if path.is_file()}
    assert [name for name in before if before[name] != after[name]] == []
    assert before.keys() == after.keys()


def test_nothing_on_disk_yet(fake: Fake, tmp_path: Path) -> None:
    text = write_report(fake.study, tmp_path).page.read_text()
    assert "No trial is complete yet" in text
    assert "Predictions on Phantom: no trial is complete." in text
    assert not list((tmp_path / "fake_study" / "figures").iterdir())


def test_what_cannot_be_drawn_is_said_and_its_files_go(tmp_path: Path) -> None:
    cell = make_cell(architecture="unet", method="supervised", dataset="elsewhere:Gone")
    rows = [{"case": "1", "region": "a", "role": "student", "metric": "dice", "value": 0.5, "unit": "",
             "empty": "none"}]  # fmt: skip
    folder = write_trial(tmp_path, make_record(cell), rows, [])
    old = tmp_path / "fake_study" / "figures" / "qualitative.png"
    old.parent.mkdir(parents=True)
    old.touch()
    text = write_report(make_study([cell]), tmp_path).page.read_text()
    assert "no predictions were kept" in text
    assert "complete trials have one number of training cases" in text
    assert "no complete trial has a history" in text
    assert not old.exists()
    (folder / "predictions").mkdir()
    text = write_report(make_study([cell]), tmp_path).page.read_text()
    assert "no image of case 1: dataset &#39;elsewhere:Gone&#39;" in text


def test_import_is_light() -> None:
    code = "import sys, harness.reporting.write; print([m for m in ('pandas','matplotlib','jinja2','torch') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_report_needs_neither_torch_nor_ray() -> None:
    code = (
        "import sys, importlib\n"
        "for name in ('frames', 'tables.study', 'page.render', 'figures.drawing', 'figures.study_figures', 'slices.images'): importlib.import_module(f'harness.reporting.{name}')\n"
        "print([m for m in ('torch', 'ray', 'monai', 'matplotlib.pyplot') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "torch" not in done.stdout and "ray" not in done.stdout and "monai" not in done.stdout
