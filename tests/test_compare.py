"""Two studies side by side: which arms belong together, what has moved, what else differs."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from alexnet_sweep import comparison
from alexnet_sweep.compare import main
from alexnet_sweep.comparison import Comparison, compare
from alexnet_sweep.findings import find
from alexnet_sweep.store import RunFolder
from alexnet_sweep.study_folder import study_folder

LRN, POOL = "model/lrn", "model/pool"
ARMS: Mapping[str, Mapping[str, str]] = {
    "baseline": {LRN: "on", POOL: "overlap"},
    "model/lrn=off": {LRN: "off", POOL: "overlap"},
    "model/pool=plain": {LRN: "on", POOL: "plain"},
}
LRN_ALONE = {"lrn is on": {LRN: "on"}, "lrn is off": {LRN: "off"}}
IMAGES = 400
VERSIONS = {"python": "3.11", "torch": "2.9"}


def make_study(
    runs: Path,
    name: str = "one",
    *,
    arms: Mapping[str, Mapping[str, str]] = ARMS,
    wrong: Sequence[int] = (40, 80, 44),
    seeds: Sequence[int] = (0, 1, 2),
    first: int = 0,
    states: Mapping[int, str] = {},
    epochs: int = 2,
    config: Mapping[str, Any] | None = None,
    source_hash: str = "sources",
    data: str = "0123456789abcdef",
    versions: Mapping[str, str] = VERSIONS,
    ids: Sequence[str] = (),
    **plan: Any,
) -> None:
    """Write a study by hand: arm number n has about `wrong[n]` images wrong in each seed, the same ones mostly.

    Runs are numbered from `first`, and done but for those whose place in the plan has another state.
    """
    arm_ids = ids or [f"{name}-{number}" for number in range(len(arms))]
    keys = list(next(iter(arms.values())))
    listed = []
    for arm_id, count in zip(arm_ids, wrong, strict=True):
        for seed in seeds:
            place = len(listed)
            listed.append({"run_id": f"a{first + place:011x}", "arm_id": arm_id, "seed": seed, "overrides": []})
            folder = RunFolder(runs / listed[-1]["run_id"])
            folder.path.mkdir(parents=True, exist_ok=True)
            state = states.get(place, "done")
            folder.status.write_text(json.dumps({"state": state, "started": 100.0 + place, "heartbeat": 200.0 + place}))
            if state == "done":
                _finish(folder, count + seed, seed, epochs, dict(config or {}), source_hash, data, versions)
    written = {"name": name, "design": "one_factor_at_a_time", "keys": keys, "baseline": arm_ids[0]}
    written["arms"] = [
        {"arm_id": arm_id, "label": label, "levels": dict(levels)}
        for arm_id, (label, levels) in zip(arm_ids, arms.items(), strict=True)
    ]
    study_folder(runs, name).write_plan(
        written | {"runs": listed, "command": "by hand", "source_hash": source_hash} | plan
    )


def _finish(
    folder: RunFolder,
    wrong: int,
    seed: int,
    epochs: int,
    config: dict[str, Any],
    source_hash: str,
    data: str,
    versions: Mapping[str, str],
) -> None:
    ranks = np.where(np.arange(IMAGES) < wrong, 2, 1)
    images = pa.array([f"{number:04d}" for number in range(IMAGES)])
    columns = {"split": pa.array(["test"] * IMAGES), "image": images, "label": pa.array([0] * IMAGES, pa.int32())}
    columns |= {"centre_rank": pa.array(ranks), "ten_rank": pa.array(ranks)}
    folder.write_predictions(pa.table(columns))
    folder.write_config(
        {"seed": seed, "trainer": {"epochs": epochs, "batch_size": 64}, "paths": {"runs": "x"}} | config
    )
    counts = {"images": IMAGES, "top1": wrong, "top5": 0, "top1_error": wrong / IMAGES, "top5_error": 0.0}
    last = {"clean_train_images": 10, "clean_train_top1_error": 0.1, "clean_train_top5_error": 0.0}
    about = {"name": "digits", "fingerprint": data, "classes": 10, "train_images": 99, "test_images": IMAGES}
    about |= {"heldout_images": 9}
    effective = {"device": "cpu", "versions": dict(versions)}
    folder.write_result(
        {"data": about, "epochs": epochs, "views": 10, "last_epoch": last, "errors": {"test": {"centre": counts}}}
        | {"steps_to_threshold": 100 + wrong if wrong % 2 else None, "source_hash": source_hash}
        | {"effective": effective, "earlier_effective": [], "parameters": 7}
        | {"errors": {"test": {"centre": counts, "ten": counts}}}
    )


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    return tmp_path / "runs"


@pytest.fixture
def compared(runs: Path) -> Callable[..., Comparison]:
    def one(a: str = "one", b: str = "two") -> Comparison:
        return compare(find(a, runs), find(b, runs))

    return one


def cells(found: Comparison, *columns: str) -> list[tuple[Any, ...]]:
    return [tuple(row[column] for column in columns) for row in found.headline.to_dict("records")]


# --- what has moved ---


def test_an_arm_moves_where_the_change_goes_beyond_both_intervals(
    runs: Path, compared: Callable[..., Comparison]
) -> None:
    make_study(runs, "one")
    make_study(runs, "two", wrong=(40, 160, 44), first=100)
    found = compared()
    assert cells(found, "arm", "finding", "note") == [
        ("model/lrn=off", "moved", ""),
        ("model/pool=plain", "not distinguishable", ""),
    ]
    first = found.headline.iloc[0]
    assert first["delta_a"] == pytest.approx(0.1) and first["delta_b"] == pytest.approx(0.3)
    assert first["change"] == pytest.approx(0.2)
    half_a, half_b, half = ((first[f"high{side}"] - first[f"low{side}"]) / 2 for side in ("_a", "_b", ""))
    assert half == pytest.approx(np.hypot(half_a, half_b))
    assert (first["low"] + first["high"]) / 2 == pytest.approx(0.2)
    assert first["p"] < first["p_holm"] < 0.05


@pytest.mark.parametrize("seeds", [(0,), (0, 1), (0, 1, 2)], ids=str)
def test_p_is_below_five_percent_just_where_the_interval_excludes_zero(
    runs: Path, compared: Callable[..., Comparison], seeds: Sequence[int]
) -> None:
    arms = {"baseline": {LRN: "on"}} | {f"lrn={n}": {LRN: str(n)} for n in range(8)}
    make_study(runs, "one", arms=arms, wrong=(40, *[80] * 8), seeds=seeds)
    make_study(runs, "two", arms=arms, wrong=(40, *range(80, 144, 8)), seeds=seeds, first=100)
    table = compared().headline
    excludes = (table["low"] > 0) | (table["high"] < 0)
    assert ((table["p"] < 0.05) == excludes).all() and table["p"].between(0, 1).all()
    assert excludes.nunique() == 2, "some do, some do not"


def test_of_several_arms_one_alone_must_go_further(runs: Path, compared: Callable[..., Comparison]) -> None:
    arms = {"baseline": {LRN: "on"}} | {f"lrn={n}": {LRN: str(n)} for n in range(12)}
    make_study(runs, "one", arms=arms, wrong=(40, *[80] * 12), seeds=(0,))
    make_study(runs, "two", arms=arms, wrong=(40, 106, *[80] * 11), seeds=(0,), first=100)
    row = compared().headline.iloc[0]
    assert row["low"] > 0 and row["p"] < 0.05 < row["p_holm"]
    assert row["finding"] == "not distinguishable after Holm"


def test_the_same_runs_cannot_move(runs: Path, compared: Callable[..., Comparison]) -> None:
    make_study(runs, "one")
    make_study(runs, "two")
    assert cells(compared(), "change", "finding") == [(0.0, "same runs")] * 2
    assert compared().headline["low"].isna().all()


def test_a_copy_of_the_runs_is_the_same_runs_and_other_results_are_not(runs: Path, tmp_path: Path) -> None:
    make_study(runs, "one")
    make_study(tmp_path / "copy", "one")
    make_study(tmp_path / "again", "one", source_hash="newer")
    one = find("one", runs)
    assert cells(compare(one, find("one", tmp_path / "copy")), "finding") == [("same runs",)] * 2
    assert cells(compare(one, find("one", tmp_path / "again")), "finding", "note") == [("not distinguishable", "")] * 2


def test_some_runs_in_both_are_said_and_taken_as_independent(runs: Path, compared: Callable[..., Comparison]) -> None:
    make_study(runs, "one", seeds=(0, 1))
    plan = study_folder(runs, "one").read_plan()
    del plan["runs"][3]  # the first arm's second seed
    study_folder(runs, "two").write_plan(plan)
    assert cells(compared(), "finding", "note", "seeds_b")[0] == (
        "not distinguishable",
        "2 of 4 runs are in both, taken as independent; over images only in B",
        1,
    )


def test_what_is_not_done_is_said(runs: Path, compared: Callable[..., Comparison]) -> None:
    make_study(runs, "one", states=dict.fromkeys((2, 3, 4), "failed"))
    make_study(runs, "two", first=100, states=dict.fromkeys((3, 4, 5), "missing"))
    assert cells(compared(), "finding", "note")[0] == (
        "",
        "no seed that both have finished in A; no finished run of model/lrn=off in B",
    )
    assert compared().headline.iloc[1]["finding"]


def test_every_metric_is_there_beside_the_headline(runs: Path, compared: Callable[..., Comparison]) -> None:
    make_study(runs, "one")
    make_study(runs, "two", first=100)
    changes = compared().changes
    assert set(zip(changes["split"], changes["view"], changes["metric"], strict=True)) == {
        ("test", view, metric) for view in ("ten", "centre") for metric in ("top1", "top5")
    }
    assert len(compared().headline) == 2


def test_two_studies_without_a_finished_run_compare_to_nothing(
    runs: Path, compared: Callable[..., Comparison], capsys: pytest.CaptureFixture[str]
) -> None:
    make_study(runs, "one", states=dict.fromkeys(range(9), "missing"))
    make_study(runs, "two", states=dict.fromkeys(range(9), "missing"), first=100)
    assert compared().headline.empty
    assert main(["one", "two", "--runs", str(runs)]) == 0
    assert "No arm can be compared." in capsys.readouterr().out
    assert main(["one", "two", "--runs", str(runs), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["changes"] == []


# --- which arms belong together ---


def test_arms_are_matched_by_their_levels_whatever_their_labels(
    runs: Path, compared: Callable[..., Comparison]
) -> None:
    make_study(runs, "one")
    names = ("plain", "as it is", "no lrn")
    levels = (ARMS["model/pool=plain"], ARMS["baseline"], ARMS["model/lrn=off"])
    make_study(runs, "two", arms=dict(zip(names, levels, strict=True)), wrong=(44, 40, 80), baseline="two-1", first=100)
    found = compared()
    assert [(pair.a, pair.b, pair.matched_by) for pair in found.pairs] == [
        ("one-0", "two-1", "levels"),
        ("one-1", "two-2", "levels"),
        ("one-2", "two-0", "levels"),
    ]
    assert not found.only_a and not found.only_b


def test_where_a_factor_is_in_one_study_alone_arms_share_the_others(
    runs: Path, compared: Callable[..., Comparison], capsys: pytest.CaptureFixture[str]
) -> None:
    make_study(runs, "one")
    make_study(runs, "two", arms=LRN_ALONE, wrong=(40, 80), first=100)
    found = compared()
    assert [(pair.label, pair.b, pair.matched_by) for pair in found.pairs] == [
        ("baseline", "two-0", "shared levels"),
        ("model/lrn=off", "two-1", "shared levels"),
    ]
    assert found.only_a == ["model/pool=plain"] and found.only_b == []
    assert main(["one", "two", "--runs", str(runs)]) == 0
    text = capsys.readouterr().out
    assert "Arms are matched by the factors of both (model/lrn)" in text and "model/pool in A alone" in text
    assert "Only in A: model/pool=plain." in text


def test_the_same_configuration_is_the_same_arm_however_it_is_written(
    runs: Path, compared: Callable[..., Comparison]
) -> None:
    make_study(runs, "one", arms=LRN_ALONE, wrong=(40, 80), ids=("aaa", "bbb"))
    written = {"first": {"model.lrn.first": "true"}, "second": {"model.lrn.first": "false"}}
    make_study(runs, "two", arms=written, wrong=(40, 80), ids=("ccc", "bbb"), first=100)
    found = compared()
    assert [(pair.a, pair.b, pair.matched_by) for pair in found.pairs] == [("bbb", "bbb", "same configuration")]
    assert found.only_a == ["lrn is on"] and found.only_b == ["first"]


def test_equal_labels_match_what_is_left_and_the_levels_that_differ_are_named(
    runs: Path, compared: Callable[..., Comparison]
) -> None:
    make_study(runs, "one")
    other = {label: {**levels, LRN: levels[LRN] + "_2"} for label, levels in ARMS.items()}
    make_study(runs, "two", arms=other, first=100)
    found = compared()
    assert [pair.matched_by for pair in found.pairs] == ["label"] * 3
    assert found.headline.iloc[0]["note"] == "levels differ (model/lrn: off and off_2)"


def test_an_arm_that_is_the_baseline_of_one_study_has_no_change(
    runs: Path, compared: Callable[..., Comparison]
) -> None:
    make_study(runs, "one")
    make_study(runs, "two", baseline="two-1", first=100)
    found = compared()
    assert cells(found, "arm", "finding", "note")[:2] == [
        ("baseline", "", "the baseline of A"),
        ("model/lrn=off", "", "the baseline of B"),
    ]
    assert comparison.Difference(
        "baseline", "model/lrn=on, model/pool=overlap", "model/lrn=off, model/pool=overlap"
    ) in (found.differences)


def test_no_arm_is_matched_twice(runs: Path, compared: Callable[..., Comparison]) -> None:
    make_study(runs, "one")
    make_study(runs, "two", arms={"model/lrn=off": {POOL: "plain"}, "baseline": {POOL: "overlap"}}, wrong=(40, 80))
    pairs = compared().pairs
    assert len({pair.a for pair in pairs}) == len({pair.b for pair in pairs}) == len(pairs)


# --- what else differs ---


def test_studies_made_alike_differ_in_nothing(runs: Path, compared: Callable[..., Comparison]) -> None:
    make_study(runs, "one")
    make_study(runs, "two", first=100, config={"paths": {"runs": "elsewhere"}, "study": "two"})
    assert compared().differences == []


def test_what_differs_is_named(runs: Path, compared: Callable[..., Comparison]) -> None:
    make_study(runs, "one")
    make_study(
        *(runs, "two"),
        first=100,
        design="factorial",
        seeds=(0, 1),
        epochs=5,
        config={"optim": {"learning_rate": 0.1}},
        source_hash="newer",
        data="f" * 16,
        versions=VERSIONS | {"torch": "2.10"},
        tuning={"key": "optim.learning_rate", "levels": ["0.1", "0.2"], "chosen": {}},
    )
    told = {found.what: (found.a, found.b) for found in compared().differences}
    assert told == {
        "design": ("one factor at a time", "factorial"),
        "tuned": ("no", "optim.learning_rate: 0.1, 0.2"),
        "runs done": ("9 of 9", "6 of 6"),
        "seeds": ("0, 1, 2", "0, 1"),
        "data fingerprint": ("0123456789abcdef", "f" * 16),
        "epochs": ("2", "5"),
        "training sources": ("sources", "newer"),
        "version of torch": ("2.9", "2.10"),
        "baseline's optim.learning_rate": ("–", "0.1"),
    }


def test_a_baseline_that_is_not_done_says_nothing_of_its_settings(
    runs: Path, compared: Callable[..., Comparison]
) -> None:
    make_study(runs, "one")
    make_study(runs, "two", first=100, states=dict.fromkeys((0, 1, 2), "missing"))
    assert [found.what for found in compared().differences] == ["runs done"]


# --- the verb ---


def test_the_verb_prints_a_table_and_what_differs(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_study(runs, "one")
    make_study(runs, "two", wrong=(40, 160, 44), first=100, epochs=5)
    assert main(["one", "two", "--runs", str(runs)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "# one and two"
    assert "1 of 2 arms moved: model/lrn=off." in lines[2]
    table = [line for line in lines if line.startswith("|")]
    assert len({len(line) for line in table[:4]}) == 1, "columns line up"
    row = next(line for line in table if line.startswith("| model/lrn=off"))
    assert "+10.00 [" in row and "+30.00 [" in row and "+20.00 [" in row and "| moved" in row
    assert any(line.split("|")[1:4] == [f" {'epochs':<{len(line.split('|')[1]) - 2}} ", " 2 ", " 5 "] for line in table)
    assert sum(line.startswith("## Δ") for line in lines) == 1
    assert main(["one", "two", "--runs", str(runs), "--all"]) == 0
    assert sum(line.startswith("## Δ") for line in capsys.readouterr().out.splitlines()) == 4


def test_json_holds_the_same(runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_study(runs, "one")
    make_study(tmp_path / "other", "one", wrong=(40, 160, 44), states={6: "failed", 7: "failed", 8: "failed"})
    assert main(["one", "one", "--runs", str(runs), "--other-runs", str(tmp_path / "other"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)
    assert found["a"] == {"study": "one", "runs": str(runs)} and found["b"]["runs"] == str(tmp_path / "other")
    assert [row["finding"] for row in found["changes"]] == ["moved", ""]
    assert found["changes"][0]["change"] == pytest.approx(0.2) and found["changes"][1]["change"] is None
    assert {"what": "runs done", "a": "9 of 9", "b": "6 of 9"} in found["differences"]


def test_an_unknown_study_is_one_line_with_those_there_are(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_study(runs, "one")
    assert main(["one", "on", "--runs", str(runs)]) == 2
    printed = capsys.readouterr()
    assert printed.out == "" and len(printed.err.splitlines()) == 1 and "have: one" in printed.err


def test_names_cannot_move_the_cursor_or_break_the_table(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arms = {"base": {LRN: "on"}, "a|b\x1b[2J\n# c": {LRN: "off"}}
    make_study(runs, "one", arms=arms, wrong=(40, 80))
    make_study(runs, "two", arms=arms, wrong=(40, 80), first=100)
    assert main(["one", "two", "--runs", str(runs)]) == 0
    text = capsys.readouterr().out
    assert "\x1b" not in text and "a\\|b" in text and "\n# c" not in text


def test_help_has_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    assert ended.value.code == 0 and "example: python -m alexnet_sweep.compare quick" in capsys.readouterr().out


def test_one_seed_on_a_side_moves_no_part(runs: Path, compared: Callable[..., Comparison]) -> None:
    make_study(runs, "one", seeds=(0,))
    make_study(runs, "two", wrong=(40, 160, 44), seeds=(0,), first=100)
    row = compared().headline.to_dict("records")[0]
    assert row["finding"] == "moved with these seeds" and "over images only in A and B" in row["note"]
