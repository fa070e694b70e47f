"""A study file: a question, a baseline, factors and seeds → arms to be composed. Knows YAML, not Hydra.

question: Does normalisation matter more than pooling?
design: one_factor_at_a_time       # cumulative (with order: build_up | take_away | both), factorial, pairs
baseline: {experiment: cifar10}    # overrides common to every run
factors:                           # the baseline's level first
  model/lrn: ["on", "off"]
  optim.learning_rate: [0.01, 0.001]
  local3: {wide: [model.local3_width=64], narrow: [model.local3_width=32]}
seeds: 3                           # or a list
tune: {key: optim.learning_rate, levels: [0.01, 0.003], seeds: 1}    # optional: chosen for each arm
claims: {model/lrn=off: P03, baseline: P08}    # optional: one id an arm, or a list; of views, the baseline's
"""

import dataclasses
import re
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from alexnet_sweep.claims import TURNED, claims_of, comparisons
from alexnet_sweep.designs import Cell, Factor, Level, baseline, cells
from alexnet_sweep.errors import ConfigError, nearest
from alexnet_sweep.groups import options

BASELINE = "baseline"  # the label of its arm
KEYS = ("question", "design", "order", "baseline", "factors", "seeds", "tune", "claims")
NEEDED = ("question", "design", "factors", "seeds")


@dataclass(frozen=True)
class Tuning:
    """A key whose level is chosen for each arm on the held-out part, before the arms are compared."""

    key: str
    levels: tuple[str, ...]
    seeds: tuple[int, ...]


@dataclass(frozen=True)
class ArmRequest:
    """One combination of levels, still to be composed."""

    overrides: tuple[str, ...]
    levels: tuple[tuple[str, str], ...]  # factor and level, of every factor
    label: str  # the levels that differ from the baseline's

    def with_override(self, override: str | None) -> tuple[str, ...]:
        """The overrides, with one in place of those of the same key."""
        if override is None:
            return self.overrides
        return (*(own for own in self.overrides if override_key(own) != override_key(override)), override)


@dataclass(frozen=True)
class StudyFile:
    """A study as its file says it, checked as far as can be told without composing."""

    path: Path
    question: str
    design: str
    order: str
    common: tuple[str, ...]
    factors: tuple[Factor, ...]
    seeds: tuple[int, ...]
    tuning: Tuning | None
    claims: Mapping[str, tuple[str, ...]]  # by arm
    text: str = ""  # of the file, as it is

    @property
    def name(self) -> str:
        return self.path.stem

    def arms(self, extra: Sequence[str] = ()) -> list[ArmRequest]:
        """The design's arms, the baseline first; `extra` overrides win over the file's common ones.

        Raises:
            ConfigError: where an extra override sets a factor or the tuned key, or nothing is left to compare.
        """
        switched = {factor.name for factor in self.factors}
        switched |= {
            override_key(override) for factor in self.factors for level in factor.levels for override in level.overrides
        }
        if self.tuning is not None:
            switched.add(self.tuning.key)
        for override in extra:
            if override_key(override) in switched:
                raise ConfigError(
                    f"{override}: {override_key(override)} is a factor of {self.path}; leave it out, or change the file"
                )
        start = baseline(self.factors)
        found = cells(self.design, self.factors, self.order)
        if len(found) < 2:
            raise ConfigError(f"{self.path}: factors: give one arm only; a comparison needs at least two levels")
        found.sort(key=lambda cell: cell != start)  # stable: the baseline first, the others as they came
        return [self._request(cell, start, extra) for cell in found]

    def with_seeds(self, seeds: Sequence[int]) -> "StudyFile":
        """The same study with other seeds."""
        return dataclasses.replace(self, seeds=tuple(seeds))

    def _request(self, cell: Cell, start: Cell, extra: Sequence[str]) -> ArmRequest:
        own = [override for level in cell for override in level.overrides]
        # One override a key, the last: Hydra refuses a group that is chosen twice.
        chosen = {override_key(override): override for override in (*self.common, *extra, *own)}
        levels = tuple((factor.name, level.name) for factor, level in zip(self.factors, cell, strict=True))
        differing = [pair for pair, level, first in zip(levels, cell, start, strict=True) if level != first]
        label = ", ".join(f"{name}={level}" for name, level in differing) or BASELINE
        return ArmRequest(tuple(chosen.values()), levels, label)


def sweeps_folder() -> Path:
    """The studies that come with the program: inside the installed package, or beside it in a checkout."""
    inside = Path(__file__).parent / "sweeps"
    return inside if inside.is_dir() else Path(__file__).parent.parent / "sweeps"


def find_study(name: str) -> Path:
    """The file of `study=NAME` (one of ours, or in ./sweeps) or `study=FILE`.

    Raises:
        ConfigError: where there is none, with those there are.
    """
    if name.endswith((".yaml", ".yml")) or "/" in name:
        path = Path(name)
        if path.is_file():
            return path
        raise ConfigError(f"study={name}: no such file; give a YAML file, or one of {', '.join(_names())}")
    for folder in (Path("sweeps"), sweeps_folder()):
        if (folder / f"{name}.yaml").is_file():
            return folder / f"{name}.yaml"
    raise ConfigError(f"study={name}: no such study.{nearest(name, _names())} Have: {', '.join(_names())}")


def _names() -> list[str]:
    return sorted({file.stem for folder in (Path("sweeps"), sweeps_folder()) for file in folder.glob("*.yaml")})


def read_study(path: Path) -> StudyFile:
    """A study file, checked.

    Raises:
        ConfigError: one line: file, key, what was found, what is allowed.
    """
    try:
        text = _content(path)
        return dataclasses.replace(_read(path, _parsed(text)), text=text)
    except ConfigError as error:
        message = str(error)
        raise ConfigError(message if message.startswith(str(path)) else f"{path}: {message}") from error


def _content(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot be read ({error})") from error


def _parsed(text: str) -> dict[str, Any]:
    try:
        values = yaml.load(text, _StrictLoader)  # a SafeLoader of ours
    except (yaml.YAMLError, ValueError, OverflowError, RecursionError) as error:
        raise ConfigError(f"not valid YAML ({' '.join(str(error).split())[:200]})") from error
    if not isinstance(values, dict):
        raise ConfigError(f"holds {_shown(values)}; allowed: a table of {', '.join(KEYS)}")
    return values


def _read(path: Path, values: dict[str, Any]) -> StudyFile:
    for key in values:
        if key not in KEYS:
            raise ConfigError(f"{_shown(key)}: no such key.{nearest(str(key), KEYS)} Have: {', '.join(KEYS)}")
    for key in NEEDED:
        if key not in values:
            raise ConfigError(f"{key}: missing; needs {', '.join(NEEDED)}")
    for key in ("question", "design"):
        if not isinstance(values[key], str) or not values[key].strip():
            raise ConfigError(f"{key}: {_shown(values[key])}; allowed: a line of text")
    order = values.get("order", "build_up")
    factors = _factors(values["factors"])
    cells(values["design"], factors, order if isinstance(order, str) else _shown(order))
    study = StudyFile(
        path,
        " ".join(values["question"].split()),
        values["design"],
        order,
        tuple(_override(key, value) for key, value in _table("baseline", values.get("baseline", {})).items()),
        factors,
        _seeds("seeds", values["seeds"]),
        _tuning(values.get("tune")),
        {},
    )
    _check_keys(study)
    labels = {arm.label for arm in study.arms()}
    claims = {}
    for label, value in _table("claims", values.get("claims", {})).items():
        if label not in labels:
            raise ConfigError(
                f"claims: {label}: no arm of that name.{nearest(label, labels)} Have: {', '.join(sorted(labels))}"
            )
        claims[label] = tuple(value) if isinstance(value, list) else (value,)
        for claim in claims[label]:
            if not isinstance(claim, str):
                raise ConfigError(f"claims: {label}: {_shown(claim)}; allowed: the id of a claim, as P03, or a list")
            _check_claim(label, claim, is_baseline=label == BASELINE)
    return dataclasses.replace(study, claims=claims)


def _check_claim(label: str, claim: str, *, is_baseline: bool) -> None:
    if claim.removeprefix(TURNED) not in comparisons():
        raise ConfigError(
            f"claims: {label}: {claim}: no such claim. Have: {', '.join(comparisons())}; with a "
            f"{TURNED} before it where the arm adds what the claim removes"
        )
    of_views = all(row.is_of_views for row in claims_of(claim))
    if of_views and (claim.startswith(TURNED) or not is_baseline):
        plain = claim.removeprefix(TURNED)
        raise ConfigError(f"claims: {label}: {claim} is about the views of one run; give {BASELINE}: {plain}")
    if is_baseline and not of_views:
        raise ConfigError(f"claims: {label}: {claim} compares an arm with the baseline; give it to that arm")


def _check_keys(study: StudyFile) -> None:
    """Refuse keys that two parts of the file set: the last would win without a word."""
    setters: dict[str, str] = {}
    for factor in study.factors:
        for key in sorted({override_key(override) for level in factor.levels for override in level.overrides}):
            if key in setters:
                raise ConfigError(f"factors: {factor.name} and {setters[key]} both set {key}; let one factor set it")
            setters[key] = factor.name
    if study.tuning is not None and study.tuning.key in setters:
        factor_name = setters[study.tuning.key]
        raise ConfigError(f"tune: key: {study.tuning.key} is set by the factor {factor_name}; tune another key")
    for where, keys in (("baseline", {override_key(override) for override in study.common}), ("factors", set(setters))):
        if "seed" in keys:
            raise ConfigError(f"{where}: seed: belongs under seeds, as seeds: 3 or seeds: [0, 1, 2]")


def _factors(value: Any) -> tuple[Factor, ...]:
    factors = []
    for name, levels in _table("factors", value).items():
        if isinstance(levels, dict):
            found = [_bundle(name, level, overrides) for level, overrides in levels.items()]
        elif isinstance(levels, list):
            found = [Level(_level_name(name, level), (_override(name, level),)) for level in levels]
        else:
            raise ConfigError(f"factors: {name}: {_shown(levels)}; allowed: a list of levels, or levels with overrides")
        names = [level.name for level in found]
        if not names:
            raise ConfigError(f"factors: {name}: no levels; give the baseline's first, then others")
        if len(set(names)) < len(names):
            twice = next(level for level in names if names.count(level) > 1)
            raise ConfigError(f"factors: {name}: level {twice} is given twice")
        factors.append(Factor(name, tuple(found)))
    if not factors:
        raise ConfigError("factors: none; give at least one with two levels")
    return tuple(factors)


def _bundle(factor: str, level: Any, overrides: Any) -> Level:
    listed = overrides if isinstance(overrides, list) else [overrides]
    for override in listed:
        if not isinstance(override, str) or "=" not in override or not override_key(override).strip():
            raise ConfigError(f"factors: {factor}: {level}: {_shown(override)}; allowed: a list of KEY=VALUE")
    name = ("on" if level else "off") if isinstance(level, bool) else _level_name(factor, level)
    return Level(name, tuple(listed))


def _level_name(factor: str, value: Any) -> str:
    """As it is written; YAML reads a group's unquoted options on and off as booleans."""
    if isinstance(value, bool) and factor in options():
        return "on" if value else "off"
    return value if isinstance(value, str) else _text(value)


def _tuning(value: Any) -> Tuning | None:
    if value is None:
        return None
    table = _table("tune", value)
    for key in table:
        if key not in ("key", "levels", "seeds"):
            raise ConfigError(
                f"tune: {key}: no such key.{nearest(key, ('key', 'levels', 'seeds'))} Have: key, levels, seeds"
            )
    tuned, levels = table.get("key"), table.get("levels")
    if not isinstance(tuned, str) or not isinstance(levels, list) or len(levels) < 2:
        raise ConfigError(f"tune: {_shown(value)}; allowed: {{key: KEY, levels: [at least two values], seeds: 1}}")
    different = tuple(dict.fromkeys(_override(tuned, level) for level in levels))
    if len(different) < 2:
        raise ConfigError(f"tune: levels: {_shown(levels)}; allowed: at least two different values")
    return Tuning(tuned, different, _seeds("tune: seeds", table.get("seeds", 1)))


def _seeds(where: str, value: Any) -> tuple[int, ...]:
    if isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= 10_000:
        return tuple(range(value))
    if not isinstance(value, list) or not value or not all(type(seed) is int and seed >= 0 for seed in value):
        raise ConfigError(f"{where}: {_shown(value)}; allowed: how many, from 1, or a list of different numbers from 0")
    if len(set(value)) < len(value):
        twice = next(seed for seed in value if value.count(seed) > 1)
        raise ConfigError(f"{where}: {twice} is given twice")
    return tuple(value)


def _table(where: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
        raise ConfigError(f"{where}: {_shown(value)}; allowed: a table of names and values")
    return value


def _override(key: str, value: Any) -> str:
    return f"{key}={_level_name(key, value) if isinstance(value, bool) else _text(value)}"


def _text(value: Any) -> str:
    """A YAML value as Hydra's override grammar writes it."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return "[" + ",".join(_text(item) for item in value) + "]"
    if isinstance(value, dict):
        return "{" + ",".join(f"{key}:{_text(item)}" for key, item in value.items()) + "}"
    if isinstance(value, str) and not re.fullmatch(r"[\w./:+%@|-]+( +[\w./:+%@|-]+)*", value, re.ASCII):
        # As Hydra's quoted strings have it: backslashes are doubled before a quote, and only there.
        escaped = re.sub(r"(\\*)'", lambda found: 2 * found[1] + "\\'", value)
        ended = re.sub(r"(\\+)$", lambda found: 2 * found[1], escaped)
        return f"'{ended}'"
    return str(value)


def override_key(override: str) -> str:
    """The group or key that an override sets."""
    return override.lstrip("+~").split("=", 1)[0].split("@", 1)[0]


def _shown(value: Any) -> str:
    text = " ".join(repr(value).split())
    return text if len(text) <= 60 else f"{text[:59]}…"


class _StrictLoader(yaml.SafeLoader):
    """YAML without tags that build objects, without aliases, and without keys given twice."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.events.AliasEvent):
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
            raise yaml.composer.ComposerError(None, None, "aliases (*name) are not allowed here", mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if isinstance(key, Hashable) and key in seen:
                raise yaml.constructor.ConstructorError(None, None, f"key {key!r} is given twice", key_node.start_mark)
            seen.add(key if isinstance(key, Hashable) else repr(key))
        return super().construct_mapping(node, deep)
