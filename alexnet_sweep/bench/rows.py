"""The rows of the benchmark: each measures its alternatives in turn, and says what it made of them."""

import io
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torchvision.transforms import v2

from alexnet_sweep.assemble import MEMORY_FORMATS, Assembly
from alexnet_sweep.backend import backend
from alexnet_sweep.bench.subjects import (
    Compose,
    Sizes,
    alexnet,
    cifar,
    endless,
    job_on,
    photographs,
    smooth_squares,
    squares,
)
from alexnet_sweep.bench.timing import CLOCKS, Clock, Figure, Row, best, interleaved, ratios, seconds_of
from alexnet_sweep.config import Config
from alexnet_sweep.data.decode import decoded, square
from alexnet_sweep.data.images import KINDS, jpeg_of, open_images
from alexnet_sweep.data.opening import open_source
from alexnet_sweep.model.compiled import compile_norms
from alexnet_sweep.model.norms import ResponseNorm
from alexnet_sweep.model.plan import plan_layers
from alexnet_sweep.predict import predict
from alexnet_sweep.readers import fewest_worth_it

CLASSES = 1000
PASSES = 3  # a step's products, in forward passes: the maps', and back to maps and to weights
NETS_FOR_SMALL_IMAGES = ("cifar10", "cifar10_26pct", "cifar10_11pct")


@dataclass(frozen=True)
class Bench:
    """What every row is given."""

    compose: Compose
    sizes: Sizes
    photos: Path | None = None  # a folder of JPEGs in place of drawn ones
    clock: Clock = CLOCKS["wall"]

    def one_core(self) -> Config:
        return alexnet(self.compose, replace(self.sizes, threads="1"))


def augment(bench: Bench) -> list[Row]:
    """Crop, mirror, colours and mean on stored squares, against a pipeline that starts from each JPEG."""
    sizes, config = bench.sizes, bench.one_core()
    with tempfile.TemporaryDirectory() as name, backend(config.trainer):
        files = [path.read_bytes() for path in photographs(bench.photos, Path(name), sizes)]
        job = job_on(config, squares(sizes.large_batch, sizes.stored_px), CLASSES)
        mean = job.pixels.mean.contiguous()
        pipeline = v2.Compose(
            [
                v2.Resize(sizes.stored_px),
                v2.RandomCrop(sizes.crop_px),
                v2.RandomHorizontalFlip(),
                v2.PILToTensor(),
                v2.ToDtype(torch.float32),
            ]
        )

        def theirs() -> None:
            for content in files:
                with Image.open(io.BytesIO(content)) as image:
                    pixels: Tensor = pipeline(image.convert("RGB"))
                pixels = pixels - mean + (0.1 * torch.randn(3) @ torch.eye(3))[:, None, None]

        def ours() -> None:
            for _ in job.trainer.batches.epoch(0):
                pass

        found = interleaved({"theirs": theirs, "ours": ours}, sizes.rounds, bench.clock)
    rates = {"from JPEG": _rates(found["theirs"], len(files)), "stored": _rates(found["ours"], sizes.large_batch)}
    what = f"crop, mirror, colours, mean, {sizes.stored_px} to {sizes.crop_px} px, one core, against each JPEG by PIL"
    return [Row("augment", what, 8.0, False, ratios(rates["stored"].values, rates["from JPEG"].values), rates)]


def _rates(seconds: list[float], images: int) -> Figure:
    return Figure("images/s", [images / value for value in seconds])


def decode(bench: Bench) -> list[Row]:
    """The packer's decoding and resizing, against PIL decoding at a reduced scale (draft mode) and resizing."""
    sizes, config = bench.sizes, bench.one_core()
    side = sizes.stored_px
    with tempfile.TemporaryDirectory() as name, backend(config.trainer):
        folder, scratch = Path(name) / "photos", Path(name) / "scratch"
        scratch.mkdir()
        files = photographs(bench.photos, Path(name), sizes)
        for split in ("train", "val"):
            for number, path in enumerate(files):
                place = folder / split / ("even", "odd")[number % 2]
                place.mkdir(parents=True, exist_ok=True)
                (place / f"{number:04d}.jpg").write_bytes(path.read_bytes())
        data = replace(config.data, path=str(folder))
        split_of_photos = open_source(data, scratch).train

        def theirs() -> None:
            for path in files:
                with Image.open(path) as image:
                    image.draft("RGB", (side, side))
                    v2.functional.resize(image.convert("RGB"), [side])

        def ours() -> None:
            for image in decoded(split_of_photos, 0, len(files), side):
                square(image, side, data.geometry)

        found = interleaved({"theirs": theirs, "ours": ours}, sizes.rounds, bench.clock)
    rates = {"PIL draft": _rates(found["theirs"], len(files)), "packing": _rates(found["ours"], len(files))}
    what = "decoding while packing, one core, against PIL's draft mode and resize"
    return [Row("decode", what, 1.0, False, ratios(found["theirs"], found["ours"]), rates)]


def lrn(bench: Bench) -> list[Row]:
    """Response normalisation, forth and back, against torch.nn.LocalResponseNorm."""
    sizes = bench.sizes
    config = alexnet(bench.compose, sizes)
    shape = " x ".join(map(str, sizes.maps))
    theirs = nn.LocalResponseNorm(5, 1e-4, 0.75, 2.0)
    rows: dict[str, list[Row]] = {"eager": [], "compiled": []}
    with backend(config.trainer):
        maps = torch.randn(sizes.maps, generator=torch.Generator().manual_seed(0)) * 10
        gradient = torch.randn(sizes.maps, generator=torch.Generator().manual_seed(1))
        expected, seconds = _forth_and_back(theirs, maps, gradient), {}
        alternatives: dict[str, Callable[[], object]] = {
            "torch": lambda: _forth_and_back(theirs, maps, gradient),
        }
        differences, reason = {}, None
        for name, memory_format in MEMORY_FORMATS.items():
            own = (maps.contiguous(memory_format=memory_format), gradient.contiguous(memory_format=memory_format))
            norm = ResponseNorm(5, 2.0, 1e-4, 0.75, alpha_convention="mean", columns=1)
            alternatives[f"eager, {name}"] = lambda norm=norm, own=own: _forth_and_back(norm, *own)  # type: ignore[misc]
            differences[f"eager, {name}"] = _largest_difference(_forth_and_back(norm, *own), expected)
            if name == "channels_last":
                compiled = ResponseNorm(5, 2.0, 1e-4, 0.75, alpha_convention="mean", columns=1)
                reason = compile_norms(compiled, own[0][:2])
                if reason is None:
                    label = f"compiled, {name}"
                    alternatives[label] = lambda norm=compiled, own=own: _forth_and_back(norm, *own)  # type: ignore[misc]
                    differences[label] = _largest_difference(_forth_and_back(compiled, *own), expected)
        seconds = interleaved(alternatives, sizes.rounds, bench.clock)
    torchs = Figure("ms", [1000 * value for value in seconds["torch"]])
    for name, difference in differences.items():
        kind = name.split(",")[0]
        figures = {"torch": torchs, name: Figure("ms", [1000 * value for value in seconds[name]])}
        what = f"LRN forth and back, {shape}, {kind}, against torch's layer"
        must, note = (2.3 if kind == "eager" else 4.0), f"largest difference {difference:.1e}; {name.split(', ')[1]}"
        rows[kind].append(Row(f"lrn {kind}", what, must, False, ratios(seconds["torch"], seconds[name]), figures, note))
    if reason is not None:
        rows["compiled"].append(Row("lrn compiled", "LRN forth and back, compiled", 4.0, False, [], note=reason))
    return [best(rows["eager"]), best(rows["compiled"]) if reason is None else rows["compiled"][0]]


def _forth_and_back(norm: nn.Module, maps: Tensor, gradient: Tensor) -> tuple[Tensor, Tensor]:
    leaf = maps.detach().requires_grad_()
    found = norm(leaf)
    found.backward(gradient)
    assert leaf.grad is not None
    return found.detach(), leaf.grad


def _largest_difference(found: tuple[Tensor, Tensor], expected: tuple[Tensor, Tensor]) -> float:
    return max(float((one - other).abs().max()) for one, other in zip(found, expected, strict=True))


def step(bench: Bench) -> list[Row]:
    """A training step of AlexNet with and without response normalisation, in each memory format, eager and compiled."""
    sizes = bench.sizes
    arms = {
        "off": ["model/lrn=off", "trainer.memory_format=channels_last"],
        "off, contiguous": ["model/lrn=off", "trainer.memory_format=contiguous"],
        "eager": ["trainer.memory_format=channels_last"],
        "eager, contiguous": ["trainer.memory_format=contiguous"],
        "compiled": ["trainer.memory_format=channels_last", "trainer.compile=true"],
    }
    images = squares(sizes.batch, sizes.stored_px)
    with backend(alexnet(bench.compose, sizes).trainer):
        jobs = {name: job_on(alexnet(bench.compose, sizes, *arm), images, CLASSES) for name, arm in arms.items()}
        seconds = interleaved(
            {name: _updating(job) for name, job in jobs.items()}, sizes.rounds, bench.clock, warm_up=2
        )
    milliseconds = {name: Figure("ms", [1000 * value for value in values]) for name, values in seconds.items()}
    what = f"AlexNet step at {sizes.crop_px} px, two_gpu, batch {sizes.batch}, LRN on against off"
    note = _of_two("channels_last", milliseconds["eager"], "contiguous", milliseconds["eager, contiguous"])
    rows = [Row("step eager", what, 1.4, True, ratios(seconds["eager"], seconds["off"]), milliseconds, note)]
    compiled = jobs["compiled"].compiled
    found = ratios(seconds["compiled"], seconds["off"]) if compiled else []
    figures = {name: milliseconds[name] for name in ("off", "compiled")}
    note = "" if compiled else "not compiled; the log says why"
    return [*rows, Row("step compiled", f"{what}, compiled", 1.15, True, found, figures, note)]


def _of_two(one: str, own: Figure, other: str, others: Figure) -> str:
    better, worse = (one, other) if own.median <= others.median else (other, one)
    share = max(own.median, others.median) / min(own.median, others.median)
    return f"best: {better}, {share:.2f} times as fast as {worse}"


def _updating(job: Assembly) -> Callable[[], object]:
    """One update after the other, on tensors that are in memory."""
    inputs, labels = next(iter(job.trainer.batches.epoch(0)))
    job.trainer.net.train()
    return lambda: job.trainer.update(inputs, labels)


def store(bench: Bench) -> list[Row]:
    """Steps fed from packed stores on disk, read ahead or not, against the same updates on tensors in memory."""
    sizes = bench.sizes
    config = alexnet(bench.compose, sizes)
    count = sizes.batch * sizes.steps
    with tempfile.TemporaryDirectory() as name, backend(config.trainer):
        squared = squares(count, sizes.stored_px)
        np.save(Path(name) / "raw.images.npy", squared)
        coded = [jpeg_of(pixels) for pixels in smooth_squares(count, sizes.stored_px)]
        (Path(name) / "jpeg.images.jpeg").write_bytes(b"".join(coded))
        np.save(Path(name) / "jpeg.ends.npy", np.cumsum([len(content) for content in coded]))
        jobs = {}
        for kind in KINDS:
            for workers in (0, 1):
                job = job_on(config, open_images(Path(name), kind), CLASSES)
                job.trainer.batches.reader.workers = workers
                jobs[f"{kind}, {workers} ahead"] = job
        memory = _updating(jobs["raw, 0 ahead"])
        steps = {label: endless(job) for label, job in jobs.items()}
        found = interleaved(
            {
                "in memory": lambda: [memory() for _ in range(sizes.steps)],
                **{label: partial(_take, taken, sizes.steps) for label, taken in steps.items()},
            },
            sizes.rounds,
            bench.clock,
        )
    what = f"an epoch at {sizes.crop_px} px from the packed store, against the same updates on tensors in memory"
    rates = {label: _rates(seconds, count) for label, seconds in found.items()}
    best_of = {}
    for kind in KINDS:
        own = [label for label in jobs if label.startswith(kind)]
        best_of[kind] = own[fewest_worth_it({place: 1 / rates[label].median for place, label in enumerate(own)})]
    note = f"best: {best_of['raw']}; {best_of['jpeg']}"
    return [Row("store", what, 0.95, False, ratios(found["in memory"], found[best_of["raw"]]), rates, note)]


def _take(steps: Iterator[int], count: int) -> None:
    for _ in range(count):
        next(steps)


def peak(bench: Bench) -> list[Row]:
    """Share of the machine's rate of fp32 matrix products that a step without normalisation reaches."""
    sizes, rows = bench.sizes, []
    images = squares(sizes.large_batch, sizes.stored_px)
    one, other = (torch.randn(sizes.product_side, sizes.product_side) for _ in range(2))
    for topology, must in (("dense", 0.70), ("two_gpu", 0.60)):
        tried: list[Row] = []
        overrides = ("model/lrn=off", f"model/topology={topology}")
        config = alexnet(bench.compose, sizes, *overrides, batch=sizes.large_batch)
        layers = plan_layers(config.model, config.data.crop_px, CLASSES)
        passes = [layer.multiply_accumulates for layer in layers]
        first = next(count for count in passes if count)  # no gradient goes back to its input, the images
        products = sizes.large_batch * (PASSES * sum(passes) - first)
        with backend(config.trainer):
            chosen = {
                name: alexnet(
                    bench.compose, sizes, *overrides, f"trainer.memory_format={name}", batch=sizes.large_batch
                )
                for name in MEMORY_FORMATS
            }
            updates = {name: _updating(job_on(choice, images, CLASSES)) for name, choice in chosen.items()}
            for update in updates.values():
                update()
            one @ other
            shares: dict[str, list[float]] = {name: [] for name in updates}
            times: dict[str, list[float]] = {name: [] for name in updates}
            rates = []
            for _ in range(sizes.rounds):
                for name, update in updates.items():
                    before = seconds_of(lambda: one @ other, bench.clock)
                    times[name].append(seconds_of(update, bench.clock))
                    of_two_products = before + seconds_of(lambda: one @ other, bench.clock)
                    rate = 2 * sizes.product_side**3 / of_two_products
                    rates.append(2e-9 * rate)
                    shares[name].append(products / times[name][-1] / rate)
        for name, found in shares.items():
            what = f"share of the fp32 matrix-product rate, {topology}, LRN off, batch {sizes.large_batch}"
            figures = {"step": Figure("ms", [1000 * value for value in times[name]]), "products": Figure("GF/s", rates)}
            tried.append(Row(f"peak {topology}", what, must, False, found, figures, f"best of the formats: {name}"))
        rows.append(best(tried))
    return rows


def small(bench: Bench) -> list[Row]:
    """Share of a step that is spent outside of the network, its loss and its update, for the nets on small images."""
    rows, sizes = [], bench.sizes
    for experiment in NETS_FOR_SMALL_IMAGES:
        config = cifar(bench.compose, sizes, experiment)
        count = config.trainer.batch_size * 8
        with backend(config.trainer):
            job = job_on(config, squares(count, config.data.stored_px), 10)
            inside, one = _timed_updates(job, bench.clock), partial(next, endless(job))
            for _ in range(3):
                one()
            inside.clear()
            whole = [seconds_of(one, bench.clock) for _ in range(sizes.rounds * 4)]
        what = f"share of a step outside the network, {experiment}, batch {config.trainer.batch_size}"
        shares = [1 - update / step for update, step in zip(inside, whole, strict=True)]
        figures = {
            "step": Figure("ms", [1000 * value for value in whole]),
            "network": Figure("ms", [1000 * value for value in inside]),
        }
        rows.append(Row(f"small {experiment}", what, 0.05, True, shares, figures))
    return rows


def _timed_updates(job: Assembly, clock: Clock) -> list[float]:
    """The seconds of every update that the trainer makes from now on."""
    found: list[float] = []
    update = job.trainer.update

    def timed(inputs: Tensor, targets: Tensor, weight: float = 1.0) -> tuple[Tensor, Tensor]:
        answers = []
        found.append(seconds_of(lambda: answers.append(update(inputs, targets, weight)), clock))
        return answers[0]

    job.trainer.update = timed  # type: ignore[method-assign]
    return found


def views(bench: Bench) -> list[Row]:
    """Evaluation by ten views, against ten times that by the centre view."""
    sizes = bench.sizes
    config = alexnet(bench.compose, sizes)
    images = squares(sizes.batch, sizes.stored_px)
    with backend(config.trainer):
        job = job_on(config, images, CLASSES)

        def evaluated(all_views: bool) -> None:
            predict(
                job.trainer.evaluated,
                job.trainer.answer,
                images,
                np.arange(len(images)),
                pixels=job.pixels,
                config=config.eval,
                all_views=all_views,
                device=job.device,
            )

        found = interleaved(
            {"centre": lambda: evaluated(False), "ten": lambda: evaluated(True)}, sizes.rounds, bench.clock
        )
    figures = {name: Figure("ms", [1000 * value for value in values]) for name, values in found.items()}
    what = f"ten views of {sizes.batch} images at {sizes.crop_px} px, against ten times the centre view"
    return [Row("views", what, 1.05, True, [value / 10 for value in ratios(found["ten"], found["centre"])], figures)]


ROWS: dict[str, Callable[[Bench], list[Row]]] = {
    "augment": augment,
    "decode": decode,
    "lrn": lrn,
    "step": step,
    "store": store,
    "peak": peak,
    "small": small,
    "views": views,
}
