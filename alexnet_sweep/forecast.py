"""What a sweep would do, without doing it: a row a planned run, with the reason, the time and the room it takes."""

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from alexnet_sweep.config import Config
from alexnet_sweep.errors import SweepError
from alexnet_sweep.estimate import Measured, StoreNeeded, Work, measured_runs, seconds_of, store_needed, work_of
from alexnet_sweep.identity import identity, source_hash
from alexnet_sweep.ledger import TO_START, TO_TRAIN, Action, Decision, check_retrain, decide, in_words
from alexnet_sweep.planning import Asked, Planner
from alexnet_sweep.room import WAYS_OUT, Disk, disks
from alexnet_sweep.store import RunFolder, newest_runs
from alexnet_sweep.study import Compose, PlannedRun, Study
from alexnet_sweep.terminal import show
from alexnet_sweep.wording import amount, counted, duration

if TYPE_CHECKING:  # it imports torch
    from alexnet_sweep.probe import Compiling

FEW_KEYS = 3  # differences worth naming
WILL_BE = {
    Action.DONE: "skipped",
    Action.RUN: "trained",
    Action.RESUME: "resumed",
    Action.EVALUATE: "evaluated",
    Action.ALIVE: "waited for",
    Action.GIVEN_UP: "left alone",
    Action.STALE: "refused",
}


@dataclass(frozen=True)
class Row:
    """One planned run."""

    arm: str
    run: PlannedRun
    decision: Decision
    why: str
    work: Work | None
    seconds: float | None  # still to be spent

    @property
    def starts(self) -> bool:
        return self.decision.action in TO_START


def forecast(
    asked: Asked,
    *,
    compose: Compose,
    as_json: bool,
    budget_seconds: float | None,
    probe: bool,
    at_once: Callable[[int], int],
) -> None:
    """Print the plan of a sweep; composes and checks all of it, trains and writes nothing (but with `probe`).

    Raises:
        SweepError: what the sweep itself would refuse.
    """
    planner = Planner(asked, compose)
    tuning = planner.tuning()
    study = tuning or planner.study()
    check_retrain(planner.settings.sweep, lambda: planner.run_ids(tuning))
    rows, compiling = _rows(study, planner, probe=probe)
    fits = _fits(rows, budget_seconds, one_by_one=planner.settings.sweep.on_failure == "stop")
    stores = _stores(rows, planner)
    starting = [row.run.config for row in rows if row.starts]
    needed = disks(starting, planner.facts.meta, at_once(len(starting)))
    if as_json:
        more: dict[str, Any] = {"data": [vars(store) for store in stores], "compiling": compiling and vars(compiling)}
        more["disks"] = [_as_value(disk) for disk in needed]
        show(json.dumps(_as_values(study, rows, fits) | more, indent=1))
    else:
        words = [*map(_store_words, stores), *map(_disk_words, needed), *_compiling_words(compiling)]
        show("\n".join([_table(study, rows, fits, budget_seconds), *words]))


def _compiling_words(found: "Compiling | None") -> list[str]:
    """A line where compiling pays, as the probe has measured it."""
    if found is None or found.gain_seconds <= 0:
        return []
    each = f"{1000 * found.compiled_step_seconds:,.0f} instead of {1000 * found.step_seconds:,.0f} ms a step"
    return [
        f"trainer.compile=true: {each}, after {found.compile_seconds:.0f} s of compiling; the largest run would take "
        f"{duration(found.gain_seconds)} less"
    ]


def _as_value(disk: Disk) -> dict[str, Any]:
    sizes = {"needed_bytes": disk.needed_bytes, "free_bytes": disk.free_bytes, "fits": disk.fits}
    return {"folder": str(disk.folder), **sizes, "parts": dict(disk.parts)}


def _disk_words(disk: Disk) -> str:
    return f"room: {disk}" if disk.fits else f"room: {disk}: a start is refused. {WAYS_OUT}"


def _stores(rows: Sequence[Row], planner: Planner) -> list[StoreNeeded]:
    """Of the runs that would start, each data set once."""
    found: dict[str, StoreNeeded] = {}
    for config in (row.run.config for row in rows if row.starts):
        meta = planner.facts.meta(config)
        if meta.fingerprint not in found:
            found[meta.fingerprint] = store_needed(config, meta)
    return list(found.values())


def _store_words(store: StoreNeeded) -> str:
    if store.packed:
        return f"data: {store.name} is packed ({store.kind})"
    line = f"data: {store.name} is packed first, {amount(store.needed_bytes)} ({store.kind}) in {store.folder}"
    if store.fits:
        return f"{line}; {amount(store.free_bytes)} are free"
    line += f", where only {amount(store.free_bytes)} are free: it does not fit"
    if store.kind == "raw" and store.jpeg_bytes < store.free_bytes:
        return f"{line}. data.store=jpeg takes about {amount(store.jpeg_bytes)}"
    return f"{line}, nor would JPEGs ({amount(store.jpeg_bytes)}). Set paths.store to a folder on another disk"


def _rows(study: Study, planner: Planner, *, probe: bool) -> "tuple[list[Row], Compiling | None]":
    labels = {arm.arm_id: arm.label for arm in study.arms}
    settings = planner.settings
    device = None if settings.trainer.device == "auto" else settings.trainer.device
    measured = measured_runs(planner.runs)
    works = [work_of(run.config, planner.facts.meta(run.config)) for run in study.runs]
    compiling = None
    if probe:
        one, compiling = _probed(study, works, planner)
        measured = [one]
    known = _known_configs(planner.runs)
    rows = []
    folders = [RunFolder(planner.runs / run.run_id) for run in study.runs]
    decisions = [
        decide(folder, settings.sweep, source_hash(run.config)) for folder, run in zip(folders, study.runs, strict=True)
    ]
    foreseen = planner.foreseen(study.runs, decisions)
    for run, work, folder, decision in zip(study.runs, works, folders, foreseen, strict=True):
        why = decision.why
        if why == "new":
            why = _new_because(run, planner.facts.fingerprint(run.config), known)
        seconds = seconds_of(work, measured, device) if work is not None else None
        if work is not None and seconds is not None:
            seconds *= _left(folder, decision, work)
        rows.append(Row(labels[run.arm_id], run, decision, why, work, seconds))
    return rows, compiling


def _left(folder: RunFolder, decision: Decision, work: Work) -> float:
    """The share of a run that is still to be done."""
    if decision.action is Action.EVALUATE:
        return work.evaluating / work.amount
    if decision.action not in TO_TRAIN:
        return 0.0
    status = folder.read_status()
    if decision.action is Action.RESUME and status.get("steps"):
        return max(0.0, 1.0 - float(status.get("step", 0)) / float(status["steps"]))
    return 1.0


def _known_configs(runs: Path) -> dict[str, dict[str, Any]]:
    configs = ((folder.run_id, folder.read_config()) for folder in newest_runs(runs))
    return {run_id: _flat(config) for run_id, config in configs if config is not None}


def _new_because(run: PlannedRun, mark: str, known: Mapping[str, Mapping[str, Any]]) -> str:
    """`new: optim.learning_rate differs from run …`, where a known run is near."""
    own = _flat(identity(run.config, mark))
    own.pop("data.fingerprint")
    best: tuple[int, str, list[str]] | None = None
    for run_id, config in known.items():
        different = [key for key, value in own.items() if config.get(key, value) != value or key not in config]
        if different and (best is None or len(different) < best[0]):
            best = (len(different), run_id, different)
    if best is None or best[0] > FEW_KEYS:
        return "new"
    return f"new: {', '.join(best[2])} not as in run {best[1]}"


def _flat(node: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in node.items():
        found |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) and value else {f"{prefix}{key}": value}
    return found


def _probed(study: Study, works: Sequence[Work | None], planner: Planner) -> "tuple[Measured, Compiling | None]":
    """A few steps of the largest run, timed; compiled too where that may pay."""
    sized = [(work.amount, place) for place, work in enumerate(works) if work is not None]
    if not sized:
        raise SweepError("--probe: the networks are of your own; how large they are is not known before they are built")
    place = max(sized)[1]
    work = works[place]
    assert work is not None
    from alexnet_sweep import probe

    config: Config = study.runs[place].config
    planner.facts.pack(config)
    found = probe.probed(config)
    return Measured(work.amount, work.net, found.seconds, found.device), probe.compiling(config, found)


def _fits(rows: Sequence[Row], budget_seconds: float | None, *, one_by_one: bool) -> list[bool | None]:
    """Whether each run that starts would end within the budget, one after the other; None without budget or estimate.

    As in a sweep, those that wait for the weights of another come last, unless runs start `one_by_one` as they stand.
    """
    spent = 0.0
    fits: list[bool | None] = [None] * len(rows)
    starting = {row.run.run_id for row in rows if row.starts}
    waits = [not one_by_one and row.decision.trained_by in starting for row in rows]
    for place in sorted(range(len(rows)), key=waits.__getitem__):
        seconds = rows[place].seconds
        if budget_seconds is None or not rows[place].starts or seconds is None:
            continue
        spent += seconds
        fits[place] = spent <= budget_seconds
    return fits


def _as_values(study: Study, rows: Sequence[Row], fits: Sequence[bool | None]) -> dict[str, Any]:
    return {
        "study": study.name,
        "design": study.design,
        "arms": len(study.arms),
        "actions": dict(Counter(str(row.decision.action) for row in rows)),
        "seconds": _sum(row.seconds for row in rows if row.starts),
        "disk_bytes": sum(row.work.disk_bytes for row in rows if row.work is not None and row.starts),
        "runs": [
            {
                "run_id": row.run.run_id,
                "arm": row.arm,
                "seed": row.run.seed,
                "overrides": list(row.run.overrides),
                "action": str(row.decision.action),
                "why": row.why,
                "trained_by": row.decision.trained_by,
                "seconds": row.seconds,
                "disk_bytes": row.work.disk_bytes if row.work is not None else None,
                "fits": fit,
            }
            for row, fit in zip(rows, fits, strict=True)
        ],
    }


def _sum(values: Any) -> float | None:
    found = list(values)
    return None if any(value is None for value in found) else float(sum(found))


def _table(study: Study, rows: Sequence[Row], fits: Sequence[bool | None], budget_seconds: float | None) -> str:
    head = ["arm", "seed", "run", "will be", "time", "why"]
    cells = [
        [
            row.arm,
            str(row.run.seed),
            row.run.run_id,
            _action(row, fit),
            "–" if row.seconds is None else duration(row.seconds),
            row.why,
        ]
        for row, fit in zip(rows, fits, strict=True)
    ]
    widths = [max(len(line[column]) for line in [head, *cells]) for column in range(len(head))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in [head, *cells]
    ]
    return "\n".join(
        [
            f"{study.name}: {counted(len(study.arms), 'arm')}, {counted(len(rows), 'run')}",
            "",
            *lines,
            "",
            *_totals(study, rows, fits, budget_seconds),
        ]
    )


def _action(row: Row, fits: bool | None) -> str:
    return WILL_BE[row.decision.action] + (", beyond the budget" if fits is False else "")


def _totals(study: Study, rows: Sequence[Row], fits: Sequence[bool | None], budget_seconds: float | None) -> list[str]:
    starting = [row for row in rows if row.starts]
    lines = [in_words(row.decision.action for row in rows)]
    seconds = _sum(row.seconds for row in starting)
    if any(row.work is None for row in starting):
        lines.append("time: not known of networks of your own, nor how large they are")
    elif starting and seconds is None:
        lines.append(
            "time: not known, no run has been measured here; --probe packs the data set and trains a few steps"
        )
    elif starting and seconds is not None:
        lines.append(f"time: about {duration(seconds)} one run after the other ({seconds / 3600:.2f} device hours)")
    works = [row.work for row in starting if row.work is not None]
    if works:
        kept = sum(row.work.kept_bytes(row.run.config.checkpoint.keep) for row in starting if row.work is not None)
        lines.append(f"disk: about {amount(kept)} kept")
    if budget_seconds is not None and seconds is not None:
        fitting = sum(fit is True for fit in fits)
        lines.append(f"budget {duration(budget_seconds)}: enough for {fitting:,} of {counted(len(starting), 'run')}")
    if study.design == "tuning":
        lines.append("then the study itself, each arm at its chosen level: plan again once these are done")
    stale = sum(row.decision.action is Action.STALE for row in rows)
    if stale:
        lines.append(
            f"a start stops: {counted(stale, 'run')} of older training code; sweep.stale=retrain, or sweep.stale=keep"
        )
    return lines
