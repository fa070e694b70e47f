"""Averages of networks: by hand on four images, by properties, and in a report."""

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alexnet_sweep.ensembles import ranks_by_size
from alexnet_sweep.findings import find
from alexnet_sweep.metrics import label_ranks
from alexnet_sweep.report.write import write_report
from alexnet_sweep.store import RunFolder
from hand_made import Run, make_study

ONE_ARM = {"base": {"model/lrn": "on"}}
# Four images of classes 0, 1, 2 and 3. Of equal probabilities the lower class comes first.
FIRST = [[0.75, 0.25, 0, 0], [0.625, 0.375, 0, 0], [0, 0.25, 0.75, 0], [0.75, 0, 0, 0.25]]  # the 2nd and 4th wrong
SECOND = [[0.375, 0.625, 0, 0], [0.25, 0.75, 0, 0], [0, 0.5, 0.5, 0], [0, 0, 0, 1]]  # the 1st and 3rd, a tie, wrong
THIRD = [[0, 1, 0, 0], [0.5, 0, 0.5, 0], [1, 0, 0, 0], [0, 0, 1, 0]]  # all wrong
# Averages: 1 and 2 have all right; 1 and 3 all wrong; 2 and 3 all wrong (two ties); all three the 1st and 2nd wrong.
BY_HAND = {1: (2 / 3, 0.5, 1.0, 3), 2: (2 / 3, 0.0, 1.0, 3), 3: (0.5, 0.5, 0.5, 1)}


def network(rows: list[list[float]], labels: list[int] | None = None) -> Run:
    """A run with these probabilities; `make_run` numbers labels by place."""
    ranks = label_ranks(np.array(rows), np.array(labels or range(len(rows)))).tolist()
    return Run(ranks, probabilities=rows)


def study(runs: Path, *networks: list[list[float]], shuffle: int = 0) -> str:
    made = {("base", seed): network(rows) for seed, rows in enumerate(networks)}
    return make_study(runs, made, ONE_ARM, classes=4, shuffle=shuffle)


def table_of(runs: Path, name: str) -> pd.DataFrame:
    found = find(name, runs, ensembles=True).ensembles
    assert found is not None and found.notes == ()
    return found.table


def test_three_networks_by_hand(tmp_path: Path) -> None:
    table = table_of(tmp_path, study(tmp_path, FIRST, SECOND, THIRD))
    for view in ("ten", "centre"):
        for row in table[table["view"] == view].to_dict("records"):
            error, least, greatest, subsets = BY_HAND[row["networks"]]
            assert row["top1"] == pytest.approx(error)
            assert (row["top1_least"], row["top1_greatest"], row["subsets"]) == (least, greatest, subsets)
            assert row["top1_gain"] == pytest.approx(2 / 3 - error)
            assert math.isnan(row["top5"])  # of four classes
    assert sorted(table["networks"]) == [1, 1, 2, 2, 3, 3]


def test_neither_the_order_of_seeds_nor_that_of_images_matters(tmp_path: Path) -> None:
    tables = [
        table_of(tmp_path / str(number), study(tmp_path / str(number), *order, shuffle=10 * number))
        for number, order in enumerate([(FIRST, SECOND, THIRD), (THIRD, FIRST, SECOND)])
    ]
    for column in ("networks", "subsets", "top1", "top1_least", "top1_greatest", "top1_spread", "top1_gain_low"):
        np.testing.assert_allclose(tables[0][column], tables[1][column], rtol=1e-12)


@st.composite
def networks(draw: st.DrawFn) -> tuple[list[np.ndarray], np.ndarray]:
    """Two to five networks' float16 probabilities with many ties, and labels."""
    count, images, classes = draw(st.integers(2, 5)), draw(st.integers(1, 6)), draw(st.integers(2, 8))
    numbers = draw(st.integers(0, 2**32 - 1))
    rng = np.random.default_rng(numbers)
    return [rng.integers(0, 5, (images, classes)).astype(np.float16) / 4 for _ in range(count)], rng.integers(
        0, classes, images
    )


def ranks_of(values: list[np.ndarray], labels: np.ndarray) -> dict[int, np.ndarray]:
    return ranks_by_size(values, [label_ranks(one, labels) for one in values], labels)


@given(networks(), st.randoms())
def test_the_order_of_networks_changes_no_rank(given_networks: tuple, random) -> None:
    values, labels = given_networks
    order = random.sample(range(len(values)), len(values))
    found, other = ranks_of(values, labels), ranks_of([values[place] for place in order], labels)
    for size, ranks in found.items():
        assert sorted(map(tuple, ranks)) == sorted(map(tuple, other[size]))


@given(networks())
def test_one_network_is_each_alone_and_all_of_them_one_average(given_networks: tuple) -> None:
    values, labels = given_networks
    found = ranks_of(values, labels)
    assert np.array_equal(found[1], np.stack([label_ranks(one, labels) for one in values]))
    whole = np.mean([one.astype(np.float64) for one in values], axis=0)
    assert np.array_equal(found[len(values)], label_ranks(whole * len(values), labels)[None])
    assert {size: len(ranks) for size, ranks in found.items()} == {
        size: math.comb(len(values), size) for size in range(1, len(values) + 1)
    }


@given(networks())
def test_copies_of_one_network_answer_as_it_does(given_networks: tuple) -> None:
    values, labels = given_networks
    for ranks in ranks_of([values[0]] * len(values), labels).values():
        assert (ranks == label_ranks(values[0], labels)).all()


def test_many_images_are_averaged_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    values, labels = [rng.random((23, 6)).astype(np.float16) for _ in range(3)], rng.integers(0, 6, 23)
    whole = ranks_of(values, labels)
    monkeypatch.setattr("alexnet_sweep.ensembles.ROWS_AT_ONCE", 5)
    assert all(np.array_equal(ranks, whole[size]) for size, ranks in ranks_of(values, labels).items())


def test_five_best_of_many_classes_are_refused_in_one_line_with_the_way_out(tmp_path: Path) -> None:
    name = make_study(tmp_path, {("base", seed): Run([1, 2, 6]) for seed in (0, 1)}, ONE_ARM, classes=1000)
    found = find(name, tmp_path, ensembles=True).ensembles
    assert found is not None and found.table.empty
    (note,) = found.notes
    assert "five best of 1,000 classes" in note and "eval.keep_classes=1000" in note and "\n" not in note


def test_one_seed_gives_a_note_and_more_than_ten_the_first_ten(tmp_path: Path) -> None:
    alone = find(study(tmp_path / "one", FIRST), tmp_path / "one", ensembles=True).ensembles
    assert alone is not None and alone.table.empty and "averaging takes two" in alone.notes[0]
    many = find(study(tmp_path / "many", *[FIRST] * 11), tmp_path / "many", ensembles=True).ensembles
    assert many is not None and many.table["networks"].max() == 10 and "first 10 of its 11" in many.notes[0]


def test_a_study_that_does_not_ask_has_no_ensembles(tmp_path: Path) -> None:
    assert find(study(tmp_path, FIRST, SECOND), tmp_path).ensembles is None


def test_a_report_has_the_section_the_figure_and_the_table(tmp_path: Path) -> None:
    name = study(tmp_path / "runs", FIRST, SECOND, THIRD)
    report = write_report(name, tmp_path / "runs", tmp_path / "reports", ensembles=True)
    section = report.text.split("## Ensembles")[1].split("\n## ")[0]
    assert "66.67 \\[0.00, 100.00\\]" in section and "+16.67 [" in section
    assert "40.7" in section and "38.1" in section and "16.4" in section
    assert "Not comparable (data: hand, not ILSVRC-2012)" in section
    assert "--ensembles" in report.text
    folder = tmp_path / "reports" / name
    assert pd.read_csv(folder / "ensembles.csv")["networks"].tolist() == [1, 2, 3, 1, 2, 3]
    assert (folder / "ensembles.svg").stat().st_size > 1000
    write_report(name, tmp_path / "runs", tmp_path / "reports")
    assert not (folder / "ensembles.csv").exists() and not (folder / "ensembles.svg").exists()


def test_a_sweep_that_asks_averages_what_it_has_trained(main, tmp_path: Path) -> None:
    small = ("model.width=0.05", "trainer.epochs=1", "trainer.cpu_threads=1", "eval.clean_train_images=64")
    assert main("-m", "seed=0,1", "report.ensembles=true", *small) == 0
    (path,) = Path("reports").glob("*/ensembles.csv")
    table = pd.read_csv(path)
    both = table[(table["view"] == "ten") & (table["networks"] == 2)].iloc[0]
    runs = [RunFolder(path) for path in Path("runs").iterdir() if not path.name.startswith("_")]
    frames = [run.read_predictions(["split", "image", "label", "ten_probabilities"]).to_pandas() for run in runs]
    tests = [frame[frame["split"] == "test"].sort_values("image") for frame in frames]
    mean = sum(np.stack(frame["ten_probabilities"]).astype(float) for frame in tests)
    wrong = label_ranks(mean, tests[0]["label"].to_numpy().astype(np.int64)) > 1
    assert both["top1"] == wrong.mean()
    singles = table[(table["view"] == "ten") & (table["networks"] == 1)].iloc[0]
    results = [run.read_result()["errors"]["test"]["ten"]["top1_error"] for run in runs]
    assert singles["top1"] == pytest.approx(np.mean(results))
