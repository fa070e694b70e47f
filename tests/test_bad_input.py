"""Whatever is typed: a mistake is one line and exit code 2, and leaves nothing behind; what is right still works.

2,000 commands that `bad_input` makes wrong, given to the program in this process, and 40 of them to a shell. Composing
is what takes time; Hydra composes each command line twice, and reads the same sixty files for all of them. Here what
was composed for the very same words, and what a file of ours holds, is kept.
"""

import os
import pickle
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.config_repository import CachingConfigRepository
from hydra._internal.hydra import Hydra

import alexnet_sweep.__main__
from alexnet_sweep.arguments import LONGEST
from alexnet_sweep.precheck import DataFacts
from bad_input import KINDS, STUDY, Case, cases
from conftest import outside_hydra
from hand_made import ranked_study

PART = 50
QUICK = 4  # of each kind, in the quick tests
read: dict[Any, bytes] = {}  # what the files of ours hold; copied by pickle, which is five times as fast as copy
PARTS = [(kind, part) for kind, (_, number) in KINDS.items() for part in range(number // PART)]


def trained(*_: Any, **__: Any) -> None:
    raise AssertionError("this would have been carried out")


@pytest.fixture
def program(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Callable[[Case], int]]:
    """Gives a case to the program, in a folder with a study made by hand; returns its exit code."""
    composed: dict[Any, bytes] = {}
    compose, read_file = ConfigLoaderImpl._load_configuration_impl, CachingConfigRepository.load_config

    def compose_once(self: Any, **asked: Any) -> Any:
        key = repr(sorted(asked.items())) + str(self.config_search_path)  # which has no repr of its own
        if key not in composed:
            composed[key] = pickle.dumps(compose(self, **asked))
        return pickle.loads(composed[key])

    def read_once(self: Any, config_path: str) -> Any:
        places = repr([(source.provider, source.path) for source in self.delegate.get_sources()])
        name = f"config_path={config_path}"  # as it calls it
        if name not in self.cache and (places, name) in read:
            self.cache[name] = pickle.loads(read[places, name])  # Hydra goes on to change it
        found = read_file(self, config_path)
        if (places, name) not in read:
            read[places, name] = pickle.dumps(found)
        return found

    monkeypatch.setattr(ConfigLoaderImpl, "_load_configuration_impl", compose_once)
    monkeypatch.setattr(CachingConfigRepository, "load_config", read_once)
    monkeypatch.setattr(Hydra, "get_mode", lambda *_, **__: None)  # composes all of it to see whether it has -m
    monkeypatch.setattr(DataFacts, "pack", trained)
    monkeypatch.setattr("alexnet_sweep.job.run", trained)
    monkeypatch.chdir(tmp_path)
    ranked_study(tmp_path / "runs", {("base", 0): [1, 1, 2], ("off", 0): [1, 2, 2]})

    def one(case: Case) -> int:
        if case.study is not None:
            Path(STUDY).write_bytes(case.study)
        monkeypatch.setattr(sys, "argv", ["alexnet_sweep", *case.words])
        with outside_hydra():
            try:
                return alexnet_sweep.__main__.main()
            except SystemExit as ended:
                assert isinstance(ended.code, int)
                return ended.code

    yield one


def tree(folder: Path) -> list[tuple[str, int, int]]:
    """Every file and folder, but for the study file of the case."""
    found = [(path, path.lstat()) for path in sorted(folder.rglob("*")) if path.name != STUDY]
    return [(str(path), told.st_size, told.st_mtime_ns) for path, told in found]


def check_refused(case: Case, code: int, out: str, err: str) -> None:
    assert code == 2, case
    assert out == "" and err.endswith("\n") and len(err.splitlines()) == 1, (case, out, err)
    if case.what.startswith(("misspelt", "out of range", "wrong type")):
        assert any(word.lstrip("+~").split("=")[0] in err for word in case.words if "=" in word), (case, err)
    assert "Traceback" not in err and err[:-1].isprintable() and 5 < len(err) <= LONGEST + 1, (case, err)


def in_part(kind: str, part: int) -> Sequence[Case]:
    return cases(kind, 0, KINDS[kind][1])[part * PART : (part + 1) * PART]


def check_all(made: Sequence[Case], program: Callable[[Case], int], capsys: pytest.CaptureFixture[str]) -> None:
    before = tree(Path())
    for case in made:
        code = program(case)
        printed = capsys.readouterr()
        check_refused(case, code, printed.out, printed.err)
        assert tree(Path()) == before, case


@pytest.mark.parametrize("kind", KINDS)
def test_a_mistake_is_refused(program: Callable[[Case], int], capsys: pytest.CaptureFixture[str], kind: str) -> None:
    check_all(cases(kind, -1, QUICK), program, capsys)


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "part"), PARTS)
def test_mistakes_in_bulk_are_refused(
    program: Callable[[Case], int], capsys: pytest.CaptureFixture[str], kind: str, part: int
) -> None:
    check_all(in_part(kind, part), program, capsys)


def test_there_are_two_thousand_of_them() -> None:
    made = {case for kind, part in PARTS for case in in_part(kind, part)}
    assert len(made) == 2000
    assert {word for case in made for word in case.what.split(": ")} >= {"../", "binary", "quotes", "interpolation"}


@pytest.mark.parametrize("part", [0, pytest.param(1, marks=pytest.mark.slow), pytest.param(2, marks=pytest.mark.slow)])
def test_what_is_right_works(program: Callable[[Case], int], capsys: pytest.CaptureFixture[str], part: int) -> None:
    before = tree(Path())
    for case in cases("right", part, 20 if part else 3):
        assert program(case) == 0, (case, capsys.readouterr().err)
        assert capsys.readouterr().out, case
        assert tree(Path()) == before, case


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_mistakes_in_a_real_process_exit_with_2(tmp_path: Path, kind: str) -> None:
    ranked_study(tmp_path / "runs", {("base", 0): [1, 1, 2], ("off", 0): [1, 2, 2]})
    before = tree(tmp_path)
    for case in [case for case in cases(kind, -2, 40) if case.can_be_typed][:10]:
        if case.study is not None:
            (tmp_path / STUDY).write_bytes(case.study)
        command = [sys.executable, "-m", "alexnet_sweep", *case.words]
        done = subprocess.run(command, cwd=tmp_path, env=os.environ, capture_output=True, text=True, check=False)
        check_refused(case, done.returncode, done.stdout, done.stderr)
        assert tree(tmp_path) == before, case
