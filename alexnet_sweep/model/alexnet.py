"""AlexNet as an `nn.Sequential` whose children carry the paper's layer names (paper §3.5, figure 2).

    conv1 → act1 → lrn1 → pool1 → conv2 → act2 → lrn2 → pool2 → conv3 → act3 → conv4 → act4 → conv5 → act5
          → pool5 → fc6 → act6 → drop6 → fc7 → act7 → drop7 → fc8

The order of conv1's and conv2's followers is `model.lrn.first_position` and `second_position`; max pooling and ReLU
commute, so that `before_activation` is the released code's conv → LRN → pool → ReLU. Normalisation that is off, and a
convolution that is dropped, leave their children out. Parameter names are `conv1.weight` and so on in every variant,
so that the same parameter starts from the same stream.
"""

from collections import OrderedDict

from torch import nn

from alexnet_sweep.config import Config, ModelConfig
from alexnet_sweep.model.layer import Layer
from alexnet_sweep.model.layers import GroupedLinear, KeyedDropout
from alexnet_sweep.model.order import activation, after_convolution
from alexnet_sweep.plugins import load


def alexnet_children(config: Config, layers: list[Layer]) -> "OrderedDict[str, nn.Module]":
    """The net's modules by name, uninitialised."""
    model, dropout = config.model, config.regularizer.dropout
    children: OrderedDict[str, nn.Module] = OrderedDict()
    for layer in layers:
        kind, number = layer.name[:-1], layer.name[-1]
        if kind == "conv":
            _add_convolution(children, layer)
            pooling = {pool: _pooling(model) for pool, _ in layer.pools}
            children |= after_convolution(config, number, layer.outputs, pooling)
            continue
        if layer.name == "fc6":
            children["flatten"] = nn.Flatten()
        children[layer.name] = GroupedLinear(layer.inputs, layer.outputs, layer.groups)
        if layer.name != "fc8":
            children[f"act{number}"] = activation(config)
            children[f"drop{number}"] = KeyedDropout(dropout.rate, dropout.form, layer.name, config.seed)
    return children


def _pooling(model: ModelConfig) -> nn.Module:
    if model.pool.custom is not None:
        own: nn.Module = load(model.pool.custom)(model.pool.size, model.pool.stride, ceil_mode=model.pool.ceil)
        return own
    return nn.MaxPool2d(model.pool.size, model.pool.stride, ceil_mode=model.pool.ceil)


def _add_convolution(children: "OrderedDict[str, nn.Module]", layer: Layer) -> None:
    left, right, top, bottom = layer.padding
    symmetric = left == right == top == bottom
    if not symmetric:
        children[f"pad{layer.name[-1]}"] = nn.ZeroPad2d((left, right, top, bottom))
    children[layer.name] = nn.Conv2d(
        layer.inputs,
        layer.outputs,
        layer.kernel,
        layer.stride,
        left if symmetric else 0,
        groups=layer.groups,
    )
