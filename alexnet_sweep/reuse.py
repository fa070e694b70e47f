"""Weights that another run has trained: found by what was trained, or by the run that `init_from` names.

`runs/_trained/<training id>` names the run that has trained what several evaluations share. No torch is imported here.
"""

import math
from pathlib import Path

from alexnet_sweep.errors import FolderError
from alexnet_sweep.files import names_a_folder, read_file, write_text
from alexnet_sweep.store import RunFolder

NOTES = "_trained"  # beside the runs


def trained_as(runs: Path, training_id: str, source_hash: str, *, whole_up_to: float = math.inf) -> RunFolder | None:
    """A finished run that has trained just this with the same sources, and whose weights are there, if one is known.

    Its files are checked as `RunFolder.check_files` says.
    """
    try:
        run_id, sources = read_file(runs / NOTES / training_id).decode().split()
        if not names_a_folder(run_id) or sources != source_hash:
            return None
        folder = RunFolder(runs / run_id)
        result = folder.read_result()
        if result is None:
            return None
        if not (folder.weights.is_file() and folder.metrics.is_file()):
            return None
        folder.check_files(result, whole_up_to=whole_up_to)
        return folder
    except (OSError, ValueError, FolderError):  # no note, or one that cannot be trusted
        return None


def note_trained(folder: RunFolder, training_id: str, source_hash: str) -> None:
    """Let runs that differ in their evaluation alone find this one's weights; the hash is of the training sources."""
    write_text(folder.path.parent / NOTES / training_id, f"{folder.run_id} {source_hash}\n")


def run_to_start_from(runs: Path, name: str) -> RunFolder:
    """The finished run with weights that `init_from` names, by its id or its folder.

    Raises:
        FolderError: where there is none.
    """
    folder = RunFolder(Path(name) if "/" in name else runs / name)
    result = folder.read_result(of_any_run=True)
    if result is None or not folder.weights.is_file():
        lacks = "no run folder" if not folder.path.is_dir() else "not done, or kept without weights"
        done = sorted(item.parent.name for item in runs.glob("*/weights.safetensors")) if runs.is_dir() else []
        raise FolderError(
            f"init_from={name}: {lacks} ({folder.path}); give the id of a finished run below {runs}, or a folder. "
            f"Have: {', '.join(done[:8]) or 'none yet'}"
        )
    folder.check_weights(result)
    return folder
