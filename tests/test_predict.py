"""Probabilities by the centre view and by all views, against forward passes written out."""

import numpy as np
import pytest
import torch
from torch import nn

from alexnet_sweep.config import EvalConfig
from alexnet_sweep.data.batches import Pixels
from alexnet_sweep.model.layers import KeyedDropout
from alexnet_sweep.predict import predict

SIDE, CROP, CLASSES = 9, 5, 6
CPU = torch.device("cpu")


def stored(count: int = 11) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, 3, SIDE, SIDE), dtype=np.uint8)


def small_net(rate: float = 0.5) -> nn.Module:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), KeyedDropout(rate, "paper", "fc6", 0), nn.Linear(3 * CROP * CROP, CLASSES))
    with torch.no_grad():
        net[2].weight.mul_(0.1)
    return net


def pixels(crop: int = CROP) -> Pixels:
    mean = torch.rand(3, crop, crop, generator=torch.Generator().manual_seed(1)) * 255
    return Pixels(mean, torch.ones(3), torch.eye(3), crop, 2.0)


def evaluation(average: str = "probabilities", mirrored: bool = True, batch_size: int = 512) -> EvalConfig:
    return EvalConfig(average, mirrored, batch_size, clean_train_images=0)


def predicted(net, rows=None, *, config=None, all_views=True, images=None, **more):
    images = stored() if images is None else images
    return predict(
        net,
        net,
        images,
        np.arange(len(images)) if rows is None else np.array(rows, np.int64),
        pixels=pixels(),
        config=config or evaluation(),
        all_views=all_views,
        device=CPU,
        **more,
    )


def logits_of_views(net, images) -> torch.Tensor:
    """Logits (views, images, classes) of the four corners, the centre and their mirrors."""
    net.eval()
    source, end, middle = torch.from_numpy(images).float(), SIDE - CROP, (SIDE - CROP) // 2
    places = [(0, 0), (0, end), (end, 0), (end, end), (middle, middle)]
    crops = [source[..., t : t + CROP, s : s + CROP] for t, s in places]
    views = [view for one in crops for view in (one, one.flip(3))]
    with torch.no_grad():
        return torch.stack([net((view - pixels().mean) / 2.0) for view in views])


@pytest.mark.parametrize("all_views", [True, False])
def test_centre_equals_a_direct_forward_pass(all_views):
    net = small_net()
    found = predicted(net, all_views=all_views).centre
    expected = logits_of_views(net, stored())[8].softmax(1)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected.numpy(), rtol=1e-5, atol=1e-6)


def test_ten_is_the_mean_of_the_views_probabilities():
    net = small_net()
    expected = logits_of_views(net, stored()).softmax(2).mean(0)
    np.testing.assert_allclose(predicted(net).ten, expected.numpy(), rtol=1e-5, atol=1e-6)


def test_the_logits_option_averages_before_the_softmax():
    net = small_net()
    logits = logits_of_views(net, stored())
    found = predicted(net, config=evaluation("logits")).ten
    np.testing.assert_allclose(found, logits.mean(0).softmax(1).numpy(), rtol=1e-5, atol=1e-6)
    assert np.abs(found - logits.softmax(2).mean(0).numpy()).max() > 1e-3


def test_without_mirrors_five_views_are_averaged():
    net = small_net()
    expected = logits_of_views(net, stored())[::2].softmax(2).mean(0)
    found = predicted(net, config=evaluation(mirrored=False)).ten
    np.testing.assert_allclose(found, expected.numpy(), rtol=1e-5, atol=1e-6)


def test_one_view_alone_is_the_centre():
    images = stored()[..., 2:7, 2:7]
    found = predicted(small_net(), images=images, config=evaluation(mirrored=False))
    assert np.array_equal(found.ten, found.centre)


@pytest.mark.parametrize("batch_size", [1, 7, 25, 40])
def test_batch_size_does_not_change_results(batch_size):
    net = small_net()
    whole, parts = predicted(net), predicted(net, config=evaluation(batch_size=batch_size))
    assert np.abs(whole.centre - parts.centre).max() < 1e-6
    assert np.abs(whole.ten - parts.ten).max() < 1e-6


def test_a_forward_pass_holds_at_most_the_batch_size_in_views():
    net, seen = small_net(), []

    def forward(inputs):
        seen.append(len(inputs))
        return net(inputs)

    predict(
        net,
        forward,
        stored(),
        np.arange(11),
        pixels=pixels(),
        config=evaluation(batch_size=40),
        all_views=True,
        device=CPU,
    )
    assert seen == [40, 40, 30]


def test_probabilities_sum_to_one():
    found = predicted(small_net())
    for table in (found.centre, found.ten):
        np.testing.assert_allclose(table.sum(1), 1.0, rtol=1e-5)


def test_rows_are_answered_in_the_order_asked():
    net = small_net()
    whole, some = predicted(net), predicted(net, rows=[5, 0, 5])
    np.testing.assert_allclose(some.ten, whole.ten[[5, 0, 5]], atol=1e-6)


def test_the_centre_alone_asks_for_no_ten():
    assert predicted(small_net(), all_views=False).ten is None


def test_no_rows_give_no_probabilities():
    assert len(predicted(small_net(), rows=[]).centre) == 0


@pytest.mark.parametrize("training", [True, False])
def test_the_nets_mode_is_restored(training):
    net = small_net().train(training)
    predicted(net)
    assert [module.training for module in net.modules()] == [training] * 4


def test_the_nets_mode_is_restored_after_an_error():
    net = small_net().train()

    def broken(inputs):
        assert not net.training
        raise RuntimeError("no")

    with pytest.raises(RuntimeError, match="no"):
        predict(
            net,
            broken,
            stored(),
            np.arange(3),
            pixels=pixels(),
            config=evaluation(),
            all_views=False,
            device=CPU,
        )
    assert net.training


def test_every_batch_beats():
    beats = []
    predicted(small_net(), config=evaluation(batch_size=4), all_views=False, beat=lambda: beats.append(1))
    assert len(beats) == 3
