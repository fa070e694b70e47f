"""What was seen in a run, in words and files: README.md, inspection.html, CSV tables and figures."""

import shlex
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from alexnet_sweep.files import write_text
from alexnet_sweep.inspect.look import CODE_BITS, SHOWN_ANSWERS, SHOWN_NEIGHBOURS, Looked
from alexnet_sweep.report.canvas import write
from alexnet_sweep.report.document import Block, Document, Figure, Heading, Listing, Notice, Paragraph, Table
from alexnet_sweep.report.first_layer import (
    TITLE,
    FirstLayer,
    by_run,
    halves_table,
    kernels_figure,
    kernels_table,
    words,
)
from alexnet_sweep.report.html import to_html
from alexnet_sweep.report.markdown import to_markdown
from alexnet_sweep.report.numbers import percent
from alexnet_sweep.report.pictures import answers_panel, kernel_grid, neighbours_panel
from alexnet_sweep.trained import TrainedRun
from alexnet_sweep.wording import amount, counted

PARTS = {"test": "test", "heldout": "held-out", "train": "training"}


def write_page(
    trained: TrainedRun, looked: Looked, layers: Sequence[FirstLayer], folder: Path, arguments: Sequence[str]
) -> Path:
    """Write everything into the folder; the same run gives the same bytes. Returns the path of README.md."""
    folder.mkdir(parents=True, exist_ok=True)
    figures = _draw(looked, layers[0], folder)
    tables = {
        "halves": halves_table(layers),
        "kernels": kernels_table(layers),
        "answers": looked.answers,
        "agreement": looked.agreement,
        "neighbours": looked.neighbours,
        "codes": looked.codes,
    }
    for name, table in tables.items():
        if table.empty:
            (folder / f"{name}.csv").unlink(missing_ok=True)
        else:
            write_text(folder / f"{name}.csv", table.to_csv(index=False, lineterminator="\n"))
    document = document_of(trained, looked, layers, figures, arguments)
    drawn = {name: (folder / f"{name}.svg").read_text(encoding="utf-8") for name in figures}
    write_text(folder / "inspection.html", to_html(document, [], drawn))
    path = folder / "README.md"
    write_text(path, to_markdown(document))
    return path


def _draw(looked: Looked, layer: FirstLayer, folder: Path) -> dict[str, Figure]:
    made = {"answers": answers_panel(looked.answered), "neighbours": neighbours_panel(looked.shown)}
    figures = {
        "answers": Figure(
            "answers", "Images with their true label above and their best classes below, the label's in green"
        ),
        "neighbours": Figure(
            "neighbours",
            "Images and, to their right, the training images nearest to them, nearest first; framed in green where "
            "they are of the same class, else in red",
        ),
    }
    if layer.kernels is not None:
        made["kernels"] = kernel_grid(layer.kernels, layer.halves)
        figures["kernels"] = kernels_figure(layer)
    for name, figure in made.items():
        write(figure, folder, name, photographs=True)
    if layer.kernels is None:
        for suffix in ("svg", "png"):
            (folder / f"kernels.{suffix}").unlink(missing_ok=True)
    return figures


def document_of(
    trained: TrainedRun,
    looked: Looked,
    layers: Sequence[FirstLayer],
    figures: dict[str, Figure],
    arguments: Sequence[str],
) -> Document:
    """The whole page."""
    blocks: list[Block] = [Paragraph(_about(trained))]
    if trained.run.stale:
        blocks.append(
            Notice(
                "Stale", "The run was trained by other sources than those of this version, and is looked at with these."
            )
        )
    blocks += [Heading(TITLE), *([figures["kernels"]] if "kernels" in figures else []), *by_run(layers), *words(layers)]
    blocks += _answers(looked, figures)
    blocks += _neighbours(looked, figures)
    blocks += _codes(looked)
    command = shlex.join(["python", "-m", "alexnet_sweep.inspect", *arguments])
    blocks += [Heading("How this was made"), Listing(command), *(Paragraph(line) for line in _how(trained, looked))]
    return Document(f"Inside run {trained.run.name}", tuple(blocks))


def _about(trained: TrainedRun) -> str:
    result, config = trained.run.result, trained.run.config
    errors = result["errors"]["test"]["ten"]
    net = config.model.net.name if config.model.net.custom is None else str(config.model.net.custom["_target_"])
    return (
        f"{net} of {result['parameters']:,} parameters, trained for {counted(result['epochs'], 'epoch')} on "
        f"{result['data']['train_images']:,} images of {config.data.name} with seed {config.seed}; Top-1 test error "
        f"{100 * errors['top1_error']:.2f} % by averaged views."
    )


def _answers(looked: Looked, figures: dict[str, Figure]) -> list[Block]:
    wrong = len(looked.answered) - looked.right
    kind = PARTS[looked.part]
    return [
        Heading("Five best answers"),
        figures["answers"],
        Paragraph(
            f"{counted(len(looked.answered), f'{kind} image')} with their best classes and probabilities in percent, "
            f"as recorded (averaged views): the first {looked.right} that are right and the first {wrong} that are "
            f"wrong, in an order of chance that does not hang on the run. They are {SHOWN_ANSWERS // 2} of each kind "
            "where there are as many, and say nothing of how often the network is right."
        ),
    ]


def _neighbours(looked: Looked, figures: dict[str, Figure]) -> list[Block]:
    table = looked.agreement
    first = looked.layer.name
    rows = [
        [str(k), *(_interval(part[part["way"] == way].iloc[0]) for way in (first, "pixels", "difference"))]
        for k, part in table.groupby("k", sort=True)
    ]
    head = ["k", f"by {first} (95 %)", "by pixels (95 %)", "difference (95 %)"]
    lines = [
        "The share, in percent, of the k nearest training images that are of the query's class, over "
        f"{counted(looked.queries, PARTS[looked.part] + ' image')}; a searched image picked blindly agrees in "
        f"{100 * looked.chance:.1f} %. Intervals are over the choice of queries (bootstrap); the network is one.",
        f"Searched: {looked.indexed:,} of the {looked.trained_on:,} images trained on. Distance is Euclidean: of "
        f"{looked.layer.words}, in the centre view, and of that view's pixels. Both lots of images are drawn by "
        "streams of their own; at equal distance the image that was drawn first counts.",
    ]
    shown = Paragraph(
        f"Shown: the first {len(looked.shown)} queries of different classes, each with the {SHOWN_NEIGHBOURS} nearest."
    )
    if looked.left_out:
        lines.append(f"Left out: k = {', '.join(map(str, looked.left_out))}, more than there are images to search.")
    return [
        Heading("Nearest training images"),
        Table.of(head, rows, "rrrr"),
        *(Paragraph(line) for line in lines),
        figures["neighbours"],
        shown,
    ]


def _codes(looked: Looked) -> list[Block]:
    table = looked.codes
    ks = sorted(set(table["k"]))
    exact = looked.agreement[looked.agreement["way"] == looked.layer.name].set_index("k")["agreement"]
    whole = int(table["float_bytes"].iloc[0])
    head = ["code", "bytes", *(f"agreement at {k}" for k in ks), *(f"found at {k}" for k in ks if k > 1)]
    rows = [
        [f"{bits} bits", str(part["bytes"].iloc[0])]
        + [_interval(part[part["k"] == k].iloc[0]) for k in ks]
        + [f"{100 * part[part['k'] == k]['recall'].iloc[0]:.1f}" for k in ks if k > 1]
        for bits, part in table.groupby("bits", sort=True)
    ]
    rows.append(
        [
            f"exact, {looked.layer.name}",
            f"{whole:,}",
            *(f"{100 * exact[k]:.1f}" for k in ks),
            *("100.0" for k in ks if k > 1),
        ]
    )
    told = f"{CODE_BITS[0]} to {CODE_BITS[-1]} of them where there are as many"
    return [
        Heading("Short binary codes"),
        Table.of(head, rows, "l" + "r" * (len(head) - 1)),
        Paragraph(
            f"The paper (§6.1) suggests to compress {looked.layer.name} to short binary codes. Here in a simple form: "
            "the signs of the first principal components, whose directions and means come from the searched training "
            f"images alone, {told}, compared by how many bits differ; of equally distant images the one drawn first "
            "counts. Agreement is that of the table above; found is the share, in percent, of the k exact neighbours "
            "that are among the k nearest by code. Bytes are of one image; exact search compares 32-bit floats."
        ),
    ]


def _interval(row: "pd.Series[float]") -> str:
    share, low, high = (percent(row[key], 1) for key in ("agreement", "low", "high"))
    return share if pd.isna(row["low"]) else f"{share} ({low} to {high})"


def _how(trained: TrainedRun, looked: Looked) -> list[str]:
    floats = amount((looked.indexed + looked.queries) * looked.layer.width * 4)
    return [
        f"Looked at on {trained.job.device}, {trained.job.trainer.precision}; data set {trained.run.fingerprint}. In "
        f"memory are the features of the searched images and the queries ({floats} as 32-bit floats, three times that "
        "while the components are worked out) and a batch of images; pixels are compared part by part.",
        "Tables beside this page: halves.csv and kernels.csv (a row a run, a row a kernel), answers.csv, "
        "agreement.csv, neighbours.csv, codes.csv.",
    ]
