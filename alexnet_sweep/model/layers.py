"""The layers that PyTorch lacks or does otherwise: keyed dropout, grouped linear, unshared convolution."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from alexnet_sweep.streams import stream_seed


class KeyedDropout(nn.Module):
    """Dropout whose mask is drawn from a stream of its own: seed, layer name and step.

    `form="paper"` drops in training and multiplies by 1 - rate at test (paper §4.2, released code);
    `form="inverted"` divides the survivors by 1 - rate in training. `set_step` names the step.
    """

    def __init__(self, rate: float, form: str, name: str, seed: int) -> None:
        super().__init__()
        self.rate, self.form, self.name, self.seed = rate, form, name, seed
        self.step = 0
        self.part: tuple[slice, int] | None = None

    def forward(self, units: Tensor) -> Tensor:
        if self.rate == 0.0:
            return units
        if not self.training:
            return units * (1.0 - self.rate) if self.form == "paper" else units
        generator = torch.Generator(units.device)
        generator.manual_seed(stream_seed(self.seed, "dropout", self.name, self.step))
        if self.part is None:
            draws = torch.rand(units.shape, generator=generator, device=units.device)
        else:  # the whole batch's draws, so that they do not depend on who works on it
            part, whole = self.part
            draws = torch.rand((whole, *units.shape[1:]), generator=generator, device=units.device)[part]
        kept = units * (draws >= self.rate)
        return kept if self.form == "paper" else kept / (1.0 - self.rate)

    def extra_repr(self) -> str:
        return f"rate={self.rate}, form={self.form}"


def set_step(model: nn.Module, step: int, part: tuple[slice, int] | None = None) -> None:
    """Tell every keyed dropout layer which step comes next, and which part of how large a batch it will see."""
    for module in model.modules():
        if isinstance(module, KeyedDropout):
            module.step, module.part = step, part


class GroupedLinear(nn.Module):
    """A fully connected layer in `groups` parts that do not see each other (released code, config 150).

    Weight (out_features, in_features / groups), as a grouped convolution has it; `groups` = 1 is
    `torch.nn.Linear`.
    """

    def __init__(self, in_features: int, out_features: int, groups: int = 1) -> None:
        super().__init__()
        self.in_features, self.out_features, self.groups = in_features, out_features, groups
        self.weight = nn.Parameter(torch.empty(out_features, in_features // groups))
        self.bias = nn.Parameter(torch.empty(out_features))

    def forward(self, units: Tensor) -> Tensor:
        """Map (batch, in_features) to (batch, out_features)."""
        if self.groups == 1:
            return F.linear(units, self.weight, self.bias)
        parts = zip(
            units.chunk(self.groups, 1),
            self.weight.chunk(self.groups),
            self.bias.chunk(self.groups),
            strict=True,
        )
        return torch.cat([F.linear(*part) for part in parts], 1)

    def extra_repr(self) -> str:
        return f"{self.in_features}, {self.out_features}, groups={self.groups}"


class LocallyConnected(nn.Module):
    """A convolution at stride 1 whose weights and biases are not shared between places (cuda-convnet's `local`).

    Weight (places, out_channels, in_channels · kernel²), bias (places, out_channels); places run row by row over the
    `size` × `size` maps.
    """

    def __init__(self, in_channels: int, out_channels: int, size: int, kernel: int, padding: int) -> None:
        super().__init__()
        self.in_channels, self.out_channels, self.size = in_channels, out_channels, size
        self.kernel, self.padding = kernel, padding
        self.weight = nn.Parameter(torch.empty(size**2, out_channels, in_channels * kernel**2))
        self.bias = nn.Parameter(torch.empty(size**2, out_channels))

    def forward(self, maps: Tensor) -> Tensor:
        """Map (batch, in_channels, size, size) to (batch, out_channels, size, size)."""
        windows = F.unfold(maps, self.kernel, padding=self.padding)  # (batch, in_channels · kernel², places)
        # One matrix product a place: (places, batch, inputs) × (places, inputs, out_channels).
        found = torch.baddbmm(self.bias[:, None], windows.permute(2, 0, 1), self.weight.transpose(1, 2))
        return found.permute(1, 2, 0).reshape(maps.shape[0], self.out_channels, self.size, self.size)

    def extra_repr(self) -> str:
        return (
            f"{self.in_channels}, {self.out_channels}, size={self.size}, kernel={self.kernel}, padding={self.padding}"
        )


class ScaledTanh(nn.Module):
    """1.7159 · tanh(2x / 3)."""

    def forward(self, units: Tensor) -> Tensor:
        return 1.7159 * torch.tanh(units * (2.0 / 3.0))
