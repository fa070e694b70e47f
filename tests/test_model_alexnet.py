"""The built net: which children, in which order, and what conv1 does at the edge (paper §3.5)."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from alexnet_sweep.errors import ConfigError
from alexnet_sweep.model.build import build_model
from alexnet_sweep.model.layers import GroupedLinear, KeyedDropout, ScaledTanh
from alexnet_sweep.model.norms import ResponseNorm
from alexnet_sweep.model.plan import plan_layers

PHOTO = ("data.stored_px=256", "data.crop_px=224")
ORDER = [
    "conv1",
    "act1",
    "lrn1",
    "pool1",
    "conv2",
    "act2",
    "lrn2",
    "pool2",
    "conv3",
    "act3",
    "conv4",
    "act4",
    "conv5",
    "act5",
    "pool5",
    "flatten",
    "fc6",
    "act6",
    "drop6",
    "fc7",
    "act7",
    "drop7",
    "fc8",
]


def children(config) -> list[str]:
    return [name for name, _ in build_model(config, 10).named_children()]


def test_children_stand_in_the_order_of_the_paper(micro):
    assert children(micro()) == ORDER


def test_children_have_the_kinds_their_names_promise(micro):
    kinds = {
        "conv": nn.Conv2d,
        "act": nn.ReLU,
        "lrn": ResponseNorm,
        "pool": nn.MaxPool2d,
        "fc": GroupedLinear,
        "drop": KeyedDropout,
        "flatten": nn.Flatten,
    }
    for name, module in build_model(micro(), 10).named_children():
        assert type(module) is kinds[name.rstrip("0123456789")], name


def test_dropout_follows_the_activations_of_fc6_and_fc7(micro):
    names = children(micro())
    for number in "67":
        place = names.index(f"drop{number}")
        assert names[place - 2 : place] == [f"fc{number}", f"act{number}"]


def test_the_two_dropout_layers_draw_different_masks(micro):
    net = build_model(micro(), 10).train()
    units = torch.ones(4, net.fc7.in_features)
    assert not torch.equal(net.drop6(units), net.drop7(units))


def test_nothing_follows_fc8(micro):
    assert children(micro())[-1] == "fc8"


@pytest.mark.parametrize(
    ("option", "present"), [("on", ["lrn1", "lrn2"]), ("first_only", ["lrn1"]), ("off", [])], ids=str
)
def test_normalisation_stands_where_it_is_configured(micro, option, present):
    names = children(micro(f"model/lrn={option}"))
    assert [name for name in names if name.startswith("lrn")] == present
    assert [name for name in names if not name.startswith("lrn")] == [n for n in ORDER if not n.startswith("lrn")]


def test_without_conv2_its_normalisation_goes_and_its_pooling_stays(micro):
    names = children(micro("model/depth=drop_conv2"))
    gone = ("conv2", "act2", "lrn2", "pool2")
    start = ["conv1", "act1", "lrn1", "pool1", "pool2"]
    assert names == start + [name for name in ORDER[4:] if name not in gone]


def test_without_conv5_its_pooling_stays(micro):
    names = children(micro("model/depth=drop_conv5"))
    assert names == [name for name in ORDER if name not in ("conv5", "act5")]


def test_a_sixth_convolution_stands_between_pool5_and_fc6(micro):
    names = children(micro("model/depth=six"))
    assert names[names.index("pool5") : names.index("fc6")] == ["pool5", "conv6", "act6", "flatten"]


@pytest.mark.parametrize(("per_column", "columns"), [("true", 2), ("false", 1)])
def test_normalisation_knows_the_columns_of_the_topology(micro, per_column, columns):
    net = build_model(micro(f"model.lrn.per_column={per_column}"), 10)
    assert (net.lrn1.columns, net.lrn2.columns) == (columns, columns)


@pytest.mark.parametrize(("convention", "alpha"), [("mean", 2e-5), ("sum", 1e-4)])
def test_the_multiplier_of_the_sum_follows_the_convention(micro, convention, alpha):
    norm = build_model(micro(f"model.lrn.alpha_convention={convention}"), 10).lrn1
    assert (norm.size, norm.k, norm.beta) == (5, 2.0, 0.75)
    assert norm.alpha == pytest.approx(alpha)


@pytest.mark.parametrize(
    ("option", "kind"), [("relu", nn.ReLU), ("tanh", nn.Tanh), ("scaled_tanh", ScaledTanh)], ids=str
)
def test_every_activation_is_the_configured_one(micro, option, kind):
    net = build_model(micro(f"model/activation={option}"), 10)
    assert {type(module) for name, module in net.named_children() if name.startswith("act")} == {kind}


def test_dropout_is_built_as_configured(micro):
    net = build_model(micro("regularizer/dropout=inverted", "seed=4"), 10)
    assert [(d.rate, d.form, d.seed, d.name) for d in (net.drop6, net.drop7)] == [
        (0.5, "inverted", 4, "fc6"),
        (0.5, "inverted", 4, "fc7"),
    ]


@pytest.mark.parametrize(
    "override",
    [
        "model/topology=dense",
        "model/topology=one_gpu_half",
        "model/topology=no_communication",
        "model/topology=one_weird_trick",
        "model/depth=drop_conv2",
        "model/depth=drop_conv3",
        "model/depth=drop_conv4",
        "model/depth=drop_conv5",
        "model/depth=six",
        "model/pool=plain",
        "model/lrn=off",
    ],
)
def test_every_net_maps_crops_to_logits_and_has_the_planned_parameters(micro, override):
    config = micro(override)
    net = build_model(config, 7)
    assert net(torch.zeros(2, 3, 27, 27)).shape == (2, 7)
    planned = sum(layer.parameters for layer in plan_layers(config.model, 27, 7))
    assert sum(value.numel() for value in net.parameters()) == planned


def test_planned_sizes_are_those_of_the_tensors(micro):
    config = micro(*PHOTO)
    maps, found = torch.zeros(1, 3, 224, 224), {}
    for name, module in build_model(config, 10).named_children():
        maps = module(maps)
        found[name] = maps.shape[-1]
    for layer in plan_layers(config.model, 224, 10):
        if layer.name.startswith("conv"):
            assert found[layer.name] == layer.out_px
            assert all(found[pool] == size for pool, size in layer.pools)


def test_conv1_pads_right_and_bottom_only(micro):
    net = build_model(micro(*PHOTO), 10)
    assert [name for name, _ in net.named_children()][:2] == ["pad1", "conv1"]
    images = torch.randn(1, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    found = net.conv1(net.pad1(images))
    padded = F.pad(images, (0, 3, 0, 3))
    assert found.shape[-2:] == (55, 55)
    torch.testing.assert_close(found, F.conv2d(padded, net.conv1.weight, net.conv1.bias, stride=4))


def test_the_last_window_starts_at_216_and_hangs_over_by_three(micro):
    net = build_model(micro(*PHOTO), 10)
    images = torch.randn(1, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    corner = torch.einsum("chw,ochw->o", images[0, :, 216:, 216:], net.conv1.weight[:, :, :8, :8])
    found = net.conv1(net.pad1(images))
    torch.testing.assert_close(found[0, :, 54, 54], corner + net.conv1.bias, rtol=1e-4, atol=1e-5)
    unpadded = F.conv2d(images, net.conv1.weight, net.conv1.bias, stride=4)  # 54 × 54: the windows that fit
    torch.testing.assert_close(found[:, :, :54, :54], unpadded)


def test_conv1_at_227_px_needs_no_padding(micro):
    config = micro("data.stored_px=256", "data.crop_px=227")
    assert children(config)[0] == "conv1"


def test_columns_without_communication_meet_only_at_fc8(micro):
    net = build_model(micro("model/topology=no_communication"), 10).eval()
    maps = torch.randn(1, net.conv2.in_channels, 11, 11, generator=torch.Generator().manual_seed(0))
    changed = maps.clone()
    changed[:, net.conv2.in_channels // 2 :] += 1.0
    tail = net[list(dict(net.named_children())).index("conv2") : -1]
    before, after = tail(maps), tail(changed)
    half = before.shape[1] // 2
    assert torch.equal(before[:, :half], after[:, :half])
    assert not torch.equal(before[:, half:], after[:, half:])


def test_sizes_that_do_not_fit_are_the_users_mistake(micro):
    with pytest.raises(ConfigError, match=r"data\.crop_px=18"):
        build_model(micro("data.crop_px=18"), 10)


@pytest.mark.parametrize(
    ("position", "order"),
    [
        ("after_activation", ["conv1", "act1", "lrn1", "pool1"]),
        ("before_activation", ["conv1", "lrn1", "act1", "pool1"]),
        ("after_pool", ["conv1", "act1", "pool1", "lrn1"]),
    ],
)
def test_normalisation_stands_where_it_is_told_to(micro, position, order):
    assert children(micro(f"model.lrn.first_position={position}"))[:4] == order
    second = children(micro(f"model.lrn.second_position={position}"))[4:8]
    assert second == [name.replace("1", "2") for name in order]


def test_the_third_normaliser_follows_the_second(micro):
    names = children(micro("model/lrn=with_within_map"))
    assert names[names.index("lrn2") + 1] == "lrn2_within_map"


def test_before_activation_is_the_released_codes_order_of_pooling_before_relu(micro):
    # Released: conv, LRN, pool, ReLU. Max pooling and ReLU commute, so conv, LRN, ReLU, pool is the same function.
    net = build_model(micro("model.lrn.first_position=before_activation"), 10)
    maps = torch.randn((2, 3, 27, 27), generator=torch.Generator().manual_seed(0)) * 60
    normalised = net.get_submodule("lrn1")(net.get_submodule("conv1")(maps))
    released = net.get_submodule("act1")(net.get_submodule("pool1")(normalised))
    ours = net.get_submodule("pool1")(net.get_submodule("act1")(normalised))
    assert torch.equal(released, ours)


@pytest.mark.parametrize("pool", ["overlap", "plain", "plain_released"])
def test_built_maps_have_the_planned_sizes(micro, pool):
    config = micro(*PHOTO, "model/stem=px224", f"model/pool={pool}")
    maps = torch.zeros(1, 3, 224, 224)
    found = {}
    for name, module in build_model(config, 10).named_children():
        maps = module(maps)
        found[name] = maps.shape
    for layer in plan_layers(config.model, 224, 10):
        if layer.name.startswith("conv"):
            assert found[layer.name][1:] == (layer.outputs, layer.out_px, layer.out_px)
            assert all(found[name][2] == size for name, size in layer.pools)
