"""What a large study's report costs: `python benchmarks/reports.py [--arms N] [--seeds N] [--images N]`.

Writes run folders with drawn answers (10 classes, 32 px pictures, both views, all probabilities), as training would
leave them, and times `python -m alexnet_sweep.report`, all forms, as a whole command. Prints seconds and peak memory
for the study and for a third of its runs, so that growth with their number shows.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from alexnet_sweep import formats
from alexnet_sweep.store import RunFolder
from alexnet_sweep.study_folder import study_folder

CLASSES = 10
FINGERPRINT = "benchmark"


def predictions(rng: np.random.Generator, labels: np.ndarray[Any, Any]) -> pa.Table:
    """Answers that are right in four of five cases."""
    columns: dict[str, Any] = {
        "split": pa.array(["test"] * len(labels)).dictionary_encode(),
        "image": [f"test/{number:06d}" for number in range(len(labels))],
        "label": pa.array(labels, pa.int32()),
    }
    for view in ("centre", "ten"):
        scores = rng.random((len(labels), CLASSES), dtype=np.float32)
        scores[np.arange(len(labels)), labels] += rng.random(len(labels)) < 0.8
        probabilities = scores / scores.sum(1, keepdims=True)
        best = np.argsort(-probabilities, axis=1)
        columns[f"{view}_rank"] = pa.array((best == labels[:, None]).argmax(1) + 1, pa.int32())
        columns[f"{view}_probability"] = probabilities[np.arange(len(labels)), labels]
        top = np.take_along_axis(probabilities, best[:, :5], axis=1)
        columns[f"{view}_best"] = pa.FixedSizeListArray.from_arrays(pa.array(best[:, :5].ravel(), pa.int32()), 5)
        columns[f"{view}_best_probabilities"] = pa.FixedSizeListArray.from_arrays(pa.array(top.ravel()), 5)
        halves = pa.array(probabilities.astype(np.float16).ravel())
        columns[f"{view}_probabilities"] = pa.FixedSizeListArray.from_arrays(halves, CLASSES)
    return pa.table(columns)


def make(folder: Path, arms: int, seeds: int, images: int) -> None:
    """Run folders and the plans `whole` and `third`."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, CLASSES, images)
    packed = folder / "runs" / "_data" / FINGERPRINT
    packed.mkdir(parents=True)
    names = [f"class {number}" for number in range(CLASSES)]
    meta = {"format": 1, "fingerprint": FINGERPRINT, "name": "drawn", "class_names": names, "stored_px": 32}
    (packed / "meta.json").write_text(
        json.dumps(meta | {"format": formats.STORE.written, "counts": {"train": 1, "test": images}})
    )
    (packed / "test.ids.txt").write_text("".join(f"test/{number:06d}\n" for number in range(images)))
    np.save(packed / "test.images.npy", rng.integers(0, 256, (images, 3, 32, 32), dtype=np.uint8))
    runs = []
    for arm in range(arms):
        for seed in range(seeds):
            run = RunFolder(folder / "runs" / f"{arm:06d}{seed:06d}")
            table = predictions(rng, labels)
            run.write_predictions(table)
            run.write_result(result(table, seed))
            run.write_metrics([epoch(number) for number in range(12)])
            run.write_config({"data": {"heldout_fraction": 0.1}, "schedule": {"name": "cosine"}})
            run.write_provenance({"wall_seconds": 1.0, "versions": {}})
            runs.append({"run_id": run.run_id, "arm_id": f"{arm:06d}", "seed": seed, "overrides": []})
    for name, count in (("whole", arms), ("third", max(2, arms // 3))):
        own = [{"arm_id": f"{arm:06d}", "label": f"key={arm}", "levels": {"key": str(arm)}} for arm in range(count)]
        plan = {"name": name, "design": "one_factor_at_a_time", "keys": ["key"], "baseline": "000000", "arms": own}
        plan |= {"runs": runs[: count * seeds], "command": "drawn", "source_hash": "drawn"}
        study_folder(folder / "runs", name).write_plan(plan)


def epoch(number: int) -> dict[str, Any]:
    error = 0.9 * 0.8**number
    return {"epoch": number + 1, "heldout_top1_error": error, "clean_train_top1_error": 0.9 * error}


def result(table: pa.Table, seed: int) -> dict[str, Any]:
    images, errors = len(table), {}
    for view in ("centre", "ten"):
        ranks = table[f"{view}_rank"].to_numpy()
        top1, top5 = int((ranks > 1).sum()), int((ranks > 5).sum())
        errors[view] = {"images": images, "top1": top1, "top5": top5}
        errors[view] |= {"top1_error": top1 / images, "top5_error": top5 / images}
    data = {"name": "drawn", "fingerprint": FINGERPRINT, "classes": CLASSES, "train_images": 1, "heldout_images": 1}
    last = {"clean_train_images": 100, "clean_train_top1_error": 0.1, "clean_train_top5_error": 0.0}
    return {
        "seed": seed,
        "data": data | {"test_images": images},
        **{"epochs": 12, "parameters": 1, "views": 10, "last_epoch": last, "steps_to_threshold": None},
        **{"errors": {"test": errors}, "effective": {}, "earlier_effective": [], "source_hash": "drawn"},
    }


def timed(study: str, folder: Path) -> None:
    began = time.monotonic()
    command = [sys.executable, "-m", "alexnet_sweep.report", study]
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{study}: exit status {status}")
    page = (folder / "reports" / study / "report.html").stat().st_size / 2**20
    busy = usage.ru_utime + usage.ru_stime
    print(
        f"{study:<8} {time.monotonic() - began:6.1f} s  {busy:6.1f} s of one core  {usage.ru_maxrss / 1024:5.0f} MiB  "
        f"page {page:.1f} MiB",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--arms", type=int, default=100)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--images", type=int, default=10_000)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make(folder, chosen.arms, chosen.seeds, chosen.images)
        for study in ("third", "whole"):
            timed(study, folder)


if __name__ == "__main__":
    main()
