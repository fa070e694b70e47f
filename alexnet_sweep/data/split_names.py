"""Which splits of a data set are trained and tested on: hubs and folders name them differently."""

from collections.abc import Collection

from alexnet_sweep.config import DataConfig
from alexnet_sweep.errors import DataError, nearest

VALIDATION = ("validation", "valid", "val")
TEST_SPLITS = (*VALIDATION, "test")  # what a null data.test_split is looked for as


def train_and_test(data: DataConfig, splits: Collection[str], where: str) -> tuple[str, str | None]:
    """Names of the two among those there are; no test split where a fraction of the other is to be taken for it.

    Raises:
        DataError: saying which there are.
    """
    train = _found(data.train_split, splits)
    if train is None:
        raise DataError(
            f"data.train_split={data.train_split}: {where} has no such split."
            f"{nearest(data.train_split, splits)} Have: {', '.join(splits)}"
        )
    wanted = (data.test_split,) if data.test_split else TEST_SPLITS
    test = next((found for name in wanted if (found := _found(name, splits))), None)
    if data.test_split is not None and test is None:
        raise DataError(
            f"data.test_split={data.test_split}: {where} has no such split."
            f"{nearest(data.test_split, splits)} Have: {', '.join(splits)}"
        )
    if test == train:
        raise DataError(
            f"data.test_split={test}: {where} trains on that split; choose another, or set data.test_split=null "
            "data.test_fraction=0.2 to take a fifth of it"
        )
    if test is not None and data.test_fraction is not None:
        raise DataError(
            f"data.test_fraction={data.test_fraction:g}: {where} has a split {test} to test on; leave it out"
        )
    if test is None and not data.test_fraction:
        raise DataError(
            f"data.test_split: {where} has no split among {', '.join(TEST_SPLITS)}; found "
            f"{', '.join(splits)}. Name one, or set data.test_fraction=0.2 to take a fifth of "
            f"{data.train_split}"
        )
    return train, test


def _found(wanted: str, splits: Collection[str]) -> str | None:
    """The split of that name; `validation` has three spellings, and a loader may rename the folder `val`."""
    names = VALIDATION if wanted in VALIDATION else (wanted,)
    return next((name for name in (wanted, *names) if name in splits), None)
