"""A report as one HTML page that needs nothing beside it, neither network nor file, and none of whose data can run."""

import base64
import hashlib
import json
import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from importlib.resources import files
from itertools import accumulate, count
from typing import Any
from xml.etree import ElementTree

from alexnet_sweep.report.document import Block, Document, Figure, Heading, Listing, Notice, Paragraph, Table
from alexnet_sweep.report.flips import Answer, ArmFlips
from alexnet_sweep.wording import counted

ERRORS_TITLE = "Look at the errors"
SVG = "{http://www.w3.org/2000/svg}"
DRAWN = re.compile(  # what may stand in a drawing
    r"svg|g|defs|use|symbol|path|rect|circle|ellipse|line|polyline|polygon|text|tspan|title|desc|image|marker|pattern"
    r"|clipPath|mask|linearGradient|radialGradient|stop"
)
TURNING = ("LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI")  # bidirectional controls
WIDE = ((60, ' class="long"'), (20, ' class="phrase"'))  # sentences and phrases in cells: beyond so many characters
SIDES = {"l": "", "r": ' class="r"'}


def to_html(document: Document, flips: Sequence[ArmFlips], figures: Mapping[str, str]) -> str:
    """The whole page; `figures` are the SVG texts of the document's figures, by name."""
    body: list[str] = []
    contents: list[str] = []
    rules: list[str] = []
    numbers = count(1)
    for block in document.blocks:
        anchor = f"b{next(numbers)}"
        if isinstance(block, Heading) and block.level == 2:
            contents.append(f'<li><a href="#{anchor}">{_text(block.text)}</a></li>')
        body.append(_block(block, anchor, figures, rules))
    if flips:
        contents.append(f'<li><a href="#errors">{ERRORS_TITLE}</a></li>')
        body.append(_errors(flips))
    return _page(_text(document.title), contents, body, "\n".join([_own("page.css"), *rules]), bool(flips))


def _page(title: str, contents: Sequence[str], body: Sequence[str], style: str, runs: bool) -> str:
    script = _own("page.js") if runs else ""
    policy = (
        f"default-src 'none'; img-src data:; style-src {_hash(style)}; script-src {_hash(script)}; "
        "base-uri 'none'; form-action 'none'"
    )
    nav = f'<nav aria-label="Contents"><ul>{"".join(contents)}</ul></nav>' if contents else ""
    lines = [
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        '<meta name="color-scheme" content="light dark">',
        f"<title>{title}</title>\n<style>{style}</style>\n</head>\n<body>",
        f"<header><h1>{title}</h1></header>",
        nav,
        "<main>",
        *body,
        "</main>",
        *([f"<script>{script}</script>"] if script else []),
        "</body>\n</html>\n",
    ]
    return "\n".join(line for line in lines if line)


def _own(name: str) -> str:
    return files("alexnet_sweep.report").joinpath(name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _text(text: str) -> str:
    """Text that is only ever text."""
    return escape(_plain(text))


def _plain(text: str) -> str:
    """Without characters that HTML does not know; what could turn the direction of the text is spelt out."""
    return "".join(
        sign.encode("unicode_escape").decode()
        if unicodedata.bidirectional(sign) in TURNING
        else sign
        if sign in "\n\t" or _allowed(ord(sign))
        else "\ufffd"
        for sign in text
    )


def _allowed(code: int) -> bool:
    return not (code < 32 or 127 <= code < 160 or 0xD800 <= code < 0xE000 or 0xFDD0 <= code < 0xFDF0) and (
        code & 0xFFFE != 0xFFFE
    )


def _block(block: Block, anchor: str, figures: Mapping[str, str], rules: list[str]) -> str:
    match block:
        case Heading(text, level):
            tag = f"h{min(max(level, 2), 6)}"
            return f'<{tag} id="{anchor}">{_text(text)}</{tag}>'
        case Paragraph(text):
            return f"<p>{_text(text)}</p>"
        case Notice(title, text):
            return f'<aside class="notice"><strong>{_text(title)}</strong> {_text(text)}</aside>'
        case Listing(text):
            return f'<pre tabindex="0">{_text(text)}</pre>'
        case Table():
            return _table(block)
        case Figure(name, words) if name in figures:
            svg, own = _inlined(figures[name], anchor, words)
            rules.extend(own)
            return f'<figure id="{anchor}" class="{"" if _follows(figures[name]) else "paper"}">{svg}</figure>'
        case Figure(_, words):
            return f"<p>{_text(words)}</p>"


def _table(table: Table) -> str:
    sides = [SIDES[letter] for letter in table.alignment]

    def row(cells: Sequence[str], tag: str, facts: str = "") -> str:
        pairs = zip(cells, sides, strict=True)
        marked = ((side or next((name for most, name in WIDE if len(cell) > most), ""), cell) for cell, side in pairs)
        return f"<tr>{''.join(f'<{tag}{facts}{side}>{_text(cell)}</{tag}>' for side, cell in marked)}</tr>"

    caption = f"<caption>{_text(table.caption)}</caption>" if table.caption else ""
    head = row(table.head, "th", ' scope="col"')
    rows = "\n".join(row(cells, "td") for cells in table.rows)
    return (
        f'<div class="scroll" tabindex="0"><table>{caption}<thead>{head}</thead>\n'
        f"<tbody>\n{rows}\n</tbody></table></div>"
    )


def _follows(svg: str) -> bool:
    """Whether a drawing takes its colours from the page, light or dark; others lie on white paper."""
    return "currentColor" in svg or "prefers-color-scheme" in svg


def _inlined(svg: str, name: str, words: str) -> tuple[str, list[str]]:
    """An SVG as an element of a page, and its styles as rules for the page.

    The page's policy allows no style attributes, so each becomes a class. Ids are this figure's own.
    """
    root = ElementTree.fromstring(svg)
    sheets = [sheet.text or "" for sheet in root.iter(f"{SVG}style")]
    rules = [f"#{name} {{ {_of(name, text)} }}" for text in sheets if _harmless(text)]
    classes: dict[str, str] = {}
    _clean(root, name, classes)
    for style, known in classes.items():
        if _harmless(style) and "{" not in style:
            rules.append(f"#{name} .{known} {{ {style} }}")
    root.attrib |= {"role": "img", "aria-label": _plain(words)}
    root.tail = None
    return ElementTree.tostring(root, encoding="unicode"), rules


def _clean(element: ElementTree.Element, name: str, classes: dict[str, str]) -> None:
    """Keep what draws: no scripts, no other vocabularies, no addresses outside the page."""
    for child in list(element):
        if child.tag.startswith(SVG) and DRAWN.fullmatch(child.tag.removeprefix(SVG)):
            _clean(child, name, classes)
        else:
            element.remove(child)
    element.tag = element.tag.removeprefix(SVG)
    found, element.attrib = dict(element.attrib), {}
    styled = [classes.setdefault(_pointed(found["style"], name), f"{name}-s{len(classes)}")] if "style" in found else []
    if styled or "class" in found:
        element.set("class", " ".join([*found.get("class", "").split(), *styled]))
    for key, value in found.items():
        local = key.rpartition("}")[2]
        if local == "id":
            element.set("id", f"{name}-{value}")
        elif local == "href" and value.startswith("#"):
            element.set("href", f"#{name}-{value[1:]}")
        elif local == "href" and value.startswith("data:image/"):
            element.set("href", value)
        elif "}" not in key and local not in ("style", "class", "href") and not local.startswith(("on", "aria-")):
            element.set(local, _pointed(value, name))


def _pointed(text: str, name: str) -> str:
    return re.sub(r"url\(\s*['\"]?#([^)'\"]+)['\"]?\s*\)", rf"url(#{name}-\1)", text)


def _of(name: str, sheet: str) -> str:
    """A style sheet whose ids are this figure's own; a hash before a colour is none, for it stands inside braces."""
    return re.sub(r"#([A-Za-z_][\w-]*)(?=[^{}]*[{])", rf"#{name}-\1", _pointed(sheet, name))


def _harmless(style: str) -> bool:
    """Whether a style sheet or declarations end where they seem to, so that they stay inside braces put around them."""
    depths = [*accumulate(({"{": 1, "}": -1}.get(sign, 0) for sign in style), initial=0)]
    closed = not any(style.count(quote) % 2 for quote in "\"'") and min(depths) == depths[-1] == 0
    return closed and not re.search(r"[<\\]|/\*|@import", style)


def _errors(flips: Sequence[ArmFlips]) -> str:
    data = json.dumps(_data(flips), separators=(",", ":"))  # ASCII: U+2028 and U+2029 are escaped as all the others
    for sign in "<>&":
        data = data.replace(sign, f"\\u{ord(sign):04x}")
    return f"""<section id="errors">
<h2>{ERRORS_TITLE}</h2>
<p>Broken: right with the baseline and wrong in the arm, with the same seed and averaged views. Fixed: the other way
round. Net is broken less fixed: positive means that the change hurt. Images that an arm breaks and fixes equally often
are in the table of classes alone. A click on a class shows its images, a click on an image both answers.</p>
<noscript><p>This section needs JavaScript.</p></noscript>
<div id="look" hidden></div>
<dialog id="flip" aria-labelledby="flip-title"></dialog>
<script type="application/json" id="flips">{data}</script>
</section>"""


def _data(flips: Sequence[ArmFlips]) -> dict[str, Any]:
    """What page.js reads: names and pictures once, everything else by their numbers; probabilities in thousandths."""
    names: dict[str, int] = {}
    pictures: dict[str, int] = {}

    def number(known: dict[str, int], text: str) -> int:
        return known.setdefault(text, len(known))

    def answers(given: Sequence[Answer]) -> list[list[int]]:
        return [[number(names, one.name) for one in given], [round(1000 * one.probability) for one in given]]

    arms = [
        {
            "label": _plain(arm.label),
            "facts": [_plain(fact) for fact in _facts(arm)],
            "seeds": len(arm.seeds),
            "classes": [[number(names, row.name), row.images, row.broken, row.fixed] for row in arm.classes],
            "flips": [
                [
                    _plain(flip.image),
                    number(names, flip.label),
                    flip.broken,
                    flip.fixed,
                    flip.seed,
                    round(1000 * flip.change),
                    answers(flip.baseline),
                    answers(flip.arm),
                    number(pictures, flip.picture) if flip.picture else -1,
                ]
                for flip in arm.flips
            ],
        }
        for arm in flips
    ]
    return {"names": [_plain(name) for name in names], "pictures": list(pictures), "arms": arms}


def _facts(arm: ArmFlips) -> Iterator[str]:
    if arm.classes:
        broken, fixed = (sum(getattr(row, what) for row in arm.classes) for what in ("broken", "fixed"))
        seeds = f"{counted(len(arm.seeds), 'paired seed')} ({', '.join(map(str, arm.seeds))})"
        yield f"{counted(arm.images, 'test image')}, {seeds}: {broken:,} broken, {fixed:,} fixed."
    if len(arm.flips) < arm.changed:
        yield f"Shown: the {len(arm.flips):,} of {arm.changed:,} changed images that changed most."
    yield from arm.notes
