"""From files to the cache and back to the grid of the file."""

from __future__ import annotations

import gzip
import json
import logging
import os
import shutil
import signal
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import nibabel
import numpy as np
import pytest
from filelock import FileLock

from harness import registry
from harness.data import nifti, preprocessing
from harness.data.datasets.contract import Case, Dataset, Volume
from harness.data.nifti import read_image, read_label, write_label
from harness.data.preprocessing import normalise, prepare
from harness.data.twins import write_twin
from harness.errors import UserError
from harness.spec import Recipe


class OneVolume(Dataset):
    """One volume, held in memory."""

    channels = ("MRI",)
    labels = {0: "background", 1: "one", 2: "two"}

    def __init__(self, image: Volume, label: Volume) -> None:
        self.volumes = image, label

    def image(self, case: Case) -> Volume:
        return self.volumes[0]

    def label(self, case: Case) -> Volume:
        return self.volumes[1]

    def content(self, case: Case) -> str:
        return str(hash(self.volumes[1].affine.tobytes()))


def recipe(spacing: tuple[float, float, float] = (1, 1, 1)) -> Recipe:
    return Recipe(patch=(8, 8, 8), spacing=spacing)


@pytest.fixture(autouse=True)
def fresh_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDCTX_CACHE", str(tmp_path / "cache"))
    preprocessing._open.cache_clear()


def save(path: Path, array: np.ndarray) -> Path:
    nibabel.save(nibabel.Nifti1Image(array, np.diag([1, 2, 3, 1])), path)
    return path


def test_channels_come_first_and_spacing_is_in_array_order(tmp_path: Path) -> None:
    array = np.random.default_rng(0).normal(size=(4, 5, 6, 2)).astype(np.float32)
    volume = read_image(save(tmp_path / "x.nii.gz", array), channels=2)
    assert volume.array.shape == (2, 4, 5, 6) and volume.spacing == (1, 2, 3)
    assert np.array_equal(volume.array[1], array[..., 1])


@pytest.mark.parametrize("kind", [nibabel.Nifti1Image, nibabel.Nifti2Image])
@pytest.mark.parametrize("suffix", ["nii", "nii.gz"])
def test_both_versions_of_the_format_are_read(tmp_path: Path, kind: type, suffix: str) -> None:
    array = np.random.default_rng(0).normal(size=(3, 4, 5)).astype(np.float32)
    nibabel.save(kind(array, np.diag([1, 2, 3, 1])), tmp_path / f"x.{suffix}")
    assert np.array_equal(read_image(tmp_path / f"x.{suffix}").array[0], array)


@pytest.mark.parametrize("bad", [7, 1.5, -1])
def test_undeclared_labels_are_refused(tmp_path: Path, bad: float) -> None:
    array = np.zeros((3, 3, 3), np.float32)
    array[1, 1, 1] = bad
    with pytest.raises(UserError, match=r"x\.nii\.gz.*label values"):
        read_label(save(tmp_path / "x.nii.gz", array), {0: "background", 1: "organ"})


def patched(header_at: int, values: bytes) -> Callable[[bytes], bytes]:
    """Return a change of the header at a byte offset of NIfTI-1."""

    def change(packed: bytes) -> bytes:
        raw = bytearray(gzip.decompress(packed))
        raw[header_at : header_at + len(values)] = values
        return gzip.compress(bytes(raw))

    return change


def flip_a_bit(packed: bytes) -> bytes:
    changed = bytearray(packed)
    changed[len(changed) // 2] ^= 1
    return bytes(changed)


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda packed: packed[: len(packed) // 2], id="half of the file"),
        pytest.param(lambda packed: packed[:-8], id="without the checksum"),
        pytest.param(lambda packed: packed[:5], id="five bytes"),
        pytest.param(lambda packed: b"", id="empty"),
        pytest.param(lambda packed: b"no NIfTI", id="text"),
        pytest.param(flip_a_bit, id="one bit flipped"),
        pytest.param(patched(42, np.array([-5, 3, 9], "<i2").tobytes()), id="negative side"),
        pytest.param(patched(42, np.array([30000] * 3, "<i2").tobytes()), id="more voxels than memory"),
        pytest.param(patched(70, np.array([32767], "<i2").tobytes()), id="unknown type of voxel"),
    ],
)
def test_damaged_files_are_refused_in_one_sentence(
    tmp_path: Path, damage: Callable[[bytes], bytes], caplog: pytest.LogCaptureFixture
) -> None:
    path = save(tmp_path / "x.nii.gz", np.random.default_rng(0).normal(size=(20, 20, 20)).astype(np.float32))
    path.write_bytes(damage(path.read_bytes()))
    for read in (read_image, lambda path: read_label(path, {0: "background"})):
        with pytest.raises(UserError, match=r"x\.nii\.gz: found a file that cannot be read \(.+\); expected"):
            read(path)
    assert not [entry for entry in caplog.records if entry.levelno >= logging.WARNING]


@pytest.mark.parametrize("dtype", ["complex64", [("R", "u1"), ("G", "u1"), ("B", "u1")]])
def test_voxels_that_are_no_real_numbers_are_refused(tmp_path: Path, dtype) -> None:
    path = save(tmp_path / "x.nii.gz", np.zeros((3, 3, 3), dtype))
    for read in (read_image, lambda path: read_label(path, {0: "background"})):
        with pytest.raises(UserError, match=r"x\.nii\.gz: found voxels of type .*real number"):
            read(path)


@pytest.mark.parametrize("row", [(0, 0, 0, 0), (float("nan"), 0, 0, 0), (0, 1, 0, 0)])
def test_an_affine_that_gives_no_grid_is_refused(tmp_path: Path, row: tuple[float, ...]) -> None:
    path = save(tmp_path / "x.nii.gz", np.zeros((3, 3, 3), np.float32))
    sform = patched(280, np.array(row, "<f4").tobytes())
    path.write_bytes(sform(patched(254, np.array([1], "<i2").tobytes())(path.read_bytes())))
    with pytest.raises(UserError, match=r"x\.nii\.gz: found the affine .*Correct the header"):
        read_image(path)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_intensities_that_are_not_finite_are_counted(tmp_path: Path, value: float) -> None:
    array = np.zeros((3, 3, 3), np.float32)
    array[0, 1, :2] = value
    with pytest.raises(UserError, match=r"x\.nii\.gz: found 2 voxels of NaN or infinity"):
        read_image(save(tmp_path / "x.nii.gz", array))


@pytest.mark.parametrize("shape", [(4, 5), (4, 5, 6, 2)])
def test_other_dimensions_are_refused_with_the_shape_of_the_file(
    tmp_path: Path, shape: tuple[int, ...]
) -> None:
    path = save(tmp_path / "x.nii.gz", np.zeros(shape, np.float32))
    for read in (read_image, lambda path: read_label(path, {0: "background"})):
        with pytest.raises(UserError) as refusal:
            read(path)
        assert f"shape {shape}" in str(refusal.value)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"x\.nii\.gz: found no such file"):
        read_image(tmp_path / "x.nii.gz")


def test_whole_numbers_stored_as_floats_are_labels(tmp_path: Path) -> None:
    array = np.ones((3, 3, 3), np.float32)
    assert read_label(save(tmp_path / "x.nii.gz", array), {0: "a", 1: "b"}).array.dtype == np.uint8


@pytest.mark.parametrize("rule", ["zscore", "zscore_clipped", "none"])
def test_intensity_rules(rule: str) -> None:
    values = np.random.default_rng(0).normal(100, 20, (10, 10, 10))
    values[0, 0, 0] = 1e6
    result = normalise(values, rule)
    if rule == "none":
        assert np.array_equal(result, values.astype(np.float32))
    else:
        assert abs(result.mean()) < 1e-4 and abs(result.std() - 1) < 1e-4
        assert (result.max() < 5) == (rule == "zscore_clipped")
    assert np.isfinite(normalise(np.full((3, 3, 3), 5.0), rule)).all()


def test_intensity_rules_of_ct_by_hand() -> None:
    values = np.array([-1000.0, -175.0, 37.5, 250.0, 3000.0]).reshape(1, 1, 5)
    np.testing.assert_allclose(normalise(values, "ct_soft_tissue").ravel(), [0, 0, 0.5, 1, 1], atol=1e-6)
    expected = (np.array([-958, -175, 37.5, 250, 326]) - 82.95) / 136.95
    np.testing.assert_allclose(normalise(values, "ct_synapse").ravel(), expected, atol=1e-5)


def test_skull_stripped_images_are_normalised_within_the_brain() -> None:
    values = np.zeros((4, 4, 4))
    values[1:3] = np.random.default_rng(0).normal(500, 50, (2, 4, 4))
    result = normalise(values, "zscore_nonzero")
    assert abs(result[1:3].mean()) < 1e-5 and abs(result[1:3].std() - 1) < 1e-5 and not result[[0, 3]].any()
    assert not normalise(np.zeros((2, 2, 2)), "zscore_nonzero").any()


AFFINES = {
    "plain": np.diag([1, 1, 1, 1]),
    "flipped": np.diag([-1, -1, 1, 1]),
    "permuted": np.array([[0, 1, 0, 3], [0, 0, 1, -2], [1, 0, 0, 5], [0, 0, 0, 1]]),
    "anisotropic and permuted": np.array([[0, 0, -2, 3], [0.5, 0, 0, -2], [0, 1, 0, 5], [0, 0, 0, 1]]),
}


@pytest.mark.parametrize("crop", ["none", "foreground"])
@pytest.mark.parametrize("name", AFFINES)
def test_labels_survive_the_way_to_the_cache_and_back(name: str, crop: str) -> None:
    affine = AFFINES[name].astype(float)
    labels = np.zeros((16, 20, 24), np.uint8)
    labels[2:9, 4:14, 6:20], labels[9:14, 4:14, 6:20] = 1, 2
    image = labels[None].astype(np.float32)
    dataset = OneVolume(Volume(image, affine), Volume(labels, affine))
    chosen = recipe().model_copy(update={"crop": crop})
    cache = prepare(dataset, f"one {name}", [Case("c", "c")], chosen)
    assert cache.image("c").shape[1:] == cache.label("c").shape
    if crop == "foreground" and "anisotropic" not in name:
        assert sorted(cache.label("c").shape) == [10, 12, 14]  # the box of the labels, which are the image
    one_hot = np.stack([(cache.label("c") == k).astype(np.float32) for k in range(3)])
    back = cache.to_native("c", one_hot)
    reference = cache.native_reference("c")
    assert back.array.shape == labels.shape and np.array_equal(back.affine, affine)
    assert np.array_equal(reference.array, labels)
    agreement = 2 * ((back.array > 0) & (labels > 0)).sum() / ((back.array > 0).sum() + (labels > 0).sum())
    assert agreement > (0.9 if "anisotropic" in name else 0.9999)


def test_resampling_gives_the_spacing_that_was_asked_for() -> None:
    labels = np.zeros((20, 20, 10), np.uint8)
    labels[5:15, 5:15, 2:8] = 1
    affine = np.diag([1.0, 1.0, 3.0, 1.0])
    dataset = OneVolume(Volume(labels[None].astype(np.float32), affine), Volume(labels, affine))
    cache = prepare(dataset, "resampled", [Case("c", "c")], recipe((2, 2, 1)))
    assert cache.label("c").shape == (10, 10, 30)
    volume = cache.label("c").sum() * 4
    assert abs(volume - labels.sum() * 3) / (labels.sum() * 3) < 0.1


def hippocampus(root: Path) -> tuple[Dataset, list[Case]]:
    dataset = registry.load("dataset", "hippocampus")()
    return dataset, dataset.cases(root)


def test_the_cache_is_made_once_and_again_when_a_file_changes(
    small_msd: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset, cases = hippocampus(small_msd)
    reads: list[str] = []
    original = Dataset.image
    monkeypatch.setattr(Dataset, "image", lambda self, case: reads.append(case.id) or original(self, case))
    first = prepare(dataset, "hippocampus", cases, recipe())
    assert len(reads) == len(cases)
    second = prepare(dataset, "hippocampus", cases, recipe())
    assert len(reads) == len(cases) and second.content == first.content
    assert cases[0].label is not None
    label = np.array(nibabel.load(cases[0].label).dataobj)
    label[0, 0, 0] = 1
    write_label(cases[0].label, label, np.eye(4))
    third = prepare(dataset, "hippocampus", cases, recipe())
    assert len(reads) == 2 * len(cases) and third.content != first.content
    assert third.label(cases[0].id)[0, 0, 0] == 1


def test_a_cache_that_is_there_is_used_without_reading_a_volume(
    small_msd: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset, cases = hippocampus(small_msd)
    first = prepare(dataset, "hippocampus", cases, recipe())
    preprocessing._open.cache_clear()  # as another process begins

    def read(*arguments: object, **options: object) -> None:
        raise AssertionError("a NIfTI file was read")

    monkeypatch.setattr(nifti, "_load", read)
    assert prepare(dataset, "hippocampus", cases, recipe()).folder == first.folder
    with pytest.raises(AssertionError, match="was read"):
        prepare(dataset, "hippocampus", cases, recipe((2, 2, 2)))


def test_a_folder_that_describes_itself_in_another_way_is_other_data(tmp_path: Path) -> None:
    root = write_twin("brats", tmp_path / "twin", "nnunet", cases=1)
    folder = root / "Dataset001_BrainTumour"

    def prepared() -> str:
        dataset = registry.load("dataset", "nnunet:Dataset001_BrainTumour")()
        cases = dataset.cases(root)
        return prepare(dataset, "nnunet:Dataset001_BrainTumour", cases, recipe()).content

    first = prepared()
    assert prepared() == first
    listing = folder / "dataset.json"
    listing.write_text(listing.read_text().replace('"edema"', '"oedema"'))
    assert prepared() != first


def test_a_source_that_cannot_be_read_is_not_taken_for_the_cache(
    small_msd: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset, cases = hippocampus(small_msd)

    def refuse(self: Dataset, case: Case) -> str:
        raise PermissionError(13, "Permission denied", str(case.image))

    monkeypatch.setattr(Dataset, "content", refuse)
    with pytest.raises(UserError, match=rf"{cases[0].id}\.nii\.gz: .*Permission denied") as refusal:
        prepare(dataset, "hippocampus", cases, recipe())
    assert "cache" not in refusal.value.found


def test_a_half_written_cache_is_not_used(
    small_msd: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    dataset, cases = hippocampus(small_msd)

    def die(*arguments: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as context:
        context.setattr(preprocessing, "_foreground", die)
        with pytest.raises(KeyboardInterrupt):
            prepare(dataset, "hippocampus", cases, recipe())
    cache = prepare(dataset, "hippocampus", cases, recipe())
    assert not cache.folder.name.startswith(".")
    assert all(cache.image(case.id).shape[0] == 1 for case in cases)


def _prepare_and_die(root: Path) -> None:
    """Be killed with SIGKILL after two of four cases."""
    dataset, cases = hippocampus(root)
    ticks = iter(range(2))

    def tick() -> None:
        if next(ticks) == 1:
            os.kill(os.getpid(), signal.SIGKILL)

    prepare(dataset, "hippocampus", cases, recipe(), tick)


def test_what_a_killed_process_left_is_not_used_and_goes(small_msd: Path, tmp_path: Path) -> None:
    process = get_context("spawn").Process(target=_prepare_and_die, args=(small_msd,))
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL
    folders = [path for path in (tmp_path / "cache").iterdir() if path.is_dir()]
    assert len(folders) == 1 and folders[0].name.startswith(".") and list(folders[0].glob("*.npy"))
    dataset, cases = hippocampus(small_msd)
    cache = prepare(dataset, "hippocampus", cases, recipe())
    assert [path for path in (tmp_path / "cache").iterdir() if path.is_dir()] == [cache.folder]
    assert all(cache.image(case.id).shape[0] == 1 for case in cases)


def test_who_waits_for_a_cache_gives_signs_of_life(
    small_msd: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preprocessing, "_WAIT", 0.05)
    dataset, cases = hippocampus(small_msd)
    cache = prepare(dataset, "hippocampus", cases, recipe())
    shutil.rmtree(cache.folder)  # as if it were not there yet
    other, ticks = FileLock(f"{cache.folder}.lock"), []
    other.acquire()

    def tick() -> None:
        ticks.append(1)
        if len(ticks) == 3:
            other.release()

    prepare(dataset, "hippocampus", cases, recipe(), tick)
    assert len(ticks) == 3 + len(cases)


def _prepare_in_a_process(root: Path) -> str:
    dataset, cases = hippocampus(root)

    def tick() -> None:
        time.sleep(0.05)  # so that the other process comes while this one builds
        with (root / "builds").open("a") as file:
            file.write(f"{os.getpid()}\n")

    return prepare(dataset, "hippocampus", cases, recipe(), tick).folder.name


def test_processes_that_start_together_build_one_cache_once(small_msd: Path, tmp_path: Path) -> None:
    context = get_context("spawn")
    together = context.Barrier(2)
    with ProcessPoolExecutor(2, mp_context=context, initializer=together.wait, initargs=(60,)) as pool:
        names = list(pool.map(_prepare_in_a_process, [small_msd] * 2))
    assert names[0] == names[1]
    folders = [path for path in (tmp_path / "cache").iterdir() if path.is_dir()]
    assert [path.name for path in folders] == [names[0]]
    builds = (small_msd / "builds").read_text().split()
    assert len(builds) == 8 and len(set(builds)) == 1


@pytest.mark.parametrize(
    "text",
    [b"{", b"\xff\xfe", b"[]", b"{}", b'{"training": ["a"]}', b'{"training": [{"image": 3, "label": 4}]}'],
)
def test_a_listing_that_is_none_is_named(small_msd: Path, text: bytes) -> None:
    (small_msd / "Task04_Hippocampus" / "dataset.json").write_bytes(text)
    with pytest.raises(UserError, match=r"dataset\.json: found a listing that cannot be read"):
        hippocampus(small_msd)


def test_a_listing_names_each_case_once(small_msd: Path) -> None:
    listing = small_msd / "Task04_Hippocampus" / "dataset.json"
    data = json.loads(listing.read_text())
    listing.write_text(json.dumps({"training": [*data["training"], data["training"][0]]}))
    with pytest.raises(UserError, match="'hippocampus_001' twice"):
        hippocampus(small_msd)


def test_entries_of_resource_forks_are_ignored(small_msd: Path) -> None:
    listing = small_msd / "Task04_Hippocampus" / "dataset.json"
    data = json.loads(listing.read_text())
    data["training"].append({"image": "./imagesTr/._x.nii.gz", "label": "./labelsTr/._x.nii.gz"})
    listing.write_text(json.dumps(data))
    assert len(hippocampus(small_msd)[1]) == 8


def test_the_real_hippocampus_reads(data_root: Path) -> None:
    dataset, cases = hippocampus(data_root)
    assert len(cases) == 200
    case = cases[0]
    assert dataset.image(case).array.shape[1:] == dataset.label(case).array.shape
