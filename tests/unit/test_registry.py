"""Names to classes: ours, entry points, and module:Class."""

from __future__ import annotations

from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from harness import registry
from harness.errors import UserError
from harness.spec import Frozen
from harness.study.expand import load_study
from harness.trial.settings import RunSettings

PLUGIN = """
from harness.architectures.contract import Architecture
from harness.data.datasets.contract import Dataset
from harness.training.method import Method

from harness.spec import Frozen

class MyMethod(Method):
    summary = source = "a test"
    Parameters = Frozen

class MyNetwork(Architecture):
    summary = source = "a test"
    Options, presets = Frozen, {}

class MyData(Dataset):
    summary = source = "a test"
    channels, labels, recipe = ("MRI",), {0: "background"}, {}

class Nothing: pass
"""


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    (tmp_path / "plugin_of_test.py").write_text(PLUGIN)
    (tmp_path / "broken_of_test.py").write_text("1 / 0")
    monkeypatch.syspath_prepend(tmp_path)
    caches = (registry._ours, registry._plugins, registry.load)
    for cached in caches:
        cached.cache_clear()
    yield
    for cached in caches:
        cached.cache_clear()


@pytest.mark.parametrize("kind", registry.KINDS)
def test_every_name_loads_a_class_of_the_contract(kind: registry.Kind) -> None:
    assert registry.names(kind)
    assert all(
        issubclass(registry.load(kind, name), registry.contract(kind)) for name in registry.names(kind)
    )


@pytest.mark.parametrize(
    ("kind", "name"), [("method", "MyMethod"), ("architecture", "MyNetwork"), ("dataset", "MyData")]
)
def test_a_class_of_any_module_can_be_named(kind: registry.Kind, name: str) -> None:
    assert registry.load(kind, f"plugin_of_test:{name}").__name__ == name


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("unte", "Did you mean 'unet'"),
        ("no_module:X", "no_module"),
        ("plugin_of_test:Missing", "Missing"),
        ("broken_of_test:X", "ZeroDivisionError"),
        ("qqqqqq", "Choose one of: .*unet"),
        ("plugin_of_test:Nothing", "derived from"),
        ("plugin_of_test:MyMethod", "derived from"),
    ],
)
def test_what_cannot_be_loaded_is_named(name: str, said: str) -> None:
    with pytest.raises(UserError, match=said):
        registry.load("architecture", name)


@pytest.mark.parametrize(
    ("kind", "base", "attribute", "value"),
    [
        ("method", "MyMethod", "summary", None),
        ("method", "MyMethod", "Parameters", dict),
        ("method", "MyMethod", "Parameters", Frozen()),
        ("method", "MyMethod", "presets", {"mine": {}}),
        ("architecture", "MyNetwork", "source", 3),
        ("architecture", "MyNetwork", "presets", None),
        ("architecture", "MyNetwork", "presets", ["tiny"]),
        ("dataset", "MyData", "recipe", None),
        ("dataset", "MyData", "labels", None),
    ],
)
def test_an_attribute_that_is_missing_or_wrong_is_named(
    kind: registry.Kind, base: str, attribute: str, value: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = registry.load(kind, f"plugin_of_test:{base}")
    registry.load.cache_clear()
    if value is None:
        monkeypatch.delattr(entry, attribute)
    else:
        monkeypatch.setattr(entry, attribute, value)
    with pytest.raises(UserError, match=f"plugin_of_test:{base}.*{attribute}.*Set it in the class"):
        registry.load(kind, f"plugin_of_test:{base}")


def test_entry_points_are_registered_and_a_name_taken_twice_is_an_error(monkeypatch) -> None:
    points = [EntryPoint("mine", "plugin_of_test:MyMethod", "medctx.methods")]
    monkeypatch.setattr(registry, "entry_points", lambda group: points)
    assert "mine" in registry.names("method")
    assert registry.load("method", "mine").__name__ == "MyMethod"
    points.append(EntryPoint("supervised", "plugin_of_test:MyMethod", "medctx.methods"))
    registry._plugins.cache_clear()
    with pytest.raises(UserError, match="two definitions"):
        registry.names("method")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("from harness.training.method import Method", "0 classes"),
        (
            "from harness.training.method import Method\nclass A(Method): pass\nclass B(Method): pass",
            "2 classes",
        ),
        ("from methods.supervised import Supervised\nclass A(Supervised): pass", None),
    ],
)
def test_a_file_of_ours_holds_one_class(tmp_path: Path, text: str, found: str | None) -> None:
    name = f"file_of_test_{found and found[0]}"
    (tmp_path / f"{name}.py").write_text(text)
    if found is None:
        assert registry._only_entry("method", name).__name__ == "A"
        return
    with pytest.raises(UserError, match=rf"{name}\.py: found {found}.*exactly one"):
        registry._only_entry("method", name)


def test_a_module_beside_a_study_is_found_from_any_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    beside, elsewhere = tmp_path / "beside", tmp_path / "elsewhere"
    for folder in (beside, elsewhere):
        folder.mkdir()
    (beside / "found_of_test.py").write_text(PLUGIN)
    (beside / "question.yaml").write_text(
        "question: Is it found?\nbase: {dataset: phantom, architecture: unet, method: 'found_of_test:MyMethod'}\n"
    )
    monkeypatch.chdir(elsewhere)
    with pytest.raises(UserError, match=r"No module named 'found_of_test'.*Put the file beside the study"):
        registry.load("method", "found_of_test:MyMethod")
    (cell,) = load_study(str(beside / "question.yaml")).cells
    assert cell.spec.method.name == "found_of_test:MyMethod"
    assert RunSettings(tmp_path).plugin_folders == (beside,)  # which workers look in


def test_two_files_for_one_module_are_refused(tmp_path: Path) -> None:
    folders = [tmp_path / name for name in ("one", "two")]
    for folder in folders:
        folder.mkdir()
        (folder / "twice_of_test.py").write_text(PLUGIN)
    registry.look_in(folders[0])
    registry.load("method", "twice_of_test:MyMethod")
    registry.look_in(folders[1])
    with pytest.raises(UserError, match=r"two modules twice_of_test: .*one/.*used, and .*two/"):
        registry.load("method", "twice_of_test:MyMethod")
