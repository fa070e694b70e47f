"""The update rule of section 5, exactly, and what a drop of the learning rate does."""

import pytest
import torch
from torch import nn

from alexnet_sweep.config import OptimConfig, ScheduleConfig, WeightDecayConfig
from alexnet_sweep.optim import build_optimizer, set_learning_rate_factors
from alexnet_sweep.schedule import Factors, Schedule

RATE, MOMENTUM, DECAY = 0.01, 0.9, 0.0005
FACTORS = [1.0] * 4 + [0.1] * 4 + [0.01] * 4


def optim(**changes) -> OptimConfig:
    values = {
        "name": "sgd",
        "learning_rate": RATE,
        "bias_learning_rate_factor": 2.0,
        "momentum": MOMENTUM,
        "velocity": "paper",
    }
    return OptimConfig(**(values | changes))


def small_net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2)).double()


def gradients(net: nn.Module, step: int) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(step)
    return {
        name: torch.randn(value.shape, generator=generator, dtype=value.dtype) for name, value in net.named_parameters()
    }


def trained(config: OptimConfig, decay: WeightDecayConfig, factors=FACTORS) -> dict[str, torch.Tensor]:
    """Parameters after a step at each of `factors`, the learning rate set before every step."""
    net = small_net()
    optimizer = build_optimizer(net, config, decay)
    for step, factor in enumerate(factors):
        set_learning_rate_factors(optimizer, Factors(factor, factor, factor, factor), config.velocity)
        for name, gradient in gradients(net, step).items():
            net.get_parameter(name).grad = gradient
        optimizer.step()
    return {name: value.detach() for name, value in net.named_parameters()}


def paper_rule(decay: WeightDecayConfig, bias_factor: float) -> dict[str, torch.Tensor]:
    """v ← m·v − λ·ε·w − ε·g; w ← w + v."""
    net = small_net()
    weights = {name: value.detach().clone() for name, value in net.named_parameters()}
    velocities = {name: torch.zeros_like(value) for name, value in weights.items()}
    for step, factor in enumerate(FACTORS):
        for name, gradient in gradients(net, step).items():
            is_weight = name.endswith("weight")
            rate = RATE * factor * (1.0 if is_weight else bias_factor)
            penalty = decay.weights if is_weight else decay.biases
            velocities[name] = MOMENTUM * velocities[name] - penalty * rate * weights[name] - rate * gradient
            weights[name] = weights[name] + velocities[name]
    return weights


@pytest.mark.parametrize("biases", [0.0, DECAY])
def test_paper_velocity_is_the_rule_of_section_5_through_two_drops(biases):
    decay = WeightDecayConfig(weights=DECAY, biases=biases, layers={})
    expected, reached = paper_rule(decay, bias_factor=2.0), trained(optim(), decay)
    for name, value in expected.items():
        assert torch.allclose(reached[name], value, rtol=1e-13, atol=1e-15), name


def test_torch_velocity_is_the_same_until_a_drop_and_differs_after_it():
    decay = WeightDecayConfig(weights=DECAY, biases=0.0, layers={})
    for factors, same in (([1.0] * 6, True), ([1.0] * 4 + [0.1] * 2, False)):
        paper = trained(optim(), decay, factors)
        plain = trained(optim(velocity="torch"), decay, factors)
        for name, value in paper.items():
            assert torch.allclose(value, plain[name], rtol=1e-9, atol=1e-12) == same, name


def test_setting_the_same_factor_again_changes_nothing():
    decay = WeightDecayConfig(weights=DECAY, biases=0.0, layers={})
    net = small_net()
    optimizer = build_optimizer(net, optim(), decay)
    for name, gradient in gradients(net, 0).items():
        net.get_parameter(name).grad = gradient
    optimizer.step()
    before = {p: optimizer.state[p]["momentum_buffer"].clone() for p in net.parameters()}
    set_learning_rate_factors(optimizer, Factors(1.0, 1.0, 1.0, 1.0), "paper")
    assert all(torch.equal(optimizer.state[p]["momentum_buffer"], buffer) for p, buffer in before.items())


def test_a_rate_of_zero_stops_the_weights_at_once():
    decay = WeightDecayConfig(weights=DECAY, biases=0.0, layers={})
    short, long = trained(optim(), decay, [1.0] * 3), trained(optim(), decay, [1.0] * 3 + [0.0] * 2)
    assert all(torch.equal(short[name], long[name]) for name in short)


def test_biases_learn_at_their_own_rate_and_do_not_decay():
    optimizer = build_optimizer(small_net(), optim(), WeightDecayConfig(weights=DECAY, biases=0.0, layers={}))
    weights, biases = optimizer.param_groups
    assert [p.ndim for p in weights["params"]] == [2, 2]
    assert [p.ndim for p in biases["params"]] == [1, 1]
    assert (weights["lr"], weights["weight_decay"]) == (RATE, DECAY)
    assert (biases["lr"], biases["weight_decay"]) == (2 * RATE, 0.0)


def test_every_group_falls_by_the_same_factor():
    optimizer = build_optimizer(small_net(), optim(), WeightDecayConfig(weights=0.0, biases=0.0, layers={}))
    set_learning_rate_factors(optimizer, Factors(0.5, 0.5, 0.5, 0.5), "paper")
    set_learning_rate_factors(optimizer, Factors(0.1, 0.1, 0.1, 0.1), "paper")
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([0.1 * RATE, 0.2 * RATE])


def test_optimizer_has_every_parameter_once():
    net = small_net()
    optimizer = build_optimizer(net, optim(), WeightDecayConfig(weights=0.0, biases=0.0, layers={}))
    held = [id(p) for group in optimizer.param_groups for p in group["params"]]
    assert sorted(held) == sorted(id(p) for p in net.parameters())


@pytest.mark.parametrize(("name", "kind"), [("adam", torch.optim.Adam), ("adamw", torch.optim.AdamW)])
def test_adam_and_adamw_are_pytorchs_with_the_configured_momentum(name, kind):
    decay = WeightDecayConfig(weights=0.1, biases=0.0, layers={})
    config = optim(name=name, velocity="torch", momentum=0.8, bias_learning_rate_factor=1.0)
    reached = trained(config, decay)
    net = small_net()
    named = dict(net.named_parameters())
    plain = kind(
        [
            {"params": [value for key, value in named.items() if key.endswith("weight")], "weight_decay": 0.1},
            {"params": [value for key, value in named.items() if key.endswith("bias")], "weight_decay": 0.0},
        ],
        lr=RATE,
        betas=(0.8, 0.999),
    )
    for step, factor in enumerate(FACTORS):
        for group in plain.param_groups:
            group["lr"] = RATE * factor
        for key, gradient in gradients(net, step).items():
            named[key].grad = gradient
        plain.step()
    assert all(torch.allclose(reached[key], value, rtol=1e-12) for key, value in named.items())


@pytest.mark.parametrize("name", ["adam", "adamw"])
def test_velocity_means_nothing_to_adam(name):
    decay = WeightDecayConfig(weights=DECAY, biases=0.0, layers={})
    paper = trained(optim(name=name, velocity="paper"), decay)
    plain = trained(optim(name=name, velocity="torch"), decay)
    assert all(torch.equal(paper[key], plain[key]) for key in paper)


def test_conv1_can_fall_and_freeze_alone():
    net = nn.Sequential()
    net.add_module("conv1", nn.Linear(3, 3))
    net.add_module("conv2", nn.Linear(3, 2))
    optimizer = build_optimizer(net, optim(), WeightDecayConfig(weights=DECAY, biases=0.0, layers={}))
    before = {name: value.detach().clone() for name, value in net.named_parameters()}
    for conv1_factor in (1e-3, 0.0, 0.0):
        set_learning_rate_factors(optimizer, Factors(0.1, 0.1, conv1_factor, conv1_factor), "paper")
        for value in net.parameters():
            value.grad = torch.ones_like(value)
        optimizer.step()
        moved = {name: (value - before[name]).abs().max().item() for name, value in net.named_parameters()}
        if conv1_factor:
            assert moved["conv1.weight"] == pytest.approx(moved["conv2.weight"] / 100, rel=1e-2)
            conv1 = net.get_parameter("conv1.weight").detach().clone()
    assert torch.equal(net.get_parameter("conv1.weight"), conv1)
    assert moved["conv2.weight"] > 2 * 0.1 * RATE


def named_net() -> nn.Module:
    torch.manual_seed(0)
    net = nn.Sequential()
    for name in ("conv1", "conv2", "local3", "fc10"):
        net.add_module(name, nn.Linear(3, 3))
    return net.double()


def rates(config: ScheduleConfig, epoch: int, epochs: int) -> dict[str, float]:
    """Every parameter's learning rate in one epoch."""
    net = named_net()
    optimizer = build_optimizer(net, optim(), WeightDecayConfig(weights=DECAY, biases=0.0, layers={}))
    set_learning_rate_factors(optimizer, Schedule(config, epochs).factors(epoch), "paper")
    names = {id(value): name for name, value in net.named_parameters()}
    return {names[id(value)]: group["lr"] for group in optimizer.param_groups for value in group["params"]}


def after_a_step_without_gradient(decay: WeightDecayConfig) -> dict[str, float]:
    """What is left of every parameter, as a share of its start, after one step that only decays."""
    net = named_net()
    before = {name: value.detach().clone() for name, value in net.named_parameters()}
    optimizer = build_optimizer(net, optim(), decay)
    for value in net.parameters():
        value.grad = torch.zeros_like(value)
    optimizer.step()
    return {name: float((value.detach() / before[name]).mean()) for name, value in net.named_parameters()}


def test_a_layers_own_decay_reaches_its_weights_and_no_bias_and_no_other_layer():
    layers = {"conv1": 0.0, "local3": 0.004, "fc10": 3.0}
    left = after_a_step_without_gradient(WeightDecayConfig(weights=DECAY, biases=0.0, layers=layers))
    for name in ("conv1", "conv2", "local3", "fc10"):
        assert left[f"{name}.weight"] == pytest.approx(1 - RATE * layers.get(name, DECAY), abs=1e-12), name
        assert left[f"{name}.bias"] == 1.0, name


def test_the_decay_of_biases_is_that_of_no_layer():
    left = after_a_step_without_gradient(WeightDecayConfig(weights=0.0, biases=0.1, layers={"fc10": 3.0}))
    assert left["fc10.weight"] == pytest.approx(1 - RATE * 3.0)
    biases = {name: share for name, share in left.items() if name.endswith("bias")}
    assert biases == pytest.approx(dict.fromkeys(biases, 1 - 2 * RATE * 0.1))
    assert [left[f"{name}.weight"] for name in ("conv1", "conv2", "local3")] == [1.0] * 3


@pytest.mark.parametrize("layer", ["conv1", "conv2", "local3", "fc10"])
def test_biases_keep_their_rate_while_weights_drop(composed, layer):
    # cuda-convnet's 13 % net: only epsW is lowered. Of conv1, too: it is neither cut nor frozen there.
    config = composed("schedule=cifar_13pct").schedule
    for epoch, factor in ((0, 1.0), (139, 1.0), (145, 0.1), (155, 0.01)):
        found = rates(config, epoch, 160)
        assert found[f"{layer}.weight"] == pytest.approx(RATE * factor)
        assert found[f"{layer}.bias"] == pytest.approx(2 * RATE)


@pytest.mark.parametrize("layer", ["conv1", "conv2", "fc10"])
def test_biases_fall_with_the_weights_where_they_are_told_to(composed, layer):
    for epoch, factor in ((0, 1.0), (125, 0.1), (135, 0.01)):
        found = rates(composed("schedule=cifar_18pct").schedule, epoch, 140)
        assert found[f"{layer}.weight"] == pytest.approx(RATE * factor)
        assert found[f"{layer}.bias"] == pytest.approx(2 * RATE * factor)


def test_the_released_schedule_cuts_and_freezes_conv1_and_keeps_the_rate_of_biases(composed):
    config = composed("schedule=released_code").schedule
    expected = {
        22: (1e-2, 1e-2),
        30: (1e-3, 1e-3),
        66: (1e-4, 1e-4),
        67: (1e-4, 1e-5),
        72: (1e-4, 0.0),
        90: (1e-5, 0.0),
    }
    for epoch, (others, conv1) in expected.items():
        found = rates(config, epoch, 91)
        assert found["conv1.weight"] == pytest.approx(conv1), epoch
        for name in ("conv2", "local3", "fc10"):
            assert found[f"{name}.weight"] == pytest.approx(others), epoch
            assert found[f"{name}.bias"] == pytest.approx(0.02), epoch


def test_biases_of_conv1_keep_their_rate_until_conv1_is_cut(composed):
    # Config 145's bias rate still stood at 0.02 at the end of the 2012 run.
    config = composed("schedule=released_code").schedule
    assert {rates(config, epoch, 91)["conv1.bias"] for epoch in (0, 30, 60, 66)} == {0.02}


def test_velocity_of_biases_is_left_alone_where_only_weights_drop():
    net = named_net()
    optimizer = build_optimizer(net, optim(), WeightDecayConfig(weights=0.0, biases=0.0, layers={}))
    for value in net.parameters():
        value.grad = torch.ones_like(value)
    optimizer.step()
    set_learning_rate_factors(optimizer, Factors(0.1, 1.0, 0.1, 0.1), "paper")
    weight, bias = (net.get_parameter(f"fc10.{role}") for role in ("weight", "bias"))
    assert torch.equal(optimizer.state[weight]["momentum_buffer"], torch.full_like(weight, 10.0))
    assert torch.equal(optimizer.state[bias]["momentum_buffer"], torch.ones_like(bias))


def test_one_pass_over_a_parameter_gives_the_numbers_of_several():
    decay = WeightDecayConfig(weights=DECAY, biases=0.0, layers={})
    fused = trained(optim(), decay)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("alexnet_sweep.optim.FUSED_ON", ())
        several = trained(optim(), decay)
    for name, value in fused.items():
        torch.testing.assert_close(value, several[name], rtol=1e-14, atol=1e-16)


def test_the_order_of_weights_in_memory_changes_no_update():
    def stepped(memory_format: torch.memory_format) -> list[torch.Tensor]:
        torch.manual_seed(0)
        net = nn.Conv2d(3, 4, 5).to(memory_format=memory_format)
        optimizer = build_optimizer(net, optim(), WeightDecayConfig(weights=DECAY, biases=0.0, layers={}))
        generator = torch.Generator().manual_seed(1)
        for _ in range(3):
            optimizer.zero_grad()
            drawn = [torch.randn(value.shape, generator=generator) for value in net.parameters()]
            sum((value * draws).sum() for value, draws in zip(net.parameters(), drawn, strict=True)).backward()
            optimizer.step()
        return list(net.parameters())

    for one, other in zip(stepped(torch.channels_last), stepped(torch.contiguous_format), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-7)
