"""What a person sees of a run: its log, its TensorBoard scalars, and a line or a bar on the terminal."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from loguru import logger
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from alexnet_sweep.files import to_be_continued
from alexnet_sweep.store import RunFolder
from alexnet_sweep.train import Step

LOG_LINE = "{time:YYYY-MM-DD HH:mm:ss} | {level: <8} | {message}"


# TensorBoard groups scalars by what stands before the slash.
TAGS = {
    "train_loss": "loss/train",
    "train_top1_error": "top1_error/train",
    "clean_train_top1_error": "top1_error/train_clean",
    "heldout_top1_error": "top1_error/heldout",
    "train_top5_error": "top5_error/train",
    "clean_train_top5_error": "top5_error/train_clean",
    "heldout_top5_error": "top5_error/heldout",
    "learning_rate": "optim/learning_rate",
}


@contextmanager
def logging_to(folder: RunFolder) -> Iterator[None]:
    """Send the log to the run's own file too, for as long as the block lasts.

    Raises:
        FolderError: where that is no file of its own.
    """
    file = logger.add(to_be_continued(folder.log), format=LOG_LINE, level="DEBUG")
    try:
        yield
    finally:
        logger.remove(file)


class Narrator:
    """Tells of one run as it goes: a bar with the time left on a terminal, and a line an epoch in the log."""

    def __init__(self, folder: RunFolder, *, epochs: int, bar: bool) -> None:
        self.folder, self.epochs = folder, epochs
        self.board = SummaryWriter(str(folder.path))
        self.bar = tqdm(
            desc=folder.run_id,
            unit="step",
            file=sys.stderr,
            leave=False,
            dynamic_ncols=True,
            disable=not (bar and sys.stderr.isatty()),
            bar_format="{desc} |{bar}| {percentage:3.0f} %, {elapsed} gone, {remaining} left",
        )
        self.rates: list[float] = []
        self._began = time.monotonic()
        self._images = 0

    def step(self, step: Step) -> None:
        """After a training step."""
        self._images += step.images
        if self.bar.total is None:
            self.bar.total = step.total
            self.bar.initial = self.bar.n = step.before + step.number
        self.bar.set_description_str(f"{self.folder.run_id} epoch {step.epoch + 1}/{self.epochs}", refresh=False)
        self.bar.update(1)

    def epoch(self, row: dict[str, Any]) -> None:
        """After an epoch, with its row of metrics."""
        seconds = time.monotonic() - self._began
        rate = self._images / seconds if seconds > 0 else 0.0
        self.rates.append(rate)
        epoch = int(row["epoch"])
        heldout = row["heldout_top1_error"]
        logger.info(
            "epoch {}/{}: loss {:.4f}, train error {:.2%} (clean {}), held-out {}, lr {:g}, {:,.0f} images/s",
            epoch,
            self.epochs,
            row["train_loss"],
            row["train_top1_error"],
            _percent(row["clean_train_top1_error"]),
            _percent(heldout),
            row["learning_rate"],
            rate,
        )
        for key, tag in TAGS.items():
            if row[key] is not None:
                self.board.add_scalar(tag, row[key], epoch)
        self.board.add_scalar("speed/images_per_second", rate, epoch)
        self.resume_clock()

    def resume_clock(self) -> None:
        """Count images per second from now on: evaluation is not training."""
        self._began, self._images = time.monotonic(), 0

    def close(self) -> None:
        self.bar.close()
        self.board.close()


def _percent(error: float | None) -> str:
    return "–" if error is None else f"{error:.2%}"
