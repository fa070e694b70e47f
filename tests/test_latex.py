"""Tables as LaTeX: booktabs, every table with its caption, and text that is nothing but text."""

import re

from hypothesis import given
from hypothesis import strategies as st

from alexnet_sweep.report.document import Document, Heading, Paragraph, Table
from alexnet_sweep.report.latex import ESCAPES, escaped, to_latex

COMMANDS = sorted((value for value in ESCAPES.values()), key=len, reverse=True)


def test_each_table_has_the_heading_before_it_as_its_caption():
    tables = [Table.of(["arm", "Δ [95 %]"], [["a_b", "+1.40 [−0.20, +3.00]"]]), Table.of(["x"], [["1"]], caption="own")]
    text = to_latex(Document("study", (Heading("Test error in %"), tables[0], Paragraph("words"), tables[1])))
    assert text.splitlines() == [
        "% study: tables",
        "",
        r"\begin{table}",
        r"  \centering",
        r"  \caption{Test error in \%}",
        r"  \begin{tabular}{lr}",
        r"    \toprule",
        r"    arm & $\Delta$ {[}95 \%{]} \\",
        r"    \midrule",
        r"    a\_b & +1.40 {[}$-$0.20, +3.00{]} \\",
        r"    \bottomrule",
        r"  \end{tabular}",
        r"\end{table}",
        "",
        r"\begin{table}",
        r"  \centering",
        r"  \caption{own}",
        r"  \begin{tabular}{l}",
        r"    \toprule",
        r"    x \\",
        r"    \midrule",
        r"    1 \\",
        r"    \bottomrule",
        r"  \end{tabular}",
        r"\end{table}",
    ]


@given(st.text() | st.text(st.sampled_from('\\&%$#_{}~^[]<>|"aé−×Δ漢\n\x00')))
def test_no_text_is_taken_for_a_command(text: str) -> None:
    found = escaped(text)
    bare = found
    for command in COMMANDS:  # what our escapes write
        bare = bare.replace(command, "")
    assert not re.search(r"[\\&%$#_{}~^]", bare)
    assert found.isprintable() and len(found.splitlines()) <= 1


def test_a_title_over_several_lines_stays_in_its_comment():
    assert to_latex(Document("one\ntwo", ())) == "% one two: tables\n"


def test_characters_that_the_fonts_lack_stay_apart():
    assert escaped("k=学") == "k=U+5B66" and escaped("k=习") == "k=U+4E60" and escaped("é") == "é"
