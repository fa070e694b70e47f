"""The training loop and its checkpoints: overfitting, counting, clipping, stopping and going on."""

import copy
import csv
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from torch.nn import functional as F

from alexnet_sweep import checkpoint, job
from alexnet_sweep.assemble import MEMORY_FORMATS, effective_memory_format
from alexnet_sweep.backend import KEEPING, USUAL, backend, set_allocator
from alexnet_sweep.cli import run_one
from alexnet_sweep.data.batches import Pixels, TrainingBatches
from alexnet_sweep.errors import FolderError, Interrupted
from alexnet_sweep.model.build import build_model
from alexnet_sweep.optim import build_optimizer
from alexnet_sweep.schedule import Schedule
from alexnet_sweep.store import RunFolder
from alexnet_sweep.train import Trainer, effective_precision

CPU = torch.device("cpu")
IMAGES, CLASSES = 40, 7
STILL = ("regularizer/dropout=off", "aug/crop=off", "aug/flip=off", "aug/lighting=off")
OBSERVED = [0.5, 0.5, 0.5, 0.4, 0.4, 0.4]  # held-out errors, an epoch each


def some_images(count: int = IMAGES) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, 3, 32, 32), dtype=np.uint8)


def some_labels(count: int = IMAGES) -> np.ndarray:
    return np.random.default_rng(1).integers(0, CLASSES, count)


def trainer_of(config, count: int = IMAGES) -> Trainer:
    """A trainer on noise; the pixels' mean and colours are made up, and a held-out part is the last quarter."""
    memory_format = MEMORY_FORMATS[effective_memory_format(config, CPU)]
    colours = (torch.tensor([5000.0, 900, 100]), torch.eye(3))
    pixels = Pixels(torch.full((3, 27, 27), 127.0), *colours, 27, 1.0, memory_format)
    net, schedule = build_model(config, CLASSES), Schedule(config.schedule, config.trainer.epochs)
    net.to(memory_format=memory_format)
    alone = config.schedule.heldout_joins_fraction is None
    return Trainer(
        net,
        TrainingBatches(
            some_images(count),
            some_labels(count),
            lambda epoch: np.arange(count if alone or schedule.heldout_joined(epoch) else count * 3 // 4),
            pixels=pixels,
            aug=config.aug,
            batch_size=config.trainer.batch_size,
            seed=config.seed,
            device=CPU,
            epochs=config.trainer.epochs,
        ),
        build_optimizer(net, config.optim, config.regularizer.weight_decay),
        schedule,
        config=config.trainer,
        optim=config.optim,
        device=CPU,
        classes=CLASSES,
        mix=config.aug.mix,
        regularizer=config.regularizer,
    )


def train(trainer: Trainer, stop_after: int | None = None) -> list:
    """Train to the end, or for so many steps; returns the sums of the epochs that ended."""
    sums = []
    for done, step in enumerate(trainer.steps(), start=1):
        if step.ends_epoch:
            sums.append(trainer.epoch_sums())
            trainer.schedule.observe(OBSERVED[step.epoch])
            trainer.keep_if_best(OBSERVED[step.epoch])
            trainer.close_epoch()
        if done == stop_after:
            break
    return sums


def parameters(trainer: Trainer) -> list[torch.Tensor]:
    return [value.detach().clone() for value in trainer.net.parameters()]


def same(first: list[torch.Tensor], second: list[torch.Tensor]) -> bool:
    return all(torch.equal(*pair) for pair in zip(first, second, strict=True))


def forgetful(config) -> Trainer:
    """A trainer of the same config whose weights are wiped: what it knows, it must take from the state."""
    trainer = trainer_of(config)
    with torch.no_grad():
        for value in trainer.net.parameters():
            value.zero_()
    return trainer


def test_one_batch_is_overfit_to_near_zero_loss(micro):
    config = micro(*STILL, "model.width=0.1", "schedule=constant", "trainer.epochs=60", "optim.learning_rate=0.003")
    trainer = trainer_of(config, count=16)
    losses = []
    for step in trainer.steps():
        assert step.number == 0
        losses.append(trainer.epoch_sums().loss)
        trainer.close_epoch()
    assert losses[0] > 1.5
    assert losses[-1] < 0.01


def test_steps_tell_where_training_stands(micro):
    trainer, told = trainer_of(micro("trainer.batch_size=16")), []
    for step in trainer.steps():
        told.append((step.epoch, step.number, step.before, step.total, step.ends_epoch))
        if step.ends_epoch:
            trainer.close_epoch()
    assert told == [(epoch, number, 3 * epoch, 6, number == 2) for epoch in (0, 1) for number in (0, 1, 2)]


RESUMED = {
    "sgd": ("schedule=multistep", "schedule.drop_epochs=[1,2]"),
    "sgd-with-torch-velocity": ("optim=sgd_torch", "schedule=multistep", "schedule.drop_epochs=[1,2]"),
    "adam": ("optim=adam",),
    "adamw": ("optim=adamw", "schedule=cosine"),
    "plateau": ("schedule=plateau", "schedule.patience_epochs=1", "data.heldout_fraction=0.1"),
    "clipped": ("trainer.clip_grad_norm=0.5",),
    "bf16": ("trainer.precision=bf16",),
    "contiguous": ("trainer.memory_format=contiguous",),
}


@pytest.mark.parametrize("stop_after", [1, 3, 5])  # of 9 steps, 3 an epoch
@pytest.mark.parametrize("recipe", RESUMED)
def test_a_restored_trainer_goes_on_bit_for_bit(micro, tmp_path, recipe, stop_after):
    config = micro("trainer.batch_size=16", "trainer.epochs=3", *RESUMED[recipe])
    whole = trainer_of(config)
    all_sums = train(whole)
    stopped = trainer_of(config)
    train(stopped, stop_after)
    checkpoint.save(tmp_path / "checkpoint.pt", stopped, {})
    resumed = forgetful(config)
    checkpoint.restore(tmp_path / "checkpoint.pt", resumed)
    sums = train(resumed)
    assert same(parameters(whole), parameters(resumed))
    assert sums == all_sums[-len(sums) :]
    assert resumed.learning_rate == whole.learning_rate


@pytest.mark.parametrize(("saved", "goes_on"), [("contiguous", "channels_last"), ("channels_last", "contiguous")])
@pytest.mark.parametrize("optim", ["sgd", "adam"])
def test_a_trainer_restored_in_the_other_memory_format_goes_on_as_in_its_own(micro, tmp_path, optim, saved, goes_on):
    def ended_in(memory_format: str) -> list[torch.Tensor]:
        config = micro("trainer.batch_size=16", f"optim={optim}", f"trainer.memory_format={memory_format}")
        trainer = forgetful(config)
        checkpoint.restore(tmp_path / "checkpoint.pt", trainer)
        train(trainer, stop_after=2)
        for parameter, state in trainer.optimizer.state.items():
            assert all(v.stride() == parameter.stride() for v in state.values() if v.shape == parameter.shape)
        return parameters(trainer)

    stopped = trainer_of(micro("trainer.batch_size=16", f"optim={optim}", f"trainer.memory_format={saved}"))
    train(stopped, 2)
    checkpoint.save(tmp_path / "checkpoint.pt", stopped, {})
    own, other = ended_in(saved), ended_in(goes_on)
    # Adam makes much of gradients near zero, where the formats round apart.
    assert all(
        torch.allclose(*pair, rtol=1e-3, atol=1e-5 if optim == "sgd" else 1e-3) for pair in zip(own, other, strict=True)
    )


def test_the_learning_rate_falls_with_the_schedule(micro):
    trainer = trainer_of(micro("trainer.epochs=3", "schedule=multistep", "schedule.drop_epochs=[1,2]"))
    rates = []
    for _ in trainer.steps():
        rates.append(trainer.learning_rate)
        trainer.close_epoch()
    assert rates == pytest.approx([0.01, 0.001, 0.0001])


def test_plateau_falls_once_the_heldout_error_stops_improving(micro):
    plateau = ("schedule=plateau", "schedule.patience_epochs=1", "data.heldout_fraction=0.1", "trainer.epochs=4")
    trainer = trainer_of(micro(*plateau))
    rates = []
    for step in trainer.steps():
        rates.append(trainer.learning_rate)
        trainer.schedule.observe(OBSERVED[step.epoch])
        trainer.close_epoch()
    assert rates == pytest.approx([0.01, 0.01, 0.001, 0.0001])


def test_training_twice_is_bit_for_bit_the_same(micro):
    first, second = trainer_of(micro()), trainer_of(micro())
    train(first)
    torch.manual_seed(123)
    train(second)
    assert same(parameters(first), parameters(second))


def test_an_epoch_is_never_silently_left_open(micro):
    with pytest.raises(AssertionError, match="close_epoch"):
        list(trainer_of(micro()).steps())


def test_epoch_sums_count_every_image_once(micro):
    # Nothing moves and nothing is random: the sums must be those of one pass over all images.
    trainer = trainer_of(micro(*STILL, "optim.learning_rate=0", "trainer.batch_size=16", "trainer.epochs=1"))
    (sums,) = train(trainer)
    with torch.no_grad():
        centre = torch.from_numpy(some_images()[:, :, 2:29, 2:29]).float() - 127.0
        logits, labels = trainer.net(centre), torch.from_numpy(some_labels())
    best = logits.topk(5).indices
    assert sums.images == IMAGES
    assert sums.loss == pytest.approx(float(F.cross_entropy(logits, labels)), rel=1e-5)
    assert sums.top1 == int((best[:, 0] != labels).sum())
    assert sums.top5 == int((best != labels[:, None]).all(1).sum())


def test_sums_start_anew_with_each_epoch(micro):
    trainer = trainer_of(micro("trainer.batch_size=16"))
    train(trainer, stop_after=4)
    assert trainer.epoch_sums().images == 16


def test_five_classes_have_no_top5(micro):
    trainer = trainer_of(micro("trainer.epochs=1"))
    trainer.classes = 5
    assert train(trainer)[0].top5 is None


def update_of(config) -> list[torch.Tensor]:
    """How one step moves the parameters."""
    trainer = trainer_of(config)
    before = parameters(trainer)
    train(trainer, stop_after=1)
    return [after - start for after, start in zip(parameters(trainer), before, strict=True)]


def norm(values: list[torch.Tensor]) -> float:
    return float(torch.cat([value.flatten() for value in values]).norm())


ONE_RATE = ("optim.bias_learning_rate_factor=1", "regularizer/weight_decay=off")


def test_clipping_leaves_a_gradient_below_the_norm_alone(micro):
    free, clipped = update_of(micro(*ONE_RATE)), update_of(micro(*ONE_RATE, "trainer.clip_grad_norm=1e9"))
    assert same(free, clipped)


def test_clipping_shortens_a_gradient_above_the_norm_and_keeps_its_direction(micro):
    free = update_of(micro(*ONE_RATE))
    length = norm(free) / 0.01  # the gradient's
    clipped = update_of(micro(*ONE_RATE, f"trainer.clip_grad_norm={length / 4}"))
    assert norm(clipped) == pytest.approx(norm(free) / 4, rel=1e-3)
    for short, long in zip(clipped, free, strict=True):
        torch.testing.assert_close(4 * short, long, rtol=1e-2, atol=1e-6)


def test_dropout_changes_with_every_step(micro):
    trainer, steps = trainer_of(micro("trainer.batch_size=16")), []
    for step in trainer.steps():
        steps.append(trainer.net.drop6.step)
        if step.ends_epoch:
            trainer.close_epoch()
    assert steps == [0, 1, 2, 3, 4, 5]


def test_the_net_is_in_training_mode_after_an_evaluation_between_epochs(micro):
    trainer, modes = trainer_of(micro()), []
    for _ in trainer.steps():
        modes.append(trainer.net.training)
        trainer.net.eval()
        trainer.close_epoch()
    assert modes == [True, True]


def test_automatic_precision_on_a_cpu_is_fp32():
    assert effective_precision("auto", CPU) == "fp32"
    assert effective_precision("bf16", CPU) == "bf16"


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_reduced_precision_keeps_weights_in_float32_and_finite(micro, precision):
    trainer = trainer_of(micro(f"trainer.precision={precision}", "trainer.epochs=1"))
    (sums,) = train(trainer)
    assert all(value.dtype == torch.float32 and torch.isfinite(value).all() for value in trainer.net.parameters())
    assert np.isfinite(sums.loss)


def test_a_checkpoint_gives_back_all_it_was_given(micro, tmp_path):
    config = micro("trainer.batch_size=16")
    trainer = trainer_of(config)
    train(trainer, stop_after=5)
    rows = [{"epoch": 1, "train_loss": 0.1 + 0.2, "heldout_top1_error": None}]
    checkpoint.save(tmp_path / "checkpoint.pt", trainer, {"rows": rows})
    other = forgetful(config)
    assert checkpoint.restore(tmp_path / "checkpoint.pt", other) == {"rows": rows}
    assert (other.epoch, other.next_step) == (1, 2)
    assert other.epoch_sums() == trainer.epoch_sums()
    assert same(parameters(trainer), parameters(other))
    assert other.schedule.state() == trainer.schedule.state()


def test_saving_does_not_disturb_training(micro, tmp_path):
    config = micro("trainer.batch_size=16")
    quiet, saving = trainer_of(config), trainer_of(config)
    train(quiet)
    for step in saving.steps():
        checkpoint.save(tmp_path / "checkpoint.pt", saving, {})
        if step.ends_epoch:
            saving.close_epoch()
    assert same(parameters(quiet), parameters(saving))


def test_a_later_checkpoint_takes_the_place_of_an_earlier_one(micro, tmp_path):
    trainer, path = trainer_of(micro("trainer.batch_size=16")), tmp_path / "checkpoint.pt"
    checkpoint.save(path, trainer, {})
    train(trainer, stop_after=2)
    checkpoint.save(path, trainer, {})
    checkpoint.restore(path, trainer)
    assert trainer.next_step == 2
    assert [item.name for item in tmp_path.iterdir()] == ["checkpoint.pt"]


def cut(content: bytes) -> bytes:
    return content[: len(content) // 2]


def scratched(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[: middle - 500] + bytes(1000) + content[middle + 500 :]


@pytest.mark.parametrize(
    "damage",
    [cut, lambda content: b"", lambda content: b"not a checkpoint", lambda content: scratched(content[:3000])],
    ids=["cut", "empty", "text", "scratched"],
)
def test_a_damaged_checkpoint_is_reported_with_its_path_and_the_way_out(micro, tmp_path, damage):
    trainer, path = trainer_of(micro()), tmp_path / "checkpoint.pt"
    checkpoint.save(path, trainer, {})
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(FolderError) as caught:
        checkpoint.restore(path, trainer)
    assert str(caught.value).startswith(f"{path}: cannot be resumed from")
    assert "delete the file" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_checkpoint_of_another_format_is_refused(micro, tmp_path):
    trainer, path = trainer_of(micro()), tmp_path / "checkpoint.pt"
    torch.save({"format": 1, "trainer": copy.deepcopy(trainer.state()), "history": {}}, path)
    with pytest.raises(FolderError, match="no digest at its end: cut short, or written by an older version"):
        checkpoint.restore(path, trainer)


def test_a_checkpoint_of_another_net_is_refused(micro, tmp_path):
    path = tmp_path / "checkpoint.pt"
    checkpoint.save(path, trainer_of(micro("model.width=0.1")), {})
    with pytest.raises(FolderError, match="cannot be resumed from"):
        checkpoint.restore(path, trainer_of(micro()))


# --- a held-out part that is trained on too, from some epoch on ---

JOINS = ("trainer.epochs=4", "schedule=fractions", "schedule.heldout_joins_fraction=0.5")


def test_steps_add_up_across_the_epoch_in_which_the_heldout_part_joins(micro):
    trainer, told = trainer_of(micro("trainer.batch_size=16", *JOINS)), []
    for step in trainer.steps():
        told.append((step.epoch, step.number, step.before, step.total, step.ends_epoch))
        assert trainer.steps_done == step.before + step.number + 1
        if step.ends_epoch:
            trainer.close_epoch()
    before = {0: 0, 1: 2, 2: 4, 3: 7}  # 30 images are two steps of 16, 40 are three
    steps = [(epoch, number) for epoch in range(4) for number in range(2 if epoch < 2 else 3)]
    assert told == [(epoch, n, before[epoch], 10, n == (1 if epoch < 2 else 2)) for epoch, n in steps]


def test_sums_of_an_epoch_count_the_joined_images_too(micro):
    sums = train(trainer_of(micro("trainer.batch_size=16", *JOINS)))
    assert [epoch.images for epoch in sums] == [30, 30, 40, 40]


@pytest.mark.parametrize("stop_after", [3, 4, 5, 7])  # before the change, at it, within its epoch and after it
def test_a_trainer_restored_on_either_side_of_the_change_goes_on_bit_for_bit(micro, tmp_path, stop_after):
    config = micro("trainer.batch_size=16", *JOINS)
    whole, stopped, resumed = trainer_of(config), trainer_of(config), forgetful(config)
    train(whole)
    train(stopped, stop_after)
    checkpoint.save(tmp_path / "checkpoint.pt", stopped, {})
    checkpoint.restore(tmp_path / "checkpoint.pt", resumed)
    train(resumed)
    assert same(parameters(whole), parameters(resumed))


ON_DIGITS = (*JOINS, "trainer.batch_size=512", "data.heldout_fraction=0.25", "eval.clean_train_images=8")


def metrics(folder: RunFolder) -> list[dict[str, str]]:
    with folder.metrics.open() as stream:
        return list(csv.DictReader(stream))


def left_by(folder: RunFolder) -> list[bytes]:
    return [path.read_bytes() for path in (folder.weights, folder.metrics, folder.predictions)]


@pytest.fixture(scope="module")
def joined(composed, tmp_path_factory):
    """A config whose held-out part joins the third of four epochs, and the folder and result of a run of it."""
    small = ("model.width=0.05", "trainer.cpu_threads=1", f"paths.runs={tmp_path_factory.mktemp('runs')}")
    config = composed(*small, *ON_DIGITS)
    result = job.run(config, "0" * 16)
    return config, RunFolder(Path(config.paths.runs) / ("0" * 16)), result


def test_a_run_whose_heldout_part_joined_has_no_metrics_of_it_from_then_on(joined):
    rows = metrics(joined[1])
    assert [row["heldout_images"] for row in rows] == ["359", "359", "0", "0"]  # a quarter of 1,437
    assert [row["heldout_top1_error"] != "" for row in rows] == [True, True, False, False]
    assert [row["heldout_top5_error"] != "" for row in rows] == [True, True, False, False]


def test_a_run_whose_heldout_part_joined_has_no_result_of_it(joined):
    _, folder, result = joined
    assert set(result["errors"]) == {"test"}
    assert (result["data"]["train_images"], result["data"]["heldout_images"]) == (1437, 0)
    assert set(pq.read_table(folder.predictions).column("split").to_pylist()) == {"test"}


def test_a_run_whose_heldout_part_stays_apart_has_a_result_of_it(micro):
    config = micro(*ON_DIGITS, "schedule.heldout_joins_fraction=null", "trainer.epochs=1")
    result = job.run(config, "1" * 16)
    assert set(result["errors"]) == {"test", "heldout"}
    assert (result["data"]["train_images"], result["data"]["heldout_images"]) == (1078, 359)


@pytest.mark.parametrize("after", [1, 2, 3])
def test_a_run_stopped_on_either_side_of_the_change_ends_with_the_same_bytes(joined, monkeypatch, after):
    config, undisturbed, _ = joined
    save, stopped = checkpoint.save, RunFolder(Path(config.paths.runs) / (f"{after}" * 16))

    def saving(path, trainer, history):
        save(path, trainer, history)
        if trainer.epoch == after:
            raise Interrupted("enough")

    with monkeypatch.context() as patched:
        patched.setattr(checkpoint, "save", saving)
        with pytest.raises(Interrupted):
            job.run(config, stopped.run_id)
    assert len(metrics(stopped)) == after and not stopped.weights.is_file()
    job.run(config, stopped.run_id)
    assert left_by(stopped) == left_by(undisturbed)


# --- how maps lie in memory ---


def test_automatic_memory_format_is_channels_last_but_for_parts_of_the_users_own(micro):
    own = {"_target_": "somewhere.Own"}
    assert effective_memory_format(micro(), CPU) == "channels_last"
    assert effective_memory_format(micro("trainer.memory_format=contiguous"), CPU) == "contiguous"
    assert effective_memory_format(micro(), torch.device("mps")) == "contiguous"
    for part in ("net", "lrn", "pool", "activation"):
        config = micro()
        getattr(config.model, part).custom = own
        assert effective_memory_format(config, CPU) == "contiguous"
    cuda = torch.device("cuda")
    assert effective_memory_format(micro("trainer.precision=fp32"), cuda) == "contiguous"
    assert effective_memory_format(micro("trainer.precision=bf16"), cuda) == "channels_last"


@pytest.mark.parametrize("net", ["model/net=alexnet", "model/net=conv_pool", "model/net=conv_local"])
def test_the_order_in_memory_changes_an_update_by_rounding_alone(micro, net):
    init = [] if net == "model/net=alexnet" else [net.replace("net=", "init=cifar_")]
    one, other = (
        update_of(micro(net, *init, f"trainer.memory_format={name}")) for name in ("channels_last", "contiguous")
    )
    for last, first in zip(one, other, strict=True):
        torch.testing.assert_close(last, first, rtol=1e-3, atol=1e-4 * float(first.abs().max()) + 1e-12)


def test_kernels_lie_in_memory_as_configured_after_a_resumption(micro, tmp_path):
    config = micro("trainer.batch_size=16")
    trainer, resumed = trainer_of(config), forgetful(config)
    train(trainer, stop_after=2)
    checkpoint.save(tmp_path / "checkpoint.pt", trainer, {})
    checkpoint.restore(tmp_path / "checkpoint.pt", resumed)
    for weight in (resumed.net.conv2.weight, resumed.optimizer.state[resumed.net.conv2.weight]["momentum_buffer"]):
        assert weight.is_contiguous(memory_format=torch.channels_last) and not weight.is_contiguous()


def test_what_was_chosen_is_recorded_and_tf32_is_as_before_after_a_run(micro):
    before = torch.backends.cudnn.allow_tf32
    config = micro("trainer.device=cpu", "trainer.epochs=1", "eval.clean_train_images=0", "data.heldout_fraction=0")
    effective = run_one(config)["effective"]
    assert (effective["memory_format"], effective["tf32"]) == ("channels_last", False)
    assert torch.backends.cudnn.allow_tf32 == before
    with backend(micro("trainer.tf32=true").trainer):
        assert torch.backends.cudnn.allow_tf32 and torch.backends.cuda.matmul.allow_tf32
    with backend(micro().trainer):
        assert not torch.backends.cudnn.allow_tf32 and not torch.backends.cuda.matmul.allow_tf32
    assert torch.backends.cudnn.allow_tf32 == before


def test_freed_memory_is_kept_for_the_length_of_a_run_alone(micro, monkeypatch):
    told = []
    monkeypatch.setattr("alexnet_sweep.backend.set_allocator", told.append)
    with pytest.raises(KeyError), backend(micro().trainer):
        assert told == [{-1: 2**31 - 1, -4: 0}]
        raise KeyError
    assert told[1:] == [{-1: 128 * 1024, -4: 65536}]


def test_the_allocator_takes_its_settings():
    set_allocator(KEEPING)
    try:
        assert torch.zeros(10_000_000).sum() == 0
    finally:
        set_allocator(USUAL)


def test_a_checkpoint_that_is_cut_short_or_has_a_flipped_bit_is_refused(micro, tmp_path):
    path, trainer = tmp_path / "checkpoint.pt", trainer_of(micro())
    checkpoint.save(path, trainer, {"rows": []})
    whole, draw = path.read_bytes(), np.random.default_rng(0)
    for place in draw.integers(0, len(whole), 40):
        flipped = whole[:place] + bytes([whole[place] ^ (1 << int(draw.integers(8)))]) + whole[place + 1 :]
        for content in (whole[:place], flipped):
            path.write_bytes(content)
            with pytest.raises(FolderError, match="cannot be resumed from"):
                checkpoint.restore(path, trainer)
    path.write_bytes(whole)
    assert checkpoint.restore(path, trainer) == {"rows": []}
