"""Pictures drawn from a seed, with planted effects: controls for what a report concludes.

A picture shows two beams on a dark, noisy ground. Its class is the colour of the lower one (red or blue) and the
distance between the two (five steps); widths and brightness say nothing. Two things are planted:

- **Crops help.** In training pictures the upper beam lies in the same row always, in test pictures up to three rows
  beside it. The row of the lower beam alone tells the training classes apart, and a network without random crops learns
  that; a shift by one step of the distance then makes another class of a picture. With crops only the distance will do.
- **Mirrors change nothing.** Every picture equals its mirror image, so that a mirrored crop is the crop from the
  opposite offset. Crops from all offsets are equally likely. So, as long as crops are random, what a network is trained
  on follows the same distribution with mirrors as without, and swapping the two changes no probability: whatever a
  report finds between these arms is chance, and with the same seed one arm is as likely to win as the other.

The seed is a constant here, not the run's: every run sees the same pictures. They are made from the raw output of
PCG64, which NumPy keeps for ever, by integer arithmetic, so that they are the same on every machine.
"""

import json
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

VERSION = 1  # another number wherever a pixel changes
SEED = 2012
SIDE = 32
EACH = {"train": 160, "test": 200}  # pictures a class
UPPER = (235, 200, 90)
LOWER = {"red": (220, 60, 50), "blue": (60, 110, 230)}
GAPS = (2, 4, 6, 8, 10)  # rows between the beams
THICK = 2  # rows of a beam
FIRST_ROW = 8  # of the upper beam, in training pictures
SHIFTS = (-3, 2)  # of test pictures, both included: those that 27 px crops of training pictures show
HALF_WIDTHS = (5, 11)  # of a beam, both included
STRENGTHS = (2, 10)  # sixteenths of its own colour in a beam, both included; the rest is ground
DARKEST, NOISE_DIVISOR = 20, 3  # the ground: a byte divided, and added to the darkest, in each channel


@dataclass(frozen=True)
class Pictures:
    """One split: uint8 (n, 32, 32, 3), classes, and by how many rows each picture is moved down."""

    pixels: NDArray[np.uint8]
    labels: NDArray[np.int64]
    shifts: NDArray[np.int64]


def class_names() -> list[str]:
    """`red 2` … `blue 10`: the lower beam's colour and the rows between the beams."""
    return [f"{colour} {gap}" for colour in LOWER for gap in GAPS]


def content_id() -> str:
    """The version and every number that the pictures are drawn with."""
    numbers = (VERSION, SEED, SIDE, EACH, UPPER, LOWER, GAPS, THICK, FIRST_ROW, SHIFTS, HALF_WIDTHS, STRENGTHS)
    return f"synthetic:{json.dumps([*numbers, DARKEST, NOISE_DIVISOR])}"


def draw(split: str) -> Pictures:
    """The pictures of `train` or `test`; classes take turns."""
    raw = np.random.PCG64([SEED, list(EACH).index(split)])
    classes, half = len(class_names()), SIDE // 2
    count = classes * EACH[split]
    labels = np.arange(count, dtype=np.int64) % classes
    shifts = _between(raw, SHIFTS, count) if split == "test" else np.zeros(count, np.int64)
    # The right half of each picture, its first column beside the axis. All values stay below 256.
    ground = _bytes(raw, count * SIDE * half * 3).reshape(count, SIDE, half, 3)
    right = ground // NOISE_DIVISOR + DARKEST
    upper = np.broadcast_to(np.array(UPPER, np.uint16), (count, 3))
    lower = np.array(list(LOWER.values()), np.uint16)[labels // len(GAPS)]
    top = FIRST_ROW + shifts
    for first, colour in ((top, upper), (top + THICK + np.array(GAPS)[labels % len(GAPS)], lower)):
        _add_beam(right, first, colour, _between(raw, HALF_WIDTHS, count), _between(raw, STRENGTHS, count))
    return Pictures(np.concatenate([right[:, :, ::-1], right], axis=2).astype(np.uint8), labels, shifts)


def _add_beam(
    right: NDArray[np.uint16],
    first: NDArray[np.int64],
    colour: NDArray[np.uint16],
    width: NDArray[np.int64],
    strength: NDArray[np.int64],
) -> None:
    """Mix a beam into the right halves: from row `first` on and `width` columns wide in each picture."""
    places = np.arange(len(right))[:, None], first[:, None] + np.arange(THICK)
    ground = right[places]  # (n, THICK, half, 3)
    share = strength.astype(np.uint16)[:, None, None, None]
    lit = (ground * (16 - share) + colour[:, None, None] * share) // 16
    within = np.arange(right.shape[2]) < width[:, None]
    right[places] = np.where(within[:, None, :, None], lit, ground)


def _bytes(raw: np.random.PCG64, count: int) -> NDArray[np.uint16]:
    """Bytes, as numbers that leave room to calculate with."""
    return raw.random_raw(-(-count // 8)).astype("<u8").view(np.uint8)[:count].astype(np.uint16)


def _between(raw: np.random.PCG64, bounds: tuple[int, int], count: int) -> NDArray[np.int64]:
    """Whole numbers between two bounds, both included, equally likely but for a few parts in 2³²."""
    low, high = bounds
    return low + (raw.random_raw(count) >> np.uint64(32)).astype(np.int64) * (high - low + 1) // 2**32
