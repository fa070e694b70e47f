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


def test_a_plan_with_any_bit_flipped_or_cut_short_is_refused_or_the_same(tmp_path):
    study = study_folder(tmp_path, "lrn-1")
    study.write_plan({"name": "größe \ud800", "runs": [{"run_id": RUN, "seed": 0, "share": 0.25}], "claims": None})
    content, plan = study.plan.read_bytes(), study.read_plan()
    for place in range(len(content)):
        for bit in range(8):
            damaged = bytearray(content)
            damaged[place] ^= 1 << bit
            refused_or_the_same(study, bytes(damaged), plan)
        if content[place:].strip():
            study.plan.write_bytes(content[:place])
            with pytest.raises(FolderError, match=r"plan\.json: "):
                study.read_plan()


def refused_or_the_same(study, content, plan):
    study.plan.write_bytes(content)
    try:
        assert study.read_plan() == plan
    except FolderError as error:
        assert "plan.json: " in str(error)


def test_a_plan_of_the_first_version_had_no_digest_and_is_read(tmp_path):
    study = study_folder(tmp_path, "lrn-1")
    study.path.mkdir(parents=True)
    study.plan.write_text('{"format": 1, "name": "lrn-1"}')
    assert study.read_plan() == {"format": 1, "name": "lrn-1"}
    study.plan.write_text('{"format": 2, "name": "lrn-1"}')
    with pytest.raises(FolderError, match=r"plan\.json: damaged, .*start the sweep again to mend it"):
        study.read_plan()
