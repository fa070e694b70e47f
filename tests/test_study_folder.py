"""Plans are read back as they were written; an unknown study is refused with those that there are."""

import pytest

from alexnet_sweep import formats
from alexnet_sweep.errors import FolderError
from alexnet_sweep.study_folder import study_folder

RUN = "0123456789ab"


def test_a_plan_read_back_is_what_was_written(tmp_path):
    plan = {"name": "lrn-1a2b3c4d", "runs": [{"run_id": RUN, "seed": 0}]}
    study = study_folder(tmp_path, "lrn-1a2b3c4d")
    study.write_plan(plan)
    assert study.read_plan() == {"format": formats.PLAN.written, **plan}
    assert study.plan == tmp_path / "_studies" / "lrn-1a2b3c4d" / "plan.json"


def test_an_unknown_study_is_refused_with_the_known_ones(tmp_path):
    for name in ("pool-2", "lrn-1"):
        study_folder(tmp_path, name).write_plan({})
    with pytest.raises(FolderError, match=r"lrn-2: no study of that name; have: lrn-1, pool-2$"):
        study_folder(tmp_path, "lrn-2").read_plan()


def test_a_study_is_refused_where_there_are_none_yet(tmp_path):
    with pytest.raises(FolderError, match="have: none yet"):
        study_folder(tmp_path / "nowhere", "lrn-1").read_plan()
