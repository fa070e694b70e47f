"""`python -m alexnet_sweep.export RUN --onnx FILE`: a trained run as an ONNX model, checked against PyTorch."""

import sys
from collections.abc import Sequence
from pathlib import Path

from alexnet_sweep.arguments import Arguments
from alexnet_sweep.errors import FolderError
from alexnet_sweep.finished import check_outside_runs, finished_run
from alexnet_sweep.mistakes import answered
from alexnet_sweep.wording import amount, counted


def main(arguments: Sequence[str] | None = None) -> int:
    parser = Arguments(
        prog="python -m alexnet_sweep.export",
        description="Write a trained run as an ONNX model that takes pixels from 0 to 255: the mean is subtracted "
        "inside, the batch is free, and the file says how images are prepared and what the classes are. It is checked "
        "against PyTorch on the run's test images first. Needs pip install 'alexnet-sweep[export]'.",
        epilog="example: python -m alexnet_sweep.export 1a2b3c4d5e6f --onnx alexnet.onnx",
    )
    parser.add_argument("run", metavar="RUN", help="the id of a finished run, the beginning of it, or its folder")
    parser.add_argument("--onnx", type=Path, metavar="FILE", required=True, help="the file to write")
    parser.add_argument(
        "--output", choices=("probabilities", "logits"), default="probabilities", help="(probabilities)"
    )
    parser.add_argument("--input", choices=("uint8", "float32"), default="uint8", help="type of the pixels (uint8)")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="where run folders lie (runs)")
    chosen = parser.parse_args(arguments)

    def work() -> str:
        run = finished_run(chosen.run, chosen.runs)
        if chosen.onnx.is_dir():
            raise FolderError(f"--onnx {chosen.onnx}: is a folder; give a file")
        check_outside_runs(chosen.onnx, "--onnx")
        from alexnet_sweep.exporting import export

        found = export(run, chosen.onnx, output=chosen.output, inputs=chosen.input)
        sizes = " and ".join(filter(None, (", ".join(map(str, found.batches[:-1])), str(found.batches[-1]))))
        return (
            f"{found.path}: {amount(found.size)}, run {run.name}\n"
            f"checked on {counted(found.images, 'test image')} in batches of {sizes}: largest "
            f"difference of {chosen.output} {found.difference:.1e}; {found.same_answers} of {found.images} first "
            "answers the same"
        )

    return answered(work)


if __name__ == "__main__":
    sys.exit(main())
