"""What drawings share: the page they lie on, colours, room for labels, and how they become SVG and PNG."""

import io
import math
import re
import unicodedata
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.container import ErrorbarContainer
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.legend_handler import HandlerErrorbar
from matplotlib.textpath import text_to_path
from PIL.PngImagePlugin import PngImageFile

from alexnet_sweep.files import whole_file, write_text

Missing = float | None
INK = "#010203"  # near-black on the PNG's white; `currentColor` in the SVG
GREY = "#808080"
BLUE, VERMILLION, GREEN, ORANGE, PURPLE = "#0072b2", "#d55e00", "#009e73", "#e69f00", "#cc79a7"
WIDTH, ROW, TALLEST = 8.0, 0.24, 400.0  # inches; beyond the last no PNG is drawn
SMALL, NORMAL = 8.0, 9.0  # points
DPI = 150
STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": NORMAL,
    "text.parse_math": False,
    "svg.fonttype": "none",
    "svg.hashsalt": "alexnet_sweep",
    "image.composite_image": False,  # each picture of an SVG at its own size
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.linewidth": 0.8,
    "xtick.labelsize": SMALL,
    "ytick.labelsize": SMALL,
    "legend.frameon": False,
    "legend.fontsize": SMALL,
} | dict.fromkeys(("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color"), INK)
ROUND = 'stroke-linejoin="round" stroke-linecap="butt"'
CSS = (
    "<style>svg:root{color:#1b1f24}@media(prefers-color-scheme:dark){svg:root{color:#e6edf3}}</style>"  # not if inlined
)


@contextmanager
def style() -> Iterator[None]:
    """Our settings and no user's, for as long as a drawing takes; glyphs that DejaVu lacks become boxes in silence."""
    with matplotlib.rc_context(), warnings.catch_warnings():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(STYLE)
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        yield


@style()
def write(figure: Figure, folder: Path, name: str, *, photographs: bool = False) -> None:
    """NAME.svg and NAME.png; the latter in 256 colours, unless there are `photographs` in it."""
    drawn = io.StringIO()
    figure.savefig(drawn, format="svg", metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
    write_text(folder / f"{name}.svg", _following_the_page(drawn.getvalue()))
    pixels = io.BytesIO()
    figure.savefig(pixels, format="png", dpi=DPI, facecolor="white")
    with whole_file(folder / f"{name}.png") as stream:
        image = PngImageFile(io.BytesIO(pixels.getvalue())).convert("RGB")
        (image if photographs else image.quantize(256)).save(stream, "PNG", optimize=True, dpi=(DPI, DPI))


def axes_at(figure: Figure, left: float, top: float, width: float, height: float) -> Axes:
    """Axes whose frame lies so many inches from the left and from the top."""
    wide, tall = figure.get_size_inches()
    return figure.add_axes((left / wide, 1 - (top + height) / tall, width / wide, height / tall))


def with_legend(figure: Figure, entries: Sequence[tuple[Any, str]]) -> Figure:
    """The legend lies above all axes, in up to three columns."""
    handlers: Any = {ErrorbarContainer: HandlerErrorbar(xerr_size=1)}
    handles: list[Any] = [handle for handle, _ in entries]
    legend = figure.legend(handles, ["?"] * len(handles), loc="upper left", ncols=3, handler_map=handlers)
    for text, (_, label) in zip(legend.get_texts(), entries, strict=True):
        text.set_text(label)  # only now: as an argument, a label that begins with _ would be left out
    return figure


def reach_of(near: Sequence[float], intervals: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """Limits that hold what is near, and intervals unless they are several times as far as most of them."""
    ends = [end for interval in intervals for end in interval if math.isfinite(end)]
    usual = 4 * median(map(abs, ends)) if ends else 0.0
    return limits_of([*near, *(min(max(end, -usual), usual) for end in ends)])


def limits_of(values: Sequence[float]) -> tuple[float, float]:
    """From the least to the greatest, with some room on both sides."""
    finite = [value for value in values if math.isfinite(value)] or [0.0]
    room = 0.06 * (max(finite) - min(finite))
    room = room if room > 1e-3 else 1.0
    return min(finite) - room, max(finite) + room


def percent_of(fraction: Missing) -> float:
    """In percent; not a number where it is missing or beyond all sense."""
    return 100 * fraction if fraction is not None and abs(fraction) < 1e4 else math.nan


def signed_number(value: float, form: str) -> str:
    """With its sign and a true minus; zero has none."""
    text = format(value, form)
    return text.lstrip("-") if float(text) == 0 else format(value, f"+{form}").replace("-", "−")


def not_empty(things: Sequence[object], name: str) -> None:
    if not things:
        raise ValueError(f"there are no {name}")


def fit_text(text: str, inches: float, points: float) -> str:
    """One line that XML can hold and that is not longer than that: the middle gives way."""
    short = plain = "".join(_printable(character) for character in " ".join(text.split()))
    kept = min(len(plain), 400)
    while len(short) > 400 or text_width(short, points) > inches:
        kept -= 1
        short = f"{plain[: (kept + 1) // 2]}…{plain[len(plain) - kept // 2 :]}"
    return short


def wrap_text(text: str, inches: float, points: float) -> str:
    """The same in at most two lines, broken where a word or a path has a seam."""
    text = fit_text(text, 1.8 * inches, points)
    if text_width(text, points) <= inches:
        return text
    whole = [end for end in range(1, len(text)) if text_width(text[:end], points) <= inches] or [1]
    seams = [end for end in whole if not text[end - 1].isalnum() and text_width(text[end:], points) <= inches]
    end = (seams or whole)[-1]
    return f"{text[:end].rstrip()}\n{fit_text(text[end:], inches, points)}"


def _printable(character: str) -> str:
    kind = unicodedata.category(character)
    return "" if kind == "Cf" else "\ufffd" if kind[0] == "C" else character


def text_width(text: str, points: float) -> float:
    """In inches, with some room for what another font than ours will draw wider."""
    font = FontProperties(family="DejaVu Sans", size=points)
    width, _, _ = text_to_path.get_text_width_height_descent(text, font, False)
    wide = sum(unicodedata.east_asian_width(character) in "WF" for character in text)
    return float(width + 0.4 * points * wide) / 72


def _following_the_page(svg: str) -> str:
    """Ink as `currentColor`, which is ours only where the SVG is the document; and without what HTML does not take."""
    bare = re.sub(r"<!--.*?-->|<defs>\s*<style.*?</defs>", "", svg[svg.index("<svg") :], flags=re.DOTALL)
    return re.sub(r"<[^>]*>", _tag, re.sub(r">\s+<", ">\n<", bare)).replace(">", f" {ROUND}>{CSS}", 1)


def _tag(match: re.Match[str]) -> str:
    tag = match[0].replace(INK, "currentColor").replace("'DejaVu Sans'", "'DejaVu Sans', Verdana, sans-serif")
    if tag.startswith("<g id=") and not tag.endswith("/>"):
        return "" if tag.endswith("/>") else "<g>"
    if tag.count(" \nL ") > 40 and " C " not in tag:  # a long curve: what follows M are lines anyway
        return re.sub(r"(\d\.\d)\d+", r"\1", tag.replace(" \nL ", " "))
    return re.sub(r"(\d\.\d\d)\d+", r"\1", tag)
