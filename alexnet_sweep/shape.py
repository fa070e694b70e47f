"""What a file from elsewhere must look like before anything is worked out from it: types, ranges, nested as JSON is."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

LARGEST = 10**15  # of a count


@dataclass(frozen=True)
class Kind:
    """Values that hold what `holds` says, and a word for them."""

    word: str
    holds: Callable[[Any], bool]


@dataclass(frozen=True)
class Each:
    """A table of any names, whose values all have one shape."""

    inner: "Shape"


@dataclass(frozen=True)
class Maybe:
    """A key that may be missing or null."""

    inner: "Shape"


# A table of keys (others may stand beside them), a list of one shape, or a kind of value.
Shape = Kind | Each | Maybe | Mapping[str, Any] | Sequence[Any]

TEXT = Kind("text", lambda value: isinstance(value, str))
COUNT = Kind("a whole number from 0", lambda value: type(value) is int and 0 <= value < LARGEST)
POSITIVE = Kind("a whole number from 1", lambda value: COUNT.holds(value) and value > 0)
SHARE = Kind("a number from 0 to 1", lambda value: type(value) in (int, float) and 0 <= value <= 1)
NUMBER = Kind("a number", lambda value: type(value) in (int, float) and abs(value) < LARGEST)
SCALAR = Kind("a value", lambda value: not isinstance(value, dict | list))
TEXTS = Kind("text, or a list of it", lambda value: all(map(TEXT.holds, value if isinstance(value, list) else [value])))
TABLE = Kind("a table", lambda value: isinstance(value, dict))


def misfit(value: Any, shape: Shape, place: str = "") -> str | None:
    """Where a value does not have a shape, and what it should have been; None where it has it."""
    if isinstance(shape, Maybe):
        return None if value is None else misfit(value, shape.inner, place)
    if value is None and not (isinstance(shape, Kind) and shape.holds(None)):
        return f"lacks {place}"
    if isinstance(shape, Kind):
        return None if shape.holds(value) else f"{place or 'it'} is {_shown(value)}, not {shape.word}"
    if isinstance(shape, Each | Mapping):
        if not isinstance(value, dict):
            return f"{place or 'it'} is {_shown(value)}, not a table"
        inner = dict.fromkeys(value, shape.inner) if isinstance(shape, Each) else shape
        parts = ((value.get(key), of, f"{place}.{key}" if place else str(key)) for key, of in inner.items())
    else:
        if not isinstance(value, list):
            return f"{place or 'it'} is {_shown(value)}, not a list"
        parts = ((item, shape[0], f"{place}[{number}]") for number, item in enumerate(value))
    return next((found for part in parts if (found := misfit(*part)) is not None), None)


def _shown(value: Any) -> str:
    if isinstance(value, dict | list):
        return "a table" if isinstance(value, dict) else "a list"
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:39]}…"
