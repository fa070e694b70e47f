"""Broken and fixed images, counted by hand from predictions made by hand; limits, missing stores, hostile names."""

import base64
import io
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from alexnet_sweep import formats
from alexnet_sweep.data.images import jpeg_of
from alexnet_sweep.report.document import Document
from alexnet_sweep.report.flips import Answer, ArmFlips, ClassFlips, Limits, arm_flips
from alexnet_sweep.report.html import to_html
from alexnet_sweep.store import RunFolder

NAMES = ["cat", "dog", "owl"]
LABELS = [0, 0, 1, 2]  # of images a, b, c, d
# The class that each run answers, image by image.
ANSWERS = {
    ("base", 0): [0, 0, 1, 0],  # right right right wrong
    ("base", 1): [0, 1, 1, 0],  # right wrong right wrong
    ("off", 0): [1, 0, 1, 2],  # a broken, d fixed
    ("off", 1): [1, 0, 0, 2],  # a broken again, b fixed, c broken, d fixed again
    ("even", 0): [1, 0, 1, 0],  # a broken
    ("even", 1): [0, 0, 1, 0],  # b fixed
}
LABELLED = {"base": "baseline", "off": "model/lrn=off", "even": "aug/crop=off"}


@dataclass(frozen=True)
class Done:
    run_id: str
    arm_id: str
    seed: int


def make_run(
    runs: Path,
    done: Done,
    answers: list[int],
    labels: list[int],
    images: list[str],
    sure: float = 0.6,
    classes: int = 3,
) -> None:
    """A finished run that gives its answer `sure` and the next class the rest; its rows are shuffled."""
    second = [(answer + 1) % classes for answer in answers]
    own = [
        sure if label == first else 1 - sure if label == then else 0.0
        for label, first, then in zip(labels, answers, second, strict=True)
    ]
    table = pa.table(
        {
            "split": pa.array(["test"] * len(labels)).dictionary_encode(),
            "image": images,
            "label": pa.array(labels, pa.int32()),
            "ten_rank": pa.array([1 + (a != b) for a, b in zip(answers, labels, strict=True)], pa.int32()),
            "ten_probability": pa.array(own, pa.float32()),
            "ten_best": pa.FixedSizeListArray.from_arrays(
                pa.array(np.stack([answers, second], 1).ravel().astype(np.int32)), 2
            ),
            "ten_best_probabilities": pa.FixedSizeListArray.from_arrays(
                pa.array(np.tile([sure, 1 - sure], len(labels)).astype(np.float32)), 2
            ),
        }
    )
    rows = np.random.default_rng(done.seed).permutation(len(labels))
    heldout = table.slice(0, 1).set_column(0, "split", pa.array(["heldout"]).dictionary_encode())
    folder = RunFolder(runs / done.run_id)
    folder.write_predictions(pa.concat_tables([heldout, table.take(rows)]))
    folder.write_result({"data": {"fingerprint": "print"}})


def make_store(runs: Path, names: list[str], images: list[str], px: int = 8) -> None:
    """Images of noise, but for the first, which is black."""
    folder = runs / "_data" / "print"
    folder.mkdir(parents=True)
    pixels = np.random.default_rng(0).integers(0, 256, (len(images), 3, px, px), dtype=np.uint8)
    pixels[0] = 0
    np.save(folder / "test.images.npy", pixels)
    (folder / "test.ids.txt").write_text("".join(f"{image}\n" for image in images))
    (folder / "meta.json").write_text(json.dumps({"format": formats.STORE.written, "class_names": names}))


def test_pictures_of_a_store_of_jpegs_are_shown_too(tmp_path: Path) -> None:
    done = make_study(tmp_path)
    store = tmp_path / "_data" / "print"
    pixels = np.load(store / "test.images.npy")
    (store / "test.images.npy").unlink()
    coded = [jpeg_of(image) for image in pixels]
    (store / "test.images.jpeg").write_bytes(b"".join(coded))
    np.save(store / "test.ends.npy", np.cumsum([len(jpeg) for jpeg in coded]))
    flips = [flip for arm in arm_flips(tmp_path, LABELLED, "base", done) for flip in arm.flips]
    assert flips and all(flip.picture.startswith("data:image/") for flip in flips)


def make_study(runs: Path, names: list[str] = NAMES, images: str = "abcd") -> list[Done]:
    done = [Done(f"{number:012x}", arm, seed) for number, (arm, seed) in enumerate(ANSWERS)]
    for run, answers in zip(done, ANSWERS.values(), strict=True):
        make_run(runs, run, answers, LABELS, list(images))
    make_store(runs, names, list(images))
    return done


def test_flips_counted_by_hand(tmp_path: Path) -> None:
    off, even = arm_flips(tmp_path, LABELLED, "base", make_study(tmp_path))
    assert (off.label, off.seeds, off.images, off.changed, off.notes) == ("model/lrn=off", (0, 1), 4, 4, ())
    # Broken and fixed by turns, two seeds before one: a broken by 2, d fixed by 2, then c broken by 1, b fixed by 1.
    assert [(flip.image, flip.broken, flip.fixed, flip.seed) for flip in off.flips] == [
        ("a", 2, 0, 0),
        ("d", 0, 2, 0),
        ("c", 1, 0, 1),
        ("b", 0, 1, 1),
    ]
    # cat is a and b: 2 broken, 1 fixed; dog is c; owl is d.
    assert off.classes == (ClassFlips("cat", 2, 2, 1), ClassFlips("dog", 1, 1, 0), ClassFlips("owl", 1, 0, 2))
    assert [flip.image for flip in even.flips] == ["a", "b"] and even.changed == 2


def test_answers_and_the_change_of_the_label_by_hand(tmp_path: Path) -> None:
    off, _ = arm_flips(tmp_path, LABELLED, "base", make_study(tmp_path))
    first, second = off.flips[0], off.flips[1]
    sure, rest = pytest.approx(0.6), pytest.approx(0.4)
    assert first.label == "cat"
    assert first.baseline == (Answer("cat", sure), Answer("dog", rest))
    assert first.arm == (Answer("dog", sure), Answer("owl", rest))
    # a: 0.6 with the baseline; the arm says dog, then owl: nothing for cat. d: not among cat, dog; then 0.6.
    assert first.change == pytest.approx(-0.6) and second.change == pytest.approx(0.6)


def test_flips_both_ways_are_counted_but_not_shown(tmp_path: Path) -> None:
    done = make_study(tmp_path)
    swapped = [Done("f" * 12, "off", 0), Done("e" * 12, "off", 1)]
    make_run(tmp_path, swapped[0], [0, 1, 1, 0], LABELS, list("abcd"))  # b broken
    make_run(tmp_path, swapped[1], [0, 0, 1, 0], LABELS, list("abcd"))  # b fixed
    (off,) = arm_flips(tmp_path, {"base": "", "off": ""}, "base", [*done[:2], *swapped])
    assert off.flips == () and off.changed == 0 and off.classes[0] == ClassFlips("cat", 2, 1, 1)


def test_equal_flips_are_ordered_by_probability_then_by_name(tmp_path: Path) -> None:
    images, labels = ["z", "y", "x", "w"], [0, 0, 0, 2]
    done = [Done("1", "base", 0), Done("2", "off", 0)]
    make_run(tmp_path, done[0], [0, 0, 0, 2], labels, images)
    # All are broken. x and y lose 0.6, for after 1 comes 2. w loses 0.2: after 1 comes its label. So does z: 2, then 0.
    make_run(tmp_path, done[1], [2, 1, 1, 1], labels, images)
    (off,) = arm_flips(tmp_path, {"base": "", "off": ""}, "base", done)
    assert [flip.image for flip in off.flips] == ["x", "y", "w", "z"]


def test_half_of_the_kept_are_broken_where_there_are_enough(tmp_path: Path) -> None:
    images = [f"{number:03}" for number in range(100)]
    done = [Done("1", "base", 0), Done("2", "off", 0)]
    make_run(tmp_path, done[0], [0] * 70 + [1] * 30, [0] * 100, images)
    make_run(tmp_path, done[1], [1] * 70 + [0] * 30, [0] * 100, images)  # 70 broken, 30 fixed
    for most, broken in ((20, 10), (80, 50), (200, 70)):
        (off,) = arm_flips(tmp_path, {"base": "", "off": ""}, "base", done, Limits(images=most))
        assert len(off.flips) == min(most, 100) and sum(flip.broken for flip in off.flips) == broken
        assert off.changed == 100


def test_other_images_and_seeds_without_a_partner_are_said(tmp_path: Path) -> None:
    done = make_study(tmp_path)
    make_run(tmp_path, done[2], ANSWERS["off", 0], LABELS, list("abce"))
    off, even = arm_flips(tmp_path, LABELLED, "base", [*done[:4], Done("5", "even", 7)])
    assert off.notes == ("Evaluated on other images than the baseline.",) and not off.flips and not off.classes
    assert even.notes == ("No seed is done both in this arm and in the baseline.",)


def test_labels_that_differ_are_other_images(tmp_path: Path) -> None:
    done = make_study(tmp_path)
    make_run(tmp_path, done[2], ANSWERS["off", 0], [0, 0, 1, 1], list("abcd"))
    off, _ = arm_flips(tmp_path, LABELLED, "base", done)
    assert off.notes == ("Evaluated on other images than the baseline.",)


def test_without_a_baseline_or_its_file_the_arms_have_notes(tmp_path: Path) -> None:
    done = make_study(tmp_path)
    assert all(arm.notes and not arm.flips for arm in arm_flips(tmp_path, LABELLED, "base", done[2:]))
    RunFolder(tmp_path / done[0].run_id).predictions.write_bytes(b"no")
    assert all("cannot be read" in arm.notes[0] for arm in arm_flips(tmp_path, LABELLED, "base", done))


@pytest.mark.parametrize("lost", ["meta.json", "test.ids.txt", "test.images.npy"])
def test_without_the_packed_images_there_are_numbers_and_a_note(tmp_path: Path, lost: str) -> None:
    done = make_study(tmp_path)
    (tmp_path / "_data/print" / lost).unlink()
    off, _ = arm_flips(tmp_path, LABELLED, "base", done)
    assert off.flips[0].label == "class 0" and off.flips[0].picture == "" and len(off.flips) == 4
    assert off.notes == ("No pictures and no names of classes: the packed images (print) are not there.",)


def test_pictures_are_the_images_and_no_larger_than_allowed(tmp_path: Path) -> None:
    done = make_study(tmp_path)
    off, even = arm_flips(tmp_path, LABELLED, "base", done, Limits(picture_px=4))
    drawn = [Image.open(io.BytesIO(base64.b64decode(flip.picture.split(",")[1]))) for flip in off.flips]
    assert [image.size for image in drawn] == [(4, 4)] * 4
    assert drawn[0].getextrema() == (0, 0)  # a is black
    assert off.flips[0].picture is even.flips[0].picture


def test_classes_of_one_name_stay_two(tmp_path: Path) -> None:
    off, _ = arm_flips(tmp_path, LABELLED, "base", make_study(tmp_path, ["crane", "owl", "crane"]))
    assert [row.name for row in off.classes] == ["crane (class 0)", "owl", "crane (class 2)"]


def test_a_budget_lowers_the_images_of_every_arm_and_is_kept(tmp_path: Path) -> None:
    images = [f"i{number:03}" for number in range(120)]
    done = [Done(str(number), f"arm{number}", 0) for number in range(4)]
    make_store(tmp_path, NAMES, images, px=64)
    rng = np.random.default_rng(1)
    for run in done:
        make_run(tmp_path, run, rng.integers(0, 3, 120).tolist(), [0] * 120, images)
    labels = {run.arm_id: run.arm_id for run in done}
    limits = Limits(picture_bytes=150_000)
    found = arm_flips(tmp_path, labels, "arm0", done, limits)
    kept = {len(arm.flips) for arm in found}
    assert len(kept) == 1 and 2 < max(kept) < 40
    assert all(f"No more than {max(kept)} images an arm" in arm.notes[0] for arm in found)
    page = to_html(Document("budget", ()), found, {})
    pictures = {flip.picture for arm in found for flip in arm.flips}
    assert all(page.count(picture) == 1 for picture in pictures)
    assert sum(map(len, pictures)) <= limits.picture_bytes < len(page) < limits.picture_bytes + 60_000
    assert arm_flips(tmp_path, labels, "arm0", done, limits) == found
    short = arm_flips(tmp_path, labels, "arm0", done, Limits(text_bytes=3 * 160 * 5))
    assert {len(arm.flips) for arm in short} == {5}


def test_an_empty_arm_is_what_cannot_be_compared() -> None:
    assert ArmFlips("a", "b").flips == ()
