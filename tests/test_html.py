"""The page: nothing of the data becomes an element or runs, and the policy admits just what is ours."""

import base64
import hashlib
import json
import re
from collections import Counter
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alexnet_sweep.report.document import Document, Figure, Heading, Listing, Notice, Paragraph, Table
from alexnet_sweep.report.flips import Answer, ArmFlips, ClassFlips, Flip
from alexnet_sweep.report.html import to_html

VOID = {"meta", "br", "img", "link", "input", "hr"}
HOSTILE = '</script><img src=x onerror="alert(1)"><style>*{}</style>]]>-->\u2028&amp;'
SVG = (
    '<?xml version="1.0"?><!DOCTYPE svg><svg xmlns="http://www.w3.org/2000/svg"'
    ' xmlns:xlink="http://www.w3.org/1999/xlink" width="9pt" viewBox="0 0 9 9"><metadata>when</metadata>'
    "<defs><style>*{stroke-linecap: butt} #clip{fill:#abc}</style></defs>"
    '<clipPath id="clip"><path d="M0 0"/></clipPath><g clip-path="url(#clip)" style="fill: none; opacity: 1"'
    ' onclick="alert(1)"><use xlink:href="#clip"/><use xlink:href="https://example.org/x"/><text>a &lt;b&gt;</text></g>'
    "<script>alert(1)</script><foreignObject><b xmlns='http://www.w3.org/1999/xhtml'>b</b></foreignObject></svg>"
)


class Page(HTMLParser):
    """Elements, attributes and text of a page, which must be well-formed."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.texts: dict[str, list[str]] = {}
        self.feed(page)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len(dict(attrs)) == len(attrs)
        self.tags.append((tag, dict(attrs)))
        self.open += [] if tag in VOID else [tag]

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open:
            self.texts.setdefault(self.open[-1], []).append(data)

    @property
    def shape(self) -> Counter[tuple[str, ...]]:
        return Counter((tag, *attributes) for tag, attributes in self.tags)


def whole(text: str) -> str:
    """A page in which every text is this one."""
    answers = (Answer(text, 0.75), Answer("other", 0.25))
    flip = Flip(text, text, 1, 0, -0.5, 0, answers, answers, "data:image/png;base64,AA==")
    arm = ArmFlips("id", text, (0,), 4, 3, (ClassFlips(text, 4, 1, 0),), (flip,), (text,))
    blocks = (
        Heading(text),
        Heading(text, 3),
        Paragraph(text),
        Notice(text, text),
        Table.of([text, text], [[text, text]], caption="c" + text),
        Figure("one", text),
        Figure("two", text),
        Figure("missing", text),
        Listing(text),
    )
    return to_html(Document(text, blocks), [arm], {"one": SVG, "two": SVG})


@given(st.text(st.characters()) | st.text("<>&\"'/!-abscript \n\0"))
def test_no_text_ever_adds_an_element_or_an_attribute(text: str) -> None:
    page = whole(text)
    assert Page(page).shape == Page(whole("p" * len(text))).shape  # a long cell has a class
    page.encode()


def test_texts_arrive_as_they_are() -> None:
    page = Page(whole(HOSTILE))
    assert page.texts["p"][0] == page.texts["td"][0] == page.texts["pre"][0] == page.texts["h1"][0] == HOSTILE
    assert [facts["aria-label"] for tag, facts in page.tags if tag == "svg"] == [HOSTILE, HOSTILE]
    (data,) = (json.loads(text) for text in page.texts["script"] if text.startswith("{"))
    assert data["names"] == [HOSTILE, "other"] and data["pictures"] == ["data:image/png;base64,AA=="]
    assert data["arms"][0]["flips"] == [[HOSTILE, 0, 1, 0, 0, -500, [[0, 1], [750, 250]], [[0, 1], [750, 250]], 0]]


def test_data_cannot_end_its_element() -> None:
    (data,) = re.findall(r'<script type="application/json" id="flips">(.*?)</script>', whole(HOSTILE), re.S)
    assert data.isascii() and not set("<>&") & set(data)


def test_the_policy_admits_our_style_and_script_alone() -> None:
    page = whole(HOSTILE)
    policy = next(facts["content"] for tag, facts in Page(page).tags if "http-equiv" in facts) or ""
    rules = dict(rule.split(" ", 1) for rule in policy.split("; "))
    assert rules["default-src"] == "'none'" and rules["img-src"] == "data:"
    for tag in ("style", "script"):
        (own,) = re.findall(rf"<{tag}>(.*?)</{tag}>", page, re.S)
        assert rules[f"{tag}-src"] == f"'sha256-{base64.b64encode(hashlib.sha256(own.encode()).digest()).decode()}'"
    assert page.index("http-equiv") < page.index("<style>")


def test_nothing_needs_what_the_policy_refuses() -> None:
    for tag, facts in Page(whole(HOSTILE)).tags:
        assert "style" not in facts and not any(name.startswith("on") for name in facts), (tag, facts)
        assert not str(facts.get("href", "#")).startswith("http") and tag not in ("link", "iframe", "object")


def test_figures_keep_their_ids_and_styles_apart() -> None:
    page = whole("plain")
    parsed = Page(page)
    ids = [facts["id"] for _, facts in parsed.tags if "id" in facts]
    assert len(ids) == len(set(ids))
    drawn = page[page.index("<figure") :]
    pointed = re.findall(r"url\(#([^)]*)\)", drawn) + re.findall(r'href="#([^"]*)"', drawn)
    assert len(pointed) == 4 and set(pointed) <= set(ids)
    one = next(facts["id"] for tag, facts in parsed.tags if tag == "figure")
    style = parsed.texts["style"][0]
    assert f"#{one} {{ *{{stroke-linecap: butt}} #{one}-clip{{fill:#abc}} }}" in style
    assert f"#{one} .{one}-s0 {{ fill: none; opacity: 1 }}" in style
    assert "when" not in page and "https://example.org/x" not in page


@pytest.mark.parametrize("style", ["} b{color:red} {", "}} b{color:red}", "a{} b{color:red", '"; } b{color:red}', "/*"])
def test_a_style_cannot_leave_its_figure(style: str) -> None:
    svg = f"<svg xmlns='http://www.w3.org/2000/svg'><style>{style}</style><g style='{style}'/></svg>"
    page = to_html(Document("t", (Figure("one", "w"),)), [], {"one": svg})
    assert "color:red" not in page and "/*}" not in page.replace(" ", "")


def test_contents_name_the_sections() -> None:
    page = to_html(Document("t", (Heading("First"), Heading("inner", 3), Heading("Second"))), [], {})
    assert re.findall(r'<li><a href="#(\w+)">(\w+)</a>', page) == re.findall(r'<h2 id="(\w+)">(\w+)</h2>', page)
    assert len(re.findall("<li>", page)) == 2


def test_numbers_stand_on_the_right() -> None:
    page = to_html(Document("t", (Table.of("abc", ["xyz"], "lrl"),)), [], {})
    assert "<td>x</td>" in page and '<td class="r">y</td>' in page and "<td>z</td>" in page


def test_without_flips_nothing_runs() -> None:
    page = to_html(Document("t", (Paragraph("all"),)), [], {})
    assert "<script" not in page and "Look at the errors" not in page


def test_no_name_turns_the_text_that_follows_it_round():
    page = to_html(Document("a\u202eb", (Paragraph("arm \u2067x +1.00"),)), [], {})
    assert "\u202e" not in page and "\u2067" not in page and "a\\u202eb" in page
