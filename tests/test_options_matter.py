"""No option is composed and then ignored: each one changes the model, a batch, an update, a rate or an answer."""

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from alexnet_sweep.assemble import Assembly, assemble
from alexnet_sweep.checks import unread
from alexnet_sweep.config import Config
from alexnet_sweep.data.pack import describe
from alexnet_sweep.data.splits import hold_out
from alexnet_sweep.errors import ConfigError
from alexnet_sweep.groups import options
from alexnet_sweep.model.plan import plan_layers
from alexnet_sweep.outcome import probabilities
from alexnet_sweep.precheck import DataFacts
from alexnet_sweep.schedule import Schedule
from conftest import Compose

CPU = torch.device("cpu")

# Where an option shows itself, by group; and what must be set beside it to see it.
SHOWN_BY = {
    "model/net": "model",
    "model/stem": "model",
    "model/topology": "model",
    "model/depth": "model",
    "model/lrn": "model",
    "model/pool": "model",
    "model/activation": "model",
    "model/init": "model",
    "model/bias": "model",
    "aug/crop": "batch",
    "aug/flip": "batch",
    "aug/lighting": "batch",
    "inputs": "batch",
    "aug/transform": "batch",
    "aug/mix": "training",
    "regularizer/label_smoothing": "training",
    "regularizer/ema": "evaluated",
    "regularizer/best_epoch": "epoch",  # tests/test_best_epoch.py
    "regularizer/dropout": "training",
    "regularizer/weight_decay": "training",
    "optim": "training",
    "schedule": "rates",
    "eval": "answers",
}
# Options that name the layers of another net than AlexNet.
FITS = {
    "model/init=cifar_conv_pool": "model/net=conv_pool",
    "model/init=cifar_conv_pool_hidden": "model/net=conv_pool_hidden",
    "model/init=cifar_conv_local": "model/net=conv_local",
    "regularizer/weight_decay=cifar_26pct": "model/net=conv_pool_hidden",
    "regularizer/weight_decay=cifar_19pct": "model/net=conv_pool",
    "regularizer/weight_decay=cifar_18pct": "model/net=conv_pool",
    "regularizer/weight_decay=cifar_13pct": "model/net=conv_local",
    "regularizer/weight_decay=cifar_11pct": "model/net=conv_local",
}
OWN_INIT = {
    "model/net=conv_pool": "model/init=cifar_conv_pool",
    "model/net=conv_pool_hidden": "model/init=cifar_conv_pool_hidden",
    "model/net=conv_local": "model/init=cifar_conv_local",
}
ROOM = ("data.stored_px=96", "data.crop_px=94")  # every stem fits, and px224 sees one window more than px227


def groups_of(shown_by: str) -> list[str]:
    return [group for group, shown in SHOWN_BY.items() if shown == shown_by]


def same(found: dict[str, Any]) -> list[tuple[str, str]]:
    """Pairs of options whose effects are equal."""
    return [(one, two) for one, two in itertools.combinations(found, 2) if found[one] == found[two]]


def fitting(option: str) -> list[str]:
    """The option, with the net that it is for and the initial weights that this net takes."""
    net = option if option in OWN_INIT else FITS.get(option)
    init = [OWN_INIT[net]] if net in OWN_INIT and not option.startswith("model/init") else []
    return [option, *([net] if net else []), *init]


@pytest.mark.parametrize("net", OWN_INIT)
def test_a_nets_own_options_matter_within_it(micro: Compose, net: str) -> None:
    inits = {name: seen(built(micro(net, name))) for name in (OWN_INIT[net], "model/init=he")}
    decays = [option for option, fits in FITS.items() if fits == net and "decay" in option]
    strong = ("optim.learning_rate=0.01", net, OWN_INIT[net])
    found = {name: trained(micro(*strong, name), 2).tolist() for name in (*decays, "regularizer/weight_decay=on")}
    assert same(inits) == [] and same(found) == []


@pytest.mark.parametrize("net", [None, *OWN_INIT])
def test_what_a_net_does_not_read_changes_nothing_in_it(micro: Compose, net: str | None) -> None:
    # Each of these is another value than the default's; those that the net reads are left out.
    others = {
        "model.stem": ["model/stem=px64", "data.crop_px=27"],
        "model.topology": ["model/topology=dense"],
        "model.depth": ["model/depth=six"],
        "model.pool": ["model/pool=plain"],
        "model.lrn.per_column": ["model.lrn.per_column=false"],
        "model.local3_width": ["model.local3_width=8"],
        "model.net.hidden_units": ["model.net.hidden_units=32"],
        "regularizer.dropout": ["regularizer/dropout=off"],
    }
    own = [] if net is None else [net, OWN_INIT[net]]
    unread_here = unread(micro(*own))
    assert set(unread_here) <= set(others)
    changed = [override for part in unread_here for override in others[part]]
    assert unread_here and repr(seen(built(micro(*own)))) == repr(seen(built(micro(*own, *changed))))


def test_a_nets_options_are_refused_for_another_net(micro: Compose) -> None:
    for option in FITS:
        with pytest.raises(ConfigError, match=r"no value for|has no layer"):
            DataFacts().check(micro(option))


def built(config: Config) -> Assembly:
    return assemble(config, CPU)


def test_every_group_is_looked_at_here() -> None:
    assert set(options()) == {*SHOWN_BY, "data", "experiment", "hydra/launcher"}


def seen(job: Assembly) -> Any:
    """The network's layers, initial weights, and answer to one fixed input."""
    net = job.trainer.net.eval()
    px = job.pixels.crop_px
    image = torch.randn((2, 3, px, px), generator=torch.Generator().manual_seed(0)) * 60
    with torch.inference_mode():
        answer = net(image)
    weights = [value.double().norm().item() for value in net.state_dict().values()]
    return repr(net), weights, answer.tolist()


@pytest.mark.parametrize("group", groups_of("model"))
def test_every_model_option_changes_the_network_or_its_start(micro: Compose, group: str) -> None:
    room = ROOM if group == "model/stem" else ()
    found = {name: seen(built(micro(*room, *fitting(f"{group}={name}")))) for name in options()[group]}
    # At this size the automatic stem *is* px64, as the next test proves.
    assert same(found) == ([("auto", "px64")] if group == "model/stem" else [])


@pytest.mark.parametrize(("crop_px", "stem"), [(27, "px32"), (53, "px64"), (224, "px224"), (227, "px227")])
def test_the_automatic_stem_is_proven_equal_to_the_named_one(composed: Compose, crop_px: int, stem: str) -> None:
    size = ("data.stored_px=256", f"data.crop_px={crop_px}")
    auto, named = composed(*size, "model/stem=auto"), composed(*size, f"model/stem={stem}")
    assert plan_layers(auto.model, crop_px, 10) == plan_layers(named.model, crop_px, 10)


@pytest.mark.parametrize("group", groups_of("batch"))
def test_every_augmentation_option_changes_the_batches(micro: Compose, group: str) -> None:
    def batch(name: str) -> Any:
        inputs, _ = next(built(micro(f"{group}={name}")).trainer.batches.epoch(0))
        return inputs.tolist()

    assert same({name: batch(name) for name in options()[group]}) == []


def trained(config: Config, steps: int) -> torch.Tensor:
    """All weights that are evaluated after some steps of training, the last of them in a second epoch."""
    job = built(config)
    taken = job.trainer.steps()
    for _ in range(steps):
        step = next(taken)
        if step.ends_epoch:
            job.trainer.close_epoch()
    return torch.cat([value.flatten() for value in job.trainer.evaluated.state_dict().values()])


@pytest.mark.parametrize("group", [*groups_of("training"), *groups_of("evaluated")])
def test_every_option_of_training_changes_the_weights(micro: Compose, group: str) -> None:
    # Two steps an epoch and a drop after the first: velocity=paper and velocity=torch differ only after a drop.
    two = ("trainer.batch_size=1000", "schedule.drop_fractions=[0.5]")
    found = {
        name: trained(micro(*two, f"{group}={name}"), 4).tolist()
        for name in options()[group]
        if f"{group}={name}" not in FITS
    }
    assert same(found) == []


def test_every_schedule_option_changes_the_learning_rates(composed: Compose) -> None:
    def rates(name: str) -> list[Any]:
        schedule = Schedule(composed(f"schedule={name}").schedule, 60)  # at 90, multistep and thirds are the same
        found = []
        for epoch in range(60):
            found += [schedule.factors(epoch), schedule.heldout_joined(epoch)]
            schedule.observe(0.5)
        return found

    assert same({name: rates(name) for name in options()["schedule"]}) == []


def test_every_eval_option_changes_the_averaged_answers(micro: Compose) -> None:
    job, rows = built(micro()), np.arange(20)

    def answers(name: str) -> Any:
        evaluation = micro(f"eval={name}").eval
        found = probabilities(job, evaluation, "test", rows, lambda: None, all_views=True)
        assert found.ten is not None
        return found.ten.tolist()

    assert same({name: answers(name) for name in options()["eval"]}) == []


def test_the_data_options_open_different_data(micro: Compose, photos: Path, tmp_path: Path) -> None:
    digits = describe(micro().data, tmp_path)
    drawn = describe(micro("data=synthetic").data, tmp_path)
    folder = describe(micro("data=folder", f"data.path={photos}").data, tmp_path)
    assert len({digits.fingerprint, drawn.fingerprint, folder.fingerprint}) == 3
    assert drawn.class_names[4:6] == ["red 10", "blue 2"] and drawn.counts == {"train": 1600, "test": 2000}
    originals = {
        name: micro(f"data={name}").data for name in ("imagenet", "imagenet2010", "imagenette", "tiny_imagenet")
    }
    assert len({(data.hub, data.test_split, data.stored_px) for data in originals.values()}) == 4
    assert folder.class_names == ["blue", "green", "red"] and folder.stored_px == 256


def changed(micro: Compose, *overrides: str) -> bool:
    """Whether two steps of training end elsewhere than with the defaults."""
    return not torch.equal(trained(micro(*overrides), 2), trained(micro(), 2))


@pytest.mark.parametrize(
    "override",
    [
        "seed=1",
        "model.width=0.1",
        "model.lrn.alpha=0.1",
        "model.lrn.alpha_convention=sum",
        "model.lrn.per_column=false",
        "model.lrn.first_position=before_activation",
        "model.lrn.second_position=after_pool",
        "aug.lighting.stop_fraction=0.0",
        "model.init.keep_gain=false",
        "data.heldout_fraction=0.2",
        "data.input_divisor=2",
        "data.stored_px=40",
        "optim.learning_rate=0.005",
        "optim.bias_learning_rate_factor=1",
        "optim.momentum=0.5",
        "trainer.batch_size=32",
        "trainer.clip_grad_norm=0.01",
        "trainer.precision=bf16",
        "trainer.memory_format=contiguous",
    ],
)
def test_a_key_that_no_option_sets_still_counts(micro: Compose, override: str) -> None:
    assert changed(micro, override)


def test_mirrored_views_and_clean_images_change_what_is_evaluated(micro: Compose) -> None:
    job = built(micro("eval.clean_train_images=7"))
    assert len(job.parts.clean) == 7 and set(job.parts.clean) <= set(job.parts.train)
    rows = np.arange(4)
    five = probabilities(job, micro().eval, "test", rows, lambda: None, all_views=True).ten
    ten = probabilities(job, micro("eval.mirrored_views=true").eval, "test", rows, lambda: None, all_views=True).ten
    assert five is not None and ten is not None and not np.array_equal(five, ten)


def test_the_heldout_part_is_the_same_for_every_seed(micro: Compose) -> None:
    one, two = built(micro("seed=0")), built(micro("seed=5"))
    assert np.array_equal(one.parts.heldout, two.parts.heldout)
    labels = one.packed.labels["train"]
    assert np.array_equal(one.parts.heldout, hold_out(labels, 0.1, "heldout")[1])
