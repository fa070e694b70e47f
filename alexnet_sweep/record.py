"""What a finished run says of itself: its result, and the settings under which it was trained. Writes nothing."""

from dataclasses import dataclass
from typing import Any

import torch

from alexnet_sweep import provenance
from alexnet_sweep.assemble import Assembly
from alexnet_sweep.augment import views_of
from alexnet_sweep.config import Config
from alexnet_sweep.identity import names_digest, source_hash
from alexnet_sweep.model.measure import measured
from alexnet_sweep.model.plan import plan_layers


@dataclass(frozen=True)
class Trained:
    """What the record of a run says of its training."""

    last_epoch: dict[str, Any]  # the row of metrics of the epoch whose weights are evaluated: the last one's, as a rule
    steps_to_threshold: int | None
    settings: list[dict[str, Any]]  # effective ones, the last of them last
    earlier_seconds: float  # of earlier attempts
    images_per_second: float | None


def result_of(
    config: Config,
    job: Assembly,
    parameters: int,
    trained: Trained,
    errors: dict[str, dict[str, dict[str, Any]]],
) -> dict[str, Any]:
    """What `result.json` holds of a run that is done; errors with counts, by split and view."""
    meta, data, last = job.packed.meta, config.data, config.trainer.epochs - 1
    return {
        "seed": config.seed,
        "data": {
            "name": meta.name,
            "fingerprint": meta.fingerprint,
            "classes": job.classes,
            "class_names": names_digest(meta.class_names),
            "train_images": len(job.trainer.batches.rows_of(last)),
            "heldout_images": len(job.heldout_in(last)),
            "test_images": len(job.parts.test),
            "skipped_images": meta.skipped_images,
        },
        "epochs": config.trainer.epochs,
        "steps": job.trainer.batches.steps_before(config.trainer.epochs),
        "parameters": parameters,
        "multiply_accumulates": _multiply_accumulates(config, job),
        "views": views_of(meta.stored_px, data.crop_px, config.eval.mirrored_views).count,
        "last_epoch": trained.last_epoch,
        "steps_to_threshold": trained.steps_to_threshold,
        "errors": errors,
        "effective": trained.settings[-1],
        "earlier_effective": trained.settings[:-1],
        "source_hash": source_hash(config),
    }


def _multiply_accumulates(config: Config, job: Assembly) -> int:
    crop_px = config.data.crop_px
    if config.model.net.custom is not None:
        return sum(module.multiply_accumulates for module in measured(job.trainer.net, crop_px))
    return sum(layer.multiply_accumulates for layer in plan_layers(config.model, crop_px, job.classes))


def effective_settings(job: Assembly) -> dict[str, Any]:
    """Settings that `auto` and the machine decide, and that can move results."""
    return {
        "device": job.device.type,
        "precision": job.trainer.precision,
        "cpu_threads": torch.get_num_threads(),
        "memory_format": job.memory_format,
        "compiled": job.compiled,
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "tf32": job.device.type == "cuda" and torch.backends.cuda.matmul.allow_tf32,
        "versions": provenance.versions(),
    }


def device_name(device: torch.device) -> str:
    """As its maker calls it, or its kind."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return device.type
