"""What follows a convolution, in the configured order: activation, response normalisation, pooling (paper §3.1, §3.3).

Shared by all nets, so that `model/activation` and `model/lrn` mean the same in each.
"""

from torch import nn

from alexnet_sweep.config import Config
from alexnet_sweep.model.layers import ScaledTanh
from alexnet_sweep.model.norms import ResponseNorm, WithinMapNorm
from alexnet_sweep.plugins import load

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "tanh": nn.Tanh,
    "scaled_tanh": ScaledTanh,
}


def activation(config: Config) -> nn.Module:
    """A new module of the configured non-linearity."""
    custom = config.model.activation.custom
    if custom is not None:
        own: nn.Module = load(custom)()
        return own
    return ACTIVATIONS[config.model.activation.name]()


def after_convolution(
    config: Config, number: str, channels: int, pooling: dict[str, nn.Module]
) -> dict[str, nn.Module]:
    """Activation, normalisation and pooling of one convolution, in the configured order."""
    lrn = config.model.lrn
    act: dict[str, nn.Module] = {f"act{number}": activation(config)}
    norm: dict[str, nn.Module] = {}
    position = "after_activation"
    if number == "1" and lrn.first:
        norm, position = {"lrn1": _normaliser(config, channels)}, lrn.first_position
    if number == "2":
        position = lrn.second_position
        if lrn.second:
            norm["lrn2"] = _normaliser(config, channels)
        if lrn.within_map:
            norm["lrn2_within_map"] = WithinMapNorm(
                lrn.within_map_size, 1.0, lrn.within_map_alpha, lrn.beta, alpha_convention="mean"
            )
    if position == "before_activation":
        return norm | act | pooling
    if position == "after_pool":
        return act | pooling | norm
    return act | norm | pooling


def _normaliser(config: Config, channels: int) -> nn.Module:
    lrn = config.model.lrn
    if lrn.custom is not None:
        own: nn.Module = load(lrn.custom)(channels)
        return own
    if lrn.kind == "within_map":
        return WithinMapNorm(lrn.size, lrn.k, lrn.alpha, lrn.beta, alpha_convention=lrn.alpha_convention)
    return ResponseNorm(
        lrn.size,
        lrn.k,
        lrn.alpha,
        lrn.beta,
        alpha_convention=lrn.alpha_convention,
        columns=_columns(config) if lrn.per_column else 1,
    )


def _columns(config: Config) -> int:
    return config.model.topology.columns if config.model.net.name == "alexnet" else 1
