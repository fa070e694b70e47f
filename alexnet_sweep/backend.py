"""PyTorch's process-wide settings for the length of one run: threads, determinism, TF32, generators."""

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from alexnet_sweep.config import TrainerConfig
from alexnet_sweep.errors import ConfigError
from alexnet_sweep.launching import cores_of_a_run

# glibc's mallopt, its options, and the values that it has by itself (malloc.h).
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4
USUAL = {M_TRIM_THRESHOLD: 128 * 1024, M_MMAP_MAX: 65536}
KEEPING = {M_TRIM_THRESHOLD: 2**31 - 1, M_MMAP_MAX: 0}


def set_allocator(options: dict[int, int]) -> None:
    """Tell glibc when to give freed memory back; where the C library is another one, nothing happens.

    By itself it does so after every large tensor, and the next one's pages are then made anew: up to a fifth of a step.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if os.name == "posix" else None
    if mallopt is not None:
        for option, value in options.items():
            mallopt(option, value)


def no_deterministic_form(error: Exception, device: str) -> ConfigError | None:
    """What to do where PyTorch refuses an operation that it has in no deterministic form; None for other errors."""
    told = " ".join(str(error).split())
    if not isinstance(error, RuntimeError) or "use_deterministic_algorithms" not in told:
        return None
    if "CUBLAS_WORKSPACE_CONFIG" in told:
        found = os.environ.get("CUBLAS_WORKSPACE_CONFIG", "not set")
        return ConfigError(
            f"trainer.deterministic=true: CUBLAS_WORKSPACE_CONFIG is {found}; unset it, or set it to :4096:8 or :16:8"
        )
    return ConfigError(
        f"trainer.deterministic=true: {told.split(' does not have')[0]} has no deterministic form on {device}; set "
        "trainer.deterministic=false (two such runs may then differ, and the report says so), or take another "
        "trainer.device"
    )


@contextmanager
def backend(config: TrainerConfig, processes: int = 1) -> Iterator[None]:
    """Threads, determinism and TF32 for this run; as they were before for the next one in this process.

    `processes` are those of the run on this machine: cores are shared among them.
    """
    threads, wanted = torch.get_num_threads(), config.cpu_threads
    was_deterministic = torch.are_deterministic_algorithms_enabled()
    # Any: its attribute is a property of the module, which type checkers do not know.
    deterministic: Any = torch.utils.deterministic
    fills = deterministic.fill_uninitialized_memory
    benchmark = torch.backends.cudnn.benchmark
    products, convolutions = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    # cuBLAS reads this once, before its first product; without it deterministic mode refuses to run on CUDA.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.set_num_threads(max(1, cores_of_a_run() // processes) if wanted == "auto" else int(wanted))
    torch.use_deterministic_algorithms(config.deterministic)
    deterministic.fill_uninitialized_memory = False  # a debugging aid that costs 5 % of a step
    torch.backends.cudnn.benchmark = not config.deterministic
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = config.tf32
    set_allocator(KEEPING)
    gpus = [torch.cuda.current_device()] if torch.cuda.is_available() else []
    try:
        with torch.random.fork_rng(devices=gpus):
            yield
    finally:
        set_allocator(USUAL)
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(was_deterministic)
        deterministic.fill_uninitialized_memory = fills
        torch.backends.cudnn.benchmark = benchmark
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = products, convolutions
