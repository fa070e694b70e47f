"""The update rule (paper §5): parameter groups, and what happens to the velocity at a drop of the learning rate.

The paper writes v ← m·v − λ·ε·w − ε·∂L/∂w; w ← w + v, with the learning rate ε inside the velocity. PyTorch's
buffer b has no ε in it (w ← w − ε·b). Both are the same while ε is constant; at a drop PyTorch rescales
the whole accumulated velocity at once, while the paper's keeps its older, larger steps for a few
iterations. Multiplying the buffers by ε_old / ε_new at the drop gives the paper's rule exactly.
"""

import torch
from torch import nn

from alexnet_sweep.config import OptimConfig, WeightDecayConfig


def build_optimizer(net: nn.Module, config: OptimConfig, decay: WeightDecayConfig) -> torch.optim.Optimizer:
    """Two parameter groups, weights and biases, each with its own learning rate and decay.

    A group remembers its full rate as `base_lr`; `set_learning_rate_factor` scales it.
    """
    named = list(net.named_parameters())
    groups = [
        {
            "params": [value for name, value in named if name.endswith("weight")],
            "lr": config.learning_rate,
            "weight_decay": decay.weights,
        },
        {
            "params": [value for name, value in named if not name.endswith("weight")],
            "lr": config.learning_rate * config.bias_learning_rate_factor,
            "weight_decay": decay.biases,
        },
    ]
    for group in groups:
        group["base_lr"] = group["lr"]
    if config.name == "sgd":
        return torch.optim.SGD(groups, lr=config.learning_rate, momentum=config.momentum)
    kind = torch.optim.Adam if config.name == "adam" else torch.optim.AdamW
    return kind(groups, lr=config.learning_rate, betas=(config.momentum, 0.999))


@torch.no_grad()
def set_learning_rate_factor(optimizer: torch.optim.Optimizer, factor: float, velocity: str) -> None:
    """Set every group's rate to `factor` times its full rate, before the steps that use it.

    With `velocity="paper"`, SGD's buffers are rescaled so that the velocity itself stays as it was. A rate of
    zero stops the weights at once in either form.
    """
    for group in optimizer.param_groups:
        before, after = group["lr"], group["base_lr"] * factor
        group["lr"] = after
        if velocity != "paper" or before == after or before == 0 or after == 0:
            continue
        for parameter in group["params"]:
            buffer = optimizer.state[parameter].get("momentum_buffer")
            if buffer is not None:
                buffer.mul_(before / after)
