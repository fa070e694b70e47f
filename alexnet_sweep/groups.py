"""The config groups and their options, as the folders under `conf/` have them. Imports nothing heavy."""

from collections.abc import Iterator, Sequence
from pathlib import Path

DEEPEST = 2  # aug/lighting, hydra/launcher


def options(own: Path | None = None) -> dict[str, list[str]]:
    """Options by group, ours and those in the user's folder: `{"model/lrn": ["first_only", "off", "on"], …}`."""
    found: dict[str, set[str]] = {}
    for root in (conf_folder(), *([own] if own else [])):
        for file in _files(root, DEEPEST):
            found.setdefault(file.parent.relative_to(root).as_posix(), set()).add(file.stem)
    return {group: sorted(names) for group, names in sorted(found.items())}


def _files(folder: Path, deepest: int) -> Iterator[Path]:
    """Options below a folder, which may be anything: no run folders, no hidden ones, and no deeper than groups are."""
    for inner in sorted(folder.iterdir()) if deepest and folder.is_dir() else ():
        if inner.is_dir() and inner.name[0] not in "._" and not (inner / "config.yaml").exists():
            yield from inner.glob("*.yaml")
            yield from _files(inner, deepest - 1)


def own_folder(arguments: Sequence[str]) -> Path | None:
    """What `--config-dir` names on a command line."""
    for word, after in zip(arguments, [*arguments[1:], ""], strict=True):
        flag, equals, value = word.partition("=")
        if flag in ("-cd", "--config-dir") and (value if equals else after):
            return Path(value if equals else after)
    return None


def conf_folder() -> Path:
    """The folder of config groups: inside the installed package, or beside it in a checkout."""
    inside = Path(__file__).parent / "conf"
    return inside if inside.is_dir() else Path(__file__).parent.parent / "conf"
