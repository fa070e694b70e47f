"""Identity of a run and of an arm: a hash of everything that can change a result.

A run's identity is its *resolved* config, less the few keys listed in `FREE_KEYS`, plus the data set's
fingerprint. Spelling out a default gives the same id; changing a default, a group file or the data
gives another. An arm is a run without its seed.
"""

import dataclasses
import hashlib
import json
import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from alexnet_sweep.checks import unread
from alexnet_sweep.config import Config
from alexnet_sweep.plugins import sources, targets

FREE_KEYS = (
    "sweep",  # how a sweep is carried out
    "report",  # what a report shows
    "paths",  # where things lie
    "checkpoint",  # how often a run is saved, and what is kept of it
    "trainer.progress",  # what is shown
    "trainer.workers",  # how images come to the device, the same ones
    "trainer.hold_images",
    "study",  # which study asked for it
    "data.path",  # where the data set lies: its fingerprint counts instead
    "init_from",  # where weights lie: what is in them counts instead
)

# Keys below `eval` that training never looks at: they train nothing again.
EVALUATION_KEYS = ("average", "mirrored_views", "keep_classes", "metrics")

# What a result depends on: every module that takes part in training, evaluating or recording a run.
TRAINING_SOURCES = (
    "assemble.py",
    "augment.py",
    "backend.py",
    "checkpoint.py",
    "data/batches.py",
    "data/boxes.py",
    "data/builders.py",
    "data/building.py",
    "data/cifar_python.py",
    "data/class_folders.py",
    "data/colours.py",
    "data/decode.py",
    "data/content.py",
    "data/embedded.py",
    "data/feed.py",
    "data/hugging_face.py",
    "data/idx.py",
    "data/images.py",
    "data/opening.py",
    "data/pack.py",
    "data/packed.py",
    "data/parquet.py",
    "data/source.py",
    "data/split_names.py",
    "data/splits.py",
    "data/synsets.py",
    "data/synthetic.py",
    "data/writing.py",
    "distributed.py",
    "job.py",
    "launching.py",
    "metrics.py",
    "model/alexnet.py",
    "model/build.py",
    "model/cifar.py",
    "model/cifar_plan.py",
    "model/compiled.py",
    "model/init.py",
    "model/layer.py",
    "model/layers.py",
    "model/norms.py",
    "model/measure.py",
    "model/order.py",
    "model/plan.py",
    "optim.py",
    "outcome.py",
    "plugins.py",
    "predict.py",
    "record.py",
    "schedule.py",
    "speed.py",
    "streams.py",
    "train.py",
    "transfer.py",
    "trouble.py",
)


def plain(config: Config) -> dict[str, Any]:
    """The config as plain nested dictionaries, in the schema's order."""
    return dataclasses.asdict(config)


def identity(config: Config, data_fingerprint: str) -> dict[str, Any]:
    """What the hash is taken of: the config without `FREE_KEYS` and what is unread, with the data's fingerprint."""
    kept = plain(config)
    for key in (*FREE_KEYS, *unread(config)):
        *parents, last = key.split(".")
        node = kept
        for parent in parents:
            node = node[parent]
        del node[last]
    kept["data"]["fingerprint"] = data_fingerprint
    return kept


def _digest(value: Any) -> str:
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def names_digest(names: Sequence[str]) -> str:
    """Twelve hex digits of a list of class names."""
    return _digest(list(names))[:12]


def _name(digest: str) -> str:
    """Twelve digits that no config language takes for a number, as it would 12345e678901."""
    short = digest[:12]
    return short if re.search("[a-df]", short) else "abcdef"[int(short[0], 16) % 6] + "a" + short[2:]


def run_id(config: Config, data_fingerprint: str) -> str:
    """Twelve hex digits; equal for every spelling of the same run."""
    return _name(_digest(identity(config, data_fingerprint)))


def arm_id(config: Config, data_fingerprint: str) -> str:
    """Twelve hex digits of the run without its seed."""
    kept = identity(config, data_fingerprint)
    del kept["seed"]
    return _name(_digest(kept))


def source_hash(config: Config) -> str:
    """Twelve hex digits of the sources that a run depends on, ours and the user's, as this process found them first."""
    return sources_hash(tuple(sorted(targets(config))))


def training_id(config: Config, data_fingerprint: str) -> str:
    """Twelve hex digits of what training depends on: runs that share it differ in their evaluation alone."""
    kept = identity(config, data_fingerprint)
    for key in EVALUATION_KEYS:
        del kept["eval"][key]
    return _digest(kept)[:12]


def training_source_hash(config: Config) -> str:
    """As `source_hash`, of the sources that training depends on: without the user's own metrics."""
    return sources_hash(tuple(sorted(targets(config, metrics=False))))


@cache
def sources_hash(custom: tuple[str, ...]) -> str:
    """The same, from the targets of the user's own parts, sorted."""
    package = Path(__file__).parent
    ours = [[name, (package / name).read_text()] for name in TRAINING_SOURCES]
    return _digest([*ours, *sources(custom)])[:12]
