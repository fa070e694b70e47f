"""The two readings of the paper, key by key: its text (§2 to §5) and config 145 of the released code.

The released code is not what the paper prints; where the two part is listed twice here, once for each.
"""

import math
from pathlib import Path
from typing import Any

import pytest
import torch

from alexnet_sweep.augment import central_offset, views_of
from alexnet_sweep.config import leaves
from alexnet_sweep.model.build import build_model
from alexnet_sweep.model.norms import ResponseNorm, WithinMapNorm
from alexnet_sweep.model.plan import plan_layers
from alexnet_sweep.optim import build_optimizer
from alexnet_sweep.schedule import Schedule
from conftest import Compose

EVERY = ["conv1", "conv2", "conv3", "conv4", "conv5", "fc6", "fc7", "fc8"]
BOTH = {
    # §2, §4.1: 256 px squares, raw values less the mean image, 224 px crops and reflections
    "data.geometry": "central_square",
    "data.stored_px": 256,
    "data.crop_px": 224,
    "data.input_divisor": 1.0,
    "aug.crop.random": True,
    "aug.flip.probability": 0.5,
    "aug.lighting.coefficient": 0.1,
    "aug.lighting.colours": "dataset",
    # §3.3: n, k and beta; alpha stands for two things
    "model.lrn.kind": "across_maps",
    "model.lrn.first": True,
    "model.lrn.second": True,
    "model.lrn.size": 5,
    "model.lrn.k": 2.0,
    "model.lrn.alpha": 1e-4,
    "model.lrn.beta": 0.75,
    "model.lrn.second_position": "after_activation",
    # §3.1, §3.4, §3.5
    "model.width": 1.0,
    "model.activation.name": "relu",
    "model.pool.size": 3,
    "model.pool.stride": 2,
    "model.topology.kernels": [96, 256, 384, 384, 256],
    "model.topology.groups": [1, 2, 1, 2, 2],
    "model.topology.fc_widths": [4096, 4096],
    "model.stem.kernel": 11,
    "model.stem.stride": 4,
    # §4.2, §5
    "model.bias.value": 1.0,
    "model.init.rule": "normal",
    "regularizer.dropout.rate": 0.5,
    "regularizer.dropout.form": "paper",
    "regularizer.weight_decay.weights": 5e-4,
    "regularizer.weight_decay.biases": 0.0,
    "optim.name": "sgd",
    "optim.learning_rate": 0.01,
    "optim.momentum": 0.9,
    "optim.velocity": "paper",
    "schedule.drop_factor": 0.1,
    "trainer.batch_size": 128,
    # §4.1: ten views, probabilities averaged
    "eval.average": "probabilities",
    "eval.mirrored_views": True,
}
APART = {
    "imagenet_paper_text": {
        "model.lrn.alpha_convention": "sum",
        "model.lrn.per_column": False,
        "model.lrn.first_position": "after_activation",
        "model.lrn.within_map": False,
        "optim.bias_learning_rate_factor": 1.0,
        "schedule.name": "plateau",
        "schedule.max_drops": 3,
        "schedule.conv1_drop_fraction": None,
        "schedule.conv1_freeze_fraction": None,
        "aug.lighting.scale": "eigenvalue",
        "aug.lighting.divide": False,
        "aug.lighting.stop_fraction": 1.0,
        "aug.crop.chunk": 1,
        "trainer.epochs": 90,
    },
    "imagenet_released_code": {
        "model.lrn.alpha_convention": "mean",
        "model.lrn.per_column": True,
        "model.lrn.first_position": "before_activation",
        "model.lrn.within_map": True,
        "model.lrn.within_map_size": 5,
        "model.lrn.within_map_alpha": 1e-3,
        "optim.bias_learning_rate_factor": 2.0,
        "schedule.name": "fractions",
        "schedule.drop_fractions": [0.25, 0.55, 0.85],
        "schedule.drop_biases": False,
        "schedule.conv1_drop_fraction": 0.736,
        "schedule.conv1_freeze_fraction": 0.791,
        "aug.lighting.scale": "sqrt_eigenvalue",
        "aug.lighting.divide": True,
        "aug.lighting.stop_fraction": 0.736,
        "aug.crop.chunk": 32,
        "trainer.epochs": 91,
    },
}
SPREADS = {
    "imagenet_paper_text": dict.fromkeys(EVERY, 0.01),
    "imagenet_released_code": dict.fromkeys(EVERY, 0.01) | dict.fromkeys(["conv3", "conv4", "conv5"], 0.03),
}


@pytest.mark.parametrize("name", APART)
def test_a_recipe_sets_what_its_source_says(composed: Compose, name: str) -> None:
    config = {key: value for key, _, value in leaves(composed(f"experiment={name}"))}
    expected = BOTH | APART[name]
    assert {key: config[key] for key in expected} == expected
    assert {layer: config["model.init.std"][layer] for layer in EVERY} == SPREADS[name]


@pytest.mark.parametrize("name", APART)
def test_a_recipe_has_the_papers_sizes_and_views(composed: Compose, name: str) -> None:
    config = composed(f"experiment={name}")
    layers = plan_layers(config.model, config.data.crop_px, 1000)
    assert sum(layer.parameters for layer in layers) == 60_965_224
    assert layers[0].padding == (0, 3, 0, 3)
    assert views_of(256, 224, config.eval.mirrored_views).count == 10
    assert central_offset(config.data.stored_px, config.data.crop_px) == 16


def test_the_text_normalises_after_the_relu_by_alpha_times_the_sum_over_all_maps(composed: Compose) -> None:
    net = dict(build_model(composed("experiment=imagenet_paper_text", "model.width=0.05"), 10).named_children())
    assert list(net)[1:5] == ["conv1", "act1", "lrn1", "pool1"] and "lrn2_within_map" not in net
    for norm in (net["lrn1"], net["lrn2"]):
        assert isinstance(norm, ResponseNorm)
        assert (norm.alpha, norm.columns) == (pytest.approx(1e-4), 1)


def test_the_released_code_normalises_before_the_relu_by_a_fifth_of_it_and_thrice(composed: Compose) -> None:
    net = dict(build_model(composed("experiment=imagenet_released_code", "model.width=0.05"), 10).named_children())
    assert list(net)[1:5] == ["conv1", "lrn1", "act1", "pool1"]
    assert list(net)[5:10] == ["conv2", "act2", "lrn2", "lrn2_within_map", "pool2"]
    for norm in (net["lrn1"], net["lrn2"]):
        assert isinstance(norm, ResponseNorm)
        assert (norm.alpha, norm.columns) == (pytest.approx(2e-5), 2)


@pytest.mark.parametrize("convention", ["mean", "sum"])
def test_the_third_normaliser_is_that_of_config_145_however_alpha_is_read(composed: Compose, convention: str) -> None:
    override = f"model.lrn.alpha_convention={convention}"
    config = composed("experiment=imagenet_released_code", "model.width=0.05", override)
    norm = build_model(config, 10).get_submodule("lrn2_within_map")
    assert isinstance(norm, WithinMapNorm)
    assert (norm.size, norm.k, norm.beta) == (5, 1.0, 0.75)
    assert norm.alpha == pytest.approx(4e-5)  # 1e-3 divided by 25 pixels


@pytest.mark.parametrize(("name", "factor"), [("imagenet_paper_text", 1.0), ("imagenet_released_code", 2.0)])
def test_biases_learn_at_the_recipes_rate_and_only_weights_decay(composed: Compose, name: str, factor: float) -> None:
    config = composed(f"experiment={name}", "model.width=0.05")
    optimizer = build_optimizer(build_model(config, 10), config.optim, config.regularizer.weight_decay)
    for group in optimizer.param_groups:
        expected = (0.01 * factor, 0.0) if group["bias"] else (0.01, 5e-4)
        assert (group["lr"], group["weight_decay"]) == pytest.approx(expected)
        assert group["momentum"] == 0.9


@pytest.mark.parametrize(("option", "k"), [("on", 2.0), ("cifar_11pct", 1.0)])
def test_pytorchs_own_layer_agrees_with_the_released_normaliser(composed: Compose, option: str, k: float) -> None:
    config = composed(f"model/lrn={option}", "model/topology=dense", "model.width=0.25")
    lrn = config.model.lrn
    theirs = torch.nn.LocalResponseNorm(lrn.size, alpha=lrn.alpha, beta=0.75, k=k)
    maps = 80 * torch.randn((1, 24, 3, 3), generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(build_model(config, 10).get_submodule("lrn1")(maps), theirs(maps), rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize(
    ("option", "window"), [("overlap", (3, 2, False)), ("plain", (2, 2, False)), ("plain_released", (2, 2, True))]
)
def test_pooling_has_the_windows_of_section_3_4(composed: Compose, option: str, window: tuple[int, int, bool]) -> None:
    net = build_model(composed(f"model/pool={option}", "model.width=0.05", "data.stored_px=80", "data.crop_px=79"), 10)
    for name in ("pool1", "pool2", "pool5"):
        pool = net.get_submodule(name)
        assert (pool.kernel_size, pool.stride, pool.ceil_mode, pool.padding) == (*window, 0)


# --- what most copies do ---

COPIES = {
    "model.topology.groups": [1, 1, 1, 1, 1],
    "model.init.rule": "fan_in",
    "model.bias.value": 0.0,
    "regularizer.dropout.form": "inverted",
    "optim.bias_learning_rate_factor": 1.0,
    "optim.velocity": "torch",
}
COMMON = COPIES | {
    "aug.lighting.colours": "copied",
    "aug.lighting.scale": "eigenvalue",
    "regularizer.weight_decay.biases": 5e-4,
    "regularizer.best_epoch.kept": True,
    "schedule.drop_factor": 0.1,
}
TUTORIAL = COPIES | {
    "data.crop_px": 224,
    "model.lrn.first": False,
    "model.lrn.second": False,
    "aug.crop.area": [0.08, 1.0],
    "aug.lighting.coefficient": 0.0,
    "regularizer.weight_decay.weights": 0.0,
    "optim.name": "adam",
    "optim.learning_rate": 1e-3,
    "schedule.name": "constant",
    "trainer.batch_size": 64,
    "trainer.epochs": 15,
}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        *((f"common_{data}", COMMON) for data in ("imagenet", "imagenette", "cifar10")),
        ("tiny_imagenet_tutorial", TUTORIAL),
    ],
)
def test_a_recipe_of_copies_has_their_habits(composed: Compose, name: str, expected: dict[str, Any]) -> None:
    config = composed(f"experiment={name}")
    found = {key: value for key, _, value in leaves(config)}
    assert {key: found[key] for key in expected} == expected
    assert config.inputs.mean is not None and config.inputs.deviation is not None
    if config.data.crop_px == 224:
        layers = plan_layers(config.model, 224, 1000)
        assert sum(layer.parameters for layer in layers) == 62_378_344  # the dense net
        assert layers[0].padding == (2, 2, 2, 2) and layers[0].out_px == 55


def test_the_thirds_are_the_copies_30_60_and_80_of_90_epochs(composed: Compose) -> None:
    thirds, multistep = (Schedule(composed(f"schedule={name}").schedule, 90) for name in ("thirds", "multistep"))
    assert [thirds.factor(epoch) for epoch in range(90)] == [multistep.factor(epoch) for epoch in range(90)]
    short = Schedule(composed("schedule=thirds").schedule, 9)
    assert [round(-math.log10(short.factor(epoch))) for epoch in range(9)] == [0, 0, 0, 1, 1, 1, 2, 2, 3]


def test_common_cifar10_differs_from_cifar10_in_the_listed_settings_alone(composed: Compose) -> None:
    ours, theirs = ({k: v for k, _, v in leaves(composed(f"experiment={n}"))} for n in ("cifar10", "common_cifar10"))
    text = (Path(__file__).parents[1] / "ARCHITECTURE.md").read_text()
    section = text.split("## What most copies do")[1].split("\n## ")[0]
    differing = {key.rsplit(".", 1)[0] for key in ours if ours[key] != theirs[key]}
    assert {group for group in differing if group.replace(".", "/") not in section} == set()
