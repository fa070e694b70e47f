"""Hydra's way into a sweep: the only file that knows Hydra's Sweeper interface.

Hydra finds a sweeper only if its class is defined under `hydra_plugins.*`, and imports every plugin at
start-up: nothing heavy is imported before a sweep really starts.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.plugins import Plugins
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, open_dict, read_write

if TYPE_CHECKING:
    from alexnet_sweep.config import Config
    from alexnet_sweep.planning import Asked


@dataclass
class AblationSweeperConf:
    _target_: str = "hydra_plugins.ablation_sweeper.AblationSweeper"
    max_batch_size: int | None = None


ConfigStore.instance().store(group="hydra/sweeper", name="ablation", node=AblationSweeperConf, provider="alexnet_sweep")


class AblationSweeper(Sweeper):
    """Hydra's own grid, planned whole, each run trained once, and reported."""

    def __init__(self, max_batch_size: int | None) -> None:
        self.max_batch_size = max_batch_size
        self.hydra_context: HydraContext | None = None
        self.config: DictConfig | None = None
        self.launcher: Launcher | None = None

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.hydra_context, self.config = hydra_context, config
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> Any:
        """Expand the overrides by Hydra's own rules and carry the sweep out."""
        from alexnet_sweep.sweep import conduct

        return [conduct(self._asked(arguments), compose=self._compose, launch=self._launch)]

    def _asked(self, arguments: list[str]) -> "Asked":
        """The grid that Hydra's own rules make of the overrides; or, with study=, the study of that name."""
        from hydra._internal.core_plugins.basic_sweeper import BasicSweeper

        from alexnet_sweep.planning import asked_for
        from alexnet_sweep.study_file import find_study, read_study

        assert self.hydra_context is not None
        parser = OverridesParser.create(config_loader=self.hydra_context.config_loader)
        overrides = parser.parse_overrides(arguments)
        (jobs,) = BasicSweeper.split_arguments(overrides, None)
        swept = [override.get_key_element() for override in overrides if override.is_sweep_override()]
        named = [job_override.split("=", 1)[1] for job_override in jobs[0] if job_override.startswith("study=")]
        if not named or named[0] == "null":
            return asked_for(jobs, swept)
        seeds = [job_override for job in jobs for job_override in job if job_override.startswith("seed=")]
        return asked_for(jobs, swept, read_study(find_study(named[0])), [seed.split("=", 1)[1] for seed in seeds])

    def _compose(self, overrides: Sequence[str]) -> "Config":
        from alexnet_sweep.cli import typed

        assert self.hydra_context is not None and self.config is not None
        composed = self.hydra_context.config_loader.load_sweep_config(self.config, list(overrides))
        with read_write(composed), open_dict(composed):
            del composed["hydra"]
        return typed(composed, overrides)

    def _launch(self, batch: list[list[str]]) -> Sequence[Any]:
        assert self.launcher is not None
        step = self.max_batch_size or len(batch)
        returns: list[Any] = []
        for start in range(0, len(batch), step):
            returns.extend(self.launcher.launch(batch[start : start + step], initial_job_idx=start))
        return returns
