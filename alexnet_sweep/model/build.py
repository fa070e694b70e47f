"""From a config to an initialised network, whichever it is."""

import torch
from torch import nn

from alexnet_sweep.config import Config
from alexnet_sweep.model.alexnet import alexnet_children
from alexnet_sweep.model.cifar import cifar_children
from alexnet_sweep.model.init import initialise
from alexnet_sweep.model.plan import plan_layers
from alexnet_sweep.plugins import load
from alexnet_sweep.streams import stream_seed

CHILDREN = {"alexnet": alexnet_children, "conv_pool": cifar_children, "conv_local": cifar_children}


def build_model(config: Config, classes: int) -> nn.Module:
    """The configured net, initialised: maps (batch, 3, crop, crop) inputs to (batch, classes) logits.

    Raises:
        ConfigError: where the sizes do not fit together.
    """
    with torch.random.fork_rng(devices=[]):  # parts of the user's own take their initial values from torch's generator
        torch.manual_seed(stream_seed(config.seed, "init", "custom"))
        if config.model.net.custom is not None:
            own: nn.Module = load(config.model.net.custom)(classes=classes, crop_px=config.data.crop_px)
            return own
        layers = plan_layers(config.model, config.data.crop_px, classes)
        net = nn.Sequential(CHILDREN[config.model.net.name](config, layers))
    initialise(net, layers, config, classes=classes)
    return net
