"""The worked example of parts of one's own runs as its README says."""

import copy
import importlib
import json
import re
import shlex
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from torch import nn

from alexnet_sweep import identity
from alexnet_sweep.assemble import Assembly, assemble
from alexnet_sweep.config import Config
from alexnet_sweep.groups import options
from alexnet_sweep.identity import plain, run_id, source_hash
from alexnet_sweep.precheck import DataFacts
from alexnet_sweep.store import RunFolder
from conftest import Compose, Main

EXAMPLE = Path(__file__).parents[1] / "examples" / "own_parts"
COMMANDS = re.findall(r"^    python -m (alexnet_sweep.*)$", (EXAMPLE / "README.md").read_text(), re.MULTILINE)
FILES = sorted(path.relative_to(EXAMPLE / "conf") for path in EXAMPLE.rglob("*.yaml"))
CHOICES = [f"{path.parent.as_posix()}={path.stem}" for path in FILES]  # model/net=tiny and so on

SMALL = (
    *("data=stripes", "data.custom.train_images=80", "data.custom.test_images=24"),
    *("trainer.epochs=1", "trainer.batch_size=24", "trainer.cpu_threads=1"),
)
TINY = ("--config-dir", "conf", "model/net=tiny", *SMALL)


@pytest.fixture
def example(main: Main, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A copy of the example, entered as a person enters it."""
    copy = tmp_path / "own_parts"
    shutil.copytree(EXAMPLE, copy, ignore=shutil.ignore_patterns("__pycache__", "runs", "reports"))
    monkeypatch.chdir(copy)
    monkeypatch.syspath_prepend(copy)
    forget()
    yield copy
    forget()


def forget() -> None:
    """As a new process knows nothing of the user's module yet."""
    sys.modules.pop("own_parts", None)
    importlib.invalidate_caches()
    identity.sources_hash.cache_clear()


def results() -> list[dict[str, Any]]:
    return [json.loads(path.read_text()) for path in sorted(Path("runs").glob("*/result.json"))]


def with_parts(example: Path, composed: Compose, *choices: str) -> Config:
    return composed(f"hydra.searchpath=[file://{example / 'conf'}]", "model.width=0.05", *SMALL, *choices)


def assembled(config: Config, tmp_path: Path) -> Assembly:
    config.paths.store = str(tmp_path / "store")
    return assemble(config, torch.device("cpu"))


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_of_the_readme_does_what_it_says(
    main: Main, example: Path, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    verb, *arguments = shlex.split(command)
    if verb == "alexnet_sweep.summary":
        assert main("summary", *arguments) == 0
        assert "total" in capsys.readouterr().out
        return
    width = () if "model/net=tiny" in arguments else ("model.width=0.05",)
    assert main(*arguments, *SMALL, *width) == 0
    swept = [argument.partition("=")[2].split(",") for argument in arguments if "," in argument]
    runs = int(np.prod([len(levels) for levels in swept]))
    assert len(results()) == runs
    reports = [path.read_text() for path in Path("reports").glob("*/README.md")]
    assert len(reports) == ("-m" in arguments)
    assert all(f"{runs} of {runs} runs done" in text for text in reports)


@pytest.mark.parametrize("choice", CHOICES)
def test_every_file_of_the_example_is_in_a_command(choice: str) -> None:
    group, _, name = choice.partition("=")
    words = [word for command in COMMANDS for word in shlex.split(command)]
    assert any(name in word.removeprefix(f"{group}=").split(",") for word in words if word.startswith(f"{group}="))


def test_an_option_keeps_what_it_does_not_set_of_ours(composed: Compose) -> None:
    texts = {path: (EXAMPLE / "conf" / path).read_text() for path in FILES}
    found = {path: re.search(r"defaults:\n  - \"?(\w+)\"?\n  - _self_\n", text) for path, text in texts.items()}
    bases = {path: match[1] if match else "none" for path, match in found.items()}
    assert all(base in options()[path.parent.as_posix()] for path, base in bases.items())
    ours = plain(composed(*(f"{path.parent.as_posix()}={base}" for path, base in bases.items())))
    theirs = plain(composed(f"hydra.searchpath=[file://{EXAMPLE / 'conf'}]", *CHOICES))
    for path, text in texts.items():
        one, other = ours, theirs
        for part in path.parent.parts:
            one, other = one[part], other[part]
        named = set(re.findall(r"^(\w+):", text, re.MULTILINE)) - {"defaults"}
        assert {key for key in one if one[key] != other[key]} <= named
        assert other.get("custom") or other.get("metrics")


def test_the_parts_are_those_that_train(example: Path, composed: Compose, tmp_path: Path) -> None:
    own = [choice for choice in CHOICES if not choice.startswith("model/net")]
    job = assembled(with_parts(example, composed, *own, "trainer.epochs=2"), tmp_path)
    kinds = [type(module) for module in job.trainer.net.modules()]
    assert kinds.count(nn.SiLU) == 7 and kinds.count(nn.BatchNorm2d) == 2 and kinds.count(nn.AvgPool2d) == 3
    assert not {nn.ReLU, nn.MaxPool2d} & set(kinds)
    assert isinstance(job.trainer.optimizer, torch.optim.RMSprop)
    assert job.packed.meta.class_names == ["thin_across", "thin_upright", "wide_across", "wide_upright"]
    assert [job.trainer.schedule.factor(epoch) for epoch in (0, 1)] == pytest.approx([1.0, 1.0])


def test_erasing_blackens_a_box_of_some_training_images(example: Path, composed: Compose, tmp_path: Path) -> None:
    def batch(*choices: str) -> torch.Tensor:
        still = ("aug/lighting=off", "trainer.batch_size=72")
        inputs, _ = next(assembled(with_parts(example, composed, *still, *choices), tmp_path).trainer.batches.epoch(0))
        return inputs

    whole, erased = batch(), batch("aug/transform=erase")
    touched = (whole != erased).flatten(1).any(1)
    assert 0.25 < touched.float().mean() < 0.75
    assert torch.equal(whole[~touched], erased[~touched])


def test_a_metric_is_recorded_for_each_split_and_view(main: Main, example: Path) -> None:
    assert main(*TINY, "eval=calibration") == 0
    (result,) = results()
    (folder,) = (RunFolder(path.parent) for path in Path("runs").glob("*/result.json"))
    table = pq.read_table(folder.predictions).to_pandas()
    assert set(result["errors"]) == {"test", "heldout"}
    for split, views in result["errors"].items():
        part = table[table["split"] == split]
        for view in ("centre", "ten"):
            # With one bin: how far the mean of the first answers' probabilities is from the share of right ones.
            first = part[f"{view}_best_probabilities"].map(lambda values: values[0]).mean()
            least = abs(first - (part[f"{view}_rank"] == 1).mean())
            assert least - 1e-6 <= views[view]["metrics"]["calibration_error"] <= 1
        assert set(views) == {"centre", "ten"}


def test_a_changed_line_makes_results_stale_and_a_start_says_so(
    main: Main, example: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(*TINY) == 0
    (before,) = results()
    assert "metrics" not in before["errors"]["test"]["ten"]  # where none is asked for
    capsys.readouterr()
    module = example / "own_parts.py"
    module.write_text(module.read_text() + "\n# another line\n")
    forget()
    assert main(*TINY) == 2
    printed = capsys.readouterr()
    assert "older training code" in printed.err and len(printed.err.strip().splitlines()) == 1
    assert printed.out == ""
    assert results() == [before]
    assert main(*TINY, "sweep.stale=retrain") == 0
    (after,) = results()
    new = {key: after[key] for key in ("source_hash", "digest")}
    assert after == before | new and after["source_hash"] != before["source_hash"]


def test_a_run_without_own_parts_knows_nothing_of_their_text(example: Path, composed: Compose) -> None:
    configs = [composed(), composed("aug/mix=mixup"), with_parts(example, composed, "schedule=warmup")]

    def hashes() -> list[str]:
        forget()
        return [source_hash(config) for config in configs]

    before = hashes()
    with (example / "own_parts.py").open("a") as stream:
        stream.write("\n# another line\n")
    after = hashes()
    assert before[:2] == after[:2] and before[2] != after[2]
    assert before[0] == before[1]  # torchvision's version is recorded instead


def test_an_argument_of_an_own_part_makes_another_run(example: Path, composed: Compose) -> None:
    config = composed(f"hydra.searchpath=[file://{example / 'conf'}]", *CHOICES)
    changed = {
        "model.net.custom": {"width": 4},
        "data.custom": {"seed": 1},
        "schedule.custom": {"fraction": 0.5},
        "optim.custom": {"alpha": 0.9},
        "aug.transform.custom": {"p": 0.1},
        "eval.metrics": {"calibration_error": {"_target_": "own_parts.calibration_error", "bins": 10}},
    }
    names = {run_id(config, DataFacts().fingerprint(config))}
    for key, arguments in changed.items():
        other = copy.deepcopy(config)
        node: Any = other
        for part in key.split("."):
            node = getattr(node, part)
        node |= arguments
        names.add(run_id(other, DataFacts().fingerprint(other)))
    assert len(names) == 1 + len(changed)


def test_the_same_stripes_are_the_same_data_and_others_are_not(example: Path) -> None:
    own_parts = importlib.import_module("own_parts")
    first = own_parts.Stripes(8, 4).content_id()
    assert own_parts.Stripes(8, 4).content_id() == first
    assert own_parts.Stripes(8, 4, seed=1).content_id() != first
    source = own_parts.Stripes(8, 4).open(example)
    assert [image.size for image in source.train.read(2, 5)] == [(32, 32)] * 3
    assert source.test.labels.tolist() == [0, 1, 2, 3] and len(set(source.train.ids)) == 8


def test_the_warm_up_rises_to_the_full_rate_and_falls_to_nothing(example: Path) -> None:
    warmup = importlib.import_module("own_parts").warmup
    factors = [warmup(epoch, 20, fraction=0.2) for epoch in range(20)]
    assert factors[:5] == [0.25, 0.5, 0.75, 1.0, 1.0]
    assert factors[4:] == sorted(factors[4:], reverse=True) and 0 < factors[-1] < 0.02
    assert warmup(0, 1) == 1.0


def test_the_calibration_error_is_that_of_its_definition(example: Path) -> None:
    error = importlib.import_module("own_parts").calibration_error
    rng = np.random.default_rng(0)
    probabilities = rng.dirichlet(np.ones(4), 300).astype(np.float32)
    labels = rng.integers(0, 4, 300)
    total = 0.0
    for low in np.arange(10) / 10:
        sure = probabilities.max(1)
        here = (sure >= low) & (sure < low + 0.1)
        if here.any():
            right = (probabilities.argmax(1) == labels)[here].mean()
            total += here.sum() * abs(right - sure[here].astype(float).mean())
    assert error(probabilities, labels, bins=10) == pytest.approx(total / 300, abs=1e-4)
    assert error(np.eye(4, dtype=np.float32), np.arange(4)) == 0.0
    assert error(np.eye(4, dtype=np.float32), np.array([1, 0, 3, 2])) == 1.0
