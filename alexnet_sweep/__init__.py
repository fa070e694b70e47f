"""alexnet_sweep: which part of AlexNet matters, and by how much."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from alexnet_sweep.aggregate import load_results

__all__ = ["load_results"]


def __getattr__(name: str) -> Any:
    """`alexnet_sweep.load_results`, without making every import wait for pandas."""
    if name == "load_results":
        from alexnet_sweep.aggregate import load_results

        return load_results
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
