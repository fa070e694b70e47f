"""Golden tables of the layers: the paper's net, its comparisons, and every depth (paper §1, §3.2, §3.5)."""

import dataclasses

import pytest
from hydra import compose
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from alexnet_sweep.config import StemConfig
from alexnet_sweep.errors import ConfigError
from alexnet_sweep.model.plan import fitted_stem, full_size, plan_layers

FULL = ("model.width=1", "data.stored_px=256", "data.crop_px=224")
NAMES = ["conv1", "conv2", "conv3", "conv4", "conv5", "fc6", "fc7", "fc8"]
FC = [(37_752_832, 37_748_736), (16_781_312, 16_777_216), (4_097_000, 4_096_000)]

# Parameters and multiply-accumulates of each layer, then of the whole net.
GOLDEN = {
    "two_gpu": (
        [
            (34_944, 105_415_200),
            (307_456, 223_948_800),
            (885_120, 149_520_384),
            (663_936, 112_140_288),
            (442_624, 74_760_192),
            *FC,
        ],
        (60_965_224, 724_406_816),
    ),
    "dense": (
        [
            (34_944, 105_415_200),
            (614_656, 447_897_600),
            (885_120, 149_520_384),
            (1_327_488, 224_280_576),
            (884_992, 149_520_384),
            *FC,
        ],
        (62_378_344, 1_135_256_096),
    ),
    "one_gpu_half": (
        [
            (17_472, 52_707_600),
            (153_728, 111_974_400),
            (221_376, 37_380_096),
            (331_968, 56_070_144),
            (442_624, 74_760_192),
            *FC,
        ],
        (59_798_312, 391_514_384),
    ),
    "no_communication": (
        [
            (34_944, 105_415_200),
            (384_320, 279_936_000),
            (553_344, 93_450_240),
            (663_936, 112_140_288),
            (442_624, 74_760_192),
            (37_756_928, 37_748_736),
            *FC[1:],
        ],
        (60_714_408, 724_323_872),
    ),
    "one_weird_trick": (
        [
            (23_296, 70_276_800),
            (307_392, 223_948_800),
            (663_936, 112_140_288),
            (884_992, 149_520_384),
            (590_080, 99_680_256),
            *FC,
        ],
        (61_100_840, 714_188_480),
    ),
}

# Name, inputs, outputs, groups, and the poolings that follow.
DEPTHS = {
    "five": [
        ("conv1", 3, 96, 1, ("pool1",)),
        ("conv2", 96, 256, 2, ("pool2",)),
        ("conv3", 256, 384, 1, ()),
        ("conv4", 384, 384, 2, ()),
        ("conv5", 384, 256, 2, ("pool5",)),
        ("fc6", 9216, 4096, 1, ()),
    ],
    "drop_conv2": [
        ("conv1", 3, 96, 1, ("pool1", "pool2")),
        ("conv3", 96, 384, 1, ()),
        ("conv4", 384, 384, 2, ()),
        ("conv5", 384, 256, 2, ("pool5",)),
        ("fc6", 9216, 4096, 1, ()),
    ],
    "drop_conv3": [
        ("conv1", 3, 96, 1, ("pool1",)),
        ("conv2", 96, 256, 2, ("pool2",)),
        ("conv4", 256, 384, 2, ()),
        ("conv5", 384, 256, 2, ("pool5",)),
        ("fc6", 9216, 4096, 1, ()),
    ],
    "drop_conv4": [
        ("conv1", 3, 96, 1, ("pool1",)),
        ("conv2", 96, 256, 2, ("pool2",)),
        ("conv3", 256, 384, 1, ()),
        ("conv5", 384, 256, 2, ("pool5",)),
        ("fc6", 9216, 4096, 1, ()),
    ],
    "drop_conv5": [
        ("conv1", 3, 96, 1, ("pool1",)),
        ("conv2", 96, 256, 2, ("pool2",)),
        ("conv3", 256, 384, 1, ()),
        ("conv4", 384, 384, 2, ("pool5",)),
        ("fc6", 384 * 36, 4096, 1, ()),
    ],
    "six": [
        ("conv1", 3, 96, 1, ("pool1",)),
        ("conv2", 96, 256, 2, ("pool2",)),
        ("conv3", 256, 384, 1, ()),
        ("conv4", 384, 384, 2, ()),
        ("conv5", 384, 256, 2, ("pool5",)),
        ("conv6", 256, 256, 1, ()),
        ("fc6", 9216, 4096, 1, ()),
    ],
}


@pytest.fixture(scope="module")
def two_gpu_model(hydra_ready):
    """Composed once for all examples of a property."""
    return OmegaConf.to_object(compose("config", overrides=["model.width=1"]).model)


def planned(composed, *overrides: str, crop_px: int = 224):
    return plan_layers(composed(*FULL, *overrides).model, crop_px, 1000)


def sizes(layers) -> list[int]:
    """Sides of the maps after conv1 and after each pooling."""
    return [layers[0].out_px, *(size for layer in layers for _, size in layer.pools)]


@pytest.mark.parametrize("topology", GOLDEN)
def test_every_layer_has_the_parameters_and_multiply_accumulates_of_the_table(composed, topology):
    per_layer, total = GOLDEN[topology]
    layers = planned(composed, f"model/topology={topology}")
    assert [layer.name for layer in layers] == NAMES
    assert [(layer.parameters, layer.multiply_accumulates) for layer in layers] == per_layer
    assert tuple(map(sum, zip(*per_layer, strict=True))) == total


def test_maps_shrink_as_in_the_paper(composed):
    layers = planned(composed)
    assert sizes(layers) == [55, 27, 13, 6]
    assert [layer.out_px for layer in layers] == [55, 27, 13, 13, 13, 1, 1, 1]


def test_the_two_gpu_net_has_the_neurons_of_the_abstract(composed):
    assert sum(layer.outputs * layer.out_px**2 for layer in planned(composed)) == 659_272  # "650,000"


@pytest.mark.parametrize("stem", ["auto", "px224"])
def test_224_px_reach_55_by_three_zeros_right_and_bottom(composed, stem):
    first = planned(composed, f"model/stem={stem}")[0]
    assert (first.kernel, first.stride, first.padding, first.out_px) == (11, 4, (0, 3, 0, 3), 55)


@pytest.mark.parametrize("stem", ["auto", "px227"])
def test_227_px_reach_55_without_padding(composed, stem):
    layers = planned(composed, f"model/stem={stem}", crop_px=227)
    assert (layers[0].kernel, layers[0].stride, layers[0].padding) == (11, 4, (0, 0, 0, 0))
    assert sizes(layers) == [55, 27, 13, 6]


def test_plain_pooling_gives_the_same_sizes(composed):
    assert sizes(planned(composed, "model/pool=plain")) == [55, 27, 13, 6]


@pytest.mark.parametrize(("crop_px", "stem"), [(27, "auto"), (27, "px32"), (53, "auto"), (53, "px64")])
@pytest.mark.parametrize("pool", ["overlap", "plain"])
def test_small_crops_give_the_sizes_their_stems_promise(composed, crop_px, stem, pool):
    layers = planned(composed, f"model/stem={stem}", f"model/pool={pool}", crop_px=crop_px)
    assert sizes(layers) == [23, 11, 5, 2]


@settings(max_examples=60)
@given(st.integers(97, 400))
def test_fitted_padding_follows_the_ceil_rule_of_the_released_code(crop_px):
    kernel, stride, (left, right, top, bottom) = fitted_stem(StemConfig(None, None, None), crop_px)
    assert (left, top) == (0, 0)
    assert right == bottom < stride
    assert (crop_px + right - kernel) // stride + 1 == 1 + -(-(crop_px - kernel) // stride)


@pytest.mark.parametrize("depth", DEPTHS)
def test_depth_option_has_the_layers_it_names(composed, depth):
    layers = planned(composed, f"model/depth={depth}")
    found = [(x.name, x.inputs, x.outputs, x.groups, tuple(name for name, _ in x.pools)) for x in layers]
    assert found == [*DEPTHS[depth], ("fc7", 4096, 4096, 1, ()), ("fc8", 4096, 1000, 1, ())]
    assert sizes(layers) == [55, 27, 13, 6]


def test_the_sixth_convolution_reads_pool5_and_keeps_its_size(composed):
    sixth = next(layer for layer in planned(composed, "model/depth=six") if layer.name == "conv6")
    assert (sixth.kernel, sixth.stride, sixth.padding, sixth.out_px) == (3, 1, (1, 1, 1, 1), 6)


@settings(max_examples=30)
@given(st.floats(0.001, 2.0))
def test_scaled_widths_can_be_split_in_two(two_gpu_model, width):
    for layer in plan_layers(dataclasses.replace(two_gpu_model, width=width), 224, 10)[:-1]:
        assert layer.outputs >= 4
        assert layer.outputs % 4 == 0


def test_full_size_undoes_width_and_stem_and_nothing_else(composed):
    small = composed("model.width=0.1", "model/stem=px32", "model/depth=drop_conv3", "model/pool=plain").model
    assert full_size(small, 27, 1000) == planned(composed, "model/depth=drop_conv3", "model/pool=plain")


@pytest.mark.parametrize(("crop_px", "stem"), [(4, "auto"), (10, "px32"), (20, "px64"), (50, "px227")])
def test_too_small_a_crop_names_the_key(composed, crop_px, stem):
    with pytest.raises(ConfigError, match=r"data\.crop_px"):
        planned(composed, f"model/stem={stem}", crop_px=crop_px)


def test_groups_that_do_not_divide_the_channels_name_the_key_and_the_layer(composed):
    with pytest.raises(ConfigError, match=r"model\.topology: conv2 has 96 inputs and 256 outputs, which 7 groups"):
        planned(composed, "model.topology.groups=[1,7,1,2,2]")


def test_groups_that_do_not_divide_the_outputs_name_the_key(composed):
    with pytest.raises(ConfigError, match=r"model\.topology: fc7 has 4096 inputs and 4098 outputs"):
        planned(composed, "model.topology.fc_widths=[4096,4098]", "model.topology.fc_groups=[1,4]")


def test_columns_that_do_not_divide_a_normalised_layer_name_the_key(composed):
    with pytest.raises(ConfigError, match=r"model\.topology"):
        planned(composed, "model/topology=dense", "model.topology.columns=5")


def test_uneven_padding_names_the_key(composed):
    uneven = ("model.stem.kernel=11", "model.stem.stride=4", "model.stem.padding=[0,3,0,0]")
    with pytest.raises(ConfigError, match=r"model\.stem\.padding=\[0, 3, 0, 0\]"):
        planned(composed, *uneven)


def test_plain_pooling_as_released_has_the_sizes_of_config_147(composed):
    layers = planned(composed, "model/pool=plain_released")
    assert sizes(layers) == [55, 28, 13, 6]
    assert [layer.out_px for layer in layers[:5]] == [55, 26, 13, 13, 11]
    assert next(layer for layer in layers if layer.name == "fc6").inputs == 9216
