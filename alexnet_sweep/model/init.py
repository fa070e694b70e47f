"""Initial weights and biases (paper §5), each parameter from a stream of its own."""

import math

import torch
from torch import nn

from alexnet_sweep.config import ModelConfig
from alexnet_sweep.model.plan import BIAS_LAYERS, Layer, full_size
from alexnet_sweep.streams import stream_seed


def weight_std(model: ModelConfig, layer: Layer, classes: int, input_divisor: float) -> float:
    """Standard deviation of a layer's initial weights.

    `normal` takes the configured value; where inputs are divided by s, conv1's follows (`follow_input`), so
    that the net computes the same function at step 0. With `keep_gain`, a layer of fewer inputs than
    at full size gets a larger one in proportion to the root, so that signals pass through a small net
    as through the big one; at full size it changes nothing. `he` is sqrt(2 / fan-in).
    """
    if model.init.rule == "he":
        return math.sqrt(2.0 / layer.fan_in)
    kind, number = layer.name[:-1], int(layer.name[-1])
    std = model.init.conv_std[number - 1] if kind == "conv" else model.init.fc_std[number - 6]
    if layer.name == "conv1" and model.init.follow_input:
        std *= input_divisor
    if model.init.keep_gain:
        big = {other.name: other for other in full_size(model, classes)}
        std *= math.sqrt(big[layer.name].fan_in / layer.fan_in)
    return std


@torch.no_grad()
def initialise(
    net: nn.Module,
    layers: list[Layer],
    model: ModelConfig,
    *,
    classes: int,
    input_divisor: float,
    seed: int,
) -> None:
    """Fill every weight and bias of `net`, whose modules carry the names of `layers`."""
    for layer in layers:
        module = net.get_submodule(layer.name)
        weight, bias = module.get_parameter("weight"), module.get_parameter("bias")
        generator = torch.Generator().manual_seed(stream_seed(seed, "init", f"{layer.name}.weight"))
        draws = torch.randn(weight.shape, generator=generator)
        weight.copy_(draws * weight_std(model, layer, classes, input_divisor))
        bias.fill_(model.bias.value if layer.name in BIAS_LAYERS else 0.0)
