"""What a folder of data is, cheaply: names, sizes and contents of its files."""

import hashlib
import os
from pathlib import Path

from alexnet_sweep.errors import DataError, nearest

IMAGE_SUFFIXES = frozenset(
    (".jpg", ".jpeg", ".png", ".ppm", ".pgm", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".parquet", ".arrow")
)
WHOLE_BYTES = 64 << 20  # a folder up to this size is hashed whole
SAMPLED_FILES = 256
SAMPLED_BYTES = 64 << 10


def files_below(path: str, suffixes: frozenset[str] | None = IMAGE_SUFFIXES) -> list[Path]:
    """All files below a folder, sorted; with `suffixes`, one of them at least must end so.

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
    # All of them: labels and class names may lie in files beside the images.
    files = sorted(
        Path(place) / name for place, _, names in os.walk(folder) for name in names if not name.startswith(".")
    )
    if suffixes is not None and not any(file.suffix.lower() in suffixes for file in files):
        raise DataError(
            f"data.path={path}: holds no images; found {what_is_in(folder)}; "
            f"allowed: {', '.join(sorted(suffixes))} files, in one folder a class under train/ and val/"
        )
    return files


def what_is_in(folder: Path) -> str:
    names = sorted(item.name for item in folder.iterdir())
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "") or "nothing"


def hash_files(files: list[Path], folder: Path) -> str:
    digest = hashlib.sha256()
    try:
        sizes = [file.stat().st_size for file in files]
    except OSError as error:
        raise DataError(f"{error.filename}: cannot be read ({error.strerror}); mend or remove it") from error
    whole = sum(sizes) <= WHOLE_BYTES
    every = -(-len(files) // SAMPLED_FILES)
    for index, (file, size) in enumerate(zip(files, sizes, strict=True)):
        digest.update(f"{file.relative_to(folder).as_posix()}\0{size}\0".encode())
        if whole:
            digest.update(file.read_bytes())
        elif index % every == 0:
            with file.open("rb") as stream:
                digest.update(stream.read(SAMPLED_BYTES))
                stream.seek(max(0, size - SAMPLED_BYTES))
                digest.update(stream.read(SAMPLED_BYTES))
    return digest.hexdigest()
