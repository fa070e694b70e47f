"""What a report says, before it has a form: headings, paragraphs, tables and figures of plain text.

Every text is plain: a renderer escapes it for its form. A report has the same words and figures in every form.
"""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Heading:
    """A section's title; the document's own title is level 1."""

    text: str
    level: int = 2


@dataclass(frozen=True)
class Paragraph:
    """One paragraph."""

    text: str


@dataclass(frozen=True)
class Notice:
    """What a reader must not miss: a word or two, and what there is to say."""

    title: str
    text: str


@dataclass(frozen=True)
class Table:
    """Cells of plain text. `align` has a letter a column, l or r; without it the first is left, the others right."""

    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    align: str = ""
    caption: str = ""

    @classmethod
    def of(cls, head: Sequence[str], rows: Sequence[Sequence[str]], align: str = "", caption: str = "") -> "Table":
        return cls(tuple(head), tuple(tuple(row) for row in rows), align, caption)

    @property
    def alignment(self) -> str:
        return self.align or "l" + "r" * (len(self.head) - 1)


@dataclass(frozen=True)
class Figure:
    """A drawing beside the report, NAME.svg and NAME.png; `words` say what it shows, for who cannot see it."""

    name: str
    words: str


@dataclass(frozen=True)
class Listing:
    """Lines as they are: commands, versions, a study file."""

    text: str


Block = Heading | Paragraph | Notice | Table | Figure | Listing


@dataclass(frozen=True)
class Document:
    """A report in the order in which it is read."""

    title: str
    blocks: tuple[Block, ...]
