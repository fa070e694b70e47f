"""The command line: exit codes, one line for a mistake, nothing left behind."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from alexnet_sweep.cli import flags_first
from alexnet_sweep.groups import options
from conftest import Main

BAD = [
    (
        ["model/lrn=offf"],
        r"model/lrn=offf: no such option\. Did you mean 'off'\? Have: cifar_11pct, cifar_18pct, first_only, off, on",
    ),
    (["modle/lrn=off"], r"no config group 'modle/lrn'\. Did you mean 'model/lrn'\?"),
    (["trainer.epoch=3"], r"trainer\.epoch: no such key\. Did you mean 'trainer\.epochs'\?"),
    (["trainr.epochs=3"], r"trainr\.epochs: no such key\. Did you mean 'trainer\.epochs'\?"),
    (["+foo=3"], r"foo: no such key"),
    (["++trainer.foo=3"], r"trainer\.foo: no such key"),
    (["trainer.epochs=abc"], r"trainer\.epochs=abc: wrong value; trainer\.epochs takes a whole number"),
    (["aug.crop.random=maybe"], r"takes true or false"),
    (["model.topology.kernels=[1,a]"], r"takes a list of whole numbers"),
    (["seed=null"], r"seed=null: wrong value"),
    (["model.lrn=3"], r"'model\.lrn' holds keys, not a value"),
    (["model=3"], r"model=3: not an option; have: model/activation"),
    (["model/lrn=null"], r"model/lrn=null: not an option; have: cifar_11pct, cifar_18pct, first_only, off, on"),
    (["=3"], r"'=3': no key"),
    (["--foo"], r"unrecognized arguments: --foo"),
    (["--multirum"], r"Did you mean '--multirun'\?"),
    (["sweep.retrain=abc"], r"sweep\.retrain=abc: no run of this study"),
    (["model.width=1e6"], r"model\.width=1e\+06: .* parameters need .* GiB"),
    (["paths.runs=/proc/x", "trainer.epochs=1", "sweep.check_disk=false"], r"cannot be created"),
    (["aug/crop=./on"], r"aug/crop=\./on: no such option\. Have: off, on, per_chunk"),
    (
        [f"model.topology.kernels=[{','.join('9' * 9000)}]"],
        r"^model\.topology\.kernels=\S+: 18,0\d\d signs; allowed: 8,000",
    ),
    (["model.stem.padding=[[[]]]"], r"model\.stem\.padding=\[\[\[\]\]\]: .*numbers"),
    (["data.test_fraction=0.5"], r"data\.test_fraction=0\.5: data=digits has a test set of its own"),
    (["trainer.epochs"], r"no value; write KEY=VALUE"),
    (["model.lrn.k=[1"], r"model\.lrn\.k=\[1: cannot be read as an override"),
    (["trainer.epochs=${nope}"], r"trainer\.epochs"),
    (["~model/lrn"], r"model\.lrn\.kind"),
    (["model/lrn=on,off"], r"several values; add -m to sweep"),
    (["experiment=nope"], r"experiment=nope: no such option\. Have: .*digits"),
    (["hydra/launcher=nope"], r"nope.*basic"),
    (
        ["trainer.batch_size=5000"],
        r"larger than the data set; data=digits has 1293 training images .*: 1 to 1293",
    ),
    (["data.crop_px=8"], r"data\.crop_px=8: too small"),
    (["data=folder"], r"data\.path: not set"),
    (["data=folder", "data.path=nowhere"], r"data\.path=nowhere: no such folder"),
    (["data=folder", "data.path=."], r"data\.path=\.: holds no images"),
    (["data.path=."], r"data=digits is embedded"),
    (["trainer.device=cuda"], r"trainer\.device=cuda: not available"),
    (["hydra.job.chdir=true", "-m", "seed=0,1"], r"^hydra\.job\.chdir=true: .*; allowed: false\. Leave it out$"),
    (["sweep.max_runs=2", "-m", "seed=0,1,2"], r"the grid has 3 runs; allowed: 2"),
    (["-m", "model/lrn=on,offf"], r"model/lrn=offf: no such option"),
    (["-m", "trainer.epochs=1,abc"], r"trainer\.epochs takes a whole number"),
    (["-m", "seed=range(0,3"], r"cannot be read as an override"),
    (["-m", "model/lrn=on,off", "sweep.retrain=abc"], r"sweep\.retrain=abc: no run of this study"),
    (["+model/lrn=off"], r"\+model/lrn=off: an option of model/lrn is chosen already; .* write model/lrn=off$"),
]


@pytest.mark.parametrize(("arguments", "says"), BAD, ids=[" ".join(arguments) for arguments, _ in BAD])
def test_a_mistake_is_one_line_and_leaves_nothing_behind(
    main: Main, capsys: pytest.CaptureFixture[str], arguments: list[str], says: str
) -> None:
    assert main(*arguments) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert len(printed.err.strip().splitlines()) == 1
    assert re.search(says, printed.err), printed.err
    assert list(Path().iterdir()) == []


@pytest.mark.parametrize(("arguments", "says"), [BAD[0], BAD[2], BAD[6], BAD[19], BAD[27]])
def test_a_mistake_in_a_real_process_exits_with_2(arguments: list[str], says: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "alexnet_sweep", *arguments], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "Traceback" not in done.stderr and len(done.stderr.strip().splitlines()) == 1
    assert re.search(says, done.stderr)
    assert list(tmp_path.iterdir()) == []


def test_options_of_ones_own_are_listed_beside_ours(
    main: Main, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "own"
    for path in ("model/lrn/mine.yaml", "mix/mine.yaml"):
        (folder / path).parent.mkdir(parents=True)
        (folder / path).write_text("{}\n")
    for path in ("runs/0123456789ab/config.yaml", ".cache/lrn/other.yaml", "a/b/c/d.yaml"):
        (folder / path).parent.mkdir(parents=True)
        (folder / path).write_text("{}\n")
    assert main(f"--config-dir={folder}", "model/lrn=mien") == 2
    names = ", ".join(sorted([*options()["model/lrn"], "mine"]))
    assert capsys.readouterr().err.strip() == f"model/lrn=mien: no such option. Did you mean 'mine'? Have: {names}"
    assert main("--help", "-cd", str(folder)) == 0
    listed = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines() if line.startswith("  m"))
    assert listed["mix"] == "mine" and listed["model/lrn"] == names
    assert not any(word in " ".join(listed) for word in ("runs", ".cache", "a/b"))


@pytest.mark.parametrize("flag", [("--config-dir", "own"), ("--config-dir=own",), ("-cd", "own"), ("-cd=own",)])
def test_a_folder_of_options_may_be_named_between_overrides(
    main: Main, capsys: pytest.CaptureFixture[str], flag: tuple[str, ...]
) -> None:
    Path("own/model/lrn").mkdir(parents=True)
    Path("own/model/lrn/mine.yaml").write_text('defaults: ["on", _self_]\nk: 3.5\n')
    assert main("model/lrn=mine", *flag, "trainer.epochs=3", "--cfg", "job") == 0
    assert "k: 3.5" in capsys.readouterr().out


def test_a_misspelt_key_in_a_config_file_names_the_file_and_the_key(
    main: Main, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = tmp_path / "own/model/lrn"
    own.mkdir(parents=True)
    (own / "mine.yaml").write_text("# mine\nalhpa: 1.0\n")
    assert main("--config-dir", str(tmp_path / "own"), "model/lrn=mine") == 2
    printed = capsys.readouterr().err
    assert "model/lrn/mine" in printed and "'alhpa'" in printed and "Did you mean 'alpha'?" in printed
    assert len(printed.strip().splitlines()) == 1


def test_help_lists_every_group_and_an_example(main: Main, capsys: pytest.CaptureFixture[str]) -> None:
    assert main("--help") == 0
    printed = capsys.readouterr().out
    assert "example: python -m alexnet_sweep -m model/lrn=on,off" in printed
    assert re.search(r"model/lrn +cifar_11pct, cifar_18pct, first_only, off, on", printed)


def test_cfg_job_prints_the_composed_config(main: Main, capsys: pytest.CaptureFixture[str]) -> None:
    assert main("--cfg", "job", "trainer.epochs=7") == 0
    assert "epochs: 7" in capsys.readouterr().out


@pytest.mark.parametrize("flags", [("--cfg", "job"), ("-c", "job"), ("--cfg=job",), ("--cfg", "job", "--resolve")])
@pytest.mark.parametrize("place", [0, 1, 2])
def test_flags_may_stand_anywhere(
    main: Main, capsys: pytest.CaptureFixture[str], flags: tuple[str, ...], place: int
) -> None:
    overrides = ["trainer.epochs=7", "seed=3"]
    assert main(*overrides[:place], *flags, *overrides[place:]) == 0
    printed = capsys.readouterr().out
    assert "epochs: 7" in printed and "seed: 3" in printed


@pytest.mark.parametrize(
    ("typed", "read"),
    [
        (["seed=1", "--info", "config", "seed=2"], ["--info=config", "seed=1", "seed=2"]),
        (["--info", "seed=2"], ["--info=all", "seed=2"]),
        (["seed=1", "-cn", "config", "-p", "model", "-m"], ["-cn", "config", "-p", "model", "-m", "seed=1"]),
        (["seed=1", "--cfg"], ["seed=1", "--cfg"]),
        (["seed=1", "--foo", "-m"], ["-m", "seed=1", "--foo"]),
    ],
)
def test_flags_come_first_with_what_belongs_to_them(typed: list[str], read: list[str]) -> None:
    assert flags_first(typed) == read


def test_report_of_an_unknown_study_exits_with_2(main: Main, capsys: pytest.CaptureFixture[str]) -> None:
    assert main("report", "nope") == 2
    assert "no study of that name" in capsys.readouterr().err


def test_runs_are_not_written_into_the_data(
    main: Main, photos: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(photos)
    assert main("data=folder", "data.path=.") == 2
    assert "paths.runs=runs: lies inside data.path=." in capsys.readouterr().err
    assert sorted(path.name for path in photos.iterdir()) == ["train", "val"]


def test_a_bug_keeps_its_traceback(main: Main, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(config: object, *, in_a_sweep: bool) -> None:
        raise ZeroDivisionError("ours")

    monkeypatch.setattr("alexnet_sweep.cli.run_one", broken)
    with pytest.raises(ZeroDivisionError):
        main()


WITHOUT_SUBMITIT = """
import sys
sys.modules["hydra_plugins.hydra_submitit_launcher"] = None
import alexnet_sweep.__main__ as program
sys.exit(program.main())
"""


@pytest.mark.parametrize("launcher", ["slurm", "slurm_multi_gpu"])
def test_a_launcher_whose_extra_is_not_installed_names_it(launcher: str, tmp_path: Path) -> None:
    command = [sys.executable, "-c", WITHOUT_SUBMITIT, "-m", "seed=0", f"hydra/launcher={launcher}"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and list(tmp_path.iterdir()) == []
    assert done.stderr.startswith(
        f"hydra/launcher={launcher}: not installed; install the extra: pip install -e '.[slurm]'"
    )
    assert len(done.stderr.splitlines()) == 1


def test_a_launcher_is_for_sweeps(main: Main, capsys: pytest.CaptureFixture[str]) -> None:
    assert main("hydra/launcher=joblib") == 2
    assert "hydra/launcher=joblib: launches the runs of a sweep; add -m" in capsys.readouterr().err


def test_a_sweep_without_a_queue_is_waited_for(main: Main, capsys: pytest.CaptureFixture[str]) -> None:
    assert main("-m", "seed=0", "sweep.wait=false") == 2
    assert "sweep.wait=false: this launcher has no queue; add hydra/launcher=slurm" in capsys.readouterr().err
    assert list(Path().iterdir()) == []
