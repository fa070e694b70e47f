"""Files from others: what is read cannot run, lead out of its folder, or end a command with more than one line."""

import ast
import copy
import io
import json
import os
import random
import shutil
import signal
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from markdown_it import MarkdownIt
from PIL import Image

import alexnet_sweep.clean
import alexnet_sweep.compare
import alexnet_sweep.evaluate
import alexnet_sweep.inspect.__main__
import alexnet_sweep.report.__main__
import alexnet_sweep.status
from alexnet_sweep.config import SweepConfig
from alexnet_sweep.data.decode import BadImage, decode
from alexnet_sweep.data.opening import content_id
from alexnet_sweep.errors import DataError, FolderError
from alexnet_sweep.job import run
from alexnet_sweep.ledger import decide
from alexnet_sweep.report.write import write_report
from alexnet_sweep.reuse import note_trained, trained_as
from alexnet_sweep.store import RunFolder
from alexnet_sweep.study_folder import study_folder
from conftest import Compose
from hand_made import Run, make_run, make_study, ranked
from test_html import Page

PACKAGES = [Path(__file__).parents[1] / name for name in ("alexnet_sweep", "hydra_plugins", "benchmarks", "examples")]
FORBIDDEN = {
    "eval",
    "exec",
    "compile",
    "__import__",
    "unsafe_load",
    "full_load",
    "load_all",
    "extractall",
    "system",
    "popen",
}
NO_MODULES = {"pickle", "cPickle", "dill", "joblib", "cloudpickle", "shelve", "marshal", "tarfile", "telnetlib"}
LOADERS = {"_StrictLoader", "_SafeLoader"}  # both SafeLoaders


def calls() -> Iterator[tuple[str, str, ast.Call]]:
    """Every call in the program: its file, the dotted name that is called, and the call."""
    for file in (file for package in PACKAGES for file in sorted(package.rglob("*.py"))):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                yield file.name, ast.unparse(node.func), node


def test_no_data_is_run() -> None:
    found = []
    for file, name, node in calls():
        keywords = {word.arg: ast.unparse(word.value) for word in node.keywords}
        last = name.rpartition(".")[2]
        own = name in ("torch.compile", "re.compile") or (last in ("eval", "system") and "." in name and not node.args)
        if last in FORBIDDEN and not own:
            found.append(f"{file}: {name}")
        if name == "torch.load" and keywords.get("weights_only") != "True":
            found.append(f"{file}: {name} without weights_only=True")
        if name == "yaml.load" and not LOADERS & {*map(ast.unparse, node.args), keywords.get("Loader", "")}:
            found.append(f"{file}: {name} with another loader")
        if {"trust_remote_code", "allow_pickle", "shell"} & set(keywords):
            found.append(f"{file}: {name}({', '.join(map(str, keywords))})")
    assert found == []


def test_no_module_that_unpickles_or_unpacks_is_imported() -> None:
    for package in PACKAGES:
        for file in package.rglob("*.py"):
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
                names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
                names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
                assert not NO_MODULES & {name.split(".")[0] for name in names}, file


# --- images ---


def coded(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def with_chunk(kind: bytes, content: bytes) -> bytes:
    """A small PNG with one more chunk after its head."""
    png, chunk = coded(Image.new("RGB", (8, 8))), kind + content
    return png[:33] + len(content).to_bytes(4, "big") + chunk + zlib.crc32(chunk).to_bytes(4, "big") + png[33:]


def declared(width: int, height: int) -> bytes:
    """A small PNG, and a JPEG, that say they are larger."""
    png = coded(Image.new("L", (8, 8)))
    head = b"IHDR" + width.to_bytes(4, "big") + height.to_bytes(4, "big") + png[24:29]
    return png[:12] + head + zlib.crc32(head).to_bytes(4, "big") + png[33:]


def declared_jpeg(width: int, height: int) -> bytes:
    jpeg = coded(Image.new("L", (8, 8)), "JPEG")
    place = jpeg.index(b"\xff\xc0") + 5
    return jpeg[:place] + height.to_bytes(2, "big") + width.to_bytes(2, "big") + jpeg[place + 4 :]


ABSURD = {
    "more pixels than a camera has": declared(10_000, 10_000),
    "many more": declared(60_000, 60_000),
    "a JPEG of many more": declared_jpeg(65_000, 65_000),
    "a thread": coded(Image.new("L", (1, 200_000))),
    "a long thread": coded(Image.new("L", (200_000, 1))),
    "a text that expands": with_chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(80_000_000))),
    "no pixels": declared(0, 8),
    "a program for Ghostscript": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\n(x) show\n",
    "a vector drawing": b"<svg xmlns='http://www.w3.org/2000/svg'><script>1</script></svg>",
    "a format that no data set comes in": coded(Image.new("RGB", (8, 8)), "PCX"),
    "a pickle": b"\x80\x04\x95cos\nsystem\n.",
}


@pytest.mark.parametrize("content", ABSURD.values(), ids=ABSURD)
def test_an_absurd_image_is_refused_by_its_name(content: bytes) -> None:
    with pytest.raises(BadImage, match=r"^image train/a\.png: cannot be read \(.+\); mend or remove it") as told:
        decode(content, "train/a.png")
    assert len(str(told.value).splitlines()) == 1


def test_an_image_of_usual_shape_beside_them_is_read() -> None:
    assert decode(with_chunk(b"tEXt", b"a\0b"), "a").size == (8, 8)
    assert decode(coded(Image.new("RGB", (3000, 2))), "a").size == (3000, 2)


# --- names ---

NASTY = [
    "../../out",
    "/etc/passwd",
    "</script><script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "[x](javascript:alert(1))",
    "![x](http://example.org/x.png)",
    "<https://example.org>",
    "a|b\n| c | d |\n\n# heading",
    "`code` ``` **b** _i_ ~~s~~ &lt; &#60;",
    "\\input{/etc/passwd} \\\\ & % $ # _ { } ~ ^",
    "}}}{{{ \\end{tabular} \\write18{id}",
    "=cmd|' /C calc'!A0",
    "@SUM(1)",
    "\x1b[2J\x1b]0;title\x07",
    "a\u202eb\u2067c\ufeff\u200b",
    "\ud800\x00\r\x85\u2028",
    "x" * 3000,
    "漢字" * 40,
    " ",
    "-0.5",
]


@pytest.mark.parametrize("number", range(3))
def test_no_name_leaves_its_cell_or_runs(tmp_path: Path, number: int) -> None:
    """Every name of a study's plan and of its runs, in all forms of the report."""
    draw = random.Random(number)
    names = draw.sample(NASTY, len(NASTY))
    one, two = {"a": names[0], names[1]: names[2]}, {"a": names[3], names[1]: names[4]}
    images = [f"{place}{name}" for place, name in enumerate(names[5:9])]
    odd = {"result": {"data.name": names[9], "effective.device": names[10]}, "images": images}
    made = {
        (arm, seed): Run(ten, **odd)
        for arm, ten in (("base", [1, 1, 2, 1]), (names[11], [1, 2, 6, 2]))
        for seed in (0, 1)
    }
    runs = tmp_path / "runs"
    make_study(
        runs,
        made,
        {"base": one, names[11]: two},
        question=names[12],
        text=names[13],
        command=names[14],
        source_hash=names[15],
    )
    RunFolder(runs / "000000000003").result.unlink()
    report = write_report("hand", runs, tmp_path / "reports")
    folder = tmp_path / "reports/hand"
    assert {path.name for path in tmp_path.iterdir()} == {"runs", "reports"}
    assert [path.name for path in (tmp_path / "reports").iterdir()] == ["hand"]

    parsed = MarkdownIt("js-default").parse(report.text)
    links = [part for token in parsed for part in token.children or () if part.type in ("link_open", "html_inline")]
    assert not links and not [token for token in parsed if token.type == "html_block"]
    pictures = [part.attrs["src"] for token in parsed for part in token.children or () if part.type == "image"]
    assert all(str(source).endswith(".svg") and "/" not in str(source) for source in pictures)
    columns = 0
    for token in parsed:
        if token.type == "tr_open":
            width = 0
        elif token.type in ("th_open", "td_open"):
            width += 1
        elif token.type == "thead_close":
            columns = width
        elif token.type == "tr_close" and columns:
            assert width == columns
        elif token.type == "table_close":
            columns = 0
    assert all(sign.isprintable() or sign == "\n" for sign in report.text)

    page = Page((folder / "report.html").read_text(encoding="utf-8"))
    for tag, facts in page.tags:
        assert tag not in ("iframe", "object", "link", "base", "form") and not any(
            key.startswith("on") for key in facts
        )
        address = str(facts.get("href") or facts.get("src") or "#")
        assert address.startswith(("#", "data:image/")), address
    assert len([tag for tag, _ in page.tags if tag == "script"]) <= 2

    latex = (folder / "tables.tex").read_text(encoding="utf-8")
    bare = latex.replace("\\textbackslash{}", "").replace("\\{", "").replace("\\}", "")
    assert bare.count("{") == bare.count("}") and "\\input" not in latex and "\\write" not in latex
    assert latex.count("\\begin{tabular}") == latex.count("\\end{tabular}")

    for file in sorted(folder.glob("*.csv")):
        frame = pd.read_csv(file, dtype=str, keep_default_na=False)
        cells = {str(cell).lstrip() for column in frame for cell in frame[column]}
        for cell in cells:
            assert not cell.startswith(("=", "@", "\t", "\r")), (file, cell)
            assert not cell.startswith(("+", "-")) or cell.lstrip("+-").replace(".", "").replace("e-", "").isdecimal()


def test_a_name_that_leads_elsewhere_is_no_run_and_no_study(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    make_study(runs, {("base", 0): ranked([1, 2])})
    make_run(RunFolder(tmp_path / "outside"), ranked([1, 2]))
    for name in ("../outside", str(tmp_path / "outside"), "..", ".", "", "a\0b", "\ud800", "x" * 300):
        with pytest.raises(FolderError):
            study_folder(runs, name)
        if name == "\ud800":  # half a sign is another by the time it is read
            continue
        study = study_folder(runs, "hand")
        plan = study.read_plan()
        plan["runs"][0]["run_id"] = name
        study.write_plan(plan)
        with pytest.raises(FolderError, match=r"^[^\n]+$"):
            write_report("hand", runs, tmp_path / "reports")
    assert not (tmp_path / "reports").exists()
    folder = RunFolder(tmp_path / "outside")
    folder.weights.touch()
    folder.metrics.touch()
    note_trained(RunFolder(runs / "x"), "id", "s")
    (runs / "_trained/id").write_text("../outside s\n")
    assert trained_as(runs, "id", "s") is None
    (runs / "_trained/id").write_text("outside s\n")
    (tmp_path / "outside").rename(runs / "outside")
    assert trained_as(runs, "id", "s") is not None


# --- run folders of strangers ---

WRONG = [
    *("null", "true", "-1", "0", "1e999", "-1e999", "NaN", "9" * 400, "9" * 5000, "1.5", "10000000000000000000", '""'),
    *(
        '"x"',
        '"../../x"',
        '"/etc/passwd"',
        r'"\u001b[2J\ud800\u0000\u202e"',
        "[]",
        "{}",
        "[[[]]]",
        '{"a":{"b":1}}',
        "[null]",
    ),
    '"' + "x" * 3000 + '"',
]
WHOLE = ["", "[" * 100_000, '{"a":' * 5000, "\x00", "{", "\udcff\udcfe", "null", "[1]"]
VERBS = [
    (alexnet_sweep.status.main, ["hand", "--once"]),
    (alexnet_sweep.status.main, ["hand", "--json"]),
    (alexnet_sweep.clean.main, ["hand"]),
    (alexnet_sweep.clean.main, ["--yes"]),
    (alexnet_sweep.compare.main, ["hand", "hand"]),
    (alexnet_sweep.report.__main__.main, ["hand"]),
]
LOOKS = [
    (alexnet_sweep.evaluate.main, ["000000000000"]),
    (alexnet_sweep.inspect.__main__.main, ["000000000000"]),
]
SWEEP = SweepConfig(stale="keep", retrain=None, retries=1, on_failure="continue", max_runs=1000)


def places(value: Any, above: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if above:
        yield above
    inner = value.items() if isinstance(value, dict) else enumerate(value[:2]) if isinstance(value, list) else ()
    for key, part in inner:
        yield from places(part, (*above, key))


def strangers(runs: Path) -> dict[Path, Any]:
    """A study made by hand, and its files' contents."""
    answers = {("base", 0): [1, 1, 2], ("base", 1): [1, 2, 2], ("off", 0): [1, 2, 6], ("off", 1): [2, 2, 6]}
    made = {key: ranked(ten, train_error=0.1, steps=3) for key, ten in answers.items()}
    make_study(runs, made, claims={"model/lrn=off": "P03"}, question="q")
    status = {"state": "running", "host": "h", "process": 3, "heartbeat": 1.0, "started": 1.0, "epoch": 1, "epochs": 3}
    status |= {"step": 1, "steps": 9, "attempts": 1, "images_per_second": 3.0, "failures": 0}
    (runs / "000000000003/status.json").write_text(json.dumps(status))
    (runs / "000000000003/result.json").unlink()
    jobs = [{"job": "1", "run_id": "000000000003", "log": "jobs/1", "name": "n"}]
    record = {"format": 1, "queue": "none", "submitting": None, "jobs": jobs}
    (runs / "_studies/hand/jobs.json").write_text(json.dumps(record))
    (runs / "000000000001/metrics.csv").write_text("epoch,heldout_top1_error\n1,0.5\n2,0.4\n")
    first = runs / "000000000000"
    found = [runs / "_studies/hand/plan.json", runs / "_studies/hand/jobs.json", runs / "000000000003/status.json"]
    found += [
        first / "result.json",
        runs / "000000000002/result.json",
        first / "provenance.json",
        first / "config.yaml",
    ]
    return {path: yaml.safe_load(path.read_text()) for path in found}


def spoilt(draw: random.Random, tree: Any) -> str:
    """The file with one value replaced or taken out, or none of it left."""
    if draw.random() < 0.1:
        return draw.choice(WHOLE)
    tree = copy.deepcopy(tree)
    *above, last = draw.choice([*places(tree)])
    node = tree
    for key in above:
        node = node[key]
    if draw.random() < 0.2:
        del node[last]
        return json.dumps(tree)
    node[last] = "@@here@@"
    return json.dumps(tree).replace('"@@here@@"', draw.choice(WRONG))


@pytest.mark.parametrize(
    ("part", "number"), [(0, 4), *(pytest.param(part, 40, marks=pytest.mark.slow) for part in range(1, 5))]
)
def test_run_folders_of_strangers_are_told_of_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], part: int, number: int
) -> None:
    monkeypatch.chdir(tmp_path)
    draw = random.Random(part)
    for _ in range(number):
        shutil.rmtree("runs", ignore_errors=True)
        files = strangers(Path("runs"))
        path = draw.choice([*files, *list(files)[:1]])
        text = spoilt(draw, files[path])
        path.write_text(text, encoding="utf-8", errors="surrogateescape")
        for verb, words in VERBS[:-1] if draw.random() < 0.7 else VERBS:  # figures take most of the time
            code = verb(words)
            printed = capsys.readouterr()
            about = (path, text[:2000], words, printed.err)
            assert code == 0 or (code == 2 and len(printed.err.splitlines()) == 1 and not printed.out), about
            assert all(sign.isprintable() or sign == "\n" for sign in printed.out + printed.err), about
        assert {place.name for place in tmp_path.iterdir()} <= {"runs", "reports"}


def test_predictions_of_another_kind_leave_their_run_out(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    make_study(runs, {(arm, seed): ranked([1, 2, 2]) for arm in ("base", "off") for seed in (0, 1)})
    path = RunFolder(runs / "000000000002").predictions
    whole = pd.read_parquet(path)
    tables = [
        whole.drop(columns="label"),
        whole.assign(ten_rank=["a", "b", "c"]),
        whole.assign(ten_rank=[1.5, np.nan, 2]),
        whole.assign(image=[b"\xff", b"b", b"c"]),
        whole.assign(image=[None, "b", "c"]),
        whole.assign(centre_rank=[[1], [2], [3]]),
        whole.assign(label=[2**40, 1, 2]),
        whole.assign(split="other"),
        whole.rename(columns={"split": "part"}),
    ]
    for table in tables:
        table.to_parquet(path)
        text = write_report("hand", runs, tmp_path / "reports").text
        assert "unreadable" in text, table


# --- no files at all ---


def linked_round(path: Path) -> None:
    path.symlink_to(path.name)


ODD: dict[str, Callable[[Path], None]] = {
    "a pipe": os.mkfifo,
    "a folder": Path.mkdir,
    "a link to a device": lambda path: path.symlink_to("/dev/zero"),
    "a link to itself": linked_round,
}


@pytest.fixture
def in_time() -> Iterator[None]:
    """What waits for a pipe is interrupted."""

    def late(number: int, frame: object) -> None:
        raise AssertionError("does not end")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(60)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.mark.slow
@pytest.mark.parametrize("make", ODD.values(), ids=ODD)
def test_what_is_no_file_is_neither_waited_for_nor_read(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    in_time: None,
    make: Callable[[Path], None],
) -> None:
    monkeypatch.chdir(tmp_path)
    runs, verbs = Path("runs"), [*VERBS[:-1], *LOOKS]
    names = ("result.json", "predictions.parquet", "config.yaml", "provenance.json", "metrics.csv")
    places = [runs / "000000000000" / name for name in (*names, "weights.safetensors")]
    places += [runs / "000000000003" / name for name in ("status.json", "metrics.csv", "checkpoint.pt")]
    places += [runs / "_studies/hand" / name for name in ("plan.json", "jobs.json", "jobs", "cancelled")]
    for path in (*places, runs / "_trained/aaaa", runs / "_data/0123456789abcdef/meta.json"):
        shutil.rmtree(runs, ignore_errors=True)
        strangers(runs)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        make(path)
        for verb, words in verbs:
            code = verb(words)
            printed = capsys.readouterr()
            about = (path, words, printed.err)
            assert code == 0 or (code == 2 and len(printed.err.splitlines()) == 1 and not printed.out), about
        with suppress(FolderError):
            decide(RunFolder(path.parent), SWEEP, "sources")
        assert trained_as(runs, "aaaa", "sources") is None


@pytest.mark.slow
@pytest.mark.parametrize("make", ODD.values(), ids=ODD)
def test_a_report_leaves_out_a_run_whose_files_are_no_files(
    tmp_path: Path, in_time: None, make: Callable[[Path], None]
) -> None:
    for name in ("result.json", "predictions.parquet"):
        shutil.rmtree(tmp_path / "runs", ignore_errors=True)
        strangers(tmp_path / "runs")
        path = tmp_path / "runs/000000000002" / name
        path.unlink()
        make(path)
        assert "unreadable" in write_report("hand", tmp_path / "runs", tmp_path / "reports").text, name


@pytest.mark.parametrize("make", [*ODD.values(), lambda path: path.symlink_to("mine")], ids=[*ODD, "a link to a file"])
def test_a_log_that_leads_elsewhere_is_not_written_on(
    micro: Compose, tmp_path: Path, in_time: None, make: Callable[[Path], None]
) -> None:
    folder = RunFolder(tmp_path / "runs" / "0123456789ab")
    folder.path.mkdir(parents=True)
    make(folder.log)
    mine = folder.path / "mine"
    mine.write_text("mine")
    with pytest.raises(FolderError, match=r"train\.log: no file of its own, and is to be written on; remove it$"):
        run(micro("trainer.epochs=1"), folder.run_id)
    assert mine.read_text() == "mine" and folder.read_result() is None


# --- data folders ---


@pytest.mark.parametrize("make", [ODD["a pipe"], *list(ODD.values())[2:]], ids=["a pipe", *list(ODD)[2:]])
@pytest.mark.parametrize("name", ["train/red/odd.png", "val/red/labels.txt", "odd.parquet"])
def test_what_is_no_file_among_the_images_is_refused_by_its_name(
    photos: Path, composed: Compose, in_time: None, make: Callable[[Path], None], name: str
) -> None:
    make(photos / name)
    with pytest.raises(DataError, match=name) as told:
        content_id(composed("data=folder", f"data.path={photos}").data)
    assert "\n" not in str(told.value)


def test_an_image_that_has_become_a_pipe_is_no_image(tmp_path: Path, in_time: None) -> None:
    os.mkfifo(tmp_path / "a.png")
    with pytest.raises(BadImage, match=r"^image train/a\.png: cannot be read \(.*no file"):
        decode(str(tmp_path / "a.png"), "train/a.png")


def test_links_that_make_more_paths_than_can_be_walked_are_refused(
    tmp_path: Path, composed: Compose, in_time: None
) -> None:
    for number in range(12):
        folder = tmp_path / "data" / f"class{number}"
        folder.mkdir(parents=True)
        for other in range(12):
            (folder / f"to{other}").symlink_to(f"../class{other}")
    with pytest.raises(DataError, match=r"^data\.path=.*: links lead to .* in more than 100 ways; keep one") as told:
        content_id(composed("data=folder", f"data.path={tmp_path / 'data'}").data)
    assert "\n" not in str(told.value)
