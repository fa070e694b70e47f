import json
import os
import stat
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from alexnet_sweep.files import whole_file, write_json, write_text

plain_values = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8)
json_values = st.recursive(
    plain_values,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


def broken_write(path: Path, error: BaseException) -> None:
    with whole_file(path) as stream:
        stream.write(b"half of the ne")
        raise error


def test_a_file_appears_with_what_was_written(tmp_path):
    with whole_file(tmp_path / "result.json") as stream:
        stream.write(b"whole")
    assert (tmp_path / "result.json").read_bytes() == b"whole"


def test_a_file_is_not_seen_before_its_block_ends(tmp_path):
    with whole_file(tmp_path / "result.json") as stream:
        stream.write(b"whole")
        stream.flush()
        assert not (tmp_path / "result.json").exists()


def test_the_parent_folder_is_made(tmp_path):
    write_text(tmp_path / "a" / "b" / "text.txt", "x")
    assert (tmp_path / "a" / "b" / "text.txt").read_text() == "x"


def test_text_is_written_as_utf8(tmp_path):
    write_text(tmp_path / "text.txt", "ε · ∂L/∂w")
    assert (tmp_path / "text.txt").read_bytes() == "ε · ∂L/∂w".encode()


@pytest.mark.parametrize("error", [ValueError("no"), KeyboardInterrupt()], ids=["error", "interrupt"])
def test_a_block_that_raises_leaves_the_old_content(tmp_path, error):
    write_text(tmp_path / "status.json", "old")
    with pytest.raises(type(error)):
        broken_write(tmp_path / "status.json", error)
    assert (tmp_path / "status.json").read_text() == "old"


def test_a_block_that_raises_leaves_no_file_where_there_was_none(tmp_path):
    with pytest.raises(ValueError):
        broken_write(tmp_path / "status.json", ValueError("no"))
    assert list(tmp_path.iterdir()) == []


def test_replacing_a_file_leaves_nothing_beside_it(tmp_path):
    for text in ("old", "new"):
        write_text(tmp_path / "status.json", text)
    assert [path.name for path in tmp_path.iterdir()] == ["status.json"]


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o027, 0o640), (0o077, 0o600)])
def test_permissions_are_those_the_umask_grants(tmp_path, umask, mode):
    before = os.umask(umask)
    try:
        write_text(tmp_path / "shared.txt", "x")
        assert os.umask(umask) == umask  # asking for the mask has not changed it
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "shared.txt").stat().st_mode) == mode


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(value=json_values)
def test_json_read_back_is_what_was_written(tmp_path, value):
    write_json(tmp_path / "value.json", value)
    assert json.loads((tmp_path / "value.json").read_text()) == value
