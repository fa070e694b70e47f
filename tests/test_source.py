import shutil
import warnings

import datasets
import numpy as np
import pytest
import yaml
from PIL import Image

from alexnet_sweep.config import DataConfig
from alexnet_sweep.data import content, synthetic
from alexnet_sweep.data.decode import decoded
from alexnet_sweep.data.opening import content_id, open_source
from alexnet_sweep.data.pack import fingerprint
from alexnet_sweep.errors import DataError
from alexnet_sweep.groups import conf_folder


def folder(path, **keys):
    """The data config of a folder: `conf/data/folder.yaml` with these keys, small."""
    values = yaml.safe_load((conf_folder() / "data" / "folder.yaml").read_text())
    small = {"stored_px": 16, "crop_px": 12, "heldout_fraction": 0.1, "input_divisor": 1.0}
    small |= {"store": "raw", "skip_bad": False}
    return DataConfig(**values | small | keys | {"path": str(path)})


@pytest.fixture
def opened(tmp_path):
    return lambda data: open_source(data, tmp_path / "scratch")


@pytest.fixture
def refusal(tmp_path):
    """The one line that a data config is refused with."""

    def one(data):
        with pytest.raises(DataError) as caught:
            content_id(data)
            open_source(data, tmp_path / "scratch")
        assert "\n" not in str(caught.value)
        return str(caught.value)

    return one


def plain_image(colour=(200, 100, 50), size=(20, 16)):
    return Image.new("RGB", size, colour)


def photos_with(root, image, name="odd.png", **options):
    """Two classes in two splits, of which one training image is `image`; returns the folder."""
    for split in ("train", "val"):
        for label in ("blue", "red"):
            (root / split / label).mkdir(parents=True)
            plain_image().save(root / split / label / "plain.png")
    image.save(root / "train" / "blue" / name, **options)
    (root / "train" / "blue" / "plain.png").unlink()
    return root


def table(labels, feature=None, images=None, columns=("image", "label")):
    """A data set of plain images with these labels, as `datasets` holds it."""
    if images is None:
        images = [plain_image((10 * number, 0, 0)) for number in range(len(labels))]
    features = feature and datasets.Features({columns[0]: datasets.Image(), columns[1]: feature})
    return datasets.Dataset.from_dict(dict(zip(columns, (images, labels), strict=True)), features=features)


def parquet(root, **splits):
    root.mkdir()
    for name, rows in splits.items():
        rows.to_parquet(root / f"{name}-00000-of-00001.parquet")
    return root


# --- the embedded digits ---


def test_digits_are_1437_and_360_images_of_ten_classes(micro, opened):
    digits = opened(micro().data)
    assert (len(digits.train.labels), len(digits.test.labels)) == (1437, 360)
    assert digits.class_names == [str(number) for number in range(10)]


def test_digits_have_unique_ids(micro, opened):
    digits = opened(micro().data)
    assert len({*digits.train.ids, *digits.test.ids}) == 1797


def test_digits_are_read_as_rgb(micro, opened):
    images = decoded(opened(micro().data).test, 358, 360)
    assert [(image.mode, image.size) for image in images] == [("RGB", (8, 8))] * 2


# --- drawn pictures ---


def test_drawn_pictures_have_unique_ids_and_are_read_in_their_order(micro, opened):
    drawn = opened(micro("data=synthetic").data)
    assert (len(drawn.train.labels), len(drawn.test.labels)) == (1600, 2000)
    assert len({*drawn.train.ids, *drawn.test.ids}) == 3600
    pixels = synthetic.draw("test").pixels
    read = decoded(drawn.test, 1998, 2000)
    assert all(np.array_equal(np.asarray(image), pixels[1998 + row]) for row, image in enumerate(read))


# --- folders of images ---


def test_image_folders_give_classes_splits_and_labels(photos, opened):
    found = opened(folder(photos))
    assert found.class_names == ["blue", "green", "red"]
    assert list(found.train.labels) == [0] * 12 + [1] * 12 + [2] * 12
    assert list(found.test.labels) == [0] * 6 + [1] * 6 + [2] * 6


def test_ids_are_paths_below_the_folder(photos, opened):
    found = opened(folder(photos))
    assert set(found.train.ids) == {path.relative_to(photos).as_posix() for path in photos.glob("train/*/*.png")}
    assert found.test.ids[0] == "val/blue/00.png"


def test_ids_do_not_hang_on_how_the_path_is_written(photos, opened, monkeypatch):
    monkeypatch.chdir(photos.parent)
    (photos.parent / "link").symlink_to(photos)
    ids = opened(folder(photos)).train.ids
    assert opened(folder("photos")).train.ids == ids
    assert opened(folder("link")).train.ids == ids


def test_images_are_read_in_the_order_of_their_ids(photos, opened):
    train = opened(folder(photos)).train
    for image_id, image in zip(train.ids[10:14], decoded(train, 10, 14), strict=True):
        assert np.array_equal(np.asarray(image), np.asarray(Image.open(photos / image_id)))


def test_a_folder_without_a_split_gives_a_fraction_to_the_test(photos, opened):
    found = opened(folder(photos / "train", test_fraction=0.25))
    assert (len(found.train.ids), len(found.test.ids)) == (27, 9)
    assert list(np.bincount(found.test.labels)) == [3, 3, 3]
    assert set(found.train.ids).isdisjoint(found.test.ids)
    assert all(image_id.split("/")[0] in ("blue", "green", "red") for image_id in found.test.ids)


def test_a_test_fraction_reads_the_images_its_ids_name(photos, opened):
    test = opened(folder(photos / "train", test_fraction=0.25)).test
    for image_id, image in zip(test.ids, decoded(test, 0, 9), strict=True):
        assert np.array_equal(np.asarray(image), np.asarray(Image.open(photos / "train" / image_id)))


def tree(root, *files):
    for file in files:
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        plain_image().save(root / file)
    return root


@pytest.mark.parametrize(
    "names", [("a", "b"), ("a[1]", "a", "b*", "c?"), ("test_1", "2"), ("train", "val-3"), ("evaluation", "x_valid")]
)
def test_names_of_images_decide_nothing(tmp_path, opened, names):
    files = [f"{label}/{name}{number}.png" for label in ("cat", "dog") for name in names for number in range(4)]
    found = opened(folder(tree(tmp_path / "pets", *files), test_fraction=0.25))
    assert sorted([*found.train.ids, *found.test.ids]) == sorted(files)


def test_names_of_images_in_split_folders_decide_nothing(tmp_path, opened):
    files = [f"{split}/{label}/{split}.png" for split in ("train", "val", "test") for label in ("cat", "dog")]
    pets = tree(tmp_path / "pets", *files, "train/cat/val_1.png", "val/dog/train_1.png")
    found = opened(folder(pets))
    assert found.train.ids == ["train/cat/train.png", "train/cat/val_1.png", "train/dog/train.png"]
    assert found.test.ids == ["val/cat/val.png", "val/dog/train_1.png", "val/dog/val.png"]
    assert opened(folder(pets, test_split="test")).test.ids == ["test/cat/test.png", "test/dog/test.png"]


@pytest.mark.parametrize("name", ["dev", "evaluation", "val"])
def test_a_split_is_found_by_the_name_asked_for(tmp_path, opened, name):
    pets = tree(tmp_path / "pets", *(f"{split}/{label}/1.png" for split in ("train", name) for label in ("cat", "dog")))
    assert opened(folder(pets, test_split=name)).test.ids == [f"{name}/cat/1.png", f"{name}/dog/1.png"]


def test_a_class_may_be_called_like_a_split(tmp_path, opened):
    found = opened(
        folder(
            tree(tmp_path / "traffic", *(f"{c}/{n}.png" for c in ("bus", "train") for n in "123")), test_fraction=0.3
        )
    )
    assert found.class_names == ["bus", "train"] and len(found.train.ids) + len(found.test.ids) == 6


# --- Parquet and Arrow ---


def test_parquet_with_class_labels_in_columns_of_other_names(micro, tmp_path, opened):
    rows = table([1, 0, 1], datasets.ClassLabel(names=["cat", "dog"]), columns=("img", "label"))
    path = parquet(tmp_path / "cats", train=rows, test=rows.select([0]))
    found = opened(micro("data=cifar10", f"data.path={path}").data)
    assert found.class_names == ["cat", "dog"]
    assert (list(found.train.labels), list(found.test.labels)) == ([1, 0, 1], [1])
    assert found.train.ids == ["train/0000000", "train/0000001", "train/0000002"]
    assert decoded(found.train, 1, 2)[0].getpixel((0, 0)) == (10, 0, 0)


def test_parquet_with_string_labels_sorts_their_names(tmp_path, opened):
    rows = table(["red", "blue", "red"], datasets.Value("string"))
    found = opened(folder(parquet(tmp_path / "words", train=rows, test=rows)))
    assert found.class_names == ["blue", "red"]
    assert list(found.train.labels) == [1, 0, 1]


def test_parquet_with_integer_labels_names_classes_by_number(tmp_path, opened):
    rows = table([2, 0, 1], datasets.Value("int64"))
    found = opened(folder(parquet(tmp_path / "numbers", train=rows, test=rows)))
    assert found.class_names == ["0", "1", "2"]
    assert list(found.train.labels) == [2, 0, 1]


def test_a_test_split_may_lack_a_class_of_integer_labels(tmp_path, opened):
    rows = table([2, 0, 1], datasets.Value("int64"))
    found = opened(folder(parquet(tmp_path / "numbers", train=rows, test=rows.select([1, 2]))))
    assert found.class_names == ["0", "1", "2"]
    assert list(found.test.labels) == [0, 1]


def test_arrow_of_a_dataset_dict_saved_to_disk(tmp_path, opened):
    rows = table([1, 0, 1], datasets.ClassLabel(names=["cat", "dog"]))
    datasets.DatasetDict(train=rows, test=rows.select([0])).save_to_disk(tmp_path / "arrow")
    found = opened(folder(tmp_path / "arrow"))
    assert found.class_names == ["cat", "dog"]
    assert (list(found.train.labels), list(found.test.labels)) == ([1, 0, 1], [1])


def test_arrow_of_one_dataset_saved_to_disk_is_the_training_split(tmp_path, opened):
    table([1, 0, 1, 0], datasets.ClassLabel(names=["cat", "dog"])).save_to_disk(tmp_path / "arrow")
    found = opened(folder(tmp_path / "arrow", test_fraction=0.5))
    assert sorted([*found.train.ids, *found.test.ids]) == [f"train/{row:07d}" for row in range(4)]


# --- colours, orientation, damage ---


def read_odd(found):
    return decoded(found.train, 0, 1)[0]


@pytest.mark.parametrize(
    ("mode", "name"), [("L", "odd.png"), ("RGBA", "odd.png"), ("CMYK", "odd.jpg"), ("L", "odd.jpg")]
)
def test_images_of_every_mode_become_rgb(tmp_path, opened, mode, name):
    grey = plain_image((90, 90, 90)).convert(mode)
    image = read_odd(opened(folder(photos_with(tmp_path / "odd", grey, name))))
    assert image.mode == "RGB"
    assert np.abs(np.asarray(image).astype(int) - 90).max() <= 4


def test_alpha_is_dropped_and_colours_stay(tmp_path, opened):
    faint = plain_image((200, 100, 50)).convert("RGBA")
    faint.putalpha(30)
    assert read_odd(opened(folder(photos_with(tmp_path / "odd", faint)))).getpixel((3, 3)) == (200, 100, 50)


def two_colours():
    image = plain_image((200, 100, 50))
    image.paste((0, 50, 250), (10, 0, 20, 16))
    return image


@pytest.mark.parametrize("transparency", [None, bytes([128, 64])], ids=["opaque", "transparent"])
def test_a_palette_becomes_rgb(tmp_path, opened, transparency):
    options = {} if transparency is None else {"transparency": transparency}
    image = read_odd(opened(folder(photos_with(tmp_path / "odd", two_colours().quantize(2), **options))))
    assert image.getpixel((3, 3)) == (200, 100, 50) and image.getpixel((15, 3)) == (0, 50, 250)


def test_sixteen_bit_grey_keeps_its_range(tmp_path, opened):
    ramp = np.linspace(0, 65535, 256).astype(np.uint16).reshape(16, 16)
    image = read_odd(opened(folder(photos_with(tmp_path / "odd", Image.fromarray(ramp)))))
    assert np.abs(np.asarray(image)[..., 0].astype(int) - ramp // 257).max() <= 1


def test_exif_orientation_is_respected(tmp_path, opened):
    sideways = plain_image((250, 0, 0), (64, 32))
    sideways.paste((0, 0, 250), (32, 0, 64, 32))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise: its left side comes on top
    image = read_odd(opened(folder(photos_with(tmp_path / "odd", sideways, "odd.jpg", exif=exif))))
    assert image.size == (32, 64)
    assert image.getpixel((16, 8))[0] > 200 and image.getpixel((16, 56))[2] > 200


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_a_truncated_image_is_an_error_with_its_path(tmp_path, opened, suffix):
    noise = np.random.default_rng(0).integers(0, 255, (40, 40, 3), dtype=np.uint8)
    path = photos_with(tmp_path / "odd", Image.fromarray(noise), f"odd{suffix}")
    file = path / "train" / "blue" / f"odd{suffix}"
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    found = opened(folder(path))
    with pytest.raises(DataError, match=rf"^image train/blue/odd{suffix}: cannot be read \(.*mend or remove it"):
        read_odd(found)


def test_a_png_with_a_wrong_chunk_length_is_an_error_with_its_path(tmp_path, opened):
    noise = np.random.default_rng(0).integers(0, 255, (40, 40), dtype=np.uint8)
    path = photos_with(tmp_path / "odd", Image.fromarray(noise))
    file = path / "train" / "blue" / "odd.png"
    header, data = file.read_bytes().split(b"IDAT", 1)
    file.write_bytes(header[:-4] + (100).to_bytes(4, "big") + b"IDAT" + data)
    found = opened(folder(path))
    with pytest.raises(DataError, match=r"^image train/blue/odd\.png: cannot be read"):
        read_odd(found)


def test_an_empty_file_is_an_error_with_its_path(tmp_path, opened):
    path = photos_with(tmp_path / "odd", plain_image())
    (path / "train" / "blue" / "odd.png").write_bytes(b"")
    found = opened(folder(path))
    with pytest.raises(DataError, match=r"^image train/blue/odd\.png: cannot be read"):
        read_odd(found)


def test_a_row_without_an_image_is_an_error_with_its_row(tmp_path, opened):
    rows = table([0, 1], datasets.ClassLabel(names=["cat", "dog"]), images=[plain_image(), None])
    found = opened(folder(parquet(tmp_path / "gaps", train=rows, test=rows.select([0]))))
    with pytest.raises(DataError, match=r"^image train/0000001: .*empty"):
        decoded(found.train, 0, 2)


# --- refusals ---


def test_a_missing_path_is_refused_with_the_nearest_one(photos, refusal):
    line = refusal(folder(photos.parent / "photo"))
    assert line.startswith(f"data.path={photos.parent / 'photo'}: no such folder.")
    assert "Did you mean 'photos'?" in line and "Parquet" in line


def test_a_path_whose_parent_is_missing_too_is_refused(tmp_path, refusal):
    assert "no such folder" in refusal(folder(tmp_path / "not" / "there"))


def test_a_path_that_is_a_file_is_refused(photos, refusal):
    assert "no such folder" in refusal(folder(photos / "train" / "blue" / "00.png"))


def test_a_folder_without_images_is_refused_with_what_it_holds(tmp_path, refusal):
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "notes.txt").write_text("no image")
    line = refusal(folder(tmp_path / "texts"))
    assert line.startswith(f"data.path={tmp_path / 'texts'}: holds no images; found notes.txt")
    assert ".png" in line and ".parquet" in line


def test_an_empty_folder_is_refused(tmp_path, refusal):
    (tmp_path / "empty").mkdir()
    assert "holds no images; found nothing" in refusal(folder(tmp_path / "empty"))


def test_a_damaged_parquet_file_is_refused_with_its_folder(tmp_path, refusal, capfd):
    (tmp_path / "junk").mkdir()
    (tmp_path / "junk" / "train.parquet").write_bytes(b"junk")
    line = refusal(folder(tmp_path / "junk"))
    assert line.startswith(f"data.path={tmp_path / 'junk'}: cannot be loaded (")


def test_a_missing_label_column_is_refused_with_the_nearest_one(photos, refusal):
    line = refusal(folder(photos, label_column="labels"))
    assert line.startswith(f"data.label_column=labels: data.path={photos} has no such column.")
    assert "Did you mean 'label'? Have: image, label" in line


def test_a_missing_image_column_is_refused_with_the_nearest_one(photos, refusal):
    line = refusal(folder(photos, image_column="images"))
    assert line.startswith(f"data.image_column=images: data.path={photos} has no such column.")
    assert "Did you mean 'image'? Have: image, label" in line


def test_images_outside_class_folders_are_refused_for_their_labels(tmp_path, refusal):
    (tmp_path / "flat").mkdir()
    plain_image().save(tmp_path / "flat" / "one.png")
    assert refusal(folder(tmp_path / "flat", test_fraction=0.5)).endswith(
        "no classes; put the images of each class into a folder of its own, two classes at least, and none beside "
        "these folders"
    )


@pytest.mark.parametrize("key", ["train_split", "test_split"])
def test_a_missing_split_is_refused_with_those_there_are(photos, refusal, key):
    line = refusal(folder(photos, **{key: "trian"}))
    assert line.startswith(f"data.{key}=trian: data.path={photos} has no such split.")
    assert "Did you mean 'train'? Have: train, validation" in line


def test_a_folder_without_a_test_split_is_refused_with_both_ways_out(photos, refusal):
    line = refusal(folder(photos / "train"))
    assert line.startswith("data.test_split: ")
    assert "found train" in line and "data.test_fraction=0.2" in line


@pytest.mark.parametrize("fraction", [0.001, 0.999])
def test_a_test_fraction_that_leaves_a_split_empty_is_refused(photos, refusal, fraction):
    assert f"data.test_fraction={fraction}" in refusal(folder(photos / "train", test_fraction=fraction))


def test_labels_of_minus_one_are_refused_as_an_unlabelled_split(tmp_path, refusal):
    names = datasets.ClassLabel(names=["cat", "dog"])
    path = parquet(tmp_path / "cats", train=table([0, 1], names), test=table([-1, -1], names))
    line = refusal(folder(path))
    assert line.startswith(f"data.label_column=label: data.path={path} has labels -1 to -1; allowed: 0 to 1.")
    assert "data.test_split" in line


@pytest.mark.parametrize(
    "feature", [datasets.ClassLabel(names=["cat", "dog"]), datasets.Value("int64")], ids=["class", "number"]
)
def test_a_missing_label_is_refused(tmp_path, refusal, feature):
    rows = table([0, None, 1], feature)
    assert refusal(folder(parquet(tmp_path / "gaps", train=rows, test=rows))).startswith("data.label_column=label: ")


def test_labels_that_are_fractions_are_refused(tmp_path, refusal):
    rows = table([0.0, 0.5], datasets.Value("float64"))
    line = refusal(folder(parquet(tmp_path / "floats", train=rows, test=rows)))
    assert line.startswith("data.label_column=label: ") and "allowed: whole numbers from 0" in line


def test_splits_of_different_string_labels_are_refused(tmp_path, refusal):
    words = datasets.Value("string")
    path = parquet(tmp_path / "words", train=table(["a", "b"], words), test=table(["a", "c", "d"], words))
    line = refusal(folder(path))
    assert line.startswith(f"data.path={path}: splits train and test have different classes (2 and 3)")


@pytest.mark.parametrize(
    ("names", "told"),
    [(["dog", "cat"], "have dog and cat for class 0"), (["cat", "dog", "emu"], "have 3 and 2 classes")],
    ids=["order", "more"],
)
def test_parquet_files_that_number_their_classes_differently_are_refused(tmp_path, refusal, names, told):
    train = table([0, 0, 0, 1], datasets.ClassLabel(names=["cat", "dog"]))
    path = parquet(tmp_path / "pets", train=train, test=table([0, 0, 0, 1], datasets.ClassLabel(names=names)))
    line = refusal(folder(path))
    assert line.startswith(
        f"data.path={path}: test-00000-of-00001.parquet and train-00000-of-00001.parquet {told}; all"
    )


def test_a_test_folder_of_a_class_that_is_never_trained_is_refused(photos, refusal):
    shutil.rmtree(photos / "train" / "green")
    line = refusal(folder(photos))
    assert "different classes" in line and "green" in line


@pytest.mark.parametrize("name", ["digits", "synthetic"])
def test_embedded_data_refuses_a_path(micro, photos, refusal, name):
    line = refusal(micro(f"data={name}", f"data.path={photos}").data)
    assert line.startswith(f"data.path={photos}: data={name} is embedded") and "data=folder" in line


@pytest.mark.parametrize("name", ["digits", "synthetic"])
def test_embedded_data_refuses_a_test_fraction(micro, refusal, name):
    line = refusal(micro(f"data={name}", "data.test_fraction=0.5").data)
    assert line.startswith(f"data.test_fraction=0.5: data={name} has a test set of its own")


def test_a_folder_without_a_path_is_refused(micro, refusal):
    line = refusal(micro("data=folder").data)
    assert line.startswith("data.path: not set, and data=folder has no hub name; set data.path=FOLDER")


def test_a_hub_name_without_a_revision_is_refused(micro, refusal):
    line = refusal(micro("data=cifar10", "data.revision=null").data)
    assert line.startswith("data.revision: not set for the hub data set uoft-cs/cifar10") and "commit" in line


def test_an_image_column_of_words_is_refused_with_its_key(tmp_path, refusal):
    rows = datasets.Dataset.from_dict({"image": ["a cat", "a dog"], "label": [0, 1]})
    line = refusal(folder(parquet(tmp_path / "words", train=rows, test=rows)))
    assert line.startswith("data.image_column=image: ") and "allowed: images" in line


def test_an_image_column_of_numbers_is_refused_with_its_key(tmp_path, refusal):
    rows = datasets.Dataset.from_dict({"image": [1, 2], "label": [0, 1]})
    line = refusal(folder(parquet(tmp_path / "numbers", train=rows, test=rows)))
    assert line.startswith("data.image_column=image: ") and "int64" in line and "allowed: images" in line


# --- what a data set is: content_id and fingerprint ---


def test_a_copy_elsewhere_is_the_same_data_set(photos, tmp_path):
    shutil.copytree(photos, tmp_path / "elsewhere" / "copy")
    assert fingerprint(folder(photos)) == fingerprint(folder(tmp_path / "elsewhere" / "copy"))


def test_how_a_path_is_written_does_not_count(photos, monkeypatch):
    monkeypatch.chdir(photos.parent)
    assert content_id(folder(photos)) == content_id(folder("photos")) == content_id(folder("./photos/"))


def test_files_beside_the_images_count_since_they_may_hold_the_labels(photos):
    metadata = photos / "train" / "metadata.csv"
    metadata.write_text("file_name,label\nred/00.png,0\n")
    before = content_id(folder(photos))
    metadata.write_text("file_name,label\nred/00.png,1\n")
    assert content_id(folder(photos)) != before


def test_a_broken_link_is_named(photos, refusal):
    (photos / "train" / "red" / "gone.png").symlink_to(photos / "nowhere.png")
    assert "train/red/gone.png: cannot be read" in refusal(folder(photos))


@pytest.mark.parametrize("change", ["content", "renamed"])
def test_what_lies_in_a_linked_class_folder_counts(photos, tmp_path, change):
    for split in ("train", "val"):  # both splits: one place may be linked to twice
        (photos / split / "red").rename(tmp_path / f"{split} red")
        (photos / split / "red").symlink_to(tmp_path / f"{split} red")
        (photos / split / "reddish").symlink_to(tmp_path / f"{split} red")
    before = content_id(folder(photos))
    file = tmp_path / "train red" / "03.png"
    changed_at(file, -20) if change == "content" else file.rename(file.with_name("99.png"))
    assert content_id(folder(photos)) != before


def test_a_link_is_the_same_data_set_as_what_it_links_to(photos, tmp_path):
    before = content_id(folder(photos))
    (photos / "train" / "red").rename(tmp_path / "red")
    (photos / "train" / "red").symlink_to(tmp_path / "red")
    assert content_id(folder(photos)) == before


def test_a_link_to_a_folder_around_it_is_not_followed_forever(photos):
    before = content_id(folder(photos))
    (photos / "train" / "red" / "round").symlink_to(photos)
    assert content_id(folder(photos)) == before


def test_hidden_files_do_not_count(photos):
    before = content_id(folder(photos))
    (photos / ".DS_Store").write_bytes(b"x")
    assert content_id(folder(photos)) == before


@pytest.mark.parametrize("chosen", [{"test_split": "train"}, {"train_split": "validation"}])
def test_a_split_that_is_trained_on_is_not_tested_on(photos, refusal, chosen):
    assert "trains on that split" in refusal(folder(photos, **chosen))


def test_a_test_fraction_beside_a_test_split_is_refused(photos, refusal):
    assert "has a split validation to test on" in refusal(folder(photos, test_fraction=0.2))


@pytest.mark.parametrize("name", ["validation", "valid", "val"])
def test_the_validation_split_is_found_under_its_three_names(photos, tmp_path, name):
    assert len(open_source(folder(photos, test_split=name), tmp_path).test.labels) == 18


def test_an_absurd_label_is_refused_before_it_is_counted_up_to(tmp_path, refusal):
    import datasets

    images = [plain_image() for _ in range(3)]
    columns = {"image": images, "label": [0, 1, 10**9]}
    features = datasets.Features({"image": datasets.Image(), "label": datasets.Value("int64")})
    (tmp_path / "absurd").mkdir()
    datasets.Dataset.from_dict(columns, features=features).to_parquet(tmp_path / "absurd" / "train.parquet")
    line = refusal(folder(tmp_path / "absurd", test_fraction=0.5))
    assert "has a label 1000000000 among 3 rows" in line


def test_one_changed_byte_makes_another_data_set(photos):
    before = content_id(folder(photos))
    file = photos / "train" / "red" / "03.png"
    pixels = bytearray(file.read_bytes())
    pixels[-20] ^= 1
    file.write_bytes(pixels)
    assert content_id(folder(photos)) != before


def test_a_renamed_file_makes_another_data_set(photos):
    before = content_id(folder(photos))
    (photos / "train" / "red" / "03.png").rename(photos / "train" / "red" / "3.png")
    assert content_id(folder(photos)) != before


def test_a_file_in_another_class_makes_another_data_set(photos):
    before = content_id(folder(photos))
    (photos / "train" / "red" / "03.png").rename(photos / "train" / "blue" / "99.png")
    assert content_id(folder(photos)) != before


@pytest.mark.parametrize(
    "change",
    [
        {"source": "synsets"},
        {"name": "tench"},
        {"stored_px": 20},
        {"test_fraction": 0.3},
        {"test_split": "validation"},
        {"label_column": "kind"},
    ],
    ids=lambda change: next(iter(change)),
)
def test_a_key_that_changes_the_store_changes_the_fingerprint(photos, change):
    assert fingerprint(folder(photos, **change)) != fingerprint(folder(photos))


@pytest.mark.parametrize(
    "change",
    [{"crop_px": 10}, {"heldout_fraction": 0.3}, {"input_divisor": 2.0}],
    ids=lambda change: next(iter(change)),
)
def test_a_key_that_leaves_the_store_alone_leaves_the_fingerprint(photos, change):
    assert fingerprint(folder(photos, **change)) == fingerprint(folder(photos))


def test_crops_of_another_side_share_the_store_of_cifar10(micro):
    assert len({fingerprint(micro(f"data={name}").data) for name in ("cifar10", "cifar10_24px", "cifar10_32px")}) == 1


def test_drawn_pictures_are_known_by_what_draws_them(micro, monkeypatch):
    before = fingerprint(micro("data=synthetic").data)
    assert before != fingerprint(micro("data=synthetic", "data.stored_px=40").data)
    monkeypatch.setattr(synthetic, "SEED", 1)
    assert before != fingerprint(micro("data=synthetic").data)


def test_a_hub_data_set_is_known_by_its_commit(micro):
    first = content_id(micro("data=cifar10", "data.revision=aaa").data)
    assert first == content_id(micro("data=cifar10", "data.revision=aaa").data)
    assert first != content_id(micro("data=cifar10", "data.revision=bbb").data)


@pytest.fixture
def large(photos, monkeypatch):
    """A folder that counts as large: only the ends of its files are read."""
    monkeypatch.setattr(content, "WHOLE_BYTES", 1000)
    monkeypatch.setattr(content, "SAMPLED_BYTES", 64)
    return photos


def changed_at(file, place):
    pixels = bytearray(file.read_bytes())
    pixels[place] ^= 1
    file.write_bytes(pixels)


@pytest.mark.parametrize("place", [40, -40])
def test_a_large_folder_counts_the_ends_of_its_files(large, place):
    before = content_id(folder(large))
    changed_at(large / "train" / "red" / "03.png", place)
    assert content_id(folder(large)) != before


def test_a_large_folder_counts_all_of_its_answers(large, monkeypatch):
    monkeypatch.setattr(content, "SAMPLED_FILES", 2)
    (large / "val.txt").write_text("00.png n01440764\n" * 50)
    before = content_id(folder(large))
    changed_at(large / "val.txt", 400)
    assert content_id(folder(large)) != before


def test_a_large_folder_is_not_read_whole(large):
    before = content_id(folder(large))
    changed_at(large / "train" / "red" / "03.png", 1000)
    assert content_id(folder(large)) == before


def test_a_large_folder_counts_every_size_even_of_files_it_does_not_read(large, monkeypatch):
    monkeypatch.setattr(content, "SAMPLED_FILES", 2)
    before = content_id(folder(large))
    changed_at(large / "train" / "blue" / "03.png", 40)
    assert content_id(folder(large)) == before
    with (large / "train" / "blue" / "03.png").open("ab") as stream:
        stream.write(b"\0")
    assert content_id(folder(large)) != before


def test_opening_a_source_tells_no_warnings(photos, opened):
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        opened(folder(photos))
    assert told == []
