"""The drawn pictures hold what is planted in them, and a report on them finds it and nothing else."""

import hashlib
import itertools
import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.typing import NDArray

from alexnet_sweep.assemble import assemble
from alexnet_sweep.augment import central_offset, crop, mirror
from alexnet_sweep.data import synthetic
from alexnet_sweep.data.pack import open_packed
from alexnet_sweep.data.synthetic import Pictures, draw
from conftest import Compose

CROP = 27
OFFSETS = range(synthetic.SIDE - CROP + 1)


@pytest.fixture(scope="module")
def drawn() -> dict[str, Pictures]:
    return {split: draw(split) for split in synthetic.EACH}


def bytes_of(pictures: Pictures) -> list[bytes]:
    return [picture.tobytes() for picture in pictures.pixels]


# --- what is drawn ---


def test_there_are_1600_and_2000_pictures_as_many_of_each_class(drawn: dict[str, Pictures]) -> None:
    assert len(synthetic.class_names()) == 10
    assert np.bincount(drawn["train"].labels).tolist() == [160] * 10
    assert np.bincount(drawn["test"].labels).tolist() == [200] * 10
    assert drawn["train"].pixels.shape == (1600, 32, 32, 3)


def test_no_picture_is_drawn_twice(drawn: dict[str, Pictures]) -> None:
    every = [*bytes_of(drawn["train"]), *bytes_of(drawn["test"])]
    assert len(set(every)) == len(every)


# Where this changes, so must VERSION: the store of the same version would go on holding the old pictures.
PIXELS = {1: {"train": "c5ad5c3cbad63db7", "test": "9929e5ed82439b7c"}}


@pytest.mark.parametrize("split", synthetic.EACH)
def test_a_version_stands_for_the_same_pixels_everywhere(drawn: dict[str, Pictures], split: str) -> None:
    found = hashlib.sha256(drawn[split].pixels.tobytes() + drawn[split].labels.astype("<i8").tobytes()).hexdigest()
    assert found[:16] == PIXELS[synthetic.VERSION][split]


@pytest.mark.parametrize(("number", "value"), [("VERSION", 2), ("SEED", 1), ("STRENGTHS", (2, 11)), ("SHIFTS", (0, 0))])
def test_another_number_is_another_data_set(monkeypatch: pytest.MonkeyPatch, number: str, value: object) -> None:
    before = synthetic.content_id()
    monkeypatch.setattr(synthetic, number, value)
    assert synthetic.content_id() != before


def test_the_runs_seed_draws_no_other_pictures(micro: Compose, tmp_path: Path) -> None:
    one, two = (micro("experiment=synthetic", f"seed={seed}").data for seed in (0, 1))
    assert one == two
    packed = open_packed(one, tmp_path / "store")
    assert packed.meta.counts == {"train": 1600, "test": 2000}
    assert np.array_equal(packed.images["test"][7], draw("test").pixels[7].transpose(2, 0, 1))


# --- the positive control: crops ---


def rows_lit(pictures: NDArray[np.uint8]) -> list[int]:
    """Rows whose mean over some pictures stands out of the ground's."""
    rows = pictures.max(axis=3).mean(axis=(0, 2))
    return np.flatnonzero(rows > np.median(rows) * 1.1).tolist()


def beams(shift: int, gap: int) -> list[int]:
    first = synthetic.FIRST_ROW + shift
    return [first, first + 1, first + 2 + gap, first + 3 + gap]


def test_training_pictures_of_a_class_have_their_beams_in_the_same_rows(drawn: dict[str, Pictures]) -> None:
    train = drawn["train"]
    assert not train.shifts.any()
    for label, name in enumerate(synthetic.class_names()):
        assert rows_lit(train.pixels[train.labels == label]) == beams(0, int(name.split()[1])), name


def test_test_pictures_are_shifted_and_keep_the_distance(drawn: dict[str, Pictures]) -> None:
    test = drawn["test"]
    assert sorted(set(test.shifts.tolist())) == [-3, -2, -1, 0, 1, 2]
    for shift, gap in itertools.product(range(-3, 3), (0, 4)):
        chosen = (test.shifts == shift) & (test.labels % 5 == gap)
        assert rows_lit(test.pixels[chosen]) == beams(shift, synthetic.GAPS[gap])


def test_a_shift_of_two_rows_puts_the_lower_beam_where_another_class_has_it_in_training() -> None:
    lower = {gap: beams(0, gap)[2:] for gap in synthetic.GAPS}
    assert all(beams(2, gap)[2:] == lower[gap + 2] for gap in synthetic.GAPS[:-1])


def test_crops_of_training_pictures_show_every_shift_and_every_view_shows_both_beams() -> None:
    low, high = synthetic.SHIFTS
    centre = central_offset(synthetic.SIDE, CROP)
    assert [centre - shift for shift in range(high, low - 1, -1)] == list(OFFSETS)
    assert beams(low, 2)[0] >= OFFSETS[-1] and beams(high, synthetic.GAPS[-1])[-1] < CROP


# --- the negative control: mirrors ---


@pytest.mark.parametrize("split", synthetic.EACH)
def test_every_picture_is_its_own_mirror_image(drawn: dict[str, Pictures], split: str) -> None:
    pixels = drawn[split].pixels
    assert np.array_equal(pixels, pixels[:, :, ::-1])


def test_stored_pictures_and_their_mean_are_symmetric(micro: Compose, tmp_path: Path) -> None:
    packed = open_packed(micro("experiment=synthetic").data, tmp_path)
    assert np.array_equal(packed.images["train"], packed.images["train"][..., ::-1])
    assert np.array_equal(packed.mean, packed.mean[..., ::-1])


def cropped(images: torch.Tensor, top: int, left: int) -> torch.Tensor:
    places = torch.full((2, len(images)), top)
    places[1] = left
    return crop(images, places[0], places[1], CROP)


def mirrored(images: torch.Tensor) -> torch.Tensor:
    return mirror(images, torch.ones(len(images), dtype=torch.bool))


def test_a_mirrored_crop_is_the_crop_from_the_opposite_offset(drawn: dict[str, Pictures]) -> None:
    images = torch.from_numpy(drawn["train"].pixels[::10]).permute(0, 3, 1, 2)
    for top, left in itertools.product(OFFSETS, OFFSETS):
        opposite = cropped(images, top, OFFSETS[-1] - left)
        assert torch.equal(mirrored(cropped(images, top, left)), opposite)


def test_an_image_gives_the_same_inputs_equally_often_with_mirrors_and_without(drawn: dict[str, Pictures]) -> None:
    image = torch.from_numpy(drawn["train"].pixels[:1]).permute(0, 3, 1, 2)
    crops = [cropped(image, top, left) for top, left in itertools.product(OFFSETS, OFFSETS)]
    without = Counter(view.numpy().tobytes() for view in crops)
    with_mirrors = Counter(view.numpy().tobytes() for one in crops for view in (one, mirrored(one)))
    assert len(without) == 36
    assert with_mirrors == Counter({view: 2 * often for view, often in without.items()})


def test_training_with_mirrors_is_training_without_at_other_offsets_bit_by_bit(
    micro: Compose, monkeypatch: pytest.MonkeyPatch
) -> None:
    # An offset that is drawn evenly stays so when a fair coin puts it on the other side: the arms change places.
    small = ("experiment=synthetic", "trainer.batch_size=500")
    with_mirrors, without = (
        assemble(micro(*small, f"aug/flip={level}"), torch.device("cpu")).trainer.batches for level in ("on", "off")
    )
    offsets, uniforms, normals = with_mirrors._draws(0)
    moved = offsets.copy()
    moved[:, 1] = np.where(uniforms < 0.5, OFFSETS[-1] - offsets[:, 1], offsets[:, 1])
    monkeypatch.setattr(without, "_draws", lambda epoch: (moved, uniforms, normals))
    for (one, labels), (other, same_labels) in zip(with_mirrors.epoch(0), without.epoch(0), strict=True):
        assert torch.equal(one, other) and torch.equal(labels, same_labels)


# --- what a report makes of them ---


@pytest.mark.slow
def test_the_report_finds_the_planted_effect_and_no_other(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "alexnet_sweep", "-m", "study=controls", "trainer.cpu_threads=1"]
    done = subprocess.run([*command, "trainer.progress=false"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    (deltas,) = tmp_path.glob("reports/controls*/deltas.csv")
    table = pd.read_csv(deltas)
    chosen = table[(table["split"] == "test") & (table["view"] == "ten") & (table["metric"] == "top1")]
    rows = chosen.set_index("arm")
    baseline = rows[rows["baseline"]].iloc[0]
    planted, null = rows.loc["aug/crop=off"], rows.loc["aug/flip=off"]
    assert 0.1 < baseline["error"] < 0.3
    assert planted["delta"] > 0.25 and planted["low"] > 0.1
    assert null["low"] < 0 < null["high"]
    assert (planted["finding"], null["finding"]) == ("hurts", "not distinguishable")
    results = [json.loads(path.read_text()) for path in tmp_path.glob("runs/*/result.json")]
    assert len({result["errors"]["test"]["centre"]["top1"] for result in results}) > 4  # no arm is a copy of another
