"""The first layers of several runs side by side: the colour of their kernels, half by half, in tables and words."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import wilcoxon

from alexnet_sweep.errors import FolderError
from alexnet_sweep.findings import Findings
from alexnet_sweep.kernels import SHUFFLES, Kernels, read_kernels
from alexnet_sweep.report.canvas import write
from alexnet_sweep.report.document import Block, Figure, Heading, Paragraph, Table
from alexnet_sweep.report.numbers import p_words
from alexnet_sweep.report.pictures import kernel_grid
from alexnet_sweep.store import RunFolder
from alexnet_sweep.wording import counted

TITLE = "Kernels of the first layer"
FIGURE = "kernels"
HALVES = ("GPU 1", "GPU 2")
CONTROL = ("first half", "second half")
LEVEL = 0.05
FEWEST_SEEDS = 1 + math.ceil(-math.log2(LEVEL))  # no exact test of n pairs has a p below 2 / 2^n


@dataclass(frozen=True)
class FirstLayer:
    """A run's first layer, or why there is none to see."""

    run_id: str
    arm: str
    seed: int
    kernels: Kernels | None
    lacks: str = ""

    @property
    def halves(self) -> tuple[str, str]:
        """What its halves are: GPUs of the original, or a control."""
        return HALVES if self.kernels is not None and self.kernels.columns > 1 else CONTROL


def first_layer(folder: RunFolder, arm: str, seed: int, config: Mapping[str, Any]) -> FirstLayer:
    """Read one; a run whose weights are gone, or cannot be read, is no error."""
    try:
        kernels = read_kernels(folder.weights, config)
    except FolderError:
        why = "cannot be read" if folder.weights.is_file() else "not kept"
        return FirstLayer(folder.run_id, arm, seed, None, f"weights {why}")
    return FirstLayer(folder.run_id, arm, seed, kernels, "" if kernels is not None else "no layer sees three colours")


def first_layers(findings: Findings) -> list[FirstLayer]:
    """Of a study's finished runs, in the plan's order."""
    evidence = findings.evidence
    return [
        first_layer(
            RunFolder(evidence.runs / record.run_id), evidence.labels[record.arm_id], record.seed, record.config
        )
        for record in evidence.done
        if record.config is not None
    ]


def halves_table(layers: Sequence[FirstLayer]) -> pd.DataFrame:
    """A row a run; colours are shares of energy."""
    rows = []
    for layer in layers:
        if layer.kernels is not None:
            halves, count = layer.kernels.halves, len(layer.kernels.weights)
            rows.append(
                {"run_id": layer.run_id, "arm": layer.arm, "seed": layer.seed, "layer": layer.kernels.layer}
                | {
                    "columns": layer.kernels.columns,
                    "kernels": count,
                    "without": int(np.isnan(layer.kernels.colour).sum()),
                }
                | {"first": halves.first, "second": halves.second, "difference": halves.difference}
                | {"by_chance": halves.by_chance, "p": halves.p}
            )
    return pd.DataFrame(rows)


def kernels_table(layers: Sequence[FirstLayer]) -> pd.DataFrame:
    """A row a kernel: its half (1 or 2), its colour, and the root of its energy."""
    parts = []
    for layer in layers:
        if layer.kernels is not None:
            weights, numbers = layer.kernels.weights.astype(np.float64), np.arange(len(layer.kernels.weights))
            parts.append(
                pd.DataFrame(
                    {
                        "run_id": layer.run_id,
                        "arm": layer.arm,
                        "seed": layer.seed,
                        "kernel": numbers + 1,
                        "half": np.where(numbers < layer.kernels.first_half, 1, 2),
                        "colour": layer.kernels.colour,
                        "norm": np.sqrt(np.square(weights).sum(axis=(1, 2, 3))),
                    }
                )
            )
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()


def by_run(layers: Sequence[FirstLayer]) -> list[Block]:
    """A row a run."""
    head = ["run", "halves", "seed", "first half", "second half", "difference", "by chance", "p"]
    arms = any(layer.arm for layer in layers)
    rows = [
        [*([str(row["arm"])] if arms else []), str(row["run_id"]), _halves(row), str(row["seed"])]
        + [_share(row[key]) for key in ("first", "second", "difference", "by_chance")]
        + [_p(row["p"])]
        for row in halves_table(layers).to_dict("records")
    ]
    return [Table.of(["arm", *head] if arms else head, rows, "l" * (arms + 2) + "r" * 6)] if rows else []


def by_arm(layers: Sequence[FirstLayer]) -> list[Block]:
    """A row an arm: means over its seeds, for the halves may change places from one to the next."""
    table, rows = halves_table(layers), []
    for arm, part in table.groupby("arm", sort=False) if len(table) else ():
        seeds = len(part)
        colour = (part["first"] + part["second"]) / 2
        clear = int((part["p"] < LEVEL).sum())
        rows.append(
            [str(arm), _halves(part.iloc[0]), str(seeds), str(part["kernels"].iloc[0]), _share(colour.mean())]
            + [_share(part[key].mean()) for key in ("difference", "by_chance")]
            + [f"{clear} of {seeds}"]
        )
    head = ["arm", "halves", "seeds", "kernels", "colour", "difference", "by chance", f"p < {LEVEL}"]
    return [Table.of(head, rows, "llrrrrrr")] if rows else []


def _halves(row: "Mapping[Any, Any] | pd.Series[Any]") -> str:
    return "two GPUs" if row["columns"] > 1 else "control"


def _share(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.3f}"


def _p(value: float) -> str:
    return "–" if math.isnan(value) else p_words(value)


def words(layers: Sequence[FirstLayer]) -> list[Block]:
    """What the tables show and how the figures are made; and which runs are missing from them."""
    lacking: dict[str, int] = {}
    for layer in layers:
        if layer.kernels is None:
            lacking[layer.lacks] = lacking.get(layer.lacks, 0) + 1
    missing = [Paragraph(f"Not shown: {counted(number, 'run')} ({why}).") for why, number in lacking.items()]
    table = halves_table(layers)
    if table.empty:
        return [*missing]
    lines = [
        "Colour is the share of a kernel's energy (its squared weights) off the grey axis, on which red, green and "
        "blue are equal at every pixel: 0 is grey, and independent noise has two thirds. On images without colour, "
        "what is off the axis is left over from the initial weights. A half's colour is the mean of its kernels'.",
        "The paper (§6.1) saw one GPU's kernels largely without and the other's largely with colour, in every run. By "
        f"chance is the mean difference of random halves of the same kernels ({SHUFFLES:,} of them), and p how often "
        "these differ as much. Where all kernels feed one GPU, the halves are a control: nothing sets them apart. Runs "
        "of one seed start from the same draws in every arm, so that it is seeds that count, not runs.",
    ]
    return [Paragraph(_summary(table)), *(Paragraph(line) for line in lines), *missing]


def _summary(table: pd.DataFrame) -> str:
    table = table[table["difference"].notna()]
    told, by_seed = [], []
    for name, part in (("of two GPUs", table[table["columns"] > 1]), ("of the control", table[table["columns"] <= 1])):
        if len(part):
            clear = int((part["p"] < LEVEL).sum())
            by_seed.append(part.groupby("seed")["difference"].mean())
            told.append(
                f"halves {name} differ by {part['difference'].mean():.3f} ({part['by_chance'].mean():.3f} by chance), "
                f"with p < {LEVEL} in {clear} of {counted(len(part), 'run')} of {counted(len(by_seed[-1]), 'seed')}"
            )
    if not told:
        return "No run has kernels with a colour in both halves."
    line = "; ".join(told)
    if len(by_seed) == 2:
        line += f"; {_against_control(*by_seed)}"
    return f"{line[0].upper()}{line[1:]}."


def _against_control(two_gpus: "pd.Series[float]", control: "pd.Series[float]") -> str:
    """Seed by seed, with the seeds' means of both: an arm more of the same seeds is no new evidence."""
    apart = (two_gpus - control).dropna().to_numpy()
    if not len(apart):
        return "no seed has runs of both"
    told = f"two GPUs differ more in {int((apart > 0).sum())} of {counted(len(apart), 'seed')} with both"
    apart = apart[apart != 0]
    if len(apart) < FEWEST_SEEDS:
        return f"{told}, too few for a p below {LEVEL}, which takes {FEWEST_SEEDS}"
    p = float(wilcoxon(apart, method="exact").pvalue)
    return f"{told}: p = {p_words(p)} (exact signed-rank test of {len(apart)} seeds, each the mean of its runs)"


def kernels_figure(layer: FirstLayer) -> Figure:
    """What the drawing of a run's kernels shows."""
    assert layer.kernels is not None, "there is a drawing only where there are kernels"
    run = f"run {layer.run_id} ({layer.arm + ', ' if layer.arm else ''}seed {layer.seed})"
    upper, lower = layer.halves
    return Figure(
        FIGURE,
        f"Kernels of {layer.kernels.layer} of {run}: {upper} above {lower}; each scaled by itself, zero is mid grey",
    )


def baseline_layer(findings: Findings, layers: Sequence[FirstLayer]) -> FirstLayer | None:
    """The baseline's first run whose kernels can be seen."""
    label = findings.evidence.labels[findings.evidence.baseline]
    return next((layer for layer in layers if layer.arm == label and layer.kernels is not None), None)


def draw_kernels(findings: Findings, layers: Sequence[FirstLayer], folder: Path) -> list[Figure]:
    """Draw those of the baseline's first run that has its weights, as NAME.svg and NAME.png; none where none has."""
    shown = baseline_layer(findings, layers)
    if shown is None or shown.kernels is None:
        for suffix in ("svg", "png"):
            (folder / f"{FIGURE}.{suffix}").unlink(missing_ok=True)
        return []
    write(kernel_grid(shown.kernels, shown.halves), folder, FIGURE, photographs=True)
    return [kernels_figure(shown)]


def section(layers: Sequence[FirstLayer], drawn: Sequence[Block]) -> list[Block]:
    """A report's section; nothing where there is no finished run."""
    if not layers:
        return []
    return [Heading(TITLE), *drawn, *by_arm(layers), *words(layers)]
