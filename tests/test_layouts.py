"""Data sets as their authors publish them: ImageNet's and Tiny ImageNet's folders, IDX files, CIFAR-10's pickles."""

import gzip
import hashlib
import os
import pickle
import shutil
import struct
import tracemalloc
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from alexnet_sweep.data.decode import decoded
from alexnet_sweep.data.opening import content_id, open_source
from alexnet_sweep.data.pack import open_packed
from alexnet_sweep.data.source import Source
from alexnet_sweep.errors import DataError
from conftest import Compose

SHARED = Path(__file__).parents[2] / "shared" / "data"
DEBIAN = Path("/usr/share/datasets/fashion-mnist")
FISH, SHARK, CRANE, LIFT = "n01440764", "n01484850", "n02012849", "n03126707"
WORDS = f"{FISH}\ttench, Tinca tinca\n{SHARK}\tgreat white shark, white shark\n{CRANE}\tcrane\n{LIFT}\tcrane\n"


def image(path: Path, shade: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (20, 16), (shade, 0, 0)).save(path, "JPEG")


def training(root: Path, *wnids: str, inner: str = "") -> Path:
    """Three images of each synset, whose red is 100 times the place of the synset and a little more."""
    for place, wnid in enumerate(wnids):
        for number in range(3):
            image(root / "train" / wnid / inner / f"{wnid}_{number}.JPEG", 100 * place + 10 * number)
    return root


def validation(root: Path, below: str = "val") -> Path:
    """Four images without class folders, shades 0, 30, 60, 90."""
    for number in range(4):
        image(root / below / f"ILSVRC2012_val_0000000{number + 1}.JPEG", 30 * number)
    return root


@pytest.fixture
def opened(composed: Compose, tmp_path: Path) -> Any:
    def one(name: str, path: Path, *overrides: str) -> Source:
        data = composed(f"data={name}", f"data.path={path}", *overrides).data
        content_id(data)
        return open_source(data, tmp_path / "scratch")

    return one


@pytest.fixture
def refusal(opened: Any) -> Any:
    def one(*given: Any) -> str:
        with pytest.raises(DataError) as caught:
            opened(*given)
        assert "\n" not in str(caught.value)
        return str(caught.value)

    return one


# --- ImageNet ---


def test_class_folders_under_both_splits(opened: Any, tmp_path: Path) -> None:
    root = training(tmp_path / "imagenet", SHARK, FISH)
    image(root / "val" / FISH / "a.JPEG", 7)
    found = opened("imagenet", root)
    assert found.class_names == [FISH, SHARK]
    assert list(found.train.labels) == [0, 0, 0, 1, 1, 1] and list(found.test.labels) == [0]
    assert found.train.ids[0] == f"train/{FISH}/{FISH}_0.JPEG" and found.test.ids == [f"val/{FISH}/a.JPEG"]
    assert decoded(found.train, 4, 5)[0].getpixel((0, 0))[0] == pytest.approx(10, abs=3)


NAMED = ((2, SHARK), (1, FISH), (4, SHARK), (3, SHARK))
ANSWERS = {
    "LOC_val_solution.csv": "ImageId,PredictionString\n"
    + "".join(f"ILSVRC2012_val_0000000{number},{wnid} 1 2 3 4 \n" for number, wnid in NAMED),
    "val.txt": "".join(f"ILSVRC2012_val_0000000{number}.JPEG {wnid}\n" for number, wnid in NAMED),
    "val_labels.txt": f"{FISH}\n{SHARK}\n{SHARK}\n{SHARK}\n",
    "ILSVRC2012_validation_ground_truth.txt": "9\n4\n4\n4\n",
}


def devkit(path: Path, key: str = "ILSVRC2012_ID") -> None:
    kind = [(key, "i4"), ("WNID", "U9"), ("words", "U40")]
    rows = [(4, SHARK, "great white shark, white shark"), (9, FISH, "tench, Tinca tinca")]
    path.parent.mkdir(parents=True, exist_ok=True)
    savemat(path, {"synsets": np.array(rows, kind)})


@pytest.mark.parametrize("name", ANSWERS)
def test_flat_validation_images_take_their_answers_from_a_list(opened: Any, tmp_path: Path, name: str) -> None:
    root = validation(training(tmp_path / "imagenet", FISH, SHARK))
    (root / name).write_text(ANSWERS[name])
    devkit(root / "ILSVRC2012_devkit_t12" / "data" / "meta.mat")
    found = opened("imagenet", root)
    assert found.class_names == ["tench", "great white shark"]
    assert list(found.test.labels) == [0, 1, 1, 1]
    assert found.test.ids[1] == "val/ILSVRC2012_val_00000002.JPEG"


def test_kaggles_folders_are_found_below_its_root(opened: Any, tmp_path: Path) -> None:
    root = tmp_path / "kaggle"
    validation(training(root / "ILSVRC" / "Data" / "CLS-LOC", FISH, SHARK))
    (root / "LOC_val_solution.csv").write_text(ANSWERS["LOC_val_solution.csv"])
    (root / "LOC_synset_mapping.txt").write_text(f"{FISH} tench, Tinca tinca\n{SHARK} great white shark\n")
    found = opened("imagenet", root)
    assert found.class_names == ["tench", "great white shark"] and list(found.test.labels) == [0, 1, 1, 1]
    assert decoded(found.test, 3, 4)[0].getpixel((0, 0))[0] == pytest.approx(90, abs=3)


def test_imagenet_2010_is_tested_on_its_test_images(opened: Any, tmp_path: Path) -> None:
    root = validation(training(tmp_path / "imagenet", FISH, SHARK), "test")
    (root / "ILSVRC2010_test_ground_truth.txt").write_text("9\n9\n4\n4\n")
    devkit(root / "meta.mat", "ILSVRC2010_ID")
    found = opened("imagenet2010", root)
    assert list(found.test.labels) == [0, 0, 1, 1] and found.test.ids[0].startswith("test/")


def test_synsets_of_one_name_stay_apart(opened: Any, tmp_path: Path) -> None:
    root = training(tmp_path / "imagenet", CRANE, LIFT)
    shutil.copytree(root / "train", root / "val")
    (root / "words.txt").write_text(WORDS)
    assert opened("imagenet", root).class_names == [f"crane ({CRANE})", f"crane ({LIFT})"]


def test_a_test_fraction_serves_where_there_is_no_validation(opened: Any, tmp_path: Path) -> None:
    root = training(tmp_path / "imagenet", FISH, SHARK)
    found = opened("imagenet", root, "data.test_split=null", "data.test_fraction=0.34")
    assert len(found.train.ids) == 4 and len(found.test.ids) == 2
    assert sorted([*found.train.ids, *found.test.ids]) == sorted(
        path.relative_to(root).as_posix() for path in root.rglob("*.JPEG")
    )
    for split in (found.train, found.test):
        for number, name in enumerate(split.ids):
            with Image.open(root / name) as expected:
                assert np.array_equal(np.asarray(decoded(split, number, number + 1)[0]), np.asarray(expected))


def test_flat_images_without_answers_are_refused(refusal: Any, tmp_path: Path) -> None:
    root = validation(training(tmp_path / "imagenet", FISH, SHARK))
    assert "4 images without class folders, and no answers to them; put one of LOC_val" in refusal("imagenet", root)


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("val.txt", f"ILSVRC2012_val_00000001.JPEG {FISH}\n", "no answer to ILSVRC2012_val_00000002.JPEG"),
        ("val_labels.txt", f"{FISH}\n", "1 answers to 4 images"),
        ("val_labels.txt", "tench\n" * 4, "answers with tench; allowed: a wnid"),
        ("val_labels.txt", f"{CRANE}\n" * 4, f"has images of {CRANE}, which train/ has no folder of"),
        ("ILSVRC2012_validation_ground_truth.txt", "1\n" * 4, "put that beside it"),
    ],
)
def test_answers_that_do_not_fit_are_refused(refusal: Any, tmp_path: Path, name: str, text: str, told: str) -> None:
    root = validation(training(tmp_path / "imagenet", FISH, SHARK))
    (root / name).write_text(text)
    assert told in refusal("imagenet", root)


@pytest.mark.parametrize("end", [".JPEG", "", ".jpg"])
def test_answers_are_told_apart_behind_a_dot_in_the_name(opened: Any, tmp_path: Path, end: str) -> None:
    root = training(tmp_path / "imagenet", FISH, SHARK)
    for number in range(2):
        image(root / "val" / f"img.{number:03d}.JPEG", 30 * number)
    (root / "val.txt").write_text(f"img.000{end} {SHARK}\nimg.001{end} {FISH}\n")
    assert list(opened("imagenet", root).test.labels) == [1, 0]


def test_two_answers_to_one_image_are_refused_and_one_given_twice_is_not(
    opened: Any, refusal: Any, tmp_path: Path
) -> None:
    root = training(tmp_path / "imagenet", FISH, SHARK)
    image(root / "val" / "a.JPEG", 0)
    (root / "val.txt").write_text(f"a.JPEG {SHARK}\na.JPEG {SHARK}\n")
    assert list(opened("imagenet", root).test.labels) == [1]
    (root / "val.txt").write_text(f"a.JPEG {SHARK}\na.JPEG {FISH}\n")
    assert f"val.txt: answers a.JPEG with {FISH}, {SHARK}; there must be one answer each" in refusal("imagenet", root)


def test_answers_by_order_need_names_whose_order_is_clear(opened: Any, refusal: Any, tmp_path: Path) -> None:
    root = training(tmp_path / "imagenet", FISH, SHARK)
    for number in range(11):
        image(root / "val" / f"val_{number}.JPEG", number)
    (root / "val_labels.txt").write_text(f"{FISH}\n" * 10 + f"{SHARK}\n")
    line = refusal("imagenet", root)
    assert "val_labels.txt: answers in the order of names, but val_10.JPEG comes before val_2.JPEG by letters" in line
    (root / "val" / "val_10.JPEG").rename(root / "val" / "val_9a.JPEG")
    assert list(opened("imagenet", root).test.labels) == [0] * 10 + [1]


@pytest.mark.parametrize("name", [b"caf\xe9.JPEG", b"new\nline.JPEG"])
def test_a_name_that_cannot_be_written_down_is_refused_before_anything_is_packed(
    refusal: Any, tmp_path: Path, name: bytes
) -> None:
    root = training(tmp_path / "imagenet", FISH, SHARK)
    shutil.copytree(root / "train", root / "val")
    odd = root / "train" / FISH / os.fsdecode(name)
    image(root / "train" / FISH / "plain.JPEG", 7)
    (root / "train" / FISH / "plain.JPEG").rename(odd)
    line = refusal("imagenet", root)
    assert line.startswith(f"image 'train/{FISH}/") and line.isascii() and line.endswith("rename the file")


def test_a_name_in_other_letters_is_taken(opened: Any, tmp_path: Path) -> None:
    root = training(tmp_path / "imagenet", FISH, SHARK)
    shutil.copytree(root / "train", root / "val")
    image(root / "train" / FISH / "café 鱼.JPEG", 7)
    assert f"train/{FISH}/café 鱼.JPEG" in opened("imagenet", root).train.ids


@pytest.mark.parametrize("name", ["val.txt", "wnids.txt"])
def test_a_list_that_is_no_text_is_refused_with_its_path(refusal: Any, tmp_path: Path, name: str) -> None:
    root = validation(training(tmp_path / "imagenet", FISH, SHARK))
    (root / name).write_bytes(f"caf\xe9 {FISH}\n".encode("latin-1"))
    assert f"{root / name}: cannot be read as UTF-8 text (" in refusal("imagenet", root)


def test_a_class_name_that_is_no_text_is_shown_as_far_as_it_is(opened: Any, tmp_path: Path) -> None:
    root = training(tmp_path / "imagenet", FISH, SHARK)
    shutil.copytree(root / "train", root / "val")
    (root / "words.txt").write_bytes(f"{FISH}\ttench caf\xe9\n{SHARK}\tshark\n".encode("latin-1"))
    assert opened("imagenet", root).class_names == ["tench caf\N{REPLACEMENT CHARACTER}", "shark"]


def test_a_damaged_devkit_is_refused(refusal: Any, tmp_path: Path) -> None:
    root = validation(training(tmp_path / "imagenet", FISH, SHARK))
    (root / "ILSVRC2012_validation_ground_truth.txt").write_text("1\n" * 4)
    (root / "meta.mat").write_bytes(b"junk")
    assert "meta.mat: cannot be read" in refusal("imagenet", root)


def test_a_class_that_is_only_tested_is_refused(refusal: Any, tmp_path: Path) -> None:
    root = training(tmp_path / "imagenet", FISH)
    image(root / "val" / SHARK / "a.JPEG", 7)
    assert f"train has no image of {SHARK}" in refusal("imagenet", root)


def test_a_class_folder_without_images_is_refused(refusal: Any, tmp_path: Path) -> None:
    root = training(tmp_path / "imagenet", FISH)
    (root / "train" / SHARK).mkdir()
    shutil.copytree(root / "train", root / "val")
    assert f"no images in train/{SHARK}" in refusal("imagenet", root)


def test_a_folder_without_train_is_refused_with_what_it_holds(refusal: Any, tmp_path: Path) -> None:
    image(tmp_path / "imagenet" / "pictures" / "a.JPEG", 1)
    assert "holds no folder train; found pictures" in refusal("imagenet", tmp_path / "imagenet")


@pytest.mark.parametrize("reason", ["Dataset 'x' is a gated dataset on the Hub.", "401 Client Error"])
def test_a_gated_hub_asks_for_a_token(composed: Compose, monkeypatch: pytest.MonkeyPatch, reason: str) -> None:
    def gated(*_: Any, **__: Any) -> None:
        raise PermissionError(reason)

    monkeypatch.setattr(datasets, "load_dataset", gated)
    with pytest.raises(DataError) as caught:
        open_source(composed("data=imagenet").data, Path())
    line = str(caught.value)
    assert line.startswith("data.hub=ILSVRC/imagenet-1k: cannot be loaded (") and "\n" not in line
    assert "huggingface.co/datasets/ILSVRC/imagenet-1k" in line and "HF_TOKEN" in line and "`hf auth login`" in line


def test_offline_mode_is_told_of(composed: Compose, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    def unreachable(*_: Any, **__: Any) -> None:
        raise ConnectionError("Offline mode is enabled.")

    monkeypatch.setattr(datasets, "load_dataset", unreachable)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(DataError, match="HF_HUB_OFFLINE is set"):
        open_source(composed("data=imagenet").data, Path())


@pytest.mark.parametrize("name", ["tiny_imagenet", "fashion_mnist"])
def test_a_hub_whose_commit_is_not_chosen_asks_for_one(composed: Compose, name: str) -> None:
    with pytest.raises(DataError, match=r"data\.revision: not set for the hub data set .*set it to a commit"):
        content_id(composed(f"data={name}").data)


@pytest.mark.parametrize(
    ("name", "config"), [("imagenette", "320px"), ("imagenet", None), ("cifar10", None), ("fashion_mnist", None)]
)
def test_a_hub_is_asked_for_its_configuration_and_commit(
    composed: Compose, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, config: str | None
) -> None:
    data = composed(f"data={name}").data
    asked: list[Any] = []

    def answered(*given: Any, **more: Any) -> Any:
        asked.append((*given, more["revision"]))
        features = {
            data.image_column: datasets.Image(),
            data.label_column: datasets.ClassLabel(names=[FISH, SHARK]),
        }
        columns = {data.image_column: [Image.new("RGB", (8, 8))] * 2, data.label_column: [0, 1]}
        rows = datasets.Dataset.from_dict(columns, features=datasets.Features(features))
        return datasets.DatasetDict({data.train_split: rows, data.test_split or "validation": rows})

    monkeypatch.setattr(datasets, "load_dataset", answered)
    assert len(open_source(data, tmp_path).train.labels) == 2
    assert asked == [(data.hub, config if name != "cifar10" else data.hub_config, data.revision)]


# --- Imagenette ---


def test_imagenette_knows_its_classes_by_name(opened: Any, tmp_path: Path) -> None:
    root = training(tmp_path / "imagenette2-320", FISH, "n03888257")
    shutil.copytree(root / "train", root / "val")
    (root / "noisy_imagenette.csv").write_text("path\n")
    assert opened("imagenette", root).class_names == ["tench", "parachute"]


# --- Tiny ImageNet ---


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    root = training(tmp_path / "tiny", FISH, SHARK, inner="images")
    (root / "train" / FISH / f"{FISH}_boxes.txt").write_text("0 0 1 1\n")
    for number, shade in enumerate((0, 120)):
        image(root / "val" / "images" / f"val_{number}.JPEG", shade)
        image(root / "test" / "images" / f"test_{number}.JPEG", shade)
    (root / "val" / "val_annotations.txt").write_text(
        f"val_0.JPEG\t{SHARK}\t0\t1\t2\t3\nval_1.JPEG\t{FISH}\t0\t1\t2\t3\n"
    )
    (root / "wnids.txt").write_text(f"{SHARK}\n{FISH}\n")
    (root / "words.txt").write_text(WORDS)
    return root


def test_tiny_imagenet_as_it_is_published(opened: Any, tiny: Path) -> None:
    found = opened("tiny_imagenet", tiny)
    assert found.class_names == ["tench", "great white shark"]
    assert list(found.train.labels) == [0, 0, 0, 1, 1, 1] and list(found.test.labels) == [1, 0]
    assert found.train.ids[0] == f"train/{FISH}/images/{FISH}_0.JPEG" and found.test.ids[0] == "val/images/val_0.JPEG"


def test_tiny_imagenet_without_answers_to_its_test_images_is_refused(refusal: Any, tiny: Path) -> None:
    assert "no answers to them" in refusal("tiny_imagenet", tiny, "data.test_split=test")


@pytest.mark.parametrize(("lines", "told"), [([FISH], "wnids.txt lacks"), ([FISH, SHARK, CRANE], "has no folder of")])
def test_tiny_imagenet_with_other_classes_than_listed_is_refused(
    refusal: Any, tiny: Path, lines: list[str], told: str
) -> None:
    (tiny / "wnids.txt").write_text("\n".join(lines))
    assert told in refusal("tiny_imagenet", tiny)


@pytest.mark.parametrize("split", ["valid", "validation"])
def test_tiny_imagenet_as_parquet_shows_names_too(opened: Any, tmp_path: Path, split: str) -> None:
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=[FISH, SHARK])})
    pictures = [Image.new("RGB", (8, 8), (shade, 0, 0)) for shade in (0, 200)]
    rows = datasets.Dataset.from_dict({"image": pictures, "label": [0, 1]}, features=features)
    for name in ("train", split):
        path = tmp_path / "tiny" / "data" / f"{name}-00000-of-00001.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        rows.to_parquet(path)
    assert opened("tiny_imagenet", tmp_path / "tiny").class_names == [FISH, SHARK]
    (tmp_path / "tiny" / "words.txt").write_text(WORDS)
    assert opened("tiny_imagenet", tmp_path / "tiny").class_names == ["tench", "great white shark"]


def test_tiny_imagenet_as_parquet_in_a_folder_a_split(opened: Any, tmp_path: Path) -> None:
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=[FISH, SHARK])})
    pictures = [Image.new("RGB", (8, 8), (shade, 0, 0)) for shade in (0, 200)]
    rows = datasets.Dataset.from_dict({"image": pictures, "label": [0, 1]}, features=features)
    for name in ("train", "val"):
        (tmp_path / "tiny" / name).mkdir(parents=True)
        rows.to_parquet(tmp_path / "tiny" / name / "0000.parquet")
    assert list(opened("tiny_imagenet", tmp_path / "tiny").test.labels) == [0, 1]


@pytest.mark.skipif(not SHARED.is_dir(), reason=f"no images in {SHARED}")
def test_the_twenty_classes_of_tiny_imagenet_are_packed(composed: Compose, tmp_path: Path) -> None:
    path = SHARED / "tiny-imagenet-20"
    packed = open_packed(composed("data=tiny_imagenet", f"data.path={path}").data, tmp_path)
    assert packed.meta.counts == {"train": 4000, "test": 1000}
    assert packed.meta.class_names[:3] == ["goldfish", "centipede", "black stork"]
    assert [set(np.bincount(packed.labels[split])) for split in ("train", "test")] == [{200}, {50}]


@pytest.mark.skipif(not SHARED.is_dir(), reason=f"no images in {SHARED}")
def test_photographs_are_packed_as_jpegs_of_about_thirty_kilobytes(composed: Compose, tmp_path: Path) -> None:
    path = SHARED / "imagenet_sample"
    packed = open_packed(composed("data=folder", f"data.path={path}", "data.store=jpeg").data, tmp_path)
    (file,) = tmp_path.glob("*/train.images.jpeg")
    assert 25_000 < file.stat().st_size / packed.meta.counts["train"] < 35_000


# --- IDX ---


def idx(values: np.ndarray) -> bytes:
    return bytes([0, 0, 8, values.ndim]) + struct.pack(f">{values.ndim}I", *values.shape) + values.tobytes()


def clothes(root: Path, end: str = "") -> Path:
    root.mkdir(parents=True)
    for prefix, count in (("train", 20), ("t10k", 10)):
        pixels = np.arange(count * 28 * 28).reshape(count, 28, 28).astype(np.uint8)
        for kind, values in (("images-idx3", pixels), ("labels-idx1", np.arange(count, dtype=np.uint8) % 10)):
            content = idx(values)
            (root / f"{prefix}-{kind}-ubyte{end}").write_bytes(gzip.compress(content) if end else content)
    return root


@pytest.mark.parametrize("end", ["", ".gz"])
@pytest.mark.parametrize("below", ["", "FashionMNIST/raw"])
def test_idx_files_are_read_zipped_or_not(opened: Any, tmp_path: Path, end: str, below: str) -> None:
    clothes(tmp_path / "clothes" / below, end)
    found = opened("fashion_mnist", tmp_path / "clothes")
    assert found.class_names[:2] == ["T-shirt/top", "Trouser"] and len(found.class_names) == 10
    assert list(found.test.labels) == list(range(10)) and found.train.ids[19] == "train/0000019"
    (picture,) = decoded(found.test, 3, 4)
    expected = np.arange(10 * 784).astype(np.uint8).reshape(10, 28, 28)[3]
    assert picture.mode == "RGB" and np.array_equal(np.asarray(picture)[..., 1], expected)


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("train-images-idx3-ubyte", idx(np.zeros((20, 28), np.uint8)), "is no IDX file of bytes with 3 axes"),
        ("train-labels-idx1-ubyte", idx(np.zeros(20, np.uint8))[:-3], "has 17 bytes for (20,)"),
        ("train-labels-idx1-ubyte", idx(np.zeros(19, np.uint8)), "20 images, and 19 labels"),
        ("train-labels-idx1-ubyte", idx(np.full(20, 11, np.uint8)), "has labels up to 11"),
        ("train-labels-idx1-ubyte", b"", "is no IDX file"),
        ("train-images-idx3-ubyte", idx(np.zeros((20, 0, 0), np.uint8)), "its shape is (20, 0, 0); no side may be 0"),
        ("train-labels-idx1-ubyte", idx(np.zeros(20, np.uint8)) + b"x", "has more than 20 bytes for (20,)"),
        ("train-labels-idx1-ubyte", bytes([0, 0, 8, 1, 255, 255, 255, 255, 1]), "has 1 bytes for (4294967295,)"),
    ],
)
def test_idx_files_that_do_not_fit_are_refused(
    refusal: Any, tmp_path: Path, name: str, content: bytes, told: str
) -> None:
    root = clothes(tmp_path / "clothes")
    (root / name).write_bytes(content)
    assert told in refusal("fashion_mnist", root)


def test_a_cut_gzip_is_refused_with_its_path(opened: Any, tmp_path: Path) -> None:
    file = clothes(tmp_path / "clothes", ".gz") / "train-images-idx3-ubyte.gz"
    file.write_bytes(file.read_bytes()[:-20])
    with pytest.raises(DataError, match=r"train-images-idx3-ubyte\.gz: cannot be read"):
        decoded(opened("fashion_mnist", tmp_path / "clothes").train, 0, 20)


def test_a_zipped_file_is_not_expanded_far_beyond_its_size(refusal: Any, tmp_path: Path) -> None:
    file = clothes(tmp_path / "clothes", ".gz") / "train-labels-idx1-ubyte.gz"
    file.write_bytes(gzip.compress(idx(np.zeros(20, np.uint8)) + bytes(64 << 20)))
    tracemalloc.start()
    try:
        assert "has more than 20 bytes for (20,)" in refusal("fashion_mnist", file.parent)
        assert tracemalloc.get_traced_memory()[1] < 32 << 20
    finally:
        tracemalloc.stop()


def test_a_folder_without_idx_files_is_refused(refusal: Any, tmp_path: Path) -> None:
    (tmp_path / "clothes").mkdir()
    (tmp_path / "clothes" / "readme").write_text("x")
    assert "holds no train-images-idx3-ubyte (or .gz); found readme" in refusal("fashion_mnist", tmp_path / "clothes")


@pytest.mark.skipif(not DEBIAN.is_dir(), reason="the package dataset-fashion-mnist is not installed")
def test_debians_fashion_mnist_is_packed(composed: Compose, tmp_path: Path) -> None:
    packed = open_packed(composed("data=fashion_mnist", f"data.path={DEBIAN}").data, tmp_path)
    assert packed.meta.counts == {"train": 60_000, "test": 10_000}
    assert set(np.bincount(packed.labels["test"])) == {1000}
    assert packed.eigenvalues[0] > 100 and abs(packed.eigenvalues[1:]).max() < 1e-6  # grey


# --- CIFAR-10's pickles ---


@pytest.fixture
def pickles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder with four images a file, and torchvision told of their checksums."""
    from torchvision.datasets import CIFAR10

    folder = tmp_path / "cifar" / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)

    def written(name: str, value: Any) -> list[str]:
        content = pickle.dumps(value)
        (folder / name).write_bytes(content)
        return [name, hashlib.md5(content).hexdigest()]

    def batch(name: str) -> list[str]:
        return written(name, {"data": rng.integers(0, 256, (4, 3072), dtype=np.uint8), "labels": [3, 0, 9, 1]})

    monkeypatch.setattr(CIFAR10, "train_list", [batch(f"data_batch_{number}") for number in range(1, 6)])
    monkeypatch.setattr(CIFAR10, "test_list", [batch("test_batch")])
    names = written("batches.meta", {"label_names": ["airplane", *"bcdefghij"]})
    monkeypatch.setattr(CIFAR10, "meta", {"filename": names[0], "key": "label_names", "md5": names[1]})
    return folder


def test_cifar10_pickles_are_read_from_their_folder_or_the_one_around(opened: Any, pickles: Path) -> None:
    found = opened("cifar10", pickles)
    assert found.class_names[0] == "airplane" and list(found.test.labels) == [3, 0, 9, 1]
    assert len(found.train.labels) == 20 and found.train.ids[5] == "train/0000005"
    around = opened("cifar10", pickles.parent)
    assert np.array_equal(*(np.asarray(decoded(part.train, 7, 8)[0]) for part in (found, around)))


def test_where_the_pickles_lie_does_not_count(composed: Compose, pickles: Path) -> None:
    ids = {content_id(composed("data=cifar10", f"data.path={path}").data) for path in (pickles, pickles.parent)}
    assert len(ids) == 1


def test_a_pickle_with_another_checksum_is_never_opened(refusal: Any, pickles: Path) -> None:
    with (pickles / "data_batch_2").open("ab") as stream:
        stream.write(b"x")
    line = refusal("cifar10", pickles)
    assert "is not as published" in line and "cifar-10-python.tar.gz" in line


@pytest.mark.parametrize("name", ["fashion_mnist", "cifar10"])
def test_sets_with_a_test_split_refuse_a_test_fraction(
    refusal: Any, tmp_path: Path, request: pytest.FixtureRequest, name: str
) -> None:
    path = clothes(tmp_path / "clothes") if name == "fashion_mnist" else request.getfixturevalue("pickles")
    assert "has a split test to test on" in refusal(name, path, "data.test_fraction=0.5", "data.test_split=null")
