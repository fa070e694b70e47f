"""Studies on a real SLURM cluster: the bytes of the local ones, whatever happens to a job or to who waits for it."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from alexnet_sweep.progress import Reader, Row
from alexnet_sweep.store import RunFolder
from test_sweep import SAME_BYTES

pytestmark = pytest.mark.slurm

SMALL = ("trainer.cpu_threads=1", "eval.clean_train_images=64", "trainer.progress=false")
SLURM = (
    *("hydra/launcher=slurm", "hydra.launcher.gpus_per_node=null", "hydra.launcher.cpus_per_task=1"),
    "hydra.launcher.timeout_min=60",
)


@dataclass(frozen=True)
class Ended:
    code: int
    out: str
    err: str


def started(folder: Path, *arguments: str) -> "subprocess.Popen[str]":
    folder.mkdir(exist_ok=True)
    return subprocess.Popen(
        [sys.executable, "-m", "alexnet_sweep", *arguments, *SMALL],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A shell that starts jobs in the background leaves SIGINT ignored; a person's terminal does not.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )


def ended(process: "subprocess.Popen[str]") -> Ended:
    out, err = process.communicate()
    return Ended(process.returncode, out, err)


def ran(folder: Path, *arguments: str) -> Ended:
    return ended(started(folder, *arguments))


def rows(folder: Path) -> dict[str, Row]:
    """What `status` shows, by arm and seed; nothing before there is a plan."""
    if not list(folder.glob("runs/_studies/*/plan.json")):
        return {}
    return {f"{row.arm} {row.seed}": row for row in Reader(folder / "runs", None).rows()}


def until(condition: Callable[[], Any], process: "subprocess.Popen[str] | None" = None) -> None:
    """Wait for a condition, as long as a process goes on; five minutes are more than anything here takes."""
    late = time.monotonic() + 300
    while not condition():
        assert time.monotonic() < late, "waited in vain"
        if process is not None and process.poll() is not None:
            pytest.fail(f"ended too early: {ended(process)}")
        time.sleep(0.2)


def jobs_of(folder: Path) -> list[dict[str, str]]:
    """What studies have submitted themselves, each in that order."""
    found = [json.loads(file.read_text())["jobs"] for file in sorted(folder.glob("runs/_studies/*/jobs.json"))]
    return [job for jobs in found for job in jobs if "study" not in job]


def warned(*asked: tuple["subprocess.Popen[str]", Path, str]) -> None:
    """Ask these runs to stop as SLURM does before a time limit, each once it trains, and until it is requeued.

    scancel tries again and again once the job is requeued: it is not waited for.
    """
    warnings: dict[Path, subprocess.Popen[bytes]] = {}
    still = list(asked)

    def all_are_requeued() -> bool:
        for process, folder, arm in list(still):
            assert process.poll() is None, ended(process)
            if folder not in warnings and trains(folder, arm):
                run_id = rows(folder)[arm].run_id
                (job,) = (job["job"] for job in jobs_of(folder) if job["run_id"] == run_id)
                warnings[folder] = subprocess.Popen(["scancel", "--signal=USR2", job], stderr=subprocess.DEVNULL)
            elif folder in warnings and rows(folder)[arm].queue not in ("running", None):
                still.remove((process, folder, arm))
        return not still

    until(all_are_requeued)
    for warning in warnings.values():
        warning.kill()
        warning.wait()


def files(folder: Path, *names: str) -> dict[str, bytes]:
    """The bytes of the finished runs of these ids, of all without."""
    found = [path.parent for path in (folder / "runs").glob("*/result.json")]
    runs = [run for run in found if not names or run.name in names]
    return {f"{run.name}/{name}": (run / name).read_bytes() for run in runs for name in SAME_BYTES}


def ask(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


# --- a study that its starter leaves, and comes back to ---

GRID = ("-m", "model/lrn=on,off", "seed=0,1,2,3", "model.width=0.05", "trainer.epochs=2")
FEW_AT_ONCE = "hydra.launcher.array_parallelism=2"


@dataclass(frozen=True)
class LeftAndFound:
    folder: Path
    local: Path  # the same study in one process
    left: Ended
    report_meanwhile: str
    rows_meanwhile: dict[str, Row]
    still_there: int  # jobs in the queue after the one who waited had gone
    found: Ended


@pytest.fixture(scope="module")
def left_and_found(cluster: Path) -> LeftAndFound:
    folder, local = cluster / "left", cluster / "local"
    waiting = started(folder, *GRID, *SLURM, FEW_AT_ONCE)
    until(lambda: list(folder.glob("runs/*/result.json")), waiting)
    waiting.send_signal(signal.SIGINT)
    left, meanwhile = ended(waiting), dict[str, Row]()

    def some_run_and_some_wait() -> bool:
        meanwhile.update(rows(folder))
        return {"running", "pending (JobArrayTaskLimit)"} <= {row.queue for row in meanwhile.values()}

    until(some_run_and_some_wait)
    still_there = len(ask("squeue", "-h", "-r", "-o", "%i").split())
    (study,) = (path.parent.name for path in folder.glob("runs/_studies/*/plan.json"))
    report = subprocess.run(
        [sys.executable, "-m", "alexnet_sweep.report", study], cwd=folder, capture_output=True, text=True, check=True
    )
    found = ran(folder, *GRID, *SLURM)
    assert (done := ran(local, *GRID)).code == 0, done.err
    return LeftAndFound(folder, local, left, report.stdout, meanwhile, still_there, found)


def test_ctrl_c_leaves_the_jobs_to_the_queue(left_and_found: LeftAndFound) -> None:
    assert left_and_found.left.code == 130
    assert "jobs in the queue go on; the same command goes on from here" in left_and_found.left.err
    assert left_and_found.still_there > 0


def test_a_report_meanwhile_has_what_is_finished(left_and_found: LeftAndFound) -> None:
    assert "of 8 runs done" in left_and_found.report_meanwhile
    assert "8 of 8 runs done" not in left_and_found.report_meanwhile


def test_status_shows_what_the_queue_says(left_and_found: LeftAndFound) -> None:
    told = left_and_found.rows_meanwhile.values()
    assert {"running", "pending (JobArrayTaskLimit)"} <= {row.queue for row in told}
    assert any(row.state == "done" and row.queue is None and row.error is not None for row in told)


def test_the_same_command_attaches_and_submits_nothing_twice(left_and_found: LeftAndFound) -> None:
    assert left_and_found.found.code == 0, left_and_found.found.err
    assert "8 of 8 runs done" in left_and_found.found.out
    assert "submitted" not in left_and_found.found.err
    jobs = jobs_of(left_and_found.folder)
    assert len(jobs) == len({job["run_id"] for job in jobs}) == 8


def test_a_study_has_the_same_bytes_as_in_one_process(left_and_found: LeftAndFound) -> None:
    """And so through all other launchers: test_launchers has their bytes beside those of one process."""
    theirs = files(left_and_found.folder)
    assert len(theirs) == 8 * len(SAME_BYTES)
    assert files(left_and_found.local) == theirs


# --- several starts at once, and runs that are trained again ---


@dataclass(frozen=True)
class AtOnce:
    folder: Path
    starts: list[Ended]
    jobs: list[dict[str, str]]
    attempts: list[int]
    bytes: dict[str, bytes]
    again: Ended
    asked_again: set[str]  # runs


@pytest.fixture(scope="module")
def at_once(cluster: Path) -> AtOnce:
    """One study started twice, and another one that shares a run with it; then two runs trained again."""
    folder, small = cluster / "at_once", ("model.width=0.05", "trainer.epochs=1", *SLURM)
    starts = [started(folder, "-m", seeds, *small) for seeds in ("seed=0,1", "seed=0,1", "seed=1,2")]
    results = [ended(process) for process in starts]
    runs = sorted(path.parent for path in folder.glob("runs/*/result.json"))
    before = jobs_of(folder), [RunFolder(run).read_status()["attempts"] for run in runs], files(folder)
    plans = [json.loads(plan.read_text())["runs"] for plan in folder.glob("runs/_studies/*/plan.json")]
    named, older = next({run["run_id"] for run in plan} for plan in plans if {run["seed"] for run in plan} == {0, 1})
    result = folder / "runs" / older / "result.json"
    result.write_text(result.read_text().replace('"source_hash": "', '"source_hash": "older'))
    again = ran(folder, "-m", "seed=0,1", *small, f"sweep.retrain={named}", "sweep.stale=retrain")
    return AtOnce(folder, results, *before, again, {named, older})


def test_starts_at_the_same_time_submit_each_run_once(at_once: AtOnce) -> None:
    assert [start.code for start in at_once.starts] == [0, 0, 0], [start.err for start in at_once.starts]
    assert len(at_once.jobs) == len({job["run_id"] for job in at_once.jobs}) == 3
    assert at_once.attempts == [1, 1, 1]


def test_runs_are_trained_again_where_asked_for_and_waited_for(at_once: AtOnce) -> None:
    assert at_once.again.code == 0 and "submitted 2 jobs" in at_once.again.err, at_once.again.err
    new = {job["run_id"] for job in jobs_of(at_once.folder) if job not in at_once.jobs}
    assert new == at_once.asked_again and len(jobs_of(at_once.folder)) == 5
    assert {RunFolder(at_once.folder / "runs" / run).read_status()["attempts"] for run in new} == {2}
    assert files(at_once.folder) == at_once.bytes


# --- a site's own values, as the README shows them ---


def test_a_sites_own_values_reach_the_job(cluster: Path) -> None:
    readme = (Path(__file__).parents[1] / "README.md").read_text()
    example = readme.split("# conf/hydra/launcher/here.yaml\n", 1)[1].split("\n\n", 1)[0]
    ours = {"partition: gpu": "partition: local", "module load cuda": "export SITE=ours; env > $SLURM_JOB_ID.env"}
    for theirs, here in ours.items():
        assert theirs in example
        example = example.replace(theirs, here)
    folder = cluster / "site"
    (folder / "conf/hydra/launcher").mkdir(parents=True)
    (folder / "conf/hydra/launcher/here.yaml").write_text(textwrap.dedent(example))
    arguments = ("hydra/launcher=here", "hydra.launcher.gpus_per_node=null", "model.width=0.05", "trainer.epochs=1")
    done = ran(folder, "-m", "seed=0", "--config-dir", "conf", *arguments)
    assert done.code == 0, done.err
    (job,) = jobs_of(folder)
    accounted = ask("sacct", "-X", "-n", "-P", "-o", "Partition,TimelimitRaw,ReqCPUS,ReqMem", "-j", job["job"])
    assert accounted.strip() == "local|1440|4|16G"
    assert "SITE=ours" in (folder / f"{job['job'].split('_')[0]}.env").read_text()
    (study,) = (file.parent for file in folder.glob("runs/_studies/*/jobs.json"))
    log = study / job["log"]
    assert "run " in log.read_text() and log.is_relative_to(study)
    (script,) = log.parent.glob("*submission.sh")
    passed_on = {"account=vision", "mail-user=me@example.org", "mail-type=END", "requeue"}
    assert passed_on <= {line.removeprefix("#SBATCH --") for line in script.read_text().splitlines()}


# --- a study whose jobs are cut off ---

HARD = """
question: What does a lost job take with it?
design: one_factor_at_a_time
baseline: {experiment: digits, model.width: 0.05, trainer.epochs: 120}
factors:
  optim.learning_rate: [0.01, 1e30]  # raises
  model.width: [0.05, 2.0]           # needs more memory than its job has
  model/lrn: ["on", "off"]           # is cancelled
  aug/crop: ["on", "off"]            # meets its time limit
seeds: 1
"""
STUDY = ("-m", "study=hard.yaml", "sweep.retries=0", *SLURM, "hydra.launcher.mem_gb=1")
RAISES, LARGE, CANCELLED, LATE = (
    f"{arm} 0" for arm in ("optim.learning_rate=1e30", "model.width=2.0", "model/lrn=off", "aug/crop=off")
)


def trains(folder: Path, arm: str) -> bool:
    row = rows(folder).get(arm)
    return row is not None and row.state == "running" and (row.epoch or 0) > 1


@dataclass(frozen=True)
class CutOff:
    folder: Path
    first: Ended
    rows_then: dict[str, Row]
    second: Ended  # with sweep.wait=false
    rows_at_last: dict[str, Row]
    cancelling: Ended
    another_job_state: str

    def run(self, arm: str) -> RunFolder:
        return RunFolder(self.folder / "runs" / self.rows_then[arm].run_id)


@pytest.fixture(scope="module")
def cut_off(cluster: Path) -> Iterator[CutOff]:
    folder = cluster / "cut_off"
    folder.mkdir()
    (folder / "hard.yaml").write_text(HARD)
    waiting = started(folder, *STUDY)
    until(lambda: trains(folder, CANCELLED) and trains(folder, LATE), waiting)
    job = {job["run_id"]: job["job"] for job in jobs_of(folder)}
    ids = {arm: row.run_id for arm, row in rows(folder).items()}
    subprocess.run(["scancel", job[ids[CANCELLED]]], check=True)
    warned((waiting, folder, LATE))
    first = ended(waiting)
    then = rows(folder)
    another = ask("sbatch", "--parsable", "--output=/dev/null", "--wrap", "exec sleep 300").strip()
    second = ran(folder, *STUDY, "sweep.wait=false")
    until(lambda: trains(folder, CANCELLED))
    # A job of more weight, that takes all nodes: what runs is asked to end, killed a while later, and requeued.
    urgent = ("sbatch", "--wait", "-p", "urgent", "-N2", "--exclusive", "--output=/dev/null", "--wrap", "true")
    subprocess.run(urgent, check=True, capture_output=True)
    until(lambda: rows(folder)[CANCELLED].state == "done")
    cancelling = ran(folder, *STUDY, "sweep.cancel=true")
    until(lambda: all(row.queue is None for row in rows(folder).values()))
    state = ask("squeue", "-h", "-o", "%T", "-j", another).strip()
    subprocess.run(["scancel", another], check=True)
    yield CutOff(folder, first, then, second, rows(folder), cancelling, state)


def test_a_lost_job_takes_no_result_of_others_with_it(cut_off: CutOff) -> None:
    assert cut_off.first.code == 1
    assert "2 of 5 runs done" in cut_off.first.out
    done = {arm for arm, row in cut_off.rows_then.items() if row.state == "done"}
    assert done == {"baseline 0", LATE}


def test_a_run_that_raises_fails_with_its_traceback(cut_off: CutOff) -> None:
    row = cut_off.rows_then[RAISES]
    assert row.state == "failed" and "TrainingDiverged" in (row.reason or "")
    assert "TrainingDiverged" in cut_off.first.err
    assert "Traceback" in cut_off.run(RAISES).failure.read_text()
    (job,) = (job["job"] for job in jobs_of(cut_off.folder) if job["run_id"] == row.run_id)
    assert ask("sacct", "-X", "-n", "-P", "-o", "State", "-j", job).strip() == "FAILED"


@pytest.mark.parametrize(("arm", "how"), [(CANCELLED, "was cancelled"), (LARGE, "ran out of memory")])
def test_a_run_cut_off_is_interrupted_with_its_reason(cut_off: CutOff, arm: str, how: str) -> None:
    row = cut_off.rows_then[arm]
    assert row.state == "interrupted" and how in (row.reason or "")
    assert f"{row.run_id} (job" in cut_off.first.err and how in cut_off.first.err


def test_a_run_that_meets_its_limit_goes_on_to_the_same_bytes(cut_off: CutOff, cluster: Path) -> None:
    run = cut_off.run(LATE)
    assert run.read_status()["attempts"] == 2 and "resumed at epoch" in run.log.read_text()
    assert len([job for job in jobs_of(cut_off.folder) if job["run_id"] == run.run_id]) == 1
    arguments = ("experiment=digits", "model.width=0.05", "trainer.epochs=120", "aug/crop=off")
    assert ran(cluster / "late", *arguments).code == 0
    assert files(cut_off.folder, run.run_id) == files(cluster / "late")


def test_the_next_start_goes_on_with_what_was_cut_off_and_need_not_wait(cut_off: CutOff) -> None:
    assert cut_off.second.code == 0 and "2 jobs submitted" in cut_off.second.err
    again = {job["run_id"] for job in jobs_of(cut_off.folder)[5:]}
    assert again == {cut_off.rows_then[arm].run_id for arm in (CANCELLED, LARGE)}


def test_a_run_cancelled_and_later_preempted_ends_with_the_same_bytes(cut_off: CutOff, cluster: Path) -> None:
    run = cut_off.run(CANCELLED)
    assert run.read_status()["attempts"] == 3 and run.log.read_text().count("resumed at epoch") == 2
    arguments = ("experiment=digits", "model.width=0.05", "trainer.epochs=120", "model/lrn=off")
    assert ran(cluster / "cancelled", *arguments).code == 0
    assert files(cut_off.folder, run.run_id) == files(cluster / "cancelled")


def test_cancelling_a_study_cancels_its_jobs_and_no_other(cut_off: CutOff) -> None:
    assert cut_off.cancelling.code == 0
    assert cut_off.another_job_state == "RUNNING"
    assert {row.queue for row in cut_off.rows_at_last.values()} == {None}


# --- a node that is lost ---

ALONE = "as composed 0"


@dataclass(frozen=True)
class NodeLost:
    folder: Path
    first: Ended
    rows_then: dict[str, Row]
    second: Ended


@pytest.fixture(scope="module")
def node_lost(cluster: Path) -> NodeLost:
    folder = cluster / "node_lost"
    arguments = ("-m", "seed=0", "experiment=digits", "model.width=0.05", "trainer.epochs=120", *SLURM)
    waiting = started(folder, *arguments, "+hydra.launcher.additional_parameters={no-requeue:true}")
    until(lambda: trains(folder, ALONE), waiting)
    (job,) = jobs_of(folder)
    node = ask("squeue", "-h", "-o", "%N", "-j", job["job"]).strip()
    (status,) = folder.glob("runs/*/status.json")
    process = int(RunFolder(status.parent).read_status()["process"])
    subprocess.run(["scontrol", "update", f"NodeName={node}", "State=DOWN", "Reason=test"], check=True)
    with suppress(ProcessLookupError):
        os.kill(process, signal.SIGKILL)  # as a machine that loses its power does with all of them
    first, then = ended(waiting), rows(folder)
    # Refused where the node, which answers, is back by itself.
    subprocess.run(["scontrol", "update", f"NodeName={node}", "State=RESUME"], check=False, capture_output=True)
    until(lambda: ask("sinfo", "-h", "-n", node, "-o", "%t").strip() == "idle")
    return NodeLost(folder, first, then, ran(folder, *arguments))


def test_a_run_that_loses_its_node_is_interrupted_and_the_next_start_goes_on_to_the_same_bytes(
    node_lost: NodeLost, cut_off: CutOff
) -> None:
    row = node_lost.rows_then[ALONE]
    assert node_lost.first.code == 1 and "lost its node" in node_lost.first.err
    assert row.state == "interrupted" and "lost its node" in (row.reason or "")
    assert node_lost.second.code == 0, node_lost.second.err
    undisturbed = cut_off.run("baseline 0")
    assert undisturbed.run_id == row.run_id and undisturbed.read_status()["attempts"] == 1
    assert files(node_lost.folder) == files(cut_off.folder, row.run_id)
    assert "resumed at epoch" in RunFolder(node_lost.folder / "runs" / row.run_id).log.read_text()


# --- runs of several processes ---

TOGETHER = ("-m", "seed=0", "model.width=0.05", "trainer.epochs=40", "trainer.processes=2")


@pytest.fixture(scope="module")
def together(cluster: Path) -> Path:
    """One run by two processes: two that it starts itself; two tasks; one task, or two nodes, meeting a time limit."""
    starts = {
        "tasks": started(cluster / "tasks", *TOGETHER, *SLURM, "hydra.launcher.tasks_per_node=2"),
        "nodes": started(cluster / "nodes", *TOGETHER, *SLURM, "hydra.launcher.nodes=2"),
        "one task": started(cluster / "one task", *TOGETHER, *SLURM),
    }
    warned(*((starts[way], cluster / way, ALONE) for way in ("nodes", "one task")))
    for process in starts.values():
        assert (done := ended(process)).code == 0, done.err
    assert ran(cluster / "processes", *TOGETHER).code == 0
    return cluster


@pytest.mark.parametrize("way", ["tasks", "nodes", "one task"])
def test_processes_of_a_job_train_as_those_of_one_machine(together: Path, way: str) -> None:
    assert files(together / way) == files(together / "processes") != {}


@pytest.mark.parametrize(("way", "nodes"), [("nodes", "node[1-2]"), ("one task", "node")])
def test_a_run_of_several_processes_that_met_its_limit_was_requeued_and_resumed(
    together: Path, way: str, nodes: str
) -> None:
    (status,) = (together / way).glob("runs/*/status.json")
    run = RunFolder(status.parent)
    assert run.read_status()["attempts"] == 2 and "resumed at epoch" in run.log.read_text()
    (job,) = jobs_of(together / way)
    assert nodes in ask("sacct", "-X", "-n", "-P", "-o", "NodeList", "-j", job["job"])


# --- mistakes ---


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("hydra.launcher.partition=nowhere",), "not submitted (sbatch: error: invalid partition specified: nowhere"),
        (("hydra.launcher.mem_gb=900000",), "not submitted (sbatch: error: Memory specification can not be satisfied"),
        (("hydra.launcher.partitoin=local",), "partitoin"),
        (("hydra.launcher.tasks_per_node=2",), "trainer.processes=1: a job has 2 tasks"),
    ],
)
def test_what_slurm_refuses_is_one_line(cluster: Path, arguments: tuple[str, ...], says: str) -> None:
    refused = ran(cluster / "refused", "-m", "seed=0", *SLURM, *arguments)
    assert refused.code == 2
    assert says in refused.err.splitlines()[-1] and "Traceback" not in refused.err


def test_the_queue_has_nothing_of_a_study_that_was_never_submitted(cluster: Path) -> None:
    nothing = ran(cluster / "nothing", "-m", "seed=0", "sweep.cancel=true")
    assert nothing.code == 0 and "0 jobs cancelled" in nothing.err
    assert not (cluster / "nothing/runs").exists()


# --- many short jobs ---


def test_sixty_short_jobs_run_four_at_a_time_though_an_array_may_have_fifty(cluster: Path) -> None:
    folder, most = cluster / "many", 0
    few = ("hydra.launcher.array_parallelism=4", "hydra.launcher.mem_gb=1", "model.width=0.05", "trainer.epochs=1")
    process = started(folder, "-m", "seed=range(0,60)", *SLURM, *few)
    while process.poll() is None:
        most = max(most, len(ask("squeue", "-h", "-r", "-t", "RUNNING", "-o", "%i").split()))
        time.sleep(0.5)
    assert (result := ended(process)).code == 0, result.err
    assert most == 4 and len(jobs_of(folder)) == 60
    assert len({job["job"].split("_")[0] for job in jobs_of(folder)}) == 2  # the cluster takes arrays of 50
    assert {row.state for row in rows(folder).values()} == {"done"} and len(rows(folder)) == 60
