import errno
import json
import os
import shutil
import time
from types import SimpleNamespace

import pyarrow as pa
import pytest

from alexnet_sweep import files, machine, store
from alexnet_sweep.config import SweepConfig
from alexnet_sweep.errors import CannotRead, ConfigError, SweepError
from alexnet_sweep.ledger import COUNTED_AS, Action, Decision, check_retrain, decide, decide_all, summary
from alexnet_sweep.running import claimed
from alexnet_sweep.store import RunFolder
from hand_made import errors_of

RUN = "0123456789ab"
TODAY, OLDER = "source-now", "source-old"


def sweep(stale="stop", retrain=None, retries=1):
    return SweepConfig(stale=stale, retrain=retrain, retries=retries, on_failure="continue", max_runs=1000)


def run_folder(runs, run_id=RUN, *, result=None, checkpoint=False, **status):
    """A run folder with these traces; `result` is the source hash of its result."""
    folder = RunFolder(runs / run_id)
    folder.path.mkdir(parents=True, exist_ok=True)
    if status:
        beat = {"heartbeat": time.time()} if status.get("heartbeat") == "now" else {}
        folder.status.write_text(json.dumps(status | beat))
    if checkpoint:
        folder.checkpoint.write_bytes(b"state")
    if result:
        folder.write_predictions(pa.table({"image": ["a", "b"]}))
        folder.write_result({"source_hash": result, "errors": errors_of(2)})
    return folder


def planned(*run_ids):
    return [SimpleNamespace(run_id=run_id, config=None) for run_id in run_ids]


ALIVE = {"state": "running", "host": "another-host", "process": 42, "heartbeat": "now"}
DEAD = {"state": "running", "host": "another-host", "process": 42, "heartbeat": 0.0, "epoch": 4}
FAILED_ONCE = {"state": "failed", "failures": 1, "reason": "ValueError: no luck"}
FAILED_OLDER = FAILED_ONCE | {"checkpoint": True, "source_hash": OLDER}
FAILED_TWICE = FAILED_ONCE | {"failures": 2}
STOPPED = {"state": "interrupted", "epoch": 2}

STATES = {
    "new": ({}, {}, Action.RUN, False, "new"),
    "done": ({"result": TODAY, "state": "done"}, {}, Action.DONE, False, "has a result"),
    "done without a status": ({"result": TODAY}, {}, Action.DONE, False, "has a result"),
    "done, whatever the status says": ({"result": TODAY, **FAILED_TWICE}, {}, Action.DONE, False, "has a result"),
    "done and checkpoint kept": ({"result": TODAY, "checkpoint": True}, {}, Action.DONE, False, "has a result"),
    "done, failed retrained": ({"result": TODAY}, {"retrain": "failed"}, Action.DONE, False, "has a result"),
    "done, named": ({"result": TODAY}, {"retrain": RUN}, Action.RUN, True, "sweep.retrain names it"),
    "stale": ({"result": OLDER}, {}, Action.STALE, False, "older training code"),
    "stale, kept": ({"result": OLDER}, {"stale": "keep"}, Action.DONE, False, "has a result"),
    "stale, retrained": ({"result": OLDER}, {"stale": "retrain"}, Action.RUN, True, "older training code"),
    "stale, named": ({"result": OLDER}, {"retrain": RUN}, Action.RUN, True, "sweep.retrain names it"),
    "alive": (ALIVE, {}, Action.ALIVE, False, "in use by another-host process 42"),
    "alive, named": (ALIVE, {"retrain": RUN}, Action.ALIVE, False, "in use by another-host process 42"),
    "dead at once": (DEAD, {}, Action.RUN, False, "before its first checkpoint"),
    "dead later": ({**DEAD, "checkpoint": True}, {}, Action.RESUME, False, "stopped in epoch 5"),
    "interrupted at once": (STOPPED, {}, Action.RUN, False, "before its first checkpoint"),
    "interrupted later": ({**STOPPED, "checkpoint": True}, {}, Action.RESUME, False, "stopped in epoch 3"),
    "interrupted, failed retrained": (
        {**STOPPED, "checkpoint": True},
        {"retrain": "failed"},
        Action.RESUME,
        False,
        "stopped in epoch 3",
    ),
    "interrupted, named": ({**STOPPED, "checkpoint": True}, {"retrain": RUN}, Action.RESUME, False, "stopped in epoch"),
    "checkpoint without a status": ({"checkpoint": True}, {}, Action.RESUME, False, "stopped in epoch 1"),
    "failed once": (FAILED_ONCE, {}, Action.RUN, True, "failed 1×, tried again"),
    "failed with a checkpoint": ({**FAILED_ONCE, "checkpoint": True}, {}, Action.RUN, False, "failed 1×, tried again"),
    "failed with one of older code": (FAILED_OLDER, {}, Action.RUN, True, "failed 1×, tried again"),
    "failed with one of older code, kept": (
        FAILED_OLDER,
        {"stale": "keep"},
        Action.RUN,
        False,
        "failed 1×, tried again",
    ),
    "failed once, no retries": (FAILED_ONCE, {"retries": 0}, Action.GIVEN_UP, False, "failed 1×: ValueError: no luck"),
    "failed too often": (FAILED_TWICE, {}, Action.GIVEN_UP, False, "failed 2×: ValueError: no luck"),
    "failed too often, more retries": (FAILED_TWICE, {"retries": 2}, Action.RUN, True, "failed 2×, tried again"),
    "failed too often, retrained": (FAILED_TWICE, {"retrain": "failed"}, Action.RUN, True, "sweep.retrain=failed"),
    "failed too often, named": (FAILED_TWICE, {"retrain": RUN}, Action.RUN, True, "sweep.retrain names it"),
}


@pytest.mark.parametrize(("traces", "keys", "action", "clear", "why"), STATES.values(), ids=STATES.keys())
def test_what_a_start_does_with_a_run(tmp_path, traces, keys, action, clear, why):
    decision = decide(run_folder(tmp_path, **traces), sweep(**keys), TODAY)
    assert (decision.run_id, decision.action, decision.clear) == (RUN, action, clear)
    assert why in decision.why


def test_deciding_writes_nothing(tmp_path):
    decide(RunFolder(tmp_path / RUN), sweep(), TODAY)
    assert list(tmp_path.iterdir()) == []


def test_a_run_of_this_process_is_not_alive_elsewhere(tmp_path):
    mine = {"host": machine.host(), "boot": machine.boot(), "process": os.getpid()}
    folder = run_folder(tmp_path, state="running", **mine)
    assert decide(folder, sweep(), TODAY).action is Action.RUN


@pytest.mark.parametrize("file", ["result", "predictions"])
@pytest.mark.parametrize("content", [b"", b"{", b"PAR1", b"\xff\xfe", None])
def test_what_cannot_be_read_is_set_aside_by_name_and_trained_again(tmp_path, file, content):
    folder = run_folder(tmp_path, result=TODAY)
    path = getattr(folder, file)
    if content is None and file == "result":
        path.write_text(json.dumps({"format": 1, "run_id": RUN}))
    elif content is None:
        path.unlink()
    else:
        path.write_bytes(content)
    decision = decide(folder, sweep(), TODAY)
    assert (decision.action, decision.aside) == (Action.RUN, True)
    assert decision.why.startswith("unreadable: ") and path.name in decision.why
    aside = folder.set_aside()
    assert aside.parent == folder.path and (aside / folder.predictions.name).exists() == folder_had(file, content)
    assert not folder.result.exists() and decide(folder, sweep(), TODAY).aside is False


def folder_had(file, content):
    """Whether the folder above still had predictions."""
    return not (file == "predictions" and content is None)


def test_predictions_of_another_number_of_images_are_not_trusted(tmp_path):
    folder = run_folder(tmp_path, result=TODAY)
    folder.write_predictions(pa.table({"image": ["a"]}))
    assert "has 1 rows; result.json speaks of 2" in decide(folder, sweep(), TODAY).why


def test_a_damaged_result_can_be_trained_again_by_name(tmp_path):
    folder = run_folder(tmp_path)
    folder.result.write_text("{")
    assert decide(folder, sweep(retrain=RUN), TODAY) == Decision(RUN, Action.RUN, "sweep.retrain names it", clear=True)


def start_and_fail(folder, settings):
    """One start of a run that always fails, as the sweep carries it out; returns what was decided."""
    decision = decide(folder, settings, TODAY)
    if decision.clear:
        folder.clear()
    if decision.action is Action.RUN:
        with pytest.raises(ValueError), claimed(folder, 1):
            raise ValueError("no luck")
    return decision.action


def test_a_run_that_fails_at_every_start_is_given_up_after_its_retries(tmp_path):
    folder = RunFolder(tmp_path / RUN)
    actions = [start_and_fail(folder, sweep(retries=1)) for _ in range(3)]
    assert actions == [Action.RUN, Action.RUN, Action.GIVEN_UP]


def test_a_failed_run_that_is_tried_again_counts_its_attempts(tmp_path):
    folder = RunFolder(tmp_path / RUN)
    for _ in range(2):
        start_and_fail(folder, sweep(retries=1))
    assert folder.read_status()["attempts"] == 2


# --- a whole study ---


def test_decisions_come_in_the_order_of_the_plan(tmp_path):
    run_folder(tmp_path, "b", result=TODAY)
    run_folder(tmp_path, "c", checkpoint=True)
    decisions = decide_all(planned("c", "a", "b"), tmp_path, sweep(), lambda config: TODAY)
    assert [(decision.run_id, str(decision.action)) for decision in decisions] == [
        ("c", "resume"),
        ("a", "run"),
        ("b", "done"),
    ]


def test_runs_of_other_studies_are_left_alone(tmp_path):
    run_folder(tmp_path, "other", result=OLDER)
    assert [decision.run_id for decision in decide_all(planned("a"), tmp_path, sweep(), lambda config: TODAY)] == ["a"]


def test_stale_results_are_refused_with_their_number_and_both_ways_out(tmp_path):
    for run_id in "ab":
        run_folder(tmp_path, run_id, result=OLDER)
    run_folder(tmp_path, "c", result=TODAY)
    with pytest.raises(SweepError) as caught:
        decide_all(planned(*"abc"), tmp_path, sweep(), lambda config: TODAY)
    line = str(caught.value)
    assert line.startswith("results of older training code: 2 of 3 runs (a, …)")
    assert "sweep.stale=retrain" in line and "sweep.stale=keep" in line


@pytest.mark.parametrize(("stale", "action"), [("keep", Action.DONE), ("retrain", Action.RUN)])
def test_stale_results_pass_where_the_sweep_says_what_to_do(tmp_path, stale, action):
    run_folder(tmp_path, "a", result=OLDER)
    (decision,) = decide_all(planned("a"), tmp_path, sweep(stale=stale), lambda config: TODAY)
    assert decision.action is action


def test_retraining_what_failed_leaves_the_others(tmp_path):
    run_folder(tmp_path, "a", result=TODAY)
    run_folder(tmp_path, "b", **FAILED_TWICE)
    run_folder(tmp_path, "c", **FAILED_TWICE)
    decisions = decide_all(planned(*"abcd"), tmp_path, sweep(retrain="failed"), lambda config: TODAY)
    assert [decision.clear for decision in decisions] == [False, True, True, False]


def test_retraining_one_run_leaves_the_others(tmp_path):
    for run_id in "ab":
        run_folder(tmp_path, run_id, result=TODAY)
    decisions = decide_all(planned("a", "b"), tmp_path, sweep(retrain="b"), lambda config: TODAY)
    assert [(decision.action, decision.clear) for decision in decisions] == [(Action.DONE, False), (Action.RUN, True)]


def test_retraining_an_unknown_run_is_refused_with_those_of_the_study(tmp_path):
    with pytest.raises(ConfigError, match=r"^sweep\.retrain=x: no run of this study; allowed: failed, or one of a, b$"):
        check_retrain(sweep(retrain="x"), lambda: {"b", "a"})
    for known in (None, "failed"):
        check_retrain(sweep(retrain=known), lambda: pytest.fail("nobody needs them"))


def again(runs_folder, earlier, monkeypatch):
    """What is decided after `earlier`, and which runs' files are read for it."""
    checked = []
    monkeypatch.setattr(RunFolder, "check_files", lambda folder, result: checked.append(folder.run_id))
    names = [decision.run_id for decision in earlier]
    return decide_all(planned(*names), runs_folder, sweep(), lambda config: TODAY, earlier), checked


def test_files_of_what_was_done_are_not_read_again_and_of_all_else_are(tmp_path, monkeypatch):
    for name in "ab":
        run_folder(tmp_path, name, result=TODAY)
    first = decide_all(planned(*"abcd"), tmp_path, sweep(), lambda config: TODAY)
    run_folder(tmp_path, "c", result=TODAY)
    second, checked = again(tmp_path, first, monkeypatch)
    assert checked == ["c"]
    assert [decision.action for decision in second] == [Action.DONE] * 3 + [Action.RUN]
    assert again(tmp_path, second, monkeypatch) == (second, [])


def trained_again(folder):
    folder.clear()
    run_folder(folder.path.parent, folder.run_id, result=TODAY)
    os.utime(folder.result, (0, 0))


@pytest.mark.parametrize(
    ("meanwhile", "then"),
    [
        (lambda folder: run_folder(folder.path.parent, folder.run_id, **ALIVE), Action.ALIVE),
        (lambda folder: (folder.clear(), run_folder(folder.path.parent, folder.run_id, **FAILED_ONCE)), Action.RUN),
        (lambda folder: shutil.rmtree(folder.path), Action.RUN),
        (trained_again, Action.DONE),
    ],
    ids=["being trained", "failed", "deleted", "trained"],
)
def test_what_was_done_and_somebody_trains_again_meanwhile_is_decided_anew(tmp_path, monkeypatch, meanwhile, then):
    first = decide_all(planned(RUN), tmp_path, sweep(), lambda config: TODAY)
    folder = run_folder(tmp_path, result=TODAY)
    first = decide_all(planned(RUN), tmp_path, sweep(), lambda config: TODAY, first)
    assert [decision.action for decision in first] == [Action.DONE]
    meanwhile(folder)
    (second,), checked = again(tmp_path, first, monkeypatch)
    assert second.action is then and checked == [RUN] * (then is Action.DONE)


# --- summary ---


def decisions_of(*actions):
    return [Decision(str(number), action, "") for number, action in enumerate(actions)]


@pytest.mark.parametrize(
    ("actions", "text"),
    [
        ([Action.DONE, Action.DONE, Action.RUN, Action.DONE], "4 runs: 3 done, 1 to train"),
        ([Action.RUN], "1 run: 1 to train"),
        (
            [Action.RESUME, Action.EVALUATE, Action.STALE],
            "3 runs: 1 to resume, 1 to evaluate, 1 of older training code",
        ),
        ([Action.RUN] * 1200, "1,200 runs: 1,200 to train"),
        ([Action.ALIVE, Action.GIVEN_UP], "2 runs: 1 in use elsewhere, 1 failed too often"),
    ],
)
def test_a_summary_counts_the_actions(actions, text):
    assert summary(decisions_of(*actions)) == text


def test_every_action_has_words_to_be_counted_in():
    assert set(COUNTED_AS) == set(Action)


@pytest.mark.parametrize(
    ("stale", "action", "clear"),
    [("stop", Action.STALE, False), ("keep", Action.RESUME, False), ("retrain", Action.RUN, True)],
)
def test_a_checkpoint_of_older_training_code_is_stale(tmp_path, stale, action, clear):
    folder = RunFolder(tmp_path / RUN)
    folder.path.mkdir()
    folder.checkpoint.write_bytes(b"state")
    folder.status.write_text(json.dumps({"state": "interrupted", "epoch": 2, "source_hash": OLDER_CODE}))
    sweep = SweepConfig(stale=stale, retrain=None, retries=1, on_failure="continue", max_runs=9)
    found = decide(folder, sweep, "today")
    assert (found.action, found.clear) == (action, clear)


OLDER_CODE = "0" * 12


@pytest.mark.parametrize("name", ["result.json", "predictions.parquet", "config.yaml", "weights.safetensors"])
@pytest.mark.parametrize("number", [errno.EACCES, errno.EIO, errno.ESTALE])
def test_a_finished_run_that_cannot_be_read_now_stops_the_start(tmp_path, monkeypatch, name, number):
    """It may be whole: what is wrong is not the file, and training it again would take days."""
    folder = run_folder(tmp_path)
    folder.write_predictions(pa.table({"image": ["a", "b"]}))
    folder.write_config({"seed": 0})
    folder.weights.write_bytes(b"weights")
    folder.write_result({"source_hash": TODAY, "errors": errors_of(2)})
    before = {path.name: path.read_bytes() for path in folder.path.iterdir()}
    assert decide(folder, sweep(), TODAY).action is Action.DONE
    looked = files.check_is_file

    def refusing(path):
        if path.name == name:
            raise OSError(number, os.strerror(number), str(path))
        looked(path)

    for module in (files, store):
        monkeypatch.setattr(module, "check_is_file", refusing)
    with pytest.raises(CannotRead, match=rf"{name}: cannot be read \(.*\); make it readable, and start again$"):
        decide(folder, sweep(), TODAY)
    monkeypatch.undo()
    assert {path.name: path.read_bytes() for path in folder.path.iterdir()} == before
