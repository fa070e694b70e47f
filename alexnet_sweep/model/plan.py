"""The layers of a configured network, with their shapes, before any tensor exists (paper §3.5, figure 2).

`plan_layers` is the one place that turns a config into layers: here AlexNet's, from widths, topology, depth, stem and
pooling; in `cifar_plan` those of cuda-convnet's nets.
"""

import dataclasses
from collections.abc import Sequence

from alexnet_sweep.config import Config, ModelConfig, StemConfig
from alexnet_sweep.errors import ConfigError
from alexnet_sweep.model.cifar_plan import plan_cifar
from alexnet_sweep.model.layer import Layer, pooled, scaled

FULL_SIZE_CROP_PX = 224
POOLED = (1, 2, 5)  # convolutions with a pooling after them
BIAS_LAYERS = ("conv2", "conv4", "conv5", "conv6", "fc6", "fc7")  # paper §5; conv6 as in the released code
SIXTH_KERNELS = 256  # released code, config 146: 128 in each half


def fitted_stem(stem: StemConfig, crop_px: int) -> tuple[int, int, tuple[int, int, int, int]]:
    """Kernel, stride and padding of conv1: as configured, or fitted to the crop (model/stem=auto)."""
    if stem.kernel is not None and stem.stride is not None and stem.padding is not None:
        left, right, top, bottom = stem.padding
        return stem.kernel, stem.stride, (left, right, top, bottom)
    if crop_px <= 40:
        return 5, 1, (0, 0, 0, 0)
    if crop_px <= 96:
        return 9, 2, (0, 0, 0, 0)
    kernel, stride = 11, 4
    over = -(crop_px - kernel) % stride  # the released code's ceil rule (its layer.py)
    return kernel, stride, (0, over, 0, over)


def plan_layers(model: ModelConfig, crop_px: int, classes: int) -> list[Layer]:
    """All layers with weights, first to last; none are known of a network of the user's own.

    Raises:
        ConfigError: where the maps shrink to nothing, or groups or columns do not divide the channels.
    """
    if model.net.custom is not None:
        return []
    if model.net.name != "alexnet":
        return plan_cifar(model, crop_px, classes)
    topology, depth = model.topology, model.depth
    kernel, stride, padding = fitted_stem(model.stem, crop_px)
    layers: list[Layer] = []
    channels, size = 3, crop_px
    for number in range(1, 6):
        if number != depth.removed_conv:
            shape = (kernel, stride, padding) if number == 1 else _later(number, model)
            layer = Layer(
                f"conv{number}",
                channels,
                scaled(topology.kernels[number - 1], model.width),
                topology.groups[number - 1],
                *shape,
            )
            size = _convolved(size, layer)
            channels = layer.outputs
            layers.append(dataclasses.replace(layer, out_px=size))
        if number in POOLED:
            size = pooled(size, model.pool.size, model.pool.stride, ceil=model.pool.ceil, crop_px=crop_px)
            pools = (*layers[-1].pools, (f"pool{number}", size))
            layers[-1] = dataclasses.replace(layers[-1], pools=pools)
    if depth.sixth_conv:
        outputs = scaled(SIXTH_KERNELS, model.width)
        layers.append(Layer("conv6", channels, outputs, 1, *_padded(3, 1), out_px=size))
        channels = outputs
    units = channels * size**2
    for name, width, groups in zip(("fc6", "fc7"), topology.fc_widths, topology.fc_groups, strict=True):
        layers.append(Layer(name, units, scaled(width, model.width), groups))
        units = layers[-1].outputs
    layers.append(Layer("fc8", units, classes))
    layers = [dataclasses.replace(layer, takes_bias=layer.name in BIAS_LAYERS) for layer in layers]
    _check_divisions(model, layers)
    return layers


def check_names(config: Config, layers: Sequence[Layer]) -> None:
    """Refuse settings by layer that do not fit the layers there are.

    Raises:
        ConfigError: a layer without an initial spread, or a weight decay for a layer that is not there.
    """
    if config.model.net.custom is not None:
        return  # its layers are known once it is built
    names, init = [layer.name for layer in layers], config.model.init
    for name in names:
        if init.rule == "normal" and name not in init.std:
            raise ConfigError(
                f"model.init.std: no value for {name} of model/net={config.model.net.name}; has values for "
                f"{', '.join(init.std) or 'no layer'}. Choose another model/init, or add +model.init.std.{name}=0.01"
            )
    unknown = [name for name in config.regularizer.weight_decay.layers if name not in names]
    if unknown:
        raise ConfigError(
            f"regularizer.weight_decay.layers: model/net={config.model.net.name} has no layer {', '.join(unknown)}; "
            f"have: {', '.join(names)}. Choose another regularizer/weight_decay"
        )


def _check_divisions(model: ModelConfig, layers: list[Layer]) -> None:
    normalised = {"conv1": model.lrn.first, "conv2": model.lrn.second}
    for layer in layers:
        if layer.inputs % layer.groups or layer.outputs % layer.groups:
            raise ConfigError(
                f"model.topology: {layer.name} has {layer.inputs} inputs and {layer.outputs} outputs, which "
                f"{layer.groups} groups do not divide; change its groups or widths"
            )
        columns = model.topology.columns
        if normalised.get(layer.name) and model.lrn.per_column and layer.outputs % columns:
            raise ConfigError(
                f"model.topology.columns={columns}: does not divide the {layer.outputs} normalised maps of "
                f"{layer.name}; change it, or set model.lrn.per_column=false"
            )


def full_size(model: ModelConfig, crop_px: int, classes: int) -> list[Layer]:
    """The same net at width 1, AlexNet on 224 px crops: where the initial weights belong."""
    if model.net.name != "alexnet":
        return plan_cifar(dataclasses.replace(model, width=1.0), crop_px, classes)
    paper_stem = StemConfig(kernel=None, stride=None, padding=None)
    whole = dataclasses.replace(model, width=1.0, stem=paper_stem)
    return plan_layers(whole, FULL_SIZE_CROP_PX, classes)


def _later(number: int, model: ModelConfig) -> tuple[int, int, tuple[int, int, int, int]]:
    """Kernel, stride and padding of conv2 to conv5."""
    if number == 2:
        return _padded(5, model.pool.conv2_padding)
    return _padded(3, model.pool.conv5_padding if number == 5 else 1)


def _padded(kernel: int, edge: int) -> tuple[int, int, tuple[int, int, int, int]]:
    return kernel, 1, (edge, edge, edge, edge)


def _convolved(size: int, layer: Layer) -> int:
    left, right, top, bottom = layer.padding
    if left + right != top + bottom:
        raise ConfigError(f"model.stem.padding={list(layer.padding)}: left + right must equal top + bottom")
    room = size + left + right - layer.kernel
    if room < 0:
        raise ConfigError(
            f"data.crop_px: {layer.name} meets maps of {size} px, smaller than its {layer.kernel} px kernel; "
            "raise data.crop_px or choose a model/stem with a smaller kernel"
        )
    return room // layer.stride + 1
