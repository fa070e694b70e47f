"""The update rule (paper §5): parameter groups, and what happens to the velocity at a drop of the learning rate.

The paper writes v ← m·v − λ·ε·w − ε·∂L/∂w; w ← w + v, with the learning rate ε inside the velocity. PyTorch's
buffer b has no ε in it (w ← w − ε·b). Both are the same while ε is constant; at a drop PyTorch rescales
the whole accumulated velocity at once, while the paper's keeps its older, larger steps for a few
iterations. Multiplying the buffers by ε_old / ε_new at the drop gives the paper's rule exactly.
"""

from typing import Any

import torch
from torch import nn

from alexnet_sweep.config import OptimConfig, WeightDecayConfig
from alexnet_sweep.errors import ConfigError
from alexnet_sweep.plugins import load
from alexnet_sweep.schedule import Factors

FUSED_ON = ("cpu", "cuda")


def build_optimizer(net: nn.Module, config: OptimConfig, decay: WeightDecayConfig) -> torch.optim.Optimizer:
    """Parameters grouped by what their rate and decay depend on: weight or bias, conv1 or not, the layer's decay.

    A group remembers its full rate as `base_lr`, whether it is conv1's and whether it holds biases;
    `set_learning_rate_factors` scales it.

    Raises:
        ConfigError: where a decay is set for a layer that is not there.
    """
    layers = {name.rpartition(".")[0] for name, _ in net.named_parameters()}
    unknown = sorted(set(decay.layers) - layers)
    if unknown:
        raise ConfigError(
            f"regularizer.weight_decay.layers: the network has no layer {', '.join(unknown)}; have: "
            f"{', '.join(sorted(layers))}"
        )
    found: dict[tuple[bool, bool, float], dict[str, Any]] = {}
    for name, value in net.named_parameters():
        layer, _, role = name.rpartition(".")
        conv1, bias = layer == "conv1", role.endswith("bias")
        strength = decay.biases if bias else decay.layers.get(layer, decay.weights)
        rate = config.learning_rate * (config.bias_learning_rate_factor if bias else 1.0)
        fresh = {"params": [], "lr": rate, "base_lr": rate, "conv1": conv1, "bias": bias, "weight_decay": strength}
        found.setdefault((conv1, bias, strength), fresh)["params"].append(value)
    # The first group's rate is the one that is told of: that of weights, and not conv1's.
    groups = [found[key] for key in sorted(found)]
    if config.custom is not None:
        own: torch.optim.Optimizer = load(config.custom)(groups, lr=config.learning_rate)
        return own
    if config.name == "sgd":
        # One pass over each parameter in place of four: on a CPU six times as fast, and the same numbers.
        fused = all(value.device.type in FUSED_ON for value in net.parameters())
        return torch.optim.SGD(groups, lr=config.learning_rate, momentum=config.momentum, fused=fused)
    kind = torch.optim.Adam if config.name == "adam" else torch.optim.AdamW
    return kind(groups, lr=config.learning_rate, betas=(config.momentum, 0.999))


@torch.no_grad()
def set_learning_rate_factors(optimizer: torch.optim.Optimizer, factors: Factors, velocity: str) -> None:
    """Set every group's rate to its factor times its full rate, before the steps that use it.

    With `velocity="paper"`, SGD's buffers are rescaled so that the velocity itself stays as it was. A rate of
    zero stops the weights at once in either form.
    """
    for group in optimizer.param_groups:
        if group["conv1"]:
            factor = factors.conv1_biases if group["bias"] else factors.conv1
        else:
            factor = factors.biases if group["bias"] else factors.weights
        before, after = group["lr"], group["base_lr"] * factor
        group["lr"] = after
        if velocity != "paper" or before == after or before == 0 or after == 0:
            continue
        for parameter in group["params"]:
            buffer = optimizer.state[parameter].get("momentum_buffer")
            if buffer is not None:
                buffer.mul_(before / after)


@torch.no_grad()
def lay_out_as_parameters(optimizer: torch.optim.Optimizer) -> None:
    """Give loaded state the order in memory of its parameters, where it was saved in another memory format.

    The fused update walks through both in the order of their memory.
    """
    for parameter, state in optimizer.state.items():
        for name, value in state.items():
            if torch.is_tensor(value) and value.shape == parameter.shape and value.stride() != parameter.stride():
                state[name] = torch.empty_like(parameter, dtype=value.dtype, device=value.device).copy_(value)
