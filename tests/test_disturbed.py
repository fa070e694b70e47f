"""Whatever happens to a study on its way: started again it ends with the same bytes, and trains nothing twice."""

import json
import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from alexnet_sweep.config import SweepConfig
from alexnet_sweep.data.pack import read_packed
from alexnet_sweep.errors import DataError, OtherFormat
from alexnet_sweep.files import half_written
from alexnet_sweep.ledger import Action, decide
from alexnet_sweep.store import RunFolder
from conftest import make_photos
from disturbed import conducted, contents, copied, finished, last_line, log_of, run_folders, started

pytestmark = pytest.mark.slow

PLACES = {
    "building": [
        *("data.chunk", "train.labels.npy.beside", "train.ids.txt.beside", "mean.npy.renamed", "colours.npz.beside"),
        *("meta.json.beside", "meta.json.renamed", "checksums.json.beside", "data.rename", "data.renamed"),
        *("plan.json.beside", "plan.json.renamed"),
    ],
    "training": [
        *("status.json.beside", "config.yaml.beside", "config.yaml.renamed", "train.step", "checkpoint.write:9"),
        *("checkpoint.pt.beside", "checkpoint.pt.renamed", "train.step:2", "evaluate.batch", "metrics.csv.beside"),
        *("metrics.csv.renamed", "train.epoch"),
    ],
    "recording": [
        *("evaluate.batch:5", "predictions.parquet.beside", "predictions.parquet.renamed"),
        *("weights.safetensors.beside", "weights.safetensors.renamed", "provenance.json.beside"),
        *("provenance.json.renamed", "result.json.beside", "result.json.renamed", "result.json.beside"),
    ],
    "reporting": [
        *("results.csv.beside", "deltas.parquet.renamed", "forest.svg.beside", "report.board", "report.html.beside"),
        *("tables.tex.beside", "README.md.beside", "README.md.renamed"),
    ],
}
KILLED, TERMINATED = (-signal.SIGKILL,), (-signal.SIGTERM, 130)


@pytest.fixture(scope="module")
def quiet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The undisturbed study; what is to be disturbed lies beside it."""
    root = tmp_path_factory.mktemp("study")
    make_photos(root / "photos")
    assert conducted(root / "quiet") == 0, log_of(root / "quiet")
    return root / "quiet"


@pytest.fixture
def folder(quiet: Path, request: pytest.FixtureRequest) -> Path:
    return quiet.parent / "".join(letter if letter.isalnum() else "_" for letter in request.node.name)


def action(place: str, what: str) -> str:
    name, _, number = place.partition(":")
    return f"{name}:{what}:{number or 1}"


def ends_well(folder: Path, quiet: Path) -> None:
    """The same command again: all is done, with the same bytes, and nothing that was done is done again."""
    before = finished(folder)
    assert conducted(folder) == 0, log_of(folder)
    assert contents(folder) == contents(quiet)
    assert before.items() <= finished(folder).items()
    assert "Traceback" not in log_of(folder)
    assert not [path for run in run_folders(folder) for path in half_written(run, None)]


@pytest.mark.parametrize("room", PLACES)
@pytest.mark.parametrize(("what", "codes"), [("kill", KILLED), ("term", TERMINATED)], ids=["SIGKILL", "SIGTERM"])
def test_a_study_ended_at_every_place_in_turn_ends_with_the_same_bytes(
    quiet: Path, folder: Path, room: str, what: str, codes: tuple[int, ...]
) -> None:
    for place in PLACES[room]:
        before = finished(folder)
        code = conducted(folder, action(place, what))
        if code == 0:  # what was saved by those before was so much that the place is passed no more
            assert what == "term" and contents(folder) == contents(quiet)
            shutil.rmtree(folder)
            before, code = {}, conducted(folder, action(place, what))
        assert code in codes, (place, log_of(folder))
        assert before.items() <= finished(folder).items(), place
    ends_well(folder, quiet)


@pytest.mark.parametrize("what", ["full", "broken"])
def test_a_write_that_fails_loses_nothing_but_itself(quiet: Path, folder: Path, what: str) -> None:
    for place in (
        *("data.chunk", "meta.json.beside", "checkpoint.write:9", "checkpoint.pt.beside", "metrics.csv.beside"),
        *("predictions.parquet.beside", "weights.safetensors.beside", "result.json.beside"),
    ):
        conducted(folder, action(place, what))
        assert ("the disk is full" if what == "full" else os.strerror(5)) in log_of(folder), place
    ends_well(folder, quiet)


def test_a_write_that_fails_in_a_checkpoint_leaves_the_one_before(quiet: Path, folder: Path) -> None:
    assert conducted(folder, "checkpoint.pt.renamed:kill:3") == -signal.SIGKILL
    (run,) = run_folders(folder)
    before = (run / "checkpoint.pt").read_bytes()
    assert conducted(folder, "checkpoint.write:kill:9") == -signal.SIGKILL
    assert (run / "checkpoint.pt").read_bytes() == before
    ends_well(folder, quiet)


# --- disks ---


def remounted(disk: Path, options: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{options}", str(disk)], check=True)


def test_a_full_disk_is_told_of_and_once_there_is_room_the_study_goes_on(quiet: Path, small_disk: Path) -> None:
    shutil.copytree(quiet.parent / "photos", small_disk / "photos")
    study = small_disk / "study"
    ballast, told = small_disk / "ballast", []
    for kilobytes in (40, 260, 60, 100, 140):  # to pack, to train, to save, …
        ballast.unlink(missing_ok=True)
        ballast.write_bytes(bytes(shutil.disk_usage(small_disk).free - 1024 * kilobytes))
        assert conducted(study, more=["sweep.check_disk=false"]) in (1, 2), (kilobytes, log_of(study))
        told.append(last_line(study))
    assert "are free; choose a smaller data.stored_px, or paths.store on another disk" in told[0]
    assert all("the disk is full; make room and start again" in line for line in told[1:]), told
    ballast.unlink()
    ends_well(study, quiet)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_study_that_is_to_stop_on_a_full_disk_stops_and_goes_on_from_its_last_checkpoint(
    quiet: Path, small_disk: Path, number: signal.Signals
) -> None:
    shutil.copytree(quiet.parent / "photos", small_disk / "photos")
    study, ballast = small_disk / "study", small_disk / "ballast"
    study.mkdir()
    process = started(study, "train.step:stop:4")
    try:
        saved = when(lambda: next(iter((study / "runs").glob("*/checkpoint.pt")), None))
        when(lambda: stopped(process) or None)
        before = saved.read_bytes()
        ballast.write_bytes(bytes(shutil.disk_usage(small_disk).free))
        os.kill(process.pid or 0, number)
        os.kill(process.pid or 0, signal.SIGCONT)
        process.join(120)
    finally:
        process.kill()
    assert process.exitcode == 130, log_of(study)
    assert saved.read_bytes() == before
    assert "is not saved" in log_of(study) or "the disk is full" in log_of(study)
    assert last_line(study).startswith("stopped, without a report (") and "Traceback" not in log_of(study)
    ballast.unlink()
    ends_well(study, quiet)


def test_a_read_only_disk_is_told_of_in_one_line(quiet: Path, small_disk: Path) -> None:
    shutil.copytree(quiet.parent / "photos", small_disk / "photos")
    study = small_disk / "study"
    assert conducted(study, "checkpoint.pt.renamed:kill:3") == -signal.SIGKILL
    remounted(small_disk, "ro")
    assert conducted(study) == 2
    assert "cannot be written: the disk is read-only; make it writable" in last_line(study)
    remounted(small_disk, "rw")
    ends_well(study, quiet)


# --- what is damaged ---


def damages(path: Path, number: int, draw: random.Random) -> "list[tuple[str, bytes]]":
    """What is left of a file: cut short, and with a bit flipped, at random places."""
    content = path.read_bytes()
    cut = [
        (f"cut at {place}", content[:place]) for place in draw.sample(range(len(content)), min(number, len(content)))
    ]
    flipped = []
    for place in draw.sample(range(len(content)), min(number, len(content))):
        bit = 1 << draw.randrange(8)
        flipped.append(
            (f"bit {bit} at {place}", content[:place] + bytes([content[place] ^ bit]) + content[place + 1 :])
        )
    return cut + flipped


SETTINGS = SweepConfig(stale="keep", retrain=None, retries=1, on_failure="continue", max_runs=1000)


@pytest.mark.parametrize(
    "name", ["config.yaml", "metrics.csv", "predictions.parquet", "result.json", "weights.safetensors"]
)
def test_a_damaged_file_of_a_finished_run_is_noticed_and_named(quiet: Path, folder: Path, name: str) -> None:
    run = RunFolder(run_folders(copied(quiet, folder))[0])
    path, whole = run.path / name, (run.path / name).read_bytes()
    for what, content in damages(path, 60, random.Random(1)):
        path.write_bytes(content)
        try:
            found = decide(run, SETTINGS, "")
        except OtherFormat as error:  # a bit of the format's number
            assert name in str(error), what
            continue
        assert found.aside and name in found.why, what
    path.write_bytes(whole)
    assert decide(run, SETTINGS, "").action is Action.DONE


def test_a_damaged_status_neither_loses_a_run_nor_has_it_done_again(quiet: Path, folder: Path) -> None:
    run = RunFolder(run_folders(copied(quiet, folder))[0])
    for what, content in damages(run.status, 150, random.Random(2)):
        run.status.write_bytes(content)
        found = decide(run, SETTINGS, "")
        assert found.action in (Action.DONE, Action.ALIVE), what
        assert found.action is Action.DONE or found.why.startswith("in use by"), what


def test_damaged_runs_are_trained_again_and_the_others_left_alone(quiet: Path, folder: Path) -> None:
    study = copied(quiet, folder)
    one, other = run_folders(study)
    content = bytearray((one / "weights.safetensors").read_bytes())
    content[-100] ^= 4
    (one / "weights.safetensors").write_bytes(content)
    before = finished(study)[other.name]
    assert conducted(study) == 0 and finished(study)[other.name] == before
    assert contents(study) == contents(quiet)
    assert "weights.safetensors: damaged, its digest is another" in (one / "train.log").read_text()


def test_a_damaged_checkpoint_is_set_aside_and_the_run_starts_again(quiet: Path, folder: Path) -> None:
    assert conducted(folder, "checkpoint.pt.renamed:kill:4") == -signal.SIGKILL
    (run,) = run_folders(folder)
    content = bytearray((run / "checkpoint.pt").read_bytes())
    content[len(content) // 2] ^= 16
    (run / "checkpoint.pt").write_bytes(content)
    ends_well(folder, quiet)
    assert "cannot be resumed from (damaged: its digest is another)" in (run / "train.log").read_text()
    assert (run / "set_aside-1/checkpoint.pt").read_bytes() == content


def test_a_damaged_store_is_noticed_and_named(quiet: Path, folder: Path) -> None:
    (store,) = (path for path in (copied(quiet, folder) / "runs/_data").iterdir() if path.name[0] != ".")
    for path in sorted(store.iterdir()):
        whole = path.read_bytes()
        for what, content in damages(path, 25, random.Random(3)):
            path.write_bytes(content)
            with pytest.raises(DataError, match="delete the folder and start again"):
                read_packed(store)
                pytest.fail(f"{path.name}: {what}")
        path.write_bytes(whole)
    read_packed(store)


def test_a_damaged_store_stops_a_start_before_anything_is_trained(quiet: Path, folder: Path) -> None:
    study = copied(quiet, folder)
    (store,) = (path for path in (study / "runs/_data").iterdir() if path.name[0] != ".")
    with (store / "train.images.npy").open("r+b") as stream:
        stream.seek(2000)
        stream.write(b"\0\1\2")
    shutil.rmtree(run_folders(study)[0])
    assert conducted(study) == 2
    assert (
        f"{store.name}: damaged packed store (train.images.npy is not as it was built); delete the folder"
        in last_line(study)
    )
    shutil.rmtree(store)
    ends_well(study, quiet)


# --- clocks, two at once, folders that go ---


def a_day_back() -> None:
    now = time.time
    time.time = lambda: now() - 86400


def test_a_clock_that_is_set_back_changes_nothing(quiet: Path, folder: Path) -> None:
    assert conducted(folder, "checkpoint.pt.renamed:kill:3") == -signal.SIGKILL
    assert conducted(folder, "predictions.parquet.beside:kill", before=a_day_back) == -signal.SIGKILL
    (run,) = run_folders(folder)
    status = json.loads((run / "status.json").read_text())
    # As a machine that is gone has left it, whose clock was ahead.
    (run / "status.json").write_text(json.dumps(status | {"host": "node7", "heartbeat": time.time() + 86400}))
    assert conducted(folder, before=a_day_back) == 0
    assert contents(folder) == contents(quiet)


def test_two_studies_at_once_share_the_work(quiet: Path, folder: Path) -> None:
    folder.mkdir()
    both = [started(folder) for _ in range(2)]
    for process in both:
        process.join(120)
    assert [process.exitcode for process in both] == [0, 0], log_of(folder)
    assert contents(folder) == contents(quiet)
    for run in run_folders(folder):
        assert json.loads((run / "status.json").read_text())["attempts"] == 1


@pytest.mark.parametrize(
    "how", [shutil.rmtree, lambda run: run.rename(run.parent.parent / "moved")], ids=["deleted", "moved"]
)
def test_a_run_folder_that_goes_while_in_use_is_told_of(quiet: Path, folder: Path, how: Callable[[Path], None]) -> None:
    folder.mkdir()
    process = started(folder, "train.step:stop:3")
    try:
        run = when(lambda: next(iter((folder / "runs").glob("*/checkpoint.pt")), None)).parent
        when(lambda: stopped(process) or None)
        how(run)
        os.kill(process.pid or 0, signal.SIGCONT)
        process.join(120)
    finally:
        process.kill()
    assert process.exitcode == 0, log_of(folder)  # a failed run is tried again
    assert "deleted or moved while in use" in log_of(folder)
    assert contents(folder) == contents(quiet)


def when(found: "Callable[[], Path | bool | None]") -> "Path":
    """What there is to be found, once it is there."""
    until = time.monotonic() + 60
    while time.monotonic() < until:
        try:
            what = found()
        except OSError:
            what = None
        if what is not None:
            return what  # type: ignore[return-value]
        time.sleep(0.02)
    raise AssertionError("does not come")


def stopped(process: multiprocessing.process.BaseProcess) -> bool:
    return Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"
