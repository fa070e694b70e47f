"""run_id: one id for every spelling, another for every value that can change a result."""

import dataclasses
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alexnet_sweep.checks import UNREAD
from alexnet_sweep.config import Config, leaves
from alexnet_sweep.groups import options
from alexnet_sweep.identity import (
    EVALUATION_KEYS,
    FREE_KEYS,
    TRAINING_SOURCES,
    arm_id,
    run_id,
    source_hash,
    training_id,
)
from conftest import Compose

MARK = "0" * 16


@pytest.fixture(scope="module")
def default(hydra_ready: None) -> Config:
    from hydra import compose
    from omegaconf import open_dict, read_write

    from alexnet_sweep.cli import typed

    config = compose("config")
    with read_write(config), open_dict(config):
        config.pop("hydra", None)
    return typed(config)


def replaced(config: Any, key: str, value: Any) -> Any:
    """A copy of a nested dataclass with one dotted key changed."""
    first, _, rest = key.partition(".")
    if rest:
        value = replaced(getattr(config, first), rest, value)
    return dataclasses.replace(config, **{first: value})


def other(value: Any) -> Any:
    """A value of the same kind that is not the same."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, list):
        return [*value, 7]
    if isinstance(value, int | float):
        return value + 1
    if isinstance(value, dict):
        return {**value, "more": 1.0}
    return f"{value}x"


def is_free(key: str) -> bool:
    free = (*FREE_KEYS, *UNREAD["alexnet"])
    return any(key == part or key.startswith(f"{part}.") for part in free)


@pytest.mark.parametrize("net", ["conv_pool", "conv_pool_hidden", "conv_local"])
def test_what_a_net_does_not_read_is_no_part_of_its_identity(composed: Compose, net: str) -> None:
    one = composed(f"model/net={net}", "model/pool=plain", "model/topology=dense", "regularizer/dropout=off")
    other = composed(f"model/net={net}", "model/depth=six")
    assert run_id(one, MARK) == run_id(other, MARK)
    assert run_id(composed(f"model/net={net}", "model/lrn=off"), MARK) != run_id(other, MARK)


def test_the_width_of_local3_counts_where_there_is_one(composed: Compose) -> None:
    wide, narrow = ("model.local3_width=64",), ("model.local3_width=32",)
    assert run_id(composed(*wide), MARK) == run_id(composed(*narrow), MARK)
    wide, narrow = ("model/net=conv_local", *wide), ("model/net=conv_local", *narrow)
    assert run_id(composed(*wide), MARK) != run_id(composed(*narrow), MARK)


def test_every_key_that_can_change_a_result_changes_the_id(default: Config) -> None:
    before = run_id(default, MARK)
    for key, _, value in leaves(default):
        if key != "model.net.name":
            changed = run_id(replaced(default, key, other(value)), MARK) != before
            assert changed != is_free(key), key


def test_the_data_fingerprint_changes_the_id(default: Config) -> None:
    assert run_id(default, MARK) != run_id(default, "1" * 16)


def test_the_seed_changes_the_run_and_not_the_arm(default: Config) -> None:
    seeded = replaced(default, "seed", 1)
    assert run_id(seeded, MARK) != run_id(default, MARK)
    assert arm_id(seeded, MARK) == arm_id(default, MARK)


def test_spelling_out_defaults_gives_the_same_id(composed: Compose) -> None:
    spelt = composed("model/lrn=on", "model.lrn.k=2", "trainer.epochs=16", "experiment=digits", "seed=0")
    assert run_id(spelt, MARK) == run_id(composed(), MARK)


@pytest.mark.parametrize(
    ("one", "same"),
    [
        (["model/lrn=off"], ["model.lrn.first=false", "model.lrn.second=false"]),
        (["aug/crop=off"], ["aug.crop.random=no"]),
        (["optim.learning_rate=0.001"], ["optim.learning_rate=1e-3"]),
        (["trainer.cpu_threads=2"], ["trainer.cpu_threads='2'"]),
    ],
)
def test_equivalent_spellings_give_one_id(composed: Compose, one: list[str], same: list[str]) -> None:
    assert run_id(composed(*one), MARK) == run_id(composed(*same), MARK)


def test_every_option_of_every_group_gives_an_id_of_its_own(composed: Compose) -> None:
    for group, names in options().items():
        if group == "hydra/launcher":
            continue  # how runs are carried out
        found = {run_id(composed(f"{group}={name}"), MARK) for name in names}
        assert len(found) == len(names), group


@given(st.permutations(["model/lrn=off", "seed=3", "trainer.epochs=2", "aug/flip=on"]))
def test_the_order_of_overrides_does_not_matter(hydra_ready: None, order: list[str]) -> None:
    from hydra import compose
    from omegaconf import OmegaConf

    def one(overrides: list[str]) -> str:
        config = OmegaConf.to_object(compose("config", overrides=overrides))
        assert isinstance(config, Config)
        return run_id(config, MARK)

    assert one(order) == one(sorted(order))


def test_the_source_hash_covers_every_module_that_training_imports(default: Config) -> None:
    import subprocess
    import sys
    from pathlib import Path

    import alexnet_sweep

    code = "import sys, alexnet_sweep.job; print(*[m for m in sys.modules if m.startswith('alexnet_sweep.')])"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    package = Path(alexnet_sweep.__file__).parent
    files = {
        path.relative_to(package).as_posix()
        for name in loaded
        for path in [package / (name.split(".", 1)[1].replace(".", "/") + ".py")]
        if path.is_file()
    }
    no_part_in_results = {
        "checks.py",
        "config.py",  # its values are in the run_id
        "errors.py",
        "failpoints.py",
        "files.py",
        "formats.py",
        "locks.py",
        "identity.py",
        "machine.py",
        "narrate.py",
        "provenance.py",
        "readers.py",  # no bit hangs on how far ahead is read
        "reuse.py",  # finds weights, of the same sources or by a run_id
        "running.py",
        "stopping.py",
        "store.py",
        "wording.py",
        "shape.py",
    }
    assert files - no_part_in_results == set(TRAINING_SOURCES)
    assert len(source_hash(default)) == 12


def test_what_only_evaluation_reads_changes_the_run_and_not_its_training(default: Config) -> None:
    before = training_id(default, MARK)
    for key, _, value in leaves(default):
        if key != "model.net.name":
            changed = replaced(default, key, other(value))
            only_evaluated = key.removeprefix("eval.") in EVALUATION_KEYS
            assert (training_id(changed, MARK) != before) != (is_free(key) or only_evaluated), key
            assert not only_evaluated or run_id(changed, MARK) != run_id(default, MARK), key


def test_every_option_of_eval_shares_its_training(composed: Compose) -> None:
    assert len({training_id(composed(f"eval={name}"), MARK) for name in options()["eval"]}) == 1


def test_the_data_and_the_seed_are_part_of_what_is_trained(default: Config) -> None:
    ids = [training_id(default, MARK), training_id(default, "1" * 16), training_id(replaced(default, "seed", 1), MARK)]
    assert len(set(ids)) == 3
