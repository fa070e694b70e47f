"""A report's section on the first layers of its runs: read from their weights, by arm, beside a control."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from safetensors.numpy import save_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from alexnet_sweep.kernels import Kernels, colour_of
from alexnet_sweep.report.document import Paragraph
from alexnet_sweep.report.first_layer import FirstLayer, words
from alexnet_sweep.report.write import write_report
from alexnet_sweep.store import RunFolder
from hand_made import Run, make_study, wrong

TOPOLOGIES: dict[str, dict[str, str]] = {
    "base": {"model/topology": "two_gpu"},
    "dense": {"model/topology": "dense"},
}
NAMES = {(arm, seed): f"{number:012x}" for number, (arm, seed) in enumerate((a, s) for a in TOPOLOGIES for s in (0, 1))}


def half(colour: float, count: int, seed: int) -> NDArray[np.float32]:
    """Kernels (count, 3, 4, 4), each with this share of its energy off the grey axis."""
    rng = np.random.default_rng(seed)
    grey, beside = rng.normal(size=(count, 1, 4, 4)), rng.normal(size=(count, 3, 4, 4))
    grey = np.repeat(grey, 3, axis=1)
    beside -= beside.mean(axis=1, keepdims=True)
    for part in (grey, beside):
        part /= np.sqrt(np.square(part).sum(axis=(1, 2, 3), keepdims=True))
    return (np.sqrt(1 - colour) * grey + np.sqrt(colour) * beside).astype(np.float32)


def made(runs: Path, halves: Mapping[tuple[str, int], Sequence[float] | None]) -> None:
    """A finished study whose first layers have these colours in their halves; None: weights were not kept."""
    columns = {"base": 2, "dense": 1}
    make_study(
        runs,
        {(arm, seed): _run(columns[arm]) for arm, seed in NAMES},
        TOPOLOGIES,
    )
    for number, (key, name) in enumerate(NAMES.items()):
        colours = halves[key]
        if colours is not None:
            weights = np.concatenate([half(colour, 6, 7 * number + place) for place, colour in enumerate(colours)])
            save_file({"conv1.weight": weights}, RunFolder(runs / name).weights)


def _run(columns: int) -> Run:
    return wrong("0106", config={"model.topology": {"columns": columns}})


SPLIT = {("base", 0): (0.1, 0.7), ("base", 1): (0.8, 0.2), ("dense", 0): (0.5, 0.5), ("dense", 1): (0.4, 0.4)}


def test_the_kernels_made_for_these_tests_have_the_colour_they_should() -> None:
    np.testing.assert_allclose(colour_of(half(0.3, 5, 0)), 0.3, atol=1e-6)


def test_two_gpus_and_their_control_are_told_apart(tmp_path: Path) -> None:
    made(tmp_path / "runs", SPLIT)
    report = write_report("hand", tmp_path / "runs", tmp_path / "reports")
    folder = tmp_path / "reports/hand"
    table = pd.read_csv(folder / "kernels.csv", dtype={"run_id": str})
    assert list(table["run_id"]) == list(NAMES.values()) and list(table["columns"]) == [2, 2, 1, 1]
    np.testing.assert_allclose(table["first"], [0.1, 0.8, 0.5, 0.4], atol=1e-6)
    np.testing.assert_allclose(table["difference"], [0.6, 0.6, 0, 0], atol=1e-6)
    assert (table["p"][:2] < 0.01).all() and (table["p"][2:] > 0.5).all()
    rows = [
        [cell.strip() for cell in line.split("|")[1:-1]]
        for line in report.text.split("## Kernels of the first layer")[1].split("\n## ")[0].splitlines()
        if line.startswith("| ")
    ]
    # The GPUs have changed places from one seed to the next: differences are averaged, not halves.
    assert rows[1][:6] == ["model/topology=two_gpu", "two GPUs", "2", "12", "0.450", "0.600"] and rows[1][7] == "2 of 2"
    assert rows[2][:3] == ["model/topology=dense", "control", "2"] and rows[2][5] == "0.000" and rows[2][7] == "0 of 2"
    assert "of the control differ by 0.000" in report.text and "in 0 of 2 runs of 2 seeds" in report.text
    assert "two GPUs differ more in 2 of 2 seeds with both, too few for a p below 0.05, which takes 6." in report.text
    assert f"Kernels of conv1 of run {NAMES['base', 0]}" in report.text and "GPU 1 above GPU 2" in report.text
    page = (folder / "report.html").read_text()
    assert page.count("data:image/png;base64,") == 2 and (folder / "kernels.png").is_file()


def layers(differences: Mapping[int, float], columns: int, arms: int = 1) -> list[FirstLayer]:
    """A run a seed and arm, whose halves differ by so much in colour; all arms of a seed have the same kernels."""
    kernels = {
        seed: np.concatenate([half(colour, 6, seed) for colour in (0.1, 0.1 + apart)])
        for seed, apart in differences.items()
    }
    return [
        FirstLayer(f"{columns}-{arm}-{seed}", f"arm {arm}", seed, Kernels("conv1", kernels[seed], columns))
        for arm in range(arms)
        for seed in differences
    ]


def against_control(shown: Sequence[FirstLayer]) -> str:
    """What the summary says of two GPUs beside their control."""
    summary = words(shown)[0]
    assert isinstance(summary, Paragraph)
    return summary.text.rpartition("; ")[2]


def two_and_control(seeds: int, arms: int = 1) -> list[FirstLayer]:
    """Two GPUs whose halves are apart, every seed by another colour, and a control whose halves hardly are."""
    apart = {seed: 0.3 + 0.02 * seed for seed in range(seeds)}
    return [*layers(apart, 2, arms), *layers({seed: 0.001 * (seed + 1) for seed in apart}, 1)]


@pytest.mark.parametrize("seeds", [1, 3, 6, 8])
def test_the_same_kernels_in_more_arms_are_no_more_evidence(seeds: int) -> None:
    one = against_control(two_and_control(seeds))
    assert one == against_control(two_and_control(seeds, arms=14))
    if seeds < 6:
        assert one.startswith(f"two GPUs differ more in {seeds} of {seeds} seed")
        assert one.endswith(" with both, too few for a p below 0.05, which takes 6.")
    else:  # all of them one way: 2 of the 2^n ways that the signs could fall
        told = f"p = {2 / 2**seeds:.3f} (exact signed-rank test of {seeds} seeds, each the mean of its runs)."
        assert one.endswith(told)


def test_seeds_that_differ_one_way_and_the_other_show_nothing() -> None:
    further = {1: 0.02, 2: -0.04, 3: 0.06, 4: -0.08, 5: 0.10, 6: -0.12}
    shown = [*layers({seed: 0.3 + more for seed, more in further.items()}, 2), *layers(dict.fromkeys(further, 0.3), 1)]
    # Ranks 1, 3 and 5 against 2, 4 and 6, sums 9 and 12. Of the 64 ways that signs could fall, 27 have 9 or less.
    assert against_control(shown) == (
        "two GPUs differ more in 3 of 6 seeds with both: p = 0.844 "
        "(exact signed-rank test of 6 seeds, each the mean of its runs)."
    )


def test_other_seeds_alone_are_not_compared() -> None:
    shown = [*layers({0: 0.3, 1: 0.4}, 2), *layers({2: 0.1}, 1)]
    assert against_control(shown) == "no seed has runs of both."
    assert against_control([*shown, *layers({1: 0.1}, 1)]).startswith("two GPUs differ more in 1 of 1 seed with both,")


def test_weights_that_were_not_kept_are_told_of_in_a_line(tmp_path: Path) -> None:
    made(tmp_path / "runs", SPLIT | {("base", 0): None, ("dense", 1): None})
    report = write_report("hand", tmp_path / "runs", tmp_path / "reports")
    assert "Not shown: 2 runs (weights not kept)." in report.text
    assert f"Kernels of conv1 of run {NAMES['base', 1]}" in report.text  # the baseline's first that has its own
    for name in NAMES.values():
        RunFolder(tmp_path / "runs" / name).weights.unlink(missing_ok=True)
    report = write_report("hand", tmp_path / "runs", tmp_path / "reports")
    section = report.text.split("## Kernels of the first layer\n\n")[1].split("\n\n## ")[0]
    assert section == "Not shown: 4 runs (weights not kept)."
    assert not list((tmp_path / "reports/hand").glob("kernels.*"))  # those of the earlier report are gone


def test_weights_that_cannot_be_read_stop_no_report(tmp_path: Path) -> None:
    made(tmp_path / "runs", SPLIT)
    RunFolder(tmp_path / "runs" / NAMES["dense", 0]).weights.write_bytes(b"{")
    report = write_report("hand", tmp_path / "runs", tmp_path / "reports")
    assert "Not shown: 1 run (weights cannot be read)." in report.text


def test_tensorboard_shows_the_kernels(tmp_path: Path) -> None:
    made(tmp_path / "runs", SPLIT)
    write_report("hand", tmp_path / "runs", tmp_path / "reports")
    folder = tmp_path / "reports/hand"
    events = EventAccumulator(str(folder / "tensorboard"))
    events.Reload()
    (event,) = events.Tensors("kernels")
    assert event.tensor_proto.string_val[2] == (folder / "kernels.png").read_bytes()
