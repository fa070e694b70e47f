"""Initial weights and biases (paper §5), each parameter from a stream of its own."""

import math

import torch
from torch import nn

from alexnet_sweep.config import Config
from alexnet_sweep.model.layer import Layer
from alexnet_sweep.model.plan import full_size
from alexnet_sweep.streams import stream_seed


def weight_std(config: Config, layer: Layer, classes: int) -> float:
    """Standard deviation of a layer's initial weights.

    `normal` takes the configured value; where inputs are divided by s, conv1's follows (`follow_input`), so
    that the net computes the same function at step 0. With `keep_gain`, a layer of fewer inputs than
    at full size gets a larger one in proportion to the root, so that signals pass through a small net
    as through the big one; at full size it changes nothing. `he` is sqrt(2 / fan-in); `fan_in` is sqrt(1 / 3 / fan-in),
    that of numbers drawn evenly between ±1 / sqrt(fan-in).
    """
    init = config.model.init
    if init.rule == "he":
        return math.sqrt(2.0 / layer.fan_in)
    if init.rule == "fan_in":
        return math.sqrt(1.0 / 3.0 / layer.fan_in)
    std = init.std[layer.name]
    if layer.name == "conv1" and init.follow_input:
        std *= config.data.input_divisor
    if init.keep_gain:
        big = {other.name: other for other in full_size(config.model, config.data.crop_px, classes)}
        std *= math.sqrt(big[layer.name].fan_in / layer.fan_in)
    return std


def _follows(config: Config) -> bool:
    """Whether conv1's weights make up for channels that are divided each by its own deviation."""
    init = config.model.init
    return init.rule == "normal" and init.follow_input and config.inputs.deviation is not None


@torch.no_grad()
def initialise(net: nn.Module, layers: list[Layer], config: Config, *, classes: int) -> None:
    """Fill every weight and bias of `net`, whose modules carry the names of `layers`."""
    for layer in layers:
        module = net.get_submodule(layer.name)
        weight, bias = module.get_parameter("weight"), module.get_parameter("bias")
        generator = torch.Generator().manual_seed(stream_seed(config.seed, "init", f"{layer.name}.weight"))
        if config.model.init.rule == "fan_in":
            draws = (2.0 * torch.rand(weight.shape, generator=generator) - 1.0) * math.sqrt(3.0)
        else:
            draws = torch.randn(weight.shape, generator=generator)
        weight.copy_(draws * weight_std(config, layer, classes))
        if layer.name == "conv1" and _follows(config):
            weight.mul_(torch.tensor(config.inputs.deviation)[:, None, None])
        bias.fill_(config.model.bias.value if layer.takes_bias else 0.0)
