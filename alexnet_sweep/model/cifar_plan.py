"""The layers of cuda-convnet's nets for CIFAR-10, to which the paper's claims on CIFAR-10 point (§3.1, §3.3, footnote).

Source: cuda-convnet's example-layers/*.cfg and its documents. `conv_pool` is the 26, 19 and 18 % nets, for 32 px
images; `conv_local` the 13 and 11 % nets, for 24 px crops, with two layers that share no weights between places.
Every pooling is 3x3 at stride 2 with the ceil rule.
"""

import dataclasses

from alexnet_sweep.config import ModelConfig
from alexnet_sweep.model.layer import Layer, pooled, scaled

POOL_SIZE, POOL_STRIDE = 3, 2


def plan_cifar(model: ModelConfig, crop_px: int, classes: int) -> list[Layer]:
    """All layers with weights of the configured CIFAR-10 net, first to last.

    Raises:
        ConfigError: where the maps shrink to nothing.
    """
    spatial = _conv_pool() if model.net.name == "conv_pool" else _conv_local(model.local3_width)
    layers: list[Layer] = []
    channels, size = 3, crop_px
    for layer, pool in spatial:
        layer = dataclasses.replace(layer, inputs=channels, outputs=scaled(layer.outputs, model.width), out_px=size)
        channels = layer.outputs
        if pool is not None:
            size = pooled(size, POOL_SIZE, POOL_STRIDE, ceil=True, crop_px=crop_px)
            layer = dataclasses.replace(layer, pools=((pool, size),))
        layers.append(layer)
    units = channels * size**2
    if model.net.name == "conv_pool" and model.net.hidden_units is not None:
        layers.append(Layer("fc64", units, scaled(model.net.hidden_units, model.width)))
        units = layers[-1].outputs
    inner = [dataclasses.replace(layer, takes_bias=True) for layer in layers[1:]]
    return [layers[0], *inner, Layer("fc10", units, classes)]


def _conv_pool() -> list[tuple[Layer, str | None]]:
    return [(_same("conv1", 32, 5), "pool1"), (_same("conv2", 32, 5), "pool2"), (_same("conv3", 64, 5), "pool3")]


def _conv_local(local3_width: int) -> list[tuple[Layer, str | None]]:
    return [
        (_same("conv1", 64, 5), "pool1"),
        (_same("conv2", 64, 5), "pool2"),
        (_same("local3", local3_width, 3, local=True), None),
        (_same("local4", 32, 3, local=True), None),
    ]


def _same(name: str, outputs: int, kernel: int, *, local: bool = False) -> Layer:
    """A layer whose maps keep their size; inputs are filled in later."""
    edge = kernel // 2
    return Layer(name, 0, outputs, kernel=kernel, padding=(edge, edge, edge, edge), local=local)
