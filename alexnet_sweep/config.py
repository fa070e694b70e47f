"""The schema of the composed config: which keys exist, their types and what they mean.

Values live in `conf/`; here nearly every field is `MISSING`, so that a default has one home. Strings
that name a choice carry their choices in the field's metadata, and `alexnet_sweep.checks` refuses the rest.
Errors are fractions in [0, 1]; sizes of images are in pixels.
"""

import dataclasses
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from omegaconf import MISSING


def choice(*allowed: str) -> Any:
    """A string field that takes one of `allowed`."""
    return field(default=MISSING, metadata={"choices": allowed})


def between(low: float, high: float = math.inf, *, open_high: bool = False) -> Any:
    """A number field (or list of numbers) with bounds: low <= value <= high (< high if `open_high`)."""
    return field(default=MISSING, metadata={"low": low, "high": high, "open_high": open_high})


# Something of one's own in place of ours: {_target_: dotted.path, …arguments}; see `alexnet_sweep.plugins`.
Custom = Any  # a table, or null


@dataclass
class NetConfig:
    """Which network: AlexNet, or one of cuda-convnet's for CIFAR-10 (the paper's footnote to §3.3)."""

    custom: Custom = None  # called with classes= and crop_px=; gives the whole network

    name: str = choice("alexnet", "conv_pool", "conv_local")
    hidden_units: int | None = between(1)  # conv_pool: a hidden fully connected layer before the last; null: none


@dataclass
class StemConfig:
    """The first convolution. All three null: chosen from the crop's size (model/stem=auto)."""

    kernel: int | None = between(1)
    stride: int | None = between(1)
    padding: list[int] | None = between(0)  # left, right, top, bottom; zeros after mean subtraction


@dataclass
class TopologyConfig:
    """Widths and grouping at full size (paper §3.2, §3.5); `model.width` scales the widths."""

    kernels: list[int] = between(1)  # conv1 … conv5
    groups: list[int] = between(1)  # conv1 … conv5
    fc_widths: list[int] = between(1)  # fc6, fc7
    fc_groups: list[int] = between(1)  # fc6, fc7
    columns: int = between(1)  # GPUs of the original: normalisation never crosses from one to the next


@dataclass
class DepthConfig:
    """Which convolution is missing, whether there is a sixth (paper §1, §7 and Table 2)."""

    removed_conv: int | None = between(2, 5)
    sixth_conv: bool = MISSING


@dataclass
class LrnConfig:
    """Local response normalisation (paper §3.3)."""

    custom: Custom = None  # called with the number of channels; gives the normaliser after conv1 and conv2
    kind: str = choice("across_maps", "within_map")  # of the first and the second: over channels, or over pixels
    first: bool = MISSING  # after conv1
    second: bool = MISSING  # after conv2
    within_map: bool = MISSING  # a third normaliser, over neighbouring pixels, after the second (released code only)
    size: int = between(1)  # n, channels in the window; within_map: the window's side in pixels
    k: float = between(0)
    alpha: float = between(0)
    beta: float = between(0)
    alpha_convention: str = choice("mean", "sum")  # mean: alpha / window times the sum (as run); sum: as printed
    per_column: bool = MISSING  # the window stays inside one GPU's maps (as run)
    first_position: str = choice("after_activation", "before_activation", "after_pool")
    second_position: str = choice("after_activation", "before_activation", "after_pool")
    within_map_size: int = between(1)  # side of the square window, pixels
    within_map_alpha: float = between(0)  # divided by the window's pixels, as in the released code


@dataclass
class PoolConfig:
    """Max pooling after conv1, conv2 and conv5 (paper §3.4), and the paddings that go with its sizes."""

    custom: Custom = None  # called with size, stride and ceil_mode=; gives another kind of pooling
    size: int = between(1)
    stride: int = between(1)
    ceil: bool = MISSING  # the last window may hang over the edge
    conv2_padding: int = between(0)
    conv5_padding: int = between(0)


@dataclass
class ActivationConfig:
    """The non-linearity (paper §3.1)."""

    custom: Custom = None  # called with nothing; gives the module
    name: str = choice("relu", "tanh", "scaled_tanh")


@dataclass
class InitConfig:
    """Initial weights (paper §5): zero-mean normal, one standard deviation a layer."""

    rule: str = choice("normal", "he", "fan_in")  # fan_in: uniform, as PyTorch's layers start by themselves
    std: dict[str, float] = between(0)  # by layer: conv1 … conv6, fc6 … (rule normal)
    follow_input: bool = MISSING  # conv1's std times what inputs are divided by: the same function at step 0
    keep_gain: bool = MISSING  # std · sqrt(fan-in at full size / fan-in here): small nets start as the big one does


@dataclass
class BiasConfig:
    """Initial bias of conv2, conv4, conv5, fc6 and fc7 (paper §5) and of a sixth convolution; the others start at 0.

    In cuda-convnet's nets, whose own biases all start at 0: of the layers between the first and the last.
    """

    value: float = MISSING


@dataclass
class ModelConfig:
    width: float = between(1e-3)  # multiplies every kernel count and fc width
    local3_width: int = between(1)  # kernels of conv_local's third layer (32 in the 13 % net, 64 in the 11 % one)
    net: NetConfig = field(default_factory=NetConfig)
    stem: StemConfig = field(default_factory=StemConfig)
    topology: TopologyConfig = field(default_factory=TopologyConfig)
    depth: DepthConfig = field(default_factory=DepthConfig)
    lrn: LrnConfig = field(default_factory=LrnConfig)
    pool: PoolConfig = field(default_factory=PoolConfig)
    activation: ActivationConfig = field(default_factory=ActivationConfig)
    init: InitConfig = field(default_factory=InitConfig)
    bias: BiasConfig = field(default_factory=BiasConfig)


@dataclass
class CropConfig:
    """Training crops (paper §4.1): at random offsets, or always the centre."""

    random: bool = MISSING
    chunk: int = between(1)  # consecutive images of an epoch that share one crop and one flip
    area: list[float] | None = between(0, 1)  # least and largest share of the image; null: always data.crop_px wide
    aspect: list[float] | None = between(0.1, 10)  # of such a crop: least and largest width over height


@dataclass
class FlipConfig:
    """Horizontal reflections in training (paper §4.1)."""

    probability: float = between(0, 1)


@dataclass
class LightingConfig:
    """Colour noise along the eigenvectors of the training set's RGB covariance (paper §4.1)."""

    coefficient: float = between(0)  # standard deviation of the random factor; 0 switches the noise off
    scale: str = choice("sqrt_eigenvalue", "eigenvalue")  # as run; as printed (on the [0, 1] scale)
    divide: bool = MISSING  # training images divided by 1 + coefficient, as run
    colours: str = choice("dataset", "copied")  # of the training set, or the constants that most copies carry
    stop_fraction: float = between(0, 1)  # of training; from there on neither noise nor division


@dataclass
class TransformConfig:
    """A further transform of each training image, after crop and mirror. Not in the paper."""

    custom: Custom = None  # called with nothing; gives a transform of uint8 (3, height, width) images


@dataclass
class MixConfig:
    """Training images and labels mixed within a batch. Not in the paper."""

    custom: Custom = None  # called with num_classes=; gives a transform of (inputs, labels)


@dataclass
class AugConfig:
    crop: CropConfig = field(default_factory=CropConfig)
    flip: FlipConfig = field(default_factory=FlipConfig)
    lighting: LightingConfig = field(default_factory=LightingConfig)
    transform: TransformConfig = field(default_factory=TransformConfig)
    mix: MixConfig = field(default_factory=MixConfig)


@dataclass
class DropoutConfig:
    """Dropout on the outputs of fc6 and fc7 (paper §4.2)."""

    rate: float = between(0, 1, open_high=True)
    form: str = choice("paper", "inverted")  # mask only, halved at test; scaled up in training


@dataclass
class WeightDecayConfig:
    """Weight decay (paper §5), on weights; the released code leaves biases alone."""

    weights: float = between(0)
    biases: float = between(0)
    layers: dict[str, float] = between(0)  # weights of single layers, in place of `weights`


@dataclass
class LabelSmoothingConfig:
    """Training targets moved towards uniform (arXiv 1512.00567). Not in the paper."""

    amount: float = between(0, 1, open_high=True)


@dataclass
class EmaConfig:
    """Evaluation by a running average of the weights. Not in the paper."""

    decay: float | None = between(0, 1, open_high=True)  # a step; null: the weights themselves


@dataclass
class BestEpochConfig:
    """The weights of which epoch are evaluated. In the paper the last one's."""

    kept: bool = MISSING  # those of the lowest held-out top-1 error, the first of equals


@dataclass
class RegularizerConfig:
    dropout: DropoutConfig = field(default_factory=DropoutConfig)
    weight_decay: WeightDecayConfig = field(default_factory=WeightDecayConfig)
    label_smoothing: LabelSmoothingConfig = field(default_factory=LabelSmoothingConfig)
    ema: EmaConfig = field(default_factory=EmaConfig)
    best_epoch: BestEpochConfig = field(default_factory=BestEpochConfig)


@dataclass
class OptimConfig:
    """The update rule (paper §5)."""

    custom: Custom = None  # called with parameter groups and lr=; gives a torch optimiser
    name: str = choice("sgd", "adam", "adamw")
    learning_rate: float = between(0)
    bias_learning_rate_factor: float = between(0)
    momentum: float = between(0, 1, open_high=True)
    velocity: str = choice("paper", "torch")  # learning rate inside the velocity, or applied to it


@dataclass
class ScheduleConfig:
    """How the learning rate falls (paper §5)."""

    custom: Custom = None  # called with the epoch and the total; gives the factor of the full rate
    name: str = choice("constant", "fractions", "plateau", "multistep", "cosine")
    drop_factor: float = between(0, 1)  # the learning rate is multiplied by this at each drop
    drop_fractions: list[float] = between(0, 1)  # fractions: where in training
    drop_epochs: list[int] = between(1)  # multistep: after which epochs
    drop_biases: bool = MISSING  # false: the rate of biases stays, as in the released code
    conv1_drop_fraction: float | None = between(0, 1)  # where in training conv1's rate falls to a thousandth
    conv1_freeze_fraction: float | None = between(0, 1)  # where it falls to zero
    max_drops: int = between(0)  # plateau
    patience_epochs: int = between(1)  # plateau: epochs without a better held-out top-1 error
    heldout_joins_fraction: float | None = between(0, 1)  # where in training the held-out part is trained on too


@dataclass
class DataConfig:
    """Where images come from and the size they are stored at."""

    custom: Custom = None  # called with nothing; gives content_id() and open(scratch), see data.source.CustomData
    name: str = MISSING
    # `synsets` (ImageNet's), `idx` and `cifar10` are original layouts of data.path; all else is read by `datasets`.
    source: str = choice("digits", "synthetic", "datasets", "synsets", "idx", "cifar10", "custom")
    path: str | None = MISSING  # local folder; when null, the hub name
    hub: str | None = MISSING
    hub_config: str | None = MISSING
    revision: str | None = MISSING  # a hub commit: a branch name would move under the results
    image_column: str = MISSING
    label_column: str = MISSING
    train_split: str = MISSING
    test_split: str | None = MISSING  # null: the first of validation, valid, val, test
    test_fraction: float | None = between(0, 1, open_high=True)  # taken from train where no test split exists
    geometry: str = choice("central_square", "warp_256")  # shorter side, then the centre; or squeezed (Caffe's 256x256)
    stored_px: int = between(4)  # images are stored as squares of this side
    crop_px: int = between(4)  # side of the training crops and of the views
    store: str = choice("raw", "jpeg")  # how: pixels as they are, or as JPEGs, a sixth of the room at 256 px
    skip_bad: bool = MISSING  # leave out images that cannot be read, instead of stopping
    heldout_fraction: float = between(0, 1, open_high=True)  # of train, for schedules and choices
    input_divisor: float = between(1e-6)  # inputs are (pixel - mean) / divisor; 1 as in the paper


@dataclass
class InputsConfig:
    """The network's inputs, of pixels from 0 to 255: (pixels - mean) / deviation / data.input_divisor (paper §2)."""

    mean: list[float] | None = between(0, 255)  # by channel; null: the training set's mean image
    deviation: list[float] | None = between(1e-6)  # by channel; null: 1


@dataclass
class EvalConfig:
    """Evaluation by the centre view and by ten views (paper §4.1)."""

    average: str = choice("probabilities", "logits")  # what is averaged over the views
    mirrored_views: bool = MISSING  # false: five views, where a mirrored image is another thing (digits)
    batch_size: int = between(1)  # views in one forward pass
    keep_classes: int = between(5)  # predictions hold the probabilities of all classes where these are no more
    metrics: dict[str, Any] = MISSING  # by name, a Custom called with probabilities and labels; gives a number
    clean_train_images: int = between(0)  # training images evaluated without augmentation, each epoch


@dataclass
class TrainerConfig:
    epochs: int = between(1)
    batch_size: int = between(1)
    processes: int = between(1)  # that train a run together, each on its part of every batch
    device: str = choice("auto", "cpu", "cuda", "mps")
    precision: str = choice("auto", "fp32", "bf16", "fp16")
    cpu_threads: str = MISSING  # auto (the cores this process may use), or a number
    workers: str = MISSING  # batches read ahead, each by a thread: auto (tried as a run starts), or a number
    hold_images: str = choice("auto", "always", "never")  # the data set as pixels on the device
    memory_format: str = choice("auto", "contiguous", "channels_last")  # how maps and kernels lie in memory
    compile: bool = MISSING  # response normalisation by a compiled function, where there is a compiler
    tf32: bool = MISSING  # fp32 products on a GPU in TensorFloat-32: faster, with 10 bits of mantissa
    clip_grad_norm: float | None = between(0)
    threshold_train_error: float = between(0, 1)  # the first step at which training gets there is recorded
    threshold_images: int = between(1)  # over how many training images, as trained
    stuck_after_steps: int = between(50)  # a loss still at ln(classes) then is told of
    stop_if_stuck: bool = MISSING  # and ends the run as failed
    deterministic: bool = MISSING
    progress: bool = MISSING  # a bar on a terminal; a line an epoch otherwise


@dataclass
class CheckpointConfig:
    every_epochs: int = between(1)
    every_minutes: float = between(0)
    keep: str = choice("weights", "full", "none")  # what stays once a run is done


@dataclass
class SweepConfig:
    stale: str = choice("stop", "keep", "retrain")  # results of older training code
    retrain: str | None = MISSING  # failed, or a run id: train again
    retries: int = between(0)  # further attempts at a failed run
    on_failure: str = choice("continue", "stop")
    isolation: str = choice("none", "process")  # a process of its own for each run
    at_once: int | None = between(1)  # runs at the same time, with a parallel launcher; null: as many as fit
    runs_per_gpu: int = between(1)
    wait: bool = MISSING  # false: submit to the cluster's queue, and return
    cancel: bool = MISSING  # cancel what this study has in a cluster's queue, and do nothing else
    max_runs: int = between(1)
    check_disk: bool = MISSING  # refuse to start what will not fit the disk, by an estimate


@dataclass
class ReportConfig:
    allow_mixed: bool = MISSING  # compare runs that differ in what no factor switches: data, length, schedule, sources
    ensembles: bool = MISSING  # average the probabilities of each arm's networks


@dataclass
class PathsConfig:
    runs: str = MISSING
    reports: str = MISSING
    store: str = MISSING  # packed data sets


@dataclass
class Config:
    """The whole config of one run."""

    study: str | None = MISSING  # with -m: a study file, or the name of one in sweeps/
    seed: int = between(0)
    init_from: str | None = MISSING  # a run (its id or folder) whose weights training starts from
    model: ModelConfig = field(default_factory=ModelConfig)
    aug: AugConfig = field(default_factory=AugConfig)
    regularizer: RegularizerConfig = field(default_factory=RegularizerConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    data: DataConfig = field(default_factory=DataConfig)
    inputs: InputsConfig = field(default_factory=InputsConfig)
    eval: EvalConfig = field(default_factory=EvalConfig)
    trainer: TrainerConfig = field(default_factory=TrainerConfig)
    checkpoint: CheckpointConfig = field(default_factory=CheckpointConfig)
    sweep: SweepConfig = field(default_factory=SweepConfig)
    report: ReportConfig = field(default_factory=ReportConfig)
    paths: PathsConfig = field(default_factory=PathsConfig)


def register_schema() -> None:
    """Make the schema known to Hydra as `schema`, the first entry of the defaults list."""
    from hydra.core.config_store import ConfigStore

    ConfigStore.instance().store(name="schema", node=Config, provider="alexnet_sweep")


def leaves(node: Any, prefix: str = "") -> Iterator[tuple[str, dataclasses.Field[Any], Any]]:
    """Every leaf of a config dataclass as (dotted key, field, value)."""
    for item in dataclasses.fields(node):
        value = getattr(node, item.name)
        if dataclasses.is_dataclass(value):
            yield from leaves(value, f"{prefix}{item.name}.")
        else:
            yield f"{prefix}{item.name}", item, value
