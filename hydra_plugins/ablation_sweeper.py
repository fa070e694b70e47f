"""Hydra's way into a sweep: the only file that knows Hydra's Sweeper interface.

Hydra finds a sweeper only if its class is defined under `hydra_plugins.*`, and imports every plugin at
start-up: nothing heavy is imported before a sweep really starts.
"""

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, RangeSweep
from hydra.core.plugins import Plugins
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, open_dict, read_write

if TYPE_CHECKING:
    from alexnet_sweep.config import Config
    from alexnet_sweep.planning import Asked
    from alexnet_sweep.submitted import Cluster


@dataclass
class AblationSweeperConf:
    _target_: str = "hydra_plugins.ablation_sweeper.AblationSweeper"
    max_batch_size: int | None = None
    plan_only: bool = False  # what `python -m alexnet_sweep.plan` asks for
    plan_json: bool = False
    plan_probe: bool = False
    plan_budget_seconds: float | None = None


ConfigStore.instance().store(group="hydra/sweeper", name="ablation", node=AblationSweeperConf, provider="alexnet_sweep")


class AblationSweeper(Sweeper):
    """Hydra's own grid, planned whole, each run trained once, and reported."""

    def __init__(self, max_batch_size: int | None, **plan: Any) -> None:
        self.max_batch_size = max_batch_size
        self.plan = AblationSweeperConf(**plan)
        self.hydra_context: HydraContext | None = None
        self.config: DictConfig | None = None
        self.launcher: Launcher | None = None

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.hydra_context, self.config = hydra_context, config
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> Any:
        """Carry out a study, or the grid that Hydra's own rules make of the overrides."""
        if not self._is_ours():
            return self._as_hydra_does(arguments)
        from alexnet_sweep.errors import ConfigError
        from alexnet_sweep.launching import started_as

        if started_as() is not None:
            raise ConfigError("torchrun carries out one run; a sweep starts others itself, with trainer.processes=N")
        assert self.config is not None
        if self.config.hydra.job.chdir:
            raise ConfigError(
                "hydra.job.chdir=true: the runs of a sweep would look for runs/ and data in another folder than the "
                "sweep itself; allowed: false. Leave it out"
            )
        if self.plan.plan_only:
            from alexnet_sweep.forecast import forecast

            forecast(
                self._asked(arguments),
                compose=self._compose,
                as_json=self.plan.plan_json,
                budget_seconds=self.plan.plan_budget_seconds,
                probe=self.plan.plan_probe,
                at_once=self._at_once,
            )
            return []
        from alexnet_sweep.sweep import conduct

        conduct(
            self._asked(arguments),
            compose=self._compose,
            launch=self._launch,
            cluster=self._cluster(),
            at_once=self._at_once,
        )
        return []

    def _is_ours(self) -> bool:
        """Whether this is a config of ours: Hydra hands any program's to the sweeper that is chosen."""
        from alexnet_sweep.config import Config

        return self.config is not None and all(item.name in self.config for item in dataclasses.fields(Config))

    def _as_hydra_does(self, arguments: list[str]) -> Any:
        from hydra._internal.core_plugins.basic_sweeper import BasicSweeper

        assert self.launcher is not None and self.config is not None and self.hydra_context is not None
        basic = BasicSweeper(max_batch_size=self.max_batch_size)
        basic.config, basic.launcher, basic.hydra_context = self.config, self.launcher, self.hydra_context
        return basic.sweep(arguments)

    def _asked(self, arguments: list[str]) -> "Asked":
        """The grid that Hydra's own rules make of the overrides; or, with study=, the study of that name."""
        from hydra._internal.core_plugins.basic_sweeper import BasicSweeper

        from alexnet_sweep.designs import MOST_ARMS
        from alexnet_sweep.errors import ConfigError
        from alexnet_sweep.planning import asked_for
        from alexnet_sweep.study_file import find_study, override_key, read_study

        assert self.hydra_context is not None
        parser = OverridesParser.create(config_loader=self.hydra_context.config_loader)
        overrides = parser.parse_overrides(arguments)
        many = math.prod(levels_of(override.value()) for override in overrides)
        if not many <= MOST_ARMS:
            raise ConfigError(f"the grid has {many:,} runs; allowed: {MOST_ARMS:,}. Sweep fewer levels")
        (jobs,) = BasicSweeper.split_arguments(overrides, None)
        swept = [override.get_key_element() for override in overrides if override.is_sweep_override()]
        named = [override for override in overrides if override.get_key_element() == "study"]
        if not named or named[-1].value() is None:
            return asked_for(jobs, swept)
        file = read_study(find_study(str(named[-1].value())))
        seeds = [override.split("=", 1)[1] for job in jobs for override in job if override_key(override) == "seed"]
        return asked_for(jobs, swept, file, seeds)

    def _compose(self, overrides: Sequence[str]) -> "Config":
        from alexnet_sweep.cli import typed

        assert self.hydra_context is not None and self.config is not None
        composed = self.hydra_context.config_loader.load_sweep_config(self.config, list(overrides))
        with read_write(composed), open_dict(composed):
            del composed["hydra"]
        return typed(composed, overrides)

    def _cluster(self) -> "Cluster | None":
        """The launcher, if it is one that submits to a queue and does not wait."""
        from alexnet_sweep.submitted import Cluster

        submit = getattr(self.launcher, "submit", None)
        if submit is None:
            return None
        launcher: Any = self.launcher
        return Cluster(launcher.queue, launcher.submit, launcher.tasks, launcher.name, self.max_batch_size)

    def _launch(self, batch: list[list[str]]) -> None:
        from alexnet_sweep.launching import in_processes, sharing
        from alexnet_sweep.stopping import UntilStopped

        assert self.launcher is not None and self.config is not None
        launcher, sweep = type(self.launcher).__name__, self.config.sweep
        if launcher == "BasicLauncher":
            if sweep.isolation == "process":
                in_processes(batch, self._flags())
            else:
                self._in_steps(batch, self.max_batch_size or 1)
            return
        runs = self._at_once(len(batch))
        if launcher == "JoblibLauncher":
            launcher_of_joblib: Any = self.launcher
            launcher_of_joblib.joblib["n_jobs"] = runs
            if not isinstance(launcher_of_joblib.task_function, UntilStopped):
                launcher_of_joblib.task_function = UntilStopped(launcher_of_joblib.task_function)
            with sharing(runs, sweep.runs_per_gpu):
                self._in_steps(batch, self.max_batch_size or len(batch))
        elif launcher == "LocalLauncher":  # it starts all that it is given at once
            with sharing(runs, sweep.runs_per_gpu):
                self._in_steps(batch, runs)
        else:
            self._in_steps(batch, self.max_batch_size or len(batch))

    def _at_once(self, runs: int) -> int:
        """How many of so many runs the launcher carries out at the same time."""
        from alexnet_sweep.launching import how_many_at_once

        assert self.launcher is not None and self.config is not None
        sweep = self.config.sweep
        launcher: Any = self.launcher
        name = type(launcher).__name__
        if name == "BasicLauncher":
            return min(runs, 1)
        if name in ("JoblibLauncher", "LocalLauncher"):
            gpus = 0 if self.config.trainer.device == "cpu" else gpus_here()
            return min(runs, how_many_at_once(sweep.at_once, gpus, sweep.runs_per_gpu, self.config.trainer.processes))
        return min(runs, getattr(launcher, "jobs_at_once", runs))

    def _in_steps(self, batch: list[list[str]], step: int) -> None:
        """Launch so many at a time; what a launcher returns holds a run's whole config, or its error, and is let go."""
        assert self.launcher is not None
        for start in range(0, len(batch), step):
            self.launcher.launch(batch[start : start + step], initial_job_idx=start)

    def _flags(self) -> list[str]:
        """Hydra's own flags of this command line that a run needs as well."""
        from hydra._internal.utils import get_args_parser

        given = get_args_parser().parse_args()
        flags = {"--config-dir": given.config_dir, "--config-name": given.config_name}
        return [word for flag, value in flags.items() if value for word in (flag, value)]


def levels_of(value: Any) -> float:
    """How many values an override sweeps over, without listing them."""
    if isinstance(value, ChoiceSweep):
        return len(value.list)
    if not isinstance(value, RangeSweep):
        return 1
    ends = [value.start or 0, value.stop or 0]
    steps = (ends[1] - ends[0]) / (value.step or 1)
    return math.ceil(abs(steps)) if math.isfinite(steps) else math.inf


def gpus_here() -> int:
    """How many CUDA devices this process could use; imports torch, so only asked where runs go side by side."""
    import torch

    return torch.cuda.device_count()
