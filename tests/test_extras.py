"""What the paper does not have: transforms of images, mixing, label smoothing, averaged weights. All off by default."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional as F

from alexnet_sweep import checkpoint
from alexnet_sweep.assemble import Assembly, assemble
from alexnet_sweep.config import AugConfig, Config
from alexnet_sweep.data.batches import Pixels, TrainingBatches
from alexnet_sweep.job import run
from alexnet_sweep.predict import predict
from alexnet_sweep.store import RunFolder
from alexnet_sweep.train import Trainer
from conftest import Compose, Main
from test_train import CLASSES, CPU, STILL, forgetful, parameters, same, some_labels, train, trainer_of

IMAGES, SIDE, CROP = 24, 20, 16
POLICIES = ("autoaugment", "randaugment")


def test_all_of_them_are_off_by_default(composed: Compose) -> None:
    config = composed()
    assert config.aug.transform.custom is None and config.aug.mix.custom is None
    assert config.regularizer.label_smoothing.amount == 0 and config.regularizer.ema.decay is None


# --- transforms of single images ---


@pytest.fixture(scope="module")
def augs(composed: Compose) -> dict[str, AugConfig]:
    """Augmentation by the name of its transform; `idle` draws as a transform may, and changes nothing."""
    found = {name: composed(f"aug/transform={name}", "aug/flip=on").aug for name in (*POLICIES, "none")}
    found["idle"] = composed("aug/transform=autoaugment", "aug/flip=on").aug
    found["idle"].transform.custom = {"_target_": "torchvision.transforms.v2.RandomInvert", "p": 0.0}
    return found


def batches(
    aug: AugConfig, *, batch_size: int = 5, seed: int = 0, rows: list[int] | None = None, alike: bool = False
) -> TrainingBatches:
    """Of smooth images in three colours, all the same if `alike`; the label is the image's number."""
    image, colour, row, column = np.meshgrid(range(IMAGES), range(3), range(SIDE), range(SIDE), indexing="ij")
    pixels = (40 + 5 * row + 3 * column + 20 * colour + (0 if alike else 2) * image).astype(np.uint8)
    return TrainingBatches(
        pixels,
        np.arange(IMAGES, dtype=np.int64),
        lambda epoch: np.arange(IMAGES) if rows is None else np.array(rows),
        pixels=Pixels(torch.zeros(3, CROP, CROP), torch.tensor([900.0, 90, 9]), torch.eye(3), CROP, 1.0),
        aug=aug,
        batch_size=batch_size,
        seed=seed,
        device=CPU,
        epochs=10,
    )


def by_image(subject: TrainingBatches, epoch: int = 0) -> dict[int, Tensor]:
    """Each image's input in an epoch."""
    return {
        int(label): image
        for inputs, labels in subject.epoch(epoch)
        for label, image in zip(labels, inputs, strict=True)
    }


def equal(one: dict[int, Tensor], other: dict[int, Tensor]) -> list[int]:
    """Images in both that are the same in both."""
    return [image for image in one if image in other and torch.equal(one[image], other[image])]


@pytest.mark.parametrize("policy", POLICIES)
def test_what_becomes_of_an_image_depends_on_neither_batch_nor_order(augs: dict[str, AugConfig], policy: str) -> None:
    whole = by_image(batches(augs[policy]))
    assert len(whole) == IMAGES
    for batch_size in (1, 7, IMAGES):
        assert len(equal(whole, by_image(batches(augs[policy], batch_size=batch_size)))) == IMAGES
    some = [17, 3, 8, 20]
    assert sorted(equal(whole, by_image(batches(augs[policy], rows=some)))) == sorted(some)


@pytest.mark.parametrize("policy", POLICIES)
def test_what_becomes_of_an_image_depends_on_no_state_of_the_process(augs: dict[str, AugConfig], policy: str) -> None:
    subject = batches(augs[policy])
    first = by_image(subject)
    torch.manual_seed(99)
    assert len(equal(first, by_image(subject))) == IMAGES
    from_the_third_batch = [image for inputs, _ in subject.epoch(0, first=2) for image in inputs]
    assert all(torch.equal(*pair) for pair in zip(list(first.values())[10:], from_the_third_batch, strict=True))


@pytest.mark.parametrize("policy", POLICIES)
def test_what_becomes_of_an_image_differs_by_image_epoch_and_seed(augs: dict[str, AugConfig], policy: str) -> None:
    still = AugConfig(transform=augs[policy].transform)
    still.crop, still.flip, still.lighting = augs["none"].crop, augs["none"].flip, augs["none"].lighting
    first = by_image(batches(still, alike=True))
    assert len({image.numpy().tobytes() for image in first.values()}) > IMAGES / 2
    assert len(equal(first, by_image(batches(still, alike=True), epoch=1))) < IMAGES / 2
    assert len(equal(first, by_image(batches(still, alike=True, seed=1)))) < IMAGES / 2


def test_a_transform_that_draws_moves_no_crop_mirror_or_colour(augs: dict[str, AugConfig]) -> None:
    for epoch in (0, 3):
        plain, idle = (by_image(batches(augs[name]), epoch) for name in ("none", "idle"))
        assert list(plain) == list(idle) and len(equal(plain, idle)) == IMAGES


def test_only_training_images_are_transformed(micro: Compose) -> None:
    def answers(name: str) -> Any:
        job = assemble(micro(f"aug/transform={name}"), CPU)
        found = predict(
            job.trainer.net,
            job.trainer.answer,
            job.packed.images["test"],
            np.arange(4),
            pixels=job.pixels,
            config=micro().eval,
            all_views=False,
            device=CPU,
        )
        return found.centre.tolist()

    assert answers("randaugment") == answers("none")


# --- mixing ---


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[Tensor, Tensor, dict[str, Any]]]]:
    """Logits, targets and further arguments of every loss that is computed."""
    calls: list[tuple[Tensor, Tensor, dict[str, Any]]] = []
    loss = F.cross_entropy

    def spy(logits: Tensor, targets: Tensor, **more: Any) -> Tensor:
        calls.append((logits.detach().clone(), targets.clone(), more))
        return loss(logits, targets, **more)

    monkeypatch.setattr("alexnet_sweep.train.F.cross_entropy", spy)
    yield calls


@pytest.mark.parametrize("mix", ["mixup", "cutmix"])
def test_mixing_gives_shares_of_labels_and_counts_errors_by_the_images_own(
    micro: Compose, seen: list[tuple[Tensor, Tensor, dict[str, Any]]], mix: str
) -> None:
    # The weights stand still, so that all batches of the epoch are seen by one network.
    trainer = trainer_of(micro(*STILL, f"aug/mix={mix}", "optim.learning_rate=0", "trainer.batch_size=16"))
    own = [labels for _, labels in trainer.batches.epoch(0)]
    (sums, _) = train(trainer)
    steps, shares = seen[:3], set()
    assert [tuple(targets.shape) for _, targets, _ in steps] == [(16, CLASSES), (16, CLASSES), (8, CLASSES)]
    for (_, targets, _), labels in zip(steps, own, strict=True):
        torch.testing.assert_close(targets.sum(1), torch.ones(len(labels)))
        partners = F.one_hot(labels, CLASSES) + F.one_hot(labels.roll(1), CLASSES)
        assert (targets[partners == 0] == 0).all() and (targets >= 0).all()
        share = targets[torch.arange(len(labels)), labels][labels != labels.roll(1)]
        assert torch.allclose(share, share[0]) and 0 <= share[0] <= 1
        shares.add(float(share[0]))
    wrong = sum(int((logits.argmax(1) != labels).sum()) for (logits, _, _), labels in zip(steps, own, strict=True))
    assert sums.top1 == wrong and sums.images == 40
    assert len(shares) == 3  # drawn anew for every step


@pytest.mark.parametrize("mix", ["mixup", "cutmix"])
def test_mixing_changes_the_images_and_keeps_their_shapes(micro: Compose, mix: str) -> None:
    trainer, shapes, inputs_of = trainer_of(micro(*STILL, f"aug/mix={mix}", "trainer.batch_size=20")), [], []
    hook = trainer.net.register_forward_pre_hook(
        lambda _, given: (shapes.append(tuple(given[0].shape)), inputs_of.append(given[0].clone()))[0]
    )
    train(trainer)
    hook.remove()
    assert shapes == [(20, 3, 27, 27)] * 4
    whole = [inputs for epoch in (0, 1) for inputs, _ in trainer.batches.epoch(epoch)]
    assert sum(torch.equal(*pair) for pair in zip(whole, inputs_of, strict=True)) < 2


RESUMED = {
    "mixup": ("aug/mix=mixup",),
    "cutmix": ("aug/mix=cutmix",),
    "autoaugment": ("aug/transform=autoaugment",),
    "randaugment": ("aug/transform=randaugment",),
    "label smoothing": ("regularizer/label_smoothing=on",),
    "averaged weights": ("regularizer/ema=on", "regularizer.ema.decay=0.9"),
}


@pytest.mark.parametrize("recipe", RESUMED)
def test_a_restored_trainer_goes_on_bit_for_bit(micro: Compose, tmp_path: Path, recipe: str) -> None:
    config = micro("trainer.batch_size=16", *RESUMED[recipe])
    whole, stopped, resumed = trainer_of(config), trainer_of(config), forgetful(config)
    sums = train(whole)
    train(stopped, 4)  # of 6 steps, 3 an epoch
    checkpoint.save(tmp_path / "checkpoint.pt", stopped, {})
    torch.rand(5)  # something else happens in between
    checkpoint.restore(tmp_path / "checkpoint.pt", resumed)
    later = train(resumed)
    assert later == sums[-len(later) :]
    assert same(parameters(whole), parameters(resumed))
    assert same(list(whole.evaluated.parameters()), list(resumed.evaluated.parameters()))


# --- label smoothing ---


def test_the_loss_of_smoothed_labels_is_that_of_its_definition(micro: Compose) -> None:
    still = (*STILL, "optim.learning_rate=0", "trainer.batch_size=40")
    trainer = trainer_of(micro(*still, "regularizer.label_smoothing.amount=0.3"))
    (inputs, labels), *_ = trainer.batches.epoch(0)
    with torch.no_grad():
        logits = trainer.net(inputs)
    first, _ = train(trainer)
    expected = F.cross_entropy(logits, labels, label_smoothing=0.3)
    by_hand = -(0.7 * logits.log_softmax(1)[torch.arange(40), labels] + 0.3 * logits.log_softmax(1).mean(1)).mean()
    assert first.loss == pytest.approx(float(expected), rel=1e-6)
    assert first.loss == pytest.approx(float(by_hand), rel=1e-5)


@pytest.mark.parametrize(("option", "amount"), [("off", 0.0), ("on", 0.1)])
def test_label_smoothing_reaches_the_loss(
    micro: Compose, seen: list[tuple[Tensor, Tensor, dict[str, Any]]], option: str, amount: float
) -> None:
    train(trainer_of(micro(f"regularizer/label_smoothing={option}")), stop_after=1)
    ((_, targets, more),) = seen
    assert more == {"label_smoothing": amount} and sorted(targets.tolist()) == sorted(some_labels().tolist())


# --- averaged weights ---


def averages(trainer: Trainer, decay: float) -> list[Tensor]:
    """Train to the end; the running average of the weights after each step, in float64."""
    average: list[Tensor] = []
    for step in trainer.steps():
        now = [value.detach().double() for value in trainer.net.parameters()]
        average = [decay * old + (1 - decay) * new for old, new in zip(average, now, strict=True)] if average else now
        if step.ends_epoch:
            trainer.close_epoch()
    return average


def test_the_evaluated_weights_are_the_running_average(micro: Compose) -> None:
    trainer = trainer_of(micro("trainer.batch_size=16", "regularizer.ema.decay=0.7"))
    expected = averages(trainer, 0.7)
    for found, value, last in zip(trainer.evaluated.parameters(), expected, trainer.net.parameters(), strict=True):
        torch.testing.assert_close(found.double(), value, rtol=1e-5, atol=1e-7)
        assert not torch.equal(found, last)


def test_averaging_does_not_disturb_training(micro: Compose) -> None:
    plain, averaged = trainer_of(micro()), trainer_of(micro("regularizer/ema=on"))
    assert train(plain) == train(averaged)
    assert same(parameters(plain), parameters(averaged))
    assert plain.evaluated is plain.net


def trained_by_hand(config: Config) -> Assembly:
    job = assemble(config, CPU)
    for step in job.trainer.steps():
        if step.ends_epoch:
            job.trainer.close_epoch()
    return job


def test_the_average_is_what_a_run_evaluates_and_keeps(micro: Compose) -> None:
    config = micro("regularizer.ema.decay=0.8", "trainer.epochs=1", "trainer.batch_size=512", "data.stored_px=27")
    result = run(config, "abc")
    kept = load_file(RunFolder(Path(config.paths.runs) / "abc").weights)
    job = trained_by_hand(config)
    average, last = job.trainer.evaluated.state_dict(), job.trainer.net.state_dict()
    assert set(kept) == set(average)
    assert all(torch.equal(kept[name], average[name]) for name in kept)
    assert not all(torch.equal(kept[name], last[name]) for name in kept)
    found = predict(
        job.trainer.evaluated,
        job.trainer.answer,
        job.packed.images["test"],
        job.parts.test,
        pixels=job.pixels,
        config=config.eval,
        all_views=False,
        device=CPU,
    )
    wrong = int((found.centre.argmax(1) != job.packed.labels["test"]).sum())
    assert result["errors"]["test"]["centre"]["top1"] == wrong


# --- the process ---


def test_a_run_leaves_torchs_generator_as_it_was(main: Main) -> None:
    torch.manual_seed(5)
    torch.rand(3)
    before = torch.get_rng_state()
    extras = ("aug/transform=randaugment", "aug/mix=mixup", "regularizer/ema=on", "optim=adamw")
    small = (
        "model.width=0.05",
        "trainer.epochs=1",
        "trainer.cpu_threads=1",
        "data.stored_px=27",
        "data.heldout_fraction=0.5",
    )
    assert main(*extras, *small) == 0
    assert torch.equal(torch.get_rng_state(), before)
