"""The arrows between the rooms point one way, and what must be light stays light."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "alexnet_sweep"

# A module may import modules of lower layers, and its neighbours only where `ALLOWED_BESIDE` says so.
LAYERS = [
    {
        "claims",
        "data.boxes",
        "data.source",
        "doubt",
        "errors",
        "failpoints",
        "groups",
        "machine",
        "report.document",
        "shape",
        "speed",
        "streams",
        "wording",
    },
    {
        "config",
        "data.colours",
        "data.content",
        "data.decode",
        "designs",
        "files",
        "formats",
        "kernels",
        "launching",
        "model.layer",
        "model.measure",
        "neighbours",
        "report.latex",
        "report.markdown",
        "terminal",
    },
    {"arguments", "checks", "data.images", "data.parquet", "data.split_names", "locks", "plugins", "study_file"},
    {
        "augment",
        "data.splits",
        "data.synthetic",
        "identity",
        "metrics",
        "model.cifar_plan",
        "model.layers",
        "model.norms",
        "provenance",
        "schedule",
    },
    {"data.class_folders", "model.portable"},
    {"data.cifar_python", "data.embedded", "data.hugging_face", "data.idx", "data.packed", "data.synsets"},
    {
        "backend",
        "data.opening",
        "data.writing",
        "distributed",
        "mistakes",
        "model.order",
        "model.plan",
        "optim",
        "stopping",
        "store",
        "study",
        "study_folder",
    },
    {"data.builders", "reuse", "running"},
    {"data.building"},
    {
        "aggregate",
        "data.pack",
        "ledger",
        "model.alexnet",
        "model.cifar",
        "model.compiled",
        "model.init",
        "queues",
        "report.canvas",
        "transfer",
    },
    {"slurm", "submitted"},
    {"data.feed", "progress", "readers"},
    {"answers", "cleaner", "comparable", "data.batches", "estimate", "model.build", "precheck"},
    {
        "effects",
        "planning",
        "predict",
        "report",
        "report.figures",
        "report.flips",
        "report.numbers",
        "report.pictures",
        "room",
        "train",
    },
    {"assemble", "checkpoint", "ensembles", "interactions", "narrate", "report.html", "verdicts"},
    {"findings", "outcome", "probe", "record", "trouble"},
    {"bench.subjects", "bench.timing", "report.together"},
    {"bench.rows", "bench.table"},
    {"report.first_layer"},
    {"comparison", "forecast", "job", "report.beside_paper", "report.board", "report.differences", "report.drawings"},
    {"report.changes", "report.sections"},
    {"report.write"},
    {"sweep"},
    {"cli", "report.__main__"},
    {"composing"},
    {"finished"},
    {"trained"},
    {"evaluation", "exporting", "inspect.features"},
    {"evaluate", "export", "inspect.look"},
    {"inspect.page"},
    {
        "__main__",
        "bench.__main__",
        "clean",
        "compare",
        "data.__main__",
        "hydra_plugins.ablation_sweeper",
        "inspect.__main__",
        "plan",
        "status",
        "summary",
    },
    {"hydra_plugins.slurm_launcher"},
]
ALLOWED_BESIDE: set[tuple[str, str]] = set()
TORCH_FREE = [
    "cli",
    "sweep",
    "study",
    "ledger",
    "store",
    "running",
    "reuse",
    "study_folder",
    "config",
    "errors",
    "aggregate",
    "report",
    "report.write",
    "compare",
    "report.__main__",
    "summary",
    "status",
    "clean",
    "data.__main__",
    "plan",
    "finished",
    "inspect.__main__",
    "kernels",
    "forecast",
    "planning",
    "queues",
    "slurm",
    "submitted",
    "room",
    "evaluate",
    "export",
    "ensembles",
]


def modules() -> dict[str, Path]:
    found = {}
    for path in PACKAGE.rglob("*.py"):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        found[name] = path
    for path in (PACKAGE.parent / "hydra_plugins").glob("*.py"):
        found[f"hydra_plugins.{path.stem}"] = path
    return found


def imported(path: Path) -> set[str]:
    """Modules of ours that a file imports, anywhere in it."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("alexnet_sweep"):
            below = node.module.removeprefix("alexnet_sweep").removeprefix(".")
            known = modules()
            for alias in node.names:
                inner = f"{below}.{alias.name}".lstrip(".")
                names.add(inner if inner in known else below)
    return names


def layer(name: str) -> int:
    return next(number for number, names in enumerate(LAYERS) if name in names)


def test_every_module_has_its_place() -> None:
    packages = {"", "bench", "data", "inspect", "model"}
    assert set(modules()) - packages == set().union(*LAYERS)


@pytest.mark.parametrize("name", sorted(set().union(*LAYERS)))
def test_imports_point_downward(name: str) -> None:
    for other in imported(modules()[name]):
        if (name, other) not in ALLOWED_BESIDE:
            assert layer(other) < layer(name), f"{name} imports {other}"


def loads(statement: str) -> set[str]:
    """Top-level names of the modules that a fresh interpreter has loaded after a statement."""
    code = f"import sys\n{statement}\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return {name.split(".")[0] for name in done.stdout.split()}


def test_what_plans_and_reports_imports_no_torch() -> None:
    statement = "; ".join(f"import alexnet_sweep.{name}" for name in TORCH_FREE)
    assert "torch" not in loads(f"{statement}; import hydra_plugins.ablation_sweeper, hydra_plugins.slurm_launcher")


@pytest.mark.parametrize("arguments", [["--help"], ["--cfg", "job"]])
def test_help_and_cfg_import_no_torch(arguments: list[str]) -> None:
    statement = f"sys.argv[1:] = {arguments}\nimport alexnet_sweep.__main__ as m\nassert m.main() == 0"
    assert not {"torch", "pandas", "datasets", "scipy"} & loads(statement)


def test_help_does_not_wait_for_hydra() -> None:
    statement = "sys.argv[1:] = ['--help']\nimport alexnet_sweep.__main__ as m\nassert m.main() == 0"
    assert not {"hydra", "omegaconf"} & loads(statement)


def test_load_results_is_there_without_torch() -> None:
    assert "torch" not in loads("import alexnet_sweep; alexnet_sweep.load_results")
