"""Shapes and multiply-accumulates of a built network, for one that cannot be planned: it is the user's own."""

from collections.abc import Container
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode


@dataclass(frozen=True)
class Measured:
    """One module with parameters of its own: output shape without the batch, counts for one image."""

    name: str
    output: tuple[int, ...]
    parameters: int
    multiply_accumulates: int


def measured(net: nn.Module, crop_px: int) -> list[Measured]:
    """Every module that holds parameters, in the order in which one image passes them."""
    seen: dict[str, tuple[int, ...]] = {}
    holders = {name: module for name, module in net.named_modules() if list(module.parameters(recurse=False))}

    def note(name: str) -> Any:
        def hook(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
            seen.setdefault(name, tuple(output.shape[1:]) if isinstance(output, Tensor) else ())

        return hook

    hooks = [module.register_forward_hook(note(name)) for name, module in holders.items()]
    counter = FlopCounterMode(display=False)
    training, device = net.training, next(net.parameters()).device
    net.eval()
    try:
        with torch.no_grad(), counter:
            net(torch.zeros((1, 3, crop_px, crop_px), device=device))
    finally:
        net.train(training)
        for hook in hooks:
            hook.remove()
    flops = counter.get_flop_counts()  # by module, each with those inside it, under the name of the outermost one
    outermost = type(net).__name__
    inside = {name: sum(flops.get(f"{outermost}.{name}" if name else outermost, {}).values()) // 2 for name in seen}
    rows = [
        Measured(
            name,
            shape,
            sum(value.numel() for value in holders[name].parameters(recurse=False)),
            inside[name] - sum(inside[other] for other in seen if _nearest_around(other, seen) == name),
        )
        for name, shape in seen.items()
    ]
    # Weights that are used without a call of their module, and products without weights.
    parameters = sum(value.numel() for value in net.parameters()) - sum(row.parameters for row in rows)
    products = counter.get_total_flops() // 2 - sum(row.multiply_accumulates for row in rows)
    return [*rows, Measured("other", (), parameters, products)] if parameters or products else rows


def _nearest_around(name: str, names: Container[str]) -> str | None:
    """The innermost of the modules `names` that a module lies in."""
    while name:
        name = name.rpartition(".")[0]
        if name in names:
            return name
    return None
