"""cuda-convnet's nets for CIFAR-10 as an `nn.Sequential` (see `cifar_plan` for their layers).

conv_pool: conv1 → max pool → norm, conv2 → average pool → norm, conv3 → average pool, an optional hidden layer, fc10;
conv_local: conv1 → max pool → norm, conv2 → norm → max pool, local3, local4, fc10. Activations follow every layer but
the last; where the normalisers stand is `model.lrn.first_position` and `second_position`, as in AlexNet.
"""

from collections import OrderedDict

from torch import nn

from alexnet_sweep.config import Config
from alexnet_sweep.model.cifar_plan import POOL_SIZE, POOL_STRIDE
from alexnet_sweep.model.layer import Layer
from alexnet_sweep.model.layers import LocallyConnected
from alexnet_sweep.model.order import activation, after_convolution


def cifar_children(config: Config, layers: list[Layer]) -> "OrderedDict[str, nn.Module]":
    """The net's modules by name, uninitialised."""
    children: OrderedDict[str, nn.Module] = OrderedDict()
    for layer in layers:
        name = layer.name
        if name.startswith("conv"):
            edge = layer.padding[0]
            children[name] = nn.Conv2d(layer.inputs, layer.outputs, layer.kernel, padding=edge)
            pooling = {pool: _pooling(config, pool) for pool, _ in layer.pools}
            children |= after_convolution(config, name[-1], layer.outputs, pooling)
        elif layer.local:
            children[name] = LocallyConnected(layer.inputs, layer.outputs, layer.out_px, layer.kernel, layer.padding[0])
            children[f"act{name[-1]}"] = activation(config)
        else:
            children.setdefault("flatten", nn.Flatten())
            children[name] = nn.Linear(layer.inputs, layer.outputs)
            if layer is not layers[-1]:
                children[f"act_{name}"] = activation(config)
    return children


def _pooling(config: Config, pool: str) -> nn.Module:
    """Max pooling, but averages after conv2 and conv3 of `conv_pool`; an average divides by the real pixels."""
    if config.model.net.name == "conv_pool" and pool != "pool1":
        return nn.AvgPool2d(POOL_SIZE, POOL_STRIDE, ceil_mode=True)
    return nn.MaxPool2d(POOL_SIZE, POOL_STRIDE, ceil_mode=True)
