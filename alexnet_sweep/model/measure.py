"""Shapes and multiply-accumulates of a built network, for one that cannot be planned: it is the user's own."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode


@dataclass(frozen=True)
class Measured:
    """One module with parameters of its own: output shape without the batch, counts for one image."""

    name: str
    output: tuple[int, ...]
    parameters: int
    multiply_accumulates: int


def measured(net: nn.Module, crop_px: int) -> list[Measured]:
    """Every module with parameters of its own, in the order in which one image passes them; others count in theirs."""
    parameters: dict[str, int] = {}
    for name, value in net.named_parameters():  # a shared one once
        owner = name.rpartition(".")[0]
        parameters[owner] = parameters.get(owner, 0) + value.numel()
    seen: dict[str, tuple[int, ...]] = {}

    def note(name: str) -> Any:
        def hook(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
            seen.setdefault(name, tuple(output.shape[1:]) if isinstance(output, Tensor) else ())

        return hook

    owners = {*parameters, ""}
    hooks = [net.get_submodule(name).register_forward_hook(note(name)) for name in owners]
    counter = FlopCounterMode(display=False)
    training, device, fast = net.training, next(net.parameters()).device, torch.backends.mha.get_fastpath_enabled()
    net.eval()
    torch.backends.mha.set_fastpath_enabled(False)  # its operations are not counted
    try:
        with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), counter:
            net(torch.zeros((1, 3, crop_px, crop_px), device=device))
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
        net.train(training)
        for hook in hooks:
            hook.remove()
    outermost, counts = type(net).__name__, counter.get_flop_counts()  # of each module with all below it
    whole = {name: sum(counts.get(f"{outermost}.{name}" if name else outermost, {}).values()) // 2 for name in owners}
    own = dict(whole)
    for name in owners - {""}:
        own[_around(name, owners)] -= whole[name]
    order = [*seen, *(name for name in parameters if name not in seen)]
    return [
        Measured(name, seen.get(name, ()), parameters.get(name, 0), own[name])
        for name in order
        if name in parameters or own[name]
    ]


def _around(name: str, owners: set[str]) -> str:
    """The innermost of the modules that a module lies in."""
    while name:
        name = name.rpartition(".")[0]
        if name in owners:
            return name
    return ""
