"""How often the intervals of `alexnet_sweep.doubt` cover the truth: `python benchmarks/calibration.py [--sweeps 2000]`.

Simulates sweeps of a baseline and four arms that are all equal, so that every true difference is zero: each image has a
difficulty of its own (a logit), a liking for each arm (of spread `interaction`), and each run moves all images at once
(by a logit shift of spread `spread`). A sweep draws new images and new seeds. Prints for each cell how often intervals
that claim 95 % hold zero: the one that counts, and its rivals, among them what it would be without its least width; how
often the one that counts has that width, and how often those hold zero; how often it is called conservative; and how
often a sweep has any false alarm after Holm.

Images count by their pattern alone, which seeds of which arm have them wrong, so that drawing how often each pattern
comes is drawing the images: ten thousand cost little more than five hundred.
"""

import argparse
import itertools
import json
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, special

from alexnet_sweep.doubt import LEVEL, ROUNDING, SPARSE

Floats = NDArray[np.float64]

ARMS = 4  # beside the baseline
DIFFICULTY = 2.0  # spread of the images' logits
RIVALS = ("without_least", "images", "seeds", "satterthwaite", "bootstrap")
WIDE = 0.97  # cells in which more intervals than these hold zero are marked
BATCH = 100


@dataclass(frozen=True)
class Setting:
    """One cell of the grid."""

    seeds: int
    images: int
    interaction: float
    spread: float
    error: float = 0.2  # about, of a run without seed shift


@dataclass(frozen=True)
class Sums:
    """All that an interval needs of differences d (seeds, images), by sweep and arm; `by_seed` by seed as well."""

    images: int
    by_seed: Floats  # sums of d over images
    total_squares: Floats  # of d
    mean_squares: Floats  # sums of squares of each image's mean over seeds


def grid() -> Iterator[Setting]:
    sizes = [(500, 0.2), (2000, 0.2), (10_000, 0.2), (360, 0.01)]
    for (images, error), seeds, interaction, spread in itertools.product(
        sizes, (2, 3, 5), (0.0, 1.0), (0.0, 0.03, 0.1, 0.3)
    ):
        yield Setting(seeds, images, interaction, spread, error)


def normal_nodes(count: int, spread: float) -> tuple[Floats, Floats]:
    """Points and weights that stand for a normal distribution around zero."""
    if not spread:
        return np.zeros(1), np.ones(1)
    points, weights = np.polynomial.hermite_e.hermegauss(count)
    return points * spread, weights / weights.sum()


def patterns(seeds: int) -> Floats:
    """All ways in which one arm's seeds can have an image right (0) or wrong (1); (patterns, seeds)."""
    return np.array(list(itertools.product((0.0, 1.0), repeat=seeds)))


@cache
def centre(error: float, interaction: float) -> float:
    """The mean logit at which runs have this error."""
    (hard, share), (like, part) = normal_nodes(12, DIFFICULTY), normal_nodes(9, interaction)

    def excess(logit: float) -> float:
        return float(share @ special.expit(logit + hard[:, None] + like) @ part - error)

    return float(optimize.brentq(excess, -20, 20))


def drawn_patterns(setting: Setting, arms: int, sweeps: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """How many images have each pattern with the baseline and with an arm; (sweeps, arms, patterns, patterns)."""
    (hard, share), (like, part) = normal_nodes(12, DIFFICULTY), normal_nodes(9, setting.interaction)
    ways = patterns(setting.seeds)
    shifts = rng.normal(0, setting.spread, (sweeps, arms + 1, 1, 1, setting.seeds))
    middle = centre(setting.error, setting.interaction)
    wrong = special.expit(middle + hard[:, None, None] + like[:, None] + shifts)  # of sweep, arm, difficulty, liking
    # Of each arm and difficulty, how likely each pattern is: a product over seeds, a mean over likings.
    logs = np.log(wrong) @ ways.T + np.log1p(-wrong) @ (1 - ways).T
    likely = np.einsum("sahlp,l->sahp", np.exp(logs), part)
    likely /= likely.sum(axis=-1, keepdims=True)
    first = (share[:, None] * likely[:, 0]).reshape(sweeps, -1)
    baseline = rng.multinomial(setting.images, first / first.sum(axis=-1, keepdims=True))
    baseline = baseline.reshape(sweeps, len(hard), len(ways))
    both = [rng.multinomial(baseline, likely[:, arm, :, None, :]).sum(axis=1) for arm in range(1, arms + 1)]
    return np.stack(both, axis=1)


def sums_of(counts: NDArray[np.int64], setting: Setting) -> Sums:
    ways = patterns(setting.seeds)
    differences = (ways[None, :] - ways[:, None]).reshape(-1, setting.seeds)  # arm less baseline, by pattern
    flat = counts.reshape(*counts.shape[:2], -1).astype(float)
    return Sums(
        setting.images, flat @ differences, flat @ (differences**2).sum(axis=1), flat @ differences.mean(axis=1) ** 2
    )


def expanded(counts: NDArray[np.int64], seeds: int) -> Floats:
    """The differences (seeds, images) of one sweep and arm, from its (patterns, patterns) counts."""
    ways = patterns(seeds)
    differences = (ways[None, :] - ways[:, None]).reshape(-1, seeds)
    return np.repeat(differences, counts.reshape(-1), axis=0).T


def simulate(setting: Setting, sweeps: int, arms: int = ARMS, seed: int = 0) -> Sums:
    """Sweeps in which all arms are equal; the same ones for the same seed."""
    rng = np.random.default_rng([seed, setting.seeds, setting.images])
    done = [
        sums_of(drawn_patterns(setting, arms, min(BATCH, sweeps - start), rng), setting)
        for start in range(0, sweeps, BATCH)
    ]
    columns = [np.concatenate([getattr(part, name) for part in done]) for name in ("by_seed", "total_squares")]
    return Sums(setting.images, *columns, np.concatenate([part.mean_squares for part in done]))


def parts(sums: Sums) -> tuple[Floats, Floats, Floats]:
    """The differences, and the parts of their variance that are of seeds and of images, as in `doubt.doubt`."""
    seeds, images = sums.by_seed.shape[-1], sums.images
    by_seed = sums.by_seed / images
    delta, of_seeds = by_seed.mean(axis=-1), (by_seed.var(axis=-1, ddof=1) + ROUNDING / images**2) / seeds
    squared_mean = seeds * images * delta**2
    images_squares = seeds * sums.mean_squares - squared_mean
    seeds_squares = images * (by_seed**2).sum(axis=-1) - squared_mean
    rest = (sums.total_squares - squared_mean - images_squares - seeds_squares) / ((seeds - 1) * (images - 1))
    excess = np.maximum(0.0, images_squares / (images - 1) - rest)
    return delta, of_seeds, excess / (seeds * images) + 1 / (seeds * images**2)


def half_width(of_seeds: Floats, of_images: Floats, seeds: int, level: float = LEVEL) -> Floats:
    """Of the interval that counts, but for its least width."""
    student, normal = special.stdtrit(seeds - 1, (1 + level) / 2), special.ndtri((1 + level) / 2)
    return np.asarray(np.sqrt(student**2 * of_seeds + normal**2 * of_images))


def over_images(sums: Sums, delta: Floats) -> tuple[Floats, Floats]:
    """The mean over images, and its standard deviation, with Agresti and Min's two pseudo-images, half each way."""
    count = sums.images + 2
    shrunk = delta * sums.images / count
    return shrunk, np.sqrt(((sums.mean_squares + 1) / count - shrunk**2) / count)


def counting(sums: Sums, level: float = LEVEL) -> tuple[Floats, Floats]:
    """Half-widths of the interval that counts, and of the least that it can be."""
    delta, of_seeds, of_images = parts(sums)
    least = special.ndtri((1 + level) / 2) * over_images(sums, delta)[1]
    return np.maximum(half_width(of_seeds, of_images, sums.by_seed.shape[-1], level), least), least


def bounds(sums: Sums) -> dict[str, tuple[Floats, Floats]]:
    """Low and high of the interval that counts and of each rival."""
    seeds, images = sums.by_seed.shape[-1], sums.images
    delta, of_seeds, of_images = parts(sums)
    student, normal = special.stdtrit(seeds - 1, (1 + LEVEL) / 2), special.ndtri((1 + LEVEL) / 2)
    shrunk, deviation = over_images(sums, delta)
    # Satterthwaite: one variance, of a number of degrees of freedom that is worked out from its parts.
    freedom = (of_seeds + of_images) ** 2 / (of_seeds**2 / (seeds - 1) + of_images**2 / (images - 1))
    halves = {
        "counts": counting(sums)[0],
        "without_least": half_width(of_seeds, of_images, seeds),
        "seeds": student * np.sqrt(of_seeds),
        "satterthwaite": special.stdtrit(freedom, (1 + LEVEL) / 2) * np.sqrt(of_seeds + of_images),
    }
    found = {name: (delta - half, delta + half) for name, half in halves.items()}
    found["images"] = (shrunk - normal * deviation, shrunk + normal * deviation)
    # All ways to draw seeds with replacement, which is the bootstrap without its chance.
    drawn = np.array(list(itertools.product(range(seeds), repeat=seeds)))
    means = (sums.by_seed / images)[..., drawn].mean(axis=-1)
    tail = 100 * (1 - LEVEL) / 2
    low, high = np.percentile(means, [tail, 100 - tail], axis=-1)
    return found | {"bootstrap": (low, high)}


def coverages(sums: Sums) -> dict[str, float]:
    """How often each interval holds the truth, which is zero."""
    return {name: float(np.mean((low <= 0) & (high >= 0))) for name, (low, high) in bounds(sums).items()}


def at_least_width(sums: Sums) -> tuple[float, float]:
    """How often the interval that counts has its least width, and how often those hold zero."""
    half, least = counting(sums)
    narrow, holds = half <= least, np.abs(parts(sums)[0]) <= half
    return float(narrow.mean()), float(holds[narrow].mean()) if narrow.any() else float("nan")


def labelled(sums: Sums) -> float:
    """How often the interval that counts is called conservative (`Doubt.conservative`)."""
    changed = sums.total_squares / sums.by_seed.shape[-1]  # differences are -1, 0 and 1
    return float(np.mean(changed < SPARSE))


def false_alarms(sums: Sums) -> float:
    """How often a sweep says `hurts` or `helps` of any arm.

    It does where the least of its p-values, times the number of arms, is below 0.05 (Holm), that is, where an interval
    of the level 1 - 0.05 / arms excludes zero; the one of 95 % then excludes it as well.
    """
    delta = parts(sums)[0]
    half, _ = counting(sums, 1 - (1 - LEVEL) / delta.shape[1])
    return float(np.mean((np.abs(delta) > half).any(axis=1)))


def measured(setting: Setting, sweeps: int) -> dict[str, float]:
    sums = simulate(setting, sweeps)
    found, (least, held) = coverages(sums), at_least_width(sums)
    return {name: found[name] for name in ("counts", *RIVALS)} | {
        "least_width": least,
        "of_which_hold": held,
        "labelled": labelled(sums),
        "false_alarms": false_alarms(sums),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sweeps", type=int, default=2000)
    parser.add_argument("--json", action="store_true", help="one JSON list in place of the table")
    chosen = parser.parse_args()
    began, rows = time.monotonic(), []
    columns = ("counts", "least_width", "of_which_hold", "labelled", *RIVALS, "false_alarms")
    if not chosen.json:
        print("seeds images error interaction spread " + " ".join(f"{name:>13}" for name in columns))
    for setting in grid():
        row = measured(setting, chosen.sweeps)
        rows.append(asdict(setting) | row)
        if not chosen.json:
            cell = f"{setting.seeds:>5} {setting.images:>6} {setting.error:>5g} {setting.interaction:>11g}"
            told = " ".join(f"{100 * row[name]:>11.1f} %" for name in columns)
            wide = "  conservative" if row["counts"] > WIDE else ""
            print(f"{cell} {setting.spread:>6g} {told}{wide}", flush=True)
    if chosen.json:
        print(json.dumps(rows, indent=1))
        return
    print(f"\n{len(rows)} cells of {chosen.sweeps} sweeps of {ARMS} arms, {time.monotonic() - began:.0f} s; from, to:")
    for name in columns:
        values = [row[name] for row in rows if not np.isnan(row[name])]
        print(f"  {name:<13} {100 * min(values):5.1f} to {100 * max(values):5.1f} %")
    wide = sum(row["counts"] > WIDE for row in rows)
    print(f"conservative (above {100 * WIDE:g} %): {wide} cells of {len(rows)}")


if __name__ == "__main__":
    main()
