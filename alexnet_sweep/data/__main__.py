"""`python -m alexnet_sweep.data prepare|info data=NAME`: a data set packed ahead of time, or described. No torch."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from alexnet_sweep.arguments import Arguments
from alexnet_sweep.composing import composed, take_overrides, words_of
from alexnet_sweep.config import Config
from alexnet_sweep.data.images import stored_bytes
from alexnet_sweep.data.packed import SPLITS, check_sums, is_whole, read_colours
from alexnet_sweep.errors import DataError
from alexnet_sweep.machine import free_bytes
from alexnet_sweep.mistakes import answered
from alexnet_sweep.precheck import DataFacts
from alexnet_sweep.terminal import show_log
from alexnet_sweep.wording import amount


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code 0 if it is done, 1 where the data set cannot be packed, 2 for a mistake in what was typed."""
    parser = Arguments(
        prog="python -m alexnet_sweep.data",
        description="prepare: pack a data set before a run needs it. info: what is in it; builds nothing.",
        epilog="example: python -m alexnet_sweep.data info data=digits",
    )
    parser.add_argument("verb", choices=("prepare", "info"))
    take_overrides(parser)
    parser.add_argument("--verify", action="store_true", help="read all images, and compare them with their checksums")
    parser.add_argument("--json", action="store_true", help="for programs")
    chosen = parser.parse_intermixed_args(arguments)
    show_log()
    facts = DataFacts()

    def work() -> str | int:
        config = composed(chosen.overrides, chosen.config_dir)
        facts.fingerprint(config)
        if chosen.verb == "prepare":
            try:
                facts.pack(config)
            except DataError as error:
                print(error, file=sys.stderr)
                return 1
        found = facts_of(config, facts)
        if chosen.verify and found["packed"]:
            check_sums(Path(found["folder"]), all_images=True)
        return json.dumps(found, indent=1) if chosen.json else _table(found)

    return answered(work, words_of(chosen), last_word="stopped; the same command goes on from there")


def facts_of(config: Config, facts: DataFacts) -> dict[str, Any]:
    """What is known of a data set: its store's figures where it is packed, else what it would take."""
    meta, data = facts.meta(config), config.data
    folder = Path(config.paths.store) / meta.fingerprint
    found: dict[str, Any] = {
        "name": meta.name,
        "fingerprint": meta.fingerprint,
        "classes": meta.class_names,
        "images": meta.counts,
        "geometry": data.geometry,
        "stored_px": meta.stored_px,
        "crop_px": data.crop_px,
        "store": data.store,
        "folder": str(folder),
        "packed": is_whole(folder),
    }
    if not found["packed"]:
        images = sum(meta.counts[split] for split in SPLITS)
        return found | {
            "bytes_needed": stored_bytes(data.store, images, data.stored_px),
            "bytes_free": free_bytes(folder),
        }
    mean, eigenvalues, eigenvectors = read_colours(folder)
    return found | {
        "bytes": sum(path.stat().st_size for path in folder.iterdir()),
        "skipped": meta.skipped,
        "mean_rgb": np.round(mean.mean((1, 2)), 3).tolist(),
        "eigenvalues": np.round(eigenvalues, 3).tolist(),
        "eigenvectors": np.round(eigenvectors, 6).tolist(),
    }


def _table(found: dict[str, Any]) -> str:
    classes: list[str] = found["classes"]
    more = f" and {len(classes) - 8} more" if len(classes) > 8 else ""
    rows = [
        ("data", found["name"]),
        ("classes", f"{len(classes)}: {', '.join(classes[:8])}{more}"),
        ("images", ", ".join(f"{split} {count:,}" for split, count in found["images"].items())),
        ("geometry", f"{found['geometry']}, {found['stored_px']} px stored, {found['crop_px']} px crops"),
    ]
    if found["packed"]:
        skipped = [image for images in found["skipped"].values() for image in images]
        left_out = ", ".join(skipped[:5]) + (f" and {len(skipped) - 5} more" if len(skipped) > 5 else "")
        rows += [
            ("store", f"{found['store']}, {amount(found['bytes'])} in {found['folder']}"),
            ("left out", f"{len(skipped)}: {left_out}" if skipped else "none"),
            ("mean RGB", _figures(found["mean_rgb"])),
            ("eigenvalues", f"{_figures(found['eigenvalues'])} of the RGB covariance, 0 to 255"),
            ("deviations", f"{_figures(np.sqrt(np.maximum(found['eigenvalues'], 0)))} along the eigenvectors"),
        ]
    else:
        room = f"{amount(found['bytes_needed'])} needed, {amount(found['bytes_free'])} free"
        rows.append(("store", f"{found['store']}, not built: {room} in {Path(found['folder']).parent}"))
    return "\n".join(f"{name:<12} {value}" for name, value in rows)


def _figures(values: Any) -> str:
    return ", ".join(f"{float(value):.2f}" for value in values)


if __name__ == "__main__":
    sys.exit(main())
