"""The config tree: every option composes, changes just the keys its file names, and wins over every recipe."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from alexnet_sweep.config import leaves
from alexnet_sweep.groups import conf_folder, options
from conftest import Compose

FACTORS = {group: names for group, names in options().items() if group not in ("experiment", "hydra/launcher")}
OPTIONS = [(group, name) for group, names in sorted(FACTORS.items()) for name in names]
EXPERIMENTS = options()["experiment"]


def keys_of(group: str, name: str) -> dict[str, Any]:
    """The dotted keys that an option's file sets, and their values."""
    prefix = group.replace("/", ".")
    return {f"{prefix}.{key}": value for key, value in yaml.safe_load(file_of(group, name).read_text()).items()}


def file_of(group: str, name: str) -> Path:
    return conf_folder() / group / f"{name}.yaml"


@pytest.mark.parametrize(("group", "name"), OPTIONS)
def test_an_option_changes_exactly_the_keys_its_file_names(composed: Compose, group: str, name: str) -> None:
    before = {key: value for key, _, value in leaves(composed())}
    after = {key: value for key, _, value in leaves(composed(f"{group}={name}"))}
    named = keys_of(group, name)
    assert {key: after[key] for key in named} == named
    assert {key for key in after if after[key] != before[key]} <= set(named)


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_an_option_on_the_command_line_wins_over_the_experiment(composed: Compose, experiment: str) -> None:
    # One option of every group at a time: options of different groups set different keys.
    for number in range(max(len(names) for names in FACTORS.values())):
        chosen = {group: names[number % len(names)] for group, names in FACTORS.items()}
        if keys_of("schedule", chosen["schedule"])["schedule.heldout_joins_fraction"] is not None:
            chosen["regularizer/best_epoch"] = "off"  # which would have nothing to choose by
        overrides = ["data.heldout_fraction=0.1", *(f"{group}={name}" for group, name in chosen.items())]
        config = {key: value for key, _, value in leaves(composed(f"experiment={experiment}", *overrides))}
        for group, name in chosen.items():
            named = keys_of(group, name)
            assert {key: config[key] for key in named} == named, f"{group}={name} under {experiment}"


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_an_experiment_sets_no_key_that_an_option_sets(experiment: str) -> None:
    taken = {key for group, name in OPTIONS for key in keys_of(group, name)}
    recipe = yaml.safe_load(file_of("experiment", experiment).read_text())
    recipe.pop("defaults")

    def dotted(node: dict[str, Any], prefix: str = "") -> list[str]:
        below = [dotted(value, f"{prefix}{key}.") for key, value in node.items() if isinstance(value, dict)]
        own = [f"{prefix}{key}" for key, value in node.items() if not isinstance(value, dict)]
        return own + [key for keys in below for key in keys]

    assert not taken.intersection(dotted(recipe))


def test_all_options_of_a_group_set_the_same_keys() -> None:
    for group, names in FACTORS.items():
        assert len({tuple(sorted(keys_of(group, name))) for name in names}) == 1, group


def test_no_two_options_of_a_group_are_the_same() -> None:
    for group, names in FACTORS.items():
        values = [repr(sorted(keys_of(group, name).items())) for name in names]
        assert len(set(values)) == len(values), group


def test_on_and_off_are_quoted_in_every_defaults_list() -> None:
    for file in conf_folder().rglob("*.yaml"):
        for line in file.read_text().splitlines():
            assert not re.match(r"\s*-.*:\s*(on|off|yes|no)\s*(#.*)?$", line), f"{file.name}: {line}"


def test_every_option_file_begins_with_a_comment_that_says_what_it_is() -> None:
    for file in conf_folder().rglob("*.yaml"):
        assert file.read_text().startswith("# "), file


# Where an option comes from: a section of the paper, another source by name, or that the paper has no such thing.
SOURCE = re.compile(
    r"§|[Ss]ections? \d|[Nn]ot in the paper|arXiv|Caffe|cuda-convnet|[Rr]eleased code|fb\.resnet\.torch|scikit-learn"
)


@pytest.mark.parametrize(("group", "name"), OPTIONS)
def test_an_option_file_names_its_section_or_another_source(group: str, name: str) -> None:
    comment = " ".join(line for line in file_of(group, name).read_text().splitlines() if line.startswith("#"))
    assert SOURCE.search(comment.replace("# ", "")), comment


def test_every_key_of_the_schema_has_a_value(composed: Compose) -> None:
    assert not [key for key, _, value in leaves(composed()) if value == "???"]
