"""What a folder of data is, cheaply: names, sizes and contents of its files."""

import hashlib
import os
import stat
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from alexnet_sweep.errors import DataError, nearest

IMAGE_SUFFIXES = frozenset(
    (".jpg", ".jpeg", ".png", ".ppm", ".pgm", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".parquet", ".arrow")
)
WHOLE_BYTES = 64 << 20  # a folder up to this size is hashed whole, and of a larger one each file of answers or names
SAMPLED = IMAGE_SUFFIXES | {".xml"}  # of which there may be a million
SAMPLED_FILES = 256
MOST_WAYS = 100  # by which links may lead to one folder
SAMPLED_BYTES = 64 << 10


def files_below(path: str, suffixes: frozenset[str] | None = IMAGE_SUFFIXES) -> list[str]:
    """Names below a folder of all files in it, sorted; with `suffixes`, one of them at least must end so.

    Raises:
        DataError: where there is no such folder, or no such file in it.
    """
    folder = Path(path)
    if not folder.is_dir():
        around = folder.parent
        names = [item.name for item in around.iterdir()] if around.is_dir() else []
        raise DataError(
            f"data.path={path}: no such folder.{nearest(folder.name, names)} Give a folder of Parquet or "
            "Arrow files, or of one folder of images a class"
        )
    # All of them: labels and class names may lie in files beside the images. Names, not paths, of which a million would
    # take a gigabyte.
    files = sorted(
        f"{place}/{name}".removeprefix(f"{folder}/")
        for place, names in _places(folder)
        for name in names
        if not name.startswith(".")
    )
    if suffixes is not None and not any(Path(file).suffix.lower() in suffixes for file in files):
        raise DataError(
            f"data.path={path}: holds no images; found {what_is_in(folder)}; "
            f"allowed: {', '.join(sorted(suffixes))} files, in one folder a class under train/ and val/"
        )
    return files


def _places(folder: Path) -> Iterator[tuple[str, list[str]]]:
    """Folders below one, and their files; links are followed, but not into a folder that they lie in."""
    above: dict[str, frozenset[tuple[int, int]]] = {}
    ways: Counter[tuple[int, int]] = Counter()
    for place, inner, names in os.walk(folder, followlinks=True):
        told = Path(place).stat()
        around, own = above.pop(place, frozenset()), (told.st_dev, told.st_ino)
        if own in around:
            inner.clear()
            continue
        ways[own] += 1
        if ways[own] > MOST_WAYS:  # links among a few folders make more paths than anybody can walk
            raise DataError(
                f"data.path={folder}: links lead to {place} in more than {MOST_WAYS} ways; keep one of them"
            )
        above |= {os.path.join(place, name): around | {own} for name in inner}  # noqa: PTH118  as os.walk writes it
        yield place, names


def what_is_in(folder: Path) -> str:
    names = sorted(item.name for item in folder.iterdir())
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "") or "nothing"


def hash_files(files: list[str], folder: Path) -> str:
    """A digest of files by their names below a folder; see `data.opening.content_id` for how much of them is read."""
    digest = hashlib.sha256()
    try:
        told = [(folder / file).stat() for file in files]
    except OSError as error:
        raise DataError(f"{error.filename}: cannot be read ({error.strerror}); mend or remove it") from error
    odd = next((file for file, found in zip(files, told, strict=True) if not stat.S_ISREG(found.st_mode)), None)
    if odd is not None:
        raise DataError(f"{folder / odd}: a pipe or a device, no file; remove it")
    sizes = [found.st_size for found in told]
    whole = sum(sizes) <= WHOLE_BYTES
    every = -(-len(files) // SAMPLED_FILES)
    for index, (file, size) in enumerate(zip(files, sizes, strict=True)):
        digest.update(f"{file}\0{size}\0".encode(errors="surrogateescape"))
        if whole or (size <= WHOLE_BYTES and Path(file).suffix.lower() not in SAMPLED):
            digest.update((folder / file).read_bytes())
        elif index % every == 0:
            with (folder / file).open("rb") as stream:
                digest.update(stream.read(SAMPLED_BYTES))
                stream.seek(max(0, size - SAMPLED_BYTES))
                digest.update(stream.read(SAMPLED_BYTES))
    return digest.hexdigest()
