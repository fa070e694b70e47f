"""A study for TensorBoard: the HPARAMS table of its runs, forest plot and kernels, in `reports/<study>/tensorboard/`.

Written with TensorBoard's own messages, without torch: torch's `add_hparams` puts each call into a sub-run named by the
time, and leaves it to chance whether all runs have the same columns. Here the columns are named once, at the root, and
each run is one session in a folder of its own. The same run folders give the same bytes.
"""

import contextlib
import math
import os
import struct
import tempfile
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pandas as pd

from alexnet_sweep import failpoints
from alexnet_sweep.aggregate import RunRecord
from alexnet_sweep.errors import OtherFormat
from alexnet_sweep.findings import Findings
from alexnet_sweep.report.document import Figure
from alexnet_sweep.store import DONE, FAILED, RUNNING, RunFolder

FOLDER = "tensorboard"
FILE = "events.out.tfevents.0.report"  # one a folder; TensorBoard knows such files by `tfevents`
SEED = "seed"


@dataclass(frozen=True)
class Metric:
    """A column of the table: its tag, its title, and where its figure stands in the tidy frame."""

    tag: str
    title: str
    split: str
    view: str
    column: str
    scale: float = 100.0  # errors in %


METRICS = (
    Metric("test/top1_averaged", "Top-1 test error in %, averaged views", "test", "ten", "top1_error"),
    Metric("test/top5_averaged", "Top-5 test error in %, averaged views", "test", "ten", "top5_error"),
    Metric("test/top1_centre", "Top-1 test error in %, centre view", "test", "centre", "top1_error"),
    Metric("test/top5_centre", "Top-5 test error in %, centre view", "test", "centre", "top5_error"),
    Metric("train/top1_clean", "Clean training error in %", "train", "centre", "top1_error"),
    Metric("steps_to_threshold", "Steps to threshold", "test", "centre", "steps_to_threshold", 1.0),
)


def write_board(findings: Findings, folder: Path, images: Sequence[tuple[Figure, Path]]) -> None:
    """Write the folder `tensorboard` anew, whole or not at all; `images` are figures with their PNGs."""
    folder.mkdir(parents=True, exist_ok=True)
    files = _files(findings, [(figure, png.read_bytes()) for figure, png in images])
    with tempfile.TemporaryDirectory(prefix=f".{FOLDER}.", dir=folder) as beside:
        new = Path(beside) / "new"
        for path, content in files.items():
            (new / path).parent.mkdir(parents=True, exist_ok=True)
            (new / path).write_bytes(content)
        failpoints.pass_by("report.board")
        _take_place(new, folder / FOLDER, Path(beside))


def _take_place(new: Path, place: Path, beside: Path) -> None:
    """Folders cannot be exchanged at once: the old one is moved away, to go with what is beside."""
    for attempt in range(100):
        with contextlib.suppress(FileNotFoundError):
            place.replace(beside / f"old-{attempt}")
        try:
            new.replace(place)
            return
        except OSError:  # another process has written the same report in between
            if not os.path.lexists(place):
                raise
    raise OSError(f"{place}: taken again and again; is another report of this study being written all the time?")


def _files(findings: Findings, images: Sequence[tuple[Figure, bytes]]) -> dict[Path, bytes]:
    """The content of every file by its path below the folder."""
    evidence = findings.evidence
    times = {record.run_id: _times(evidence.runs, record) for record in evidence.records}
    latest = max((end for _, end in times.values()), default=0.0)
    figures = _figures(findings.results)
    metrics = [metric for metric in METRICS if any(metric.tag in own for own in figures.values())] or METRICS
    levels = {arm["arm_id"]: arm["levels"] for arm in evidence.plan["arms"]}
    keys = [key for key in evidence.plan["keys"] if key != SEED]
    kinds = {key: _numbers(own[key] for own in levels.values()) for key in keys}
    columns: dict[str, list[float | str]] = {
        key: [_value(own[key], kinds[key]) for own in levels.values()] for key in keys
    }
    columns[SEED] = [str(seed) for seed in sorted({record.seed for record in evidence.records})]
    with warnings.catch_warnings():  # of protobuf, say, whose version is not TensorBoard's
        warnings.simplefilter("ignore")
        writer = _Writer()
    root = [writer.experiment(columns, metrics, latest)]
    root += [writer.image(figure.name, png, figure.words) for figure, png in images]
    files = {Path(FILE): writer.file(root, latest)}
    for record in evidence.records:
        start, end = times[record.run_id]
        own = {key: _value(levels[record.arm_id][key], kinds[key]) for key in keys} | {SEED: str(record.seed)}
        values = [writer.started(record.run_id, own, start)]
        for metric in metrics:
            if metric.tag in figures.get(record.run_id, {}):
                values.append(writer.scalar(metric.tag, figures[record.run_id][metric.tag]))
        values.append(writer.ended(record.state, end))
        files[Path(_name(record.run_id), FILE)] = writer.file(values, end)
    return files


def _name(run_id: str) -> str:
    """A run_id as a folder's name: a plan from elsewhere may hold what leads out of the folder."""
    return quote(run_id, safe="").replace(".", "%2E") or "%"


def _times(runs: Path, record: RunRecord) -> tuple[float, float]:
    """When a run was last started, and last heard of; zeros where it never was, or another version has written it."""
    try:
        status = RunFolder(runs / record.run_id).read_status()
    except OtherFormat:
        return 0.0, 0.0
    start, end = (_number(status.get(key)) for key in ("started", "heartbeat"))
    return start, end


def _number(value: Any) -> float:
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else 0.0


def _figures(results: pd.DataFrame) -> dict[str, dict[str, float]]:
    """Each finished run's metrics by their tags; a figure that a run lacks is left out."""
    found: dict[str, dict[str, float]] = {}
    for row in results.to_dict("records"):
        for metric in METRICS:
            if (row["split"], row["view"]) == (metric.split, metric.view) and not pd.isna(row[metric.column]):
                found.setdefault(str(row["run_id"]), {})[metric.tag] = metric.scale * float(row[metric.column])
    return found


def _numbers(levels: Iterable[Any]) -> bool:
    """Whether all levels of a factor are numbers, so that it has an axis of its own."""
    try:
        return all(math.isfinite(float(level)) for level in levels)
    except (TypeError, ValueError):
        return False


def _value(level: Any, number: bool) -> float | str:
    return float(level) if number else str(level)


class _Writer:
    """Events as TensorBoard reads them. Making one imports the package, which takes a while."""

    def __init__(self) -> None:
        from tensorboard.compat.proto import event_pb2, summary_pb2, tensor_pb2, types_pb2
        from tensorboard.plugins.hparams import api_pb2, metadata, plugin_data_pb2
        from tensorboard.plugins.image import metadata as image_metadata
        from tensorboard.plugins.scalar import metadata as scalar_metadata
        from tensorboard.summary.writer import record_writer

        self._events, self._summaries, self._tensors, self._types = event_pb2, summary_pb2, tensor_pb2, types_pb2
        self._api, self._hparams, self._plugin_data = api_pb2, metadata, plugin_data_pb2
        self._image, self._scalar, self._records = image_metadata, scalar_metadata, record_writer

    def experiment(self, columns: Mapping[str, Sequence[float | str]], metrics: Sequence[Metric], time: float) -> Any:
        """Which columns the table has, for all runs: hyper-parameters with their values, and metrics."""
        experiment = self._api.Experiment(time_created_secs=time)
        for key, values in columns.items():
            different = list(dict.fromkeys(values))
            info = experiment.hparam_infos.add(name=key, differs=len(different) > 1)
            numbers = [value for value in different if isinstance(value, float)]
            if numbers:
                info.type = self._api.DATA_TYPE_FLOAT64
                info.domain_interval.min_value, info.domain_interval.max_value = min(numbers), max(numbers)
            else:
                info.type = self._api.DATA_TYPE_STRING
                info.domain_discrete.extend(different)
        for metric in metrics:
            name = self._api.MetricName(tag=metric.tag)
            experiment.metric_infos.add(name=name, display_name=metric.title)
        return self._of_hparams(self._hparams.EXPERIMENT_TAG, experiment=experiment)

    def started(self, run_id: str, values: Mapping[str, float | str], time: float) -> Any:
        """One session, a group of its own, with its hyper-parameters."""
        info = self._plugin_data.SessionStartInfo(group_name=run_id, start_time_secs=time)
        for key, value in values.items():
            if isinstance(value, str):
                info.hparams[key].string_value = value
            else:
                info.hparams[key].number_value = value
        return self._of_hparams(self._hparams.SESSION_START_INFO_TAG, session_start_info=info)

    def ended(self, state: str, time: float) -> Any:
        """How a session stands: a run that was never started, or was interrupted, is of unknown status."""
        word = {DONE: "SUCCESS", FAILED: "FAILURE", RUNNING: "RUNNING"}.get(state, "UNKNOWN")
        status = self._api.Status.Value(f"STATUS_{word}")
        info = self._plugin_data.SessionEndInfo(status=status, end_time_secs=time)
        return self._of_hparams(self._hparams.SESSION_END_INFO_TAG, session_end_info=info)

    def scalar(self, tag: str, value: float) -> Any:
        """A single figure."""
        metadata = self._scalar.create_summary_metadata(display_name=None, description=None)
        tensor = self._tensors.TensorProto(dtype=self._types.DT_FLOAT, tensor_shape={}, float_val=[value])
        return self._summaries.Summary.Value(tag=tag, metadata=metadata, tensor=tensor)

    def image(self, tag: str, png: bytes, description: str) -> Any:
        """A PNG as it is; its first chunk holds width and height."""
        width, height = struct.unpack(">II", png[16:24])
        metadata = self._image.create_summary_metadata(display_name=None, description=description)
        tensor = self._tensors.TensorProto(
            dtype=self._types.DT_STRING,
            tensor_shape={"dim": [{"size": 3}]},
            string_val=[str(width).encode(), str(height).encode(), png],
        )
        return self._summaries.Summary.Value(tag=tag, metadata=metadata, tensor=tensor)

    def file(self, values: Sequence[Any], time: float) -> bytes:
        """The bytes of a file of events, all of them of step 0 and of this time."""
        stream = _Kept()
        records = self._records.RecordWriter(stream)
        for event in (
            self._events.Event(wall_time=time, file_version="brain.Event:2"),
            *(self._events.Event(wall_time=time, summary={"value": [value]}) for value in values),
        ):
            records.write(event.SerializeToString(deterministic=True))
        return bytes(stream.content)

    def _of_hparams(self, tag: str, **content: Any) -> Any:
        """Hyper-parameters stand in the metadata; TensorBoard's own function for it shuffles their keys."""
        data = self._plugin_data.HParamsPluginData(version=self._hparams.PLUGIN_DATA_VERSION, **content)
        plugin = self._summaries.SummaryMetadata.PluginData(
            plugin_name=self._hparams.PLUGIN_NAME, content=data.SerializeToString(deterministic=True)
        )
        metadata = self._summaries.SummaryMetadata(plugin_data=plugin)
        return self._summaries.Summary.Value(tag=tag, metadata=metadata, tensor=self._hparams.NULL_TENSOR)


class _Kept:
    """What is written, in memory."""

    def __init__(self) -> None:
        self.content = bytearray()

    def write(self, data: bytes) -> None:
        self.content += data
