"""What the tables of a report read where a study has little to say: a dash, never nan, inf or a zero with a minus."""

import csv
import io
import itertools
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alexnet_sweep.findings import Findings, find
from alexnet_sweep.kernels import Kernels
from alexnet_sweep.report.document import Document, Notice, Paragraph, Table
from alexnet_sweep.report.first_layer import FirstLayer, by_run, halves_table
from alexnet_sweep.report.latex import to_latex
from alexnet_sweep.report.markdown import to_markdown
from alexnet_sweep.report.numbers import interval_words, p_words, percent, signed, times
from alexnet_sweep.report.sections import document_of
from hand_made import LRN, Run, label_of, make_study, wrong

NO_NUMBER = re.compile(r"(?<![a-z])(nan|inf|none|nat|na)(?![a-z])", re.IGNORECASE)
ZERO_BELOW_ZERO = re.compile(r"(?<![\w.])[-−]0(\.0*)?(?![\d.])")
NOTHING_LEFT = re.compile(r"(?<![\d.])0(\.0+)?e|×0\.00(?!\d)")  # of a p-value, or a factor, that is not zero
WORDS = re.compile(r"\b(none|→ none)\b")  # "no network or none", and levels of others' studies


def faults(text: str) -> list[str]:
    """What in a cell or a sentence is no figure that anybody could read."""
    bare = WORDS.sub("", text)
    return [found[0] for kind in (NO_NUMBER, ZERO_BELOW_ZERO, NOTHING_LEFT) for found in kind.finditer(bare)]


@pytest.mark.parametrize("text", ["nan", "[+nan, +nan]", "−0.00", "-0", "×inf", "0.0e+00", "None", "×0.00", "[−0.0]"])
def test_faults_are_seen(text: str) -> None:
    assert faults(text)


@pytest.mark.parametrize("text", ["−0.01", "+0.00", "", "–", "tenant=on", "×0.01", "1.0e-05", "finance, info"])
def test_what_is_none_is_no_fault(text: str) -> None:
    assert not faults(text)


def texts(document: Document) -> Iterator[str]:
    """Every cell and every sentence; lines of versions and study files are as they are."""
    for block in document.blocks:
        match block:
            case Table():
                yield from block.head
                for row in block.rows:
                    yield from row
            case Paragraph(text) | Notice(_, text):
                yield text


def told(findings: Findings, layers: list[FirstLayer] | None = None) -> Document:
    return document_of(findings, [], layers or [], "again")


def check(findings: Findings, layers: list[FirstLayer]) -> None:
    document = told(findings, layers)
    for text in itertools.chain(texts(document), texts(Document("runs", tuple(by_run(layers))))):
        assert not faults(text), text
    for table in (*findings.tables().values(), halves_table(layers)):
        rows = csv.reader(io.StringIO(table.to_csv(index=False)))
        assert not {cell for row in rows for cell in row} & {"nan", "inf", "-inf", "None", "NaN", "-0.0", "<NA>"}
    assert not NO_NUMBER.search(WORDS.sub("", to_latex(document)))


FOUR = {f"{a} {b}": {"a": a, "b": b} for a in ("on", "off") for b in ("on", "off")}
DESIGNS: dict[str, Mapping[str, Mapping[str, str]]] = {
    "one_factor_at_a_time": {name: {"a": name} for name in ("on", "off", "half")},
    "pairs": FOUR,
    "grid": FOUR,
    "factorial": FOUR,
    "cumulative": FOUR,
}
CLAIMS = ["P01", "-P01", "P03", "P06", "-P06", "P12a", "P12b", "P15"]


@st.composite
def made(draw: st.DrawFn) -> dict[str, Any]:
    """A study of few images, of which much is missing, equal or wrong throughout: arguments of `make_study`."""
    design = draw(st.sampled_from(sorted(DESIGNS)))
    arms, classes = DESIGNS[design], draw(st.sampled_from([3, 10]))
    images = draw(st.integers(1, min(classes, 6)))  # labels are places
    marks = st.text(st.sampled_from("01" if classes < 6 else "016"), min_size=images, max_size=images)
    patterns = st.sampled_from(draw(st.lists(marks, min_size=1, max_size=3)))
    ensembles = draw(st.booleans())

    def run() -> Run | None:
        if draw(st.integers(0, 5)) == 0:
            return None
        kept = np.eye(classes)[[draw(st.integers(0, classes - 1)) for _ in range(images)]]
        return wrong(
            draw(patterns),
            centre=[1 + (mark != "0") for mark in draw(patterns)],
            heldout=[1, 2] if draw(st.booleans()) else [],
            probabilities=kept.tolist() if ensembles else [],
            train_error=draw(st.sampled_from([None, 0.0, 0.1, 0.3, 1.0])),
            steps=draw(st.sampled_from([None, 1, 100, 10**9])),
            result={"epochs": 9} if draw(st.integers(0, 7)) == 0 else {},
            config={"trainer.threshold_train_error": 0.25},
        )

    seeds = range(draw(st.integers(1, 3)))
    labels = [label_of(levels) for levels in arms.values()][1:]
    return {
        "made": {(arm, seed): run() for arm in arms for seed in seeds},
        "arms": arms,
        "design": design,
        "classes": classes,
        "ensembles": ensembles,
        "allow_mixed": draw(st.booleans()),
        "claims": {label: draw(st.lists(st.sampled_from(CLAIMS), max_size=2, unique=True)) for label in labels},
        **({"order": "both"} if design == "cumulative" else {}),
    }


def layers_of(findings: Findings, colours: list[int]) -> list[FirstLayer]:
    """A first layer a run: grey, coloured, without any energy, or not kept; two GPUs and their control."""
    kinds = {
        0: np.zeros((4, 3, 2, 2)),
        1: np.ones((4, 3, 2, 2)),
        2: np.random.default_rng(0).normal(size=(4, 3, 2, 2)),
    }
    kernels = {kind: weights.astype(np.float32) for kind, weights in kinds.items()}
    return [
        FirstLayer(record.run_id, findings.evidence.labels[record.arm_id], record.seed, None, "weights not kept")
        if colour not in kernels
        else FirstLayer(
            record.run_id,
            findings.evidence.labels[record.arm_id],
            record.seed,
            Kernels("conv1", kernels[colour], 1 + place % 2),
        )
        for place, (record, colour) in enumerate(zip(findings.evidence.done, colours, strict=False))
    ]


def answering(arms: Mapping[str, Mapping[str, str]], seeds: int, *patterns: str | None, **more: Any) -> dict[str, Any]:
    """Arguments of `make_study`: every arm answers as its pattern says, with every seed; None: it has no run."""
    runs = {arm: None if row is None else wrong(row) for arm, row in zip(arms, itertools.cycle(patterns), strict=False)}
    return {"made": {(arm, seed): run for arm, run in runs.items() for seed in range(seeds)}, "arms": arms} | more


def of_other_data() -> dict[str, Any]:
    """An arm of three classes, which has no top-5 error, beside a baseline of ten."""
    few = {f"errors.test.{view}.{key}": None for view in ("ten", "centre") for key in ("top5", "top5_error")}
    few |= {"data.classes": 3, "data.name": "other"}
    answers = np.eye(10)[:3].tolist()
    runs = {"base": wrong("001", probabilities=answers), "off": wrong("011", probabilities=answers, result=few)}
    return {"made": {(arm, seed): run for arm, run in runs.items() for seed in (0, 1)}, "ensembles": True}


EQUAL, BROKEN = answering(LRN, 1, "0011"), answering(LRN, 1, "000", "111")
MANY = answering(LRN, 1, "0" * 2700 + "1" * 550, "1" * 2700 + "0" * 550)
STEPS = answering(FOUR, 2, "0011", design="cumulative", order="both")
NOISE = {  # 0.3 less 0.1 + 0.2 is no more than 0, and a factor a thousandth
    arm: wrong("0001110000", train_error=0.1 + 0.2, steps=steps) for arm, steps in zip(LRN, (1000, 1), strict=True)
}
NASTY = {
    "equal": EQUAL,
    "equal, three seeds": answering(LRN, 3, "0011"),
    "all broken": BROKEN,
    "all right": answering(LRN, 2, "000"),
    "one image": answering(LRN, 2, "0", "1"),
    "many images": MANY,
    "steps": STEPS,
    "steps, one seed": answering(FOUR, 1, "010", "110", "011", design="cumulative", order="build_up"),
    "steps without ends": answering(FOUR, 1, None, "010", "011", None, design="cumulative", order="both"),
    "a factorial without a cell": answering(FOUR, 2, "010", "110", None, "011", design="factorial"),
    "a factorial of equals": answering(FOUR, 1, "010", design="factorial"),
    "a failed arm": answering(LRN, 2, "010", None),
    "no baseline": answering(LRN, 1, None, "010"),
    "nothing": answering(LRN, 1, None),
    "noise": {"made": {(arm, 0): run for arm, run in NOISE.items()}},
    "other data": of_other_data(),
}


@pytest.mark.parametrize("name", NASTY)
def test_no_cell_reads_nan_inf_or_a_zero_below_zero(tmp_path: Path, name: str) -> None:
    findings = find(make_study(tmp_path, **NASTY[name]), tmp_path)
    check(findings, layers_of(findings, [0, 1, 2, 3] * 3))


@pytest.mark.slow
@settings(max_examples=30)
@given(made(), st.lists(st.integers(0, 3), min_size=12, max_size=12))
def test_no_cell_does_whatever_a_study_lacks(study: dict[str, Any], colours: list[int]) -> None:
    with TemporaryDirectory() as folder:
        findings = find(make_study(Path(folder), **study), Path(folder))
        check(findings, layers_of(findings, colours))


def flipped(findings: Findings) -> list[tuple[str, ...]]:
    """The rows of the table of images that are broken and fixed."""
    (table,) = [block for block in told(findings).blocks if isinstance(block, Table) and block.head[1] == "broken"]
    return list(table.rows)


@pytest.mark.parametrize(("study", "row"), [(EQUAL, ("0", "0", "1.000", "–")), (BROKEN, ("3", "0", "0.250", "–"))])
def test_images_that_all_answer_alike_have_no_interval_by_drawing_them(
    tmp_path: Path, study: dict[str, Any], row: tuple[str, ...]
) -> None:
    assert flipped(find(make_study(tmp_path, **study), tmp_path)) == [("model/lrn=off", *row)]


def test_a_p_value_that_is_too_small_for_a_float_is_not_zero(tmp_path: Path) -> None:
    findings = find(make_study(tmp_path, **MANY), tmp_path)
    assert flipped(findings)[0][:4] == ("model/lrn=off", "2700", "550", "< 1e-300")
    assert r" 2700 & 550 & \textless{} 1e-300 & " in to_latex(told(findings))
    assert r"| 2700 | 550 | \< 1e-300 |" in re.sub(" +", " ", to_markdown(told(findings)))


def test_the_first_step_of_a_way_has_no_finding_and_no_note(tmp_path: Path) -> None:
    findings = find(make_study(tmp_path, **STEPS), tmp_path)
    first = findings.steps[findings.steps["change"] == ""]
    assert set(first["way"]) == {"build_up", "take_away"}
    assert first[["covers", "note", "finding"]].to_numpy().tolist() == [["", "", ""]] * 2
    assert first["paired_seeds"].isna().all()  # paired with nothing: it is none of the differences that Holm counts
    tables = [block for block in told(findings).blocks if isinstance(block, Table) and block.head[0] == "step"]
    assert [table.rows[0] for table in tables] == [("to begin with", "50.00", "–", "")] * 2


def test_a_difference_that_is_zero_as_shown_has_no_minus() -> None:
    assert [signed(value) for value in (0.0, -0.0, -7e-18, 7e-18, -4.9e-5, 4.9e-5)] == ["+0.00"] * 6
    assert [signed(value) for value in (-5.1e-5, 5.1e-5, -1.0)] == ["−0.01", "+0.01", "−100.00"]
    assert signed(-4.9e-4, 1) == "+0.0" and signed(-5.1e-4, 1) == "−0.1"
    assert [percent(value) for value in (-7e-18, 0.0, 0.1234, -0.1234)] == ["0.00", "0.00", "12.34", "−12.34"]
    assert interval_words({"delta": -7e-18, "low": -1e-9, "high": 1e-9}) == "+0.00 [+0.00, +0.00]"


@given(st.floats(-2, 2))
def test_what_is_shown_is_the_figure_rounded(value: float) -> None:
    shown = signed(value)
    assert shown[0] in "+−" and float(shown.replace("−", "-")) == pytest.approx(100 * value, abs=0.00501)
    assert shown.lstrip("+−") == percent(value).lstrip("−")


def test_a_factor_is_neither_nothing_nor_a_line_of_digits() -> None:
    assert times(0.73, -0.72, 9.77) == "×1.73 [×0.28, ×10.77]"
    assert times(-0.999, np.nan, np.nan) == "×<0.01"
    assert times(0.0, -1.0, 2.3e27) == "×1.00 [×<0.01, ×>1000]"


@given(st.floats(0, 1) | st.floats(0, 0.01))
def test_a_p_value_is_shown_with_its_size(value: float) -> None:
    shown = p_words(value)
    if value < 1e-300:
        assert shown == "< 1e-300"
    else:  # three digits, or two and the power of ten
        error = {"abs": 5.1e-4} if value >= 0.001 else {"rel": 0.051, "abs": 0}
        assert float(shown) == pytest.approx(value, **error) and float(shown) > 0
