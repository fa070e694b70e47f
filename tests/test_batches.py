"""Every image once an epoch, and draws that depend on seed, use, epoch and image alone."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torchvision.transforms.v2 import functional as transforms

from alexnet_sweep.augment import COPIED_EIGENVALUES, COPIED_EIGENVECTORS
from alexnet_sweep.config import AugConfig, CropConfig, DataConfig, FlipConfig, InputsConfig, LightingConfig
from alexnet_sweep.data.batches import Pixels, TrainingBatches
from alexnet_sweep.data.feed import fetch
from alexnet_sweep.data.packed import Meta, Packed

IMAGES, SIDE, CROP = 23, 8, 5
CPU = torch.device("cpu")
VALUES = torch.tensor([5000.0, 900.0, 100.0])  # of a covariance on the 0–255 scale
VECTORS = torch.linalg.qr(torch.tensor([[1.0, 2, 3], [2, 5, 1], [4, 1, 1]])).Q


def coordinates() -> np.ndarray:
    """Images whose channels tell which image, row and column a pixel is."""
    image, row, column = np.meshgrid(range(IMAGES), range(SIDE), range(SIDE), indexing="ij")
    return np.stack([image, row, column], 1).astype(np.uint8)


def aug(
    crop: bool = True,
    flip: float = 0.5,
    lighting: float = 0.0,
    scale: str = "sqrt_eigenvalue",
    divide: bool = False,
    *,
    chunk: int = 1,
    colours: str = "dataset",
    stop: float = 1.0,
    area: list[float] | None = None,
    aspect: list[float] | None = None,
) -> AugConfig:
    crops = CropConfig(crop, chunk, area, aspect)
    return AugConfig(crops, FlipConfig(flip), LightingConfig(lighting, scale, divide, colours, stop))


def batches(
    augmentation: AugConfig,
    *,
    batch_size: int = 5,
    seed: int = 0,
    rows: list[int] | None = None,
    rows_of: Callable[[int], np.ndarray] | None = None,
    divisor: float = 1.0,
    epochs: int = 10,
) -> TrainingBatches:
    mean = torch.zeros(3, CROP, CROP)
    return TrainingBatches(
        coordinates(),
        np.arange(IMAGES, dtype=np.int64) * 10,
        rows_of or (lambda epoch: np.arange(IMAGES) if rows is None else np.array(rows)),
        pixels=Pixels(mean, VALUES, VECTORS, CROP, divisor),
        aug=augmentation,
        batch_size=batch_size,
        seed=seed,
        device=CPU,
        epochs=epochs,
    )


def by_image(subject: TrainingBatches, epoch: int = 0) -> torch.Tensor:
    """The inputs of an epoch in the order of the stored images."""
    parts = list(subject.epoch(epoch))
    labels = torch.cat([labels for _, labels in parts])
    return torch.cat([inputs for inputs, _ in parts])[labels.argsort()]


def order(subject: TrainingBatches, epoch: int = 0) -> list[int]:
    return torch.cat([labels for _, labels in subject.epoch(epoch)]).tolist()


def draws(inputs: torch.Tensor) -> list[tuple[int, int, bool]]:
    """Top, left and whether mirrored, read from the coordinates in the pixels."""
    return [
        (int(rows[0, 0]), int(columns[0].min()), bool(columns[0, 0] > columns[0, -1]))
        for rows, columns in zip(inputs[:, 1], inputs[:, 2], strict=True)
    ]


def colours(inputs: torch.Tensor, plain: torch.Tensor) -> torch.Tensor:
    """The shift of each image and channel; fails where crops or mirrors differ."""
    shift = inputs - plain
    torch.testing.assert_close(shift, shift[:, :, :1, :1].expand_as(shift), atol=1e-4, rtol=0)
    return shift[:, :, 0, 0]


@pytest.mark.parametrize("batch_size", [1, 5, 23, 64])
def test_every_image_is_seen_once_an_epoch(batch_size):
    subject = batches(aug(), batch_size=batch_size)
    seen = list(subject.epoch(0))
    assert len(seen) == subject.steps(0)
    assert sorted(order(subject)) == [10 * image for image in range(IMAGES)]
    assert all(len(labels) == batch_size for _, labels in seen[:-1])


def test_labels_belong_to_their_images():
    for inputs, labels in batches(aug()).epoch(0):
        assert (10 * inputs[:, 0, 0, 0]).tolist() == labels.tolist()


def test_only_the_training_rows_are_seen():
    assert sorted(order(batches(aug(), rows=[2, 3, 7, 11]))) == [20, 30, 70, 110]


def test_inputs_are_float32_crops():
    inputs, labels = next(batches(aug()).epoch(0))
    assert (inputs.dtype, inputs.shape) == (torch.float32, (5, 3, CROP, CROP))
    assert labels.dtype == torch.int64


def test_epochs_differ_in_order_crops_mirrors_and_colours():
    subject, plain = batches(aug(lighting=0.1)), batches(aug())
    assert order(subject, 0) != order(subject, 1)
    first, second = (by_image(plain, epoch) for epoch in (0, 1))
    assert [d[:2] for d in draws(first)] != [d[:2] for d in draws(second)]
    assert [d[2] for d in draws(first)] != [d[2] for d in draws(second)]
    shifts = [colours(by_image(subject, epoch), by_image(plain, epoch)) for epoch in (0, 1)]
    assert not torch.allclose(*shifts)


def test_seeds_differ_and_repeat():
    assert torch.equal(by_image(batches(aug(), seed=1)), by_image(batches(aug(), seed=1)))
    assert order(batches(aug(), seed=1)) != order(batches(aug(), seed=2))
    assert draws(by_image(batches(aug(), seed=1))) != draws(by_image(batches(aug(), seed=2)))


def test_all_offsets_are_drawn_and_none_beyond_the_image():
    subject = batches(aug())
    tops, lefts, mirrored = zip(*(d for epoch in range(8) for d in draws(by_image(subject, epoch))), strict=True)
    assert set(tops) == set(lefts) == set(range(SIDE - CROP + 1))
    assert 0.3 < np.mean(mirrored) < 0.7


def test_crop_off_takes_the_centre_and_keeps_mirrors():
    on, off = draws(by_image(batches(aug()))), draws(by_image(batches(aug(crop=False))))
    assert {d[:2] for d in off} == {(2, 2)}  # round((8 - 5) / 2)
    assert [d[2] for d in on] == [d[2] for d in off]


def test_flip_off_mirrors_nothing_and_keeps_crops():
    on, off = draws(by_image(batches(aug()))), draws(by_image(batches(aug(flip=0.0))))
    assert not any(d[2] for d in off)
    assert [d[:2] for d in on] == [d[:2] for d in off]


def test_flip_always_mirrors_every_image():
    assert all(d[2] for d in draws(by_image(batches(aug(flip=1.0)))))


def test_lighting_shares_crops_and_mirrors_with_its_absence():
    shift = colours(by_image(batches(aug(lighting=0.1))), by_image(batches(aug())))
    assert shift.abs().min() > 0


def test_colours_do_not_depend_on_crops_or_mirrors():
    together = colours(by_image(batches(aug(lighting=0.1))), by_image(batches(aug())))
    plain = by_image(batches(aug(crop=False, flip=0.0)))
    alone = colours(by_image(batches(aug(crop=False, flip=0.0, lighting=0.1))), plain)
    torch.testing.assert_close(together, alone, atol=1e-4, rtol=0)


def test_colours_grow_with_the_coefficient_and_nothing_else():
    plain = by_image(batches(aug()))
    weak, strong = (colours(by_image(batches(aug(lighting=c))), plain) for c in (0.1, 0.3))
    torch.testing.assert_close(3 * weak, strong, atol=1e-3, rtol=1e-4)


def test_division_scales_whole_inputs_by_one_plus_the_coefficient():
    whole, divided = (by_image(batches(aug(lighting=0.1, divide=d))) for d in (False, True))
    torch.testing.assert_close(divided * 1.1, whole, rtol=1e-5, atol=1e-5)


def test_input_divisor_divides():
    torch.testing.assert_close(by_image(batches(aug(), divisor=4.0)) * 4, by_image(batches(aug())))


@pytest.mark.parametrize("switched", [{"crop": False}, {"flip": 0.0}, {"lighting": 0.1}], ids=str)
def test_order_does_not_depend_on_augmentation(switched):
    assert order(batches(aug())) == order(batches(aug(**switched)))


@pytest.mark.parametrize("batch_size", [1, 4, 23, 100])
def test_batch_size_changes_neither_order_nor_draws(batch_size):
    five, other = batches(aug(lighting=0.1)), batches(aug(lighting=0.1), batch_size=batch_size)
    assert order(five) == order(other)
    assert torch.equal(by_image(five), by_image(other))


@pytest.mark.parametrize("first", [1, 3, 5])
def test_starting_in_the_middle_gives_the_rest_of_the_epoch(first):
    subject = batches(aug(lighting=0.1))
    whole, rest = list(subject.epoch(2))[first:], list(subject.epoch(2, first))
    assert len(whole) == len(rest)
    for (inputs, labels), (other_inputs, other_labels) in zip(whole, rest, strict=True):
        assert torch.equal(inputs, other_inputs)
        assert torch.equal(labels, other_labels)


def test_an_image_gets_the_same_draws_whichever_others_are_trained_on():
    rows = [1, 4, 9, 16, 22]
    assert torch.equal(by_image(batches(aug(lighting=0.1), rows=rows)), by_image(batches(aug(lighting=0.1)))[rows])


def test_the_central_part_of_the_mean_image_is_subtracted_wherever_the_crop_was():
    mean = np.random.default_rng(0).random((3, SIDE, SIDE)) * 255
    meta = Meta("0" * 16, "coordinates", ["a"], {"train": IMAGES, "test": 0}, SIDE)
    packed = Packed(meta, {}, {}, {}, mean, np.ones(3), np.eye(3))
    pixels = Pixels.of(packed, DataConfig(crop_px=CROP, input_divisor=1.0), InputsConfig(None, None), CPU)
    np.testing.assert_allclose(pixels.mean.numpy(), mean[:, 2:7, 2:7], rtol=1e-6)
    subject = batches(aug())
    plain = by_image(subject)
    subject.pixels = pixels
    torch.testing.assert_close(by_image(subject), plain - pixels.mean, atol=1e-4, rtol=0)


def test_constants_by_channel_give_torchvisions_normalisation():
    constants = InputsConfig([123.675, 116.28, 103.53], [58.395, 57.12, 57.375])
    meta = Meta("0" * 16, "coordinates", ["a"], {"train": IMAGES, "test": 0}, SIDE)
    packed = Packed(meta, {}, {}, {}, np.zeros((3, SIDE, SIDE)), np.ones(3), np.eye(3))
    subject = batches(aug(), rows=[3, 7])
    pixels = by_image(subject)
    subject.pixels = Pixels.of(packed, DataConfig(crop_px=CROP, input_divisor=1.0), constants, CPU)
    expected = transforms.normalize(pixels / 255, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
    torch.testing.assert_close(by_image(subject), expected)


RESIZED = {"area": [0.08, 1.0], "aspect": [0.75, 4 / 3]}


def test_resized_crops_are_scaled_to_the_crops_size_and_differ_in_area():
    inputs = by_image(batches(aug(flip=0.0, **RESIZED)))
    assert inputs.shape == (IMAGES, 3, CROP, CROP)
    widths = inputs[:, 2].amax((1, 2)) - inputs[:, 2].amin((1, 2))  # the channel of columns: 7 for a whole image
    assert float(widths.min()) <= 3 and float(widths.max()) >= 6


def test_a_resized_crop_hangs_on_seed_epoch_and_image_alone():
    augmentation = aug(**RESIZED)
    whole = by_image(batches(augmentation))
    assert torch.equal(by_image(batches(augmentation, batch_size=23)), whole)
    assert torch.equal(by_image(batches(augmentation, rows=[1, 4, 22])), whole[[1, 4, 22]])
    assert not torch.equal(by_image(batches(augmentation, seed=1)), whole)
    assert not torch.equal(by_image(batches(augmentation), 1), whole)


def test_a_crop_of_the_whole_area_is_the_scaled_image():
    inputs = by_image(batches(aug(flip=0.0, area=[1.0, 1.0], aspect=[1.0, 1.0])))
    expected = transforms.resize(torch.from_numpy(coordinates()), [CROP, CROP], antialias=True).float()
    assert torch.equal(inputs, expected)


def test_fetched_rows_need_not_be_sorted():
    images = coordinates()
    fetched = fetch(images, np.array([7, 2, 2]), CPU)
    assert fetched.dtype == torch.uint8
    assert np.array_equal(fetched.numpy(), images[[7, 2, 2]])


def test_images_of_a_chunk_share_one_crop_and_one_mirror():
    # `coordinates()` makes every pixel tell its place, so equal inputs mean equal crops and mirrors.
    subject = batches(aug(chunk=4), batch_size=6)
    inputs = torch.cat([inputs for inputs, _ in subject.epoch(0)])
    for start in range(0, len(inputs), 4):
        chunk = inputs[start : start + 4]
        assert all(torch.equal(offsets_of(image), offsets_of(chunk[0])) for image in chunk)
    assert len({tuple(offsets_of(image).tolist()) for image in inputs}) > 1


def test_images_of_a_chunk_have_colours_of_their_own():
    together = colours(by_image(batches(aug(chunk=4, lighting=0.1))), by_image(batches(aug(chunk=4))))
    alone = colours(by_image(batches(aug(lighting=0.1))), by_image(batches(aug())))
    torch.testing.assert_close(together, alone, atol=1e-4, rtol=0)


def test_a_chunk_may_reach_over_two_batches_and_a_resumed_epoch_agrees():
    subject = batches(aug(chunk=4, lighting=0.1), batch_size=6)
    whole = [inputs for inputs, _ in subject.epoch(1)]
    rest = [inputs for inputs, _ in subject.epoch(1, first=1)]
    assert all(torch.equal(one, two) for one, two in zip(whole[1:], rest, strict=True))


def test_lighting_stops_where_it_is_told_to_and_its_division_with_it():
    stopping = batches(aug(lighting=0.1, divide=True, stop=0.5), epochs=4)
    always = batches(aug(lighting=0.1, divide=True), epochs=4)
    never = batches(aug(lighting=0.0), epochs=4)
    for epoch, like in ((0, always), (1, always), (2, never), (3, never)):
        assert torch.equal(by_image(stopping, epoch), by_image(like, epoch))


def test_copied_constants_replace_the_data_sets_own_colours():
    own, copied = (batches(aug(lighting=0.1, scale="eigenvalue", colours=colours)) for colours in ("dataset", "copied"))
    shift = (by_image(copied) - by_image(batches(aug())))[:, :, 0, 0]
    assert not torch.equal(by_image(own), by_image(copied))
    # Hardly any colour: the first component carries 0.1 · 0.2175 · 255 = 5.5 grey levels, the second 0.48.
    assert 0.5 < shift.std(0).mean() < 10
    assert (shift - shift.mean(1, keepdim=True)).abs().max() < 2


def offsets_of(image: torch.Tensor) -> torch.Tensor:
    """Where a crop was taken and whether it was mirrored, as its own corner pixels tell."""
    return torch.stack([image[1, 0, 0], image[2, 0, 0], image[2, 0, -1]])


# --- how many crops, how much colour ---


@pytest.mark.parametrize(("stored", "size"), [(40, 8), (12, 4)])
def test_a_rim_of_n_pixels_gives_n_plus_one_offsets_each_way(stored, size):
    # As 224 of 256 px: 33 offsets each way, not the 32 that the paper counts; and as 24 of 32 px: 9.
    row, column = np.meshgrid(range(stored), range(stored), indexing="ij")
    image = np.stack([row * 0, row, column]).astype(np.uint8)
    count = 600
    subject = TrainingBatches(
        np.broadcast_to(image, (count, *image.shape)),
        np.zeros(count, dtype=np.int64),
        lambda epoch: np.arange(count),
        pixels=Pixels(torch.zeros(3, size, size), VALUES, VECTORS, size, 1.0),
        aug=aug(flip=0.0),
        batch_size=100,
        seed=0,
        device=CPU,
        epochs=1,
    )
    seen = [draw for inputs, _ in subject.epoch(0) for draw in draws(inputs)]
    for axis in (0, 1):
        offsets = [draw[axis] for draw in seen]
        assert sorted(set(offsets)) == list(range(stored - size + 1))
    assert len({draw[:2] for draw in seen}) > (stored - size + 1) ** 2 / 3  # rows and columns are drawn apart


def alphas(epochs: int, **lighting) -> torch.Tensor:
    """The random factors of every image and epoch, worked out from the colours that were added."""
    lit, plain = batches(aug(lighting=0.1, **lighting), epochs=epochs), batches(aug(), epochs=epochs)
    shifts = torch.cat([colours(by_image(lit, epoch), by_image(plain, epoch)) for epoch in range(epochs)])
    return shifts @ VECTORS / VALUES.sqrt()


def test_the_factors_of_the_colours_are_normal_with_standard_deviation_a_tenth():
    found = alphas(40)
    assert found.mean(0).tolist() == pytest.approx([0.0] * 3, abs=0.01)
    assert found.std(0).tolist() == pytest.approx([0.1] * 3, rel=0.1)
    inside = (found.abs() < 0.1).double().mean()
    assert float(inside) == pytest.approx(0.683, abs=0.03)  # a normal's share within one standard deviation
    assert (torch.corrcoef(found.T) - torch.eye(3)).abs().max() < 0.1


def test_copied_constants_are_the_formula_of_section_4_1_on_their_own_eigenvalues():
    shift = colours(
        by_image(batches(aug(lighting=0.1, scale="eigenvalue", colours="copied"))), by_image(batches(aug()))
    )
    spread = torch.tensor([0.2175, 0.0188, 0.0045]) * 255  # of pixels in [0, 1]; 5.5, 0.48 and 0.11 grey levels
    expected = (alphas(1) * spread) @ torch.tensor(COPIED_EIGENVECTORS).T
    torch.testing.assert_close(shift, expected, atol=1e-3, rtol=1e-3)


def test_copied_constants_are_those_of_fb_resnet_torch():
    assert COPIED_EIGENVALUES == (0.2175, 0.0188, 0.0045)
    vectors = torch.tensor(COPIED_EIGENVECTORS)
    torch.testing.assert_close(vectors.T @ vectors, torch.eye(3), atol=5e-4, rtol=0)
    assert vectors[:, 0].tolist() == pytest.approx([-0.5675, -0.5808, -0.5836])  # columns; the first is brightness


def test_the_released_colours_stop_after_67_of_91_epochs():
    lit, plain = batches(aug(lighting=0.1, divide=True, stop=0.736), epochs=91), batches(aug())
    same = [torch.equal(by_image(lit, epoch), by_image(plain, epoch)) for epoch in (0, 66, 67, 90)]
    assert same == [False, False, True, True]


# --- a held-out part that joins ---

KEPT, JOINING = [0, 2, 3, 5, 8, 13, 21], [1, 4, 6, 7]


def joining(first: int, **more) -> TrainingBatches:
    """Batches to which further rows come in epoch `first`."""
    everything = np.sort(KEPT + JOINING)
    return batches(aug(lighting=0.1), rows_of=lambda epoch: everything if epoch >= first else np.array(KEPT), **more)


@pytest.mark.parametrize("first", [0, 1, 3])
def test_rows_that_join_are_seen_from_that_epoch_on_and_not_before(first):
    subject = joining(first)
    for epoch in range(4):
        rows = sorted(KEPT + JOINING) if epoch >= first else KEPT
        assert sorted(order(subject, epoch)) == [10 * row for row in rows]


def test_steps_before_adds_up_across_the_epoch_in_which_rows_join():
    subject = joining(2, batch_size=4)
    assert [subject.steps(epoch) for epoch in range(4)] == [2, 2, 3, 3]
    assert [subject.steps_before(epoch) for epoch in range(5)] == [0, 2, 4, 7, 10]
    assert [len(list(subject.epoch(epoch))) for epoch in range(4)] == [2, 2, 3, 3]


def test_joining_rows_change_no_draw_of_the_others():
    whole, kept = by_image(joining(0), 1), by_image(joining(9), 1)
    among = [sorted(KEPT + JOINING).index(row) for row in KEPT]
    assert torch.equal(whole[among], kept)


def test_an_epoch_with_joined_rows_can_be_entered_in_the_middle():
    subject = joining(1, batch_size=4)
    whole, rest = list(subject.epoch(1))[1:], list(subject.epoch(1, first=1))
    assert len(whole) == len(rest) == 2
    assert all(torch.equal(one[0], two[0]) for one, two in zip(whole, rest, strict=True))
