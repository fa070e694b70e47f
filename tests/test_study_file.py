"""Study files: every mistake is one line that names the file, and what is right reaches Hydra as it was written."""

import math
from pathlib import Path
from typing import Any

import pytest
import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from alexnet_sweep.designs import DESIGNS
from alexnet_sweep.errors import ConfigError
from alexnet_sweep.study_file import KEYS, NEEDED, StudyFile, find_study, override_key, read_study, sweeps_folder

WHOLE: dict[str, Any] = {
    "question": "Does normalisation matter more than pooling?",
    "design": "one_factor_at_a_time",
    "factors": {"model/lrn": ["on", "off"], "model/pool": ["overlap", "plain"]},
    "seeds": 2,
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ask.yaml"


def study(path: Path, **changes: Any) -> StudyFile:
    """A file with these keys changed, read; None leaves a key out."""
    values = {key: value for key, value in {**WHOLE, **changes}.items() if value is not None}
    path.write_text(yaml.safe_dump(values, sort_keys=False, allow_unicode=True), encoding="utf-8")
    return read_study(path)


def study_of(path: Path, text: str) -> StudyFile:
    """A file with a line of text more, as a person types it."""
    path.write_text(yaml.safe_dump(WHOLE, sort_keys=False) + text + "\n", encoding="utf-8")
    return read_study(path)


def refused(path: Path, **changes: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        study(path, **changes)
    return line_of(path, caught.value)


def line_of(path: Path, error: ConfigError) -> str:
    """What an error says after the file's path, in its one line."""
    line = str(error)
    assert line.startswith(f"{path}: ") and "\n" not in line and len(line) < 600
    return line.removeprefix(f"{path}: ")


# --- what is read ---


def test_a_study_is_named_after_its_file(path: Path) -> None:
    assert study(path).name == "ask"


def test_a_question_over_several_lines_is_one_line(path: Path) -> None:
    assert study(path, question="Does it\n  matter?\n").question == "Does it matter?"


def test_a_number_of_seeds_counts_from_zero(path: Path) -> None:
    assert study(path, seeds=3).seeds == (0, 1, 2)


def test_a_list_of_seeds_stays_as_it_is(path: Path) -> None:
    assert study(path, seeds=[7, 3]).seeds == (7, 3)


def test_on_and_off_without_quotes_are_levels(path: Path) -> None:
    path.write_text("question: q\ndesign: factorial\nseeds: 1\nfactors: {model/lrn: [on, off]}\n", encoding="utf-8")
    (factor,) = read_study(path).factors
    assert [level.name for level in factor.levels] == ["on", "off"]
    assert [level.overrides for level in factor.levels] == [("model/lrn=on",), ("model/lrn=off",)]


def test_on_and_off_without_quotes_name_bundles_too(path: Path) -> None:
    path.write_text(
        "question: q\ndesign: factorial\nseeds: 1\nfactors: {all: {on: [model/lrn=on], off: model/lrn=off}}\n",
        encoding="utf-8",
    )
    (factor,) = read_study(path).factors
    assert [(level.name, level.overrides) for level in factor.levels] == [
        ("on", ("model/lrn=on",)),
        ("off", ("model/lrn=off",)),
    ]


def test_a_bundle_sets_several_keys_and_may_set_none(path: Path) -> None:
    both = ["model/lrn=off", "model/pool=plain"]
    (factor,) = study(path, factors={"parts": {"whole": [], "bare": both}}).factors
    assert [level.overrides for level in factor.levels] == [(), tuple(both)]


def test_the_tuned_key_has_its_levels_and_seeds(path: Path) -> None:
    tuning = study(path, tune={"key": "optim.learning_rate", "levels": [0.01, 0.003], "seeds": [4, 5]}).tuning
    assert tuning is not None
    assert tuning.levels == ("optim.learning_rate=0.01", "optim.learning_rate=0.003")
    assert tuning.seeds == (4, 5)


def test_a_tuned_key_is_tried_with_one_seed_where_the_file_does_not_say(path: Path) -> None:
    tuning = study(path, tune={"key": "optim.learning_rate", "levels": [0.01, 0.003]}).tuning
    assert tuning is not None and tuning.seeds == (0,)


def test_claims_belong_to_arms(path: Path) -> None:
    claims = {"model/lrn=off": "P03", "model/pool=plain": ["P05", "-P03"], "baseline": "P08"}
    read = {"model/lrn=off": ("P03",), "model/pool=plain": ("P05", "-P03"), "baseline": ("P08",)}
    assert study(path, claims=claims).claims == read


def test_a_byte_order_mark_is_no_part_of_the_file(path: Path) -> None:
    path.write_bytes(b"\xef\xbb\xbf" + yaml.safe_dump(WHOLE).encode())
    assert read_study(path).design == "one_factor_at_a_time"


def test_every_study_of_ours_can_be_read() -> None:
    files = sorted(sweeps_folder().glob("*.yaml"))
    assert "quick" in [file.stem for file in files]
    for file in files:
        assert len(read_study(file).arms()) > 1


def test_true_and_false_stay_so_where_a_key_takes_them(path: Path) -> None:
    (factor,) = study(path, factors={"model.lrn.per_column": [True, False]}).factors
    assert [level.overrides for level in factor.levels] == [
        ("model.lrn.per_column=true",),
        ("model.lrn.per_column=false",),
    ]


# --- values on their way to Hydra ---

PARSER = OverridesParser.create()


def survived(path: Path, value: Any) -> Any:
    """A value of the baseline's as Hydra's own parser reads it from the override."""
    (override,) = study(path, baseline={"optim.custom": value}).common
    return PARSER.parse_override(override).value()


def is_a_word(text: str) -> bool:
    """Whether Hydra reads this as text where it stands without quotes: no number, truth or null."""
    try:
        return isinstance(PARSER.parse_override(f"key={text}").value(), str)
    except Exception:
        return True


HARD = ["two words", "it's", 'say "so"', "a,b", "[1]", "{a: b}", "(x)", "a=b", "a#b", "a: b", "$x", "${seed}", "~", ""]
HARD += [" a", "a ", "\\'", "a\\b,c", "two\nlines", "a\tb", "\u00a0", "*", "&a", "!x", "%x", "@x", "a|b", "choice(a,b)"]
# Not control characters and line ends: YAML itself folds some of them.
words = st.text(st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"])).filter(is_a_word)


@pytest.mark.parametrize("text", HARD, ids=ascii)
def test_text_of_any_characters_reaches_hydra_unchanged(path: Path, text: str) -> None:
    assert survived(path, text) == text


@pytest.mark.parametrize("text", ["é", "größer", "数据", "٣"], ids=ascii)
def test_text_in_any_script_reaches_hydra_unchanged(path: Path, text: str) -> None:
    assert survived(path, text) == text


@pytest.mark.parametrize("text", ["\\", "a b\\", "a,b\\\\", "'\\"], ids=ascii)
def test_text_that_ends_in_backslashes_reaches_hydra_unchanged(path: Path, text: str) -> None:
    assert survived(path, text) == text


@given(st.text(st.characters(min_codepoint=32, max_codepoint=126, exclude_characters="\\")).filter(is_a_word))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
def test_plain_text_reaches_hydra_unchanged(path: Path, text: str) -> None:
    assert survived(path, text) == text


@given(words)
@example("é")
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
def test_all_text_reaches_hydra_unchanged(path: Path, text: str) -> None:
    assert survived(path, text) == text


@given(
    st.recursive(
        st.integers() | st.booleans() | st.floats(allow_nan=False) | st.none() | st.sampled_from(HARD),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.from_regex("[a-z]+", fullmatch=True), inner),
        max_leaves=6,
    )
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
def test_numbers_lists_and_tables_reach_hydra_unchanged(path: Path, value: Any) -> None:
    assert survived(path, value) == value


def test_a_level_of_hard_text_keeps_its_name_and_its_value(path: Path) -> None:
    (factor,) = study(path, factors={"data.path": HARD}).factors
    assert [level.name for level in factor.levels] == HARD
    assert [PARSER.parse_override(level.overrides[0]).value() for level in factor.levels] == HARD


@pytest.mark.parametrize(
    ("override", "key"),
    [
        ("model/lrn=off", "model/lrn"),
        ("+model.width=1", "model.width"),
        ("++a.b=c=d", "a.b"),
        ("~model/lrn", "model/lrn"),
        ("optim@optim=sgd", "optim"),
    ],
)
def test_an_override_sets_its_key_however_it_is_written(override: str, key: str) -> None:
    assert override_key(override) == key


# --- mistakes ---


@pytest.mark.parametrize("key", NEEDED)
def test_a_missing_key_is_named(path: Path, key: str) -> None:
    assert refused(path, **{key: None}) == f"{key}: missing; needs question, design, factors, seeds"


@pytest.mark.parametrize(("wrong", "meant"), [("qestion", "question"), ("factor", "factors"), ("tunes", "tune")])
def test_a_misspelt_key_is_named_with_the_nearest(path: Path, wrong: str, meant: str) -> None:
    line = refused(path, **{wrong: "x"})
    assert line == f"'{wrong}': no such key. Did you mean '{meant}'? Have: {', '.join(KEYS)}"


HOW_MANY = "allowed: how many, from 1, or a list of different numbers from 0"


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"question": 5}, "question: 5; allowed: a line of text"),
        ({"question": " \n"}, r"question: ' \n'; allowed: a line of text"),
        ({"design": ["pairs"]}, "design: ['pairs']; allowed: a line of text"),
        ({"design": "pair"}, f"design: pair: no such design. Did you mean 'pairs'? Have: {', '.join(DESIGNS)}"),
        ({"order": 5}, "order: 5: no such order. Have: build_up, take_away, both"),
        ({"order": "takeaway"}, "order: takeaway: no such order. Did you mean 'take_away'? Have: build_up, take_away"),
        ({"baseline": ["a=1"]}, "baseline: ['a=1']; allowed: a table of names and values"),
        ({"baseline": {1: 2}}, "baseline: {1: 2}; allowed: a table of names and values"),
        ({"factors": "model/lrn"}, "factors: 'model/lrn'; allowed: a table of names and values"),
        ({"factors": {}}, "factors: none; give at least one with two levels"),
        ({"factors": {"a": 1}}, "factors: a: 1; allowed: a list of levels, or levels with overrides"),
        ({"factors": {"a": []}}, "factors: a: no levels; give the baseline's first, then others"),
        ({"factors": {"a": {}}}, "factors: a: no levels; give the baseline's first, then others"),
        ({"factors": {"a": [1]}}, "factors: give one arm only; a comparison needs at least two levels"),
        ({"factors": {"a": [1, 2, 1]}}, "factors: a: level 1 is given twice"),
        ({"factors": {"a": {"x": "b", "y": "b=1"}}}, "factors: a: x: 'b'; allowed: a list of KEY=VALUE"),
        ({"factors": {"a": {"x": [1], "y": "b=1"}}}, "factors: a: x: 1; allowed: a list of KEY=VALUE"),
        ({"design": "cumulative", "factors": {"a": [1, 2, 3]}}, "factors: a has 3 levels; design=cumulative switches"),
        ({"seeds": 0}, f"seeds: 0; {HOW_MANY}"),
        ({"seeds": -1}, f"seeds: -1; {HOW_MANY}"),
        ({"seeds": 10_001}, f"seeds: 10001; {HOW_MANY}"),
        ({"seeds": True}, f"seeds: True; {HOW_MANY}"),
        ({"seeds": 1.0}, f"seeds: 1.0; {HOW_MANY}"),
        ({"seeds": "3"}, f"seeds: '3'; {HOW_MANY}"),
        ({"seeds": []}, f"seeds: []; {HOW_MANY}"),
        ({"seeds": [0, -1]}, f"seeds: [0, -1]; {HOW_MANY}"),
        ({"seeds": [False]}, f"seeds: [False]; {HOW_MANY}"),
        ({"seeds": [3, 4, 3]}, "seeds: 3 is given twice"),
        ({"tune": 5}, "tune: 5; allowed: a table of names and values"),
        ({"tune": {"key": "a", "level": [1, 2]}}, "tune: level: no such key. Did you mean 'levels'? Have: key, levels"),
        ({"tune": {"key": "a"}}, "tune: {'key': 'a'}; allowed: {key: KEY, levels: [at least two values], seeds: 1}"),
        ({"tune": {"levels": [1, 2]}}, "tune: {'levels': [1, 2]}; allowed: {key: KEY, levels: [at least two"),
        ({"tune": {"key": "a", "levels": [1]}}, "tune: {'key': 'a', 'levels': [1]}; allowed: {key: KEY, levels: [at"),
        ({"tune": {"key": "a", "levels": [1, 2], "seeds": 0}}, f"tune: seeds: 0; {HOW_MANY}"),
        ({"tune": {"key": "a", "levels": [1, 2], "seeds": [1, 1]}}, "tune: seeds: 1 is given twice"),
        ({"claims": "P03"}, "claims: 'P03'; allowed: a table of names and values"),
        ({"claims": {"model/lrn=off": 3}}, "claims: model/lrn=off: 3; allowed: the id of a claim, as P03"),
        (
            {"claims": {"model/lrn=off": ["P03", 3]}},
            "claims: model/lrn=off: 3; allowed: the id of a claim, as P03, or a",
        ),
        (
            {"claims": {"model/lrn=off": "P08"}},
            "claims: model/lrn=off: P08 is about the views of one run; give baseline: P08",
        ),
        ({"claims": {"baseline": "-P08"}}, "claims: baseline: -P08 is about the views of one run; give baseline: P08"),
        (
            {"claims": {"baseline": ["P08", "P03"]}},
            "claims: baseline: P03 compares an arm with the baseline; give it to that arm",
        ),
        (
            {"claims": {"model/lrn=of": "P03"}},
            "claims: model/lrn=of: no arm of that name. Did you mean 'model/lrn=off'? "
            "Have: baseline, model/lrn=off, model/pool=plain",
        ),
    ],
    ids=str,
)
def test_a_mistake_is_one_line_of_file_key_what_was_found_and_what_is_allowed(
    path: Path, changes: dict[str, Any], line: str
) -> None:
    assert refused(path, **changes).startswith(line)


UNFIT = {
    "a key twice": b"question: q\nquestion: r\n",
    "a factor twice": b"factors: {a: [1, 2], a: [3, 4]}\n",
    "a tag that would call a function": b"baseline: !!python/object/apply:os.getcwd []\n",
    "a tag of nobody's": b"baseline: !mine x\n",
    "an open bracket": b"factors: [\n",
    "a tab": b"\tquestion: q\n",
    "two documents": b"a: 1\n---\nb: 2\n",
    "nothing": b"",
    "a word": b"study\n",
    "a list": b"- a\n",
    "a list as a key": b"baseline: {[a]: 1}\n",
    "an unknown alias": b"baseline: *x\n",
    "zeros": b"\x00\x01\x02",
    "not UTF-8": "question: größer".encode("latin-1"),
    "an image": b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR",
    "a thousand brackets": b"factors: " + 1000 * b"[" + 1000 * b"]",
    "a long word": 100_000 * b"x",
}


@pytest.mark.parametrize("content", UNFIT.values(), ids=UNFIT.keys())
def test_what_is_no_study_is_refused_in_one_line(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        read_study(path)
    line_of(path, caught.value)


@pytest.mark.parametrize(
    "value",
    ["2024-13-45", "!!int abc", "!!float x", pytest.param(5000 * "1", id="a number of 5000 digits")],
)
def test_a_value_that_yaml_cannot_make_is_refused_in_one_line(path: Path, value: str) -> None:
    with pytest.raises(ConfigError) as caught:
        study_of(path, f"baseline: {{a: {value}}}")
    line_of(path, caught.value)


@pytest.mark.parametrize("text", ["baseline: {a: &a [*a]}", "baseline: &a {b: *a}"])
def test_a_value_that_holds_itself_is_refused_in_one_line(path: Path, text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        study_of(path, text)
    line_of(path, caught.value)


def test_aliases_of_aliases_are_refused_in_one_line(path: Path) -> None:
    rows = [f"x{n}: &x{n} [{', '.join(10 * [f'*x{n - 1}'])}]" for n in range(1, 10)]
    with pytest.raises(ConfigError) as caught:
        study_of(path, "baseline: {x0: &x0 [a], " + ", ".join(rows) + "}")
    line_of(path, caught.value)


def test_a_factorial_beyond_all_bounds_is_refused_in_one_line(path: Path) -> None:
    assert "factors" in refused(path, design="factorial", factors={f"f{n}": [0, 1] for n in range(40)})


@pytest.mark.parametrize("override", ["=1", " =1"])
def test_a_bundle_without_a_key_is_refused(path: Path, override: str) -> None:
    assert refused(path, factors={"a": {"x": override, "y": "b=1"}}).endswith("allowed: a list of KEY=VALUE")


def test_a_tuned_key_with_one_level_twice_is_refused(path: Path) -> None:
    assert refused(path, tune={"key": "a", "levels": [1, 1]}).startswith("tune: ")


@pytest.mark.parametrize("key", ["optim.learning_rate", "model.width"])
def test_a_tuned_key_that_a_factor_sets_is_refused(path: Path, key: str) -> None:
    factors = {"optim.learning_rate": [0.1, 0.01], "size": {"big": "model.width=1", "small": "model.width=0.1"}}
    assert key in refused(path, factors=factors, tune={"key": key, "levels": [0.1, 0.01]})


def test_a_key_that_two_factors_set_is_refused(path: Path) -> None:
    factors = {"model/lrn": ["on", "off"], "bare": {"no": [], "yes": ["model/lrn=off", "model/pool=plain"]}}
    assert "model/lrn" in refused(path, factors=factors)


@pytest.mark.parametrize("changes", [{"baseline": {"seed": 3}}, {"factors": {"seed": [0, 1]}}], ids=str)
def test_a_seed_beside_the_seeds_is_refused_by_name(path: Path, changes: dict[str, Any]) -> None:
    assert "seed" in refused(path, **changes)


def test_a_file_that_is_not_there_is_refused_with_its_path(path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        read_study(path)
    assert line_of(path, caught.value).startswith("cannot be read (")


# --- names of studies ---


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_study_of_ours_is_found_by_its_name(here: Path) -> None:
    assert find_study("quick") == sweeps_folder() / "quick.yaml"


def test_a_study_below_sweeps_is_found_by_its_name_and_goes_before_ours(here: Path) -> None:
    own = Path("sweeps/quick.yaml")
    own.parent.mkdir()
    own.touch()
    assert find_study("quick") == own


@pytest.mark.parametrize("name", ["ask.yaml", "ask.yml", "studies/ask", "./ask.yaml"])
def test_a_study_is_found_by_its_file(here: Path, name: str) -> None:
    Path("studies").mkdir()
    Path(name).touch()
    assert find_study(name) == Path(name)


def test_an_unknown_study_is_refused_with_the_nearest_and_all_there_are(here: Path) -> None:
    Path("sweeps").mkdir()
    Path("sweeps/depths.yaml").touch()
    with pytest.raises(
        ConfigError, match=r"^study=quik: no such study\. Did you mean 'quick'\? Have: .*depths, .*quick"
    ):
        find_study("quik")


@pytest.mark.parametrize("name", ["ask.yaml", "studies/ask", "."])
def test_a_study_file_that_is_not_there_is_refused_with_those_there_are(here: Path, name: str) -> None:
    with pytest.raises(ConfigError, match=r"^study=.*: no such .*quick"):
        find_study(name)


# --- arms ---

TWO = {"model/lrn": ["on", "off"], "size": {"big": ["model.width=1"], "small": ["model.width=0.1"]}}


@pytest.mark.parametrize("design", DESIGNS)
@pytest.mark.parametrize("order", ["build_up", "take_away", "both"])
def test_the_baseline_is_the_first_arm_of_every_design(path: Path, design: str, order: str) -> None:
    labels = [arm.label for arm in study(path, design=design, order=order, factors=TWO).arms()]
    assert labels[0] == "baseline" and labels.count("baseline") == 1


def test_the_arms_of_a_study_come_as_its_design_has_them(path: Path) -> None:
    labels = [arm.label for arm in study(path, design="factorial", factors=TWO).arms()]
    assert labels == ["baseline", "size=small", "model/lrn=off", "model/lrn=off, size=small"]


def test_an_arm_names_the_level_of_every_factor(path: Path) -> None:
    arm = study(path, factors=TWO).arms()[1]
    assert arm.levels == (("model/lrn", "off"), ("size", "big"))
    assert arm.overrides == ("model/lrn=off", "model.width=1")


def test_what_a_factor_sets_wins_over_the_common_overrides(path: Path) -> None:
    arms = study(
        path, baseline={"model/lrn": "first_only", "model.width": 1}, factors={"model/lrn": ["on", "off"]}
    ).arms()
    assert [arm.overrides for arm in arms] == [("model/lrn=on", "model.width=1"), ("model/lrn=off", "model.width=1")]


def test_extra_overrides_win_over_the_common_ones(path: Path) -> None:
    file = study(path, baseline={"trainer.epochs": 90, "trainer.batch_size": 8})
    arm = file.arms(["trainer.epochs=1", "data.path=x"])[0]
    assert arm.overrides[:3] == ("trainer.epochs=1", "trainer.batch_size=8", "data.path=x")  # in place


def test_the_last_of_two_extra_overrides_of_a_key_counts(path: Path) -> None:
    assert "model.width=0.2" in study(path).arms(["model.width=0.1", "model.width=0.2"])[0].overrides
    assert "model.width=0.1" not in study(path).arms(["model.width=0.1", "model.width=0.2"])[0].overrides


@pytest.mark.parametrize("extra", ["model/lrn=off", "+model/lrn=off", "~model/lrn", "model.width=0.5", "size=big"])
def test_an_extra_override_that_sets_a_factor_is_refused(path: Path, extra: str) -> None:
    with pytest.raises(ConfigError) as caught:
        study(path, factors=TWO).arms(["trainer.epochs=1", extra])
    key = override_key(extra)
    assert str(caught.value) == f"{extra}: {key} is a factor of {path}; leave it out, or change the file"


def test_an_extra_override_that_sets_the_tuned_key_is_refused(path: Path) -> None:
    file = study(path, tune={"key": "optim.learning_rate", "levels": [0.1, 0.01]})
    with pytest.raises(ConfigError, match=r"^optim\.learning_rate=1: optim\.learning_rate is a factor of "):
        file.arms(["optim.learning_rate=1"])


def test_a_tuned_override_takes_the_place_of_those_of_its_key(path: Path) -> None:
    arm = study(path, baseline={"optim.learning_rate": 0.1}).arms()[0]
    assert arm.with_override(None) == arm.overrides
    assert arm.with_override("optim.learning_rate=1") == (*arm.overrides[1:], "optim.learning_rate=1")


def test_other_seeds_change_nothing_else(path: Path) -> None:
    file = study(path)
    other = file.with_seeds([5])
    assert other.seeds == (5,) and other.with_seeds(file.seeds) == file


@given(st.dictionaries(st.from_regex("f[a-z]", fullmatch=True), st.integers(2, 3), min_size=1, max_size=4))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25)
def test_arms_differ_in_their_labels_and_in_their_overrides(path: Path, counts: dict[str, int]) -> None:
    factors = {name: list(range(count)) for name, count in counts.items()}
    arms = study(path, design="factorial", factors=factors).arms()
    assert len({arm.label for arm in arms}) == len({arm.overrides for arm in arms}) == math.prod(counts.values())
