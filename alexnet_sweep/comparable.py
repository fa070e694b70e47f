"""What keeps two runs of a study from being compared: data, split, held-out rule, length, schedule, training sources.

Arms differ by what the study switches; a run that differs from the baseline's in anything of this list is kept out of
the deltas, and named, unless a factor of the study is that very thing or mixing is allowed.
"""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from alexnet_sweep.aggregate import Evidence, RunRecord

# What must agree: a word for it, where it stands in the config or the result, and the factors that are just this.
RULES: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("data", "result.data.fingerprint", ("data",)),
    ("test images", "result.data.test_images", ("data",)),
    ("training images", "result.data.train_images", ("data", "schedule")),  # held-out images may join them
    ("held-out part", "config.data.heldout_fraction", ("data",)),
    ("held-out part joins", "config.schedule.heldout_joins_fraction", ("schedule",)),
    ("epochs", "result.epochs", ("trainer.epochs",)),
    ("schedule", "config.schedule", ("schedule",)),
    ("training sources", "result.source_hash", ()),
)


@dataclass(frozen=True)
class KeptOut:
    """One run that is not compared, and in what it differs: what, the baseline's, its own."""

    record: RunRecord
    differs: tuple[tuple[str, str, str], ...]

    def words(self) -> str:
        return "; ".join(f"{what}: {own} instead of {baseline}" for what, baseline, own in self.differs)


def kept_out(evidence: Evidence) -> list[KeptOut]:
    """The finished runs that differ from the baseline in what no factor of the study switches, in the plan's order.

    The baseline is what most of its finished runs have; of equally many, what the first has.
    """
    switched = _switched_keys(evidence)
    rules = [rule for rule in RULES if not _is_switched(rule[2], switched)]
    baselines = [_facts(record, rules) for record in evidence.done if record.arm_id == evidence.baseline]
    if not baselines:
        return []
    reference = Counter(baselines).most_common(1)[0][0]
    found = []
    for record in evidence.done:
        own = _facts(record, rules)
        differs = tuple(
            (rule[0], _short(theirs, mine), _short(mine, theirs))
            for rule, theirs, mine in zip(rules, reference, own, strict=True)
            if theirs != mine
        )
        if differs:
            found.append(KeptOut(record, differs))
    return found


def by_design(evidence: Evidence) -> dict[str, list[str]]:
    """What must agree otherwise, but differs between arms since the study switches it: each with its values."""
    switched = _switched_keys(evidence)
    found: dict[str, list[str]] = {}
    for what, path, subjects in RULES:
        if _is_switched(subjects, switched):
            texts = [
                _text(_at({"result": run.result or {}, "config": run.config or {}}, path)) for run in evidence.done
            ]
            if len(set(texts)) > 1:
                found[what] = list(dict.fromkeys(_short(text, texts[0]) for text in texts if text != texts[0]))
                found[what].insert(0, _short(texts[0], next(text for text in texts if text != texts[0])))
    return found


def _switched_keys(evidence: Evidence) -> set[str]:
    """The study's factors, and the keys and groups that some run sets and others do not: what a factor may bundle."""
    runs = Counter(override for record in evidence.records for override in set(record.overrides))
    own = [override for override, count in runs.items() if count < len(evidence.records)]
    return {str(key) for key in evidence.plan["keys"]} | {override.lstrip("+~").split("=", 1)[0] for override in own}


def _is_switched(subjects: Sequence[str], switched: Collection[str]) -> bool:
    """Whether the study switches one of these keys, groups or a key below, or whole recipes that set them."""
    if subjects and "experiment" in switched:
        return True
    return any(key == subject or key.startswith(f"{subject}.") for subject in subjects for key in switched)


def _facts(record: RunRecord, rules: Sequence[tuple[str, str, tuple[str, ...]]]) -> tuple[str, ...]:
    whole = {"result": record.result or {}, "config": record.config or {}}
    return tuple(_text(_at(whole, path)) for _, path, _ in rules)


def _at(tree: Mapping[str, Any], path: str) -> Any:
    node: Any = tree
    for key in path.split("."):
        node = node.get(key) if isinstance(node, Mapping) else None
    return node


def _text(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key}={_text(value[key])}" for key in sorted(value))
    if isinstance(value, list):
        return f"[{' '.join(map(_text, value))}]"
    return "nothing" if value is None else str(value)


def _short(text: str, other: str) -> str:
    """Of a list of settings those that differ from the other's."""
    own, theirs = text.split(", "), set(other.split(", "))
    return ", ".join(part for part in own if part not in theirs) or text


def mixed_settings(records: Sequence[RunRecord]) -> dict[str, list[str]]:
    """Effective settings (device, threads, precision, versions) that differ between runs or over a resumption."""
    settings: dict[str, set[str]] = {}
    for record in records:
        assert record.result is not None, "only of runs that are done"
        for effective in [record.result["effective"], *record.result["earlier_effective"]]:
            for key, value in effective.items():
                settings.setdefault(key, set()).add(_text(value))
    return {key: sorted(values) for key, values in settings.items() if len(values) > 1}
