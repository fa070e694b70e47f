"""Compiled response normalisation: the same numbers, and a way on where nothing can be compiled."""

from typing import Any

import pytest
import torch
from loguru import logger
from torch import nn

from alexnet_sweep.cli import run_one
from alexnet_sweep.model.compiled import compile_norms
from alexnet_sweep.model.norms import ResponseNorm, WithinMapNorm, _formula, channel_window
from conftest import Compose

SMALL = ("trainer.compile=true", "trainer.epochs=1", "eval.clean_train_images=0", "data.heldout_fraction=0")


@pytest.fixture
def written_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """The function that is compiled, as it stands."""
    monkeypatch.setattr(torch, "compile", lambda function, **how: function)


def some_norm(size: int = 5, beta: float = 0.75, columns: int = 2) -> ResponseNorm:
    return ResponseNorm(size, 2.0, 0.1, beta, alpha_convention="mean", columns=columns)


def small_net() -> nn.Sequential:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), some_norm(), nn.Flatten(), nn.Linear(8 * 36, 2))
    return net.to(memory_format=torch.channels_last)


@pytest.mark.parametrize("columns", [1, 2])
@pytest.mark.parametrize(("size", "beta"), [(5, 0.75), (4, 0.75), (3, 0.6), (1, 0.75), (9, 0.75)])
def test_what_is_compiled_is_the_same_function_there_and_back(size: int, beta: float, columns: int) -> None:
    maps, gradient = torch.randn(2, 3, 8, 5, 4).unbind()
    ours, theirs = maps.clone().requires_grad_(), maps.clone().requires_grad_()
    norm = some_norm(size, beta, columns)
    eager = norm(ours)
    plain = _formula(theirs, channel_window(8, size, columns, maps.device), size // 2, norm.k, norm.alpha, beta)
    torch.testing.assert_close(plain, eager, rtol=1e-6, atol=1e-6)
    eager.backward(gradient)
    plain.backward(gradient)
    torch.testing.assert_close(theirs.grad, ours.grad, rtol=1e-5, atol=1e-6)


@pytest.mark.usefixtures("written_out")
def test_only_training_uses_the_compiled_function() -> None:
    net = small_net()
    assert compile_norms(net, torch.zeros(2, 3, 8, 8)) is None
    norm, calls = net[2], []
    formula = norm.compiled

    def counted(*given: Any) -> torch.Tensor:
        calls.append(len(given[0]))
        return formula(*given)

    norm.compiled = counted
    images = torch.randn(5, 3, 8, 8)
    net.eval()(images)
    net.train()
    with torch.no_grad():
        net(images)
    net(images[:1])  # too few to be worth a function of their own
    assert calls == []
    net(images)
    assert calls == [5]


@pytest.mark.usefixtures("written_out")
def test_compiling_leaves_the_network_as_it_was() -> None:
    net = small_net().eval()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    assert compile_norms(net, torch.zeros(2, 3, 8, 8)) is None
    assert not net.training and all(value.grad is None for value in net.parameters())
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert not net[2]._forward_hooks


def test_without_a_compiler_the_reason_is_told_and_nothing_is_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*given: Any) -> torch.Tensor:
        raise RuntimeError("no compiler\nfound")

    monkeypatch.setattr(torch, "compile", lambda function, **how: refuse)
    net = small_net()
    assert compile_norms(net, torch.zeros(2, 3, 8, 8)) == "no compiler found"
    net(torch.randn(2, 3, 8, 8)).sum().backward()


def test_a_network_without_normalisation_across_maps_has_nothing_to_compile() -> None:
    net = nn.Sequential(nn.Conv2d(3, 8, 3), WithinMapNorm(3, 1.0, 0.1, 0.75, alpha_convention="mean"))
    assert "no response normalisation" in str(compile_norms(net, torch.zeros(2, 3, 8, 8)))


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (["model/lrn=off"], "no response normalisation across maps"),
        (["trainer.memory_format=contiguous"], "choose channels_last"),
    ],
)
def test_a_run_that_was_not_compiled_says_so_and_records_it(micro: Compose, more: list[str], told: str) -> None:
    lines: list[str] = []
    sink = logger.add(lines.append, format="{message}", level="WARNING")
    try:
        result = run_one(micro(*SMALL, "trainer.device=cpu", *more))
    finally:
        logger.remove(sink)
    assert result["effective"]["compiled"] is False
    (line,) = [line for line in lines if line.startswith("trainer.compile: not compiled, ")]
    assert told in line and line.count("\n") == 1


@pytest.mark.usefixtures("written_out")
def test_a_compiled_run_records_that_it_was(micro: Compose) -> None:
    result = run_one(micro(*SMALL, "trainer.device=cpu"))
    assert result["effective"]["compiled"] is True


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # the compiler's own
def test_a_really_compiled_function_agrees_whatever_the_batch() -> None:
    net, plain = small_net(), small_net()
    reason = compile_norms(net, torch.zeros(2, 3, 8, 8))
    if reason is not None:
        pytest.skip(f"cannot compile here: {reason}")
    for batch in (7, 3, 1):
        images = torch.randn(batch, 3, 8, 8).contiguous(memory_format=torch.channels_last)
        one, other = net(images), plain(images)
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)
        one.sum().backward()
        other.sum().backward()
    for ours, theirs in zip(net.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-4, atol=1e-4)
