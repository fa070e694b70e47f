"""Files of an older or a newer version are refused with a sentence, and left as they are."""

import hashlib
import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from alexnet_sweep import formats
from alexnet_sweep.checkpoint import MARK
from alexnet_sweep.errors import FolderError, OtherFormat
from alexnet_sweep.formats import Format
from alexnet_sweep.store import FORMAT_KEY, RunFolder
from alexnet_sweep.study_folder import StudyFolder
from conftest import Main

SMALL = ("model.width=0.05", "trainer.epochs=1", "trainer.cpu_threads=1", "eval.clean_train_images=64")
GRID = ("-m", "model/lrn=on,off", *SMALL)
HERE = Path("there/file")
EVERY = [formats.RUN, formats.PLAN, formats.JOBS, formats.STORE]


@given(st.sampled_from(EVERY), st.integers())
def test_a_version_is_read_or_refused_with_its_path_its_age_and_a_way_out(kind: Format, version: int) -> None:
    if version in kind.read:
        formats.check(kind, version, HERE)
        return
    with pytest.raises(OtherFormat) as caught:
        formats.check(kind, version, HERE)
    line, age = str(caught.value), "a newer" if version > kind.written else "an older"
    assert line.startswith(f"{HERE}: format {version} of a {kind.what}, written by {age} version")
    assert kind.key in line and "\n" not in line


@given(st.sampled_from(EVERY), st.none() | st.booleans() | st.text() | st.floats() | st.lists(st.integers()))
def test_what_is_no_version_is_damage(kind: Format, found: object) -> None:
    if found is None and kind.unmarked in kind.read:
        formats.check(kind, found, HERE)
        return
    with pytest.raises(FolderError) as caught:
        formats.check(kind, found, HERE)
    assert not isinstance(caught.value, OtherFormat) and str(caught.value).startswith(f"{HERE}: format ")


def test_what_is_written_is_read() -> None:
    assert all(kind.written in kind.read and kind.written == max(kind.read) for kind in EVERY)


# --- through the verbs ---


def first_run() -> RunFolder:
    return RunFolder(min(path for path in Path("runs").iterdir() if not path.name.startswith("_")))


def the_study() -> StudyFolder:
    (path,) = Path("runs/_studies").iterdir()
    return StudyFolder(path)


def change(path: Path, **values: Any) -> Path:
    path.write_text(json.dumps(json.loads(path.read_text()) | values))
    return path


def change_status(version: int) -> Path:
    return change(first_run().status, format=version)


def change_result(version: int) -> Path:
    return change(first_run().result, format=version)


def change_predictions(version: int) -> Path:
    path = first_run().predictions
    pq.write_table(pq.read_table(path).replace_schema_metadata({FORMAT_KEY: str(version)}), path)
    return path


def change_plan(version: int) -> Path:
    return change(the_study().plan, format=version)


def change_jobs(version: int) -> Path:
    the_study().write_jobs("slurm", [])
    return change(the_study().jobs, format=version)


def change_store(version: int) -> Path:
    (meta,) = Path("runs/_data").glob("*/meta.json")
    change(meta, format=version)
    return meta.parent


Change = Callable[[int], Path]
# Whether each verb refuses the whole study, exit code 2; where it does not, whether it shows the sentence.
REFUSED, TOLD, UNTOUCHED = "refused", "told", "untouched"
KINDS: dict[str, tuple[Change, dict[str, str]]] = {
    "status": (change_status, {"start": REFUSED, "plan": REFUSED, "status": TOLD, "report": TOLD}),
    "result": (change_result, {"start": REFUSED, "plan": REFUSED, "status": TOLD, "report": TOLD}),
    "predictions": (change_predictions, {"start": REFUSED, "plan": REFUSED, "status": UNTOUCHED, "report": TOLD}),
    "plan": (change_plan, {"start": REFUSED, "plan": UNTOUCHED, "status": REFUSED, "report": REFUSED}),
    "jobs": (change_jobs, {"start": UNTOUCHED, "plan": UNTOUCHED, "status": TOLD, "report": UNTOUCHED}),
    "store": (change_store, {"start": REFUSED, "plan": REFUSED, "status": UNTOUCHED, "report": UNTOUCHED}),
}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("finished")


@pytest.fixture
def study(main: Main, finished: Path) -> str:
    """A finished study of two runs in the current folder, as it was made once; its name."""
    if not (finished / "runs").is_dir():
        assert main(*GRID) == 0
        shutil.copytree("runs", finished / "runs")
    else:
        shutil.copytree(finished / "runs", "runs")
    return the_study().name


def contents() -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in Path("runs").rglob("*") if path.is_file() and path.name != ".lock"}


@pytest.mark.slow
@pytest.mark.parametrize("version", [0, 99])
@pytest.mark.parametrize("kind", KINDS)
def test_no_verb_misreads_or_changes_a_file_of_another_version(
    main: Main, study: str, capsys: pytest.CaptureFixture[str], kind: str, version: int
) -> None:
    changed, expected = KINDS[kind]
    path = changed(version)
    sentence = f"{path}: format {version} of a "
    before = contents()
    arguments = {"start": GRID, "plan": ("plan", *GRID), "status": ("status", "--once"), "report": ("report", study)}
    for verb, does in expected.items():
        capsys.readouterr()
        assert main(*arguments[verb]) == (2 if does == REFUSED else 0), verb
        told = capsys.readouterr()
        if does == REFUSED:
            assert told.err.count("\n") == 1 and sentence in told.err, verb
        else:
            assert (sentence in told.out) == (does == TOLD), verb
    assert main("clean", "--yes") == 0
    note = "written by another version of alexnet-sweep" in capsys.readouterr().out
    assert note == (kind in ("status", "result"))
    after = contents()
    assert {name for name in before if after.get(name) != before[name] and "_studies" not in name} == set()
    assert (
        after[str(path / "meta.json" if path.is_dir() else path)]
        == before[str(path / "meta.json" if path.is_dir() else path)]
    )


def test_a_run_of_before_the_version_was_noted_everywhere_is_read(main: Main, study: str) -> None:
    folder = first_run()
    status = json.loads(folder.status.read_text())
    del status["format"]
    folder.status.write_text(json.dumps(status))
    pq.write_table(pq.read_table(folder.predictions).replace_schema_metadata({}), folder.predictions)
    assert folder.read_status() == status
    result = json.loads(folder.result.read_text())
    folder.result.write_text(json.dumps({key: result[key] for key in result if key not in ("files", "digest")}))
    older = folder.read_result()
    assert older is not None
    folder.check_files(older)
    assert len(folder.read_predictions(["image"])) > 0


def test_a_checkpoint_of_another_version_is_set_aside_whole(main: Main, study: str) -> None:
    folder = first_run()
    folder.result.unlink()
    change(folder.status, state="interrupted")
    stream = io.BytesIO()
    torch.save({"format": 99, "trainer": {"anything": 1}, "history": {}}, stream)
    checkpoint = stream.getvalue() + MARK + hashlib.sha256(stream.getvalue()).digest()
    folder.checkpoint.write_bytes(checkpoint)
    assert main(*GRID) == 0
    assert folder.read_result() is not None
    assert (folder.path / "set_aside-1" / folder.checkpoint.name).read_bytes() == checkpoint
    assert "format 99 of a run folder, written by a newer version" in folder.log.read_text()
