"""A verdict on each claim that a study tests: reproduced, same sign, inconclusive, contradicted, or not comparable.

A claim is compared only where data, size and length are the claim's; otherwise a small study cannot confirm or refute
it, whatever it finds. A verdict needs an interval that covers other seeds as well, so two seeds at the least.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from alexnet_sweep.aggregate import Evidence, RunRecord
from alexnet_sweep.claims import ABOUT, AT_LEAST, SIGN, VALUE, Claim, claims_of
from alexnet_sweep.comparable import KeptOut
from alexnet_sweep.doubt import IMAGES, Interval
from alexnet_sweep.effects import HINT

REPRODUCED, SAME_SIGN, INCONCLUSIVE = "reproduced", "same sign", "inconclusive"
CONTRADICTED, NOT_COMPARABLE = "contradicted", "not comparable"

# The data sets of this program on which a claim's data set is.
DATA = {
    "ILSVRC-2010": ("imagenet2010",),
    "ILSVRC-2012": ("imagenet",),
    "ImageNet": ("imagenet", "imagenet2010"),
    "CIFAR-10": ("cifar10",),
}


@dataclass(frozen=True)
class Size:
    """Of a data set: images to train on (less a held-out tenth) and to test on, less a few that cannot be read."""

    train_images: int
    classes: int
    test_images: int
    stored_px: int
    crop_px: int | None  # None: the claim's nets differ in it


SIZES = {
    "ILSVRC-2010": Size(1_100_000, 1000, 145_000, 256, 224),
    "ILSVRC-2012": Size(1_100_000, 1000, 49_000, 256, 224),
    "ImageNet": Size(1_100_000, 1000, 49_000, 256, 224),
    "CIFAR-10": Size(40_000, 10, 10_000, 32, None),
}
CIFAR_EPOCHS = 100  # cuda-convnet's nets behind the claim were trained for longer
PAPER_THRESHOLD = 0.25  # training error, paper figure 1
PAPER_EPOCHS = 80  # about ninety in the paper, 90 to 97 in its authors' logs; a shorter training is another experiment
ROUND = 0.25  # "about 2" is anything from 1.5 to 2.5; about six times as many, from 4.5 to 8 times
NEVER = -1 + 1e-9  # no steps at all
RATE_CHOSEN = ("P01",)  # claims of nets that have each the learning rate that suits it best
RATE = "optim.learning_rate"
OF_TRAINING = ("steps", "train_error")  # measures in which no test image takes part
CIFAR_NETS = ("conv_pool", "conv_pool_hidden", "conv_local")


@dataclass(frozen=True)
class Verdict:
    """What a study says of one claim and measure."""

    arm_id: str
    claim: Claim
    delta: float  # nan where nothing was found
    interval: Interval
    covers: str  # what the interval covers; empty where there is none
    finding: str  # of the row that it is judged by, as `effects.finding` says it; empty where there is none
    word: str
    why: str


def verdicts(
    evidence: Evidence,
    compared: Sequence[RunRecord],
    deltas: pd.DataFrame,
    by_seed: pd.DataFrame,
    of_views: pd.DataFrame,
    unlike: Sequence[KeptOut] = (),
) -> list[Verdict]:
    """For each arm that tests claims, and each measure of a claim, in the plan's order.

    `compared` are the finished runs that the tables hold, `unlike` those of them that should not be compared with the
    others; the tables are those of `effects`.
    """
    claimed: Mapping[str, str | Sequence[str]] = evidence.plan.get("claims") or {}
    found = []
    for arm_id, label in evidence.labels.items():
        names = claimed.get(label, ())
        for claim in (row for name in ([names] if isinstance(names, str) else names) for row in claims_of(name)):
            row = _row(arm_id, claim, deltas, by_seed, of_views)
            own = [record for record in compared if record.arm_id in (arm_id, evidence.baseline)]
            reasons = differences_from(claim, own)
            if claim.id in RATE_CHOSEN and (evidence.plan.get("tuning") or {}).get("key") != RATE:
                reasons.append(f"{RATE}: the same for all, not chosen for each")
            reasons += [f"runs that are not alike: {out.words()}" for out in unlike if out.record in own][:1]
            found.append(_judged(reasons, arm_id, claim, row))
    return found


def _row(
    arm_id: str, claim: Claim, deltas: pd.DataFrame, by_seed: pd.DataFrame, of_views: pd.DataFrame
) -> Mapping[str, Any] | None:
    if claim.is_of_views:
        if of_views.empty:
            return None
        chosen = of_views[(of_views["arm_id"] == arm_id) & (of_views["metric"] == claim.measure)]
    elif claim.measure in ("top1", "top5"):
        view = claim.views or "ten"
        chosen = deltas[
            (deltas["arm_id"] == arm_id)
            & (deltas["split"] == "test")
            & (deltas["view"] == view)
            & (deltas["metric"] == claim.measure)
        ]
    else:
        chosen = by_seed[(by_seed["arm_id"] == arm_id) & (by_seed["measure"] == claim.measure)]
    return None if chosen.empty else {str(key): value for key, value in chosen.iloc[0].items()}


def _judged(reasons: Sequence[str], arm_id: str, claim: Claim, row: Mapping[str, Any] | None) -> Verdict:
    delta = math.nan if row is None else float(row["delta"])
    interval = Interval.none() if row is None else Interval(float(row["low"]), float(row["high"]))
    covers = "" if row is None else str(row["covers"])
    finding = "" if row is None else str(row["finding"])
    return Verdict(arm_id, claim, delta, interval, covers, finding, *_word(reasons, claim, row, interval))


def _word(reasons: Sequence[str], claim: Claim, row: Mapping[str, Any] | None, interval: Interval) -> tuple[str, str]:
    """The verdict, and why."""
    if reasons:
        return NOT_COMPARABLE, "; ".join(reasons)
    if row is None or math.isnan(row["delta"]):
        return INCONCLUSIVE, str(row["note"]) if row is not None and row["note"] else "no paired runs yet"
    if row["covers"] == IMAGES or math.isnan(interval.low):
        alone = int(row["paired_seeds"]) < 2
        return INCONCLUSIVE, "one seed: it takes two to speak of a part" if alone else str(row["note"])
    if row["finding"] == HINT:
        return INCONCLUSIVE, "the interval holds zero once all arms are counted"
    return judge(claim, interval)


def judge(claim: Claim, interval: Interval) -> tuple[str, str]:
    """The verdict on a comparable claim, and why.

    The interval covers images and seeds where the claim is of test errors, and seeds only where there is one figure a
    run: training error, gap and steps. The claim's number has no doubt of its own beyond the digits in print.
    """
    low, high = sorted((claim.sign * interval.low, claim.sign * interval.high))
    size = None if claim.delta is None else abs(claim.delta)
    if size is not None and claim.measure == "steps":  # a factor: six times as many, or a sixth
        low, high = sorted(claim.sign * math.log1p(max(end, NEVER)) for end in (interval.low, interval.high))
        size = abs(math.log1p(claim.delta or 0.0))
    least = most = size
    if claim.reading in (ABOUT, VALUE) and size is not None:
        room = claim.rounding
        if claim.reading == ABOUT:
            room = -math.log1p(-ROUND) if claim.measure == "steps" else size * ROUND
        least, most = size - room, size + room
    if high < 0:
        return CONTRADICTED, "the effect has the other sign"
    if low <= 0:
        if least is not None and high < least and claim.reading != SIGN:
            return CONTRADICTED, "an effect of the claimed size is excluded"
        return INCONCLUSIVE, "the interval holds zero"
    if size is None or claim.reading == SIGN:
        return REPRODUCED, "the direction, which is all that is claimed"
    if claim.reading == AT_LEAST:
        if high < size:
            return SAME_SIGN, "smaller than claimed"
        return REPRODUCED, "at least as large" if low >= size else "the interval reaches the claimed number"
    assert least is not None and most is not None, "as size"
    if low <= most and high >= least:
        return REPRODUCED, "the interval holds the claimed number"
    return SAME_SIGN, "larger than claimed" if low > most else "smaller than claimed"


def differences_from(claim: Claim, records: list[RunRecord]) -> list[str]:
    """Why these runs are not the claim's experiment: other data, size, length or views; none where they are."""
    reasons: dict[str, None] = {}
    for record in records:
        result, config = record.result or {}, record.config or {}
        name = str(result["data"]["name"])
        if name not in DATA.get(claim.dataset, ()):
            reasons[f"data: {name}, not {claim.dataset}"] = None
        else:  # of other data, size says nothing more
            reasons |= dict.fromkeys(_other_size(claim, result["data"], config.get("data", {})))
        model = config.get("model", {})
        net = (model.get("net") or {}).get("name")
        if claim.dataset == "CIFAR-10":
            if net not in CIFAR_NETS:
                reasons[f"network: {net}, not cuda-convnet's"] = None
            if claim.measure in ("top1", "top5") and int(result["epochs"]) < CIFAR_EPOCHS:
                reasons[f"epochs: {result['epochs']}, not at least {CIFAR_EPOCHS}"] = None
            reached = config.get("trainer", {}).get("threshold_train_error")
            if claim.measure == "steps" and reached != PAPER_THRESHOLD:
                reasons[f"threshold: {reached}, not {PAPER_THRESHOLD}"] = None
        else:
            if net != "alexnet" or model.get("width") != 1.0:
                reasons[f"network: {net}, width {model.get('width')}"] = None
            if int(result["epochs"]) < PAPER_EPOCHS:
                reasons[f"epochs: {result['epochs']}, not about 90"] = None
        ten = claim.is_of_views or (claim.views == "ten" and claim.measure in ("top1", "top5"))
        if ten and int(result["views"]) != 10:
            reasons[f"views: {result['views']}, not ten"] = None
    return list(reasons)


def _other_size(claim: Claim, data: Mapping[str, Any], config: Mapping[str, Any]) -> list[str]:
    """What is smaller, or otherwise, about a data set of the claim's name."""
    size, found = SIZES[claim.dataset], []
    if int(data["train_images"]) < size.train_images or int(data["classes"]) != size.classes:
        images = f"{data['train_images']:,} images in {data['classes']:,} classes"
        found.append(f"trained on {images}, not {claim.dataset}")
    if claim.measure not in OF_TRAINING and int(data["test_images"]) < size.test_images:
        found.append(f"tested on {data['test_images']:,} images, not {claim.dataset}")
    stored, crop = config.get("stored_px"), config.get("crop_px")
    if size.crop_px is None and stored != size.stored_px:
        found.append(f"images: {stored} px, not {size.stored_px} px")
    elif size.crop_px is not None and (stored, crop) != (size.stored_px, size.crop_px):
        found.append(f"images: {crop} of {stored} px, not {size.crop_px} of {size.stored_px} px")
    return found
