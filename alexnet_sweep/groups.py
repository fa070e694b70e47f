"""The config groups and their options, as the folders under `conf/` have them. Imports nothing heavy."""

from pathlib import Path


def options(folder: Path | None = None) -> dict[str, list[str]]:
    """Options by group: `{"model/lrn": ["first_only", "off", "on"], …}`."""
    root = folder or conf_folder()
    found: dict[str, list[str]] = {}
    for file in sorted(root.rglob("*.yaml")):
        group = file.parent.relative_to(root).as_posix()
        if group != ".":
            found.setdefault(group, []).append(file.stem)
    return found


def conf_folder() -> Path:
    """The folder of config groups: inside the installed package, or beside it in a checkout."""
    inside = Path(__file__).parent / "conf"
    return inside if inside.is_dir() else Path(__file__).parent.parent / "conf"
