"""What can be known to be wrong with a run before anything is written or trained. Imports no torch."""

from pathlib import Path

from alexnet_sweep.config import Config, check
from alexnet_sweep.data.pack import Meta, describe, fingerprint
from alexnet_sweep.data.splits import check_sizes
from alexnet_sweep.model.plan import plan_layers


class DataFacts:
    """Fingerprints and sizes of data sets, each taken once however many runs use it."""

    def __init__(self) -> None:
        self._marks: dict[str, str] = {}
        self._metas: dict[str, Meta] = {}

    def fingerprint(self, config: Config) -> str:
        """Of the run's data set.

        Raises:
            DataError: where there is no such data set.
        """
        key = repr(config.data)
        if key not in self._marks:
            self._marks[key] = fingerprint(config.data)
        return self._marks[key]

    def _meta(self, config: Config) -> Meta:
        mark = self.fingerprint(config)
        if mark not in self._metas:
            self._metas[mark] = describe(config.data, Path(config.paths.store))
        return self._metas[mark]

    def check(self, config: Config) -> None:
        """Values, data set, sizes, and whether the network's layers fit together.

        Raises:
            SweepError: one line.
        """
        check(config)
        meta = self._meta(config)
        check_sizes(config, meta.counts)
        plan_layers(config.model, config.data.crop_px, len(meta.class_names))
