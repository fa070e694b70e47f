"""The live table: states from files alone, lines that fit, files read once."""

import contextlib
import json
import os
import pty
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alexnet_sweep import machine, progress, status, submitted
from alexnet_sweep.locks import DEAD_AFTER_SECONDS
from alexnet_sweep.progress import Reader, Row
from alexnet_sweep.queues import JobState, QueueError, Seen
from alexnet_sweep.status import cut, cut_inside, fitting, main, screen, table, wide
from alexnet_sweep.store import RunFolder
from alexnet_sweep.study_folder import Job, study_folder
from alexnet_sweep.wording import duration, printable

NOW = 1_000_000.0


def planned(number: int, arm: str = "a0", seed: int = 0) -> dict[str, Any]:
    return {"run_id": f"{number:012x}", "arm_id": arm, "seed": seed, "overrides": []}


def write_plan(runs: Path, count: int = 1, name: str = "hand", labels: tuple[str, ...] = ("model/lrn=on",)) -> None:
    arms = [{"arm_id": f"a{number}", "label": label, "levels": {}} for number, label in enumerate(labels)]
    listed = [planned(number, f"a{number % len(labels)}", number // len(labels)) for number in range(count)]
    study_folder(runs, name).write_plan({"name": name, "arms": arms, "runs": listed, "baseline": "a0"})


def folder_of(runs: Path, number: int = 0) -> RunFolder:
    folder = RunFolder(runs / f"{number:012x}")
    folder.path.mkdir(parents=True, exist_ok=True)
    return folder


def write_status(folder: RunFolder, **changes: Any) -> None:
    """Running, a quarter done in 10 s, in a process of this machine that is alive: our parent."""
    parent = os.getppid()
    values = {
        "state": "running",
        "reason": None,
        "started": NOW,
        "heartbeat": NOW + 10.0,
        "host": machine.host(),
        "boot": machine.boot(),
        "process": parent,
        "process_started": machine.started(parent),
        "attempts": 1,
        "epoch": 1,
        "epochs": 8,
        "step": 25,
        "steps": 100,
    }
    folder.status.write_text(json.dumps(values | changes))


def finish(folder: RunFolder, **changes: Any) -> None:
    write_status(folder, state="done", step=100, heartbeat=NOW + 40.0, **changes)
    errors = {"test": {"centre": {"top1_error": 0.125}, "ten": {"top1_error": 0.1}}}
    folder.write_result({"epochs": 8, "steps": 100, "errors": errors})


def write_metrics(folder: RunFolder, *heldout: float | None) -> None:
    folder.write_metrics(
        [{"epoch": n, "heldout_top1_error": error, "clean_train_top1_error": 0.25} for n, error in enumerate(heldout)]
    )


def only_row(runs: Path) -> Row:
    (row,) = Reader(runs, None).rows()
    return row


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    write_plan(tmp_path / "runs")
    return tmp_path / "runs"


@pytest.fixture
def folder(runs: Path) -> RunFolder:
    return folder_of(runs)


# --- states ---


def test_a_run_without_a_folder_is_waiting(runs: Path) -> None:
    row = only_row(runs)
    assert (row.state, row.arm, row.seed, row.epoch) == ("waiting", "model/lrn=on", 0, None)


def test_a_running_run_shows_its_progress(runs: Path, folder: RunFolder) -> None:
    write_status(folder, images_per_second=1234.5)
    row = only_row(runs)
    assert (row.state, row.epoch, row.epochs, row.step, row.steps) == ("running", 2, 8, 25, 100)
    assert (row.images_per_second, row.host, row.process) == (1234.5, machine.host(), os.getppid())


def test_a_finished_run_shows_its_test_error_by_the_centre_view(runs: Path, folder: RunFolder) -> None:
    finish(folder)
    write_metrics(folder, 0.5)
    row = only_row(runs)
    assert (row.state, row.error, row.error_of, row.epoch, row.step) == ("done", 0.125, "test", 8, 100)


def test_a_result_makes_a_run_done_though_its_status_still_says_running(runs: Path, folder: RunFolder) -> None:
    finish(folder)
    write_status(folder)
    assert only_row(runs).state == "done"


def test_a_failed_run_tells_its_reason(runs: Path, folder: RunFolder) -> None:
    write_status(folder, state="failed", reason="ValueError: no luck")
    row = only_row(runs)
    assert (row.state, row.reason) == ("failed", "ValueError: no luck")


def test_an_interrupted_run_keeps_its_progress(runs: Path, folder: RunFolder) -> None:
    write_status(folder, state="interrupted")
    row = only_row(runs)
    assert (row.state, row.step, row.seconds_left) == ("interrupted", 25, None)


def test_a_run_whose_process_is_gone_is_dead(runs: Path, folder: RunFolder) -> None:
    write_status(folder, process_started=1.0)
    row = only_row(runs)
    assert (row.state, row.reason) == ("dead", f"process {os.getppid()} is gone")


def test_a_run_with_a_fresh_heartbeat_on_another_host_is_running(runs: Path, folder: RunFolder) -> None:
    write_status(folder, host="node7", heartbeat=time.time() - DEAD_AFTER_SECONDS / 2)
    assert only_row(runs).state == "running"


def test_a_run_with_an_old_heartbeat_on_another_host_is_dead(runs: Path, folder: RunFolder) -> None:
    write_status(folder, host="node7", heartbeat=time.time() - 600)
    row = only_row(runs)
    assert (row.state, row.reason) == ("dead", "no heartbeat for 10 min")


def test_a_run_whose_result_was_taken_away_waits(runs: Path, folder: RunFolder) -> None:
    write_status(folder, state="done")
    assert only_row(runs).state == "waiting"


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", '{"state": "odd"}'],
    ids=repr,
)
def test_a_damaged_status_is_unreadable(runs: Path, folder: RunFolder, text: str) -> None:
    folder.status.write_text(text.replace("{", f'{{"host": "{machine.host()}", "boot": "{machine.boot()}", ', 1))
    assert only_row(runs).state == "unreadable"


@pytest.mark.parametrize("text", ["", '{"format": 1', '{"format": 99}'], ids=repr)
def test_a_damaged_result_is_unreadable_with_its_reason(runs: Path, folder: RunFolder, text: str) -> None:
    folder.result.write_text(text)
    row = only_row(runs)
    assert row.state == "unreadable" and "result.json" in (row.reason or "")


def test_a_file_where_a_run_folder_should_be_is_unreadable(runs: Path) -> None:
    (runs / f"{0:012x}").write_text("no folder")
    assert only_row(runs).state == "unreadable"


def test_a_result_without_errors_is_done_without_an_error(runs: Path, folder: RunFolder) -> None:
    folder.write_result({"errors": []})
    row = only_row(runs)
    assert (row.state, row.error) == ("done", None)


def test_numbers_that_are_none_count_as_unknown(runs: Path, folder: RunFolder) -> None:
    write_status(folder, step="many", steps=float("nan"), epoch=None, images_per_second=[1], started=float("inf"))
    row = only_row(runs)
    assert (row.state, row.step, row.steps, row.epoch, row.images_per_second) == ("running", *[None] * 4)


def test_a_data_set_being_packed_is_shown(runs: Path, folder: RunFolder) -> None:
    write_status(folder, step=None, steps=None, packed=1, to_pack=4)
    assert "packs 25%" in table([only_row(runs)], 120)[1]


# --- errors of runs that go on ---


def test_the_last_held_out_error_counts(runs: Path, folder: RunFolder) -> None:
    write_status(folder)
    write_metrics(folder, 0.75, 0.5)
    row = only_row(runs)
    assert (row.error, row.error_of) == (0.5, "held-out")


def test_without_a_held_out_part_the_clean_training_error_counts(runs: Path, folder: RunFolder) -> None:
    write_status(folder)
    write_metrics(folder, None)
    row = only_row(runs)
    assert (row.error, row.error_of) == (0.25, "train")


@pytest.mark.parametrize("tail", ["2,0.", "2", '2,"0.', ""])
def test_a_half_written_row_of_metrics_is_left_out(runs: Path, folder: RunFolder, tail: str) -> None:
    write_status(folder)
    folder.metrics.write_text(f"epoch,heldout_top1_error\n1,0.5\n{tail}")
    assert only_row(runs).error == 0.5


@pytest.mark.parametrize("content", [b"", b"epoch\n", b"epoch,heldout_top1_error\n", b"\xff\xfe\n1,2\n", b"a\n\x00\n"])
def test_metrics_without_an_error_are_no_error(runs: Path, folder: RunFolder, content: bytes) -> None:
    write_status(folder)
    folder.metrics.write_bytes(content)
    row = only_row(runs)
    assert (row.state, row.error) == ("running", None)


# --- time left ---


def test_a_runs_time_left_is_at_its_pace_so_far(runs: Path, folder: RunFolder) -> None:
    write_status(folder)  # 25 of 100 steps in 10 s
    assert only_row(runs).seconds_left == pytest.approx(30.0)


def test_steps_of_earlier_attempts_do_not_make_it_faster(runs: Path, folder: RunFolder) -> None:
    write_status(folder, first_step=20, attempts=2)  # 5 steps in 10 s
    assert only_row(runs).seconds_left == pytest.approx(150.0)


def test_a_resumed_run_that_does_not_say_where_it_went_on_has_no_time_left(runs: Path, folder: RunFolder) -> None:
    write_status(folder, attempts=2)
    assert only_row(runs).seconds_left is None


def test_a_run_without_a_step_has_no_time_left(runs: Path, folder: RunFolder) -> None:
    write_status(folder, step=0)
    assert only_row(runs).seconds_left is None


def test_the_summary_counts_states_and_estimates(tmp_path: Path) -> None:
    write_plan(tmp_path, 4)
    finish(folder_of(tmp_path, 0))  # 40 s a run
    write_status(folder_of(tmp_path, 1))  # 30 s left
    text = progress.summary(Reader(tmp_path, None).rows())
    assert text == "4 runs: 1 done, 1 running, 2 waiting; about 2 min left"  # 30 + 2 * 40 s


def test_runs_side_by_side_share_what_is_left(tmp_path: Path) -> None:
    write_plan(tmp_path, 4)
    for number in (0, 1):
        write_status(folder_of(tmp_path, number))
    rows = Reader(tmp_path, None).rows()
    assert progress.seconds_left(rows) == pytest.approx((30 + 30 + 40 + 40) / 2)


def test_the_last_run_to_end_counts(tmp_path: Path) -> None:
    write_plan(tmp_path, 2)
    write_status(folder_of(tmp_path, 0))
    write_status(folder_of(tmp_path, 1), step=1)
    assert progress.seconds_left(Reader(tmp_path, None).rows()) == pytest.approx(990.0)


def test_an_interrupted_run_has_only_its_rest_to_go(tmp_path: Path) -> None:
    write_plan(tmp_path, 2)
    write_status(folder_of(tmp_path, 0))
    write_status(folder_of(tmp_path, 1), state="interrupted", step=50)
    assert progress.seconds_left(Reader(tmp_path, None).rows()) == pytest.approx(30 + 20)


def test_nothing_is_estimated_where_nothing_runs(tmp_path: Path) -> None:
    write_plan(tmp_path, 2)
    finish(folder_of(tmp_path, 0))
    assert progress.summary(Reader(tmp_path, None).rows()) == "2 runs: 1 done, 1 waiting"


def test_nothing_is_estimated_where_no_pace_is_known(tmp_path: Path) -> None:
    write_plan(tmp_path, 1)
    write_status(folder_of(tmp_path, 0), step=0)
    assert progress.summary(Reader(tmp_path, None).rows()) == "1 run: 1 running"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-3, "0 s"),
        (44.6, "45 s"),
        (59.7, "1 min"),
        (14 * 60, "14 min"),
        (3599, "1 h 0 min"),
        (12000, "3 h 20 min"),
        (187200, "2 d 4 h"),
    ],
)
def test_durations_are_told_in_two_units_at_most(seconds: float, text: str) -> None:
    assert duration(seconds) == text


# --- lines that fit ---


def row(number: int = 0, state: str = "waiting", **changes: Any) -> Row:
    return Row(
        **({"run_id": f"{number:012x}", "arm_id": "a", "arm": "model/lrn=on", "seed": number} | changes), state=state
    )


LABEL = "model/topology=one_weird_trick, regularizer/dropout=off"
FULL = {
    "epoch": 3,
    "epochs": 90,
    "step": 120_000,
    "steps": 450_000,
    "error": 0.4512,
    "error_of": "held-out",
    "images_per_second": 12345.6,
    "seconds_left": 12000.0,
    "host": "node17.cluster",
}


@given(
    arm=st.text(),
    host=st.text(),
    reason=st.none() | st.text(),
    width=st.integers(1, 150),
    height=st.integers(1, 12),
    count=st.integers(0, 9),
)
def test_every_screen_fits(arm: str, host: str, reason: str | None, width: int, height: int, count: int) -> None:
    rows = [row(n, "failed", **(FULL | {"arm": arm, "host": host, "reason": reason})) for n in range(count)]
    lines = screen(printable(arm), rows, width, height)
    assert 1 <= len(lines) <= height
    assert all(wide(line) <= width and line.isprintable() for line in lines)


def test_a_wide_screen_shows_every_column() -> None:
    lines = table([row(0, "running", **(FULL | {"arm": LABEL}))], 200)
    head, line = (" ".join(line.split()) for line in lines)
    assert head == "arm seed state epoch steps error, % images/s left host"
    assert line == f"{LABEL} 0 running 3/90 26% 45.12 held-out 12,346 3 h 20 min node17.cluster"


def test_columns_line_up() -> None:
    lines = table([row(0, "running", **FULL), row(10, "interrupted", arm="深い網"), row(2)], 200)
    at = wide(lines[0][: lines[0].index("state")])
    for line, state in zip(lines[1:], ("running", "interrupted", "waiting"), strict=True):
        assert wide(line[: line.index(state)]) == at


def test_columns_nobody_fills_are_left_out() -> None:
    assert table([row()], 200)[0].split() == ["arm", "seed", "state"]


def test_a_narrow_screen_keeps_both_ends_of_a_label_and_drops_columns_of_less_use() -> None:
    (head, line) = table([row(0, "running", **(FULL | {"arm": LABEL}))], 70)
    assert line.startswith("model/") and "…" in line and "dropout=off " in line
    assert "images/s" not in head and "error, %" in head


GRID = [
    f"model/lrn={lrn}, model/pool={pool}" for lrn in ("on", "off", "within_channel") for pool in ("overlap", "plain")
]


def test_arms_of_a_grid_are_told_apart_on_80_columns_by_leaving_out_what_is_of_less_use() -> None:
    lines = table([row(0, "running", **(FULL | {"arm": label})) for label in GRID], 79)
    labels = [line.split("  ")[0] for line in lines[1:]]
    assert len(set(labels)) == len(GRID) and "error, %" in lines[0] and "host" not in lines[0]


@given(
    middles=st.sets(st.text("ab", min_size=2, max_size=4), min_size=2, max_size=5),
    begins=st.integers(0, 20),
    ends=st.integers(0, 20),
    width=st.integers(42, 150),  # where seed, state and steps have room
)
def test_labels_look_the_same_only_where_leaving_out_columns_would_not_help(
    middles: set[str], begins: int, ends: int, width: int
) -> None:
    def told_apart(**filled: Any) -> bool:
        arms = ["<" * begins + middle + ">" * ends for middle in middles]
        head, *lines = table([row(0, "running", **(filled | {"arm": arm})) for arm in arms], width)
        return len({line[: head.index("  seed")] for line in lines}) == len(arms)

    if told_apart(step=1, steps=2):
        assert told_apart(**FULL)


def test_a_reason_stands_below_its_run() -> None:
    lines = table([row(0, "failed", reason="ValueError: no luck"), row(1)], 80)
    assert lines[2] == "  └ ValueError: no luck" and lines[3].startswith("model/lrn=on")


@pytest.mark.parametrize(("width", "text"), [(0, ""), (1, "…"), (4, "mod…"), (5, "model"), (9, "model")])
def test_a_cut_text_ends_in_an_ellipsis(width: int, text: str) -> None:
    assert cut("model", width) == text


def test_wide_signs_are_not_cut_in_half() -> None:
    assert cut("深い網", 4) == "深…" and cut_inside("深い網", 5) == "深…網"


def test_accents_take_no_room_of_their_own() -> None:
    assert wide("e\u0301") == 1 and wide("Ａ") == 2


def test_finished_runs_are_folded_first_and_counted() -> None:
    states = ["done", "done", "done", "running", "waiting", "failed"]
    rows = [row(number, state) for number, state in enumerate(states)]
    lines = screen("hand", rows, 80, 8)
    assert [line.split()[2] for line in lines[2:6]] == ["done", "running", "waiting", "failed"]
    assert lines[2].split()[1] == "2"  # the latest of the finished ones stays
    assert lines[6] == "… 2 done not shown" and lines[7].startswith("6 runs: 3 done")


def test_waiting_runs_are_folded_before_those_that_run() -> None:
    rows = [row(number, "waiting") for number in range(900)] + [row(number, "running") for number in range(900, 903)]
    shown, folded = fitting(rows, 5)
    assert [(item.seed, item.state) for item in shown] == [
        (0, "waiting"),
        (1, "waiting"),
        *((number, "running") for number in (900, 901, 902)),
    ]
    assert len(folded) == 898


def test_nothing_is_folded_where_all_fits() -> None:
    lines = screen("hand", [row(number) for number in range(3)], 80, 6)
    assert len(lines) == 6 and not any("not shown" in line for line in lines)


def test_control_characters_are_spelt_out() -> None:
    assert printable("a\x1b[31m\x07\n\u202eb\ud800é 網") == "a\\x1b[31m\\x07\\n\\u202eb\\ud800é 網"


def test_no_name_from_a_file_reaches_the_terminal_raw(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_plan(tmp_path, labels=("\x1b]0;title\x07",))
    write_status(folder_of(tmp_path), state="failed", reason="\x1b[2J", host="\x9b1m")
    assert main(["--runs", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert all(line.isprintable() for line in printed.splitlines())
    assert "\\x1b]0;title\\x07" in printed and "\\x1b[2J" in printed and "\\x9b1m" in printed


# --- reading again ---


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the files that are read from now on."""
    seen: list[str] = []
    read_bytes, read_text = Path.read_bytes, Path.read_text

    def noted_bytes(path: Path) -> bytes:
        seen.append(path.name)
        return read_bytes(path)

    def noted_text(path: Path, *arguments: Any, **more: Any) -> str:
        seen.append(path.name)
        return read_text(path, *arguments, **more)

    monkeypatch.setattr(Path, "read_bytes", noted_bytes)
    monkeypatch.setattr(Path, "read_text", noted_text)
    return seen


def test_a_thousand_finished_runs_are_read_once(tmp_path: Path, reads: list[str]) -> None:
    write_plan(tmp_path, 1000)
    for number in range(1000):
        finish(folder_of(tmp_path, number))
    reader = Reader(tmp_path, None)
    reads.clear()
    first = reader.rows()
    assert len(reads) == 2000 and {item.state for item in first} == {"done"}
    reads.clear()
    assert reader.rows() == first and reads == []


def test_runs_that_wait_failed_or_died_are_read_once_too(tmp_path: Path, reads: list[str]) -> None:
    write_plan(tmp_path, 4)
    for number, state in ((1, "failed"), (2, "interrupted")):
        write_status(folder_of(tmp_path, number), state=state)
    write_status(folder_of(tmp_path, 3), boot="another boot")
    reader = Reader(tmp_path, None)
    first = reader.rows()
    reads.clear()
    assert reader.rows() == first and reads == []
    assert [item.state for item in first] == ["waiting", "failed", "interrupted", "dead"]


def test_a_new_status_is_seen(runs: Path, folder: RunFolder) -> None:
    reader = Reader(runs, None)
    seen = [reader.rows()[0].state]
    write_status(folder)
    seen.append(reader.rows()[0].state)
    write_metrics(folder, 0.5)
    assert reader.rows()[0].error == 0.5
    finish(folder)
    seen.append(reader.rows()[0].state)
    folder.clear()
    seen.append(reader.rows()[0].state)
    assert seen == ["waiting", "running", "done", "waiting"]


def test_a_new_result_beside_the_same_status_is_seen(runs: Path, folder: RunFolder) -> None:
    finish(folder)
    reader = Reader(runs, None)
    assert reader.rows()[0].epochs == 8
    folder.write_result({"epochs": 9})
    assert reader.rows()[0].epochs == 9


def test_a_process_that_ends_without_a_word_is_seen(runs: Path, folder: RunFolder) -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        write_status(folder, process=process.pid, process_started=machine.started(process.pid))
        reader = Reader(runs, None)
        assert reader.rows()[0].state == "running"
        process.kill()
        process.wait()
        assert reader.rows()[0].state == "dead"


def test_a_run_folder_deleted_in_use_waits_again(runs: Path, folder: RunFolder) -> None:
    write_status(folder)
    reader = Reader(runs, None)
    assert reader.rows()[0].state == "running"
    folder.status.unlink()
    folder.path.rmdir()
    assert reader.rows()[0].state == "waiting"


def test_a_file_that_vanishes_as_it_is_read_is_no_error(
    runs: Path, folder: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_status(folder)
    asked = progress.alive_elsewhere

    def vanishing(run: RunFolder) -> str | None:
        folder.status.unlink(missing_ok=True)
        return asked(run)

    monkeypatch.setattr(progress, "alive_elsewhere", vanishing)
    assert only_row(runs).state == "waiting"


def test_a_run_that_ends_as_it_is_read_is_not_dead(
    runs: Path, folder: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_status(folder)
    asked = progress.alive_elsewhere

    def ending(run: RunFolder) -> str | None:
        finish(folder)
        return asked(run)

    monkeypatch.setattr(progress, "alive_elsewhere", ending)
    assert only_row(runs).state == "done"


def test_what_could_not_be_read_is_tried_again(runs: Path, folder: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    finish(folder)
    reader = Reader(runs, None)
    with monkeypatch.context() as patch:
        patch.setattr(RunFolder, "read_result", lambda self: (_ for _ in ()).throw(OSError(116, "Stale file handle")))
        assert reader.rows()[0].state == "unreadable"
    assert reader.rows()[0].state == "done"


def test_a_plan_that_grows_is_seen(tmp_path: Path) -> None:
    write_plan(tmp_path, 1)
    reader = Reader(tmp_path, None)
    write_plan(tmp_path, 3)
    assert len(reader.rows()) == 3


def test_a_plan_that_vanishes_or_breaks_leaves_the_runs_known(tmp_path: Path) -> None:
    write_plan(tmp_path, 2)
    reader = Reader(tmp_path, None)
    study_folder(tmp_path, "hand").plan.write_text("{")
    assert len(reader.rows()) == 2
    study_folder(tmp_path, "hand").plan.unlink()
    assert len(reader.rows()) == 2


# --- the verb ---


def test_without_a_name_it_is_the_study_planned_last(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, when in (("older", 1000), ("newest", 3000), ("old", 2000)):
        write_plan(tmp_path, name=name)
        os.utime(study_folder(tmp_path, name).plan, (when, when))
    assert main(["--runs", str(tmp_path)]) == 0
    assert capsys.readouterr().out.splitlines()[0] == "newest"


def test_a_study_can_be_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("one", "two"):
        write_plan(tmp_path, name=name)
    assert main(["one", "--runs", str(tmp_path)]) == 0
    assert capsys.readouterr().out.splitlines()[0] == "one"


def test_without_a_terminal_nothing_is_cut(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    write_plan(tmp_path, 300, labels=("x" * 300,))
    assert main(["--runs", str(tmp_path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 303 and all("x" * 300 in line for line in lines[2:-1])


def test_columns_says_how_wide_it_may_be(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "44")
    write_plan(tmp_path, labels=("x" * 300,))
    assert main(["--runs", str(tmp_path)]) == 0
    assert max(map(wide, capsys.readouterr().out.splitlines())) == 44


def test_json_holds_rows_and_counts(runs: Path, folder: RunFolder, capsys: pytest.CaptureFixture[str]) -> None:
    write_status(folder, images_per_second=float("nan"))
    assert main(["--runs", str(runs), "--json"]) == 0
    found = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)
    assert (found["study"], found["states"], found["seconds_left"]) == ("hand", {"running": 1}, 30.0)
    assert found["runs"][0]["step"] == 25 and found["runs"][0]["run_id"] == folder.run_id


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nope"], "nope: no study of that name; have: hand"),
        (["--every", "0"], "--every 0: give seconds from 0.1"),
        (["--every", "nan"], "--every nan: give seconds from 0.1"),
    ],
)
def test_mistakes_are_one_line(
    runs: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    assert main([*arguments, "--runs", str(runs)]) == 2
    captured = capsys.readouterr()
    assert message in captured.err and captured.err.count("\n") == 1 and captured.out == ""


def test_no_study_at_all_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--runs", str(tmp_path / "nowhere")]) == 2
    assert "no study yet" in capsys.readouterr().err


@pytest.mark.parametrize(
    "change", [{"runs": None}, {"runs": [{}]}, {"arms": 3}, {"runs": [planned(0) | {"run_id": "../x"}]}]
)
def test_a_damaged_plan_is_one_line(runs: Path, capsys: pytest.CaptureFixture[str], change: dict[str, Any]) -> None:
    study = study_folder(runs, "hand")
    study.write_plan(study.read_plan() | change)
    assert main(["--runs", str(runs)]) == 2
    error = capsys.readouterr().err
    assert "plan.json" in error and error.count("\n") == 1


class Terminal:
    """The verb on a pseudo-terminal of 60 × 12; what it draws is kept."""

    def __init__(self, runs: Path, *arguments: str) -> None:
        self.drawn = b""
        self.mine, theirs = pty.openpty()
        environment = {key: value for key, value in os.environ.items() if key not in ("COLUMNS", "LINES")}
        subprocess.run(["stty", "rows", "12", "cols", "60"], stdin=theirs, check=True)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "alexnet_sweep.status", "--runs", str(runs), "--every", "0.1", *arguments],
            stdout=theirs,
            stderr=theirs,
            env=environment | {"TERM": "xterm"},
            cwd=Path(__file__).parents[1],
        )
        os.close(theirs)
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def __enter__(self) -> "Terminal":
        return self

    def __exit__(self, *error: object) -> None:
        self.process.kill()
        self.process.wait()
        self.reader.join(60)
        os.close(self.mine)

    def _read(self) -> None:
        with contextlib.suppress(OSError):  # the other end is closed
            while chunk := os.read(self.mine, 65536):
                self.drawn += chunk

    def wait_for(self, text: str) -> None:
        until = time.monotonic() + 60
        while text.encode() not in self.drawn:
            assert time.monotonic() < until and self.process.poll() is None, self.drawn
            time.sleep(0.05)

    def ended(self) -> int:
        code = self.process.wait(60)
        self.reader.join(60)
        return code


def test_on_a_terminal_it_draws_until_all_is_done(tmp_path: Path) -> None:
    write_plan(tmp_path, 30, labels=("wide " * 20,))
    for number in range(29):
        finish(folder_of(tmp_path, number))
    with Terminal(tmp_path) as terminal:
        terminal.wait_for("1 waiting")
        write_status(folder_of(tmp_path, 29))
        terminal.wait_for("1 running")
        finish(folder_of(tmp_path, 29))
        assert terminal.ended() == 0
    text = terminal.drawn.decode()
    assert "\x1b[2J" not in text, "the whole screen is never cleared"
    frames = text.split(status.HOME)[1:]
    assert len(frames) >= 3 and frames[-1].count(status.CLEAR_BELOW) == 1
    for frame in frames:
        lines = frame.split(status.CLEAR_BELOW)[0].split("\r\n")
        assert len(lines) <= 12 and all(line.endswith(status.CLEAR_LINE) for line in lines)
        assert all(wide(re.sub(r"\x1b\[K", "", line)) < 60 for line in lines)
    assert text.startswith(status.ENTER)
    left = text.split(status.LEAVE)
    assert len(left) == 2 and "30 runs: 30 done" in left[1], "the last table stays on the screen it was asked from"


def test_ctrl_c_ends_it_without_a_word(runs: Path, folder: RunFolder) -> None:
    write_status(folder)
    with Terminal(runs) as terminal:
        terminal.wait_for("1 running")
        terminal.process.send_signal(signal.SIGINT)
        assert terminal.ended() == 0
    assert b"Traceback" not in terminal.drawn and status.LEAVE.encode() in terminal.drawn


def test_once_on_a_terminal_moves_no_cursor(runs: Path, folder: RunFolder) -> None:
    write_status(folder)
    with Terminal(runs, "--once") as terminal:
        assert terminal.ended() == 0
    assert b"\x1b" not in terminal.drawn and b"1 running" in terminal.drawn


def test_it_starts_without_torch_hydra_and_pandas() -> None:
    code = "import sys, alexnet_sweep.status\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"torch", "hydra", "pandas"} & {name.split(".")[0] for name in done.stdout.split()}


# --- a study with jobs in a queue ---


class MadeUpQueue:
    """Says of each job what it is told to, or that it cannot be asked."""

    def __init__(self, **seen: Seen) -> None:
        self.seen, self.trouble, self.asked = seen, "", 0

    def look(self, jobs: list[str]) -> dict[str, Seen]:
        self.asked += 1
        if self.trouble:
            raise QueueError(self.trouble)
        return {job: self.seen[job] for job in jobs}

    def how_it_ended(self, seen: Seen, log: str) -> str:
        return str(seen.why)


@pytest.fixture
def queue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MadeUpQueue:
    """Four runs with a job each: trains, waits, waits to run again, was killed while it trained."""
    write_plan(tmp_path, 4)
    study_folder(tmp_path, "hand").write_jobs(
        "made up", [Job(f"j{number}", f"{number:012x}", tmp_path / "no.err") for number in range(4)]
    )
    write_status(folder_of(tmp_path, 0), job="j0")
    write_status(folder_of(tmp_path, 2), job="j2", state="interrupted", reason="job j2 lost its node")
    write_status(folder_of(tmp_path, 3), job="j3")
    made_up = MadeUpQueue(
        j0=Seen(JobState.RUNNING),
        j1=Seen(JobState.PENDING, "Priority"),
        j2=Seen(JobState.REQUEUED, "BeginTime"),
        j3=Seen(JobState.ENDED, "was cancelled"),
    )
    monkeypatch.setattr(submitted, "queue_named", lambda name: made_up)
    return made_up


def test_a_row_shows_what_the_queue_says_of_its_job(tmp_path: Path, queue: MadeUpQueue) -> None:
    shown = [(row.state, row.queue, row.reason) for row in Reader(tmp_path, None).rows()]
    assert shown == [
        ("running", "running", None),
        ("waiting", "pending (Priority)", None),
        ("interrupted", "requeued (BeginTime)", None),
        ("interrupted", None, "job j3 was cancelled"),
    ]


def test_a_finished_run_that_is_trained_again_shows_its_job(tmp_path: Path, queue: MadeUpQueue) -> None:
    finish(folder_of(tmp_path, 1))
    (row,) = (row for row in Reader(tmp_path, None).rows() if row.run_id == f"{1:012x}")
    assert (row.state, row.queue) == ("done", "pending (Priority)")


def test_the_queue_is_not_asked_at_every_look(tmp_path: Path, queue: MadeUpQueue) -> None:
    reader = Reader(tmp_path, None)
    for _ in range(3):
        reader.rows()
    assert queue.asked == 1


def test_a_queue_that_cannot_be_asked_is_told_of_and_the_files_are_shown(
    tmp_path: Path, queue: MadeUpQueue, capsys: pytest.CaptureFixture[str]
) -> None:
    queue.trouble = "squeue: no such command here"
    assert main(["--runs", str(tmp_path), "--once"]) == 0
    printed = capsys.readouterr().out
    assert "hand (queue: squeue: no such command here)" in printed and "running" in printed
    assert main(["--runs", str(tmp_path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["queue_trouble"] == queue.trouble
