"""``medctx data check``: every kind of damage to a layout twin is found and named; a clean one has none."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from harness import registry
from harness.data.case_statistics import statistics_notes, statistics_rows
from harness.data.check_dataset import check_dataset
from harness.data.check_report import CheckReport, DataFinding
from harness.data.layout_twins import write_twin
from harness.reporting.slices.dataset import Slice, chosen_facts, flagged_cases, slices

DATASETS = ("hippocampus", "acdc", "brats", "synapse")
Folder = Path
Change = Callable[[Path], object]


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {name: write_twin(name, tmp_path_factory.mktemp(name), cases=2) for name in DATASETS}


@pytest.fixture
def damaged(clean: dict[str, Path], tmp_path: Path) -> Callable[[str], Path]:
    """Return a function that gives a copy of a clean twin, to be damaged."""
    return lambda name: shutil.copytree(clean[name], tmp_path / name)


def check(name: str, root: Path | None) -> CheckReport:
    return check_dataset(registry.load("dataset", name)(), root)


@pytest.mark.parametrize("name", [*DATASETS, "phantom"])
def test_a_clean_dataset_has_no_finding(clean: dict[str, Path], name: str) -> None:
    found = check(name, clean.get(name))
    assert found.findings == [] and found.cases == len(
        registry.load("dataset", name)().cases(clean.get(name))
    )


def test_the_real_hippocampus_has_no_error_and_no_common_scale(data_root: Path) -> None:
    found = check("hippocampus", data_root)
    assert found.cases == 200 and found.errors == 0
    assert {one.code for one in found.findings if one.level == "warning"} == {"intensity_scales"}


def image(root: Path, index: int = 0) -> Path:
    return sorted((root / "Task04_Hippocampus" / "imagesTr").iterdir())[index]


def label(root: Path, index: int = 0) -> Path:
    return sorted((root / "Task04_Hippocampus" / "labelsTr").iterdir())[index]


def change(
    path: Path, array: Callable[[NDArray], NDArray] = lambda a: a, affine: NDArray | None = None
) -> None:
    file = nibabel.load(path)
    values = array(np.asarray(file.dataobj).copy())
    nibabel.save(nibabel.Nifti1Image(values, file.affine if affine is None else affine), path)


def put(value: float) -> Callable[[NDArray], NDArray]:
    def changed(array: NDArray) -> NDArray:
        array[3, 3, 3] = value
        return array

    return changed


def scaled(path: Path, factors: tuple[float, float, float]) -> NDArray:
    return nibabel.load(path).affine @ np.diag([*factors, 1])


def moved(path: Path, millimetres: float) -> NDArray:
    affine = nibabel.load(path).affine.copy()
    affine[0, 3] += millimetres
    return affine


def both(root: Path, **changes: object) -> None:
    for path in (image(root), label(root)):
        change(path, **changes)  # type: ignore[arg-type]


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)


def without_position(path: Path) -> None:
    file = nibabel.load(path)
    plain = nibabel.Nifti1Image(np.asarray(file.dataobj), None, file.header)
    plain.set_sform(None, 0)
    plain.set_qform(None, 0)
    nibabel.save(plain, path)


def listing(root: Path) -> Path:
    return root / "Task04_Hippocampus" / "dataset.json"


def swap_labels(root: Path) -> None:
    content = json.loads(listing(root).read_text())
    one, other = content["training"][:2]
    one["label"], other["label"] = other["label"], one["label"]
    listing(root).write_text(json.dumps(content))


def unlisted(root: Path) -> None:
    """Take the first case out of the listing."""
    content = json.loads(listing(root).read_text())
    listing(root).write_text(json.dumps({**content, "training": content["training"][1:]}))


def with_header(path: Path, change_it: Callable[[nibabel.Nifti1Image], None]) -> None:
    file = nibabel.load(path)
    again = nibabel.Nifti1Image(np.asarray(file.dataobj), file.affine, file.header)
    change_it(again)
    nibabel.save(again, path)


def moved_qform(file: nibabel.Nifti1Image) -> None:
    affine = file.affine.copy()
    affine[:3, 3] += 5
    file.set_qform(affine, 1)


def micrometres(file: nibabel.Nifti1Image) -> None:
    file.header.set_xyzt_units("micron")


def skewed(path: Path) -> NDArray:
    affine = nibabel.load(path).affine.copy()
    affine[0, 1] += 0.2
    return affine


def zero_affine(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[280:296] = bytes(16)
    path.write_bytes(content)


def unpacked(path: Path) -> Path:
    """Unpack a file in place, so that its header can be changed."""
    import gzip

    path.write_bytes(gzip.decompress(path.read_bytes()))
    return path


def repacked(path: Path, damage: Callable[[Path], object]) -> None:
    import gzip

    damage(unpacked(path))
    path.write_bytes(gzip.compress(path.read_bytes()))


HIPPOCAMPUS: dict[str, tuple[str, Change]] = {
    "image removed": ("missing_file", lambda r: image(r).unlink()),
    "label removed": ("missing_file", lambda r: label(r).unlink()),
    "listing removed": ("missing_file", lambda r: listing(r).unlink()),
    "listing broken": ("listing", lambda r: listing(r).write_text("{")),
    "listing without cases": ("listing", lambda r: listing(r).write_text("{}")),
    "listing pairs two cases": ("listing", swap_labels),
    "file without bytes": ("empty_file", lambda r: image(r).write_bytes(b"")),
    "gzip cut short": ("truncated_gzip", lambda r: image(r).write_bytes(image(r).read_bytes()[:-50])),
    "label's gzip cut short": ("truncated_gzip", lambda r: label(r).write_bytes(label(r).read_bytes()[:-5])),
    "gzip damaged": ("damaged_gzip", lambda r: flip_a_bit(image(r))),
    "no gzip": ("damaged_gzip", lambda r: image(r).write_text("a login page")),
    "no NIfTI": ("not_nifti", lambda r: repacked(image(r), lambda p: p.write_bytes(b"x" * 5000))),
    "NIfTI cut short": ("not_nifti", lambda r: repacked(image(r), lambda p: p.write_bytes(p.read_bytes()[:4000]))),
    "complex voxels": ("voxel_type", lambda r: change(image(r), lambda a: a.astype(np.complex64))),
    "affine without a direction": ("singular_affine", lambda r: repacked(image(r), zero_affine)),
    "two positions": ("two_positions", lambda r: [with_header(p, moved_qform) for p in (image(r), label(r))]),
    "sizes in micrometres": ("unit", lambda r: [with_header(p, micrometres) for p in (image(r), label(r))]),
    "skewed axes": ("skewed_axes", lambda r: both(r, affine=skewed(image(r)))),
    "no position": ("no_orientation", lambda r: [without_position(p) for p in (image(r), label(r))]),
    "one slice": ("not_a_volume", lambda r: both(r, array=lambda a: a[:, :, :1])),
    "labels of four axes": ("label_dimensions", lambda r: change(label(r), lambda a: np.stack([a, a], -1))),
    "interpolated labels": ("label_not_integer", lambda r: change(label(r), lambda a: put(0.5)(a.astype(np.float32)))),
    "labels with NaN": ("label_not_integer", lambda r: change(label(r), lambda a: put(np.nan)(a.astype(np.float32)))),
    "unknown label": ("unexpected_label", lambda r: change(label(r), put(7))),
    "negative label": ("unexpected_label", lambda r: change(label(r), lambda a: put(-1)(a.astype(np.int16)))),
    "nothing labelled": ("empty_foreground", lambda r: change(label(r), np.zeros_like)),
    "no background": ("no_background", lambda r: change(label(r), lambda a: np.where(a == 0, 1, a).astype(np.uint8))),
    "labels as floats": ("label_stored_as_float", lambda r: change(label(r), lambda a: a.astype(np.float32))),
    "a series": ("unexpected_4d", lambda r: change(image(r), lambda a: np.stack([a, a], -1))),
    "NaN": ("nan", lambda r: change(image(r), put(np.nan))),
    "infinity": ("infinity", lambda r: change(image(r), put(np.inf))),
    "constant image": ("constant_image", lambda r: change(image(r), np.ones_like)),
    "label of another shape": ("shape_mismatch", lambda r: change(label(r), lambda a: a[1:])),
    "label elsewhere": ("affine_mismatch", lambda r: change(label(r), affine=moved(label(r), 2.0))),
    "label mirrored": ("affine_mismatch", lambda r: change(label(r), affine=scaled(label(r), (-1, 1, 1)))),
    "rounded place": ("affine_noise", lambda r: change(label(r), affine=moved(label(r), 1e-3))),
    "case twice": ("duplicate_image", lambda r: shutil.copy(image(r), image(r, 1))),
    "case twice, as another type": ("duplicate_image", lambda r: [
        shutil.copy(image(r), image(r, 1)), change(image(r, 1), lambda a: a.astype(np.float64))]),
    "labels twice": ("duplicate_label", lambda r: shutil.copy(label(r), label(r, 1))),
    "a label is missing": ("absent_label", lambda r: change(label(r), lambda a: np.where(a == 2, 0, a).astype(np.uint8))),
    "a label is nowhere": ("label_in_no_case", lambda r: [
        change(label(r, i), lambda a: np.where(a == 2, 1, a).astype(np.uint8)) for i in range(6)]),
    "other orientation": ("other_orientation", lambda r: both(r, affine=scaled(image(r), (-1, 1, 1)))),
    "other spacing": ("odd_spacing", lambda r: both(r, affine=scaled(image(r), (1, 1, 5)))),
    "other shape": ("odd_shape", lambda r: both(r, array=lambda a: np.tile(a, (4, 1, 1)))),
    "other scale": ("intensity_scales", lambda r: change(image(r), lambda a: a * 1000)),
    "a case of the twin is gone": ("case_of_split_missing", lambda r: [
        image(r).unlink(), label(r).unlink(), unlisted(r)]),
    "broken download": ("stray_file", lambda r: image(r).with_name("hippocampus_999.nii.gz.part").write_text("")),
    "stray image": ("stray_file", lambda r: shutil.copy(image(r), image(r).with_name("hippocampus_999.nii.gz"))),
}  # fmt: skip


# damage to the n-th case, of kinds that do not hide each other
SEPARATE: dict[str, tuple[str, Callable[[Path, int], object]]] = {
    "file without bytes": ("empty_file", lambda r, n: image(r, n).write_bytes(b"")),
    "gzip cut short": ("truncated_gzip", lambda r, n: label(r, n).write_bytes(label(r, n).read_bytes()[:-9])),
    "image removed": ("missing_file", lambda r, n: image(r, n).unlink()),
    "NaN": ("nan", lambda r, n: change(image(r, n), put(np.nan))),
    "unknown label": ("unexpected_label", lambda r, n: change(label(r, n), put(7))),
    "nothing labelled": ("empty_foreground", lambda r, n: change(label(r, n), np.zeros_like)),
    "label elsewhere": ("affine_mismatch", lambda r, n: change(label(r, n), affine=moved(label(r, n), 2.0))),
    "a series": ("unexpected_4d", lambda r, n: change(image(r, n), lambda a: np.stack([a, a + 1], -1))),
    "other scale": ("intensity_scales", lambda r, n: change(image(r, n), lambda a: a * 1000)),
    "case twice": ("duplicate_image", lambda r, n: shutil.copy(image(r, n), image(r, n + 1))),
}  # fmt: skip


def patients(root: Path) -> list[Path]:
    return sorted((root / "training").iterdir())


OTHERS: dict[str, tuple[str, str, Change]] = {
    "case of the split removed": ("acdc", "case_of_split_missing", lambda r: [
        (r / "TWIN.json").unlink(), shutil.rmtree(patients(r)[0])]),
    "case of no split": ("acdc", "case_in_no_split", lambda r: [
        shutil.copy(path, path.with_name(path.name.replace("frame01", "frame03")))
        for path in patients(r)[0].glob("*_frame01*")]),
    "three channels of four": ("brats", "channel_count", lambda r: change(
        next((r / "Task01_BrainTumour" / "imagesTr").iterdir()), lambda a: a[..., :3])),
    "a channel twice": ("brats", "duplicate_channel", lambda r: change(
        next((r / "Task01_BrainTumour" / "imagesTr").iterdir()), lambda a: a[..., [0, 1, 1, 3]])),
    "a patient of the twin is gone": ("acdc", "case_of_split_missing", lambda r: shutil.rmtree(patients(r)[0])),
    "no data": ("synapse", "listing", lambda r: shutil.rmtree(r / "RawData")),
    "label without image": ("synapse", "stray_file", lambda r: next((r / "RawData/Training/img").iterdir()).unlink()),
}  # fmt: skip


def said(found: CheckReport, code: str) -> DataFinding:
    own = [one for one in found.findings if one.code == code]
    assert own, [one.code for one in found.findings]
    return own[0]


OF_THE_DATASET = {
    "missing_file", "listing", "label_in_no_case", "intensity_scales", "case_of_split_missing", "stray_file",
}  # fmt: skip


@pytest.mark.parametrize("damage", HIPPOCAMPUS)
def test_damage_is_found_and_named(damaged: Callable[[str], Path], damage: str) -> None:
    code, harm = HIPPOCAMPUS[damage]
    root = damaged("hippocampus")
    harm(root)
    finding = said(check("hippocampus", root), code)
    assert finding.file.startswith(str(root)) and finding.message and finding.remedy.endswith(".")
    if finding.case:  # the first, or of two equal ones the second
        assert finding.case == f"hippocampus_00{3 if code.startswith('duplicate') else 1}"
        assert Path(finding.file).name == f"{finding.case}.nii.gz"
    else:
        assert code in OF_THE_DATASET


@pytest.mark.parametrize("damage", OTHERS)
def test_damage_to_other_datasets_is_found_and_named(damaged: Callable[[str], Path], damage: str) -> None:
    name, code, harm = OTHERS[damage]
    root = damaged(name)
    harm(root)
    finding = said(check(name, root), code)
    assert finding.file.startswith(str(root)) and finding.message and finding.remedy.endswith(".")


def test_a_patient_in_two_parts_is_found(clean: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = registry.load("dataset", "acdc")()
    monkeypatch.setattr(type(dataset), "patient", lambda self, case: "one and the same")
    assert "patient_in_two_parts" in {one.code for one in check_dataset(dataset, clean["acdc"]).findings}


def test_there_are_enough_kinds_of_damage() -> None:
    codes = {code for code, _ in HIPPOCAMPUS.values()} | {code for _, code, _ in OTHERS.values()}
    assert len(HIPPOCAMPUS) + len(OTHERS) >= 30 and len(codes) >= 22


def test_two_damages_are_both_found_and_exit_is_1(damaged: Callable[[str], Path], medctx: Callable) -> None:
    root = damaged("hippocampus")
    change(image(root), put(np.nan))
    image(root, 3).write_bytes(b"")
    label(root, 4).unlink()
    outcome = medctx("data", "check", "hippocampus", "--data", root, "--json")
    found = json.loads(outcome.out)
    assert outcome.code == 1 and set(found) == {"cases", "parts", "findings"}
    assert {"nan", "empty_file", "missing_file"} <= {one["code"] for one in found["findings"]}
    assert set(found["findings"][0]) == {"level", "code", "case", "file", "message", "remedy"}
    text = medctx("data", "check", "hippocampus", "--data", root)
    assert text.code == 1 and "error nan: 1" in text.out and image(root).name in text.out


def test_every_file_that_is_missing_is_named(damaged: Callable[[str], Path]) -> None:
    root = damaged("hippocampus")
    gone = {str(image(root)), str(image(root, 2)), str(label(root, 4))}
    for path in gone:
        Path(path).unlink()
    found = [one for one in check("hippocampus", root).findings if one.code == "missing_file"]
    assert {one.file for one in found} == gone


@settings(deadline=None, max_examples=25, derandomize=True, suppress_health_check=list(HealthCheck))
@given(pair=st.lists(st.sampled_from(sorted(SEPARATE)), min_size=2, max_size=2, unique=True))
def test_two_damages_in_one_dataset_are_both_found(clean: dict[str, Path], pair: list[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(shutil.copytree(clean["hippocampus"], Path(folder) / "copy"))
        for number, damage in enumerate(pair):
            SEPARATE[damage][1](root, 2 * number)
        codes = {one.code for one in check("hippocampus", root).findings}
        assert {SEPARATE[damage][0] for damage in pair} <= codes


def test_the_table_gives_sizes_and_volumes(clean: dict[str, Path]) -> None:
    dataset = registry.load("dataset", "acdc")()
    found = check("acdc", clean["acdc"])
    rows = {row[0]: row[1:] for row in statistics_rows(found.facts, dataset)}
    assert rows["shape, voxels"] == ("12", "44 × 40 × 9", "44 × 40 × 9", "44 × 40 × 9")
    assert rows["spacing, mm"][1] == "1.562 × 1.562 × 10"
    millilitres = [
        (np.asarray(nibabel.load(case.label).dataobj) == 2).sum() * 1.5625**2 * 10 / 1000
        for case in dataset.cases(clean["acdc"])
    ]
    expected = [f"{value:.4g}" for value in (min(millilitres), np.median(millilitres), max(millilitres))]
    assert list(rows["2 myocardium, ml"]) == ["12", *expected]
    assert statistics_notes(found.facts) == ["orientation: LPS (12)", "voxels of images: int16 (12)"]


def test_the_figure_shows_cases_with_findings_and_others(damaged: Callable[[str], Path]) -> None:
    root, dataset = damaged("hippocampus"), registry.load("dataset", "hippocampus")()
    change(image(root, 1), put(np.nan))
    change(label(root, 2), np.zeros_like)
    found = check("hippocampus", root)
    assert flagged_cases(found) == {"hippocampus_003", "hippocampus_005"}
    chosen = chosen_facts(found, most=4)
    ids = [one.case.id for one in chosen]
    assert ids == ["hippocampus_001", "hippocampus_003", "hippocampus_005", "hippocampus_011"]
    plain, broken, empty, _ = slices(dataset, chosen)
    assert isinstance(plain, Slice) and set(np.unique(plain.label)) == {0, 1, 2} and plain.image.std() > 0
    assert plain.image.shape == plain.label.shape == (50, 35) and plain.aspect == 1.0
    assert broken == "hippocampus_003: 1 voxels of NaN or infinity"
    assert isinstance(empty, Slice) and not empty.label.any()


@pytest.mark.parametrize("suffix", ["pdf", "svg"])
def test_the_figure_is_written_where_it_is_wanted(
    clean: dict[str, Path], tmp_path: Path, medctx: Callable, suffix: str
) -> None:
    path = tmp_path / "new" / f"x.{suffix}"
    outcome = medctx("data", "check", "synapse", "--data", clean["synapse"], "--figure", path, "--json")
    assert outcome.code == 0 and json.loads(outcome.out)["findings"] == []
    start = {"pdf": b"%PDF", "svg": b"<?xml"}[suffix]
    assert path.read_bytes().startswith(start) and [path] == list(path.parent.iterdir())


def test_the_figure_lies_beside_the_caches_unless_it_is_wanted_elsewhere(
    clean: dict[str, Path], tmp_path: Path, medctx: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEDCTX_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    wanted = tmp_path / "cache" / "checks" / "msd_Task04_Hippocampus.png"
    arguments = ("data", "check", "msd:Task04_Hippocampus", "--data", clean["hippocampus"])
    assert medctx(*arguments, "--json").code == 0 and not wanted.exists()
    outcome = medctx(*arguments)
    assert outcome.code == 0 and f"overview: {wanted}" in outcome.out and wanted.stat().st_size > 10_000
    assert "2 posterior, ml" in outcome.out and [path.name for path in tmp_path.iterdir()] == ["cache"]
    other = medctx(*arguments, "--figure", "x.gif")
    assert other.code == 2 and "--figure" in other.err and ".png" in other.err
    (tmp_path / "file").write_text("")
    assert medctx(*arguments, "--figure", tmp_path / "file" / "x.png").code == 2
    monkeypatch.setenv("MEDCTX_CACHE", str(tmp_path / "file"))
    outcome = medctx(*arguments)
    assert outcome.code == 0 and "not drawn" in outcome.out


def test_exit_status_without_errors_is_0(clean: dict[str, Path], medctx: Callable) -> None:
    outcome = medctx("data", "check", "brats", "--data", clean["brats"])
    assert outcome.code == 0 and "0 error, 0 warning, 0 fixed" in outcome.out
    assert medctx("data", "check", "hippocampos").code == 2
