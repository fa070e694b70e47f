"""Command lines and study files that are wrong by construction, and some that are right beside them.

A case is made from something valid by one step that cannot leave it valid, so that it needs no second program to say
what is right. `cases(kind, seed)` gives the same cases again.
"""

import math
import random
import string
import typing
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, fields, is_dataclass
from functools import cache
from typing import Any

from alexnet_sweep.bench.__main__ import MINUTES
from alexnet_sweep.config import Config
from alexnet_sweep.designs import DESIGNS, ORDERS
from alexnet_sweep.groups import options
from alexnet_sweep.study_file import KEYS as STUDY_KEYS
from alexnet_sweep.study_file import NEEDED

STUDY = "mine.yaml"  # the study file of a case
HAND = "hand"  # a study that is there, made by hand
NASTY = "\x1b[2J\x07\udc80\ud800\u202e\u2028é漢'\"\\{}[]()=,:;&|<>`$%#~"


@dataclass(frozen=True)
class Case:
    """What is typed, the study file beside it, and what is wrong with it."""

    what: str
    words: tuple[str, ...]
    study: bytes | None = field(default=None, repr=False)

    @property
    def can_be_typed(self) -> bool:
        """Whether a shell could start it: no null bytes, no halves of characters, no more than a system takes."""
        try:
            return all("\0" not in word and len(word.encode()) < 100_000 for word in self.words)
        except UnicodeEncodeError:
            return False


def leaves(kind: Any = Config, prefix: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Every key of the schema with its type and its field."""
    hints = typing.get_type_hints(kind)
    for item in fields(kind):
        hint = hints[item.name]
        if is_dataclass(hint):
            yield from leaves(hint, f"{prefix}{item.name}.")
        else:
            yield f"{prefix}{item.name}", hint, item


LEAVES = {key: (hint, item) for key, hint, item in leaves()}
INNER = {key[: key.rindex(".")] for key in LEAVES if "." in key} | {key.split(".")[0] for key in LEAVES}
GROUPS = {group: names for group, names in options().items() if not group.startswith("hydra/")}
TYPED = sorted(key for key, (hint, _) in LEAVES.items() if hint is not Any and not key.endswith(".custom"))
NUMBERS = [key for key in TYPED if {int, float} & {LEAVES[key][0], *typing.get_args(LEAVES[key][0])}]
BOUNDED = [key for key in NUMBERS if "low" in LEAVES[key][1].metadata and not str(LEAVES[key][0]).startswith("dict")]
CHOICES = [key for key in TYPED if "choices" in LEAVES[key][1].metadata]
WORDS = [key for key in TYPED if str in (LEAVES[key][0], *typing.get_args(LEAVES[key][0])) and key not in CHOICES]


def misspelt(draw: random.Random, word: str, known: Any) -> str:
    """A word that is not among those known, a slip of the fingers away from one."""
    while True:
        place = draw.randrange(len(word))
        slip = draw.choice(
            [
                word[:place] + word[place + 1 :],
                word[:place] + 2 * word[place] + word[place + 1 :],
                word[:place] + draw.choice(string.ascii_lowercase) + word[place + 1 :],
                word[:place] + word[place : place + 2][::-1] + word[place + 2 :],
                word.upper(),
            ]
        )
        if slip not in known and slip and slip[0] not in "./-=~+" and slip[-1] not in "./" and ".." not in slip:
            return slip


def nasty(draw: random.Random, most: int = 12) -> str:
    return "".join(draw.choice(NASTY) for _ in range(draw.randint(1, most)))


def long(draw: random.Random) -> str:
    return draw.choice(["x", "9", "é", "a.b", "漢", "../", "[", "'", "\x1b[31m"]) * draw.choice([300, 5_000, 60_000])


def a_word(draw: random.Random) -> str:
    return "".join(draw.choice(string.ascii_lowercase) for _ in range(draw.randint(3, 9)))


# --- one override that cannot be right ---


def wrong_key(draw: random.Random) -> str:
    known = {*LEAVES, *INNER, *GROUPS}
    return (
        f"{draw.choice(['', '', '+', '++'])}{misspelt(draw, draw.choice(sorted(LEAVES)), known)}={draw.randint(1, 9)}"
    )


def wrong_group(draw: random.Random) -> str:
    group = draw.choice(sorted(name for name in GROUPS if "/" in name))
    return f"{misspelt(draw, group, {*GROUPS, *INNER, *LEAVES})}={draw.choice(GROUPS[group])}"


def wrong_option(draw: random.Random) -> str:
    group = draw.choice(sorted(GROUPS))
    return f"{group}={misspelt(draw, draw.choice(GROUPS[group]), GROUPS[group])}"


def wrong_type(draw: random.Random) -> str:
    key = draw.choice(TYPED)
    hint, item = LEAVES[key]
    parts = {hint, *typing.get_args(hint)}
    if typing.get_origin(hint) is dict:
        value = draw.choice(["3", "word", "[1,2]"])
    elif typing.get_origin(hint) is list:
        value = draw.choice(["word", "3", "{a:1}", "[a,b]"])
    elif str in parts and "choices" not in item.metadata:
        value = draw.choice(["[1,2]", "{a:1}"])
    else:
        value = draw.choice([a_word(draw) + "x", "[1,2]", "{a:1}", "'1 2'", "\"'7'\"", "[[[]]]"])
    return f"{key}={value}"


def out_of_range(draw: random.Random) -> str:
    key = draw.choice(BOUNDED)
    hint, item = LEAVES[key]
    low, high = item.metadata["low"], item.metadata["high"]
    whole = float not in {hint, *typing.get_args(hint)} and "float" not in str(hint)
    wrong = [str(int(low) - draw.choice([1, 7, 10**20]))] + ([] if whole else ["nan", "-inf", "inf"])
    if high < math.inf:
        wrong.append(str(int(high) + draw.choice([1, 10**20])))
    value = draw.choice(wrong)
    return f"{key}=[{','.join([value] * 5)}]" if typing.get_origin(hint) is list else f"{key}={value}"


def wrong_choice(draw: random.Random) -> str:
    key = draw.choice(CHOICES)
    return (
        f"{key}={misspelt(draw, draw.choice(LEAVES[key][1].metadata['choices']), LEAVES[key][1].metadata['choices'])}"
    )


def too_long(draw: random.Random) -> str:
    text = long(draw)
    return draw.choice(
        [
            f"{text}=1",
            f"trainer.epochs={text}x",
            f"seed={'9' * 5000}x",
            f"model/lrn={text}",
            f"sweep.retrain='{'x' * len(text)}'",
            f"init_from={'x' * len(text)}",
            f"paths.runs={'x' * len(text)}",
            f"paths.store=/{'x' * len(text)}",
            f"data.path={'x' * len(text)}",
            f"optim.name={'x' * len(text)}",
            f"trainer.epochs={'[' * 400}",
            f"trainer.epochs=-{'9' * 4000}",
            f"model.topology.kernels=[{','.join('9' * 9000)}]",
            text,
        ]
    )


def binary(draw: random.Random) -> str:
    text = nasty(draw)
    return draw.choice(
        [
            f"{text}=1",
            f"model/lrn=on{text}",
            f"seed=1{text}",
            f"trainer.epochs=\x00{draw.randint(0, 9)}",
            f"data/x{text}=1",
            f"init_from='a\x00{draw.randint(0, 9)}'",
            f"paths.runs='a\x00{draw.randint(0, 9)}'",
            f"paths.store='a\x00{draw.randint(0, 9)}'",
            f"sweep.retrain='\x1b[{draw.randint(0, 9)}m\ud800'",
            f"optim.name='\x1b]0;x\x07{draw.randint(0, 9)}\udc80'",
            f"trainer.device=\udcff{draw.randint(0, 9)}",
        ]
    )


def quotes(draw: random.Random) -> str:
    key = draw.choice(TYPED)
    return draw.choice(
        [
            f"{key}='{a_word(draw)}",
            f"{key}=\"{a_word(draw)}'",
            f"{key}='a'b'",
            f'{key}="\'a\'""',
            f"{draw.choice(NUMBERS)}='\"{draw.randint(1, 9)}x\"'",
            f'{draw.choice(NUMBERS)}="\\"\'{a_word(draw)}\'\\""',
            f"{key}=[{a_word(draw)}",
            f"{key}={{a:{a_word(draw)}",
            f"{key}=({a_word(draw)}",
        ]
    )


def leading_out(draw: random.Random) -> str:
    up = "../" * draw.randint(1, 9)
    group = draw.choice(sorted(GROUPS))
    there = f"{group}/{draw.choice(GROUPS[group])}"
    return draw.choice(
        [
            f"{group}={up}{a_word(draw)}",
            f"{group}={up}{there}",
            f"{group}=../{group.split('/')[-1]}/{draw.choice(GROUPS[group])}",
            f"{group}=./{draw.choice(GROUPS[group])}",
            f"{group}=/etc/{a_word(draw)}",
            f"{up}{group}={draw.choice(GROUPS[group])}",
            f"{group}/..={draw.choice(GROUPS[group])}",
            f"+../{a_word(draw)}=on",
            f"sweep.retrain={up}{a_word(draw)}",
            f"init_from={up}{a_word(draw)}",
            "init_from=..",
            f"data.path={up}{a_word(draw)}",
        ]
    )


def loops(draw: random.Random) -> str:
    key = draw.choice([key for key in TYPED if typing.get_origin(LEAVES[key][0]) is None])
    return draw.choice(
        [
            f"{key}=${{{key}}}",
            f"{key}=${{{a_word(draw)}x}}",
            f"{key}=${{{a_word(draw)}x:1}}",
            f"{key}=${{oc.env:{a_word(draw).upper()}_NOT_SET}}",
            f"{key}=${{oc.decode:'['}}",
            f"{key}=${{oc.select:{key}}}",
            f"{key}=${{",
            f"{key}={'${' * 50}{key}{'}' * 50}",
            f"{key}=${{..{a_word(draw)}}}",
            f"{key}=${{model}}",
        ]
    )


def no_override(draw: random.Random) -> str:
    return draw.choice(
        [
            *("=", f"={a_word(draw)}", draw.choice(TYPED), f"--{a_word(draw)}", "~", "+", "a b", f"{a_word(draw)}=1=2"),
            *(f"~{draw.choice(['model/lrn', 'optim', 'data'])}", f"{draw.choice(['model', 'trainer', 'data.x'])}=3"),
            *(f"@{a_word(draw)}=1", f"model/lrn@{a_word(draw)}=on", f"~{a_word(draw)}"),
        ]
    )


OVERRIDES: dict[str, Callable[[random.Random], str]] = {
    "misspelt key": wrong_key,
    "misspelt group": wrong_group,
    "misspelt option": wrong_option,
    "wrong type": wrong_type,
    "out of range": out_of_range,
    "misspelt choice": wrong_choice,
    "absurdly long": too_long,
    "binary": binary,
    "quotes": quotes,
    "../": leading_out,
    "interpolation": loops,
    "no override": no_override,
}
RIGHT = ("seed=1", "model/lrn=off", "trainer.epochs=2", "optim.learning_rate=0.02", "aug/flip=off", "model.width=0.1")
ENTRIES = ((), ("-m",), ("plan",), *3 * (("summary",), ("data", "info")))  # the last two compose once only


def command_line(draw: random.Random) -> Case:
    """One override that cannot be right, maybe among others that are, given to one of the commands that compose."""
    what = draw.choice(sorted(OVERRIDES))
    words = [OVERRIDES[what](draw)]
    for right in draw.sample(RIGHT, draw.randint(0, 1)):
        if right.split("=")[0] not in words[0]:  # of two overrides of a key the last one counts
            words.insert(draw.randint(0, 1), right)
    unread = any(word.startswith(("sweep.", "init_from", "paths.")) for word in words)  # by what trains nothing
    entry = draw.choice(ENTRIES[:3] if unread else ENTRIES)
    return Case(f"{what}: {' '.join(entry) or 'run'}", (*entry, *words))


# --- words that go together wrongly, and the commands that take none of Hydra's ---


def flags(draw: random.Random) -> Case:
    word = a_word(draw)
    return Case(
        "flags",
        draw.choice(
            [
                (f"--{word}",),
                ("-m", f"--{word}", "seed=0"),
                ("--config-dir", word),
                ("--config-dir",),
                ("--config-name", word),
                ("--config-path", word),
                ("--cfg", word),
                ("--info", word),
                ("-m", "seed=0", "sweep.max_runs=0"),
                ("-m", "seed=range(0,2000)"),
                ("-m", "seed=range(0,3000000000)"),
                ("-m", f"seed={','.join(map(str, range(40)))}", f"trainer.epochs=range(1,{10**12})"),
                ("-m", "seed=0", "hydra/launcher=" + word),
                ("seed=0,1",),
                ("study=quick",),
                ("hydra/launcher=joblib",),
                ("-m", "seed=0", "sweep.wait=false"),
                ("-m", "study=quick", "model/lrn=off"),
                ("-m", "study=quick", "model/pool=overlap,plain"),
                ("-m", "study=quick", f"seed={word}"),
                ("data=folder",),
                ("data.path=.",),
                ("trainer.device=cuda",),
                ("trainer.batch_size=100000",),
                ("model.width=1e6",),
                ("optim.custom={_target_: os.system}", "seed=1"),
                ("optim.custom={_target_: nope.Nope}",),
                ("model.net.custom={_target_: builtins.eval, x: 1}",),
                ("schedule.custom=3",),
                ("eval.metrics={a: 3}",),
                ("eval.metrics={../a: {_target_: nope.Nope}}",),
            ]
        ),
    )


def study_name(draw: random.Random) -> str:
    return draw.choice(
        [
            lambda: f"../{a_word(draw)}",
            lambda: "..",
            lambda: ".",
            lambda: "",
            lambda: f"../_studies/{HAND}",
            lambda: f"/{HAND}",
            lambda: f"{HAND}/",
            lambda: f"{HAND}\x00",
            lambda: f"{HAND}{nasty(draw)}",
            lambda: long(draw).replace("/", "x"),
            lambda: misspelt(draw, HAND, (HAND,)),
            lambda: a_word(draw) + "x",
        ]
    )()


def verbs(draw: random.Random) -> Case:
    name = study_name(draw)
    name = f"./{name}" if name.startswith("-") else name
    word = a_word(draw)
    lines: list[tuple[str, ...]] = [
        ("status", name),
        ("report", name),
        ("clean", name),
        ("clean", "--yes", name),
        ("compare", HAND, name),
        ("compare", name, HAND),
        ("status", "--once", "--runs", long(draw)),
        ("status", "--runs", f"a\x00{word}"),
        ("status", HAND, "--every", draw.choice(["nan", "-1", "inf", "0", "1e9", word])),
        ("clean", "--runs", word),
        ("clean", "--runs", f"\x00{word}"),
        ("clean", "--runs", "x" * 5000),
        ("report", HAND, "--runs", word),
        ("report", HAND, "--runs", f"a\x00{word}"),
        ("report", HAND, "--reports", f"a\x00{word}"),
        ("report", HAND, "--reports", "x" * 5000),
        ("report", HAND, "--reports", f"/proc/{word}"),
        ("compare", HAND, HAND, "--other-runs", f"{word}\udc80"),
        ("compare", HAND),
        ("report",),
        (draw.choice(["status", "report", "clean", "compare", "bench", "summary", "data", "plan"]), f"--{word}"),
        ("bench", misspelt(draw, draw.choice(sorted(MINUTES)), MINUTES)),
        ("bench", nasty(draw)),
        ("bench", long(draw).replace("9", "x")),
        ("bench", "lrn", "--threads", draw.choice(["0", "-1", word, "1.5", "9" * 5000 + "x", "²"])),
        ("bench", "decode", "--photos", draw.choice([word, f"a\x00{word}", "x" * 5000])),
        ("bench", "--clock", word),
        ("summary", "--classes", draw.choice([word, "1.5", "0", "-3", "9" * 5000])),
        ("data", word),
        ("data",),
        ("plan", "study=quick", "--budget", draw.choice([word, "3", "-1h", "nan s", "1" * 5000 + "years", "²h"])),
        ("plan", f"study={misspelt(draw, 'quick', ('quick',))}"),
        ("-m", f"study={word}/{word}.yaml"),
        ("-m", "study='a\x00b'"),
        ("-m", f"study={'x' * 5000}"),
        ("-m", f"study={'x/' * 3000}"),
        ("plan", "study=/dev/null/x"),
        ("plan", "study=."),
        ("-m", "study=[a,b]"),
    ]
    return Case("verbs and names", draw.choice(lines))


# --- study files ---

VALID = """\
question: Does it matter?
design: {design}
baseline: {{experiment: digits, trainer.epochs: 1}}
factors:
  model/lrn: ["on", "off"]
  model/pool: [overlap, plain]
  width: {{wide: [model.width=0.1], narrow: [model.width=0.05]}}
seeds: {seeds}
"""
LOOP = "a: &a [*a]\n"
BOMB = "".join(
    f"{name}: &{name} [{','.join([f'*{last}'] * 9)}]\n" for last, name in zip("abcdefg", "bcdefgh", strict=True)
)


def valid(draw: random.Random) -> str:
    return VALID.format(design=draw.choice(sorted(DESIGNS)), seeds=draw.choice(["1", "2", "[0, 3]"]))


def replaced(text: str, key: str, value: str) -> str:
    """A study with another value of a key, or none of it if that is empty."""
    kept, skipping = [], False
    for line in text.splitlines():
        skipping = line.startswith(f"{key}:") or (skipping and line.startswith(" "))
        kept += [] if skipping else [line]
    return "\n".join([*kept, *([f"{key}: {value}"] if value else [])]) + "\n"


def text_of(draw: random.Random) -> tuple[str, str | bytes]:
    """What is wrong, and a study file with just that."""
    text, word = valid(draw), a_word(draw)
    what = draw.choice(sorted(STUDY_FILES))
    return what, STUDY_FILES[what](draw, text, word)


def wrong_study_key(draw: random.Random, text: str, word: str) -> str:
    return text + f"{misspelt(draw, draw.choice(STUDY_KEYS), STUDY_KEYS)}: 3\n"


def lacking(draw: random.Random, text: str, word: str) -> str:
    return replaced(text, draw.choice(NEEDED), "")


def wrong_value(draw: random.Random, text: str, word: str) -> str:
    kinds = {
        "question": ["3", "[a]", "{a: 1}", "''", "' '", "null", "2020-01-01", "yes"],
        "design": [
            "3",
            "[a]",
            word,
            "null",
            "'../pairs'",
            f"'{'x' * 9000}'",
            '"\\e[31m"',
            misspelt(draw, "pairs", DESIGNS),
        ],
        "order": [word, "3", "[build_up]", "{a: 1}", misspelt(draw, "both", ORDERS)],
        "baseline": ["3", "[a]", "null", word, "{3: 4}", "{seed: 4}", f"{{{word}: 1}}", "{trainer.epochs: many}"],
        "factors": ["3", "[a]", "null", "{}", word, "{model/lrn: 3}", "{model/lrn: []}", "{model/lrn: ['on']}"],
        "seeds": [
            "0",
            "-1",
            "1.5",
            word,
            "[]",
            "[0, 0]",
            "[a]",
            "[1.5]",
            "[-1]",
            "true",
            "10001",
            "{a: 1}",
            "null",
            ".inf",
        ],
        "tune": ["3", word, "{key: 3}", f"{{key: {word}, levels: [1, 2]}}", "{key: optim.learning_rate, levels: [1]}"],
        "claims": [
            "3",
            "[P03]",
            f"{{model/lrn=off: {word}}}",
            f"{{{word}: P03}}",
            "{model/lrn=off: 3}",
            "{baseline: P03}",
        ],
    }
    key = draw.choice(sorted(kinds))
    return replaced(text, key, draw.choice(kinds[key]))


def wrong_factor(draw: random.Random, text: str, word: str) -> str:
    group = draw.choice(sorted(GROUPS))
    factor = draw.choice(
        [
            f"{{{group}: [{GROUPS[group][0]!r}, {misspelt(draw, GROUPS[group][0], GROUPS[group])!r}]}}",
            f"{{{group}: ['../{group}/{GROUPS[group][0]}', {GROUPS[group][-1]!r}]}}",
            f"{{{word}x: [1, 2]}}",
            "{trainer.epochs: [1, many]}",
            "{trainer.epochs: [1, '${trainer.epochs}']}",
            "{a: {x: [trainer.epochs=1], y: ['trainer.epochs=${sweep.retries}', 'sweep.retries=${trainer.epochs}']}}",
            "{optim.learning_rate: [0.1, -1]}",
            "{optim.learning_rate: [0.1, .nan]}",
            "{optim.learning_rate: [0.1, 0.1]}",
            "{seed: [1, 2]}",
            f"{{a: {{x: [{word}], y: [model.width=0.1]}}}}",
            "{a: {x: [model.width=0.1], y: [model.width=wide]}}",
            "{a: {x: [model.width=0.1], y: [model.width=0.2]}, b: {x: [model.width=0.3], y: [model.width=0.4]}}",
            "{a: {x: ['='], y: [model.width=0.1]}}",
            '{a: {x: ["model.width=\'1"], y: [model.width=0.1]}}',
            f"{{? [1, 2] : [1, 2], {word}: 3}}",
            "{model.width: [{a: 1}, [1, 2]]}",
            "{model/lrn: ['on', \"off\\0\"]}",
            "{model/lrn: ['on', \"\\e[31moff\"]}",
            f"{{model/lrn: ['on', '{'x' * 20000}']}}",
            f"{{{'x' * 20000}: [1, 2]}}",
            f"{{trainer.epochs: [1, {'9' * 4500}]}}",
            f"{{seed: [{'[' * 2000}]}}",
        ]
    )
    return replaced(text, "factors", factor)


def twice(draw: random.Random, text: str, word: str) -> str:
    return draw.choice([text + "seeds: 2\n", text.replace("factors:\n", "factors:\n  model/pool: [plain, overlap]\n")])


def dangerous(draw: random.Random, text: str, word: str) -> str:
    tag = draw.choice(
        [
            "!!python/object/apply:os.system ['touch here']",
            "!!python/object/new:os.system ['touch here']",
            "!!python/name:os.system ''",
            "!!python/module:os ''",
            f"!{word} x",
            "!!python/tuple [1, 2]",
            "!!binary 3",
            "!!timestamp x",
            "!!int x",
            "!!set {a, b}",
        ]
    )
    return draw.choice(
        [
            replaced(text, draw.choice(["design", "seeds", "factors"]), tag),
            text + LOOP,
            BOMB + text,
            text.replace("seeds:", "seeds: &here") + "order: *here\n",
            text + "<<: {nope: 1}\n",
            "--- 1\n--- 2\n",
            text + "...\n---\n" + text,
        ]
    )


def no_yaml(draw: random.Random, text: str, word: str) -> str | bytes:
    return draw.choice(
        [
            "",
            "\n\n",
            "3",
            "[1, 2]",
            "null",
            word,
            f"{{{word}",
            "a: b: c",
            "\tquestion: x\n" + text,
            "[" * 3000,
            "{a: " * 3000,
            "- " * 3000,
            f"{text}order: '{word}\n",
            f'{text}order: "\\x"\n',
            text.encode("utf-16"),
            text.encode() + bytes([draw.randrange(128, 256)]),
            text.encode() + b"\x00",
            bytes(draw.randrange(256) for _ in range(200)) + b"\xff",
            b"\x89PNG\r\n\x1a\n" + bytes(100),
            ("x" * 200 + "\n") * 20_000,
            text + "\x1b[31m: 1\n",
        ]
    )


STUDY_FILES: dict[str, Callable[[random.Random, str, str], str | bytes]] = {
    "misspelt key": wrong_study_key,
    "key left out": lacking,
    "wrong value": wrong_value,
    "wrong factor": wrong_factor,
    "given twice": twice,
    "dangerous YAML": dangerous,
    "no YAML": no_yaml,
}


def study_file(draw: random.Random) -> Case:
    what, text = text_of(draw)
    entry = draw.choice(["-m", "plan"])
    content = text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass")
    return Case(f"study file, {what}: {entry}", (entry, f"study={STUDY}"), content)


# --- and those that are right ---


def right(draw: random.Random) -> Case:
    numbers = [
        key
        for key in NUMBERS
        if key in ("seed", "trainer.epochs", "eval.batch_size", "sweep.retries", "checkpoint.every_epochs")
    ]
    group = draw.choice(["model/pool", "aug/crop", "aug/lighting", "regularizer/ema", "model/activation"])
    words = (
        f"{draw.choice(numbers)}={draw.randint(2, 9)}",
        f"{group}={draw.choice(GROUPS[group])}",
    )
    study = valid(draw).encode()
    return draw.choice(
        [
            Case("right", ("--cfg", "job", *words)),
            Case("right", ("summary", *words)),
            Case("right", ("data", "info", *words)),
            Case("right", ("plan", *words)),
            Case("right", ("plan", f"study={STUDY}", "model.lrn.k=3"), study),
            Case("right", ("status", HAND, "--once")),
            Case("right", ("clean", HAND)),
            Case("right", ("compare", HAND, HAND)),
        ]
    )


KINDS: dict[str, tuple[Callable[[random.Random], Case], int]] = {  # and how many of each
    "command lines": (command_line, 500),
    "flags": (flags, 100),
    "verbs": (verbs, 700),
    "study files": (study_file, 700),
}


@cache
def cases(kind: str, seed: int, count: int) -> tuple[Case, ...]:
    """So many different ones."""
    make = right if kind == "right" else KINDS[kind][0]
    draw, found = random.Random(f"{kind} {seed}"), dict[Case, None]()
    while len(found) < count:
        found[make(draw)] = None
    return tuple(found)
