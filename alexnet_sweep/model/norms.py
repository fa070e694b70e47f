"""Response normalisation (paper §3.3): across channels, and within a map as the released code also has it.

Both divide by a power of a sum of squares. On a CPU the passes over memory are what it costs, not the arithmetic:
`_AcrossChannels` works through the batch in parts that stay in the cache, and keeps one tensor for the way back.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

CACHED = 200_000  # values of a part of the batch for each thread; several such tensors fit a core's second cache


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
        self.compiled: Callable[..., Tensor] | None = None

    def compile_formula(self) -> None:
        """Train with a compiled function from now on, whatever the batch's size; it is made when first called."""
        self.compiled = torch.compile(_formula, fullgraph=True, dynamic=False)

    def forward(self, maps: Tensor) -> Tensor:
        """Normalise (batch, channels, height, width)."""
        with torch.autocast(maps.device.type, enabled=False):
            values = maps.float()
            # Of one image a function of its own would be made: not worth the wait for an epoch's last batch.
            if self.compiled is not None and self.training and torch.is_grad_enabled() and len(maps) > 1:
                torch._dynamo.maybe_mark_dynamic(values, 0)
                window = channel_window(maps.shape[1], self.size, self.columns, maps.device)
                return self.compiled(values, window, self.size // 2, self.k, self.alpha, self.beta).to(maps.dtype)
            normalised: Tensor = _AcrossChannels.apply(values, self.size, self.k, self.alpha, self.beta, self.columns)
            return normalised.to(maps.dtype)

    def extra_repr(self) -> str:
        return f"size={self.size}, k={self.k}, alpha·sum={self.alpha:g}, beta={self.beta}, columns={self.columns}"


def channel_window(channels: int, size: int, columns: int, device: torch.device) -> Tensor:
    """(size, channels): 1 where the neighbour so far from a channel, from -(size // 2) on, is in its column, else 0."""
    channel = torch.arange(channels, device=device)
    neighbour = channel + torch.arange(size, device=device)[:, None] - size // 2
    own = channels // columns
    return (neighbour.div(own, rounding_mode="floor") == channel // own).float()


def _formula(maps: Tensor, window: Tensor, before: int, k: float, alpha: float, beta: float) -> Tensor:
    """The normalisation written plainly, for the compiler: channels last, and no branch on where a channel stands."""
    rows = maps.permute(0, 2, 3, 1)
    size, channels = window.shape
    squares = F.pad(rows.square(), (before, size - 1 - before))
    total = squares[..., :channels] * window[0]
    for shift in range(1, size):
        total = total + squares[..., shift : shift + channels] * window[shift]
    base = k + alpha * total
    if beta == 0.75:
        root = base.rsqrt()
        return (rows * (root * root.sqrt())).permute(0, 3, 1, 2)
    return (rows * base.pow(-beta)).permute(0, 3, 1, 2)


class _AcrossChannels(torch.autograd.Function):
    """b = a · base ** -beta, base = k + alpha · sum of a² over the window; a is (batch, channels, height, width).

    With g the gradient of b, that of a is g · base ** -beta - 2 alpha beta · a · (sum of g · b / base over the channels
    whose window holds this one). What is returned lies in memory as `maps` does, channels first or last.
    """

    @staticmethod
    def forward(ctx: Any, maps: Tensor, size: int, k: float, alpha: float, beta: float, columns: int) -> Tensor:
        before = size // 2
        base, normalised = torch.empty_like(maps), torch.empty_like(maps)
        for own, base_part, out in zip(*_parts(maps, base, normalised), strict=True):
            _sum_over_window(own.square(), before, size - 1 - before, columns, base_part)
            base_part.mul_(alpha).add_(k)
            torch.mul(own, _power(base_part, beta), out=out)
        ctx.save_for_backward(maps, base)
        ctx.size, ctx.alpha, ctx.beta, ctx.columns = size, alpha, beta, columns
        return normalised

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        maps, base = ctx.saved_tensors
        before = ctx.size // 2
        found = torch.empty_like(maps)
        if gradient.stride() != maps.stride():
            gradient = torch.empty_like(maps).copy_(gradient)
        for own, base_part, given, out in zip(*_parts(maps, base, gradient, found), strict=True):
            direct = given * _power(base_part, ctx.beta)
            shared = (direct * own).div_(base_part)
            spread = torch.empty_like(shared)
            # The window seen from the other end.
            _sum_over_window(shared, ctx.size - 1 - before, before, ctx.columns, spread)
            torch.addcmul(direct, own, spread, value=-2.0 * ctx.alpha * ctx.beta, out=out)
        return found, None, None, None, None, None


def _parts(*tensors: Tensor) -> list[tuple[Tensor, ...]]:
    """Each tensor's parts along the batch: as many images as the threads' caches hold; on a GPU the whole batch."""
    first, fits = tensors[0], CACHED * torch.get_num_threads()
    images = max(1, fits // max(1, first[0].numel())) if first.device.type == "cpu" and len(first) else len(first)
    return [torch.split(tensor, max(1, images)) for tensor in tensors]


def _power(base: Tensor, beta: float) -> Tensor:
    if beta == 0.75:  # the paper's; two roots are several times faster than a power
        root = base.rsqrt()
        return root.mul_(root.sqrt())
    return base.pow(-beta)


def _sum_over_window(values: Tensor, before: int, after: int, columns: int, into: Tensor) -> None:
    """For each channel the sum over itself, `before` channels before and `after` behind it, inside its column."""
    into.copy_(values)
    batch, channels, *place = values.shape
    apart = (batch, columns, channels // columns, *place)
    values, into = values.view(apart), into.view(apart)
    for shift in range(1, min(before, apart[2] - 1) + 1):
        into[:, :, shift:] += values[:, :, :-shift]
    for shift in range(1, min(after, apart[2] - 1) + 1):
        into[:, :, :-shift] += values[:, :, shift:]


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
