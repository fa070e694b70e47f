"""The Markdown report: the right numbers, every run shown, the same bytes again."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from alexnet_sweep.errors import FolderError
from alexnet_sweep.report.document import Document, Heading, Paragraph, Table
from alexnet_sweep.report.markdown import aligned, to_markdown
from alexnet_sweep.report.write import write_report
from alexnet_sweep.store import RunFolder
from alexnet_sweep.study_folder import study_folder
from alexnet_sweep.wording import printable
from hand_made import LRN, RANKS, Run, make_run, make_study, ranked, ranked_study, restate, wrong
from test_sweep import contents_of


def report_of(folder: Path, ranks: dict[tuple[str, int], list[int] | None], classes: int = 10) -> str:
    ranked_study(folder / "runs", ranks, classes)
    return write_report("hand", folder / "runs", folder / "reports").text


def test_the_table_shows_errors_and_deltas_in_percent(tmp_path: Path) -> None:
    text = report_of(tmp_path, dict(RANKS))
    rows = [line.split("|") for line in text.splitlines() if line.startswith("| model/lrn=off")]
    cells = [cell.strip() for cell in rows[0][1:-1]]
    assert cells[:3] == ["model/lrn=off", "2", "62.50"]
    # Two seeds whose deltas are 1/2 and 0: far wider than the test images alone would have it.
    assert cells[3].startswith("+25.00 [−") and cells[4:6] == ["not distinguishable at n = 2", "25.00"]


def cells_of(text: str, heading: str) -> list[list[str]]:
    """The rows of the table under a heading, without its head."""
    lines = text.split(f" {heading}\n", 1)[1].split("\n#", 1)[0].splitlines()
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines if line.startswith("| ")][1:]


def test_every_number_of_a_small_report_is_derived_by_hand(tmp_path: Path) -> None:
    """Four test images, two seeds, one arm; t(1) = 12.7062, z = 1.95996."""
    made = {
        ("base", 0): wrong("0001", centre=[1, 1, 2, 2], train_error=0.05, steps=100),
        ("base", 1): wrong("0016", centre=[1, 1, 2, 6], train_error=0.07, steps=200),
        ("off", 0): wrong("0161", centre=[1, 2, 6, 2], train_error=0.10, steps=150),
        ("off", 1): wrong("0016", centre=[1, 1, 2, 6], train_error=0.08, steps=400),
    }
    make_study(tmp_path / "runs", made, claims={"model/lrn=off": ["P03"]})
    text = write_report("hand", tmp_path / "runs", tmp_path / "reports").text

    # Ten views. Baseline: 1 and 2 of 4 wrong, mean 37.5 %; the arm: 3 and 2, mean 62.5 %. Not among five: base 0 and 1,
    # mean 12.5 %; the arm 1 and 1, mean 25 %.
    # Top-1: differences of images 0 1 1 0 and 0 0 0 0, of seeds 1/2 and 0, mean 1/4. Seeds' part: (1/8 + 1/(12·16)) / 2
    # = 0.065104. Images' part: images' means 0 1/2 1/2 0, mean squares 1/6 of images and 1/6 of the rest: 0 + 1/(2·16).
    # Half width: root of 161.448 · 0.065104 + 3.84146 / 32 = 10.6310, so 3.2605.
    # Top-5: differences 0 0 1 0 and 0 0 0 0, of seeds 1/4 and 0, mean 1/8. Seeds' part: (1/32 + 1/192) / 2 = 0.018229.
    # Images' part as before. Root of 161.448 · 0.018229 + 0.12005 = 3.06310, so 1.7502.
    finding = "not distinguishable at n = 2"
    assert cells_of(text, "Test error in %, ten views (four corners, centre, and their mirrors), averaged") == [
        ["model/lrn=on", "2", "37.50", "baseline", "", "", "12.50", "baseline", ""],
        [
            *("model/lrn=off", "2", "62.50", "+25.00 [−301.05, +351.05]", finding, "(+1.4)"),
            *("25.00", "+12.50 [−162.52, +187.52]", "(+1.2)"),
        ],
    ]
    # Centre view: 2 and 2 wrong, mean 50 %; 3 and 2, mean 62.5 %. Differences 0 1 0 0 and 0 0 0 0: as Top-5 above.
    assert [row[:4] for row in cells_of(text, "Test error in %, the centre view")] == [
        ["model/lrn=on", "2", "50.00", "baseline"],
        ["model/lrn=off", "2", "62.50", "+12.50 [−162.52, +187.52]"],
    ]
    # Centre less ten, baseline: 0 0 1 0 and 0 0 0 0, once more as Top-5 above. The arm: none, so that only what is
    # rounded away and one pseudo-image remain: 161.448 · 1/(12·16·2) + 3.84146 / 32 = 0.54049, whose root is 0.7352.
    assert cells_of(text, "What averaging over views gains") == [
        ["model/lrn=on", "10", "50.00", "37.50", "+12.50 [−162.52, +187.52]", finding],
        ["model/lrn=off", "10", "62.50", "62.50", "+0.00 [−73.52, +73.52]", finding],
    ]
    # Training images: base 5 and 7 %, the arm 10 and 8 %: +5 and +1, mean 3, standard error 2, times t: 25.41.
    # Test (centre) less training: base 50 - 5 and 50 - 7, mean 44; the arm 75 - 10 and 50 - 8, mean 53.5: +20 and -1,
    # mean 9.5, standard error 10.5, times t: 133.42.
    # Steps: 150 to 100 and 400 to 200, a factor of 3/2 and 2: logarithms 0.40547 and 0.69315, mean 0.54931 (1.73),
    # standard error 0.14384, times t: 1.82767, so from exp(-1.27837) to exp(2.37698).
    assert cells_of(text, "How well the arms fit their training images") == [
        ["model/lrn=on", "6.00", "baseline", "44.00", "baseline", "150", "baseline"],
        [
            *("model/lrn=off", "9.00", "+3.00 [−22.41, +28.41]", "53.50", "+9.50 [−123.92, +142.92]"),
            *("275", "×1.73 [×0.28, ×10.77]"),
        ],
    ]
    told = cells_of(text, "What the paper says")
    assert [row[2:6] for row in told] == [
        ["Top-1", "+1.4", "+25.00 [−301.05, +351.05]", "not comparable"],
        ["Top-5", "+1.2", "+12.50 [−162.52, +187.52]", "not comparable"],
    ]


def test_beside_intervals_over_images_those_over_seeds_only_are_marked(tmp_path: Path) -> None:
    figures = {"base": ((5, 100), (7, 200)), "off": ((10, 150), (8, 400))}
    made = {
        (arm, seed): ranked([1, 1, 2, 6], train_error=error / 100, steps=steps)
        for arm, seeds in figures.items()
        for seed, (error, steps) in enumerate(seeds)
    }
    make_study(tmp_path / "runs", made, claims={"model/lrn=off": ["P12a", "P09", "P10"]})
    text = write_report("hand", tmp_path / "runs", tmp_path / "reports").text
    found = {row[2]: row[4] for row in cells_of(text, "What the paper says")}
    assert found["clean training error"] == "+3.00 [−22.41, +28.41], over seeds only"
    assert found["steps to threshold"] == "×1.73 [×0.28, ×10.77], over seeds only"
    assert found["test less training error"].endswith("], over seeds only") and found["Top-1"].endswith("]")
    assert "The paper's numbers are of single pairs of runs and printed rounded" in text


def test_words_of_the_report_carry_the_seeds_behind_them(tmp_path: Path) -> None:
    made = {(arm, seed): wrong("0" * 100 if arm == "base" else "1" * 50 + "0" * 50) for arm in LRN for seed in (0, 1)}
    make_study(tmp_path / "runs", made | {("off", 2): wrong("0" * 100)})
    text = write_report("hand", tmp_path / "runs", tmp_path / "reports").text
    (row,) = [row for row in cells_of(text, "Test error in %, the centre view") if row[0] == "model/lrn=off"]
    assert row[1] == "2 paired of 3" and "hurts at n = 2" in row and "The change hurts (n = 2): model/lrn=off" in text


def test_what_is_compared_though_not_alike_is_marked_wherever_it_is_shown(tmp_path: Path) -> None:
    made = {(arm, seed): wrong("0" * 100 if arm == "base" else "1" * 50 + "0" * 50) for arm in LRN for seed in (0, 1)}
    made["off", 1] = wrong("1" * 50 + "0" * 50, result={"epochs": 9})
    make_study(tmp_path / "runs", made, claims={"model/lrn=off": ["P12a"]})
    text = write_report("hand", tmp_path / "runs", tmp_path / "reports", allow_mixed=True).text
    assert "hurts at n = 2 (runs not alike)" in text and "(runs not alike)." in text
    assert "done, not alike" in text and "not all have the same schedule" in text
    assert "runs that are not alike: epochs: 9 instead of 90" in text


@pytest.mark.parametrize(
    ("broken", "others", "told"),
    [
        ((30, 30, 900), 0, "more than 1,000"),  # one seed has diverged: the seeds hide it, not the images
        ((50, 52, 54), 0, ""),  # shown
        ((30, 36, 42), 0, ""),
        ((30, 36, 42), 19, "about "),  # beyond zero, but not once twenty arms are counted
    ],
)
def test_seeds_are_asked_for_where_a_claim_is_not_shown_once_all_arms_are_counted(
    tmp_path: Path, broken: tuple[int, ...], others: int, told: str
) -> None:
    arms = {"base": {"model/lrn": "on"}} | {f"off{n}": {"model/lrn": f"off{n}"} for n in range(1 + others)}
    made: dict[tuple[str, int], Run | None] = {}
    for seed, count in enumerate(broken):
        made |= {(arm, seed): None for arm in arms}
        made |= {("base", seed): wrong("0" * 2000), ("off0", seed): wrong("1" * count + "0" * (2000 - count))}
    make_study(tmp_path / "runs", made, arms, claims={"model/lrn=off0": ["P12b"]})
    text = write_report("hand", tmp_path / "runs", tmp_path / "reports").text
    rows = cells_of(text, "What the paper says")
    assert rows and all((row[-2] if len(row) == 8 else "").startswith(told) for row in rows)
    assert bool(told) == (len(rows[0]) == 8)


def test_learning_rates_that_differ_are_told_whatever_made_them_differ(tmp_path: Path) -> None:
    made = {
        (arm, 0): wrong("0001", config={"optim.learning_rate": rate})
        for arm, rate in zip(LRN, (0.01, 0.001), strict=True)
    }
    make_study(tmp_path / "runs", made)
    text = write_report("hand", tmp_path / "runs", tmp_path / "reports").text
    assert "The arms were not tuned; their learning rates: 0.001 and 0.01." in text


def test_a_claim_turned_round_is_printed_as_what_it_then_says(tmp_path: Path) -> None:
    made = {(arm, seed): wrong("0001") for arm in LRN for seed in (0, 1)}
    for name, words in (("P06", "> +1.0"), ("-P06", "< −1.0"), ("-P01", "about ×0.17"), ("P12b", "about +2.0")):
        make_study(tmp_path / name, made, claims={"model/lrn=off": [name]})
        text = write_report("hand", tmp_path / name, tmp_path / "reports").text
        assert cells_of(text, "What the paper says")[0][3] == words.replace(">", "\\>").replace("<", "\\<")


def test_an_arm_without_a_finished_run_is_named_where_the_others_are_summed_up(tmp_path: Path) -> None:
    arms = LRN | {"half": {"model/lrn": "half"}}
    made = {(arm, seed): wrong("0001") for arm in LRN for seed in (0, 1)}
    make_study(tmp_path / "runs", made | {("half", 0): None}, arms)
    text = write_report("hand", tmp_path / "runs", tmp_path / "reports").text
    assert "Not compared: model/lrn=half (no finished run)." in text


def test_a_report_has_provenance_in_a_fence(tmp_path: Path) -> None:
    text = report_of(tmp_path, dict(RANKS))
    fence = text.split("```")[1]
    assert "command   typed" in fence and "host      here" in fence
    assert "in 4 finished runs, median 2.0 s a run" in fence


def test_images_left_out_of_the_data_are_told_of(tmp_path: Path) -> None:
    text = report_of(tmp_path, dict(RANKS))
    assert "Left out" not in text
    for path in (tmp_path / "runs").glob("*/result.json"):
        restate(RunFolder(path.parent), data=json.loads(path.read_text())["data"] | {"skipped_images": 3})
    text = write_report("hand", tmp_path / "runs", tmp_path / "reports").text
    assert text.count("Left out") == 1 and "3 images of" in text and "data.skip_bad=true" in text


def test_missing_runs_are_shown_and_counted(tmp_path: Path) -> None:
    text = report_of(tmp_path, dict(RANKS) | {("off", 1): None})
    assert "3 of 4 runs done (1 missing)" in text
    assert [line for line in text.splitlines() if line.rstrip(" |").endswith("| missing")]


def test_a_study_without_a_finished_run_still_has_a_report(tmp_path: Path) -> None:
    text = report_of(tmp_path, {("base", 0): None, ("off", 0): None})
    assert "No run is done yet." in text


def test_few_classes_are_said_instead_of_a_top5_column(tmp_path: Path) -> None:
    text = report_of(tmp_path, dict(RANKS), classes=3)
    assert "No top-5 errors where the data set has 3 classes." in text and "Top-5" not in text


def test_facts_that_differ_between_arms_are_all_told(tmp_path: Path) -> None:
    ranked_study(tmp_path / "runs", dict(RANKS))
    folder = RunFolder(tmp_path / "runs" / f"{2:012x}")
    restate(folder, views=5, epochs=9, parameters=2000)
    text = write_report("hand", tmp_path / "runs", tmp_path / "reports").text
    assert "90 or 9 epochs" in text and "1,234 or 2,000 parameters" in text
    assert "ten views" in text and "or five views" in text


def test_a_run_resumed_under_other_settings_is_mixed(tmp_path: Path) -> None:
    ranked_study(tmp_path / "runs", dict(RANKS))
    folder = RunFolder(tmp_path / "runs" / f"{2:012x}")
    restate(folder, earlier_effective=[{"device": "cuda", "cpu_threads": 1}])
    assert "device: cpu and cuda" in write_report("hand", tmp_path / "runs", tmp_path / "reports").text


def test_every_run_stands_with_its_error_and_its_distance_from_the_baseline_of_its_seed(tmp_path: Path) -> None:
    runs = {("base", 0): wrong("0111"), ("base", 1): wrong("0001"), ("off", 0): wrong("0011"), ("off", 1): None}
    text = write_report(make_study(tmp_path, runs), tmp_path, tmp_path / "reports").text
    rows = [re.split(r" *\| *", line)[1:-1] for line in text.split("## Runs")[1].splitlines() if line.startswith("| ")]
    assert [(row[1], *row[3:5]) for row in rows[1:]] == [
        ("0", "75.00", ""),
        ("1", "25.00", ""),
        ("0", "50.00", "−25.00"),
        ("1", "", ""),
    ]


def test_runs_made_with_different_settings_are_said_to_be_mixed(tmp_path: Path) -> None:
    assert "Mixed settings" not in report_of(tmp_path, dict(RANKS))
    make_run(RunFolder(tmp_path / "runs" / f"{1:012x}"), ranked([1, 1, 2, 6], result={"effective.cpu_threads": 2}))
    text = write_report("hand", tmp_path / "runs", tmp_path / "reports").text
    assert "**Mixed settings.**" in text and "cpu_threads: 1 and 2" in text


@pytest.mark.parametrize(("seeds", "words"), [((0,), "worse with this seed"), ((0, 1, 2), "hurts")])
def test_one_pair_of_runs_says_nothing_of_the_part_itself(tmp_path: Path, seeds: tuple[int, ...], words: str) -> None:
    right, half = [1] * 100, [2] * 50 + [1] * 50
    ranks: dict[tuple[str, int], list[int] | None] = {("base", seed): right for seed in seeds}
    text = report_of(tmp_path, ranks | {("off", seed): half for seed in seeds})
    (row,) = [line for line in text.splitlines() if line.startswith("| model/lrn=off |") and "+50.00" in line][:1]
    assert f"| {words} " in row
    assert ("the intervals cover the choice of the test images only" in text) == (len(seeds) == 1)


def test_what_differs_by_design_is_told_of_and_compared(tmp_path: Path) -> None:
    ranked_study(tmp_path / "runs", dict(RANKS))
    plan = study_folder(tmp_path / "runs", "hand").read_plan()
    arms = [arm | {"levels": {"trainer.epochs": epochs}} for arm, epochs in zip(plan["arms"], ("90", "9"), strict=True)]
    study_folder(tmp_path / "runs", "hand").write_plan(plan | {"keys": ["trainer.epochs"], "arms": arms})
    for number in (2, 3):
        restate(RunFolder(tmp_path / "runs" / f"{number:012x}"), epochs=9)
    text = write_report("hand", tmp_path / "runs", tmp_path / "reports").text
    assert "**By design.** The study switches this, and its deltas hold the effect of it: epochs: 90 and 9." in text
    assert "Not alike" not in text and "+25.00 [" in text


def test_runs_that_are_not_alike_are_named_and_kept_out_unless_mixing_is_allowed(tmp_path: Path) -> None:
    ranked_study(tmp_path / "runs", dict(RANKS))
    for number in (2, 3):
        restate(RunFolder(tmp_path / "runs" / f"{number:012x}"), epochs=9)
    text = write_report("hand", tmp_path / "runs", tmp_path / "reports").text
    assert "2 finished runs not like the baseline, kept out of every comparison" in text
    assert "model/lrn=off, seed 0 (epochs: 9 instead of 90)" in text and "+25.00" not in text
    assert text.count("done, not compared") == 2
    (row,) = [line for line in text.splitlines() if line.startswith("| model/lrn=off |     0 |")][:1]
    assert "–" in row  # its own error is not shown beside those of others
    mixed = write_report("hand", tmp_path / "runs", tmp_path / "reports", allow_mixed=True).text
    assert "compared all the same" in mixed and "+25.00 [" in mixed


def test_errors_that_others_published_stand_beside_a_study_on_the_same_data(tmp_path: Path) -> None:
    assert "Published errors" not in report_of(tmp_path / "hand", dict(RANKS))
    made = {key: ranked([1, 1, 2, 6], result={"data.name": "imagenet"}) for key in RANKS}
    make_study(tmp_path / "runs", made)
    text = write_report("hand", tmp_path / "runs", tmp_path / "reports").text
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("| ")]
    assert ["Caffe bvlc_alexnet", "Caffe, bvlc_alexnet", "ILSVRC-2012, validation, centre view", "42.9", "19.8"] in rows
    assert ["1 CNN", "paper §6 Table 2", "ILSVRC-2012, validation, ten views", "40.7", "18.2"] in rows


def test_runs_that_never_got_there_are_told_of_and_runs_that_are_not_there_are_not(tmp_path: Path) -> None:
    made = {key: ranked([1, 1, 2, 6], steps=100) for key in (("base", 0), ("base", 1), ("off", 0))}
    make_study(tmp_path / "runs", {**made, ("off", 1): ranked([1, 1, 2, 6])})
    text = write_report("hand", tmp_path / "runs", tmp_path / "reports").text
    assert "1 of 2 reached the threshold" in text
    make_study(tmp_path / "other", {**made, ("off", 0): None})
    text = write_report("hand", tmp_path / "other", tmp_path / "reports").text
    fitted = text[text.index("## How well the arms fit") :]
    (row,) = [line for line in fitted.splitlines() if line.startswith("| model/lrn=off")][:1]
    assert "reached" not in row and row.count("–") == 2


def test_a_run_that_cannot_be_read_is_told_of_and_counts_nowhere(tmp_path: Path) -> None:
    make_study(tmp_path / "runs", {key: ranked([1, 1, 2, 6]) for key in RANKS})
    RunFolder(tmp_path / "runs" / f"{3:012x}").predictions.unlink()
    text = write_report("hand", tmp_path / "runs", tmp_path / "reports").text
    assert "3 of 4 runs done (1 unreadable)" in text
    assert "**Failed or unreadable.** model/lrn=off, seed 1:" in text and "predictions.parquet: cannot be read" in text


def test_the_same_folders_give_the_same_bytes(tmp_path: Path) -> None:
    report_of(tmp_path, dict(RANKS))
    before = contents_of(tmp_path / "reports/hand")
    write_report("hand", tmp_path / "runs", tmp_path / "reports")
    tables = {f"{name}.{form}" for name in ("results", "deltas", "seeds", "views") for form in ("csv", "parquet")}
    assert {path.name for path in before if path.parent.name == "hand"} == {
        *("README.md", "report.html", "tables.tex", "forest.svg", "forest.png"),
        *tables,
    }
    assert before == contents_of(tmp_path / "reports/hand")


def test_the_report_of_copied_run_folders_has_the_same_bytes_in_another_process(tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    ranked_study(here / "runs", dict(RANKS))
    shutil.copytree(here / "runs", there / "runs")
    made = []
    for folder, seed in ((here, "1"), (there, "2")):  # of Python's own hashes
        command = [sys.executable, "-m", "alexnet_sweep.report", "hand"]
        environment = os.environ | {"PYTHONHASHSEED": seed}
        subprocess.run(command, cwd=folder, env=environment, check=True, capture_output=True)
        made.append({path.relative_to(folder): data for path, data in contents_of(folder).items()})
    assert made[0] == made[1] and Path("reports/hand/report.html") in made[0]


def test_an_unknown_study_is_refused_with_those_there_are(tmp_path: Path) -> None:
    ranked_study(tmp_path / "runs", dict(RANKS))
    with pytest.raises(FolderError, match="have: hand"):
        write_report("nope", tmp_path / "runs", tmp_path / "reports")


@given(st.text(), st.text())
def test_no_text_breaks_out_of_its_cell(text: str, other: str) -> None:
    (head, rule, row) = aligned(Table.of(["a", "b"], [[text, other]]))
    assert len(head) == len(rule) == len(row)
    bare = row.replace("\\\\", "").replace("\\|", "")
    assert bare.count("|") == 3 and "<" not in bare.replace("\\<", "")
    assert len(row.splitlines()) == 1


MARKUP = st.text(st.sampled_from("[]()!*_`#<>|\\:^&a1 −,.%\n"), max_size=30) | st.text(max_size=30)


@given(MARKUP, MARKUP)
def test_no_text_is_taken_for_markup(text: str, other: str) -> None:
    """A forge's reader of Markdown finds words in it, and nothing else."""
    document = Document("title", (Paragraph(text), Table.of(["a", "b"], [[text, other]]), Heading(other)))
    tokens = MarkdownIt("gfm-like", {"linkify": False}).parse(to_markdown(document))
    inline = [child for token in tokens for child in token.children or []]
    assert {child.type for child in inline} <= {"text", "text_special", "softbreak"}
    shown = ["".join(child.content for child in token.children or []) for token in tokens if token.type == "inline"]
    one, two = (printable(" ".join(each.split())) for each in (text, other))
    assert shown == ["title", *([one] if one else []), "a", "b", one, two, two]
