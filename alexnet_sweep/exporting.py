"""A finished run as an ONNX model: made, checked against PyTorch on the run's own test images, and only then written.

The model takes pixels from 0 to 255 and subtracts the training set's mean itself, so that nobody who runs it can forget
that. Opset 18 is what PyTorch's exporter writes without converting, and any runtime of 2024 or later reads it. The
batch is free.
"""

import io
import json
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from alexnet_sweep.augment import centre_view
from alexnet_sweep.data.feed import fetch
from alexnet_sweep.errors import ConfigError, FolderError, one_line
from alexnet_sweep.files import whole_file
from alexnet_sweep.finished import FinishedRun
from alexnet_sweep.model.portable import Portable
from alexnet_sweep.trained import TrainedRun, opened

OPSET = 18
BATCHES = (1, 7, 64)  # sizes that are tried
TOLERANCE = 1e-4  # of probabilities; of logits, times the largest of them where that is above 1
DTYPES = {"uint8": torch.uint8, "float32": torch.float32}


@dataclass(frozen=True)
class Exported:
    """What was written, and how near it comes to the network it was made of."""

    path: Path
    size: int  # bytes
    images: int
    batches: tuple[int, ...]
    difference: float  # the largest, of any output
    same_answers: int  # images whose first answer is the same


def export(run: FinishedRun, path: Path, *, output: str, inputs: str) -> Exported:
    """Write a run as ONNX; `output` is probabilities or logits, `inputs` uint8 or float32, both from 0 to 255.

    Raises:
        ConfigError: where the network has a part that cannot be exported, or ONNX is not installed.
        FolderError: where the exported model answers otherwise than the network; nothing is written.
        SweepError: as `trained.opened`.
    """
    with opened(run, "cpu") as trained:
        pixels = trained.job.pixels
        model = Portable(trained.net, pixels.mean, pixels.input_divisor, output).eval()
        images = _images(trained, DTYPES[inputs])
        content = _content(run, trained, model, images, output, inputs)
        difference, same = _compared(run, trained, content, images, output)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(path) as stream:
            stream.write(content)
    except OSError as error:
        raise FolderError(f"{path}: cannot be written ({error.strerror}); give another file") from error
    return Exported(path, len(content), len(images), _sizes(images), difference, same)


def _images(trained: TrainedRun, dtype: torch.dtype) -> Tensor:
    """Centre views of the first test images, as many as the largest batch holds."""
    split, rows = trained.part("test")
    stored = fetch(trained.job.packed.images[split], rows[: max(BATCHES)], trained.job.device)
    return centre_view(stored, trained.run.config.data.crop_px).contiguous().to(dtype)


def _sizes(images: Tensor) -> tuple[int, ...]:
    """Of the batches that are tried: none is larger than all images."""
    return tuple(sorted({min(size, len(images)) for size in BATCHES}))


def _content(run: FinishedRun, trained: TrainedRun, model: Portable, images: Tensor, output: str, inputs: str) -> bytes:
    try:
        import onnxruntime  # noqa: F401  # checked with, further down
        import onnxscript  # noqa: F401  # PyTorch's exporter needs it
    except ImportError as error:
        raise ConfigError(f"{error.name}: not installed; pip install 'alexnet-sweep[export]'") from error
    try:
        with _quiet(), torch.no_grad():
            program = torch.onnx.export(
                model,
                (images[:1].repeat(2, 1, 1, 1),),  # a batch of one would be taken for a fixed one
                dynamo=True,
                input_names=["images"],
                output_names=[output],
                dynamic_shapes=({0: torch.export.Dim("batch")},),
                opset_version=OPSET,
                external_data=False,
                verbose=False,
            )
    except Exception as error:  # whatever the user's own parts do in a trace
        cause: BaseException = error
        while cause.__cause__ is not None:
            cause = cause.__cause__
        told = one_line(cause).split(". ")[0][:200]
        raise ConfigError(
            f"run {run.name}: cannot be exported ({told}); PyTorch's exporter does not know a part of the network"
        ) from error
    assert program is not None, "as it is with dynamo"
    proto = program.model_proto
    for key, value in metadata(run, trained, output, inputs).items():
        entry = proto.metadata_props.add()
        entry.key, entry.value = key, value if isinstance(value, str) else json.dumps(value)
    return bytes(proto.SerializeToString())


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the exporter's notes on its own work; its errors are raised."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        unread = io.StringIO()  # of what cannot be exported, it prints half a graph
        with warnings.catch_warnings(), redirect_stderr(unread), redirect_stdout(unread):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def metadata(run: FinishedRun, trained: TrainedRun, output: str, inputs: str) -> dict[str, Any]:
    """What the file says of itself: where it comes from, and what to do with an image before and after."""
    data, meta = run.config.data, trained.job.packed.meta
    resized = "the shorter side" if data.geometry == "central_square" else "both sides"
    cut = ", cut out the central square" if data.geometry == "central_square" else ""
    return {
        "run": run.name,
        "source_hash": str(run.result["source_hash"]),
        "data": meta.name,
        "data_fingerprint": meta.fingerprint,
        "classes": list(meta.class_names),
        "input_layout": f"{inputs} (batch, 3, {data.crop_px}, {data.crop_px}), RGB, from 0 to 255",
        "preprocessing": (
            f"scale {resized} to {meta.stored_px} px{cut}, then take its centre of {data.crop_px} px; mean and scale "
            "are part of the model"
        ),
        "stored_px": meta.stored_px,
        "crop_px": data.crop_px,
        "output": f"{output} (batch, {trained.job.classes}), in the order of classes",
        "test_top1_error_centre_view": run.result["errors"]["test"]["centre"]["top1_error"],
    }


def _compared(run: FinishedRun, trained: TrainedRun, content: bytes, images: Tensor, output: str) -> tuple[float, int]:
    """The largest difference from the run's own network at every batch size, and how many first answers agree.

    Raises:
        FolderError: where they differ by more than rounding.
    """
    import onnxruntime

    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    expected = _expected(trained, images, output)
    worst, found = 0.0, np.empty_like(expected)
    for size in _sizes(images):
        for first in range(0, len(images), size):
            rows = slice(first, first + size)
            (found[rows],) = session.run(None, {"images": images[rows].numpy()})
        worst = max(worst, float(np.abs(found - expected).max()))
    allowed = TOLERANCE * max(1.0, float(np.abs(expected).max()))
    if not worst <= allowed:
        raise FolderError(
            f"run {run.name}: the exported model's {output} differ by {worst:.2g} from the network's, allowed: "
            f"{allowed:.2g}; nothing is written"
        )
    return worst, int((found.argmax(1) == expected.argmax(1)).sum())


@torch.inference_mode()
def _expected(trained: TrainedRun, images: Tensor, output: str) -> NDArray[np.float32]:
    """What the network itself answers, in float32."""
    pixels = trained.job.pixels
    inputs = (images.float() - pixels.mean) / pixels.input_divisor
    logits = trained.net(inputs.contiguous(memory_format=pixels.memory_format))
    answers: NDArray[np.float32] = (logits.softmax(1) if output == "probabilities" else logits).numpy()
    return answers
