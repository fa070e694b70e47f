"""Where and with what a run was made: everything that may differ between two equal runs."""

import importlib.metadata
import platform
import resource
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

from alexnet_sweep import machine

LIBRARIES = (
    "torch",
    "torchvision",
    "numpy",
    "datasets",
    "pillow",
    "hydra-core",
    "omegaconf",
    "alexnet-sweep",
)


def versions() -> dict[str, str]:
    """Versions of Python and of the libraries that take part."""
    return {"python": platform.python_version()} | {name: importlib.metadata.version(name) for name in LIBRARIES}


@cache
def commit() -> str | None:
    """The commit of the checkout this package runs from, `-dirty` if changed; None outside of one."""
    folder = Path(__file__).parent
    try:
        ours = _git(folder, "ls-files", "--error-unmatch", __file__)
        if ours.returncode:
            return None
        head = _git(folder, "rev-parse", "--short=12", "HEAD").stdout.strip()
        changed = _git(folder, "status", "--porcelain", "--untracked-files=no").stdout.strip()
    except OSError:  # no git here
        return None
    return head + ("-dirty" if changed else "") if head else None


def _git(folder: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(["git", "-C", str(folder), *words], capture_output=True, text=True, check=False)


def peak_memory_bytes() -> int:
    """The largest resident size this process has had."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def machine_facts() -> dict[str, Any]:
    return {
        "host": machine.host(),
        "platform": platform.platform(),
        "cores": machine.usable_cores(),
        "versions": versions(),
        "commit": commit(),
    }
