"""Fixtures: composed configs, tiny data sets made on the spot, and a SLURM cluster on this machine."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

import hypothesis
import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import open_dict, read_write
from PIL import Image

import alexnet_sweep.__main__
from alexnet_sweep.cli import typed
from alexnet_sweep.config import Config
from alexnet_sweep.groups import conf_folder

Compose = Callable[..., Config]
Main = Callable[..., int]

hypothesis.settings.register_profile("unhurried", deadline=None)  # a busy machine is no failure
hypothesis.settings.load_profile("unhurried")
# A shell that starts something in the background has it ignore SIGINT; a person's terminal does not.
signal.signal(signal.SIGINT, signal.default_int_handler)
torch.set_num_threads(1)  # on a busy machine two threads wait for each other far longer than these nets compute


def pytest_configure(config: pytest.Config) -> None:
    """Tests are of the CPU, where they have the same bits everywhere, but for those of `-m gpu`."""
    if "gpu" not in config.option.markexpr.replace("not gpu", ""):
        os.environ["CUDA_VISIBLE_DEVICES"] = ""


@pytest.fixture(scope="session")
def hydra_ready() -> Iterator[None]:
    with initialize_config_dir(str(conf_folder()), version_base="1.3"):
        yield


@contextmanager
def outside_hydra() -> Iterator[None]:
    """As a fresh process has it: a command starts Hydra itself. Afterwards Hydra is as it was.

    Hydra may put another object in the singleton's place meanwhile, so nothing but its state is kept.
    """
    outer = GlobalHydra.instance().hydra
    GlobalHydra.instance().clear()
    try:
        yield
    finally:
        GlobalHydra.instance().clear()
        if outer is not None:
            GlobalHydra.instance().initialize(outer)


@pytest.fixture(scope="session")
def composed(hydra_ready: None) -> Compose:
    """`composed("model/lrn=off", "seed=3")`: the typed, checked config of these overrides."""

    def one(*overrides: str) -> Config:
        config = compose("config", overrides=list(overrides))
        with read_write(config), open_dict(config):
            config.pop("hydra", None)
        return typed(config)

    return one


@pytest.fixture
def micro(composed: Compose, tmp_path: Path) -> Compose:
    """As `composed`, with everything small and below tmp_path: a run of a second or two on digits."""

    def one(*overrides: str) -> Config:
        small = (
            "model.width=0.05",
            "trainer.epochs=2",
            "trainer.batch_size=64",
            "trainer.cpu_threads=1",
            "eval.clean_train_images=64",
            f"paths.runs={tmp_path / 'runs'}",
            f"paths.reports={tmp_path / 'reports'}",
        )
        return composed(*small, *overrides)

    return one


@pytest.fixture
def main(hydra_ready: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Main]:
    """`main("-m", "model/lrn=on,off")`: the program in this process, from an empty folder; returns its exit code."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)

    def one(*arguments: str) -> int:
        monkeypatch.setattr(sys, "argv", ["alexnet_sweep", *arguments])
        with outside_hydra():
            return alexnet_sweep.__main__.main()

    yield one


def make_photos(root: Path) -> Path:
    """Photographs of three colours, in one folder a class under train/ and val/."""
    rng = np.random.default_rng(0)
    for split, count in (("train", 12), ("val", 6)):
        for number, name in enumerate(("blue", "green", "red")):
            folder = root / split / name
            folder.mkdir(parents=True)
            for index in range(count):
                pixels = rng.integers(0, 80, (40 + index, 48, 3), dtype=np.uint8)
                pixels[..., 2 - number] += 150
                Image.fromarray(pixels).save(folder / f"{index:02d}.png")
    return root


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Where a cluster could be installed (root, apt-get) a test that needs one is not skipped: it fails."""
    report = yield
    if report.skipped and item.get_closest_marker("slurm") and os.getuid() == 0 and shutil.which("apt-get"):
        report.outcome, report.longrepr = "failed", f"skipped where a cluster could be installed: {report.longrepr}"
    return report


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder of `make_photos`."""
    return make_photos(tmp_path / "photos")


def lacking(reason: str) -> NoReturn:
    """Skip a test for what this machine lacks; a failure where `.ci/run` says that nothing may be."""
    if os.environ.get("NOTHING_SKIPPED"):
        pytest.fail(f"{reason}, and NOTHING_SKIPPED is set", pytrace=False)
    pytest.skip(reason)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 64 MiB, mounted for the test: `mount -o remount,…` makes it full or read-only."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(folder)]
    if os.getuid() != 0 or shutil.which("mount") is None:
        lacking("only root can mount a tmpfs")
    mounted = subprocess.run(command, capture_output=True, text=True, check=False)
    if mounted.returncode:
        lacking(f"no tmpfs can be mounted ({mounted.stderr.strip()})")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


CLUSTER = Path(__file__).parent / "cluster/slurm"


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """An empty folder that the nodes of a real SLURM cluster see; the cluster is started if it does not run."""
    already_up = subprocess.run([CLUSTER, "status"], capture_output=True, check=False).returncode == 0
    started = subprocess.run([CLUSTER, "up"], capture_output=True, text=True, check=False)
    if started.returncode != 0:
        pytest.skip(started.stderr.strip())
    before = os.environ.get("SLURM_CONF")
    os.environ["SLURM_CONF"] = started.stdout.strip().removeprefix("export SLURM_CONF=")
    try:
        yield tmp_path_factory.mktemp("cluster")
    finally:
        os.environ.pop("SLURM_CONF")
        if before is not None:
            os.environ["SLURM_CONF"] = before
        if not already_up:
            subprocess.run([CLUSTER, "down"], capture_output=True, check=True)
