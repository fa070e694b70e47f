"""How sure a difference between two arms is: intervals, p-values, and how many seeds would settle it. Pure numbers.

A difference has two sources of doubt, the test images and the seeds, and both are crossed: every seed answers the same
images. With d the differences (seeds, images), of mean squares MS_seeds, MS_images and MS_rest as in a two-way table
without repetition, the variance of their mean is the sum of two parts:

    of seeds     MS_seeds / (n N) + 1 / (12 n N²)      what another draw of seeds would move, and all that is noise
    of images    max(0, MS_images - MS_rest) / (n N)   what another draw of images would move beyond that

A seed's difference comes in steps of 1 / N, and what is rounded to steps has a twelfth of a squared step of variance
within them: without it, two seeds that agree by chance would claim to be sure.

Each part has its own number of degrees of freedom, so their half-widths are found apart and added as squares: t²(n - 1)
· of seeds + z² · of images. Where seeds agree by chance, that can be less than what other images alone would move the
mean of these seeds; no interval is narrower than that. `benchmarks/calibration.py` measures it: 94 to 99 % of intervals
that claim 95 % cover the truth, the more the less seeds move a run; of those that have the least width 14 to 36 % would
not without it. Its rivals do worse: Satterthwaite's degrees of freedom cover 87 to 94 % with two seeds, since a small
MS_seeds both narrows the interval and claims many degrees of freedom; a bootstrap over two or three seeds 36 to 68 %.
"""

import functools
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, special, stats

LEVEL = 0.95
RESAMPLES = 2000
BOTH, IMAGES = "images and seeds", "images only"
SPARSE = 20  # images that change, a seed: with fewer, simulated intervals cover 97 to 99 %
MOST_SEEDS = 1000
ROUNDING = 1 / 12  # the variance of what is rounded away, in steps

Differences = NDArray[np.float64]


@dataclass(frozen=True)
class Interval:
    """From `low` to `high`; both nan where there is none."""

    low: float
    high: float

    @classmethod
    def none(cls) -> "Interval":
        return cls(math.nan, math.nan)

    @property
    def excludes_zero(self) -> bool:
        return self.low > 0 or self.high < 0


@dataclass(frozen=True)
class Doubt:
    """A difference with all that is known of its doubt; fractions, as the differences are."""

    delta: float
    interval: Interval  # the one that counts
    covers: str  # what it covers: `BOTH`, or `IMAGES` where there is one seed
    p: float  # two-sided, of the interval that counts
    images: Interval  # other images, the same seeds
    bootstrap: Interval  # the same, by drawing images anew
    seeds: Interval  # other seeds, the same images
    seed_spread: float  # standard deviation of the seeds' own differences; nan with one seed
    of_images: float  # of the mean's variance the part that more seeds would leave; nan with one seed
    least: float  # the mean's variance over other images, with these seeds: no interval is narrower
    changed: float  # images whose answers differ, a seed

    @property
    def conservative(self) -> bool:
        """Whether so few images change that such intervals cover the truth oftener than they claim."""
        return self.covers == BOTH and self.changed < SPARSE


def doubt(differences: Differences) -> Doubt:
    """What (seeds, images) differences say about their mean.

    A difference is an image's error (0 or 1) with one arm less that with the other, or any other contrast of errors.

    Raises:
        ValueError: where there are no differences.
    """
    seeds, images = differences.shape
    if not seeds or not images:
        raise ValueError(f"no differences: {seeds} seeds, {images} images")
    by_image, by_seed = differences.mean(axis=0), differences.mean(axis=1)
    delta = float(by_seed.mean())
    over_images, bootstrap, least = images_interval(by_image), bootstrap_interval(by_image), _shrunk(by_image)[1] ** 2
    changed = float(np.count_nonzero(differences)) / seeds
    if seeds == 1:
        p, none = _p_of_images(by_image), Interval.none()
        return Doubt(delta, over_images, IMAGES, p, over_images, bootstrap, none, math.nan, math.nan, least, changed)
    of_seeds = (float(by_seed.var(ddof=1)) + ROUNDING / images**2) / seeds
    of_images = _images_part(differences, by_image, by_seed)
    half = max(_half_width(seeds, of_seeds, of_images, LEVEL), _normal(LEVEL) * math.sqrt(least))
    student = _student(seeds, LEVEL) * math.sqrt(of_seeds)
    return Doubt(
        delta,
        Interval(delta - half, delta + half),
        BOTH,
        max(p_value(delta, seeds, of_seeds, of_images), _two_sided(delta, least)),
        over_images,
        bootstrap,
        Interval(delta - student, delta + student),
        math.sqrt(of_seeds * seeds),
        of_images,
        least,
        changed,
    )


def images_interval(by_image: Differences) -> Interval:
    """Over the choice of images: one pseudo-image counts half for and half against (Agresti & Min 2005).

    For paired proportions; without it few disagreements make it too narrow. `by_image` is (images,), the seeds' mean.
    """
    centre, deviation = _shrunk(by_image)
    half = _normal(LEVEL) * deviation
    most = max(1.0, float(np.abs(by_image).max()))  # of two arms no difference is larger than all images
    return Interval(max(-most, centre - half), min(most, centre + half))


def _shrunk(by_image: Differences) -> tuple[float, float]:
    count = len(by_image) + 2
    centre = float(by_image.sum()) / count
    variance = (float(np.square(by_image).sum()) + 1.0) / count - centre**2
    return centre, math.sqrt(variance / count)


def _p_of_images(by_image: Differences) -> float:
    centre, deviation = _shrunk(by_image)
    return _two_sided(centre, deviation**2)


def _two_sided(delta: float, variance: float) -> float:
    return float(2.0 * special.ndtr(-abs(delta) / math.sqrt(variance)))


def bootstrap_interval(by_image: Differences) -> Interval:
    """The middle 95 % of the mean over images drawn anew, 2,000 times; the same draws every time.

    Differences take few values, so that drawing how often each value comes is drawing the images.
    """
    values, counts = np.unique(by_image, return_counts=True)
    if len(values) == 1:  # the same whichever images are drawn, which says nothing of others
        return Interval.none()
    drawn = np.random.default_rng(2012).multinomial(len(by_image), counts / len(by_image), RESAMPLES)
    means = np.zeros(RESAMPLES)
    for value, times in zip(values, drawn.T, strict=True):  # one after the other: a matrix product may add otherwise
        means += value * times
    means /= len(by_image)
    tail = 100 * (1 - LEVEL) / 2
    low, high = np.percentile(means, [tail, 100 - tail])
    return Interval(float(low), float(high))


def _images_part(differences: Differences, by_image: Differences, by_seed: Differences) -> float:
    """Of the mean's variance what the choice of images adds to that of seeds.

    One pseudo-flip a seed keeps it above zero: where disagreements are few, seeds often agree by chance.
    """
    seeds, images = differences.shape
    squared_mean = seeds * images * float(by_seed.mean()) ** 2
    of_images = seeds * float(np.square(by_image).sum()) - squared_mean
    of_seeds = images * float(np.square(by_seed).sum()) - squared_mean
    rest = float(np.square(differences).sum()) - squared_mean - of_images - of_seeds
    excess = float(of_images) / max(1, images - 1) - float(rest) / max(1, (seeds - 1) * (images - 1))
    return float(max(0.0, excess) / (seeds * images) + 1.0 / (seeds * images**2))


@functools.cache
def _student(seeds: int, level: float) -> float:
    return float(special.stdtrit(seeds - 1, (1 + level) / 2))


@functools.cache
def _normal(level: float) -> float:
    return float(special.ndtri((1 + level) / 2))


def _half_width(seeds: int, of_seeds: float, of_images: float, level: float) -> float:
    return math.sqrt(_student(seeds, level) ** 2 * of_seeds + _normal(level) ** 2 * of_images)


def p_value(delta: float, seeds: int, of_seeds: float, of_images: float) -> float:
    """The level at which the interval just reaches zero, as a two-sided p."""
    if delta == 0.0:
        return 1.0
    if not of_seeds + of_images:
        return 0.0

    def beyond(log_p: float) -> float:
        tail = math.exp(log_p) / 2
        half = special.stdtrit(seeds - 1, tail) ** 2 * of_seeds + special.ndtri(tail) ** 2 * of_images
        return float(half - delta**2)

    smallest = math.log(1e-100)
    if beyond(smallest) <= 0:
        return 0.0
    return math.exp(float(optimize.brentq(beyond, smallest, 0.0, xtol=1e-6)))


def proportion_interval(count: int, of: int) -> Interval:
    """Of a share of images, over the choice of images (Wilson 1927)."""
    found = stats.binomtest(count, of).proportion_ci(LEVEL, "wilson")
    return Interval(float(found.low), float(found.high))


def mcnemar(broken: int, fixed: int) -> float:
    """Exact two-sided p of one pair of runs: images that only one of them has right are broken or fixed by a coin."""
    if not broken + fixed:
        return 1.0
    return float(stats.binomtest(broken, broken + fixed).pvalue)


def holm(p: NDArray[np.float64], family: int) -> NDArray[np.float64]:
    """P-values adjusted so that a family of true nulls gives a false alarm in one of twenty families (Holm 1979).

    The family has `family` members: those that are missing yet (nan, or not among `p`) stay missing, and count as if
    they were the least sure of all, so that whatever they turn out to be, a study's first arms are no surer alone than
    they would be beside it.
    """
    adjusted = np.full(len(p), np.nan)
    there = np.flatnonzero(~np.isnan(p))
    order = there[np.argsort(p[there], kind="stable")]
    factors = max(family, len(order)) - np.arange(len(order))
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(p[order] * factors))
    return adjusted


def seeds_needed(effect: float, found: Doubt, seeds: int, *, level: float = LEVEL, power: float = 0.8) -> int | None:
    """How many paired seeds would show an effect of this size in four studies of five, on the same images.

    Shown is an effect whose interval of this `level` excludes zero; in a family of `arms` the first of Holm's steps
    asks for 1 - 0.05 / arms. None where not even a thousand would. The spread of seeds is the one found, or what other
    images alone account for, if that is more: with few seeds this is a rough figure.

    Raises:
        ValueError: with one seed, which shows no spread, or an effect of zero.
    """
    if seeds < 2 or effect == 0:
        raise ValueError("one seed shows no spread" if seeds < 2 else "an effect of zero is never shown")
    spread = max(found.seed_spread**2, (found.least - found.of_images) * seeds)
    for count in range(2, MOST_SEEDS + 1):
        deviation = math.sqrt(spread / count + found.of_images)
        half = _half_width(count, spread / count, found.of_images, level)
        if deviation == 0 or special.ndtr((abs(effect) - half) / deviation) >= power:
            return count
    return None


def hidden_by_images(effect: float, found: Doubt, *, level: float = LEVEL, power: float = 0.8) -> bool:
    """Whether no number of seeds would show an effect of this size on so many test images; see `seeds_needed`."""
    deviation = math.sqrt(found.of_images)
    return bool(abs(effect) < (_normal(level) + float(special.ndtri(power))) * deviation)
