"""AlexNet as an `nn.Sequential` whose children carry the paper's layer names (paper §3.5, figure 2).

    conv1 → act1 → lrn1 → pool1 → conv2 → act2 → lrn2 → pool2 → conv3 → act3 → conv4 → act4 → conv5 → act5
          → pool5 → fc6 → act6 → drop6 → fc7 → act7 → drop7 → fc8

Normalisation that is off, and a convolution that is dropped, leave their children out. Parameter names are
`conv1.weight` and so on in every variant, so that the same parameter starts from the same stream.
"""

from collections import OrderedDict

from torch import nn

from alexnet_sweep.config import Config
from alexnet_sweep.model.init import initialise
from alexnet_sweep.model.layers import GroupedLinear, KeyedDropout, ResponseNorm, ScaledTanh
from alexnet_sweep.model.plan import Layer, plan_layers

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "tanh": nn.Tanh,
    "scaled_tanh": ScaledTanh,
}


def build_model(config: Config, classes: int) -> nn.Sequential:
    """The configured net, initialised: maps (batch, 3, crop, crop) inputs to (batch, classes) logits.

    Raises:
        ConfigError: where the sizes do not fit together.
    """
    model = config.model
    layers = plan_layers(model, config.data.crop_px, classes)
    net = nn.Sequential(_children(config, layers))
    initialise(
        net,
        layers,
        model,
        classes=classes,
        input_divisor=config.data.input_divisor,
        seed=config.seed,
    )
    return net


def _children(config: Config, layers: list[Layer]) -> "OrderedDict[str, nn.Module]":
    model, dropout = config.model, config.regularizer.dropout
    activation = ACTIVATIONS[model.activation.name]
    children: OrderedDict[str, nn.Module] = OrderedDict()
    for layer in layers:
        kind, number = layer.name[:-1], layer.name[-1]
        if kind == "conv":
            _add_convolution(children, layer)
            children[f"act{number}"] = activation()
            if (number == "1" and model.lrn.first) or (number == "2" and model.lrn.second):
                children[f"lrn{number}"] = _response_norm(config)
            for pool, _ in layer.pools:
                children[pool] = nn.MaxPool2d(model.pool.size, model.pool.stride)
            continue
        if layer.name == "fc6":
            children["flatten"] = nn.Flatten()
        children[layer.name] = GroupedLinear(layer.inputs, layer.outputs, layer.groups)
        if layer.name != "fc8":
            children[f"act{number}"] = activation()
            children[f"drop{number}"] = KeyedDropout(dropout.rate, dropout.form, layer.name, config.seed)
    return children


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


def _response_norm(config: Config) -> ResponseNorm:
    lrn = config.model.lrn
    return ResponseNorm(
        lrn.size,
        lrn.k,
        lrn.alpha,
        lrn.beta,
        alpha_convention=lrn.alpha_convention,
        columns=config.model.topology.columns if lrn.per_column else 1,
    )
