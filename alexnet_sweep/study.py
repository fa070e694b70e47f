"""A grid of overrides, or a study file → an ordered list of planned runs. Pure: composing a config is passed in.

Study: a question and its runs. Arm: one combination of factor levels. Run: one arm and one seed.
"""

import dataclasses
import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from alexnet_sweep.config import Config
from alexnet_sweep.errors import SweepError
from alexnet_sweep.identity import FREE_KEYS, arm_id, run_id
from alexnet_sweep.study_file import StudyFile

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
    """One combination of levels; `levels` are the factors and their levels as they were written first."""

    arm_id: str
    levels: tuple[tuple[str, str], ...]
    label: str


@dataclass(frozen=True)
class Study:
    """Runs without duplicates, in the order they were asked for."""

    name: str
    design: str
    keys: tuple[str, ...]
    arms: tuple[Arm, ...]
    baseline: str  # an arm_id
    runs: tuple[PlannedRun, ...]
    facts: Mapping[str, Any] = field(default_factory=dict)  # of a study file: question, file, claims

    def as_plan(self) -> dict[str, Any]:
        """What `plan.json` holds of the study."""
        return {
            "name": self.name,
            "design": self.design,
            **self.facts,
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


class SeededCompose:
    """Composes each arm once, however many seeds it has: composing costs a tenth of a second, a seed nothing."""

    def __init__(self, compose: Compose) -> None:
        self._compose = compose
        self._arms: dict[tuple[str, ...], Config] = {}
        self._only_the_seed: bool | None = None  # whether a seed changes nothing but itself

    def __call__(self, overrides: Sequence[str]) -> Config:
        seeds = [override for override in overrides if override.split("=", 1)[0] == SEED]
        seed = seeds[0].split("=", 1)[1] if len(seeds) == 1 else ""
        # Not where the seed is more than a number, or another value is made of it.
        if not re.fullmatch(r"0|[1-9][0-9]{0,8}", seed) or any("${" in override for override in overrides):
            return self._compose(overrides)
        arm = tuple(override for override in overrides if override not in seeds)
        if arm not in self._arms:
            self._arms[arm] = self._compose(arm)
        if self._only_the_seed is None:  # a config file of the user's may make another value of it
            other = self._compose([*arm, f"{SEED}={self._arms[arm].seed + 1}"])
            self._only_the_seed = dataclasses.replace(other, seed=self._arms[arm].seed) == self._arms[arm]
        if not self._only_the_seed:
            return self._compose(overrides)
        return dataclasses.replace(self._arms[arm], seed=int(seed))


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
    _check_size("the grid", len(jobs), max_runs, "Sweep fewer levels")
    factors = [key for key in swept if key != SEED]
    runs: dict[str, PlannedRun] = {}
    arms: dict[str, Arm] = {}
    for job in jobs:
        planned = _planned(job, compose, fingerprint)
        runs.setdefault(planned.run_id, planned)
        levels = dict(override.split("=", 1) for override in job if "=" in override)
        chosen = tuple((key, levels[key]) for key in factors)
        label = ", ".join(f"{key}={level}" for key, level in chosen) or "as composed"
        arms.setdefault(planned.arm_id, Arm(planned.arm_id, chosen, label))
    try:
        default = compose([override for override in jobs[0] if override.split("=", 1)[0] not in factors])
        default_arm = arm_id(default, fingerprint(default))
    except SweepError:  # the defaults need not work here: nobody has asked for them
        default_arm = ""
    baseline = default_arm if default_arm in arms else next(iter(arms))
    name = study_name(swept, list(runs))
    return Study(name, "grid", tuple(factors), tuple(arms.values()), baseline, tuple(runs.values()))


def plan_study(
    file: StudyFile,
    extra: Sequence[str],
    *,
    compose: Compose,
    fingerprint: Fingerprint,
    max_runs: int | None = None,
    chosen: Mapping[str, str] | None = None,
) -> Study:
    """The study of a file, with `extra` overrides from the command line in every run.

    `chosen` holds an override of each arm's own, by its label: what was tuned. An arm that it lacks could not be
    tuned, and is left out: beside tuned ones it would be compared at another level without a word.

    The baseline comes first, once for each seed; arms whose levels come to the same collapse into the first.

    Raises:
        SweepError: where nothing is left to compare, or more than `max_runs` runs (or, from `compose`, a bad override).
    """
    requests = [request for request in file.arms(extra) if chosen is None or request.label in chosen]
    _check_size(f"{file.path}:", len(requests) * len(file.seeds), max_runs, "Take fewer levels or seeds")
    runs: dict[str, PlannedRun] = {}
    arms: dict[str, Arm] = {}
    for request in requests:
        for seed in file.seeds:
            own = request.with_override(chosen[request.label] if chosen is not None else None)
            planned = _planned([*own, f"{SEED}={seed}"], compose, fingerprint)
            runs.setdefault(planned.run_id, planned)
            arms.setdefault(planned.arm_id, Arm(planned.arm_id, request.levels, request.label))
    if len(arms) < 2:
        raise SweepError(
            f"{file.path}: factors: all {len(requests)} arms come to the same run; name levels that make a difference"
        )
    facts: dict[str, Any] = {
        "question": file.question,
        "file": str(file.path),
        "order": file.order,
        "extra": list(extra),
        "claims": {label: list(names) for label, names in file.claims.items()},
        "text": file.text,
    }
    if file.tuning is not None:
        levels = [level.split("=", 1)[1] for level in file.tuning.levels]
        facts["tuning"] = {"key": file.tuning.key, "levels": levels, "seeds": list(file.tuning.seeds)}
        facts["tuning"]["chosen"] = {label: level.split("=", 1)[1] for label, level in (chosen or {}).items()}
    keys = tuple(factor.name for factor in file.factors)
    baseline = next(iter(arms))
    name = file_study_name(file, extra)
    return Study(name, file.design, keys, tuple(arms.values()), baseline, tuple(runs.values()), facts)


def plan_tuning(
    file: StudyFile,
    extra: Sequence[str],
    *,
    compose: Compose,
    fingerprint: Fingerprint,
    max_runs: int | None = None,
) -> Study:
    """The runs that a choice of the tuned key needs: every arm at each of its levels, once for each tuning seed.

    Its `facts["tuned"]` holds, for each arm_id, the label of the arm it is for and the override it tries.

    Raises:
        SweepError: as `plan_study`.
    """
    assert file.tuning is not None
    requests, tuning = file.arms(extra), file.tuning
    tried = [(request, level, seed) for request in requests for level in tuning.levels for seed in tuning.seeds]
    _check_size(f"{file.path}: tune:", len(tried), max_runs, "Take fewer levels or seeds")
    runs: dict[str, PlannedRun] = {}
    arms: dict[str, Arm] = {}
    tuned: dict[str, tuple[str, str]] = {}
    for request, override, seed in tried:
        planned = _planned([*request.with_override(override), f"{SEED}={seed}"], compose, fingerprint)
        runs.setdefault(planned.run_id, planned)
        levels = (*request.levels, (tuning.key, override.split("=", 1)[1]))
        arms.setdefault(planned.arm_id, Arm(planned.arm_id, levels, f"{request.label}, {override}"))
        tuned.setdefault(planned.arm_id, (request.label, override))
    keys = (*(factor.name for factor in file.factors), tuning.key)
    facts = {"question": file.question, "file": str(file.path), "extra": list(extra), "tuned": tuned}
    name = file_study_name(file, extra)
    return Study(name, "tuning", keys, tuple(arms.values()), next(iter(arms)), tuple(runs.values()), facts)


def _planned(overrides: Sequence[str], compose: Compose, fingerprint: Fingerprint) -> PlannedRun:
    config = compose(overrides)
    mark = fingerprint(config)
    return PlannedRun(run_id(config, mark), arm_id(config, mark), tuple(overrides), config)


def _check_size(what: str, runs: int, max_runs: int | None, otherwise: str) -> None:
    if max_runs is not None and runs > max_runs:
        raise SweepError(
            f"{what} has {runs} runs; allowed: {max_runs} (sweep.max_runs). {otherwise}, or raise it: "
            f"sweep.max_runs={runs}"
        )


def study_name(swept: Sequence[str], run_ids: Sequence[str]) -> str:
    """Swept keys and eight hex digits of the runs, whatever their order: `lrn-pool-1a2b3c4d`."""
    words = [re.sub(r"[^A-Za-z0-9_]+", "_", re.split(r"[/.]", key)[-1]) for key in swept if key != SEED]
    return "-".join([*(words or ["run"]), _eight_digits(run_ids)])[-100:]


def file_study_name(file: StudyFile, extra: Sequence[str]) -> str:
    """The file's name; with eight hex digits where overrides make another study of it."""
    name = re.sub(r"[^A-Za-z0-9_.-]+", "_", file.name).strip(".") or "study"
    changing = [override for override in extra if not _is_free(override)]
    return f"{name}-{_eight_digits(changing)}" if changing else name


def _is_free(override: str) -> bool:
    key = override.lstrip("+~").split("=", 1)[0].replace("/", ".")
    return key != "init_from" and any(key == free or key.startswith(f"{free}.") for free in (*FREE_KEYS, "hydra"))


def _eight_digits(words: Sequence[str]) -> str:
    return hashlib.sha256(" ".join(sorted(words)).encode()).hexdigest()[:8]
