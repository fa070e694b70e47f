"""One layer of a planned network: its shapes and counts, before any tensor exists. Imports no torch."""

from dataclasses import dataclass

from alexnet_sweep.errors import ConfigError

WIDTH_UNIT = 4  # scaled widths are multiples of it, so that two groups and two columns divide them


@dataclass(frozen=True)
class Layer:
    """One layer with weights, and the poolings that follow it (two, where AlexNet's conv2 is left out)."""

    name: str
    inputs: int
    outputs: int
    groups: int = 1
    kernel: int = 1
    stride: int = 1
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)  # left, right, top, bottom
    out_px: int = 1
    pools: tuple[tuple[str, int], ...] = ()  # name, side of the maps after it
    takes_bias: bool = False  # its initial bias is model.bias.value, not 0
    local: bool = False  # each place has weights and biases of its own

    @property
    def fan_in(self) -> int:
        """Inputs of one output unit."""
        return self.inputs // self.groups * self.kernel**2

    @property
    def parameters(self) -> int:
        return self.outputs * (self.fan_in + 1) * (self.out_px**2 if self.local else 1)

    @property
    def multiply_accumulates(self) -> int:
        """For one image, without the biases."""
        return self.outputs * self.fan_in * self.out_px**2


def scaled(width: int, factor: float) -> int:
    """A width times `model.width`, at least one unit."""
    if factor == 1.0:
        return width
    return max(WIDTH_UNIT, round(width * factor / WIDTH_UNIT) * WIDTH_UNIT)


def pooled(size: int, pool_size: int, stride: int, *, ceil: bool, crop_px: int) -> int:
    """Side of the maps after a pooling of maps of `size` px.

    Raises:
        ConfigError: where the window does not fit.
    """
    if size < pool_size:
        raise ConfigError(
            f"data.crop_px={crop_px}: too small, a pooling of {pool_size} px meets maps of {size} px; "
            "raise data.crop_px, or choose a model/stem with a smaller stride"
        )
    room = size - pool_size
    return (-(-room // stride) if ceil else room // stride) + 1
