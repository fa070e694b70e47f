"""What can be known to be wrong with a run before anything is written or trained. Imports no torch."""

import hashlib
import sys
from pathlib import Path

from tqdm import tqdm

from alexnet_sweep.checks import check
from alexnet_sweep.config import Config
from alexnet_sweep.data.pack import describe, fingerprint, open_packed
from alexnet_sweep.data.packed import Meta
from alexnet_sweep.data.splits import check_sizes
from alexnet_sweep.errors import ConfigError
from alexnet_sweep.machine import memory_bytes
from alexnet_sweep.model.plan import check_names, plan_layers
from alexnet_sweep.plugins import check_plugins
from alexnet_sweep.reuse import run_to_start_from

BYTES_A_PARAMETER = 12  # value, gradient and velocity in fp32


class DataFacts:
    """Fingerprints and sizes of data sets, each taken once however many runs use it."""

    def __init__(self) -> None:
        self._marks: dict[str, str] = {}
        self._metas: dict[str, Meta] = {}
        self._weights: dict[str, str] = {}

    def fingerprint(self, config: Config) -> str:
        """Of the run's data set, and of the weights it starts from if they are another run's.

        Raises:
            DataError: where there is no such data set.
            FolderError: where `init_from` names no finished run.
            ConfigError: where runs would be written into it, and change it.
        """
        mark = self._data_mark(config)
        if config.init_from is None:
            return mark
        if config.init_from not in self._weights:
            weights = run_to_start_from(Path(config.paths.runs), config.init_from).weights
            self._weights[config.init_from] = hashlib.sha256(weights.read_bytes()).hexdigest()[:16]
        return f"{mark}+{self._weights[config.init_from]}"

    def _data_mark(self, config: Config) -> str:
        key = repr(config.data)
        if key not in self._marks:
            if config.data.custom is not None:
                check_plugins(config)
            self._marks[key] = fingerprint(config.data)
            _check_apart(config)
        return self._marks[key]

    def meta(self, config: Config) -> Meta:
        """Class names and sizes of the run's data set."""
        mark = self._data_mark(config)
        if mark not in self._metas:
            self._metas[mark] = describe(config.data, Path(config.paths.store))
        return self._metas[mark]

    def check(self, config: Config) -> None:
        """Values, data set, sizes, and whether the network's layers fit together.

        Raises:
            SweepError: one line.
        """
        check(config)
        check_plugins(config)
        meta = self.meta(config)
        check_sizes(config, meta.counts)
        layers = plan_layers(config.model, config.data.crop_px, len(meta.class_names))
        check_names(config, layers)
        parameters = sum(layer.parameters for layer in layers)
        needed, there = parameters * BYTES_A_PARAMETER, memory_bytes()
        if needed > there:
            raise ConfigError(
                f"model.width={config.model.width:g}: {parameters:.3g} parameters need {needed / 2**30:,.0f} GiB to "
                f"train; this machine has {there / 2**30:,.0f} GiB. Lower it"
            )

    def pack(self, config: Config) -> None:
        """Build the run's packed data set, if it is not there: an unreadable image stops a sweep before its first run.

        Raises:
            DataError: one line.
        """
        with tqdm(desc="packing", unit="image", file=sys.stderr, leave=False, disable=not sys.stderr.isatty()) as bar:

            def progress(done: int, total: int) -> None:
                bar.total = total
                bar.update(done - bar.n)

            open_packed(config.data, Path(config.paths.store), progress)


def _check_apart(config: Config) -> None:
    if config.data.path is None:
        return
    images = Path(config.data.path).resolve()
    for key, value in (("paths.runs", config.paths.runs), ("paths.store", config.paths.store)):
        if Path(value).resolve().is_relative_to(images):
            raise ConfigError(
                f"{key}={value}: lies inside data.path={config.data.path}, which its files would change; start from "
                f"another folder, or set {key}"
            )
