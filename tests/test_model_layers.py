"""Response normalisation, keyed dropout and grouped linear layers against their literal definitions."""

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
    ResponseNorm,
    ScaledTanh,
    WithinMapNorm,
    set_step,
)


def literal(a, *, size, k, alpha, beta, convention, columns=1):
    """b_i = a_i / (k + alpha · sum over the window of a_j²)^beta, in float64, one channel at a time (paper §3.3)."""
    channels = a.shape[1]
    alpha = alpha / size if convention == "mean" else alpha
    own = channels // columns
    b = np.empty_like(a, dtype=np.float64)
    for i in range(channels):
        first = i // own * own  # the first channel of this column
        total = np.zeros_like(a[:, i], dtype=np.float64)
        low = max(first, i - size // 2)
        high = min(first + own - 1, i - size // 2 + size - 1)  # odd n: i + n/2; even n: n channels from i - n/2 on
        for j in range(low, high + 1):
            total += a[:, j] ** 2
        b[:, i] = a[:, i] / (k + alpha * total) ** beta
    return b


def some_maps(channels: int, scale: float = 1.0) -> np.ndarray:
    return np.random.default_rng(channels).normal(0, scale, (2, channels, 2, 3))


def norm_of(size, k, alpha, beta, convention, columns=1) -> ResponseNorm:
    return ResponseNorm(size, k, alpha, beta, alpha_convention=convention, columns=columns)


SETTINGS = [
    pytest.param(5, 2.0, 1e-4, 0.75, 100.0, id="paper"),
    pytest.param(9, 1.0, 1e-3, 0.75, 10.0, id="cifar-11-percent"),
    pytest.param(4, 1.0, 0.5, 0.75, 1.0, id="even-window"),
    pytest.param(2, 1.0, 0.5, 0.6, 1.0, id="even-window-of-two-and-another-power"),
    pytest.param(1, 2.0, 0.5, 1.0, 1.0, id="own-channel-only"),
    pytest.param(25, 2.0, 0.1, 0.75, 1.0, id="fewer-channels-than-window"),
]


@pytest.mark.parametrize("convention", ["sum", "mean"])
@pytest.mark.parametrize("columns", [1, 2])
@pytest.mark.parametrize(("size", "k", "alpha", "beta", "scale"), SETTINGS)
def test_normalisation_is_the_formula_of_the_paper(size, k, alpha, beta, scale, convention, columns):
    maps = some_maps(12, scale)
    found = norm_of(size, k, alpha, beta, convention, columns)(torch.tensor(maps, dtype=torch.float32))
    expected = literal(maps, size=size, k=k, alpha=alpha, beta=beta, convention=convention, columns=columns)
    np.testing.assert_allclose(found.numpy(), expected, rtol=5e-6, atol=1e-6 * scale)  # float32 inside


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_windows_wider_than_the_maps_see_what_there_is(channels):
    maps = some_maps(channels)
    found = norm_of(5, 2.0, 0.3, 0.75, "sum")(torch.tensor(maps, dtype=torch.float32))
    expected = literal(maps, size=5, k=2.0, alpha=0.3, beta=0.75, convention="sum")
    np.testing.assert_allclose(found.numpy(), expected, rtol=5e-6, atol=1e-6)


@pytest.mark.parametrize("columns", [1, 2])
@pytest.mark.parametrize(("size", "beta"), [(5, 0.75), (4, 0.75), (3, 0.6)])
def test_gradient_is_that_of_the_formula(size, beta, columns):
    def total(flat):
        values = literal(
            flat.reshape(1, 6, 2, 1), size=size, k=1.5, alpha=0.4, beta=beta, convention="sum", columns=columns
        )
        return float((values * weights).sum())

    rng = np.random.default_rng(size)
    maps, weights = rng.normal(size=(1, 6, 2, 1)), rng.normal(size=(1, 6, 2, 1))
    numeric, eps = np.empty(maps.size), 1e-6
    for index in range(maps.size):
        step = np.zeros(maps.size)
        step[index] = eps
        numeric[index] = (total(maps.ravel() + step) - total(maps.ravel() - step)) / (2 * eps)
    leaf = torch.tensor(maps, dtype=torch.float32, requires_grad=True)
    (norm_of(size, 1.5, 0.4, beta, "sum", columns)(leaf) * torch.tensor(weights, dtype=torch.float32)).sum().backward()
    np.testing.assert_allclose(leaf.grad.numpy().ravel(), numeric, rtol=1e-5, atol=2e-6)


@pytest.mark.parametrize("size", [3, 4, 5, 9])
def test_one_column_and_the_mean_are_pytorchs_own_layer(size):
    maps = torch.tensor(some_maps(11, 50.0), dtype=torch.float32)
    theirs = nn.LocalResponseNorm(size, alpha=1e-2, beta=0.75, k=2.0)(maps)
    torch.testing.assert_close(norm_of(size, 2.0, 1e-2, 0.75, "mean")(maps), theirs, rtol=5e-6, atol=1e-5)


def test_the_printed_alpha_is_five_times_the_released_one():
    maps = torch.tensor(some_maps(8, 50.0), dtype=torch.float32)
    printed, released = norm_of(5, 2.0, 1e-4, 0.75, "sum"), norm_of(5, 2.0, 5e-4, 0.75, "mean")
    torch.testing.assert_close(printed(maps), released(maps))


def test_two_columns_never_see_each_other():
    maps = torch.tensor(some_maps(8), dtype=torch.float32)
    changed = maps.clone()
    changed[:, 4:] *= 7.0
    apart, together = norm_of(5, 1.0, 0.5, 0.75, "sum", 2), norm_of(5, 1.0, 0.5, 0.75, "sum", 1)
    assert torch.equal(apart(maps)[:, :4], apart(changed)[:, :4])
    assert not torch.equal(together(maps)[:, :4], together(changed)[:, :4])


def test_half_precision_does_not_overflow_above_255():
    maps = torch.tensor(some_maps(8, 2000.0)).half()
    assert maps.abs().max() > 255
    norm = norm_of(5, 2.0, 1e-4, 0.75, "mean")
    with torch.autocast("cpu", torch.float16):
        found = norm(maps)
    assert found.dtype == torch.float16
    assert torch.isfinite(found).all()
    torch.testing.assert_close(found.float(), norm(maps.float()), rtol=1e-3, atol=1e-3)


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


def literal_within_map(a, *, size, k, alpha, beta, convention):
    """b = a / (k + alpha · sum of a² over the window around the pixel)^beta, in float64, pixel by pixel."""
    b = np.empty_like(a, dtype=np.float64)
    alpha = alpha / size**2 if convention == "mean" else alpha
    height, width = a.shape[2:]
    for y in range(height):
        for x in range(width):
            rows = slice(max(0, y - size // 2), y - size // 2 + size)
            columns = slice(max(0, x - size // 2), x - size // 2 + size)
            total = (a[:, :, rows, columns] ** 2).sum((2, 3))
            b[:, :, y, x] = a[:, :, y, x] / (k + alpha * total) ** beta
    return b


WITHIN_MAP = [
    pytest.param(5, 1.0, 1e-3, 0.75, 30.0, id="config-145"),
    pytest.param(3, 1.0, 5e-5, 0.75, 100.0, id="cifar-18-percent"),
    pytest.param(3, 2.0, 0.5, 0.75, 1.0, id="another-constant"),
    pytest.param(4, 1.5, 0.5, 0.6, 1.0, id="even-window-and-another-power"),
    pytest.param(2, 1.0, 0.5, 0.75, 1.0, id="even-window-of-two"),
    pytest.param(1, 2.0, 0.5, 1.0, 1.0, id="own-pixel-only"),
    pytest.param(9, 2.0, 0.1, 0.75, 1.0, id="window-wider-than-the-map"),
]


@pytest.mark.parametrize("convention", ["sum", "mean"])
@pytest.mark.parametrize(("size", "k", "alpha", "beta", "scale"), WITHIN_MAP)
def test_within_map_normalisation_is_its_formula(size, k, alpha, beta, scale, convention):
    maps = np.random.default_rng(size).normal(0, scale, (2, 3, 6, 5))
    norm = WithinMapNorm(size, k, alpha, beta, alpha_convention=convention)
    found = norm(torch.tensor(maps, dtype=torch.float32))
    expected = literal_within_map(maps, size=size, k=k, alpha=alpha, beta=beta, convention=convention)
    np.testing.assert_allclose(found.numpy(), expected, rtol=5e-6, atol=1e-6 * scale)


@pytest.mark.parametrize("convention", ["sum", "mean"])
@pytest.mark.parametrize(("size", "beta"), [(3, 0.75), (4, 0.6)])
def test_gradient_of_within_map_normalisation_is_that_of_its_formula(size, beta, convention):
    form = {"size": size, "k": 1.5, "alpha": 0.7, "beta": beta, "convention": convention}
    rng = np.random.default_rng(size)
    maps, weights = rng.normal(size=(1, 2, 4, 3)), rng.normal(size=(1, 2, 4, 3))
    numeric, eps = np.empty_like(maps), 1e-6
    for place in np.ndindex(maps.shape):
        above, below = maps.copy(), maps.copy()
        above[place] += eps
        below[place] -= eps
        difference = literal_within_map(above, **form) - literal_within_map(below, **form)
        numeric[place] = (difference * weights).sum() / (2 * eps)
    leaf = torch.tensor(maps, dtype=torch.float32, requires_grad=True)
    norm = WithinMapNorm(size, 1.5, 0.7, beta, alpha_convention=convention)
    (norm(leaf) * torch.tensor(weights, dtype=torch.float32)).sum().backward()
    np.testing.assert_allclose(leaf.grad.numpy(), numeric, rtol=1e-5, atol=2e-6)


def test_maps_do_not_see_each_other_in_within_map_normalisation():
    maps = torch.tensor(some_maps(4), dtype=torch.float32)
    changed = maps.clone()
    changed[:, 2] *= 7.0
    norm = WithinMapNorm(3, 1.0, 0.5, 0.75, alpha_convention="mean")
    assert [torch.equal(norm(maps)[:, i], norm(changed)[:, i]) for i in range(4)] == [True, True, False, True]


def test_within_map_normalisation_survives_half_precision():
    maps = torch.full((1, 1, 5, 5), 1000.0, dtype=torch.float16)
    with torch.autocast("cpu", torch.bfloat16):
        found = WithinMapNorm(5, 1.0, 1e-3, 0.75, alpha_convention="mean")(maps)
    assert found.dtype == torch.float16 and found.isfinite().all()


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
