"""The layers that PyTorch lacks or does otherwise: response normalisation, keyed dropout, grouped linear."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from alexnet_sweep.streams import stream_seed


class ResponseNorm(nn.Module):
    """Local response normalisation across channels (paper §3.3), always computed in float32.

    b = a / (k + alpha · sum of a² over `size` neighbouring channels) ** beta. The paper prints `alpha` as a
    factor of the *sum*; the authors' released code, Caffe and `torch.nn.LocalResponseNorm` divide it
    by `size` first (`alpha_convention="mean"`). With `columns` > 1 the window never reaches from one
    column's channels into the next one's, as on the original's two GPUs.

    Squares of activations above 255 overflow float16, hence float32 whatever the surrounding precision.
    """

    def __init__(self, size: int, k: float, alpha: float, beta: float, *, alpha_convention: str, columns: int) -> None:
        super().__init__()
        self.size, self.k, self.beta, self.columns = size, k, beta, columns
        self.alpha = alpha / size if alpha_convention == "mean" else alpha

    def forward(self, maps: Tensor) -> Tensor:
        """Normalise (batch, channels, height, width)."""
        batch, channels, height, width = maps.shape
        with torch.autocast(maps.device.type, enabled=False):
            columns = maps.float().reshape(batch * self.columns, channels // self.columns, height, width)
            normalised = columns * self._scale(columns)
            return normalised.reshape(maps.shape).to(maps.dtype)

    def _scale(self, columns: Tensor) -> Tensor:
        channels = columns.shape[1]
        before = self.size // 2
        squares = F.pad(columns.square(), (0, 0, 0, 0, before, self.size - 1 - before))
        total = squares[:, :channels]
        for shift in range(1, self.size):
            total = total + squares[:, shift : shift + channels]
        base = self.k + self.alpha * total
        if self.beta == 0.75:  # the paper's; two roots are several times faster than a power
            root = base.rsqrt()
            return root * root.sqrt()
        return base.pow(-self.beta)

    def extra_repr(self) -> str:
        return f"size={self.size}, k={self.k}, alpha·sum={self.alpha:g}, beta={self.beta}, columns={self.columns}"


class WithinMapNorm(nn.Module):
    """Response normalisation over the pixels around each one, map by map (released code), in float32.

    b = a / (k + alpha · sum of a² over a size × size window) ** beta; pixels outside count as zeros, and alpha is
    divided by size² first (`alpha_convention="mean"`). Config 145 has one as a third normaliser, which the paper does
    not mention, but its ablation removed it with the other two; cuda-convnet's 18 % net for CIFAR-10 has two.
    """

    def __init__(self, size: int, k: float, alpha: float, beta: float, *, alpha_convention: str) -> None:
        super().__init__()
        self.size, self.k, self.beta = size, k, beta
        self.alpha = alpha / size**2 if alpha_convention == "mean" else alpha

    def forward(self, maps: Tensor) -> Tensor:
        """Normalise (batch, channels, height, width)."""
        before, after = self.size // 2, (self.size - 1) // 2
        with torch.autocast(maps.device.type, enabled=False):
            squares = F.pad(maps.float().square(), (before, after, before, after))
            total = F.avg_pool2d(squares, self.size, stride=1, divisor_override=1)
            return (maps.float() * (self.k + self.alpha * total).pow(-self.beta)).to(maps.dtype)

    def extra_repr(self) -> str:
        return f"size={self.size}, k={self.k}, alpha·sum={self.alpha:g}, beta={self.beta}"


class KeyedDropout(nn.Module):
    """Dropout whose mask is drawn from a stream of its own: seed, layer name and step.

    `form="paper"` drops in training and multiplies by 1 - rate at test (paper §4.2, released code);
    `form="inverted"` divides the survivors by 1 - rate in training. `set_step` names the step.
    """

    def __init__(self, rate: float, form: str, name: str, seed: int) -> None:
        super().__init__()
        self.rate, self.form, self.name, self.seed = rate, form, name, seed
        self.step = 0

    def forward(self, units: Tensor) -> Tensor:
        if self.rate == 0.0:
            return units
        if not self.training:
            return units * (1.0 - self.rate) if self.form == "paper" else units
        generator = torch.Generator(units.device)
        generator.manual_seed(stream_seed(self.seed, "dropout", self.name, self.step))
        draws = torch.rand(units.shape, generator=generator, device=units.device)
        kept = units * (draws >= self.rate)
        return kept if self.form == "paper" else kept / (1.0 - self.rate)

    def extra_repr(self) -> str:
        return f"rate={self.rate}, form={self.form}"


def set_step(model: nn.Module, step: int) -> None:
    """Tell every keyed dropout layer which training step comes next."""
    for module in model.modules():
        if isinstance(module, KeyedDropout):
            module.step = step


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
        return found.permute(1, 2, 0).reshape(len(maps), self.out_channels, self.size, self.size)

    def extra_repr(self) -> str:
        return (
            f"{self.in_channels}, {self.out_channels}, size={self.size}, kernel={self.kernel}, padding={self.padding}"
        )


class ScaledTanh(nn.Module):
    """1.7159 · tanh(2x / 3)."""

    def forward(self, units: Tensor) -> Tensor:
        return 1.7159 * torch.tanh(units * (2.0 / 3.0))
