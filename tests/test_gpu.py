"""The same run on a CUDA device. Deselected unless asked for: `pytest -m gpu`."""

import pytest
import torch

from alexnet_sweep.cli import run_one
from conftest import Compose

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine"),
]


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_a_run_trains_on_cuda_at_every_precision(micro: Compose, precision: str) -> None:
    result = run_one(micro("trainer.device=cuda", f"trainer.precision={precision}", "trainer.epochs=6"))
    assert result["effective"]["device"] == "cuda" and result["effective"]["precision"] == precision
    assert result["last_epoch"]["train_loss"] < 2.3


def test_the_same_run_gives_the_same_answers_on_one_gpu(micro: Compose, tmp_path: object) -> None:
    config = micro("trainer.device=cuda")
    first = run_one(config)
    config.paths.runs = f"{tmp_path}/again"
    assert run_one(config)["errors"] == first["errors"]
