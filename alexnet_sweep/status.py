"""`python -m alexnet_sweep.status [STUDY]`: a live table of a study, from its files alone. Imports no torch."""

import argparse
import csv
import json
import math
import os
import shutil
import statistics
import sys
import time
import unicodedata
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from alexnet_sweep import machine
from alexnet_sweep.errors import ConfigError, FolderError, SweepError
from alexnet_sweep.store import DONE, FAILED, INTERRUPTED, RUNNING, RunFolder, StudyFolder, one_line, study_folder

WAITING, DEAD, UNREADABLE = "waiting", "dead", "unreadable"
STATES = (DONE, RUNNING, WAITING, FAILED, INTERRUPTED, DEAD, UNREADABLE)
SHOWN_FIRST = (RUNNING, FAILED, DEAD, UNREADABLE, INTERRUPTED, WAITING, DONE)  # what to see where room is short
TO_DO = (WAITING, INTERRUPTED, DEAD)  # what a sweep still starts, or goes on with
READERS = 16  # on a shared file system most of the time is waiting for the server

# The other screen, without a cursor; what was on the terminal comes back afterwards.
ENTER, LEAVE = "\x1b[?1049h\x1b[?25l", "\x1b[?25h\x1b[?1049l"
HOME, CLEAR_LINE, CLEAR_BELOW = "\x1b[H", "\x1b[K", "\x1b[J"

GAP, BELOW = "  ", "  └ "
LEAST_ARM = 20  # columns that a label is cut to before others are left out
DROPPED_FIRST = ("images/s", "epoch", "host", "left", "error, %", "seed")
TO_THE_LEFT = ("arm", "state", "host")

Stamp = tuple[int, ...] | None


@dataclass(frozen=True)
class Planned:
    """A run as the plan names it."""

    run_id: str
    arm_id: str
    arm: str
    seed: int | str


@dataclass(frozen=True)
class Row:
    """What is known of one planned run; errors are fractions, of the centre view."""

    run_id: str
    arm_id: str
    arm: str
    seed: int | str
    state: str
    epoch: int | None = None  # the one it is in, from 1
    epochs: int | None = None
    step: int | None = None
    steps: int | None = None
    packed_fraction: float | None = None  # of its data set, while that is being packed
    error: float | None = None
    error_of: str | None = None  # test, held-out or train
    images_per_second: float | None = None
    seconds_left: float | None = None
    whole_seconds: float | None = None  # from the first step to the last, at the pace seen
    host: str | None = None
    process: int | None = None
    reason: str | None = None


class Reader:
    """Rows of a study, time and again; what has not changed since is not read again."""

    def __init__(self, runs: Path, study: str | None) -> None:
        """
        Raises:
            FolderError: where there is no such study, or none at all.
        """
        self.runs = runs
        self.folder = newest_study(runs) if study is None else study_folder(runs, study)
        self._plan_stamp = _stamp(self.folder.plan)
        self._planned = planned_runs(self.folder)
        self._known: dict[Planned, tuple[tuple[Stamp, ...], Row]] = {}

    def rows(self) -> list[Row]:
        """One for every planned run, in the plan's order."""
        self._look_at_plan()
        with ThreadPoolExecutor(READERS) as pool:
            return list(pool.map(self._row, self._planned))

    def _look_at_plan(self) -> None:
        stamp = _stamp(self.folder.plan)
        if stamp == self._plan_stamp:
            return
        try:
            self._planned = planned_runs(self.folder)
            self._plan_stamp = stamp
        except (FolderError, OSError):
            pass  # gone or damaged meanwhile: the runs are still those we know

    def _row(self, planned: Planned) -> Row:
        folder = RunFolder(self.runs / planned.run_id)
        stamps = _stamps(folder)
        known = self._known.get(planned)
        if known is not None and known[0] == stamps and _still_true(known[1], folder):
            return known[1]
        row = read_row(planned, folder)
        self._known[planned] = stamps, row
        return row


def _stamps(folder: RunFolder) -> tuple[Stamp, ...]:
    """Of the files that a row depends on: of a finished run one alone, so that it costs one question."""
    result = _stamp(folder.result)
    return (result,) if result is not None else (None, _stamp(folder.status), _stamp(folder.metrics))


def _stamp(path: Path) -> Stamp:
    try:
        found = path.stat()
    except (OSError, ValueError):  # a name with a null byte is no file either
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def _still_true(row: Row, folder: RunFolder) -> bool:
    """Whether the row of a run whose files have not changed stands: its process may have gone, a read succeed now."""
    if row.state != RUNNING:
        return row.state != UNREADABLE
    try:
        return folder.alive_elsewhere() is not None
    except (FolderError, OSError, ValueError, TypeError, OverflowError):
        return False


def newest_study(runs: Path) -> StudyFolder:
    """The study that was planned last.

    Raises:
        FolderError: where there is none.
    """
    plans = [(_stamp(plan) or (), plan) for plan in sorted((runs / "_studies").glob("*/plan.json"))]
    if not plans:
        raise FolderError(f"{runs}: no study yet; --runs says where run folders lie, a sweep (-m) makes a study")
    return StudyFolder(max(plans)[1].parent)


def planned_runs(study: StudyFolder) -> list[Planned]:
    """The runs of a plan with the labels of their arms.

    Raises:
        FolderError: where there is no such plan, or not one that names its runs.
    """
    plan = study.read_plan()
    try:
        labels = {str(arm["arm_id"]): str(arm["label"]) for arm in plan["arms"]}
        runs = [(str(run["run_id"]), str(run["arm_id"]), run["seed"]) for run in plan["runs"]]
    except (KeyError, TypeError) as error:
        raise FolderError(
            f"{study.plan}: names no runs ({one_line(error)}); start the sweep again to mend it"
        ) from error
    if any(Path(name).name != name for name, _, _ in runs):
        raise FolderError(f"{study.plan}: a run_id that is no folder's name; start the sweep again to mend it")
    return [
        Planned(name, arm, labels.get(arm, arm), seed if isinstance(seed, int) else str(seed))
        for name, arm, seed in runs
    ]


def read_row(planned: Planned, folder: RunFolder) -> Row:
    """A run as its files show it at this moment; never raises, whatever is in them."""
    bare = Row(planned.run_id, planned.arm_id, planned.arm, planned.seed, WAITING)
    try:
        # In this order: a run that ends in between is then done, and not for a moment without a result.
        status = folder.read_status()
        result = folder.read_result()
        if result is not None:
            return _finished(bare, status, result)
        if not status:
            there = folder.status.is_file()
            return replace(bare, state=UNREADABLE, reason=f"{folder.status.name}: not valid") if there else bare
        state, reason = _state(folder, status)
        if state is None:  # another status by now
            return read_row(planned, folder)
        return _unfinished(bare, folder, status, state, reason)
    except (FolderError, OSError, ValueError, TypeError, OverflowError, RecursionError) as error:
        return replace(bare, state=UNREADABLE, reason=one_line(error))


def _state(folder: RunFolder, status: dict[str, Any]) -> tuple[str | None, str | None]:
    """State and reason of a run without a result; no state where its status has just changed."""
    state = status.get("state")
    if state == RUNNING:
        if folder.alive_elsewhere() is not None:
            return RUNNING, None
        if folder.read_status() != status:
            return None, None
        if status.get("host") == machine.host():
            return DEAD, f"process {status.get('process')} is gone"
        silent = _number(status.get("heartbeat"))
        return DEAD, "no heartbeat" + (f" for {duration(time.time() - silent)}" if silent is not None else "")
    if state == DONE:
        return WAITING, None  # its result was taken away
    if state == FAILED:
        return FAILED, str(status.get("reason") or "no reason recorded")
    if state == INTERRUPTED:
        return INTERRUPTED, None
    return UNREADABLE, f"{folder.status.name}: state {state!r}"


def _finished(bare: Row, status: dict[str, Any], result: dict[str, Any]) -> Row:
    epochs, steps = _whole(result.get("epochs")), _whole(result.get("steps"))
    error: Any = result
    for key in ("errors", "test", "centre", "top1_error"):
        error = error.get(key) if isinstance(error, dict) else None
    error = _number(error)
    return replace(
        _with_progress(bare, status),
        state=DONE,
        epoch=epochs,
        epochs=epochs,
        step=steps,
        steps=steps,
        packed_fraction=None,
        error=error,
        error_of=None if error is None else "test",
    )


def _unfinished(bare: Row, folder: RunFolder, status: dict[str, Any], state: str, reason: str | None) -> Row:
    if state == WAITING:
        return bare
    row = replace(_with_progress(bare, status), state=state, reason=reason)
    if state == RUNNING and row.whole_seconds is not None and row.step is not None and row.steps:
        row = replace(row, seconds_left=row.whole_seconds * max(0.0, 1 - row.step / row.steps))
    error, kind = _last_error(folder)
    return replace(row, error=error, error_of=kind)


def _with_progress(bare: Row, status: dict[str, Any]) -> Row:
    epoch, epochs = _whole(status.get("epoch")), _whole(status.get("epochs"))
    step, steps = _whole(status.get("step")), _whole(status.get("steps"))
    packed, to_pack = _number(status.get("packed")), _number(status.get("to_pack"))
    pace = _seconds_a_step(status)
    host = status.get("host")
    return replace(
        bare,
        epoch=None if epoch is None or epochs is None else min(epoch + 1, epochs),
        epochs=epochs,
        step=step,
        steps=steps,
        packed_fraction=packed / to_pack if step is None and packed is not None and to_pack else None,
        images_per_second=_number(status.get("images_per_second")),
        whole_seconds=None if pace is None or steps is None else pace * steps,
        host=None if host is None else str(host),
        process=_whole(status.get("process")),
    )


def _seconds_a_step(status: dict[str, Any]) -> float | None:
    """Over this attempt, by the clock of the host that runs it: clocks of two hosts are never compared."""
    step, first = _number(status.get("step")), _number(status.get("first_step"))
    started, heartbeat = _number(status.get("started")), _number(status.get("heartbeat"))
    if first is None:
        if status.get("attempts") != 1:
            return None  # it may have gone on from a checkpoint: nobody knows from which step
        first = 0.0
    if step is None or started is None or heartbeat is None or step <= first or heartbeat <= started:
        return None
    return (heartbeat - started) / (step - first)


def _last_error(folder: RunFolder) -> tuple[float | None, str | None]:
    """Of the last whole row of metrics: held out if there is such a part, else on clean training images."""
    try:
        text = folder.metrics.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return None, None
    rows = list(csv.DictReader(text[: text.rfind("\n") + 1].splitlines()))
    for key, kind in (("heldout_top1_error", "held-out"), ("clean_train_top1_error", "train")):
        error = _number(rows[-1].get(key)) if rows else None
        if error is not None:
            return error, kind
    return None, None


def _number(value: Any) -> float | None:
    """A finite number, or None for whatever else a file may hold there."""
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _whole(value: Any) -> int | None:
    number = _number(value)
    return None if number is None else int(number)


# --- what the rows come to ---


def seconds_left(rows: Sequence[Row]) -> float | None:
    """Until all is done, if as many runs go on at a time as do now; None where nothing tells."""
    running = [row for row in rows if row.state == RUNNING]
    seen = [row.whole_seconds for row in rows if row.state in (DONE, RUNNING) and row.whole_seconds is not None]
    if not running or not seen:
        return None
    typical = statistics.median(seen)
    going_on = [typical if row.seconds_left is None else row.seconds_left for row in running]
    to_start = [typical * max(0.0, 1 - (row.step or 0) / (row.steps or 1)) for row in rows if row.state in TO_DO]
    return max(*going_on, (sum(going_on) + sum(to_start)) / len(running))


def summary(rows: Sequence[Row]) -> str:
    """`12 runs: 7 done, 1 running, 4 waiting; about 14 min left`."""
    left = seconds_left(rows)
    whole = f"{len(rows)} run{'' if len(rows) == 1 else 's'}: {_counted(rows)}"
    return whole if left is None else f"{whole}; about {duration(left)} left"


def _counted(rows: Sequence[Row]) -> str:
    counts = Counter(row.state for row in rows)
    return ", ".join(f"{counts[state]} {state}" for state in STATES if counts[state]) or "none planned"


def duration(seconds: float) -> str:
    """`45 s`, `14 min`, `3 h 20 min`, `2 d 4 h`."""
    seconds = max(0, round(seconds))
    if seconds < 60:
        return f"{seconds} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    if minutes < 48 * 60:
        return f"{minutes // 60} h {minutes % 60} min"
    hours = round(minutes / 60)
    return f"{hours // 24} d {hours % 24} h"


# --- how they are shown ---


def printable(text: str) -> str:
    """Text from a file with whatever could move the cursor or change colours spelt out."""
    return "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in text)


def table(rows: Sequence[Row], width: int) -> list[str]:
    """A heading and a line a row, none wider than `width`; below a row the reason, if it has one.

    Where it is too narrow, labels are cut, and then columns left out.
    """
    kind = max((len(row.error_of or "") for row in rows), default=0)
    cells = {
        "arm": [printable(row.arm) for row in rows],
        "seed": [printable(str(row.seed)) for row in rows],
        "state": [row.state for row in rows],
        "epoch": ["" if row.epoch is None else f"{row.epoch}/{row.epochs}" for row in rows],
        "steps": [_progress(row) for row in rows],
        "error, %": ["" if row.error is None else f"{100 * row.error:.2f} {row.error_of:<{kind}}" for row in rows],
        "images/s": ["" if row.images_per_second is None else f"{row.images_per_second:,.0f}" for row in rows],
        "left": ["" if row.seconds_left is None else duration(row.seconds_left) for row in rows],
        "host": [printable(row.host or "") for row in rows],
    }
    filled = {title: column for title, column in cells.items() if any(column) or title == "arm"}
    widths = {title: max(wide(text) for text in (title, *column)) for title, column in filled.items()}
    least = min(widths["arm"], LEAST_ARM)
    for title in DROPPED_FIRST:
        if _whole_width(widths | {"arm": least}) > width:
            widths.pop(title, None)
    widths["arm"] -= min(widths["arm"] - least, max(0, _whole_width(widths) - width))
    lines = [_line({title: title for title in widths}, widths)]
    for number, row in enumerate(rows):
        lines.append(_line({title: cells[title][number] for title in widths}, widths))
        if row.reason is not None:
            lines.append(BELOW + printable(row.reason))
    return [cut(line, width) for line in lines]


def _whole_width(widths: dict[str, int]) -> int:
    return sum(widths.values()) + len(GAP) * (len(widths) - 1)


def _line(texts: dict[str, str], widths: dict[str, int]) -> str:
    padded = []
    for title, width in widths.items():
        text = cut_inside(texts[title], width)
        space = " " * (width - wide(text))
        padded.append(text + space if title in TO_THE_LEFT else space + text)
    return GAP.join(padded).rstrip()


def _progress(row: Row) -> str:
    if row.packed_fraction is not None:
        return f"packs {row.packed_fraction:.0%}"
    return "" if row.step is None or not row.steps else f"{math.floor(100 * row.step / row.steps)}%"


def wide(text: str) -> int:
    """Columns that a terminal gives a text: two for wide East Asian signs, none for accents put on others."""
    if text.isascii():
        return len(text)
    return sum(_sign_width(sign) for sign in text)


def _sign_width(sign: str) -> int:
    if unicodedata.category(sign) in ("Mn", "Me"):
        return 0
    return 2 if unicodedata.east_asian_width(sign) in "WF" else 1


def cut(text: str, width: int) -> str:
    """A text in at most `width` columns, its end replaced by an ellipsis if it is longer."""
    if wide(text) <= width:
        return text
    return f"{_beginning(text, width - 1)}…" if width > 0 else ""


def cut_inside(text: str, width: int) -> str:
    """As `cut`, but both ends stay: labels of arms begin alike, and differ in the level at their end."""
    if wide(text) <= width or width < 3:
        return cut(text, width)
    end = _beginning(text[::-1], width * 2 // 3)[::-1]
    return f"{_beginning(text, width - 1 - wide(end))}…{end}"


def _beginning(text: str, room: int) -> str:
    for number, sign in enumerate(text):
        room -= _sign_width(sign)
        if room < 0:
            return text[:number]
    return text


def fitting(rows: Sequence[Row], lines: int) -> tuple[list[Row], list[Row]]:
    """Rows that fit into so many lines, in their order, and those left out: finished ones first, the earliest first."""

    def importance(number: int) -> tuple[int, int]:
        state = rows[number].state
        return SHOWN_FIRST.index(state), -number if state == DONE else number

    kept: set[int] = set()
    for number in sorted(range(len(rows)), key=importance):
        lines -= 1 if rows[number].reason is None else 2
        if lines < 0:
            break
        kept.add(number)
    shown = [row for number, row in enumerate(rows) if number in kept]
    return shown, [row for number, row in enumerate(rows) if number not in kept]


def screen(title: str, rows: Sequence[Row], width: int, height: int) -> list[str]:
    """Title, table and summary in at most so many lines of at most so many columns."""
    shown, folded = fitting(rows, height - 3)
    if folded:
        shown, folded = fitting(rows, height - 4)  # one line says how many are left out
    lines = [title, *table(shown, width)]
    if folded:
        lines.append(f"… {_counted(folded)} not shown")
    lines.append(summary(rows))
    return [cut(line, width) for line in lines[-max(1, height) :]]


def watch(reader: Reader, every: float) -> None:
    """Draw the table again and again, until all runs are done or Ctrl-C."""
    lines: list[str] = []
    sys.stdout.write(ENTER)
    try:
        while True:
            rows = reader.rows()
            width, height = shutil.get_terminal_size()
            title = f"{printable(reader.folder.name)}{GAP}{time.strftime('%H:%M:%S')}"
            # Not the last column: a terminal that waits there to wrap clears that sign with the rest of the line.
            lines = screen(title, rows, width - 1, height)
            # In one piece, over what was there: nothing is ever half drawn, nothing flickers.
            sys.stdout.write(HOME + "".join(f"{line}{CLEAR_LINE}\n" for line in lines)[:-1] + CLEAR_BELOW)
            sys.stdout.flush()
            if all(row.state == DONE for row in rows):
                break
            time.sleep(every)
    except KeyboardInterrupt:
        pass
    finally:
        sys.stdout.write(LEAVE + "".join(f"{line}\n" for line in lines))
        sys.stdout.flush()


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m alexnet_sweep.status",
        description="A study's runs as they go: state, progress, last held-out error (test error, by the centre view, "
        "once a run is done), time left. Reads files alone, so it works on every host that sees them.",
        epilog="example: python -m alexnet_sweep.status --once",
    )
    parser.add_argument("study", nargs="?", help="a folder name under RUNS/_studies (the one planned last)")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="where run folders lie (runs)")
    parser.add_argument("--every", type=float, default=2.0, metavar="SECONDS", help="how often to draw it again (2)")
    parser.add_argument("--once", action="store_true", help="print it once; so it is where there is no terminal")
    parser.add_argument("--json", action="store_true", help="for programs, once")
    chosen = parser.parse_args(arguments)
    try:
        if not 0.1 <= chosen.every <= 86400:
            raise ConfigError(f"--every {chosen.every:g}: give seconds from 0.1 to 86400")
        reader = Reader(chosen.runs, chosen.study)
    except (SweepError, OSError) as error:
        print(printable(str(error)), file=sys.stderr)
        return 2
    on_terminal = sys.stdout.isatty()
    if chosen.json:
        rows = reader.rows()
        counts = Counter(row.state for row in rows)
        figures = {"study": reader.folder.name, "runs": [asdict(row) for row in rows]}
        print(json.dumps(figures | {"states": counts, "seconds_left": seconds_left(rows)}, indent=1))
    elif on_terminal and not chosen.once and os.environ.get("TERM", "dumb") != "dumb":
        watch(reader, chosen.every)
    else:
        # Where nobody looks at a screen nothing is cut, unless COLUMNS says how wide it may be.
        width = shutil.get_terminal_size((80, 24) if on_terminal else (sys.maxsize, 24)).columns
        rows = reader.rows()
        print("\n".join(screen(printable(reader.folder.name), rows, width, sys.maxsize)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
