"""Packing: every image decoded once, by all cores, into an unfinished folder that is renamed when it is whole.

A build that is killed goes on where it stopped; what it writes does not hang on that, nor on how many cores it has.
"""

import errno
import shutil
import time
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import numpy as np
from loguru import logger
from PIL import Image

from alexnet_sweep import failpoints
from alexnet_sweep.config import DataConfig
from alexnet_sweep.data.builders import Progress, building, only_builder, part_of
from alexnet_sweep.data.colours import Sums
from alexnet_sweep.data.decode import BadImage, decode, square
from alexnet_sweep.data.images import jpeg_of, pixels_of, stored_bytes
from alexnet_sweep.data.packed import SPLITS, Meta, description, is_whole, write_checksums
from alexnet_sweep.data.source import Encoded, Source, Split
from alexnet_sweep.data.writing import STATE, Chunk, State, Writer, save_array, saved_state
from alexnet_sweep.errors import CannotWrite, DataError
from alexnet_sweep.files import remove_leftovers, sync_folder, whole_file, write_json
from alexnet_sweep.launching import cores_of_a_run
from alexnet_sweep.machine import free_bytes
from alexnet_sweep.wording import amount

CHUNK_IMAGES = 256  # at most, decoded by one task
CHUNK_BYTES = 4 << 20  # at most, of pixels: a few of them for each core are in memory at once
READ_BYTES = 8 << 20  # about, of image files that a task holds at once
READ_AHEAD_BYTES = 256 << 20  # and all tasks
SAVE_SECONDS = 5.0  # between two records of how far it is: what a kill can cost

# The record first: without it nothing that may be half gone is gone on from.
UNFINISHED = (STATE, "builder.json", *(f"{split}.lengths" for split in SPLITS))

Open = Callable[[Path], Source]


def build(data: DataConfig, folder: Path, opened: Open, progress: Progress) -> None:
    """Build the packed data set `folder`; returns at once where it is there, or once another builder has built it.

    `opened` opens the source, with a folder for what must be cached.

    Raises:
        DataError: an image that cannot be read, a disk that is too small, a folder that is damaged.
    """
    made = _make(folder.parent)
    part = part_of(folder)
    with only_builder(folder, progress):
        if is_whole(folder):  # another builder was quicker
            _unlock(folder)
            return
        if folder.is_dir() and any(folder.iterdir()):
            raise DataError(f"{folder}: damaged packed store (no meta.json); delete the folder and start again")
        scratch = part / "scratch"
        try:
            shutil.rmtree(scratch, ignore_errors=True)
            scratch.mkdir(parents=True)
            with building(folder) as beat, warnings.catch_warnings():
                warnings.simplefilter("ignore")  # Pillow's, of images that it reads all the same

                def told(done: int, total: int) -> None:
                    beat(done, total)
                    progress(done, total)

                _pack(opened(scratch), data, folder, part, told)
            shutil.rmtree(scratch, ignore_errors=True)
            for name in UNFINISHED:
                (part / name).unlink(missing_ok=True)
            remove_leftovers(part)
            sync_folder(part)
            failpoints.pass_by("data.rename")
            part.rename(folder)
            sync_folder(folder.parent)
            failpoints.pass_by("data.renamed")
        except KeyboardInterrupt:
            raise  # what is packed stays, for the next start
        except (OSError, CannotWrite) as error:
            if is_whole(folder):  # a builder elsewhere took this one for gone, and was quicker
                return
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise DataError(
                    f"{part}: packing stopped ({error}); start again, it goes on from there, or set paths.store to a "
                    "folder on another disk"
                ) from error
            raise DataError(
                f"{part}: the disk is full; make room and start again, it goes on from there, or set paths.store to "
                "a folder on another disk" + _other_store(data)
            ) from error
        except BaseException:
            _discard(part, made)
            raise
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
        _unlock(folder)


def _other_store(data: DataConfig) -> str:
    return "" if data.store == "jpeg" else ", or data.store=jpeg, which takes a sixth of the room at 256 px"


def _unlock(folder: Path) -> None:
    """Remove the lock of a store that is there: whoever waits for it, or makes it anew, finds the store."""
    (folder.parent / f".{folder.name}.lock").unlink(missing_ok=True)


def _discard(part: Path, made: list[Path]) -> None:
    shutil.rmtree(part, ignore_errors=True)
    (part.parent / f"{part.stem}.lock").unlink(missing_ok=True)
    with suppress(OSError):  # not empty: another data set is built there
        for place in made:
            place.rmdir()


def _make(folder: Path) -> list[Path]:
    """Make a folder; returns those that were not there, innermost first."""
    made = [place for place in (folder, *folder.parents) if not place.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(
            f"paths.store={folder}: cannot be created ({error.strerror}); set it to a folder that can be written"
        ) from error
    return made


def meta_of(source: Source, data: DataConfig, mark: str) -> Meta:
    """The description of a source that is still to be packed."""
    counts = {"train": len(source.train.labels), "test": len(source.test.labels)}
    return Meta(mark, data.name, source.class_names, counts, data.stored_px, data.store)


def _pack(source: Source, data: DataConfig, folder: Path, part: Path, progress: Progress) -> None:
    side, mark = data.stored_px, folder.name
    state = saved_state(part, mark, data.store, side, SPLITS)
    splits = {"train": source.train, "test": source.test}
    total = sum(len(split.labels) for split in splits.values())
    done = sum(reached.taken for reached in state.splits.values())
    if done:
        logger.info("{}: packing goes on at image {:,} of {:,}", folder, done, total)
    _check_room(data, part, total, sum(reached.size for reached in state.splits.values()))
    writers = {
        name: Writer(part, name, data.store, len(split.labels), side, state.splits[name])
        for name, split in splits.items()
    }

    saved = time.monotonic()
    try:
        for name, split in splits.items():
            for chunk in _chunks(split, data, state.splits[name].taken, with_sums=name == "train"):
                writers[name].add(chunk)
                if chunk.sums is not None:
                    state.sums += chunk.sums
                done += chunk.taken
                if time.monotonic() - saved >= SAVE_SECONDS:
                    for writer in writers.values():
                        writer.sync()
                    state.save(part, mark)
                    saved = time.monotonic()
                progress(done, total)
        for writer in writers.values():
            writer.finish()
    finally:
        for writer in writers.values():
            writer.close()
    _write_facts(source, data, state, part, mark)


def _write_facts(source: Source, data: DataConfig, state: State, part: Path, mark: str) -> None:
    """Everything but the images; the description last."""
    counts, skipped = {}, {}
    for name, split in (("train", source.train), ("test", source.test)):
        left_out = np.array(state.splits[name].skipped, np.int64)
        kept = np.delete(np.arange(len(split.labels)), left_out)
        if not len(kept):
            raise DataError(f"data={data.name}: no image of {name} can be read; nothing is left of {len(split.labels)}")
        save_array(part / f"{name}.labels.npy", split.labels[kept])
        with whole_file(part / f"{name}.ids.txt") as stream:
            stream.writelines(f"{split.ids[row]}\n".encode() for row in kept)
        counts[name] = len(kept)
        if len(left_out):
            skipped[name] = [split.ids[row] for row in left_out]
    eigenvalues, eigenvectors = state.sums.colours()
    save_array(part / "mean.npy", state.sums.mean())
    with whole_file(part / "colours.npz") as stream:
        np.savez(stream, eigenvalues=eigenvalues, eigenvectors=eigenvectors)
    meta = Meta(mark, data.name, source.class_names, counts, data.stored_px, data.store, skipped)
    write_json(part / "meta.json", description(meta))
    write_checksums(part, {split: [reached.size, reached.checksum] for split, reached in state.splits.items()})
    if skipped:
        names = [image_id for ids in skipped.values() for image_id in ids]
        more = f" and {len(names) - 5} more" if len(names) > 5 else ""
        logger.warning("data.skip_bad: {} images cannot be read: {}{}", len(names), ", ".join(names[:5]), more)


def _check_room(data: DataConfig, part: Path, images: int, there: int) -> None:
    """Refuse what surely does not fit the disk, before an hour is spent on it."""
    needed, free = stored_bytes(data.store, images, data.stored_px) - there, free_bytes(part)
    if data.store == "raw" and needed > free:
        coded = stored_bytes("jpeg", images, data.stored_px)
        other = f" data.store=jpeg (about {amount(coded)})," if coded < free else ""
        raise DataError(
            f"data.store=raw: {images:,} images of {data.stored_px} px need {amount(needed)} in {part.parent}, where "
            f"{amount(free)} are free; choose{other} a smaller data.stored_px, or paths.store on another disk"
        )


def _chunks(split: Split, data: DataConfig, first: int, *, with_sums: bool) -> Iterator[Chunk]:
    """From image `first` on, in order: read here, decoded in parallel, a few ahead.

    Pillow decodes and scales outside the GIL.
    """
    workers = cores_of_a_run()
    pieces = _pieces(split, first, max(1, min(CHUNK_IMAGES, CHUNK_BYTES // (3 * data.stored_px**2))), workers)
    tasks: deque[Future[Chunk]] = deque()
    with ThreadPoolExecutor(workers, thread_name_prefix="pack") as pool:

        def submit() -> None:
            piece = next(pieces, None)
            if piece is not None:
                tasks.append(pool.submit(_chunk, split, *piece, data, with_sums=with_sums))

        try:
            for _ in range(2 * workers):
                submit()
            while tasks:
                chunk = tasks.popleft().result()
                submit()
                yield chunk
        finally:
            pool.shutdown(cancel_futures=True)


def _chunk(
    split: Split, start: int, images: Sequence[Image.Image | Encoded], data: DataConfig, *, with_sums: bool
) -> Chunk:
    side, skipped = data.stored_px, []
    squares = np.empty((len(images), 3, side, side), np.uint8)
    kept = 0
    for row, image in enumerate(images, start):
        try:
            upright = decode(image.content, split.ids[row], side) if isinstance(image, Encoded) else image
        except BadImage:
            if not data.skip_bad:
                raise
            skipped.append(row)
            continue
        squares[kept] = square(upright, side, data.geometry)
        kept += 1
    squares = squares[:kept]
    if data.store == "raw":
        sums = Sums.of(squares) if with_sums else None
        return Chunk(len(images), squares.reshape(-1).data, [3 * side**2] * kept, skipped, sums)
    coded = [jpeg_of(pixels) for pixels in squares]
    if with_sums:  # of what will be trained on
        for place, jpeg in enumerate(coded):
            squares[place] = pixels_of(jpeg)
    sums = Sums.of(squares) if with_sums else None
    return Chunk(len(images), b"".join(coded), [len(jpeg) for jpeg in coded], skipped, sums)


def _pieces(split: Split, start: int, most: int, workers: int) -> Iterator[tuple[int, Sequence[Image.Image | Encoded]]]:
    """A few images and the row of the first: at most so many, and of large files fewer."""
    count, room = 1, min(READ_BYTES, READ_AHEAD_BYTES // (2 * workers))
    while start < len(split.labels):
        images = split.read(start, min(start + count, len(split.labels)))
        yield start, images
        size = sum(_size(image) for image in images)
        count = max(1, min(2 * count, most, room * len(images) // max(1, size)))
        start += len(images)


def _size(image: Image.Image | Encoded) -> int:
    if isinstance(image, Encoded):
        return len(image.content) if isinstance(image.content, bytes) else 0
    return 3 * image.width * image.height
