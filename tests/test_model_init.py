"""Initial weights and biases (paper §5), and common random numbers between arms."""

import math

import pytest
import torch

from alexnet_sweep.model.build import build_model
from alexnet_sweep.model.init import weight_std
from alexnet_sweep.model.plan import full_size, plan_layers

FULL = ("model.width=1", "data.stored_px=256", "data.crop_px=224", "model.init.keep_gain=false")
NAMES = ["conv1", "conv2", "conv3", "conv4", "conv5", "fc6", "fc7", "fc8"]
STDS = {
    "released_code": [0.01, 0.01, 0.03, 0.03, 0.03, 0.01, 0.01, 0.01],
    "paper_text": [0.01] * 8,
    "caffe": [0.01] * 5 + [0.005, 0.005, 0.01],
    # sqrt(2 / fan-in), from the kernels of paper §3.5
    "pytorch": [math.sqrt(1 / 3 / fan) for fan in (363, 1200, 2304, 1728, 1728, 9216, 4096, 4096)],
    "he": [math.sqrt(2 / fan) for fan in (363, 1200, 2304, 1728, 1728, 9216, 4096, 4096)],
}


def stds(config, classes: int = 1000) -> dict[str, float]:
    """The standard deviation that each layer's weights are drawn with."""
    layers = plan_layers(config.model, config.data.crop_px, classes)
    return {layer.name: weight_std(config, layer, classes) for layer in layers}


def parameters(config, classes: int = 10) -> dict[str, torch.Tensor]:
    return build_model(config, classes).state_dict()


@pytest.mark.parametrize("init", STDS)
def test_weights_at_full_size_have_the_spread_of_the_recipe(composed, init):
    net = build_model(composed(*FULL, f"model/init={init}"), classes=1000)
    for name, expected in zip(NAMES, STDS[init], strict=True):
        weight = net.get_parameter(f"{name}.weight").detach()
        spread = 5 / math.sqrt(2 * weight.numel())  # five standard errors of a sample's std
        assert float(weight.std()) == pytest.approx(expected, rel=spread), name
        assert abs(float(weight.mean())) < 5 * expected / math.sqrt(weight.numel()), name


def test_keep_gain_changes_nothing_at_full_size(composed):
    assert stds(composed(*FULL)) == stds(composed(*FULL, "model.init.keep_gain=true"))


@pytest.mark.parametrize("crop_px", [27, 53])
def test_keep_gain_gives_a_small_net_the_signal_of_the_big_one(composed, crop_px):
    small = composed("model.width=0.1", "model.init.keep_gain=true", "data.stored_px=64", f"data.crop_px={crop_px}")
    big = {layer.name: layer.fan_in for layer in full_size(small.model, 27, 1000)}
    found, plain = stds(small), dict(zip(NAMES, STDS["released_code"], strict=True))
    for layer in plan_layers(small.model, crop_px, 1000):
        gain = found[layer.name] * math.sqrt(layer.fan_in)
        assert gain == pytest.approx(plain[layer.name] * math.sqrt(big[layer.name])), layer.name


def test_without_keep_gain_a_small_net_keeps_the_printed_numbers(composed):
    small = composed("model.width=0.1", "model.init.keep_gain=false")
    assert list(stds(small).values()) == STDS["released_code"]


def test_he_looks_at_the_net_as_it_is(composed):
    small = composed("model.width=0.1", "model/init=he", "model.init.keep_gain=true")
    for layer in plan_layers(small.model, small.data.crop_px, 1000):
        assert weight_std(small, layer, 1000) == pytest.approx(math.sqrt(2 / layer.fan_in))


def test_dividing_inputs_multiplies_only_the_first_layers_weights(micro):
    plain, divided = stds(micro()), stds(micro("data.input_divisor=57"))
    assert divided.pop("conv1") == pytest.approx(57 * plain.pop("conv1"))
    assert divided == plain


def test_divided_inputs_start_with_the_same_function(micro):
    plain, divided = build_model(micro(), 10).eval(), build_model(micro("data.input_divisor=57"), 10).eval()
    inputs = 100 * torch.randn(2, 3, 27, 27, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(divided(inputs / 57), plain(inputs), rtol=1e-4, atol=1e-5)


def test_inputs_divided_by_channel_start_with_the_same_function(micro):
    constants = micro("inputs=imagenet_constants")
    deviation = torch.tensor(constants.inputs.deviation)[:, None, None]
    plain, divided = build_model(micro(), 10).eval(), build_model(constants, 10).eval()
    inputs = 100 * torch.randn(2, 3, 27, 27, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(divided(inputs / deviation), plain(inputs), rtol=1e-4, atol=1e-5)


def test_pytorchs_own_start_is_even_within_its_bounds_and_follows_no_input(micro):
    config = micro("model/init=pytorch", "inputs=imagenet_constants", "model.width=0.25")
    theirs = torch.nn.Conv2d(3, 24, 5)
    ours, bound = build_model(config, 10).get_parameter("conv1.weight").detach(), 1 / math.sqrt(75)
    for weight in (ours, theirs.weight.detach()):
        assert float(weight.abs().max()) == pytest.approx(bound, rel=0.02)
        assert float(weight.abs().mean()) == pytest.approx(bound / 2, rel=0.1)


@pytest.mark.parametrize(("option", "value"), [("one", 1.0), ("tenth", 0.1), ("zero", 0.0)])
def test_biases_start_as_configured_in_five_layers_and_at_zero_elsewhere(micro, option, value):
    net = build_model(micro(f"model/bias={option}"), 10)
    for name in NAMES:
        start = value if name in ("conv2", "conv4", "conv5", "fc6", "fc7") else 0.0
        bias = net.get_parameter(f"{name}.bias")
        assert torch.equal(bias, torch.full_like(bias, start)), name


def test_the_sixth_convolution_starts_as_in_the_released_code(micro):
    # Released code, config 146: std 0.03 and bias 1.
    config = micro("model/depth=six", "model.init.keep_gain=false")
    bias = build_model(config, 10).get_parameter("conv6.bias")
    assert stds(config)["conv6"] == 0.03
    assert torch.equal(bias, torch.ones_like(bias))


@pytest.mark.parametrize(
    "override",
    [
        "model/lrn=off",
        "model/pool=plain",
        "regularizer/dropout=off",
        "regularizer/dropout=inverted",
        "regularizer/weight_decay=off",
        "aug/lighting=off",
        "aug/crop=off",
        "model/activation=tanh",
        "optim=adam",
    ],
)
def test_switching_a_factor_leaves_all_initial_parameters_bit_equal(micro, override):
    full, ablated = parameters(micro()), parameters(micro(override))
    assert list(full) == list(ablated)
    assert all(torch.equal(full[name], ablated[name]) for name in full)


def test_layers_untouched_by_a_removed_one_start_the_same(micro):
    full, ablated = parameters(micro()), parameters(micro("model/depth=drop_conv3"))
    same = [name for name in ablated if name != "conv4.weight"]  # conv4 reads fewer maps
    assert all(torch.equal(full[name], ablated[name]) for name in same)


def test_another_seed_gives_other_weights(micro):
    first, second = parameters(micro("seed=0")), parameters(micro("seed=1"))
    assert not any(torch.equal(first[name], second[name]) for name in first if name.endswith("weight"))


def test_layers_of_one_shape_start_differently(micro):
    same_shapes = micro("model/topology=dense", "model.topology.kernels=[96,256,256,256,256]")
    drawn = parameters(same_shapes)
    assert not torch.equal(drawn["conv4.weight"], drawn["conv5.weight"])


def test_the_shared_generator_does_not_matter(micro):
    torch.manual_seed(1)
    first = parameters(micro())
    torch.manual_seed(2)
    second = parameters(micro())
    assert all(torch.equal(first[name], second[name]) for name in first)
