"""A report's tables as LaTeX, for `\\input`: booktabs, one `table` each. Needs booktabs and nothing else."""

from alexnet_sweep.report.document import Document, Heading, Table

# Longest first: a backslash that an escape has put in is not escaped again.
ESCAPES = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "−": "$-$",
    "×": r"$\times$",
    "Δ": r"$\Delta$",
    "→": r"$\rightarrow$",
    "≤": r"$\le$",
    "≥": r"$\ge$",
    "–": "--",
    "§": r"\S{}",
    ">": r"\textgreater{}",
    "<": r"\textless{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    "[": "{[}",
    "]": "{]}",
}


def to_latex(document: Document) -> str:
    """Every table of the document with the heading before it as its caption."""
    caption, parts = document.title, [f"% {' '.join(document.title.split())}: tables"]
    for block in document.blocks:
        if isinstance(block, Heading):
            caption = block.text
        elif isinstance(block, Table):
            parts += ["", *_table(block, block.caption or caption)]
    return "\n".join(parts) + "\n"


def _table(table: Table, caption: str) -> list[str]:
    return [
        r"\begin{table}",
        r"  \centering",
        rf"  \caption{{{escaped(caption)}}}",
        rf"  \begin{{tabular}}{{{table.alignment}}}",
        r"    \toprule",
        f"    {_row(table.head)}",
        r"    \midrule",
        *(f"    {_row(row)}" for row in table.rows),
        r"    \bottomrule",
        r"  \end{tabular}",
        r"\end{table}",
    ]


def _row(cells: tuple[str, ...]) -> str:
    return " & ".join(escaped(cell) for cell in cells) + r" \\"


def escaped(text: str) -> str:
    """Text that is nothing but text to LaTeX; what its usual fonts lack is shown by its code, as U+5B66."""
    return "".join(_character(character) for character in " ".join(text.split()))


def _character(character: str) -> str:
    if character in ESCAPES:
        return ESCAPES[character]
    printable = character.isprintable() and (character.isascii() or (character.isalpha() and ord(character) < 0x250))
    return character if printable else f"U+{ord(character):04X}"
