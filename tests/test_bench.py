"""The benchmark: its arithmetic, its forms, and every row at tiny sizes. No test looks at how long anything takes."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from alexnet_sweep.bench import __main__ as bench_main
from alexnet_sweep.bench import rows as bench_rows
from alexnet_sweep.bench import timing
from alexnet_sweep.bench.rows import ROWS, Bench
from alexnet_sweep.bench.subjects import FULL, QUICK, Sizes, endless, job_on, photographs, squares
from alexnet_sweep.bench.table import as_text, as_values
from alexnet_sweep.bench.timing import Figure, Row, best, interleaved, ratios
from alexnet_sweep.config import Config
from conftest import Compose, Main, outside_hydra

TINY = Sizes(
    rounds=2,
    stored_px=72,
    crop_px=67,
    width=0.05,
    batch=4,
    large_batch=4,
    small_batch=4,
    small_width=0.05,
    photos=4,
    photo_px=(96, 80),
    maps=(2, 8, 5, 5),
    product_side=16,
    steps=2,
    threads="1",
)


@pytest.fixture
def bench(composed: Compose, monkeypatch: pytest.MonkeyPatch) -> Bench:
    """Tiny sizes, and functions that are not really compiled."""

    def compose(overrides: list[str]) -> Config:
        return composed(*overrides)

    monkeypatch.setattr(torch, "compile", lambda function, **how: function)
    return Bench(compose, TINY)


def row(*found: float, must: float = 2.0, at_most: bool = False, name: str = "one") -> Row:
    return Row(name, "what it is", must, at_most, list(found), {"ours": Figure("ms", [3.0, 1.0, 2.0])}, "a note")


@pytest.mark.parametrize("name", sorted(ROWS))
def test_every_row_runs_and_gives_a_ratio_a_round(bench: Bench, name: str) -> None:
    threads = torch.get_num_threads()
    found = ROWS[name](bench)
    assert found
    for one in found:
        assert one.ratio is not None and one.ratio > 0 and one.met in (True, False)
        assert one.figures and all(value > 0 for figure in one.figures.values() for value in figure.values)
        assert one.name.split()[0] == name and len(one.ratios) in (TINY.rounds, 4 * TINY.rounds)
    assert torch.get_num_threads() == threads


def test_the_rows_are_those_of_the_command_and_their_marks_are_kept(bench: Bench) -> None:
    assert list(ROWS) == list(bench_main.MINUTES)
    found = {one.name: (one.must, one.at_most) for name in ("lrn", "step", "views") for one in ROWS[name](bench)}
    assert found == {
        "lrn eager": (2.3, False),
        "lrn compiled": (4.0, False),
        "step eager": (1.4, True),
        "step compiled": (1.15, True),
        "views": (1.05, True),
    }


def clock_of(*seconds: float) -> timing.Clock:
    """Calls take these times, one after the other."""
    ticks = [tick for value in seconds for tick in (0.0, value)]
    return lambda: ticks.pop(0)


def test_alternatives_take_turns_and_the_first_round_does_not_count() -> None:
    calls: list[str] = []
    alternatives = {"one": lambda: calls.append("one"), "other": lambda: calls.append("other")}
    found = interleaved(alternatives, 2, clock_of(1.0, 10.0, 2.0, 20.0))
    assert found == {"one": [1.0, 2.0], "other": [10.0, 20.0]}
    assert calls == ["one", "other"] * 3


def test_ratios_are_taken_round_by_round() -> None:
    assert ratios([2.0, 9.0], [1.0, 3.0]) == [2.0, 3.0]


def test_a_row_is_met_by_the_median_of_its_ratios() -> None:
    assert row(1.0, 2.0, 9.0).ratio == 2.0 and row(1.0, 2.0, 9.0).met is True
    assert row(1.0, 1.9, 9.0).met is False
    assert row(1.0, 2.0, 9.0, at_most=True).met is True and row(2.1, at_most=True).met is False
    assert row().ratio is None and row().met is None


def test_the_best_setting_is_the_largest_ratio_or_the_smallest_where_less_is_better() -> None:
    low, high = row(1.0, name="low"), row(3.0, name="high")
    assert best([low, high, row()]).name == "high"
    assert best([replace(low, at_most=True), replace(high, at_most=True)]).name == "low"


def test_steps_of_small_nets_are_split_at_the_update(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    # Of every step of 10 seconds 9 are the update's: a tenth is outside the network.
    now = [0.0]

    def spent(one: object, clock: object) -> float:
        began = now[0]
        one()  # type: ignore[operator]
        inner = now[0] - began
        now[0] = began + (10.0 if inner else 9.0)
        return now[0] - began

    monkeypatch.setattr(bench_rows, "seconds_of", spent)
    for one in ROWS["small"](bench):
        assert one.ratios == pytest.approx([0.1] * len(one.ratios))


def test_the_share_of_the_peak_counts_three_forward_passes_but_two_of_the_first_layer(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bench_rows, "seconds_of", lambda one, clock: 1.0)
    config = bench_rows.alexnet(bench.compose, TINY, "model/topology=dense")
    layers = bench_rows.plan_layers(config.model, TINY.crop_px, 1000)
    conv1 = next(layer for layer in layers if layer.name == "conv1")
    done = TINY.large_batch * (3 * sum(layer.multiply_accumulates for layer in layers) - conv1.multiply_accumulates)
    dense = next(one for one in ROWS["peak"](bench) if one.name == "peak dense")
    assert dense.ratio == pytest.approx(done / TINY.product_side**3)


def test_text_and_values_say_the_same() -> None:
    found = [row(1.0, 2.5, 3.0), row(3.0, at_most=True, name="other"), row(name="third")]
    text, values = as_text({"cores": "2"}, found), as_values({"cores": "2"}, found)
    assert text.startswith("cores: 2\n\none: 2.5 (1 to 3), must be at least 2, met\n    what it is\n")
    assert "    ours: 2 ms (1 to 3)\n    a note\n" in text
    assert "other: 3 (3 to 3), must be at most 2, NOT met" in text
    assert "third: not measured, must be at least 2\n" in text
    assert [one["met"] for one in values["rows"]] == [True, False, None]
    assert values["rows"][0]["figures"]["ours"] == {"unit": "ms", "median": 2.0, "values": [3.0, 1.0, 2.0]}
    assert json.loads(json.dumps(values)) == values


@pytest.mark.parametrize(
    ("quick", "met", "code"), [([], True, 0), ([], False, 1), ([], None, 1), (["--quick"], False, 0)]
)
def test_the_exit_code_tells_of_a_missed_row(
    quick: list[str], met: bool | None, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    given: list[Bench] = []
    monkeypatch.setitem(
        ROWS, "lrn", lambda bench: given.append(bench) or [row(*{True: [3.0], False: [1.0], None: []}[met])]
    )  # type: ignore
    monkeypatch.setattr(bench_main, "show_log", lambda: None)
    assert bench_main.main(["lrn", "--json", *quick]) == code
    printed = capsys.readouterr()
    assert [one["met"] for one in json.loads(printed.out)["rows"]] == [met]
    assert "about 1 min" in printed.err
    assert given[0].sizes == (QUICK if quick else FULL)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["lnr"], "lnr: no such row. Did you mean 'lrn'? Have: augment, decode, lrn,"),
        (["--threads", "0"], "--threads 0: allowed: auto, or a number from 1"),
        (["--clock", "cpu"], "--clock cpu: adds up the time of all threads (--threads auto); add --threads 1"),
        (["--photos", "nowhere"], "--photos nowhere: no JPEG files there; name a folder that has some"),
    ],
)
def test_mistakes_are_told_in_one_line(arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert bench_main.main(arguments) == 2
    printed = capsys.readouterr().err
    assert printed.startswith(told) and printed.count("\n") == 1


@pytest.mark.parametrize(("whole", "broken"), [(1, 0), (1, 2)])
def test_too_few_photographs_are_told_in_one_line(
    whole: int, broken: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(bench_main, "show_log", lambda: None)
    photographs(None, tmp_path, replace(TINY, photos=whole))
    for number in range(broken):
        (tmp_path / f"broken{number}.jpg").write_bytes(b"no photograph")
    with outside_hydra():
        assert bench_main.main(["decode", "--photos", str(tmp_path)]) == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith(f"--photos {tmp_path}: {whole} of {whole + broken} JPEG files can be decoded; at least 2")


def test_photographs_that_cannot_be_decoded_are_left_out(tmp_path: Path) -> None:
    drawn = photographs(None, tmp_path, TINY)
    (tmp_path / "000000.jpg").write_bytes(drawn[0].read_bytes()[:200])
    assert photographs(tmp_path, tmp_path, TINY) == sorted(drawn)


def test_the_program_has_the_verb_and_its_help_an_example(main: Main, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main("bench", "--help")
    assert ended.value.code == 0 and "example: python -m alexnet_sweep.bench lrn step" in capsys.readouterr().out


def test_drawn_photographs_are_jpegs_and_a_folder_of_ones_own_replaces_them(tmp_path: Path) -> None:
    drawn = photographs(None, tmp_path, TINY)
    assert len(drawn) == TINY.photos and all(path.read_bytes()[:2] == b"\xff\xd8" for path in drawn)
    (tmp_path / "note.txt").write_text("no photograph")
    assert photographs(tmp_path, tmp_path, replace(TINY, photos=2)) == sorted(drawn)[:2]


def test_a_job_on_noise_trains_on_all_of_it(bench: Bench) -> None:
    job = job_on(bench_rows.alexnet(bench.compose, TINY), squares(6, TINY.stored_px), 7)
    steps = endless(job)
    assert [next(steps) for _ in range(4)] == [4, 2, 4, 2]
