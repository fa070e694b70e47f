"""Local Parquet files are read where they lie, with what `datasets` itself would give."""

import gc
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from alexnet_sweep.config import DataConfig
from alexnet_sweep.data.opening import open_source
from alexnet_sweep.data.parquet import Rows
from alexnet_sweep.data.source import Encoded, Source, Split
from alexnet_sweep.errors import DataError
from conftest import Compose

COUNT = 23


def content(number: int) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (6, 5), (number, 0, 0)).save(stream, "PNG")
    return stream.getvalue()


def written(root: Path, split: str, numbers: list[int], shards: int = 1, group: int = 4) -> None:
    """A split as the hub stores it: several files, a few rows a group, class names in the schema."""
    root.mkdir(parents=True, exist_ok=True)
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["cat", "dog"])})
    for shard, part in enumerate(np.array_split(numbers, shards)):
        cells = [{"bytes": content(int(number)), "path": f"{number}.png"} for number in part]
        columns = {"image": cells, "label": [int(number) % 2 for number in part]}
        rows = pa.table(columns, schema=features.arrow_schema)
        pq.write_table(rows, root / f"{split}-{shard:05d}-of-{shards:05d}.parquet", row_group_size=group)


@pytest.fixture
def pets(tmp_path: Path) -> Path:
    written(tmp_path / "pets", "train", list(range(COUNT)), shards=3)
    written(tmp_path / "pets", "test", list(range(100, 107)), shards=2)
    return tmp_path / "pets"


def config(composed: Compose, path: Path, *more: str) -> DataConfig:
    return composed("data=folder", f"data.path={path}", *more).data


def contents(split: Split, start: int, stop: int) -> list[Any]:
    images = split.read(start, stop)
    assert all(isinstance(image, Encoded) for image in images)
    return [image.content for image in images if isinstance(image, Encoded)]


def numbers_of(split: Split) -> list[bytes]:
    return contents(split, 0, len(split.labels))


def test_files_and_row_groups_are_one_sequence(composed: Compose, pets: Path, tmp_path: Path) -> None:
    found = open_source(config(composed, pets), tmp_path)
    assert found.class_names == ["cat", "dog"]
    assert found.train.labels.tolist() == [number % 2 for number in range(COUNT)]
    assert numbers_of(found.train) == [content(number) for number in range(COUNT)]
    assert numbers_of(found.test) == [content(number) for number in range(100, 107)]


@pytest.mark.parametrize("more", [[], ["data.test_split=null", "data.test_fraction=0.3"]], ids=["split", "fraction"])
def test_it_is_what_datasets_gives(
    composed: Compose, pets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, more: list[str]
) -> None:
    if more:
        for file in pets.glob("test-*"):
            file.unlink()
    data = config(composed, pets, *more)

    def facts(source: Source) -> list[Any]:
        halves = (source.train, source.test)
        return [source.class_names, [(half.labels.tolist(), half.ids, numbers_of(half)) for half in halves]]

    ours = facts(open_source(data, tmp_path / "ours"))
    monkeypatch.setattr("alexnet_sweep.data.hugging_face._tables", lambda builder, data: None)
    assert ours == facts(open_source(data, tmp_path / "theirs"))
    assert _bytes_below(tmp_path / "theirs") > 0


def _bytes_below(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def test_neither_describing_nor_reading_writes_a_byte(composed: Compose, pets: Path, tmp_path: Path) -> None:
    found = open_source(config(composed, pets), tmp_path / "scratch")
    assert _bytes_below(tmp_path / "scratch") == 0
    numbers_of(found.train)
    assert _bytes_below(tmp_path / "scratch") == 0


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rows]:
    root = tmp_path_factory.mktemp("rows")
    written(root, "train", list(range(COUNT)), shards=2, group=5)
    yield Rows([str(file) for file in sorted(root.glob("*.parquet"))], None)


@given(st.lists(st.sets(st.integers(0, COUNT - 1)), max_size=6))
def test_rows_are_found_in_whatever_order_parts_are_asked_for(rows: Rows, parts: list[set[int]]) -> None:
    for part in parts:
        found = rows.cells("image", sorted(part))
        assert [cell["bytes"] for cell in found] == [content(number) for number in sorted(part)]


def test_plain_bytes_without_a_schema_of_datasets_are_images_too(composed: Compose, tmp_path: Path) -> None:
    (tmp_path / "plain").mkdir()
    for split in ("train", "test"):
        columns = {"image": [content(0), content(1), None], "label": ["cat", "dog", "dog"]}
        pq.write_table(pa.table(columns), tmp_path / "plain" / f"{split}.parquet")
    found = open_source(config(composed, tmp_path / "plain"), tmp_path / "scratch")
    assert found.class_names == ["cat", "dog"] and found.train.ids[2] == "train/0000002"
    assert numbers_of(found.train) == [content(0), content(1), None]
    assert _bytes_below(tmp_path / "scratch") == 0


def test_a_missing_shard_is_told_where_the_readme_counts_rows(composed: Compose, pets: Path, tmp_path: Path) -> None:
    (pets / "README.md").write_text(
        "---\ndataset_info:\n  splits:\n  - name: train\n    num_examples: 23\n"
        "  - name: test\n    num_examples: 7\n---\n"
    )
    open_source(config(composed, pets), tmp_path)
    (pets / "train-00002-of-00003.parquet").unlink()
    with pytest.raises(
        DataError, match=r"split train has 16 rows, .*README\.md says 23; fetch what is missing"
    ) as told:
        open_source(config(composed, pets), tmp_path)
    assert str(told.value).startswith(f"data.path={pets}: ") and "\n" not in str(told.value)


def test_a_file_that_is_damaged_inside_is_named(composed: Compose, pets: Path, tmp_path: Path) -> None:
    file = pets / "train-00001-of-00003.parquet"
    whole, images = file.read_bytes(), pq.read_metadata(file).row_group(0).column(0)
    place = images.dictionary_page_offset or images.data_page_offset
    file.write_bytes(whole[:place] + b"\xff" * 40 + whole[place + 40 :])
    found = open_source(config(composed, pets), tmp_path)
    with pytest.raises(DataError, match=r"train-00001-of-00003\.parquet: its column image cannot be read \(") as told:
        numbers_of(found.train)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    "described",
    ["class_label:\n        names:\n          '0': cat\n          '1': dog", "int64"],
    ids=["classes", "numbers"],
)
@pytest.mark.parametrize(
    "labels", [["cat", "dog"], [0.5, 1.0], [True, False], [[0], [1]], [[0], [0, 1]], [b"cat", b"dog"]], ids=str
)
def test_labels_of_another_kind_than_their_description_are_refused_or_taken_as_they_are(
    composed: Compose, tmp_path: Path, described: str, labels: list[Any]
) -> None:
    (tmp_path / "odd").mkdir()
    dtype = f"dtype:\n      {described}" if ":" in described else f"dtype: {described}"
    (tmp_path / "odd/README.md").write_text(
        f"---\ndataset_info:\n  features:\n  - name: image\n    dtype: image\n  - name: label\n    {dtype}\n---\n"
    )
    cells = [{"bytes": content(number), "path": None} for number in range(2)]
    for split in ("train", "test"):
        pq.write_table(pa.table({"image": cells, "label": labels}), tmp_path / "odd" / f"{split}.parquet")
    if described == "int64" and labels == ["cat", "dog"]:
        assert open_source(config(composed, tmp_path / "odd"), tmp_path / "s").class_names == ["cat", "dog"]
        return
    with pytest.raises(DataError, match=r"^data\.label_column=label: .*; (mend|allowed)") as told:
        open_source(config(composed, tmp_path / "odd"), tmp_path / "s")
    assert "\n" not in str(told.value)


def test_labels_that_are_damaged_are_named(composed: Compose, pets: Path, tmp_path: Path) -> None:
    file = pets / "train-00001-of-00003.parquet"
    whole, metadata = file.read_bytes(), pq.read_metadata(file).row_group(0)
    labels = metadata.column(metadata.num_columns - 1)
    assert labels.path_in_schema == "label"
    place = labels.dictionary_page_offset or labels.data_page_offset
    file.write_bytes(whole[:place] + b"\xff" * 20 + whole[place + 20 :])
    with pytest.raises(DataError, match=r"train-00001-of-00003\.parquet: its column label cannot be read \(") as told:
        open_source(config(composed, pets), tmp_path)
    assert "\n" not in str(told.value)


def test_a_row_group_that_is_read_leaves_the_memory_at_once(rows: Rows) -> None:
    gc.disable()
    try:
        before = sum(type(thing) is pq.ParquetFile for thing in gc.get_objects())
        rows.cells("image", range(COUNT))
        assert sum(type(thing) is pq.ParquetFile for thing in gc.get_objects()) <= before + 1
    finally:
        gc.enable()
