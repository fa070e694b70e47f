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
from alexnet_sweep.model.init import initialise
from alexnet_sweep.model.layers import GroupedLinear, KeyedDropout, ResponseNorm, ScaledTanh, WithinMapNorm
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
            pooling = {pool: _pooling(model) for pool, _ in layer.pools}
            children |= _after_convolution(config, number, {f"act{number}": activation()}, pooling)
            continue
        if layer.name == "fc6":
            children["flatten"] = nn.Flatten()
        children[layer.name] = GroupedLinear(layer.inputs, layer.outputs, layer.groups)
        if layer.name != "fc8":
            children[f"act{number}"] = activation()
            children[f"drop{number}"] = KeyedDropout(dropout.rate, dropout.form, layer.name, config.seed)
    return children


def _after_convolution(
    config: Config, number: str, activation: dict[str, nn.Module], pooling: dict[str, nn.Module]
) -> dict[str, nn.Module]:
    """Activation, normalisation and pooling of one convolution, in the configured order."""
    lrn = config.model.lrn
    norm: dict[str, nn.Module] = {}
    position = "after_activation"
    if number == "1" and lrn.first:
        norm, position = {"lrn1": _response_norm(config)}, lrn.first_position
    if number == "2":
        position = lrn.second_position
        if lrn.second:
            norm["lrn2"] = _response_norm(config)
        if lrn.within_map:
            norm["lrn2_within_map"] = WithinMapNorm(lrn.within_map_size, lrn.within_map_alpha, lrn.beta)
    if position == "before_activation":
        return norm | activation | pooling
    if position == "after_pool":
        return activation | pooling | norm
    return activation | norm | pooling


def _pooling(model: ModelConfig) -> nn.Module:
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
