"""A report as Markdown that reads well in a terminal and on a forge."""

import re
from collections.abc import Sequence

from alexnet_sweep.report.document import Block, Document, Figure, Heading, Listing, Notice, Paragraph, Table
from alexnet_sweep.wording import printable


def to_markdown(document: Document) -> str:
    """The whole document; nothing in its texts is taken for markup."""
    parts = [f"# {escaped(document.title)}", ""]
    for block in document.blocks:
        parts += [*_block(block), ""]
    return "\n".join(parts).rstrip() + "\n"


def _block(block: Block) -> list[str]:
    match block:
        case Heading(text, level):
            return [f"{'#' * level} {escaped(text)}"]
        case Paragraph(text):
            return [_paragraph(text)]
        case Notice(title, text):
            return [f"**{escaped(title)}.** {escaped(text)}"]
        case Table():
            return aligned(block)
        case Figure(name, words):
            return [f"![{escaped(words)}]({name}.svg)"]
        case Listing(text):
            fence = "```"
            while fence in text:
                fence += "`"
            return [f"{fence}text", *(printable(line.expandtabs()) for line in text.splitlines()), fence]


def aligned(table: Table) -> list[str]:
    """A table whose columns line up in a terminal."""
    head, rows = [escaped(cell) for cell in table.head], [[escaped(cell) for cell in row] for row in table.rows]
    widths = [max(len(row[column]) for row in [head, *rows]) for column in range(len(head))]

    def line(cells: Sequence[str]) -> str:
        padded = [
            cell.ljust(width) if side == "l" else cell.rjust(width)
            for cell, width, side in zip(cells, widths, table.alignment, strict=True)
        ]
        return "| " + " | ".join(padded) + " |"

    rule = "|".join(
        "-" * (width + 1) + ("-" if side == "l" else ":") for width, side in zip(widths, table.alignment, strict=True)
    )
    return [line(head), f"|{rule}|", *(line(row) for row in rows)]


# What needs no backslash: an underscore inside a word, and an interval or a share in brackets that nothing follows.
PLAIN = re.compile(r"(?<=[^\W_])_(?=[^\W_])|\[[−+×]?[\d.,]*(?:, [−+×][\d.,]+)?(?: ?%)?\](?![(\[:])")
MARKS = re.compile(r"[\\`*_\[\]<>|#&~]")


def escaped(text: str) -> str:
    """Text that stays one cell or paragraph and is taken for nothing else."""
    words, parts, done = printable(" ".join(text.split())), [], 0
    for plain in PLAIN.finditer(words):
        parts += [MARKS.sub(r"\\\g<0>", words[done : plain.start()]), plain[0]]
        done = plain.end()
    return "".join([*parts, MARKS.sub(r"\\\g<0>", words[done:])])


def _paragraph(text: str) -> str:
    """Escaped text that begins no list and no rule."""
    words = escaped(text)
    start = re.match(r"[-+=]|\d+[.)](?=\s|$)", words)
    return words if start is None else words[: start.end() - 1] + "\\" + words[start.end() - 1 :]
