"""Parts of one's own: mistakes in them, what they count for, and that they train to the same bytes."""

import copy
import importlib
import json
import re
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file

from alexnet_sweep import identity
from alexnet_sweep.assemble import assemble
from alexnet_sweep.checks import check, refuse_unread
from alexnet_sweep.config import Config
from alexnet_sweep.errors import ConfigError, DataError, Interrupted, SweepError
from alexnet_sweep.job import run
from alexnet_sweep.model.build import build_model
from alexnet_sweep.precheck import DataFacts
from alexnet_sweep.store import RunFolder
from conftest import Compose, Main

Choose = Callable[[str, str], tuple[str, ...]]

SMALL = ("trainer.epochs=1", "trainer.cpu_threads=1", "eval.clean_train_images=64")
BYTES = ("metrics.csv", "predictions.parquet", "result.json", "weights.safetensors")

MODULE = '''
import numpy as np
import torch
from PIL import Image
from torch import nn

from alexnet_sweep.data.source import Source, Split



class Net(nn.Sequential):
    def __init__(self, classes, crop_px, width=4):
        side = ((crop_px - 5) // 2 + 1) // 4
        super().__init__(
            nn.Conv2d(3, width, 5, stride=2),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.AvgPool2d(4),
            nn.Flatten(),
            nn.Dropout(0.5),
            nn.Linear(width * side**2, classes),
        )


class Scaled(nn.Module):
    """A module with a parameter of its own around others with theirs."""

    def __init__(self, classes, crop_px):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))
        self.inner = nn.Linear(3, classes)

    def forward(self, images):
        return self.scale * self.inner(images.mean((2, 3)))


class Attending(nn.Module):
    """Calls a module's weights without calling the module that holds them (the attention's output projection)."""

    def __init__(self, classes, crop_px):
        super().__init__()
        self.first = nn.Linear(3, 4)
        self.attention = nn.MultiheadAttention(4, 2, batch_first=True)
        self.last = nn.Linear(4, classes)

    def forward(self, images):
        places = self.first(images[:, :, ::9, ::9].flatten(2).transpose(1, 2))
        return self.last(self.attention(places, places, places)[0].mean(1))


class Tied(nn.Module):
    """Two modules that share one parameter."""

    def __init__(self, classes, crop_px):
        super().__init__()
        self.one, self.two = nn.Linear(3, 3), nn.Linear(3, 3)
        self.two.weight = self.one.weight
        self.last = nn.Linear(3, classes)

    def forward(self, images):
        return self.last(self.two(self.one(images.mean((2, 3)))))


class NoCrop(nn.Module):
    def __init__(self, classes):
        super().__init__()


class Sloped(nn.Module):
    """An activation whose slope starts anywhere."""

    def __init__(self):
        super().__init__()
        self.slope = nn.Parameter(torch.rand(()))

    def forward(self, maps):
        return self.slope * maps.relu()


class Few:
    """Sixty images of noise to train on and twenty to test on, in five classes."""

    def content_id(self):
        return "sixty"

    def open(self, scratch):
        rng = np.random.default_rng(0)

        def split(count):
            pixels = rng.integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)
            names = [f"{row}" for row in range(count)]
            return Split(np.arange(count) % 5, names, lambda a, b: [Image.fromarray(one) for one in pixels[a:b]])

        return Source(list("abcde"), split(60), split(20))


class NoImages(Few):
    def open(self, scratch):
        raise RuntimeError("not here,\\nnot there")


class NoId(Few):
    def content_id(self):
        raise RuntimeError("not here,\\nnot there")


class Caching(Few):
    def open(self, scratch):
        (scratch / "cached").write_text("much")
        return super().open(scratch)


class NoMethods:
    pass


class NoOpen:
    def content_id(self):
        return "x"


def smaller():
    return lambda image: image[:, 1:, 1:]


def scaled():
    return lambda image: image.float() / 255


def share(probabilities, labels):
    return float((probabilities.argmax(1) == labels).mean())
'''
BASES = {
    "model/net": "alexnet",
    "model/activation": "relu",
    "model/lrn": '"on"',
    "model/pool": "overlap",
    "data": "digits",
    "aug/transform": "none",
    "aug/mix": "none",
    "optim": "sgd",
    "schedule": "constant",
    "eval": "probabilities",
}


@pytest.fixture
def choose(main: Main, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Choose]:
    """`choose("model/net", "{_target_: parts_of_test.Net}")`: the overrides that choose a part of one's own."""
    folder = tmp_path / "parts"
    folder.mkdir()
    (folder / "parts_of_test.py").write_text(MODULE)
    (folder / "raises_on_import.py").write_text("raise RuntimeError('not today,\\nnot tomorrow')\n")
    monkeypatch.syspath_prepend(folder)
    forget()

    def one(group: str, custom: str) -> tuple[str, ...]:
        text = f"defaults: [{BASES[group]}, _self_]\n"
        text += f"metrics: {{mine: {custom}}}\n" if group == "eval" else f"custom: {custom}\n"
        text += "name: mine\nsource: custom\n" if group == "data" else ""
        path = folder / "conf" / group / "mine.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return f"hydra.searchpath=[file://{folder / 'conf'}]", f"{group}=mine"

    yield one
    forget()


def forget() -> None:
    """As a new process knows nothing of the user's modules yet."""
    for name in ("parts_of_test", "raises_on_import"):
        sys.modules.pop(name, None)
    importlib.invalidate_caches()
    identity.sources_hash.cache_clear()


def with_values(config: Config, **values: Any) -> Config:
    """A copy of the config with other values; a key's dots are written as two underscores."""
    copied = copy.deepcopy(config)
    for key, value in values.items():
        *parents, last = key.split("__")
        node: Any = copied
        for name in parents:
            node = getattr(node, name)
        setattr(node, last, value)
    return copied


def target(name: str) -> str:
    return f"{{_target_: parts_of_test.{name}}}"


@pytest.fixture(scope="module")
def base(composed: Compose) -> Config:
    """Composed once: the tests that need no option file put their parts into copies of it."""
    return composed("model.width=0.05")


def with_part(config: Config, group: str, custom: str) -> Config:
    """As `choose` does it, without an option file."""
    value, key = yaml.safe_load(custom), group.replace("/", "__")
    if group == "eval":
        return with_values(config, eval__metrics={"mine": value})
    source = {"data__source": "custom"} if group == "data" else {}
    return with_values(config, **{f"{key}__custom": value}, **source)


# --- mistakes ---

NET = "{_target_: parts_of_test.Net, width: 4}"
MISTAKES = {
    "no such module": ("model/net", "{_target_: nowhere.Net}", r"model\.net\.custom\._target_=nowhere\.Net: cannot be"),
    "no such name": ("model/activation", target("Nothing"), r"_target_=parts_of_test\.Nothing: cannot be imported"),
    "no such name in a library": (
        "optim",
        "{_target_: torch.optim.Nope}",
        r"optim\.custom\._target_=torch\.optim\.Nope",
    ),
    "wrong argument": (
        "model/net",
        "{_target_: parts_of_test.Net, wdith: 4}",
        r"parts_of_test\.Net does not take .*wdith",
    ),
    "wrong argument of a metric": (
        "eval",
        "{_target_: parts_of_test.share, nope: 1}",
        r"eval\.metrics\.mine: parts_of_test\.share does not take these arguments .*nope",
    ),
    "no target": ("model/lrn", "{size: 3}", r"model\.lrn\.custom=\{'size': 3\}: has no _target_"),
    "empty": ("model/pool", "{}", r"model\.pool\.custom=\{\}: has no _target_"),
    "a target that is no word": ("schedule", "{_target_: 3}", r"schedule\.custom=.*: has no _target_"),
    "two dots": ("aug/mix", target(".Mix"), r"aug\.mix\.custom\._target_=parts_of_test\.\.Mix: cannot be imported"),
    "not a call": ("model/net", "{_target_: parts_of_test}", r"model\.net\.custom: parts_of_test does not take"),
    "raises on import": (
        "model/net",
        "{_target_: raises_on_import.Net}",
        r"cannot be imported \(.*not today, not tomorrow",
    ),
    "data without methods": ("data", target("NoMethods"), r"data\.custom: .*NoMethods has no method content_id"),
    "data without open": ("data", target("NoOpen"), r"data\.custom: .*NoOpen has no method open"),
    "data of a module that is not there": ("data", "{_target_: nowhere.Data}", r"data\.custom\._target_=nowhere\.Data"),
    "a mix of images that is not there": ("aug/mix", target("Mix"), r"aug\.mix\.custom\._target_=parts_of_test\.Mix"),
}


def refused(main: Main, capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The one line of a mistake that leaves nothing behind."""
    assert main(*arguments) == 2
    printed = capsys.readouterr()
    assert printed.out == "" and len(printed.err.strip().splitlines()) == 1, printed.err
    assert list(Path().iterdir()) == []
    return printed.err


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_told_of_in_one_line(base: Config, choose: Choose, mistake: str) -> None:
    group, custom, says = MISTAKES[mistake]
    with pytest.raises(SweepError, match=says) as caught:
        DataFacts().check(with_part(base, group, custom))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("mistake", "mode"),
    [
        ("raises on import", ()),
        ("data without open", ()),
        ("wrong argument", ("-m", "seed=0,1")),
        ("data without open", ("-m", "seed=0,1")),
    ],
)
def test_a_mistake_leaves_nothing_behind(
    main: Main, choose: Choose, capsys: pytest.CaptureFixture[str], mistake: str, mode: tuple[str, ...]
) -> None:
    group, custom, says = MISTAKES[mistake]
    assert re.search(says, refused(main, capsys, *mode, *choose(group, custom)))


@pytest.mark.parametrize("source", ["custom", "digits"])
def test_a_data_source_and_its_custom_part_go_together(base: Config, source: str) -> None:
    config = with_part(base, "data", target("Few")) if source == "digits" else base
    with pytest.raises(ConfigError, match=rf"data\.source={source}: data\.custom is (not )?set; the two go together"):
        check(with_values(config, data__source=source))


def test_a_transform_that_changes_the_shape_is_told_of_by_the_run(
    main: Main, choose: Choose, capsys: pytest.CaptureFixture[str]
) -> None:
    own = (*choose("data", target("Few")), *choose("aug/transform", target("smaller")))
    assert main(*own, "model.width=0.05", "trainer.batch_size=20", *SMALL) == 2
    *_, last = capsys.readouterr().err.strip().splitlines()
    assert re.match(
        r"aug\.transform\.custom: gives torch.uint8 images of \[3, 26, 26\]; allowed: torch.uint8 of \[3, 27, 27\], as",
        last,
    )
    (status,) = Path("runs").glob("*/status.json")
    assert json.loads(status.read_text())["state"] == "failed"
    assert not list(Path("runs").glob("*/result.json"))


UNREAD = {
    "conv_pool": {
        "model/pool=plain": "model.pool",
        "model.pool.size=2": "model.pool",
        "model/depth=six": "model.depth",
        "regularizer/dropout=off": "regularizer.dropout",
    },
    "conv_local": {"model/stem=px32": "model.stem", "model.net.hidden_units=8": "model.net.hidden_units"},
    "alexnet": {"model.local3_width=32": "model.local3_width"},
    "mine": {
        "model/pool=plain": "model.pool",
        "model/lrn=off": "model.lrn",
        "model.lrn.k=1": "model.lrn",
        "model/activation=tanh": "model.activation",
        "model.width=0.5": "model.width",
        "++model.bias.value=0": "model.bias",
        "regularizer.dropout.rate=0.1": "regularizer.dropout",
    },
}
READ = {
    "conv_pool": ("model/net=conv_pool", "model/lrn=off", "model.width=0.5", "model.net.hidden_units=8"),
    "conv_local": ("model.local3_width=32", "model/activation=tanh"),
    "alexnet": ("model/pool=plain", "model/stem=px32", "regularizer/dropout=off", "model.net.name=alexnet"),
    "mine": ("model/net=mine", "model.net.custom.width=2", "optim=adam", "regularizer/weight_decay=off", "seed=1"),
}


@pytest.mark.parametrize("net", UNREAD)
def test_what_a_net_does_not_read_is_refused_and_what_it_reads_is_not(base: Config, net: str) -> None:
    config = with_part(base, "model/net", NET) if net == "mine" else with_values(base, model__net__name=net)
    named = "model.net.custom" if net == "mine" else f"model/net={net}"
    refuse_unread(config, READ[net])
    for override, part in UNREAD[net].items():
        with pytest.raises(ConfigError, match=f"{re.escape(override)}: {named} does not read {part};"):
            refuse_unread(config, [*READ[net], override])


@pytest.mark.parametrize(("net", "mode"), [("conv_pool", ()), ("conv_pool", ("-m",)), ("mine", ())])
def test_an_override_that_is_not_read_is_one_line_and_leaves_nothing_behind(
    main: Main, choose: Choose, capsys: pytest.CaptureFixture[str], net: str, mode: tuple[str, ...]
) -> None:
    own = choose("model/net", NET)
    line = refused(main, capsys, *mode, own[0], f"model/net={net}", "model/pool=plain")
    assert line.startswith("model/pool=plain: ") and "does not read model.pool" in line


def test_what_only_one_of_the_swept_nets_reads_is_refused(
    main: Main, choose: Choose, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main("-m", *choose("model/net", target("Net")), "model/net=alexnet,mine", "model/pool=plain") == 2
    assert "model/pool=plain: model.net.custom does not read model.pool" in capsys.readouterr().err
    assert list(Path().iterdir()) == []


# --- what they count for ---


def test_the_identity_of_an_own_net_is_that_of_what_it_reads(base: Config) -> None:
    config = with_part(base, "model/net", NET)

    def name(**values: Any) -> str:
        return identity.run_id(with_values(config, **values), "mark")

    assert name() == name(model__lrn__k=9.0) == name(model__width=0.5) == name(regularizer__dropout__rate=0.1)
    wider = {"_target_": "parts_of_test.Net", "width": 8}
    assert len({name(), name(model__net__custom=wider), name(optim__name="adam"), name(seed=1)}) == 4


@pytest.mark.parametrize("key", ["model__activation", "model__pool", "optim", "aug__mix", "aug__transform", "schedule"])
def test_an_argument_counts_in_the_identity(base: Config, key: str) -> None:
    customs = [None, *({"_target_": "a.b", "width": width} for width in (1, 2, [1, 2], {"one": 1}))]
    names = {identity.run_id(with_values(base, **{f"{key}__custom": custom}), "mark") for custom in customs}
    assert len(names) == 5


def test_every_file_of_a_package_of_ones_own_counts_in_the_source_hash(
    base: Config, choose: Choose, tmp_path: Path
) -> None:
    inner = tmp_path / "parts/package_of_test/inner"
    inner.mkdir(parents=True)
    (inner.parent / "__init__.py").write_text("")
    (inner / "deep.py").write_text("one = 1\n")
    config = with_part(base, "model/activation", "{_target_: package_of_test.Part}")

    def digest() -> str:
        forget()
        return identity.source_hash(config)

    before = digest()
    assert digest() == before
    (inner / "deep.py").write_text("one = 2\n")
    assert digest() != before
    changed = digest()
    (inner / "deep.py").rename(inner.parent / "deep.py")  # the same text under another name to import
    assert digest() != changed


def test_a_nested_part_counts_in_the_source_hash_too(base: Config, choose: Choose, tmp_path: Path) -> None:
    custom = "{_target_: torch.nn.Sequential, _args_: [{_target_: torch.nn.ReLU}, {_target_: parts_of_test.Sloped}]}"
    config = with_part(base, "model/activation", custom)
    before = identity.source_hash(config)
    (tmp_path / "parts/parts_of_test.py").write_text(MODULE + "\n# another line\n")
    forget()
    assert identity.source_hash(config) != before


# --- the network ---


def summary(main: Main, capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, dict[str, int]]:
    """Layers by name, and `total`."""
    assert main("summary", "--json", *arguments) == 0
    found = json.loads(capsys.readouterr().out)
    return {row.pop("name"): row for row in found["layers"]} | {"total": found["total"]}


def test_the_summary_of_an_own_net_is_that_computed_by_hand(
    main: Main, choose: Choose, capsys: pytest.CaptureFixture[str]
) -> None:
    # 27 px crops: 12 px maps of 4 channels, averaged to 3 px.
    assert summary(main, capsys, *choose("model/net", NET)) == {
        "0": {"output": [4, 12, 12], "parameters": 4 * 75 + 4, "multiply_accumulates": 12 * 12 * 4 * 75},
        "1": {"output": [4, 12, 12], "parameters": 8, "multiply_accumulates": 0},
        "6": {"output": [10], "parameters": 36 * 10 + 10, "multiply_accumulates": 36 * 10},
        "total": {"parameters": 304 + 8 + 370, "multiply_accumulates": 43200 + 360},
    }


def test_the_summary_takes_arguments_and_classes(
    main: Main, choose: Choose, capsys: pytest.CaptureFixture[str]
) -> None:
    wide = summary(main, capsys, *choose("model/net", NET), "model.net.custom.width=8", "--classes", "3")
    assert wide["0"]["parameters"] == 8 * 75 + 8 and wide["6"]["parameters"] == 72 * 3 + 3


def test_a_run_records_the_counts_of_its_own_net(choose: Choose, micro: Compose) -> None:
    result = run(micro(*choose("data", target("Few")), *choose("model/net", NET), *FEW), "abc")
    assert (result["parameters"], result["multiply_accumulates"]) == (304 + 8 + 185, 43200 + 180)


def test_an_own_nets_start_follows_from_the_seed_alone(base: Config, choose: Choose) -> None:
    config = with_part(base, "model/net", NET)

    def start(**values: Any) -> list[list[float]]:
        before = torch.get_rng_state()
        net = build_model(with_values(config, **values), 10)
        assert torch.equal(torch.get_rng_state(), before)
        return [value.flatten().tolist() for value in net.state_dict().values()]

    torch.manual_seed(1)
    first = start()
    torch.manual_seed(2)
    assert start() == first and start(optim__name="adam") == first
    assert start(seed=1) != first


@contextmanager
def stopping_after(steps: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Ctrl-C after so many steps."""
    asked = 0

    def stop() -> int:
        nonlocal asked
        asked += 1
        return signal.SIGINT if asked >= steps else 0

    @contextmanager
    def stopped() -> Iterator[Callable[[], int]]:
        yield stop

    with monkeypatch.context() as patch:
        patch.setattr("alexnet_sweep.job.stop_on_signal", stopped)
        yield


def contents(config: Config) -> dict[str, bytes]:
    folder = RunFolder(Path(config.paths.runs) / "abc")
    return {name: (folder.path / name).read_bytes() for name in BYTES}


# Two epochs of three steps.
FEW = ("trainer.batch_size=20", "data.heldout_fraction=0.1", "trainer.epochs=2")
RECIPES = {
    "dropout, batch normalisation and RMSprop": (
        {"model/net": NET, "optim": "{_target_: torch.optim.RMSprop, momentum: 0.5}"},
        ("optim.learning_rate=0.001",),
    ),
    "a slope that learns, and averages": ({"model/activation": target("Sloped")}, ("regularizer.ema.decay=0.9",)),
    "batch normalisation in AlexNet": ({"model/lrn": "{_target_: torch.nn.BatchNorm2d}"}, ("aug/mix=mixup",)),
}


@pytest.mark.parametrize("recipe", RECIPES)
def test_stopped_and_resumed_or_run_twice_gives_the_same_bytes(
    choose: Choose, micro: Compose, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, recipe: str
) -> None:
    customs, more = RECIPES[recipe]
    own = [word for group, custom in {"data": target("Few"), **customs}.items() for word in choose(group, custom)]
    once = micro(*own, *FEW, *more, f"paths.store={tmp_path / 'store'}", f"paths.runs={tmp_path / 'once'}")
    twice = with_values(once, paths__runs=str(tmp_path / "twice"))
    run(once, "abc")
    with stopping_after(4, monkeypatch), pytest.raises(Interrupted):
        run(twice, "abc")
    torch.rand(7)  # something else happens in this process
    run(twice, "abc")
    assert contents(once) == contents(twice)
    log = RunFolder(tmp_path / "twice/abc").log.read_text()
    assert "resumed at epoch 2, step 1" in log


def test_the_running_statistics_of_an_own_net_are_kept_with_its_weights(choose: Choose, micro: Compose) -> None:
    config = micro(*choose("data", target("Few")), *choose("model/net", NET), *FEW)
    run(config, "abc")
    weights = load_file(RunFolder(Path(config.paths.runs) / "abc").weights)
    start = build_model(config, 5).state_dict()
    assert set(weights) == set(start)
    assert not torch.equal(weights["1.running_mean"], start["1.running_mean"])
    assert int(weights["1.num_batches_tracked"]) == 6


# --- mistakes that once went through ---


def test_a_part_can_be_named_on_the_command_line(composed: Compose, choose: Choose) -> None:
    choose("model/net", NET)
    config = composed("model.net.custom={_target_: parts_of_test.Net, width: 4}")
    assert config.model.net.custom == {"_target_": "parts_of_test.Net", "width": 4}


def test_a_module_around_others_is_not_counted_twice(
    main: Main, choose: Choose, capsys: pytest.CaptureFixture[str]
) -> None:
    total = summary(main, capsys, *choose("model/net", target("Scaled")))["total"]
    assert total == {"parameters": 1 + 40, "multiply_accumulates": 30}


def test_attention_is_counted_whole(main: Main, choose: Choose, capsys: pytest.CaptureFixture[str]) -> None:
    # 9 places of 4 channels: the first layer; queries, keys and values; scores; sums; the output; the last layer.
    macs = 9 * 3 * 4 + 9 * 4 * 12 + 9 * 9 * 4 + 9 * 9 * 4 + 9 * 4 * 4 + 40
    total = summary(main, capsys, *choose("model/net", target("Attending")))["total"]
    assert total == {"parameters": 16 + (48 + 12) + (16 + 4) + 50, "multiply_accumulates": macs}


def test_a_shared_parameter_is_counted_once(main: Main, choose: Choose, capsys: pytest.CaptureFixture[str]) -> None:
    rows = summary(main, capsys, *choose("model/net", target("Tied")))
    assert rows.pop("total")["parameters"] == 9 + 3 + 3 + 40
    assert min(row["parameters"] for row in rows.values()) > 0


def test_a_net_with_a_shared_parameter_is_recorded(choose: Choose, micro: Compose) -> None:
    run(micro(*choose("data", target("Few")), *choose("model/net", target("Tied")), *FEW), "abc")


def test_an_own_parts_start_follows_from_the_seed_alone(base: Config, choose: Choose) -> None:
    config = with_part(base, "model/activation", target("Sloped"))

    def slopes(seed: int) -> list[float]:
        net = build_model(with_values(config, seed=seed), 10)
        return [value.item() for name, value in net.state_dict().items() if name.endswith("slope")]

    torch.manual_seed(1)
    first = slopes(0)
    torch.manual_seed(2)
    assert slopes(0) == first
    assert slopes(1) != first


def test_a_sweep_of_nets_does_not_ask_whether_alexnet_would_fit(main: Main, choose: Choose) -> None:
    own = choose("model/net", NET)
    sizes = (*choose("data", target("Few")), "data.stored_px=12", "data.crop_px=12", "trainer.batch_size=20")
    alike = Path(own[0].removeprefix("hydra.searchpath=[file://").removesuffix("]")) / "model/net"
    (alike / "other.yaml").write_text((alike / "mine.yaml").read_text().replace("width: 4", "width: 8"))
    assert main("-m", own[0], "model/net=mine,other", *sizes, *SMALL) == 0


def test_a_transform_that_changes_the_type_is_refused(micro: Compose, choose: Choose) -> None:
    config = micro(*choose("data", target("Few")), *choose("aug/transform", target("scaled")), *FEW)
    batches = assemble(config, torch.device("cpu")).trainer.batches
    with pytest.raises(ConfigError, match=r"aug\.transform\.custom: .*float32"):
        next(batches.epoch(0))


def test_a_nested_part_that_is_not_there_is_refused_beforehand(base: Config, choose: Choose) -> None:
    custom = "{_target_: torch.nn.Sequential, _args_: [{_target_: parts_of_test.Nope}]}"
    with pytest.raises(ConfigError, match=r"parts_of_test\.Nope"):
        DataFacts().check(with_part(base, "model/activation", custom))


def test_a_net_that_does_not_take_what_it_is_called_with_is_refused_beforehand(base: Config, choose: Choose) -> None:
    with pytest.raises(ConfigError, match="crop_px"):
        DataFacts().check(with_part(base, "model/net", target("NoCrop")))


def test_an_argument_that_the_program_gives_is_refused(base: Config) -> None:
    with pytest.raises(ConfigError, match=r"optim\.custom.*lr"):
        DataFacts().check(with_part(base, "optim", "{_target_: torch.optim.RMSprop, lr: 0.1}"))


@pytest.mark.parametrize("name", ["NoImages", "NoId"])
def test_a_data_source_that_fails_is_told_of_in_one_line(base: Config, choose: Choose, name: str) -> None:
    with pytest.raises(DataError, match=rf"data\.custom: .*{name}.*not here, not there"):
        DataFacts().check(with_part(base, "data", target(name)))


def test_what_a_data_source_caches_is_removed(base: Config, choose: Choose, tmp_path: Path) -> None:
    config = with_values(with_part(base, "data", target("Caching")), paths__store=str(tmp_path / "store"))
    DataFacts().pack(config)
    assert list((tmp_path / "store").glob("*/meta.json")) and not list((tmp_path / "store").glob("**/cached"))


def test_a_wrong_argument_of_a_nested_part_is_not_called_a_misspelt_key(
    main: Main, capsys: pytest.CaptureFixture[str]
) -> None:
    argument = "aug.transform.custom.policy.value=nope"
    assert main("aug/transform=autoaugment", argument, "data.heldout_fraction=0.9", "model.width=0.05", *SMALL) == 2
    assert "no such key" not in capsys.readouterr().err


def test_the_decay_of_single_layers_of_an_own_net_can_be_set(base: Config, choose: Choose) -> None:
    DataFacts().check(with_values(with_part(base, "model/net", NET), regularizer__weight_decay__layers={"6": 0.1}))


def test_what_an_own_normaliser_does_not_read_is_refused(base: Config) -> None:
    config = with_values(with_part(base, "model/lrn", "{_target_: torch.nn.BatchNorm2d}"), model__lrn__k=3.0)
    with pytest.raises(ConfigError, match="does not read"):
        refuse_unread(config, ["model.lrn.k=3"])
