"""Every command that the documents show is carried out or planned, and every file they show is composed."""

import re
import shlex
import shutil
from pathlib import Path

import datasets
import numpy as np
import pytest
from PIL import Image

from conftest import Main

ROOT = Path(__file__).parents[1]
DOCUMENTS = ("README.md", "ARCHITECTURE.md", "sweeps/README.md", "docs/tutorial.md")
SMALL = ("model.width=0.05", "trainer.epochs=1", "trainer.cpu_threads=1", "eval.clean_train_images=8")
LOOKING = ("status", "clean", "report", "compare", "inspect", "evaluate", "export")
TRAINED = ("model/lrn=on,off", "model/pool=overlap,plain")  # two sweeps, for the commands that look at some


def commands(document: str) -> list[str]:
    """The program's commands in a document, without their comments."""
    text = (ROOT / document).read_text().replace("\\\n", " ")
    lines = re.findall(r"^    (?:\.venv/bin/)?python -m (alexnet_sweep.*)$", text, re.MULTILINE)
    return [re.sub(r"\s+", " ", re.split(r"\s{2,}# ", line)[0]).strip() for line in lines]


def files(document: str) -> dict[str, str]:
    """The files in a document, by the name in their first line."""
    text = (ROOT / document).read_text()
    blocks = re.findall(r"^```yaml\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    indented = re.findall(r"(?:^    .*\n)+", text, re.MULTILINE)
    blocks += [re.sub(r"^    ", "", block, flags=re.MULTILINE) for block in indented]
    named = [(re.match(r"# (\S+\.yaml)\n", block), block) for block in blocks]
    return {match[1]: block for match, block in named if match}


SHOWN = [(document, command) for document in DOCUMENTS for command in commands(document)]


def draw(folder: Path, count: int, label: int) -> None:
    """Photographs of one class: one colour stands out."""
    rng = np.random.default_rng(label)
    folder.mkdir(parents=True)
    for number in range(count):
        pixels = rng.integers(0, 90, (64, 72, 3), dtype=np.uint8)
        pixels[..., label] += 120
        Image.fromarray(pixels).save(folder / f"{number:02d}.jpg")


@pytest.fixture(scope="session")
def sets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data sets of three classes: ImageNet's layout, CIFAR-10's Parquet files, photographs in class folders."""
    root = tmp_path_factory.mktemp("sets")
    for label in range(3):
        draw(root / "photos" / f"class{label}", 30, label)
        for split, count in (("train", 40), ("val", 12)):
            draw(root / "imagenet" / split / f"n0000000{label}", count, label)
    (root / "cifar10").mkdir()
    for split, rows in (("train", 240), ("test", 30)):
        cells = [Image.fromarray(np.full((32, 32, 3), row, np.uint8)) for row in range(rows)]
        features = datasets.Features({"img": datasets.Image(), "label": datasets.ClassLabel(names=["a", "b", "c"])})
        table = {"img": cells, "label": [row % 3 for row in range(rows)]}
        datasets.Dataset.from_dict(table, features=features).to_parquet(root / "cifar10" / f"{split}-0.parquet")
    return root


@pytest.fixture
def place(main: Main, sets: Path) -> Path:
    """An empty folder to work in, with the photographs and with the files that the documents show."""
    shutil.copytree(sets / "photos", "photos")
    for document in DOCUMENTS:
        for name, text in files(document).items():
            Path(name).parent.mkdir(parents=True, exist_ok=True)
            Path(name).write_text(text)
    return Path.cwd()


def filled_in(command: str, sets: Path) -> list[str]:
    """The words of a command, with a data set in place of FOLDER and PHOTOS."""
    study = re.search(r"study=(?:sweeps/)?(\w+)", command)
    found = [file for folder in (ROOT, Path.cwd()) if study and (file := folder / f"sweeps/{study[1]}.yaml").is_file()]
    text = command + "".join(file.read_text() for file in found)
    folder = sets / ("cifar10" if "cifar10" in text else "imagenet")
    words = shlex.split(command.replace("[OVERRIDE…]", ""))
    return [word.replace("FOLDER", str(folder)).replace("PHOTOS", str(sets / "imagenet")) for word in words]


def verb_of(command: str) -> str:
    return command.split()[0].partition(".")[2]


@pytest.mark.slow
@pytest.mark.parametrize("command", [command for _, command in SHOWN if verb_of(command) not in LOOKING])
def test_a_command_shown_does_what_it_says(
    main: Main, place: Path, sets: Path, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    verb, words = verb_of(command), filled_in(command, sets)[1:]
    if verb == "bench":
        words = ["lrn", "--quick", "--threads", "1"]  # the other rows take minutes
    if verb or {"--help", "--cfg"} & set(words):
        assert main(*([verb] if verb else []), *words) == 0
        assert capsys.readouterr().out.strip()
        return
    given = {word.partition("=")[0] for word in words}
    small = [word for word in SMALL if word.partition("=")[0] not in given]
    assert main("plan", *(word for word in words if word != "-m"), *small) == 0
    assert re.search(r"^\d+ to (train|evaluate)\b", capsys.readouterr().out, re.MULTILINE)
    if not given & {"study", "data.path", "seed"} or words[-1] == "study=mine.yaml":  # the others take minutes
        seed = ["seed=0"] if "study" in given else []
        assert main(*words, *SMALL, *seed) == 0
        assert list(Path("runs").glob("*/result.json"))


@pytest.mark.slow
def test_the_commands_shown_that_look_at_what_was_trained(
    main: Main, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for levels in TRAINED:
        assert main("-m", levels, *SMALL) == 0
    studies = sorted(path.name for path in Path("runs/_studies").iterdir())
    run = min(path.parent.name for path in Path("runs").glob("*/result.json"))
    names = {"STUDY": studies[0], "OTHER": studies[1], "RUN": run}
    shown = [command for _, command in SHOWN if verb_of(command) in LOOKING]
    assert {verb_of(command) for command in shown} == set(LOOKING)
    for command in shown:
        words = [names.get(word, word) for word in shlex.split(command)[1:]]
        capsys.readouterr()
        assert main(verb_of(command), *words) == 0, command
        told = capsys.readouterr()
        assert (told.out + told.err).strip()


def test_every_command_and_file_is_found() -> None:
    assert len(SHOWN) > 25
    assert {"conf/optim/rmsprop.yaml", "conf/hydra/launcher/here.yaml", "sweeps/mine.yaml"} <= {
        name for document in DOCUMENTS for name in files(document)
    }


@pytest.mark.parametrize("document", [*DOCUMENTS, "CONTRIBUTING.md", "reports/README.md"])
def test_every_link_leads_somewhere(document: str) -> None:
    text = (ROOT / document).read_text()
    for link in re.findall(r"\]\((?!https?:)([^)#]+)", text):
        assert ((ROOT / document).parent / link).exists(), link
