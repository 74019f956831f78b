"""What a table may not mix: it is refused, and the difference is named; what is declared may differ."""

from pathlib import Path
from typing import Any

import pytest
from fake_results import make_study
from fake_tables import loaded, scored, tables_of

from harness.records.schema import Protocol
from harness.reporting.formats.latex import to_latex
from harness.reporting.formats.markdown import to_markdown
from harness.reporting.rank_groups import rank_groups
from harness.reporting.references import read_reference
from harness.reporting.tables.study import all_tables
from harness.study.cells import PER_SEED
from harness.study.file import ReportSpec, TableSpec
from harness.study.study import Study


def test_a_table_of_records_that_differ_undeclared_is_refused(tmp_path: Path) -> None:
    cells = [scored(tmp_path, 0.5, seed=0), scored(tmp_path, 0.5, seed=1, protocol={"content_hash": "other"})]
    tables = tables_of(make_study(cells), tmp_path)
    for name in ("dice", "hd95"):
        assert tables[name].refused and "0.5" not in tables[name].data.to_csv()
        assert [row[0].text for row in tables[name].rows] == [
            "content hash differs between trials that should share it (phantom): "
            "c0ffee00c0ffee00 in 1 trial; other in 1 trial."
        ]
    assert not tables["cost"].refused and not tables["trials"].refused


# a changed value for every field of the protocol: what a table may not mix
CHANGES: dict[str, Any] = {
    "dataset_version": 2, "content_hash": "other", "split_hash": "other", "split_rule": "by hand",
    "training_cases": ["phantom_001"], "validation_cases": [], "test_cases": ["phantom_040"],
    "spacing": [2.0, 2.0, 2.0], "orientation": "LPS", "patch": [16, 16, 16], "intensity": "none", "crop": "foreground",
    "resampling": "cubic", "label_resampling": "linear", "augmentation": {"noise": 0.2}, "steps": 10, "batch": 1,
    "training": {"loss": "dice_ce_nnunet"}, "selection": "best_validation", "inference": {"overlap": 0.0},
    "postprocessing": "largest component", "convention": "released_acdc", "extra_data": "some", "pretraining": "some",
    "ignore": 4, "tolerances": {"lobe": 1.0}, "patients": "not known",
}  # fmt: skip


def test_every_field_of_the_protocol_has_a_change() -> None:
    assert set(CHANGES) == set(Protocol.model_fields) - {"dataset"}


@pytest.mark.parametrize("field", CHANGES)
def test_a_difference_in_any_field_refuses_the_table_and_is_named(tmp_path: Path, field: str) -> None:
    before = {
        "training": {"loss": "dice_ce"},
        "patients": "one for each case",
    }  # else not written down, which differs from nothing
    cells = [
        scored(tmp_path, 0.5, seed=0, protocol={key: before[key] for key in before if key == field}),
        scored(tmp_path, 0.5, seed=1, protocol={field: CHANGES[field]}),
    ]
    table = tables_of(make_study(cells), tmp_path)["dice"]
    assert table.refused and [row[0].text.partition(" differs")[0] for row in table.rows] == [
        field.replace("_", " ")
    ]


def test_a_pipeline_declares_what_it_sets_and_nothing_else(tmp_path: Path) -> None:
    def refusals(where: Path, *fields: str) -> list[str]:
        cells = [
            scored(where, 0.5, protocol=own, subset=number, **{"recipe.pipeline": name})
            for number, (name, own) in enumerate(
                (("monai", {}), ("nnunet", {key: CHANGES[key] for key in fields}))
            )
        ]
        table = tables_of(make_study(cells), where)["dice"]
        return [row[0].text.partition(" differs")[0] for row in table.rows] if table.refused else []

    assert (
        refusals(tmp_path / "declared", "spacing", "patch", "crop", "augmentation", "steps", "inference")
        == []
    )
    assert refusals(tmp_path / "not", "spacing", "split_hash", "convention") == ["split hash", "convention"]


def oracle_study(where: Path, *rules: str, **options: Any) -> Study:
    cells = [
        scored(
            where, 0.5, protocol={"selection": rule}, **{"recipe.selection": rule}, method=method, seed=seed
        )
        for seed, rule in enumerate(rules)
        for method in ("supervised", "medcontext")
    ]
    return make_study(cells, **options)


def test_a_selection_on_test_cases_is_marked_in_every_table(tmp_path: Path) -> None:
    spec = TableSpec(name="own", rows=("method",), columns=("recipe.selection",))
    study = oracle_study(tmp_path, "last", "test_oracle", report=ReportSpec(tables=(spec,)))
    found, *tests = loaded(study, tmp_path)
    reference = read_reference("synapse_published").model_copy(update={"dataset": "phantom"})
    tables = all_tables(found, *tests, [*rank_groups(found)], {"published": reference})
    names = [
        "dice",
        "hd95",
        "own",
        "reference_published",
        "reference_published_protocol",
        "contrasts",
        "comparisons",
        "ranks",
        "cost",
        "trials",
    ]
    assert [table.name for table in tables] == names
    for table in tables:
        assert table.title.endswith(", checkpoints selected on test cases")
        assert table.footnotes[0].startswith(
            "Caution: 2 trials of 4 selected the checkpoint on the test cases"
        )
        assert "selected on test cases" in to_markdown(table) and "test_oracle" in to_latex(
            table, table.name
        ).replace("\\_", "_")
    plain = oracle_study(tmp_path / "plain", "last", "last")
    assert not any("test cases" in table.title for table in tables_of(plain, tmp_path / "plain").values())


def test_comparisons_and_published_numbers_are_refused_too(tmp_path: Path) -> None:
    cells = [
        scored(tmp_path, 0.5, method=method, protocol={"split_hash": hash})
        for method, hash in (("supervised", "one"), ("medcontext", "two"))
    ]
    found, *tests = loaded(make_study(cells), tmp_path)
    reference = read_reference("synapse_published").model_copy(update={"dataset": "phantom"})
    tables = {table.name: table for table in all_tables(found, *tests, [], {"published": reference})}
    refused = [name for name, table in tables.items() if table.refused]
    assert refused == ["dice", "hd95", "reference_published", "contrasts", "comparisons"]
    assert tables["comparisons"].rows[0][0].text.startswith("split hash differs")


def test_declared_difference_is_not(tmp_path: Path) -> None:
    cells = [scored(tmp_path, 0.5, protocol={"steps": steps}, **{"recipe.steps": steps}, subset=steps)
             for steps in (100, 200)]  # fmt: skip
    assert not tables_of(make_study(cells), tmp_path)["dice"].refused


def test_cases_that_each_seed_draws_are_declared_and_told(tmp_path: Path) -> None:
    draws = [{"training_cases": [f"phantom_{seed:03d}"]} for seed in (1, 2)]
    tables = {}
    for subset in (0, PER_SEED):
        cells = [scored(tmp_path / str(subset), 0.5, seed=seed, shots=5, subset=subset, protocol=draw)
                 for seed, draw in enumerate(draws)]  # fmt: skip
        tables[subset] = tables_of(make_study(cells), tmp_path / str(subset))["dice"]
    assert tables[0].refused and not tables[PER_SEED].refused
    assert any("drawn anew for each seed" in note for note in tables[PER_SEED].protocol)


def test_mixed_code_is_named(tmp_path: Path) -> None:
    cells = [scored(tmp_path, 0.5, "c1", seed=0), scored(tmp_path, 0.5, "c2", seed=1)]
    tables = tables_of(make_study(cells), tmp_path)
    for name in ("dice", "cost"):
        assert any("commit c1 (1 trial), c2 (1 trial)" in note for note in tables[name].footnotes)
