"""A grid of overrides → an ordered list of planned runs. Pure: composing a config is passed in.

Study: a question and its runs. Arm: one combination of factor levels. Run: one arm and one seed.
"""

import hashlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from alexnet_sweep.config import Config
from alexnet_sweep.errors import SweepError
from alexnet_sweep.identity import arm_id, run_id

SEED = "seed"
Compose = Callable[[Sequence[str]], Config]
Fingerprint = Callable[[Config], str]


@dataclass(frozen=True)
class PlannedRun:
    """One arm and one seed, with the overrides that make it."""

    run_id: str
    arm_id: str
    overrides: tuple[str, ...]
    config: Config

    @property
    def seed(self) -> int:
        return self.config.seed


@dataclass(frozen=True)
class Arm:
    """One combination of levels; `levels` are the swept factors as they were typed first."""

    arm_id: str
    levels: tuple[tuple[str, str], ...]

    @property
    def label(self) -> str:
        return ", ".join(f"{key}={level}" for key, level in self.levels) or "as composed"


@dataclass(frozen=True)
class Study:
    """Runs without duplicates, in the order they were asked for."""

    name: str
    keys: tuple[str, ...]
    arms: tuple[Arm, ...]
    baseline: str  # an arm_id
    runs: tuple[PlannedRun, ...]

    def as_plan(self) -> dict[str, Any]:
        """What `plan.json` holds of the study."""
        return {
            "name": self.name,
            "design": "grid",
            "keys": list(self.keys),
            "baseline": self.baseline,
            "arms": [{"arm_id": arm.arm_id, "label": arm.label, "levels": dict(arm.levels)} for arm in self.arms],
            "runs": [
                {
                    "run_id": run.run_id,
                    "arm_id": run.arm_id,
                    "seed": run.seed,
                    "overrides": list(run.overrides),
                }
                for run in self.runs
            ],
        }


def plan_grid(
    jobs: Sequence[Sequence[str]],
    *,
    swept: Sequence[str],
    compose: Compose,
    fingerprint: Fingerprint,
    max_runs: int | None = None,
) -> Study:
    """The study of a plain grid: `jobs` are override lists, `swept` the keys that take several values.

    The baseline is the arm whose levels are the composed defaults; if none is, the first. Equivalent
    spellings of a run collapse into the first one.

    Raises:
        SweepError: where the grid holds more than `max_runs` runs (or, from `compose`, a bad override).
    """
    if max_runs is not None and len(jobs) > max_runs:
        raise SweepError(
            f"the grid has {len(jobs)} runs; allowed: {max_runs} (sweep.max_runs). Sweep fewer levels, or raise "
            f"it: sweep.max_runs={len(jobs)}"
        )
    factors = [key for key in swept if key != SEED]
    runs: dict[str, PlannedRun] = {}
    arms: dict[str, Arm] = {}
    for job in jobs:
        config = compose(job)
        mark = fingerprint(config)
        planned = PlannedRun(run_id(config, mark), arm_id(config, mark), tuple(job), config)
        runs.setdefault(planned.run_id, planned)
        levels = dict(override.split("=", 1) for override in job if "=" in override)
        chosen = tuple((key, levels[key]) for key in factors)
        arms.setdefault(planned.arm_id, Arm(planned.arm_id, chosen))
    default = compose([override for override in jobs[0] if override.split("=", 1)[0] not in factors])
    default_arm = arm_id(default, fingerprint(default))
    baseline = default_arm if default_arm in arms else next(iter(arms))
    return Study(study_name(swept, list(runs)), tuple(factors), tuple(arms.values()), baseline, tuple(runs.values()))


def study_name(swept: Sequence[str], run_ids: Sequence[str]) -> str:
    """Swept keys and eight hex digits of the runs, whatever their order: `lrn-pool-1a2b3c4d`."""
    words = [re.sub(r"[^A-Za-z0-9_]+", "_", re.split(r"[/.]", key)[-1]) for key in swept if key != SEED]
    digest = hashlib.sha256(" ".join(sorted(run_ids)).encode()).hexdigest()[:8]
    return "-".join([*(words or ["run"]), digest])[-100:]
