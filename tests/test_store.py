"""Files of a run: read back as written; what is damaged, missing or of another run is refused with its path."""

import csv
import json

import pyarrow as pa
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from alexnet_sweep import formats
from alexnet_sweep.errors import FolderError
from alexnet_sweep.store import RunFolder
from hand_made import errors_of

RUN = "0123456789ab"


@pytest.fixture
def folder(tmp_path):
    return RunFolder(tmp_path / "runs" / RUN)


# --- writing and reading back ---


def test_every_file_lies_in_the_run_folder_under_its_own_name(folder):
    files = [folder.config, folder.status, folder.metrics, folder.predictions, folder.result, folder.provenance]
    files += [folder.checkpoint, folder.weights, folder.log, folder.failure]
    assert {file.parent for file in files} == {folder.path}
    assert len({file.name for file in files}) == len(files)


finite = st.floats(allow_nan=False)


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(values=st.lists(st.tuples(finite, finite), min_size=1, max_size=5))
def test_metrics_read_back_are_the_same_floats(folder, values):
    rows = [{"epoch": n, "train_loss": a, "learning_rate": b} for n, (a, b) in enumerate(values)]
    folder.write_metrics(rows)
    with folder.metrics.open(newline="") as stream:
        read = [{key: float(value) for key, value in row.items()} for row in csv.DictReader(stream)]
    assert read == rows


def test_metrics_keep_the_order_of_their_columns(folder):
    folder.write_metrics([{"epoch": 1, "train_loss": 0.5, "heldout_top1_error": None}])
    assert folder.metrics.read_text() == "epoch,train_loss,heldout_top1_error\n1,0.5,\n"


def test_config_read_back_is_what_was_written(folder):
    config = {"seed": 0, "data": {"path": None, "name": "digits"}, "init": {"conv_std": [0.01, 1e-5]}, "lrn": "on"}
    folder.write_config(config)
    read = yaml.safe_load(folder.config.read_text())
    assert read == config and list(read) == list(config)


def test_predictions_read_back_are_what_was_written(folder):
    table = pa.table({"image_id": ["a", "b"], "rank": pa.array([0, 3], pa.int16()), "probability": [0.25, 1e-7]})
    folder.write_predictions(table)
    assert folder.read_predictions(["image_id", "rank", "probability"]).equals(table)


def test_predictions_are_read_by_column(folder):
    folder.write_predictions(pa.table({"image_id": ["a"], "rank": [1]}))
    assert folder.read_predictions(["rank"]).column_names == ["rank"]


def test_the_same_predictions_are_the_same_bytes(folder):
    table = pa.table({"image_id": ["a", "b"], "rank": [1, 2]})
    folder.write_predictions(table)
    first = folder.predictions.read_bytes()
    folder.write_predictions(table)
    assert folder.predictions.read_bytes() == first


def test_a_result_read_back_is_what_was_written(folder):
    result = {"errors": {"test": {"top1_error": 1 / 3}}, "epochs": 90}
    folder.write_result(result)
    assert folder.read_result() == {"format": formats.RUN.written, "run_id": RUN, "files": {}, **result}


def test_a_run_that_is_not_done_has_no_result(folder):
    assert folder.read_result() is None


def test_provenance_read_back_is_what_was_written(folder):
    folder.write_provenance({"device": "cpu"})
    assert folder.read_provenance() == {"device": "cpu"}


def test_provenance_that_is_not_there_is_empty(folder):
    assert folder.read_provenance() == {}


def test_clearing_leaves_the_log_and_no_record(folder):
    folder.write_result({})
    folder.write_metrics([{"epoch": 1}])
    folder.write_provenance({})
    for file in (folder.checkpoint, folder.weights, folder.predictions, folder.failure, folder.log):
        file.write_bytes(b"x")
    folder.clear()
    assert [file.name for file in folder.path.iterdir()] == [folder.log.name]


def test_clearing_a_run_that_never_started_does_nothing(folder):
    folder.clear()
    assert not folder.path.exists()


# --- what cannot be trusted ---


def test_a_result_of_another_run_is_refused(folder):
    folder.write_result({})
    folder.result.write_text(json.dumps(json.loads(folder.result.read_text()) | {"run_id": "another"}))
    with pytest.raises(FolderError, match=r"result\.json: of run another; expected run 0123.* Move the folder"):
        folder.read_result()


@pytest.mark.parametrize("text", ["", '{"format": 1', "[]", "null", "\ufffd"], ids=repr)
def test_a_damaged_result_is_refused_with_its_path(folder, text):
    folder.path.mkdir(parents=True)
    folder.result.write_text(text)
    with pytest.raises(FolderError) as caught:
        folder.read_result()
    assert str(caught.value).startswith(f"{folder.result}: not ") and "move its folder away" in str(caught.value)


def test_a_result_of_bytes_that_are_no_text_is_refused_with_its_path(folder):
    folder.path.mkdir(parents=True)
    folder.result.write_bytes(b"\xff\xfe\x00{")
    with pytest.raises(FolderError, match=r"result\.json: not valid JSON"):
        folder.read_result()


def test_predictions_that_are_not_there_are_refused_with_their_path(folder):
    with pytest.raises(FolderError, match=r"predictions\.parquet: cannot be read"):
        folder.read_predictions(["rank"])


def test_damaged_predictions_are_refused_with_their_path(folder):
    folder.write_predictions(pa.table({"rank": [1, 2, 3]}))
    folder.predictions.write_bytes(folder.predictions.read_bytes()[:-9])
    with pytest.raises(FolderError, match=r"predictions\.parquet: cannot be read"):
        folder.read_predictions(["rank"])


@pytest.mark.parametrize(
    "change", [{"epochs": 91}, {"errors": {}}, {"digest": None}, {"files": {"metrics.csv": [0, ""]}}]
)
def test_a_result_that_says_something_else_is_refused(folder, change):
    folder.write_result({"epochs": 90})
    result = json.loads(folder.result.read_text()) | change
    folder.result.write_text(json.dumps({key: value for key, value in result.items() if value is not None}))
    with pytest.raises(FolderError, match=r"result\.json: damaged, its digest is another"):
        folder.read_result()


def test_a_result_of_an_earlier_version_has_no_digests_and_is_read(folder):
    folder.write_predictions(pa.table({"image": ["a"]}))
    old = {"format": formats.RUN.written, "run_id": RUN, "errors": errors_of(1)}
    folder.result.write_text(json.dumps(old))
    assert folder.read_result() == old
    folder.check_files(old)
