"""A study as TensorBoard shows it, read back with TensorBoard's own code."""

import shutil
import struct
import subprocess
import sys
import warnings
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from tensorboard.backend.event_processing.data_provider import MultiplexerDataProvider
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.backend.event_processing.plugin_event_multiplexer import EventMultiplexer
from tensorboard.context import RequestContext
from tensorboard.plugins.base_plugin import TBContext
from tensorboard.plugins.hparams import api_pb2, list_session_groups
from tensorboard.plugins.hparams.backend_context import Context

from alexnet_sweep.findings import find
from alexnet_sweep.report import board
from alexnet_sweep.report.board import FILE, FOLDER, write_board
from alexnet_sweep.report.document import Figure
from alexnet_sweep.study_folder import study_folder
from test_compare import LRN, POOL, make_study

STATES = ("STATUS_SUCCESS", "STATUS_FAILURE", "STATUS_RUNNING", "STATUS_UNKNOWN")


def png(width: int = 7, height: int = 5) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = b"".join(b"\0" + bytes(width) for _ in range(height))
    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    return tmp_path / "runs"


@pytest.fixture
def reports(tmp_path: Path) -> Path:
    return tmp_path / "reports" / "one"


def written(runs: Path, reports: Path, *figures: Path) -> Path:
    write_board(find("one", runs), reports, [(Figure(figure.stem, "what is seen"), figure) for figure in figures])
    return reports / FOLDER


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


class Shown:
    """What TensorBoard's HPARAMS tab gets to show of a folder."""

    def __init__(self, folder: Path) -> None:
        multiplexer = EventMultiplexer().AddRunsFromDirectory(str(folder))
        multiplexer.Reload()
        self.runs: Mapping[str, Any] = multiplexer.Runs()
        provider = MultiplexerDataProvider(multiplexer, str(folder))
        backend, request = Context(TBContext(data_provider=provider)), RequestContext()
        metadata = backend.hparams_metadata(request, "")
        nothing = backend.hparams_from_data_provider(request, "", 0)
        self.experiment = backend.experiment_from_metadata(request, "", True, metadata, nothing)
        wanted = [api_pb2.Status.Value(state) for state in STATES]
        asked = api_pb2.ListSessionGroupsRequest(slice_size=1000, allowed_statuses=wanted)
        groups = list_session_groups.Handler(request, backend, "", asked).run().session_groups
        self.groups = {group.name: group for group in groups}

    def hparams(self) -> dict[str, dict[str, Any]]:
        return {
            name: {key: getattr(value, value.WhichOneof("kind")) for key, value in group.hparams.items()}
            for name, group in self.groups.items()
        }

    def metrics(self) -> dict[str, dict[str, float]]:
        return {
            name: {value.name.tag: value.value for value in group.metric_values} for name, group in self.groups.items()
        }


def test_all_runs_have_the_same_columns_and_their_own_values(runs: Path, reports: Path) -> None:
    make_study(runs, states={8: "failed", 7: "running", 6: "interrupted"})
    shown = Shown(written(runs, reports))
    assert [info.name for info in shown.experiment.hparam_infos] == [LRN, POOL, "seed"]
    assert all(info.differs for info in shown.experiment.hparam_infos)
    assert list(shown.experiment.hparam_infos[1].domain_discrete) == ["overlap", "plain"]
    hparams = shown.hparams()
    assert list(hparams) == [f"a{number:011x}" for number in range(9)]
    assert {frozenset(own) for own in hparams.values()} == {frozenset((LRN, POOL, "seed"))}
    assert hparams["a00000000004"] == {LRN: "off", POOL: "overlap", "seed": "1"}
    metrics = shown.metrics()
    tags = {info.name.tag: info.display_name for info in shown.experiment.metric_infos}
    assert tags["test/top1_averaged"] == "Top-1 test error in %, averaged views" and len(tags) == 6
    assert metrics["a00000000004"] == pytest.approx(
        {"test/top1_averaged": 20.25, "test/top1_centre": 20.25, "test/top5_averaged": 0, "test/top5_centre": 0}
        | {"train/top1_clean": 10, "steps_to_threshold": 181}
    )
    assert set(tags) - set(metrics["a00000000003"]) == {"steps_to_threshold"}, "never reached: no figure"
    assert metrics["a00000000008"] == {}


def test_each_run_is_one_session_with_its_state_and_times(runs: Path, reports: Path) -> None:
    make_study(runs, states={8: "failed", 7: "running", 6: "interrupted", 5: "missing"})
    groups = Shown(written(runs, reports)).groups
    sessions = {name: group.sessions for name, group in groups.items()}
    assert all([session.name for session in own] == [name] for name, own in sessions.items())
    states = [api_pb2.Status.Name(own[0].status).removeprefix("STATUS_") for own in sessions.values()]
    assert states == [*["SUCCESS"] * 5, "UNKNOWN", "UNKNOWN", "RUNNING", "FAILURE"]
    third = sessions["a00000000002"][0]
    assert (third.start_time_secs, third.end_time_secs) == (102.0, 202.0)


def test_a_factor_of_numbers_is_a_number(runs: Path, reports: Path) -> None:
    arms = {
        "a": {"optim.learning_rate": "0.1"},
        "b": {"optim.learning_rate": "1e-2"},
        "c": {"optim.learning_rate": "2"},
    }
    make_study(runs, arms=arms)
    shown = Shown(written(runs, reports))
    (info, _) = shown.experiment.hparam_infos
    assert info.type == api_pb2.DATA_TYPE_FLOAT64
    assert (info.domain_interval.min_value, info.domain_interval.max_value) == (0.01, 2.0)
    assert shown.hparams()["a00000000003"]["optim.learning_rate"] == 0.01


@pytest.mark.parametrize("level", ["nan", "inf", "", "0.1x"])
def test_a_factor_with_a_word_among_numbers_is_words(runs: Path, reports: Path, level: str) -> None:
    make_study(runs, arms={"a": {"x": "0.1"}, "b": {"x": level}}, wrong=(40, 50), seeds=(0,))
    assert [own["x"] for own in Shown(written(runs, reports)).hparams().values()] == ["0.1", level]


def test_a_study_without_a_finished_run_has_its_columns(runs: Path, reports: Path) -> None:
    make_study(runs, states=dict.fromkeys(range(9), "missing"))
    shown = Shown(written(runs, reports))
    assert len(shown.groups) == 9 and len(shown.experiment.metric_infos) == 6


def test_a_metric_that_no_run_has_is_no_column(runs: Path, reports: Path) -> None:
    make_study(runs, wrong=(40, 50, 60), seeds=(0,))  # even: the threshold is never reached
    tags = [info.name.tag for info in Shown(written(runs, reports)).experiment.metric_infos]
    assert len(tags) == 5 and "steps_to_threshold" not in tags


def test_figures_are_images_at_the_root(runs: Path, reports: Path, tmp_path: Path) -> None:
    make_study(runs)
    figures = {"forest": png(), "kernels": png(3, 9)}
    for name, content in figures.items():
        (tmp_path / f"{name}.png").write_bytes(content)
    events = EventAccumulator(str(written(runs, reports, *(tmp_path / f"{name}.png" for name in figures))))
    events.Reload()
    assert events.Tags()["tensors"] == ["_hparams_/experiment", "forest", "kernels"]
    for (name, content), size in zip(figures.items(), ([b"7", b"5"], [b"3", b"9"]), strict=True):
        (event,) = events.Tensors(name)
        assert list(event.tensor_proto.string_val) == [*size, content]
        assert events.SummaryMetadata(name).plugin_data.plugin_name == "images"
        assert events.SummaryMetadata(name).summary_description == "what is seen"


def test_the_same_folders_give_the_same_bytes_and_no_pile_of_files(runs: Path, reports: Path, tmp_path: Path) -> None:
    make_study(runs)
    figure = tmp_path / "forest.png"
    figure.write_bytes(png())
    folder = written(runs, reports, figure)
    before = contents(folder)
    assert set(before) == {FILE, *(f"a{number:011x}/{FILE}" for number in range(9))}
    code = f"""if True:
        from pathlib import Path
        from alexnet_sweep.findings import find
        from alexnet_sweep.report.board import write_board
        from alexnet_sweep.report.document import Figure
        images = [(Figure("forest", "what is seen"), Path({str(figure)!r}))]
        write_board(find("one", Path({str(runs)!r})), Path({str(tmp_path / "other")!r}), images)
        import sys
        print(*sys.modules)"""
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True)
    assert contents(tmp_path / "other" / FOLDER) == before and done.stderr == ""
    assert not {"torch", "tensorflow"} & set(done.stdout.split())
    (folder / "events.out.tfevents.of_somebody").write_bytes(b"x")
    (folder / "old").mkdir()
    written(runs, reports, figure)
    assert contents(folder) == before and [path.name for path in reports.iterdir()] == [FOLDER]


@pytest.mark.parametrize("kind", ["file", "link", "empty folder"])
def test_whatever_is_in_its_place_goes(runs: Path, reports: Path, tmp_path: Path, kind: str) -> None:
    make_study(runs, seeds=(0,))
    kept = tmp_path / "kept"
    kept.mkdir()
    (kept / "mine").write_text("x")
    reports.mkdir(parents=True)
    place = reports / FOLDER
    if kind == "file":
        place.write_text("x")
    elif kind == "link":
        place.symlink_to(kept)
    else:
        place.mkdir()
    assert len(contents(written(runs, reports))) == 4
    assert not place.is_symlink() and (kept / "mine").read_text() == "x"


def test_a_failure_leaves_what_was_there(
    runs: Path, reports: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    make_study(runs, seeds=(0,))
    before = contents(written(runs, reports))

    def full(self: Path, data: bytes) -> int:
        raise OSError("no space left on device")

    with monkeypatch.context() as patched, pytest.raises(OSError, match="no space"):
        patched.setattr(Path, "write_bytes", full)
        written(runs, reports)
    assert contents(reports / FOLDER) == before and [path.name for path in reports.iterdir()] == [FOLDER]


def test_two_that_write_at_the_same_time_leave_one_whole_folder(
    runs: Path, reports: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_study(runs, seeds=(0,))
    place, replace = reports / FOLDER, Path.replace
    before, met = contents(written(runs, reports)), []

    def met_by_another(self: Path, target: Path) -> Path:
        moved = replace(self, target)
        if self == place and not met:  # just now the place is free
            met.append(shutil.copytree(target, place))
        return moved

    monkeypatch.setattr(Path, "replace", met_by_another)
    assert contents(written(runs, reports)) == before and met
    assert [path.name for path in reports.iterdir()] == [FOLDER]


@pytest.mark.parametrize("name", ["../../out", "..", ".", "/tmp/out", "a b|<script>", "ä\n", "%", ""])
def test_no_name_leads_out_of_the_folder(name: str) -> None:
    made = Path(board._name(name))
    assert len(made.parts) == 1 and not made.is_absolute() and made.name not in ("", ".", "..")


def test_names_and_levels_may_hold_anything(runs: Path, reports: Path, tmp_path: Path) -> None:
    hostile = "<b>|`#\n\x1b[2J é 日本 'x' \\"
    arms = {hostile: {f"{hostile}/x": "on", "seed": "5"}, "b": {f"{hostile}/x": hostile, "seed": "5"}}
    make_study(runs, arms=arms, wrong=(40, 50))
    plan = study_folder(runs, "one").read_plan()
    names = ("a b|<script>", "=1+1", "\\..\\out", "é 日本")
    plan["runs"] += [plan["runs"][0] | {"run_id": name, "seed": 9} for name in names]
    study_folder(runs, "one").write_plan(plan)
    before = {path for path in tmp_path.rglob("*") if reports not in path.parents}
    shown = Shown(written(runs, reports))
    hparams = shown.hparams()
    assert set(names) < set(hparams) and len(hparams) == 10
    assert {frozenset(own) for own in hparams.values()} == {frozenset((f"{hostile}/x", "seed"))}
    assert {own[f"{hostile}/x"] for own in hparams.values()} == {"on", hostile}
    assert {own["seed"] for own in hparams.values()} == {"0", "1", "2", "9"}
    assert {path for path in tmp_path.rglob("*") if reports not in path.parents} - before == {reports.parent, reports}


def test_nothing_is_imported_before_it_is_needed_and_no_warning_escapes(
    runs: Path, reports: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = "import sys, alexnet_sweep.report.board; print('tensorboard' in sys.modules, 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]
    make_study(runs, seeds=(0,))
    made = board._Writer.__init__

    def noisy(self: Any) -> None:
        warnings.warn("an older protobuf", UserWarning, stacklevel=1)
        made(self)

    monkeypatch.setattr(board._Writer, "__init__", noisy)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        written(runs, reports)
    assert not caught
