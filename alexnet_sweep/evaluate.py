"""`python -m alexnet_sweep.evaluate RUN [OVERRIDE…]`: centre and averaged views of a trained run on any split."""

import csv
import dataclasses
import hashlib
import io
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq
import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from alexnet_sweep.arguments import Arguments
from alexnet_sweep.checks import check
from alexnet_sweep.config import Config
from alexnet_sweep.errors import ConfigError, FolderError, nearest, one_line
from alexnet_sweep.files import whole_file, write_json, write_text
from alexnet_sweep.finished import FinishedRun, check_outside_runs, finished_run
from alexnet_sweep.groups import conf_folder, options
from alexnet_sweep.mistakes import answered
from alexnet_sweep.wording import counted

if TYPE_CHECKING:
    from alexnet_sweep.evaluation import Evaluation
    from alexnet_sweep.trained import Part

PARTS: tuple["Part", ...] = ("test", "heldout", "train")
MAY_CHANGE = ("eval", "data.path", "trainer.device")  # what training did not look at
COLUMNS = ("run", "split", "view", "views", "metric", "images", "wrong", "error", "low", "high", "value")
METRIC_WORDS = {"top1": "Top-1", "top5": "Top-5"}


def main(arguments: Sequence[str] | None = None) -> int:
    parser = Arguments(
        prog="python -m alexnet_sweep.evaluate",
        description="Errors of a trained run by the centre view and by all views averaged, with 95 % intervals over "
        "images (Wilson's), and a prediction for each image. Trains nothing, and writes nothing into the run's folder.",
        epilog="example: python -m alexnet_sweep.evaluate 1a2b3c4d5e6f eval.batch_size=64 --split heldout",
    )
    parser.add_argument("run", metavar="RUN", help="the id of a finished run, the beginning of it, or its folder")
    parser.add_argument("overrides", nargs="*", default=[], metavar="OVERRIDE", help=f"of {', '.join(MAY_CHANGE)}")
    parser.add_argument("--split", action="append", choices=PARTS, help="which images (test); may be given repeatedly")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="where run folders lie (runs)")
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="where files go (evaluations/RUN, or RUN-HASH)")
    parser.add_argument("--json", action="store_true", help="for programs")
    chosen = parser.parse_intermixed_args(arguments)
    parts = [part for part in PARTS if part in (chosen.split or ["test"])]

    def work() -> str:
        run = finished_run(chosen.run, chosen.runs)
        changed = dataclasses.replace(run, config=overridden(run.config, chosen.overrides))
        folder = _folder(run, chosen.out, chosen.overrides, parts)
        device = next(
            (word.split("=", 1)[1] for word in chosen.overrides if word.startswith("trainer.device=")), "auto"
        )
        from alexnet_sweep.evaluation import evaluation

        found = evaluation(changed, parts, device)
        _write(folder, changed, found, [*chosen.overrides])
        for remark in found.remarks:
            print(remark, file=sys.stderr)
        if chosen.json:
            return json.dumps(_as_json(changed, found, chosen.overrides), indent=1)
        return _table(found, folder)

    return answered(work, chosen.overrides)


def overridden(config: Config, overrides: Sequence[str]) -> Config:
    """The config with other settings of its evaluation.

    Raises:
        ConfigError: for what training has looked at, for keys that are not there, and values that do not fit.
    """
    lines = []
    for override in overrides:
        key, sign, value = override.partition("=")
        if not sign or not any(key == part or key.startswith(f"{part}.") for part in MAY_CHANGE):
            raise ConfigError(
                f"{override}: an evaluation may change {', '.join(MAY_CHANGE[:-1])} and {MAY_CHANGE[-1]}, as "
                "KEY=VALUE; anything else is another run"
            )
        if key != "eval":
            lines.append(override)
        elif value not in options()["eval"]:
            have = options()["eval"]
            raise ConfigError(f"{override}: no such option.{nearest(value, have)} Have: {', '.join(have)}")
        else:
            option = yaml.safe_load((conf_folder() / "eval" / f"{value}.yaml").read_text(encoding="utf-8"))
            lines += [f"eval.{name}={setting}" for name, setting in option.items()]
    try:
        merged = OmegaConf.merge(OmegaConf.structured(config), OmegaConf.from_dotlist(lines))
        changed = OmegaConf.to_object(merged)
    except (OmegaConfBaseException, yaml.YAMLError) as error:
        raise ConfigError(f"{' '.join(overrides)}: {one_line(error)}") from error
    assert isinstance(changed, Config)
    check(changed)
    return changed


def _folder(run: FinishedRun, out: Path | None, overrides: Sequence[str], parts: Sequence[str]) -> Path:
    """Where files go: apart from the run's own, and from those of an evaluation with other settings."""
    if out is None:
        asked = [*overrides, *parts]
        mark = "" if asked == ["test"] else f"-{hashlib.sha256(' '.join(asked).encode()).hexdigest()[:8]}"
        return Path("evaluations") / f"{run.name}{mark}"
    check_outside_runs(out, "--out")
    if out.exists() and not out.is_dir():
        raise FolderError(f"--out {out}: is no folder; give another")
    return out


def _write(folder: Path, run: FinishedRun, found: "Evaluation", overrides: list[str]) -> None:
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(found.rows)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_text(folder / "errors.csv", text.getvalue())
        with whole_file(folder / "predictions.parquet") as stream:
            pq.write_table(found.predictions, stream, compression="zstd")
        write_json(folder / "evaluation.json", _as_json(run, found, overrides))
    except OSError as error:
        raise FolderError(f"{folder}: cannot be written ({error.strerror}); give another with --out") from error


def _as_json(run: FinishedRun, found: "Evaluation", overrides: Sequence[str]) -> dict[str, Any]:
    return {
        "run": run.name,
        "overrides": list(overrides),
        "eval": dataclasses.asdict(run.config.eval),
        "data": found.data,
        "device": found.device,
        "remarks": list(found.remarks),
        "errors": found.rows,
    }


def _table(found: "Evaluation", folder: Path) -> str:
    lines = []
    for row in found.rows:
        views = "centre view" if row["view"] == "centre" else counted(row["views"], "view")
        if "value" in row:
            told = f"{row['metric']} {row['value']:g}"
        else:
            low, high = (f"{100 * row[end]:.2f}" for end in ("low", "high"))
            told = f"{METRIC_WORDS[row['metric']]} error {100 * row['error']:6.2f} % [{low}, {high}]"
            told += f"   {row['wrong']:,} of {row['images']:,}"
        lines.append(f"{row['split']:<8} {views:<12} {told}")
    return "\n".join([*lines, f"files: {folder}"])


if __name__ == "__main__":
    sys.exit(main())
