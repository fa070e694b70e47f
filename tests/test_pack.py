import errno
import json
import shutil
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import filelock
import numpy as np
import pytest
import yaml
from loguru import logger
from PIL import Image

from alexnet_sweep.config import DataConfig
from alexnet_sweep.data import building, pack
from alexnet_sweep.data.decode import square
from alexnet_sweep.data.images import KINDS
from alexnet_sweep.data.pack import describe, fingerprint, open_packed
from alexnet_sweep.data.source import Encoded, Split
from alexnet_sweep.errors import DataError, OtherFormat
from alexnet_sweep.groups import conf_folder

CIFAR10 = Path(__file__).parents[2] / "shared" / "data" / "cifar10"


def folder(path, **keys):
    """The data config of a folder: `conf/data/folder.yaml` with these keys, small."""
    values = yaml.safe_load((conf_folder() / "data" / "folder.yaml").read_text())
    small = {"stored_px": 16, "crop_px": 12, "heldout_fraction": 0.1, "input_divisor": 1.0}
    small |= {"store": "raw", "skip_bad": False}
    return DataConfig(**values | small | keys | {"path": str(path)})


@pytest.fixture
def store(tmp_path):
    return tmp_path / "store"


@pytest.fixture
def small(tmp_path):
    """Two classes of two images, to be packed where only the store matters."""
    rng = np.random.default_rng(1)
    for split in ("train", "val"):
        for label in ("blue", "red"):
            (tmp_path / "small" / split / label).mkdir(parents=True)
            pixels = rng.integers(0, 255, (16, 16, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "small" / split / label / "0.png")
    return tmp_path / "small"


def never(*_):
    raise AssertionError("opened the source again")


# --- square ---


def stripes(width, height, axis):
    """Pixels whose red value is their column (axis 0) or row (axis 1)."""
    rows, columns = np.mgrid[:height, :width]
    red = (columns, rows)[axis]
    return Image.fromarray(np.stack([red, red * 0, red * 0 + 7], axis=2).astype(np.uint8))


def test_an_image_of_the_exact_size_is_kept_pixel_for_pixel():
    pixels = np.random.default_rng(0).integers(0, 255, (6, 6, 3), dtype=np.uint8)
    assert np.array_equal(square(Image.fromarray(pixels), 6), pixels.transpose(2, 0, 1))


def test_a_landscape_keeps_its_central_columns():
    assert np.array_equal(square(stripes(10, 4, axis=0), 4)[0], [[3, 4, 5, 6]] * 4)


def test_a_portrait_keeps_its_central_rows():
    assert np.array_equal(square(stripes(4, 10, axis=1), 4)[0], np.transpose([[3, 4, 5, 6]] * 4))


def test_an_odd_rest_leaves_its_extra_column_on_the_right():
    assert np.array_equal(square(stripes(7, 4, axis=0), 4)[0], [[1, 2, 3, 4]] * 4)


def test_shrinking_averages_over_areas():
    pixels = np.zeros((4, 4, 3), np.uint8)
    pixels[:2, :2, 0] = [[0, 40], [80, 120]]  # one quarter, of mean 60
    assert np.array_equal(square(Image.fromarray(pixels), 2)[0], [[60, 0], [0, 0]])


def test_shrinking_fits_the_shorter_side():
    columns = square(stripes(16, 8, axis=0), 4)[0]
    assert np.abs(columns - np.array([4.5, 6.5, 8.5, 10.5])).max() <= 0.5


def test_enlarging_fits_the_shorter_side_and_keeps_a_flat_colour():
    pixels = square(Image.new("RGB", (8, 5), (200, 100, 50)), 20)
    assert pixels.shape == (3, 20, 20)
    assert [set(np.unique(channel)) for channel in pixels] == [{200}, {100}, {50}]


def test_enlarging_is_cubic_and_so_overshoots_at_an_edge():
    step = Image.fromarray(np.where(np.mgrid[:8, :8][1] < 4, 64, 192).astype(np.uint8)).convert("RGB")
    row = square(step, 32)[0, 16].astype(int)
    # A cubic kernel reaches two pixels: beyond them the row is flat, within it goes past both values by up to 7 %.
    assert set(row[:8]) == {64} and set(row[24:]) == {192}
    assert 55 <= row.min() < 64 and 192 < row.max() <= 201


def test_a_long_strip_is_never_narrower_than_the_square():
    assert square(Image.new("RGB", (1000, 3)), 4).shape == (3, 4, 4)


def test_squares_are_contiguous_bytes():
    pixels = square(stripes(10, 4, axis=0), 4)
    assert pixels.dtype == np.uint8 and pixels.flags.c_contiguous


# --- what is packed ---


def test_every_row_holds_the_square_of_the_file_its_id_names(photos, store):
    packed = open_packed(folder(photos), store)
    for split in ("train", "test"):
        for image_id, pixels in zip(packed.ids[split], packed.images[split], strict=True):
            with Image.open(photos / image_id) as image:
                assert np.array_equal(pixels, square(image.convert("RGB"), 16))


def test_labels_are_those_of_the_class_folders(photos, store):
    packed = open_packed(folder(photos), store)
    for split in ("train", "test"):
        named = [packed.meta.class_names[label] for label in packed.labels[split]]
        assert named == [image_id.split("/")[1] for image_id in packed.ids[split]]


def test_a_chunk_boundary_moves_no_image(photos, tmp_path, monkeypatch):
    whole = open_packed(folder(photos), tmp_path / "whole")
    monkeypatch.setattr(building, "CHUNK_IMAGES", 5)
    pieces = open_packed(folder(photos), tmp_path / "pieces")
    assert np.array_equal(whole.images["train"], pieces.images["train"])
    assert np.array_equal(whole.mean, pieces.mean)


def test_the_mean_is_that_of_the_training_pixels(photos, store):
    packed = open_packed(folder(photos), store)
    assert packed.mean.dtype == np.float64
    assert np.allclose(packed.mean, packed.images["train"].mean(0), rtol=0, atol=1e-9)


def test_colours_are_the_eigen_decomposition_of_the_rgb_covariance(photos, store):
    packed = open_packed(folder(photos), store)
    pixels = packed.images["train"].transpose(1, 0, 2, 3).reshape(3, -1).astype(np.float64)
    eigenvalues, eigenvectors = np.linalg.eigh(np.cov(pixels, bias=True))
    assert packed.eigenvalues.dtype == packed.eigenvectors.dtype == np.float64
    assert np.allclose(packed.eigenvalues, eigenvalues[::-1], rtol=1e-9)
    assert np.allclose(np.abs(packed.eigenvectors.T @ eigenvectors[:, ::-1]), np.eye(3), atol=1e-9)


def test_eigenvalues_descend(photos, store):
    eigenvalues = open_packed(folder(photos), store).eigenvalues
    assert list(eigenvalues) == sorted(eigenvalues, reverse=True)


def test_the_largest_entry_of_every_eigenvector_is_positive(photos, store):
    vectors = open_packed(folder(photos), store).eigenvectors
    assert (vectors[np.abs(vectors).argmax(0), range(3)] > 0).all()


def test_test_images_move_neither_mean_nor_colours(photos, tmp_path):
    with_test = open_packed(folder(photos), tmp_path / "one")
    for file in photos.glob("val/*/*.png"):
        Image.new("RGB", (20, 20), (255, 255, 255)).save(file)
    without = open_packed(folder(photos), tmp_path / "two")
    assert np.array_equal(with_test.mean, without.mean)
    assert np.array_equal(with_test.eigenvalues, without.eigenvalues)


def test_digits_are_packed_whole(micro, store):
    packed = open_packed(micro().data, store)
    assert packed.images["train"].shape == (1437, 3, 32, 32)
    assert packed.meta.counts == {"train": 1437, "test": 360}


@pytest.mark.parametrize("character", ["\u2028", "\x0c", "\x85", " "], ids=ascii)
def test_ids_survive_whatever_a_file_name_holds(small, store, character):
    image_id = f"train/blue/a{character}b.png"
    (small / "train" / "blue" / "0.png").rename(small / image_id)
    assert open_packed(folder(small), store).ids["train"] == [image_id, "train/red/0.png"]


# --- the store ---


def test_pixels_are_memory_mapped_and_read_only(small, store):
    for images in open_packed(folder(small), store).images.values():
        assert isinstance(images, np.memmap) and not images.flags.writeable


def test_a_second_open_decodes_nothing(small, store, monkeypatch):
    first = open_packed(folder(small), store)
    monkeypatch.setattr(pack, "open_source", never)
    second = open_packed(folder(small), store)
    assert second.meta == first.meta and second.ids == first.ids
    assert np.array_equal(second.images["train"], first.images["train"])


def test_a_copy_of_the_data_elsewhere_shares_the_store(small, store, tmp_path, monkeypatch):
    open_packed(folder(small), store)
    shutil.copytree(small, tmp_path / "copy")
    monkeypatch.setattr(pack, "open_source", never)
    assert open_packed(folder(tmp_path / "copy"), store).meta.counts == {"train": 2, "test": 2}


def test_another_geometry_is_another_store(small, store):
    open_packed(folder(small), store)
    assert open_packed(folder(small, stored_px=12), store).images["train"].shape[2:] == (12, 12)
    assert len(list(store.iterdir())) == 2


def test_a_store_holds_its_files_and_no_scratch(small, store):
    open_packed(folder(small), store)
    (built,) = store.iterdir()
    assert built.name == fingerprint(folder(small))
    names = {f"{split}.{end}" for split in ("train", "test") for end in ("images.npy", "labels.npy", "ids.txt")}
    assert {path.name for path in built.iterdir()} == names | {"mean.npy", "colours.npz", "meta.json", "checksums.json"}


def test_others_may_read_a_store(small, store):
    open_packed(folder(small), store)
    (built,) = store.iterdir()
    assert built.stat().st_mode & 0o055 == 0o055


def test_progress_ends_with_every_image(photos, store):
    told = []
    open_packed(folder(photos), store, lambda done, total: told.append((done, total)))
    assert told == sorted(told) and told[-1] == (54, 54)


def test_a_build_that_fails_leaves_nothing_behind(small, store):
    (small / "val" / "red" / "0.png").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"val/red/0\.png"):
        open_packed(folder(small), store)
    assert not store.exists()


class Count:
    """Counts the images that are decoded."""

    def __init__(self, monkeypatch):
        self.images = 0
        plain = building.decode

        def counting(*given):
            self.images += 1
            return plain(*given)

        monkeypatch.setattr(building, "decode", counting)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("stop_at", [5, 20, 36, 40, 54])
def test_a_build_that_was_stopped_goes_on_to_the_same_bytes(photos, tmp_path, monkeypatch, kind, stop_at):
    monkeypatch.setattr(building, "CHUNK_IMAGES", 5)
    monkeypatch.setattr(building, "SAVE_SECONDS", 0.0)
    data, quiet, stopped = folder(photos, store=kind), tmp_path / "quiet", tmp_path / "stopped"
    open_packed(data, quiet)

    def stop(done, total):
        if done >= stop_at:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        open_packed(data, stopped, stop)
    count, told = Count(monkeypatch), []
    open_packed(data, stopped, lambda done, total: told.append(done))
    assert contents(stopped) == contents(quiet)
    assert count.images <= 54 - stop_at + 5
    assert all(done > stop_at for done in told)


def test_what_was_written_after_the_last_record_is_cut_off(photos, tmp_path, monkeypatch):
    monkeypatch.setattr(building, "CHUNK_IMAGES", 5)
    data, quiet, stopped = folder(photos, store="jpeg"), tmp_path / "quiet", tmp_path / "stopped"
    open_packed(data, quiet)

    def stop(done, total):
        monkeypatch.setattr(building, "SAVE_SECONDS", 0.0 if done == 10 else 3600.0)
        if done > 20:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        open_packed(data, stopped, stop)
    with (building.part_of(stopped / fingerprint(data)) / "train.images.jpeg").open("ab") as stream:
        stream.write(b"half an image")
    open_packed(data, stopped)
    assert contents(stopped) == contents(quiet)


@pytest.mark.parametrize("damage", ["cut", "format", "fingerprint", "gone", "images"])
def test_a_record_that_cannot_be_trusted_starts_the_build_again(photos, tmp_path, monkeypatch, damage):
    monkeypatch.setattr(building, "CHUNK_IMAGES", 5)
    monkeypatch.setattr(building, "SAVE_SECONDS", 0.0)
    data, quiet, stopped = folder(photos), tmp_path / "quiet", tmp_path / "stopped"
    open_packed(data, quiet)

    def stop(done, total):
        if done > 20:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        open_packed(data, stopped, stop)
    path = building.part_of(stopped / fingerprint(data)) / "state.npz"
    if damage == "gone":
        path.unlink()
    elif damage == "cut":
        path.write_bytes(path.read_bytes()[:-100])
    elif damage == "images":
        path.with_name("train.images.npy").write_bytes(b"")
    else:
        with np.load(path) as saved:
            values = dict(saved)
        told = json.loads(str(values["told"]))
        np.savez(path, **values | {"told": np.array(json.dumps(told | {damage: "other"}))})
    count = Count(monkeypatch)
    open_packed(data, stopped)
    assert count.images == 54
    assert contents(stopped) == contents(quiet)


PACKS = """
import json, sys
from pathlib import Path
from alexnet_sweep.config import DataConfig
from alexnet_sweep.data import building
from alexnet_sweep.data.pack import open_packed
building.CHUNK_IMAGES, building.SAVE_SECONDS = 2, 0.0
open_packed(DataConfig(**json.loads(sys.argv[1])), Path(sys.argv[2]), lambda done, total: print(done, flush=True))
"""


def packing(data, store):
    command = [sys.executable, "-c", PACKS, json.dumps(vars(data)), str(store)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def test_a_build_that_is_killed_goes_on_to_the_same_bytes(photos, tmp_path):
    data, quiet, killed = folder(photos), tmp_path / "quiet", tmp_path / "killed"
    open_packed(data, quiet)
    with packing(data, killed) as process:
        assert process.stdout is not None
        while int(process.stdout.readline()) < 20:
            pass
        process.kill()
        process.stdout.read()
    assert not (killed / fingerprint(data)).exists()
    with packing(data, killed) as process:
        told, _ = process.communicate(timeout=120)
    first, *_, last = map(int, told.split())
    assert process.returncode == 0
    assert 20 <= first < last == 54
    assert contents(killed) == contents(quiet)


def test_large_files_are_read_a_few_at_once_and_small_ones_many(photos, monkeypatch):
    content = (photos / "train" / "red" / "00.png").read_bytes()
    asked = []

    def read(start, stop):
        asked.append(range(start, stop))
        return [Encoded(content)] * (stop - start)

    many = Split(np.zeros(100, np.int64), [str(row) for row in range(100)], read)
    small = list(building._chunks(many, folder(photos), 0, with_sums=True))
    assert len(asked) <= 8
    asked.clear()
    monkeypatch.setattr(building, "READ_BYTES", 3 * len(content))
    large = list(building._chunks(many, folder(photos), 0, with_sums=True))
    assert max(map(len, asked)) == 3 and [row for rows in asked for row in rows] == list(range(100))
    assert b"".join(bytes(chunk.content) for chunk in small) == b"".join(bytes(chunk.content) for chunk in large)


def test_a_split_is_read_in_order_and_only_a_little_ahead(photos, monkeypatch):
    asked = []

    def read(start, stop):
        asked.extend(range(start, stop))
        return [Encoded((photos / "train" / "red" / "00.png").read_bytes())] * (stop - start)

    monkeypatch.setattr(building, "CHUNK_IMAGES", 2)
    monkeypatch.setattr(building, "cores_of_a_run", lambda: 3)
    many = Split(np.zeros(100, np.int64), [str(row) for row in range(100)], read)
    for number, _ in enumerate(building._chunks(many, folder(photos), 10, with_sums=True), 1):
        assert len(asked) <= 2 * (number + 6)
    assert asked == list(range(10, 100))


# --- JPEGs ---


def test_a_store_of_jpegs_reads_as_rows_of_pixels_near_the_raw_ones(photos, tmp_path):
    raw = open_packed(folder(photos), tmp_path)
    coded = open_packed(folder(photos, store="jpeg"), tmp_path)
    assert coded.meta.store == "jpeg" and coded.meta.counts == raw.meta.counts
    assert coded.images["train"].shape == raw.images["train"].shape
    rows = np.array([30, 2, 17, 2, 35, 0, 1, 5, 9, 11])
    found = coded.images["train"][rows]
    assert found.dtype == np.uint8 and found.shape == (10, 3, 16, 16)
    assert np.abs(found.astype(int) - raw.images["train"][rows]).mean() < 12
    assert np.array_equal(found[1], coded.images["train"][2]) and np.array_equal(found[1], found[3])
    assert np.array_equal(coded.images["test"][:], coded.images["test"][np.arange(18)])


@pytest.mark.parametrize("kind", KINDS)
def test_mean_and_colours_are_those_of_what_is_trained_on(photos, store, kind):
    packed = open_packed(folder(photos, store=kind), store)
    pixels = np.asarray(packed.images["train"][:])
    assert np.allclose(packed.mean, pixels.mean(0), rtol=0, atol=1e-9)
    eigenvalues = np.linalg.eigvalsh(np.cov(pixels.transpose(1, 0, 2, 3).reshape(3, -1).astype(float), bias=True))
    assert np.allclose(packed.eigenvalues, eigenvalues[::-1], rtol=1e-9)


def test_how_images_are_stored_is_part_of_the_fingerprint(photos):
    assert fingerprint(folder(photos)) != fingerprint(folder(photos, store="jpeg"))


def test_a_jpeg_that_is_damaged_is_named(photos, store):
    data = folder(photos, store="jpeg")
    open_packed(data, store)
    file = store / fingerprint(data) / "train.images.jpeg"
    content = bytearray(file.read_bytes())
    content[-200:] = bytes(200)
    file.write_bytes(content)
    with pytest.raises(DataError, match=r"train\.images\.jpeg is not as it was built\); delete the folder"):
        open_packed(data, store)
    (file.parent / "checksums.json").unlink()  # as where a store is too large to be read whole
    images = open_packed(data, store).images["train"]
    with pytest.raises(DataError, match=r"train\.images\.jpeg: image 35 is damaged .*delete its folder"):
        images[np.array([0, 35])]


@pytest.mark.parametrize("name", ["train.images.jpeg", "train.ends.npy"])
def test_a_truncated_store_of_jpegs_is_refused(photos, store, name):
    data = folder(photos, store="jpeg")
    open_packed(data, store)
    file = store / fingerprint(data) / name
    file.write_bytes(file.read_bytes()[:-8])
    with pytest.raises(DataError, match=r"damaged packed store .*delete the folder"):
        open_packed(data, store)


# --- images that cannot be read ---


@pytest.fixture
def spoilt(photos):
    """Photographs of which three cannot be read."""
    for name in ("train/blue/00.png", "train/red/11.png", "val/green/03.png"):
        (photos / name).write_bytes(b"no image")
    return photos


@pytest.mark.parametrize("kind", KINDS)
def test_with_skip_bad_they_are_left_out_and_counted(spoilt, store, monkeypatch, kind):
    monkeypatch.setattr(building, "CHUNK_IMAGES", 5)
    packed = open_packed(folder(spoilt, skip_bad=True, store=kind), store)
    assert packed.meta.skipped == {"train": ["train/blue/00.png", "train/red/11.png"], "test": ["val/green/03.png"]}
    assert packed.meta.skipped_images == 3
    assert packed.meta.counts == {"train": 34, "test": 17}
    for split in ("train", "test"):
        for number, image_id in enumerate(packed.ids[split]):
            assert packed.meta.class_names[packed.labels[split][number]] == image_id.split("/")[1]
            with Image.open(spoilt / image_id) as image:
                pixels = square(image.convert("RGB"), 16).astype(int)
            assert np.abs(packed.images[split][number] - pixels).max() <= (0 if kind == "raw" else 120)


def test_without_it_the_first_one_stops_the_build(spoilt, store):
    with pytest.raises(DataError, match=r"^image train/blue/00\.png: cannot be read .*data\.skip_bad=true"):
        open_packed(folder(spoilt), store)


def test_a_split_of_which_nothing_is_left_is_refused(small, store):
    for label in ("blue", "red"):
        (small / "val" / label / "0.png").write_bytes(b"no image")
    with pytest.raises(DataError, match="no image of test can be read"):
        open_packed(folder(small, skip_bad=True), store)
    assert not store.exists()


def test_a_store_without_bad_images_is_another_one(photos):
    assert fingerprint(folder(photos)) != fingerprint(folder(photos, skip_bad=True))


# --- room ---


def test_a_store_that_does_not_fit_the_disk_is_refused_before_it_is_built(photos, store, monkeypatch):
    monkeypatch.setattr(building, "free_bytes", lambda path: 200_000)
    with pytest.raises(DataError, match=r"choose data\.store=jpeg \(about"):
        open_packed(folder(photos, stored_px=64), store)
    monkeypatch.setattr(building, "free_bytes", lambda path: 30_000)
    with pytest.raises(DataError, match=r"^data\.store=raw: 54 images of 16 px need .* are free; choose a smaller"):
        open_packed(folder(photos), store)
    assert not store.exists()


def test_a_disk_that_fills_up_is_told_of_and_the_build_goes_on_later(photos, tmp_path, monkeypatch):
    data, quiet, full = folder(photos), tmp_path / "quiet", tmp_path / "full"
    open_packed(data, quiet)
    with monkeypatch.context() as patched:

        def add(*_):
            raise OSError(errno.ENOSPC, "No space left on device")

        patched.setattr(building.Writer, "add", add)
        with pytest.raises(DataError, match=r"the disk is full; .*paths\.store"):
            open_packed(data, full)
    open_packed(data, full)
    assert contents(full) == contents(quiet)


def test_two_builders_at_once_build_once(photos, tmp_path, monkeypatch):
    alone, together = tmp_path / "alone", tmp_path / "together"
    open_packed(folder(photos), alone)
    packings, decoded = [], building._pack
    monkeypatch.setattr(building, "_pack", lambda *given: packings.append(decoded(*given)))
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(lambda _: open_packed(folder(photos), together), range(2))
    assert len(packings) == 1
    assert first.meta == second.meta
    assert contents(together) == contents(alone)


def test_a_builder_that_waits_says_so_and_tells_how_far_the_other_one_is(small, store):
    data = folder(small)
    heard, told, followed = [], [], threading.Event()
    handler = logger.add(heard.append, format="{message}")

    def slowly(done, total):
        if done == total:
            assert followed.wait(60)

    def follow(done, total):
        told.append((done, total))
        followed.set()

    try:
        with ThreadPoolExecutor(2) as pool:
            one = pool.submit(open_packed, data, store, slowly)
            while not (building.part_of(store / fingerprint(data)) / "builder.json").is_file():
                assert not one.done()
            other = pool.submit(open_packed, data, store, follow)
            assert one.result().meta == other.result().meta
    finally:
        logger.remove(handler)
    assert "being packed by" in heard[0] and "waiting" in heard[0]
    assert {total for _, total in told} == {4}
    assert [path.name for path in store.iterdir()] == [fingerprint(data)]


def test_a_builder_on_a_machine_that_is_gone_is_overtaken(small, store):
    data = folder(small)
    part = building.part_of(store / fingerprint(data))
    part.mkdir(parents=True)
    told = {"who": "elsewhere process 1", "host": "elsewhere", "heartbeat": time.time() - 1e6, "done": 0, "total": 4}
    (part / "builder.json").write_text(json.dumps(told))
    with filelock.FileLock(store / f".{fingerprint(data)}.lock"):  # which the file server has kept
        assert open_packed(data, store).meta.counts == {"train": 2, "test": 2}


def contents(store):
    """Every file of a store, by its name."""
    return {path.relative_to(store).as_posix(): path.read_bytes() for path in store.rglob("*") if path.is_file()}


def test_describing_writes_no_store(small, store):
    meta = describe(folder(small), store)
    assert meta.class_names == ["blue", "red"] and meta.counts == {"train": 2, "test": 2}
    assert not store.exists()


def test_describing_decodes_no_image(small, store):
    (small / "val" / "red" / "0.png").write_bytes(b"no image")
    assert describe(folder(small), store).counts == {"train": 2, "test": 2}


def test_a_description_is_the_same_before_and_after_packing(small, store, monkeypatch):
    before = describe(folder(small), store)
    open_packed(folder(small), store)
    monkeypatch.setattr(pack, "open_source", never)
    assert describe(folder(small), store) == before


# --- damaged stores ---


@pytest.fixture
def built(small, store):
    """A packed store, to be damaged."""
    open_packed(folder(small), store)
    return store / fingerprint(folder(small))


def refused(small, built):
    """The one line that a damaged store is refused with."""
    with pytest.raises(DataError, match="delete the folder") as caught:
        open_packed(folder(small), built.parent)
    assert str(built) in str(caught.value) and "\n" not in str(caught.value)
    return str(caught.value)


FILES = ["train.images.npy", "test.labels.npy", "mean.npy", "colours.npz"]


@pytest.mark.parametrize("kept", [0.0, 0.5, 0.97], ids=["empty", "half", "nearly whole"])
@pytest.mark.parametrize("name", FILES)
def test_a_truncated_file_is_refused(small, built, name, kept):
    content = (built / name).read_bytes()
    (built / name).write_bytes(content[: int(kept * len(content))])
    refused(small, built)


@pytest.mark.parametrize("name", [*FILES, "train.ids.txt", "meta.json"])
def test_a_missing_file_is_refused(small, built, name):
    (built / name).unlink()
    refused(small, built)


def test_a_count_that_does_not_fit_is_refused_with_both_numbers(small, built):
    (built / "train.ids.txt").write_text("one\n")
    (built / "checksums.json").unlink()
    line = refused(small, built)
    assert "train: [1, 2] rows, 2 expected" in line


def test_a_description_of_other_counts_is_refused(small, built):
    meta = json.loads((built / "meta.json").read_text())
    (built / "meta.json").write_text(json.dumps(meta | {"counts": {"train": 3, "test": 2}}))
    (built / "checksums.json").unlink()
    assert "train: [2] rows, 3 expected" in refused(small, built)


def test_another_format_is_refused(small, built):
    meta = json.loads((built / "meta.json").read_text())
    (built / "meta.json").write_text(json.dumps(meta | {"format": 99}))
    with pytest.raises(OtherFormat, match=r"format 99 of a packed store, .* this one reads 2. .* set paths\.store"):
        open_packed(folder(small), built.parent)


@pytest.mark.parametrize("text", ["", '{"format": 1', '{"format": 2}', "{}", "[]", "null"], ids=repr)
def test_a_damaged_description_is_refused(small, built, text):
    (built / "meta.json").write_text(text)
    assert "meta.json: unreadable" in refused(small, built)


# --- a whole data set ---


@pytest.mark.slow
@pytest.mark.skipif(not CIFAR10.is_dir(), reason=f"no CIFAR-10 in {CIFAR10}")
def test_colours_of_cifar10_are_those_of_the_paper_notes(micro, store):
    """The eigenvalues of CIFAR-10: measured on all 50,000 training images."""
    packed = open_packed(micro("data=cifar10", f"data.path={CIFAR10}").data, store)
    assert np.sqrt(packed.eigenvalues) == pytest.approx([105.7, 28.5, 13.1], abs=0.051)
    noted = np.array([(-0.558, -0.577, -0.597), (-0.703, -0.054, 0.709), (0.441, -0.815, 0.375)])
    for column, row in zip(packed.eigenvectors.T, noted, strict=True):
        assert column * np.sign(column @ row) == pytest.approx(row, abs=0.001)
