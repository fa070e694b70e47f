"""What keeps two runs of a study from being compared: data, split, held-out rule, length, schedule, training sources.

Arms differ by what they switch; a run that differs from the baseline's in anything of this list is kept out of the
deltas, and named, unless its own arm switches that very thing or mixing is allowed.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
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
    ("views", "result.views", ("eval", "data")),
    ("averaging over views", "config.eval.average", ("eval",)),
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
    """The finished runs that differ from the baseline in what their arm does not switch, in the plan's order.

    The baseline is what most of its finished runs have, out of those with the sources that the study was last started
    with, if there are any; of equally many, what the first has.
    """
    reference = _reference(evidence)
    if reference is None:
        return []
    found = []
    for record in evidence.done:
        switched = _switched_by(record, evidence)
        differs = tuple(
            (rule[0], _short(theirs, mine), _short(mine, theirs))
            for rule, theirs, mine in zip(RULES, reference, _facts(record), strict=True)
            if theirs != mine and not _is_switched(rule[2], switched)
        )
        if differs:
            found.append(KeptOut(record, differs))
    return found


def by_design(evidence: Evidence) -> dict[str, list[str]]:
    """What must agree otherwise, but differs from the baseline in arms that switch it: each with its values."""
    reference, found = _reference(evidence), dict[str, list[str]]()
    if reference is None:
        return found
    for record in evidence.done:
        switched = _switched_by(record, evidence)
        for rule, theirs, mine in zip(RULES, reference, _facts(record), strict=True):
            if theirs != mine and _is_switched(rule[2], switched):
                values = found.setdefault(rule[0], [_short(theirs, mine)])
                if _short(mine, theirs) not in values:
                    values.append(_short(mine, theirs))
    return found


def _reference(evidence: Evidence) -> tuple[str, ...] | None:
    baselines = [record for record in evidence.done if record.arm_id == evidence.baseline]
    assert all(record.result is not None for record in baselines), "of runs that are done"
    fresh = [record for record in baselines if (record.result or {})["source_hash"] == evidence.plan.get("source_hash")]
    facts = [_facts(record) for record in fresh or baselines]
    return Counter(facts).most_common(1)[0][0] if facts else None


def _switched_by(record: RunRecord, evidence: Evidence) -> set[str]:
    """Keys and groups that a run's arm has otherwise than the baseline: its levels, and the overrides they bundle."""
    levels = {arm["arm_id"]: arm["levels"] for arm in evidence.plan["arms"]}
    own, base = levels[record.arm_id], levels[evidence.baseline]
    keys = {str(key) for key in {*own, *base} if own.get(key) != base.get(key)}
    baselines = [run for run in evidence.records if run.arm_id == evidence.baseline]
    common = {override for run in baselines for override in run.overrides}
    return keys | {_key(override) for override in common.symmetric_difference(record.overrides)} - {"seed"}


def _key(override: str) -> str:
    return override.lstrip("+~").split("=", 1)[0]


def _is_switched(subjects: Sequence[str], switched: Collection[str]) -> bool:
    """Whether one of these keys, groups or a key below is switched, or whole recipes that set them."""
    if subjects and "experiment" in switched:
        return True
    return any(key == subject or key.startswith(f"{subject}.") for subject in subjects for key in switched)


def _facts(record: RunRecord) -> tuple[str, ...]:
    whole = {"result": record.result or {}, "config": record.config or {}}
    return tuple(_text(_at(whole, path)) for _, path, _ in RULES)


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
    """Effective settings (device, threads, precision, packages) that differ between runs or over a resumption."""
    flat = _values(
        value.items() if isinstance(value, dict) else [(key, value)]
        for effective in _effective(records)
        for key, value in effective.items()
    )
    return {key: values for key, values in flat.items() if len(values) > 1}


def effective_settings(records: Sequence[RunRecord]) -> dict[str, list[str]]:
    """Each effective setting with the values that runs had, over resumptions too."""
    return _values(effective.items() for effective in _effective(records))


def _effective(records: Sequence[RunRecord]) -> Iterator[dict[str, Any]]:
    for record in records:
        assert record.result is not None, "only of runs that are done"
        yield from (record.result["effective"], *record.result["earlier_effective"])


def _values(pairs: Iterable[Iterable[tuple[str, Any]]]) -> dict[str, list[str]]:
    settings: dict[str, set[str]] = {}
    for key, value in chain.from_iterable(pairs):
        settings.setdefault(key, set()).add(_text(value))
    return {key: sorted(values) for key, values in settings.items()}
