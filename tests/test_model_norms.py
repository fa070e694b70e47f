"""Response normalisation, across channels and within a map, against its literal definition."""

import numpy as np
import pytest
import torch
from torch import nn

from alexnet_sweep.model import norms
from alexnet_sweep.model.norms import ResponseNorm, WithinMapNorm


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


@pytest.mark.parametrize("columns", [1, 2])
@pytest.mark.parametrize("size", [1, 2, 5])
@pytest.mark.parametrize("beta", [0.75, 0.6])
def test_the_way_back_is_that_of_the_way_there(size, beta, columns):
    maps = torch.tensor(some_maps(6), requires_grad=True)  # float64
    assert torch.autograd.gradcheck(lambda a: norms._AcrossChannels.apply(a, size, 1.5, 0.4, beta, columns), [maps])


def forth_and_back(norm: nn.Module, maps: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    leaf = maps.clone(memory_format=torch.preserve_format).requires_grad_()
    found = norm(leaf)
    found.backward(torch.cos(torch.arange(found.numel(), dtype=torch.float32)).reshape(found.shape))
    return found.detach(), leaf.grad


@pytest.mark.parametrize("cached", [1, 100, 300])
@pytest.mark.parametrize("columns", [1, 2])
def test_how_much_fits_the_cache_changes_nothing(cached, columns, monkeypatch):
    maps = torch.randn(7, 8, 5, 3, generator=torch.Generator().manual_seed(0))
    norm = norm_of(5, 2.0, 0.1, 0.75, "mean", columns)
    whole = forth_and_back(norm, maps)
    monkeypatch.setattr(norms, "CACHED", cached)
    for ours, theirs in zip(forth_and_back(norm, maps), whole, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=3e-7, atol=3e-7)


@pytest.mark.parametrize("columns", [1, 2])
def test_the_order_in_memory_changes_nothing_and_is_kept(columns):
    maps = torch.randn(4, 8, 5, 3, generator=torch.Generator().manual_seed(0))
    norm = norm_of(5, 2.0, 0.1, 0.75, "mean", columns)
    last = forth_and_back(norm, maps.contiguous(memory_format=torch.channels_last))
    for ours, theirs in zip(last, forth_and_back(norm, maps), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=3e-7, atol=3e-7)
        assert ours.is_contiguous(memory_format=torch.channels_last) and theirs.is_contiguous()


def test_an_empty_batch_stays_empty():
    found, gradient = forth_and_back(norm_of(5, 2.0, 0.1, 0.75, "mean"), torch.empty(0, 8, 5, 3))
    assert found.shape == gradient.shape == (0, 8, 5, 3)


def test_what_is_kept_for_the_way_back_is_two_tensors():
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda value: kept.append(value) or value, lambda value: value):
        norm_of(5, 2.0, 0.1, 0.75, "mean")(torch.randn(4, 8, 5, 3, requires_grad=True))
    assert [value.shape for value in kept] == [(4, 8, 5, 3)] * 2


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
