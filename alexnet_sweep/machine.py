"""What this machine and this process are: cores, host, boot, process start. Imports no torch."""

import os
import socket
import sys
from contextlib import suppress
from functools import cache
from pathlib import Path

import psutil

QUEUE_JOB = "ALEXNET_SWEEP_JOB"


def usable_cores() -> int:
    """Cores this process may use (an affinity mask, as SLURM and taskset set it, counts)."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@cache
def host() -> str:
    return socket.gethostname()


@cache
def boot() -> str:
    """An id of the current boot, so that a process id is not mistaken for one from before a restart."""
    linux = Path("/proc/sys/kernel/random/boot_id")
    return linux.read_text().strip() if linux.is_file() else f"{psutil.boot_time():.0f}"


def started(process: int) -> float | None:
    """When a process of this machine started, in seconds; None where there is no such process.

    On Linux since the boot, which a clock that is set does not change; elsewhere since 1970.
    """
    try:
        if sys.platform == "linux":
            told = Path(f"/proc/{process}/stat").read_text(encoding="utf-8", errors="replace")
            return int(told.rpartition(")")[2].split()[19]) / os.sysconf("SC_CLK_TCK")  # proc(5): field 22
    except (FileNotFoundError, ProcessLookupError):
        return None
    try:
        return float(psutil.Process(process).create_time())
    except (psutil.Error, OverflowError):
        return None


def below() -> set[int]:
    """The processes that this one has started and those that they have, as far as they have not ended."""
    found = set()
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            if process.status() != psutil.STATUS_ZOMBIE:
                found.add(process.pid)
    return found


def free_bytes(folder: Path) -> int:
    """Room on the disk of a folder, which need not be there yet; endless on one that tells no size, as /proc."""
    usage = psutil.disk_usage(str(_there(folder)))
    return int(usage.free) if usage.total else sys.maxsize


def disk_of(folder: Path) -> int:
    """The number of the file system that a folder lies on, or will."""
    return _there(folder).stat().st_dev


def _there(folder: Path) -> Path:
    return next(place for place in (folder, *folder.absolute().parents) if place.is_dir())


def queue_job() -> str | None:
    """The job of a cluster's queue that this process belongs to, as its launcher has told; None outside of one."""
    return os.environ.get(QUEUE_JOB)


def memory_bytes() -> int:
    """Of the whole machine."""
    return int(psutil.virtual_memory().total)
