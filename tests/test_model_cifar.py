"""cuda-convnet's five nets for CIFAR-10, which the paper's footnote 3 points to, number by number.

Sources: its example-layers/*.cfg and its documents; counts of parameters are worked out from the shapes.
"""

import dataclasses
import itertools
import math
from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from alexnet_sweep.augment import views_of
from alexnet_sweep.config import Config, leaves
from alexnet_sweep.model.build import build_model
from alexnet_sweep.model.layers import LocallyConnected
from alexnet_sweep.model.measure import measured
from alexnet_sweep.model.norms import ResponseNorm, WithinMapNorm
from alexnet_sweep.model.plan import plan_layers
from alexnet_sweep.optim import build_optimizer, set_learning_rate_factors
from alexnet_sweep.schedule import Schedule
from conftest import Compose

RECIPES = ["cifar10_26pct", "cifar10_19pct", "cifar10_18pct", "cifar10_13pct", "cifar10_11pct"]

# Name, inputs, outputs, kernel, side of the maps, side after the pooling (if any), parameters.
CONV_POOL = [
    ("conv1", 3, 32, 5, 32, 16, 2_432),
    ("conv2", 32, 32, 5, 16, 8, 25_632),
    ("conv3", 32, 64, 5, 8, 4, 51_264),
]
CONV_LOCAL = [("conv1", 3, 64, 5, 24, 12, 4_864), ("conv2", 64, 64, 5, 12, 6, 102_464)]
LAYERS = {
    "cifar10_26pct": [*CONV_POOL, ("fc64", 1024, 64, 1, 1, None, 65_600), ("fc10", 64, 10, 1, 1, None, 650)],
    "cifar10_19pct": [*CONV_POOL, ("fc10", 1024, 10, 1, 1, None, 10_250)],
    "cifar10_18pct": [*CONV_POOL, ("fc10", 1024, 10, 1, 1, None, 10_250)],
    "cifar10_13pct": [
        *CONV_LOCAL,
        ("local3", 64, 32, 3, 6, None, 664_704),
        ("local4", 32, 32, 3, 6, None, 332_928),
        ("fc10", 1152, 10, 1, 1, None, 11_530),
    ],
    "cifar10_11pct": [
        *CONV_LOCAL,
        ("local3", 64, 64, 3, 6, None, 1_329_408),
        ("local4", 64, 32, 3, 6, None, 664_704),
        ("fc10", 1152, 10, 1, 1, None, 11_530),
    ],
}
PARAMETERS = {
    "cifar10_26pct": 145_578,
    "cifar10_19pct": 89_578,
    "cifar10_18pct": 89_578,
    "cifar10_13pct": 1_116_490,
    "cifar10_11pct": 2_112_970,
}
# cuda-convnet pools conv1 before its ReLU; for maxima the two commute, so here the activation comes first.
ORDER = {
    "cifar10_26pct": "conv1 act1 pool1 conv2 act2 pool2 conv3 act3 pool3 flatten fc64 act_fc64 fc10",
    "cifar10_19pct": "conv1 act1 pool1 conv2 act2 pool2 conv3 act3 pool3 flatten fc10",
    "cifar10_18pct": "conv1 act1 pool1 lrn1 conv2 act2 pool2 lrn2 conv3 act3 pool3 flatten fc10",
    "cifar10_13pct": "conv1 act1 pool1 conv2 act2 pool2 local3 act3 local4 act4 flatten fc10",
    "cifar10_11pct": "conv1 act1 pool1 lrn1 conv2 act2 lrn2 pool2 local3 act3 local4 act4 flatten fc10",
}
KINDS = {
    "conv": nn.Conv2d,
    "local": LocallyConnected,
    "act": nn.ReLU,
    "act_fc": nn.ReLU,
    "fc": nn.Linear,
    "flatten": nn.Flatten,
}
SPREADS = {
    "cifar10_26pct": {"conv1": 1e-4, "conv2": 0.01, "conv3": 0.01, "fc64": 0.1, "fc10": 0.1},
    "cifar10_19pct": {"conv1": 1e-4, "conv2": 0.01, "conv3": 0.01, "fc10": 0.01},
    "cifar10_18pct": {"conv1": 1e-4, "conv2": 0.01, "conv3": 0.01, "fc10": 0.01},
    "cifar10_13pct": {"conv1": 1e-4, "conv2": 0.01, "local3": 0.04, "local4": 0.04, "fc10": 0.01},
    "cifar10_11pct": {"conv1": 1e-4, "conv2": 0.01, "local3": 0.04, "local4": 0.04, "fc10": 0.01},
}
DECAYS = {
    "cifar10_26pct": {"conv1": 0.004, "conv2": 0.004, "conv3": 0.004, "fc64": 0.03, "fc10": 0.03},
    "cifar10_19pct": {"conv1": 0.004, "conv2": 0.004, "conv3": 0.004, "fc10": 3.0},
    "cifar10_18pct": {"conv1": 0.004, "conv2": 0.004, "conv3": 0.004, "fc10": 1.0},
    "cifar10_13pct": {"conv1": 0.0, "conv2": 0.0, "local3": 0.004, "local4": 0.004, "fc10": 0.004},
    "cifar10_11pct": {"conv1": 0.0, "conv2": 0.0, "local3": 0.004, "local4": 0.004, "fc10": 0.01},
}
# Epochs in all; then, by the epoch a phase begins with: rate of the weights, of the biases, held-out part trained on.
PHASES = {
    "cifar10_26pct": (10, {0: (1e-3, 2e-3, False), 8: (1e-4, 2e-4, False)}),
    "cifar10_19pct": (140, {0: (1e-3, 2e-3, False), 120: (1e-4, 2e-4, False), 130: (1e-5, 2e-5, False)}),
    "cifar10_18pct": (140, {0: (1e-3, 2e-3, False), 120: (1e-4, 2e-4, False), 130: (1e-5, 2e-5, False)}),
    "cifar10_13pct": (
        160,
        {0: (1e-3, 2e-3, False), 100: (1e-3, 2e-3, True), 140: (1e-4, 2e-3, True), 150: (1e-5, 2e-3, True)},
    ),
    "cifar10_11pct": (
        520,
        {0: (1e-3, 2e-3, False), 350: (1e-3, 2e-3, True), 500: (1e-4, 2e-3, True), 510: (1e-5, 2e-3, True)},
    ),
}

Recipe = Callable[[str], Config]


@pytest.fixture(scope="module")
def recipe(composed: Compose) -> Recipe:
    """`recipe("cifar10_18pct")`: the config of that experiment, composed once."""
    found: dict[str, Config] = {}

    def one(name: str) -> Config:
        if name not in found:
            found[name] = composed(f"experiment={name}")
        return found[name]

    return one


def built(config: Config) -> nn.Module:
    return build_model(config, 10)


def by_parameter(config: Config, epoch: int = 0) -> dict[str, tuple[float, float]]:
    """Learning rate and weight decay of every parameter in one epoch."""
    net = built(config)
    optimizer = build_optimizer(net, config.optim, config.regularizer.weight_decay)
    factors = Schedule(config.schedule, config.trainer.epochs).factors(epoch)
    set_learning_rate_factors(optimizer, factors, config.optim.velocity)
    names = {id(value): name for name, value in net.named_parameters()}
    return {
        names[id(value)]: (group["lr"], group["weight_decay"])
        for group in optimizer.param_groups
        for value in group["params"]
    }


@pytest.mark.parametrize("name", RECIPES)
def test_every_layer_has_the_shape_and_the_parameters_of_the_table(recipe: Recipe, name: str) -> None:
    config = recipe(name)
    layers = plan_layers(config.model, config.data.crop_px, 10)
    found = [
        (x.name, x.inputs, x.outputs, x.kernel, x.out_px, x.pools[0][1] if x.pools else None, x.parameters)
        for x in layers
    ]
    assert found == LAYERS[name]
    assert [x.padding for x in layers] == [(x.kernel // 2,) * 4 for x in layers]
    assert sum(x.parameters for x in layers) == PARAMETERS[name]


@pytest.mark.parametrize("name", RECIPES)
def test_the_built_net_has_the_parameters_sizes_and_products_of_its_plan(recipe: Recipe, name: str) -> None:
    config = recipe(name)
    layers = plan_layers(config.model, config.data.crop_px, 10)
    found = measured(built(config), config.data.crop_px)
    expected = [(x.name, x.parameters, x.multiply_accumulates) for x in layers]
    assert [(x.name, x.parameters, x.multiply_accumulates) for x in found] == expected
    maps = [(x.outputs, x.out_px, x.out_px) if x.out_px > 1 else (x.outputs,) for x in layers]
    assert [x.output for x in found] == maps


@pytest.mark.parametrize("name", RECIPES)
def test_modules_stand_in_the_order_of_the_layer_file_and_are_of_its_kinds(recipe: Recipe, name: str) -> None:
    children = dict(built(recipe(name)).named_children())
    assert list(children) == ORDER[name].split()
    for child, module in children.items():
        kind = child.rstrip("0123456789")
        if kind not in ("pool", "lrn"):
            assert type(module) is KINDS[kind], child


@pytest.mark.parametrize(("name", "kinds"), [("cifar10_18pct", "max average average"), ("cifar10_13pct", "max max")])
def test_maxima_are_pooled_after_conv1_and_averages_after_the_others_of_conv_pool(
    recipe: Recipe, name: str, kinds: str
) -> None:
    maps = torch.randn((1, 2, 8, 8), generator=torch.Generator().manual_seed(0))
    pools = [module for child, module in built(recipe(name)).named_children() if child.startswith("pool")]
    for pool, kind in zip(pools, kinds.split(), strict=True):
        reduce = torch.amax if kind == "max" else torch.mean
        expected = torch.empty(1, 2, 4, 4)
        for y, x in itertools.product(range(4), repeat=2):  # 3x3 at stride 2; the last window has two real rows
            expected[:, :, y, x] = reduce(maps[:, :, 2 * y : 2 * y + 3, 2 * x : 2 * x + 3], dim=(2, 3))
        torch.testing.assert_close(pool(maps), expected)


@pytest.mark.parametrize("side", [32, 16, 8])
def test_an_average_over_the_edge_divides_by_the_real_pixels(recipe: Recipe, side: int) -> None:
    pool = built(recipe("cifar10_18pct")).get_submodule("pool2")
    assert torch.equal(pool(torch.ones(1, 1, side, side)), torch.ones(1, 1, side // 2, side // 2))


def test_pooling_conv1_before_its_relu_as_cuda_convnet_does_is_the_same_function(recipe: Recipe) -> None:
    net = built(recipe("cifar10_18pct"))
    act, pool = net.get_submodule("act1"), net.get_submodule("pool1")
    maps = torch.randn((1, 4, 9, 9), generator=torch.Generator().manual_seed(0))
    assert torch.equal(act(pool(maps)), pool(act(maps)))


def test_the_18_percent_net_normalises_within_maps_over_3x3_pixels(recipe: Recipe) -> None:
    net = built(recipe("cifar10_18pct"))
    for norm in (net.get_submodule("lrn1"), net.get_submodule("lrn2")):
        assert isinstance(norm, WithinMapNorm)
        assert (norm.size, norm.k, norm.beta) == (3, 1.0, 0.75)
        assert norm.alpha == pytest.approx(5e-5 / 9)


def test_the_11_percent_net_normalises_across_9_maps(recipe: Recipe) -> None:
    net = built(recipe("cifar10_11pct"))
    maps = 30 * torch.randn((2, 64, 3, 3), generator=torch.Generator().manual_seed(0))
    theirs = nn.LocalResponseNorm(size=9, alpha=1e-3, beta=0.75, k=1.0)
    for norm in (net.get_submodule("lrn1"), net.get_submodule("lrn2")):
        assert isinstance(norm, ResponseNorm)
        assert (norm.size, norm.k, norm.beta, norm.columns) == (9, 1.0, 0.75, 1)
        assert norm.alpha == pytest.approx(1e-3 / 9)
        torch.testing.assert_close(norm(maps), theirs(maps), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", RECIPES)
def test_weights_start_with_the_spread_of_the_layer_file_and_biases_at_zero(recipe: Recipe, name: str) -> None:
    net = built(recipe(name))
    assert [layer for layer, _ in net.named_children() if layer in SPREADS[name]] == list(SPREADS[name])
    for layer, spread in SPREADS[name].items():
        weight = net.get_parameter(f"{layer}.weight").detach()
        error = 5 / math.sqrt(2 * weight.numel())  # five standard errors of a sample's spread
        assert float(weight.std()) == pytest.approx(spread, rel=error), layer
        assert abs(float(weight.mean())) < 5 * spread / math.sqrt(weight.numel()), layer
    assert all(not value.any() for key, value in net.named_parameters() if key.endswith("bias"))


def test_a_bias_of_one_reaches_the_layers_between_the_first_and_the_last(composed: Compose) -> None:
    net = built(composed("experiment=cifar10_13pct", "model/bias=one"))
    starts = {key.removesuffix(".bias"): float(value.detach().mean()) for key, value in net.named_parameters()}
    assert {key: starts[key] for key in SPREADS["cifar10_13pct"]} == {
        "conv1": 0.0,
        "conv2": 1.0,
        "local3": 1.0,
        "local4": 1.0,
        "fc10": 0.0,
    }


@pytest.mark.parametrize("name", RECIPES)
def test_rates_and_decays_are_those_of_the_layer_file(recipe: Recipe, name: str) -> None:
    expected = {}
    for layer, decay in DECAYS[name].items():
        expected |= {f"{layer}.weight": (1e-3, decay), f"{layer}.bias": (2e-3, 0.0)}
    assert by_parameter(recipe(name)) == expected


@pytest.mark.parametrize("name", RECIPES)
def test_phases_begin_with_the_epochs_of_the_method(recipe: Recipe, name: str) -> None:
    config, (epochs, phases) = recipe(name), PHASES[name]
    assert config.trainer.epochs == epochs
    schedule, found, last = Schedule(config.schedule, epochs), {}, None
    for epoch in range(epochs):
        factors = schedule.factors(epoch)
        rates = (round(1e-3 * factors.weights, 9), round(2e-3 * factors.biases, 9))
        now = (*rates, schedule.heldout_joined(epoch))
        if now != last:
            found[epoch] = last = now
    assert found == phases


@pytest.mark.parametrize("name", RECIPES)
def test_every_weight_and_every_bias_has_the_rate_of_its_phase(recipe: Recipe, name: str) -> None:
    _, phases = PHASES[name]
    for epoch, (weights, biases, _) in phases.items():
        # An epoch into the phase, so that this test tells of rates alone.
        for key, (rate, _) in by_parameter(recipe(name), epoch + 1).items():
            assert rate == pytest.approx(weights if key.endswith("weight") else biases), (epoch, key)


@pytest.mark.parametrize("name", RECIPES)
def test_the_update_is_that_of_section_5_on_plain_pixels_in_batches_of_128(recipe: Recipe, name: str) -> None:
    config = recipe(name)
    assert (config.optim.name, config.optim.momentum, config.optim.velocity) == ("sgd", 0.9, "paper")
    assert (config.trainer.batch_size, config.data.input_divisor) == (128, 1.0)
    assert config.aug.lighting.coefficient == 0


@pytest.mark.parametrize("name", RECIPES)
def test_only_the_nets_on_crops_are_augmented_and_each_image_by_itself(recipe: Recipe, name: str) -> None:
    config = recipe(name)
    cropped = name in ("cifar10_13pct", "cifar10_11pct")
    assert (config.data.stored_px, config.data.crop_px) == (32, 24 if cropped else 32)
    assert (config.aug.crop.random, config.aug.crop.chunk) == (cropped, 1)
    assert config.aug.flip.probability == (0.5 if cropped else 0.0)


@pytest.mark.parametrize(("name", "views"), [("cifar10_13pct", 10), ("cifar10_11pct", 10), ("cifar10_18pct", 2)])
def test_crops_are_tested_by_ten_views(recipe: Recipe, name: str, views: int) -> None:
    config = recipe(name)
    assert views_of(config.data.stored_px, config.data.crop_px, config.eval.mirrored_views).count == views


@pytest.mark.parametrize(("name", "part"), [("cifar10_13pct", 0.2), ("cifar10_11pct", 0.2), ("cifar10_18pct", 0.0)])
def test_one_of_five_parts_is_watched_in_the_first_phase(recipe: Recipe, name: str, part: float) -> None:
    assert recipe(name).data.heldout_fraction == part


def test_the_19_and_the_18_percent_net_differ_in_normalisation_and_in_one_decay_alone(recipe: Recipe) -> None:
    one, other = (dict((key, value) for key, _, value in leaves(recipe(name))) for name in RECIPES[1:3])
    changed = {key for key in one if one[key] != other[key]}
    assert {key for key in changed if not key.startswith("model.lrn.")} == {"regularizer.weight_decay.layers"}


# --- the claim of section 3.3: width and normalisation apart ---

ARMS = list(itertools.product((64, 32), ("cifar_11pct", "off")))


@pytest.fixture(scope="module")
def arms(composed: Compose) -> dict[tuple[int, str], Config]:
    """Both widths of local3, with and without normalisation, and nothing else changed."""
    return {
        (width, lrn): composed("experiment=cifar10_11pct", f"model.local3_width={width}", f"model/lrn={lrn}")
        for width, lrn in ARMS
    }


def test_the_four_arms_differ_in_nothing_but_width_and_normalisation(arms: dict[tuple[int, str], Config]) -> None:
    alike = [
        {key: value for key, _, value in leaves(config) if not key.startswith(("model.lrn.", "model.local3_width"))}
        for config in arms.values()
    ]
    assert all(other == alike[0] for other in alike)
    assert len({(config.model.local3_width, config.model.lrn.first) for config in arms.values()}) == 4


@pytest.mark.parametrize("arm", ARMS, ids=str)
def test_width_sets_the_parameters_and_normalisation_the_two_normalisers(
    arms: dict[tuple[int, str], Config], arm: tuple[int, str]
) -> None:
    width, lrn = arm
    net = built(arms[arm])
    assert sum(value.numel() for value in net.parameters()) == (2_112_970 if width == 64 else 1_116_490)
    order = ORDER["cifar10_13pct" if lrn == "off" else "cifar10_11pct"].split()
    assert [name for name, _ in net.named_children()] == order


@pytest.mark.parametrize("width", [64, 32])
def test_with_and_without_normalisation_every_weight_starts_the_same(
    arms: dict[tuple[int, str], Config], width: int
) -> None:
    one, other = (built(arms[width, lrn]).state_dict() for lrn in ("cifar_11pct", "off"))
    assert list(one) == list(other)
    assert all(torch.equal(one[key], other[key]) for key in one)


# --- the nets at work ---


@pytest.mark.parametrize("name", RECIPES)
def test_a_narrow_net_answers_and_every_parameter_gets_a_finite_gradient(composed: Compose, name: str) -> None:
    config = composed(f"experiment={name}", "model.width=0.125")
    net, px = built(config), config.data.crop_px
    inputs = 60 * torch.randn((4, 3, px, px), generator=torch.Generator().manual_seed(0))
    logits = net(inputs)
    F.cross_entropy(logits, torch.arange(4)).backward()
    assert logits.shape == (4, 10) and logits.isfinite().all()
    for key, value in net.named_parameters():
        assert value.grad is not None and value.grad.isfinite().all() and value.grad.any(), key


@pytest.mark.parametrize("name", RECIPES)
def test_the_nets_without_dropout_compute_the_same_in_training_and_at_test(composed: Compose, name: str) -> None:
    config = composed(f"experiment={name}", "model.width=0.125")
    net, px = built(config), config.data.crop_px
    inputs = 60 * torch.randn((2, 3, px, px), generator=torch.Generator().manual_seed(0))
    assert torch.equal(net.train()(inputs), net.eval()(inputs))


def test_a_narrow_net_keeps_its_plan(composed: Compose) -> None:
    config = composed("experiment=cifar10_11pct", "model.width=0.25")
    layers = plan_layers(config.model, 24, 10)
    assert [layer.outputs for layer in layers] == [16, 16, 16, 8, 10]
    assert [dataclasses.replace(layer, inputs=0, outputs=0) for layer in layers[:4]] == [
        dataclasses.replace(layer, inputs=0, outputs=0)
        for layer in plan_layers(dataclasses.replace(config.model, width=1.0), 24, 10)[:4]
    ]
