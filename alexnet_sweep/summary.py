"""`python -m alexnet_sweep.summary [OVERRIDE…]`: the composed network, layer by layer. Imports no torch."""

import argparse
import json
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from alexnet_sweep.arguments import Arguments, refused
from alexnet_sweep.composing import composed, take_overrides, words_of
from alexnet_sweep.config import Config
from alexnet_sweep.data.pack import describe
from alexnet_sweep.mistakes import explain, is_users
from alexnet_sweep.model.layer import Layer
from alexnet_sweep.model.plan import plan_layers
from alexnet_sweep.plugins import check_plugins
from alexnet_sweep.terminal import show


def main(arguments: Sequence[str] | None = None) -> int:
    parser = Arguments(
        prog="python -m alexnet_sweep.summary",
        description="The composed network by layers: output shape, parameters, multiply-accumulates for an image.",
        epilog="example: python -m alexnet_sweep.summary model/topology=dense model.width=1 --classes 1000",
    )
    take_overrides(parser)
    parser.add_argument("--json", action="store_true", help="for programs")
    parser.add_argument("--classes", type=outputs, help="outputs of the last layer (those of the data set)")
    chosen = parser.parse_intermixed_args(arguments)
    try:
        config = composed(chosen.overrides, chosen.config_dir)
        classes = chosen.classes or _classes(config)
        if config.model.net.custom is None:
            figures = summarised(plan_layers(config.model, config.data.crop_px, classes))
        else:
            figures = _measured(config, classes)
    except Exception as error:
        if not is_users(error):
            raise
        return refused(explain(error, words_of(chosen)))
    show(json.dumps(figures, indent=1) if chosen.json else _table(figures))
    return 0


def outputs(text: str) -> int:
    """How many outputs a network has."""
    if not re.fullmatch(r"[1-9]\d{0,6}", text, re.ASCII):
        raise argparse.ArgumentTypeError(f"{text}: allowed: a number from 1 to 9999999")
    return int(text)


def _classes(config: Config) -> int:
    return len(describe(config.data, Path(config.paths.store)).class_names)


def _measured(config: Config, classes: int) -> dict[str, Any]:
    """As `summarised`, of a network of the user's own, which must be built for it."""
    check_plugins(config)
    from alexnet_sweep.model.build import build_model
    from alexnet_sweep.model.measure import measured

    rows = [
        vars(module) | {"output": list(module.output)}
        for module in measured(build_model(config, classes), config.data.crop_px)
    ]
    return {"layers": rows, "total": _total(rows)}


def summarised(layers: Sequence[Layer]) -> dict[str, Any]:
    """Layers with weights, their poolings, and totals; shapes are (channels, height, width)."""
    rows: list[dict[str, Any]] = []
    for layer in layers:
        rows.append(
            {
                "name": layer.name,
                "output": [layer.outputs, layer.out_px, layer.out_px],
                "parameters": layer.parameters,
                "multiply_accumulates": layer.multiply_accumulates,
            }
        )
        for name, size in layer.pools:
            row = {"name": name, "output": [layer.outputs, size, size], "parameters": 0, "multiply_accumulates": 0}
            rows.append(row)
    return {"layers": rows, "total": _total(rows)}


def _total(rows: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    return {key: sum(row[key] for row in rows) for key in ("parameters", "multiply_accumulates")}


def _table(figures: dict[str, Any]) -> str:
    width = max(8, *(len(row["name"]) for row in figures["layers"]))
    lines = [f"{'layer':<{width}} {'output':>16} {'parameters':>14} {'multiply-accumulates':>22}"]
    for row in figures["layers"]:
        shape = " × ".join(str(size) for size in row["output"])
        lines.append(f"{row['name']:<{width}} {shape:>16} {row['parameters']:>14,} {row['multiply_accumulates']:>22,}")
    total = figures["total"]
    lines.append(f"{'total':<{width}} {'':>16} {total['parameters']:>14,} {total['multiply_accumulates']:>22,}")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
