"""Keyed dropout, grouped linear and unshared layers against their literal definitions."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from alexnet_sweep.model.layers import (
    GroupedLinear,
    KeyedDropout,
    LocallyConnected,
    ScaledTanh,
    set_step,
)


def dropped(units: torch.Tensor, *, rate=0.5, form="paper", name="fc6", seed=0, step=0, training=True) -> torch.Tensor:
    layer = KeyedDropout(rate, form, name, seed).train(training)
    set_step(layer, step)
    return layer(units)


def test_mask_is_fixed_by_seed_name_and_step():
    units = torch.ones(4, 50)
    assert torch.equal(dropped(units, step=3), dropped(units, step=3))


@pytest.mark.parametrize("other", [{"step": 4}, {"name": "fc7"}, {"seed": 1}])
def test_another_step_layer_or_seed_has_another_mask(other):
    units = torch.ones(4, 50)
    assert not torch.equal(dropped(units, step=3), dropped(units, **({"step": 3} | other)))


def test_mask_does_not_depend_on_the_shared_generator_or_move_it():
    units = torch.ones(4, 50)
    torch.manual_seed(0)
    before, first = torch.get_rng_state(), dropped(units)
    assert torch.equal(before, torch.get_rng_state())
    torch.manual_seed(99)
    assert torch.equal(first, dropped(units))


def test_both_forms_drop_the_same_units():
    units = torch.ones(4, 50)
    assert torch.equal(dropped(units) == 0, dropped(units, form="inverted") == 0)


@pytest.mark.parametrize("rate", [0.2, 0.5, 0.9])
def test_the_rate_is_the_fraction_dropped(rate):
    kept = dropped(torch.ones(200, 200), rate=rate)
    assert float((kept == 0).float().mean()) == pytest.approx(rate, abs=0.01)


def test_paper_form_leaves_survivors_alone_and_scales_at_test():
    units = torch.randn(4, 50, generator=torch.Generator().manual_seed(0))
    trained = dropped(units, rate=0.5)
    assert torch.equal(trained[trained != 0], units[trained != 0])
    assert torch.equal(dropped(units, rate=0.5, training=False), units * 0.5)
    assert torch.equal(dropped(units, rate=0.25, training=False), units * 0.75)


def test_inverted_form_scales_survivors_and_is_identity_at_test():
    units = torch.randn(4, 50, generator=torch.Generator().manual_seed(0))
    trained = dropped(units, rate=0.25, form="inverted")
    assert torch.equal(trained[trained != 0], units[trained != 0] / 0.75)
    assert torch.equal(dropped(units, rate=0.25, form="inverted", training=False), units)


@pytest.mark.parametrize("form", ["paper", "inverted"])
@pytest.mark.parametrize("training", [True, False])
def test_rate_zero_is_identity(form, training):
    units = torch.randn(4, 5, generator=torch.Generator().manual_seed(0))
    assert torch.equal(dropped(units, rate=0.0, form=form, training=training), units)


def test_gradient_flows_through_survivors_only():
    units = torch.ones(4, 50, requires_grad=True)
    kept = dropped(units)
    kept.sum().backward()
    assert torch.equal(units.grad, (kept != 0).float())


def test_every_dropout_layer_is_told_the_step():
    net = nn.Sequential(KeyedDropout(0.5, "paper", "fc6", 0), nn.Sequential(KeyedDropout(0.5, "paper", "fc7", 0)))
    set_step(net, 17)
    assert [net[0].step, net[1][0].step] == [17, 17]


@settings(max_examples=20)
@given(st.sampled_from([1, 2, 3]), st.integers(1, 4), st.integers(1, 4))
def test_grouped_linear_is_a_block_diagonal_linear(groups, inputs, outputs):
    generator = torch.Generator().manual_seed(0)
    grouped, whole = (
        GroupedLinear(groups * inputs, groups * outputs, groups),
        nn.Linear(groups * inputs, groups * outputs),
    )
    with torch.no_grad():
        grouped.weight.copy_(torch.randn(grouped.weight.shape, generator=generator))
        grouped.bias.copy_(torch.randn(grouped.bias.shape, generator=generator))
        whole.weight.copy_(torch.block_diag(*grouped.weight.chunk(groups)))
        whole.bias.copy_(grouped.bias)
    units = torch.randn(5, groups * inputs, generator=generator)
    torch.testing.assert_close(grouped(units), whole(units))


def test_scaled_tanh_is_lecuns():
    units = torch.linspace(-3, 3, 7, dtype=torch.float64)
    expected = [1.7159 * np.tanh(2 * value / 3) for value in units.tolist()]
    assert ScaledTanh()(units).tolist() == pytest.approx(expected)


def locally_connected(inputs: int, outputs: int, size: int, kernel: int) -> LocallyConnected:
    """A layer in float64 with weights and biases of no pattern."""
    layer = LocallyConnected(inputs, outputs, size, kernel, kernel // 2).double()
    generator = torch.Generator().manual_seed(size)
    with torch.no_grad():
        for value in layer.parameters():
            value.copy_(torch.randn(value.shape, generator=generator, dtype=value.dtype))
    return layer


def literal_local(maps: torch.Tensor, layer: LocallyConnected) -> torch.Tensor:
    """Each place's own kernel over the zero-padded maps, place by place."""
    batch, inputs, size, _ = maps.shape
    kernel = layer.kernel
    padded = torch.zeros(batch, inputs, size + kernel - 1, size + kernel - 1, dtype=maps.dtype)
    edge = kernel // 2
    padded[:, :, edge : edge + size, edge : edge + size] = maps
    found = []
    for y in range(size):
        for x in range(size):
            own = layer.weight[y * size + x].reshape(-1, inputs, kernel, kernel)
            window = padded[:, :, y : y + kernel, x : x + kernel]
            found.append(torch.einsum("bcij,ocij->bo", window, own) + layer.bias[y * size + x])
    return torch.stack(found, 2).reshape(batch, -1, size, size)


def maps64(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


LOCAL = pytest.mark.parametrize(("inputs", "outputs", "size", "kernel"), [(2, 3, 4, 3), (3, 2, 3, 5), (2, 4, 3, 1)])


@LOCAL
def test_a_locally_connected_layer_applies_each_places_own_kernel(inputs, outputs, size, kernel):
    layer, maps = locally_connected(inputs, outputs, size, kernel), maps64(2, inputs, size, size)
    torch.testing.assert_close(layer(maps), literal_local(maps, layer))


@LOCAL
def test_gradients_of_a_locally_connected_layer_are_those_of_the_loop(inputs, outputs, size, kernel):
    layer, maps = locally_connected(inputs, outputs, size, kernel), maps64(2, inputs, size, size).requires_grad_()
    target = maps64(2, outputs, size, size)
    of = [maps, layer.weight, layer.bias]
    found = torch.autograd.grad((layer(maps) * target).sum(), of)
    expected = torch.autograd.grad((literal_local(maps, layer) * target).sum(), of)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other)


def test_gradients_of_a_locally_connected_layer_are_its_finite_differences():
    layer, maps = locally_connected(2, 2, 3, 3), maps64(1, 2, 3, 3).requires_grad_()
    assert torch.autograd.gradcheck(layer, (maps,))


def test_a_locally_connected_layer_whose_places_agree_is_a_convolution():
    layer, maps = locally_connected(3, 4, 5, 3), maps64(2, 3, 5, 5)
    with torch.no_grad():
        layer.weight.copy_(layer.weight[:1].expand_as(layer.weight))
        layer.bias.copy_(layer.bias[:1].expand_as(layer.bias))
    shared = layer.weight[0].reshape(4, 3, 3, 3)
    torch.testing.assert_close(layer(maps), F.conv2d(maps, shared, layer.bias[0], padding=1))


def test_a_place_of_a_locally_connected_layer_learns_alone():
    layer, maps = locally_connected(2, 3, 4, 3), maps64(2, 2, 4, 4)
    layer(maps)[:, :, 1, 2].sum().backward()
    moved = [place for place in range(16) if layer.weight.grad[place].any() or layer.bias.grad[place].any()]
    assert moved == [1 * 4 + 2]
