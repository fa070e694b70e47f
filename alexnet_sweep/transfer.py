"""Training that starts from another run's weights, as the paper fine-tuned its pre-trained nets (§6, table 2)."""

from loguru import logger
from safetensors.torch import load_file
from torch import nn

from alexnet_sweep.errors import ConfigError
from alexnet_sweep.store import RunFolder


def start_from(net: nn.Module, source: RunFolder, *, same_classes: bool) -> None:
    """Take over all weights of a finished run; its last layer only where it told the same classes apart.

    Raises:
        ConfigError: where the two networks differ before their last layers.
    """
    theirs, ours = load_file(source.weights), net.state_dict()
    last = next(reversed(ours)).rpartition(".")[0]
    if not same_classes:
        theirs = {name: value for name, value in theirs.items() if name.rpartition(".")[0] != last}
    wanted = {name: value for name, value in ours.items() if same_classes or name.rpartition(".")[0] != last}
    for name in sorted({*theirs, *wanted}):
        if name not in theirs or name not in wanted or theirs[name].shape != wanted[name].shape:
            there = list(theirs[name].shape) if name in theirs else "missing"
            here = list(wanted[name].shape) if name in wanted else "missing"
            raise ConfigError(
                f"init_from={source.path}: {name} is {there} there and {here} here; choose the model options of that "
                "run (its config.yaml), or another run"
            )
    net.load_state_dict(theirs, strict=False)
    logger.info("starts from the weights of {}{}", source.path, "" if same_classes else f", but for {last}")
