"""`python -m alexnet_sweep.status [STUDY]`: a live table of a study, from its files and its queue. Imports no torch."""

import json
import math
import os
import shutil
import sys
import time
import unicodedata
from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from alexnet_sweep.arguments import Arguments, refused
from alexnet_sweep.errors import ConfigError, SweepError
from alexnet_sweep.progress import DEAD, UNREADABLE, WAITING, Reader, Row, by_state, seconds_left, summary
from alexnet_sweep.store import DONE, FAILED, INTERRUPTED, RUNNING
from alexnet_sweep.terminal import show
from alexnet_sweep.wording import duration, printable

SHOWN_FIRST = (RUNNING, FAILED, DEAD, UNREADABLE, INTERRUPTED, WAITING, DONE)  # what to see where room is short

# The other screen, without a cursor; what was on the terminal comes back afterwards.
ENTER, LEAVE = "\x1b[?1049h\x1b[?25l", "\x1b[?25h\x1b[?1049l"
HOME, CLEAR_LINE, CLEAR_BELOW = "\x1b[H", "\x1b[K", "\x1b[J"

GAP, BELOW = "  ", "  └ "
LEAST_ARM = 20  # columns that labels are cut to before others are left out, or more if they would look the same
DROPPED_FIRST = ("images/s", "epoch", "host", "left", "queue", "error, %", "seed")
TO_THE_LEFT = ("arm", "state", "queue", "host")


def table(rows: Sequence[Row], width: int) -> list[str]:
    """A heading and a line a row, none wider than `width`; below a row the reason, if it has one.

    Where it is too narrow, labels are cut as far as they stay different, and then columns left out.
    """
    kind = max((len(row.error_of or "") for row in rows), default=0)
    cells = {
        "arm": [printable(row.arm) for row in rows],
        "seed": [printable(str(row.seed)) for row in rows],
        "state": [row.state for row in rows],
        "epoch": ["" if row.epoch is None else f"{row.epoch}/{row.epochs}" for row in rows],
        "steps": [_progress(row) for row in rows],
        "queue": [printable(row.queue or "") for row in rows],
        "error, %": ["" if row.error is None else f"{100 * row.error:.2f} {row.error_of:<{kind}}" for row in rows],
        "images/s": ["" if row.images_per_second is None else f"{row.images_per_second:,.0f}" for row in rows],
        "left": ["" if row.seconds_left is None else duration(row.seconds_left) for row in rows],
        "host": [printable(row.host or "") for row in rows],
    }
    filled = {title: column for title, column in cells.items() if any(column) or title == "arm"}
    widths = {title: max(wide(text) for text in (title, *column)) for title, column in filled.items()}
    kept = {title: columns for title, columns in widths.items() if title not in DROPPED_FIRST or title == "seed"}
    least = _still_different(cells["arm"], widths["arm"])
    if _whole_width(kept | {"arm": least}) > width:  # labels cannot be told apart, whatever is left out
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


def _still_different(labels: Sequence[str], widest: int) -> int:
    """Columns to cut labels to, as few as leave all that differ different, but no fewer than `LEAST_ARM`."""
    different = set(labels)
    wider = range(min(widest, LEAST_ARM), widest)
    enough = bisect_left(
        wider, True, key=lambda columns: len({cut_inside(label, columns) for label in different}) == len(different)
    )
    return widest if enough == len(wider) else wider[enough]


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
        lines.append(f"… {by_state(folded)} not shown")
    lines.append(summary(rows))
    return [cut(line, width) for line in lines[-max(1, height) :]]


def heading(reader: Reader) -> str:
    """The study's name, and why its queue is not shown where it cannot be asked."""
    return printable(reader.folder.name + (f" (queue: {reader.trouble})" if reader.trouble else ""))


def watch(reader: Reader, every: float) -> None:
    """Draw the table again and again, until all runs are done or Ctrl-C."""
    lines: list[str] = []
    sys.stdout.write(ENTER)
    try:
        while True:
            rows = reader.rows()
            width, height = shutil.get_terminal_size()
            title = f"{heading(reader)}{GAP}{time.strftime('%H:%M:%S')}"
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
    parser = Arguments(
        prog="python -m alexnet_sweep.status",
        description="A study's runs as they go: state, progress, last held-out error (test error, by the centre view, "
        "once a run is done), time left. Reads files, so it works on every host that sees them; where the study has "
        "jobs in a cluster's queue, the queue is asked as well.",
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
        return refused(error)
    on_terminal = sys.stdout.isatty()
    if chosen.json:
        rows = reader.rows()
        counts = Counter(row.state for row in rows)
        figures = {"study": reader.folder.name, "queue_trouble": reader.trouble, "runs": [asdict(row) for row in rows]}
        show(json.dumps(figures | {"states": counts, "seconds_left": seconds_left(rows)}, indent=1))
    elif on_terminal and not chosen.once and os.environ.get("TERM", "dumb") != "dumb":
        watch(reader, chosen.every)
    else:
        # Where nobody looks at a screen nothing is cut, unless COLUMNS says how wide it may be.
        width = shutil.get_terminal_size((80, 24) if on_terminal else (sys.maxsize, 24)).columns
        rows = reader.rows()
        show("\n".join(screen(heading(reader), rows, width, sys.maxsize)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
