"""`python -m alexnet_sweep.inspect RUN`: kernels, answers, nearest images and short codes of a trained run."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tqdm import tqdm

from alexnet_sweep.arguments import Arguments
from alexnet_sweep.errors import FolderError
from alexnet_sweep.files import names_a_folder
from alexnet_sweep.store import RunFolder
from alexnet_sweep.study_folder import study_folder
from alexnet_sweep.wording import counted

if TYPE_CHECKING:
    from alexnet_sweep.finished import FinishedRun

FOLDER = "inspect"


def main(arguments: Sequence[str] | None = None) -> int:
    chosen = _parser().parse_args(arguments)
    from alexnet_sweep.mistakes import answered

    return answered(lambda: _inspected(chosen), told=(OSError,))


def _parser() -> argparse.ArgumentParser:
    parser = Arguments(
        prog="python -m alexnet_sweep.inspect",
        description="Look inside a trained run: kernels of the first layer and their colour, best answers, nearest "
        "training images at the last hidden layer and by pixels, short binary codes. Of several runs, or of a study, "
        "the first is looked at whole, and all in the table of kernels.",
        epilog="example: python -m alexnet_sweep.inspect 1a2b3c --images 20000",
    )
    parser.add_argument(
        "runs_named", nargs="+", metavar="RUN", help="a run's id, the beginning of it, its folder; a study"
    )
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="where run folders lie (runs)")
    parser.add_argument("--reports", type=Path, default=Path("reports"), help="where reports go (reports)")
    parser.add_argument("--out", type=Path, help=f"the folder to write (REPORTS/<run or study>/{FOLDER})")
    parser.add_argument("--split", choices=("test", "heldout"), default="test", help="images to look at (test)")
    parser.add_argument(
        "--k", type=_ks, default=(1, 5, 10, 50), metavar="K[,K…]", help="numbers of neighbours to compare (1,5,10,50)"
    )
    parser.add_argument("--images", type=_number, default=10_000, help="training images to search, at most (10000)")
    parser.add_argument("--queries", type=_number, default=1_000, help="images to search for, at most (1000)")
    parser.add_argument(
        "--device", choices=("auto", "cpu", "cuda", "mps"), default="auto", help="where to compute (auto)"
    )
    return parser


def _number(text: str) -> int:
    try:
        number = int(text)
    except ValueError:
        number = 0
    if number < 2:
        raise argparse.ArgumentTypeError(f"{text}: takes a whole number of at least 2")
    return number


def _ks(text: str) -> tuple[int, ...]:
    try:
        found = tuple(sorted({int(word) for word in text.split(",")}))
    except ValueError:
        found = ()
    if not found or found[0] < 1:
        raise argparse.ArgumentTypeError(f"{text}: takes whole numbers of at least 1, with commas between them")
    return found


def _inspected(chosen: argparse.Namespace) -> str:
    """Write the page; its text, and where it is."""
    named, runs = _runs(chosen.runs_named, chosen.runs)
    from alexnet_sweep.finished import check_outside_runs

    if chosen.out is not None:
        check_outside_runs(chosen.out, "--out")
    from alexnet_sweep.identity import plain
    from alexnet_sweep.inspect.look import Wanted, look
    from alexnet_sweep.inspect.page import write_page
    from alexnet_sweep.report.first_layer import first_layer
    from alexnet_sweep.trained import opened

    layers = [first_layer(run.folder, label, run.config.seed, plain(run.config)) for label, run in runs]
    wanted = Wanted(chosen.split, chosen.k, chosen.images, chosen.queries)
    folder = chosen.out or chosen.reports / named / FOLDER
    with tqdm(desc="packing", unit="image", file=sys.stderr, leave=False, disable=not sys.stderr.isatty()) as bar:

        def progress(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        with opened(runs[0][1], chosen.device, progress) as trained:
            bar.close()
            path = write_page(trained, look(trained, wanted), layers, folder, _again(chosen, named, runs))
    return f"{path.read_text(encoding='utf-8')}\ninspection: {path}"


def _again(chosen: argparse.Namespace, named: str, runs: "Sequence[tuple[str, FinishedRun]]") -> list[str]:
    """What to type for the same page: no paths, and no options that are at their defaults."""
    usual = _parser().parse_args([named])
    names = [named] if runs[0][0] else [run.name for _, run in runs]
    ks = {"--k": ",".join(map(str, chosen.k))} if chosen.k != usual.k else {}
    others = {f"--{key}": str(getattr(chosen, key)) for key in ("split", "images", "queries")}
    differing = {key: value for key, value in others.items() if value != str(getattr(usual, key[2:]))}
    return [*names, *(word for pair in (ks | differing).items() for word in pair)]


def _runs(names: Sequence[str], runs: Path) -> "tuple[str, list[tuple[str, FinishedRun]]]":
    """What the folder is named after, and the runs with their labels, the one to look at first.

    Raises:
        FolderError: where there is no such run or study, or none of it is finished with its weights.
    """
    from alexnet_sweep.aggregate import gather
    from alexnet_sweep.finished import finished_run, read_finished

    if len(names) > 1 or not names_a_folder(names[0]) or not study_folder(runs, names[0]).plan.is_file():
        found = [finished_run(name, runs) for name in names]
        return found[0].name, [("", run) for run in found]
    evidence = gather(names[0], runs)
    first = sorted(evidence.done, key=lambda record: record.arm_id != evidence.baseline)
    with_weights = [record for record in first if RunFolder(runs / record.run_id).weights.is_file()]
    if not with_weights:
        raise FolderError(
            f"{names[0]}: {counted(len(evidence.done), 'run')} of {len(evidence.records)} finished, none of them "
            "with its weights; checkpoint.keep=weights keeps them"
        )
    ordered = [with_weights[0], *(record for record in first if record is not with_weights[0])]
    return names[0], [
        (evidence.labels[record.arm_id], read_finished(RunFolder(runs / record.run_id))) for record in ordered
    ]


if __name__ == "__main__":
    sys.exit(main())
