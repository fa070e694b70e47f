"""A trained network as a graph that other programs run: pixels in, answers out, without what only PyTorch can do.

Response normalisation is written with a convolution or a pooling in place of passes that follow the cache; all else is
the network itself. The same function but for rounding.
"""

import copy

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from alexnet_sweep.model.norms import ResponseNorm, WithinMapNorm, channel_window


class Portable(nn.Module):
    """(batch, 3, crop, crop) pixels from 0 to 255 → (batch, classes), in evaluation mode, in float32."""

    mean: Tensor
    scale: Tensor

    def __init__(self, net: nn.Module, mean: Tensor, divisor: float | Tensor, output: str) -> None:
        super().__init__()
        self.net = _plain(copy.deepcopy(net).float().to(memory_format=torch.contiguous_format)).eval()
        self.register_buffer("mean", mean.clone().contiguous())
        self.register_buffer("scale", 1.0 / torch.as_tensor(divisor, dtype=torch.float32))
        self.output = output

    def forward(self, pixels: Tensor) -> Tensor:
        logits: Tensor = self.net((pixels.float() - self.mean) * self.scale)
        return logits.softmax(1) if self.output == "probabilities" else logits


def _plain(net: nn.Module) -> nn.Module:
    for name, child in net.named_children():
        if isinstance(child, ResponseNorm):
            setattr(net, name, PlainResponseNorm(child))
        elif isinstance(child, WithinMapNorm):
            setattr(net, name, PlainWithinMapNorm(child))
        else:
            _plain(child)
    return net


class PlainResponseNorm(nn.Module):
    """`ResponseNorm`, with the sum over neighbouring channels as a convolution of one pixel."""

    def __init__(self, norm: ResponseNorm) -> None:
        super().__init__()
        self.norm = norm

    def forward(self, maps: Tensor) -> Tensor:
        norm, channels = self.norm, maps.shape[1]
        window = channel_window(channels, norm.size, norm.columns, maps.device)  # (size, channels)
        band = torch.zeros(channels, channels, device=maps.device)
        for shift in range(norm.size):
            offset = shift - norm.size // 2
            low, high = max(0, -offset), min(channels, channels - offset)
            if low < high:
                rows = torch.arange(low, high, device=maps.device)
                band[rows, rows + offset] = window[shift, low:high]
        total = F.conv2d(maps.square(), band[:, :, None, None])
        return maps * (norm.k + norm.alpha * total).pow(-norm.beta)


class PlainWithinMapNorm(nn.Module):
    """`WithinMapNorm`, with the sum over a window as its mean times its pixels."""

    def __init__(self, norm: WithinMapNorm) -> None:
        super().__init__()
        self.norm = norm

    def forward(self, maps: Tensor) -> Tensor:
        norm = self.norm
        before, after = norm.size // 2, (norm.size - 1) // 2
        squares = F.pad(maps.square(), (before, after, before, after))
        total = F.avg_pool2d(squares, norm.size, stride=1) * norm.size**2
        return maps * (norm.k + norm.alpha * total).pow(-norm.beta)
