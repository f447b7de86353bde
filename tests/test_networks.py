"""Every network: gradient reaches every parameter, rows stay apart, any size in 1 to 3 dimensions, the context counts;
the convolutional one against textbook correlation and transposed convolution, the head against its definition."""

import math
from collections.abc import Iterator

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.signal import correlate
from torch import Tensor

from variate.base.errors import UserError
from variate.config.names import network_registry
from variate.models.networks import conv
from variate.models.networks.layers import PerValueHead, ShowAtoms, _Planes

pytestmark = pytest.mark.bits

ENCODERS, DECODERS = (  # a user's own module keeps these promises, or does not
    {name: cls for name, cls in network_registry(part).items() if name != "own"} for part in ("Encoder", "Decoder")
)
SIZES = [(8,), (41,), (8, 8), (9, 13), (28, 28), (8, 40), (17, 31), (8, 8, 8), (9, 11, 10)]
LARGE = [(1, 1100), (1, 9, 348), (1, 9, 9, 117)]  # so many places that they are halved more than twice
SHAPES = [(channels, *size) for size in SIZES for channels in (1, 3)] + [(1, 9, 31, 17), *LARGE]
ROWS, CODE, CONTEXT = 5, 4, 3
PARTS = [("encoder", name) for name in ENCODERS] + [("decoder", name) for name in DECODERS]

each_part = pytest.mark.parametrize(("part", "name"), PARTS)
each_shape = pytest.mark.parametrize("shape", SHAPES, ids=str)


def build(part: str, name: str, shape: tuple[int, ...], context: int = CONTEXT):
    """The network with every parameter moved off its start (layers that start at zero would hide what they do)."""
    torch.manual_seed(0)
    if part == "encoder":
        network = ENCODERS[name](shape, context)
    else:
        network = DECODERS[name]((CODE,), shape, context)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.03 * torch.randn_like(parameter))
    return network


def inputs(part: str, shape: tuple[int, ...], rows: int = ROWS) -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(1)
    first = torch.rand(rows, *shape) if part == "encoder" else torch.randn(rows, CODE)
    return first, torch.randn(rows, CONTEXT)


@each_part
@each_shape
def test_the_output_has_the_promised_shape(part, name, shape):
    network = build(part, name, shape)
    assert network(*inputs(part, shape)).shape == (ROWS, *network.features)


@each_part
def test_works_without_a_context(part, name):
    network = build(part, name, (1, 9, 13), context=0)
    assert network(inputs(part, (1, 9, 13))[0], None).shape == (ROWS, *network.features)


@each_part
@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 9, 13), (3, 9), (2, 8, 11, 9), *LARGE], ids=str)
def test_gradient_reaches_every_parameter(part, name, shape):
    network = build(part, name, shape)
    network(*inputs(part, shape)).square().sum().backward()
    unreached = [n for n, p in network.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert unreached == []


@each_part
@each_shape
def test_rows_do_not_see_each_other(part, name, shape):
    network, (first, context) = build(part, name, shape), inputs(part, shape)
    before = network(first, context)
    changed, other = first.clone(), context.clone()
    changed[2] *= -7
    other[2] += 1
    after = network(changed, other)
    kept = [0, 1, 3, 4]
    assert torch.equal(before[kept], after[kept])
    assert not torch.allclose(before[2], after[2])


@each_part
@each_shape
def test_a_row_alone_is_the_row_among_many(part, name, shape):
    network, first, context = build(part, name, shape).double(), *(x.double() for x in inputs(part, shape))
    many = network(first, context)
    alone = torch.cat([network(first[i : i + 1], context[i : i + 1]) for i in range(ROWS)])
    torch.testing.assert_close(alone, many)


@each_part
def test_the_context_changes_the_output(part, name):
    network, (first, context) = build(part, name, (1, 8, 8)), inputs(part, (1, 8, 8))
    for column in range(CONTEXT):
        other = context.clone()
        other[:, column] += 1
        moved = (network(first, other) - network(first, context)).abs().flatten(1).amax(1)
        assert (moved > 1e-6).all()


@pytest.mark.parametrize("name", ENCODERS)
@each_shape
def test_an_encoder_sees_every_value(name, shape):
    """No stride or crop may lose a border: the output's derivative by every single input value is not zero."""
    network, (x, context) = build("encoder", name, shape), inputs("encoder", shape, 1)
    x.requires_grad_(True)
    (network(x, context) * torch.randn(network.features)).sum().backward()
    assert (x.grad != 0).all()


@pytest.mark.parametrize("name", DECODERS)
@each_shape
def test_a_decoder_reaches_every_place(name, shape):
    """At every place some feature moves with the code: no border is left constant (a rectified one may rest at 0)."""
    network, (code, context) = build("decoder", name, shape), inputs("decoder", shape)
    spread = network(code, context).std(0)
    assert (spread > 0).any(0).all()


def halved(size: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(-(-n // 2) for n in size)


def correlated(x: Tensor, convolution: torch.nn.Module) -> Tensor:
    """What a convolution layer must give: a border of zeros, correlation, every stride-th place, the bias."""
    weight, bias = (p.detach().numpy() for p in (convolution.weight, convolution.bias))
    dims, stride = weight.ndim - 2, convolution.stride
    rows = np.pad(x.numpy(), [(0, 0), (0, 0)] + [(1, 1)] * dims)
    out = [
        [sum(correlate(plane, w, "valid") for plane, w in zip(row, kernel, strict=True)) for kernel in weight]
        for row in rows
    ]
    kept = np.stack([np.stack(row) for row in out])[(..., *(slice(None, None, s) for s in stride))]
    return torch.from_numpy(kept + bias.reshape(-1, *[1] * dims))


def staged(h: Tensor, layers: Iterator, depth: int) -> Tensor:
    """``depth`` residual blocks and the rectifier that comes last."""
    for _ in range(depth):
        h = h + correlated(h.relu(), next(layers).conv)
    assert isinstance(next(layers), torch.nn.ReLU)
    return h.relu()


def enlarged(h: Tensor, up: torch.nn.Linear, size: tuple[int, ...]) -> Tensor:
    """A transposed convolution whose kernel is as large as its stride (2, or 1 along a dimension of one place)."""
    stride = [1 if n == 1 else 2 for n in size]
    transposed = (F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d)[len(size) - 1]
    kernel = up.weight.unflatten(0, (*stride, -1)).movedim((-1, -2), (0, 1))
    bias = up.bias.unflatten(0, (*stride, -1)).movedim(-1, 0).repeat(1, *h.shape[2:])
    return (transposed(h, kernel, stride=stride) + bias)[(..., *(slice(n) for n in size))]


each_halved = pytest.mark.parametrize(
    ("shape", "times"),
    [((2, 41), 2), ((1, 1100), 3), ((2, 9, 13), 2), ((1, 8, 2100), 4), ((2, 9, 10, 11), 2), ((1, 9, 9, 117), 3)],
    ids=str,
)


@each_halved
@torch.no_grad()
def test_the_conv_encoder_is_a_chain_of_correlations(shape, times):
    torch.manual_seed(0)
    network = conv.Encoder(shape, 0, channels=(3, 2), blocks=(0, 2), hidden=6).double()
    h = x = torch.randn(2, *shape, dtype=torch.float64)
    layers, size = iter(network.stages), shape[1:]
    for width, depth in [(3, 0)] + [(2, 2)] * (times - 1):
        h, size = staged(correlated(h, next(layers)), layers, depth), halved(size)
        assert h.shape == (2, width, *size)
    told = F.relu(h.movedim(1, -1).flatten(1) @ network.dense.weight.T + network.dense.bias)
    torch.testing.assert_close(network(x, None), told)


@each_halved
@torch.no_grad()
def test_the_conv_decoder_is_a_chain_of_transposed_convolutions(shape, times):
    torch.manual_seed(0)
    network = conv.Decoder((CODE,), shape, 0, channels=(3, 2), blocks=(2, 1), hidden=6).double()
    sizes = [shape[1:]]
    for _ in range(times):
        sizes.append(halved(sizes[-1]))
    code = torch.randn(2, CODE, dtype=torch.float64)
    layers = iter(network.coarse)
    h = network.spread(F.relu(network.dense(code))).unflatten(1, (*sizes.pop(), 3)).movedim(-1, 1)
    h = staged(h, layers, 2)
    while len(sizes) > 2:
        h = staged(enlarged(h, next(layers), sizes.pop()), layers, 2)
    h = staged(enlarged(h, network.up, sizes.pop()), iter(network.fine), 1)
    torch.testing.assert_close(network(code, None), h)


@pytest.mark.parametrize("shape", [(1, 8, 2100), (1, 1100), (2, 33, 9, 90)], ids=str)
def test_no_finer_place_is_only_ever_cut_away(shape):
    """The gradient reaches every single unit that enlarges, even along a dimension of which one place is left."""
    network = build("decoder", "conv", shape)
    (network(*inputs("decoder", shape)) * torch.randn(network.features)).sum().backward()
    ups = [layer for layer in network.modules() if isinstance(layer, conv._Up)]
    assert len(ups) > 1 and all((up.bias.grad != 0).all() for up in ups)


@pytest.mark.parametrize("size", [(8,), (1024,), (8, 8), (9, 13), (28, 28), (64, 64), (16, 16, 16)], ids=str)
def test_what_is_no_larger_than_64_by_64_is_halved_twice(size):
    """Saved models rely on it: the dense layers hold a quarter of every dimension."""
    places = math.prod(math.ceil(n / 4) for n in size)
    encoder, decoder = conv.Encoder((3, *size), 0), conv.Decoder((CODE,), (3, *size), 0)
    assert (encoder.dense.in_features, decoder.spread.out_features) == (48 * places, 64 * places)
    assert decoder.features == (32, *halved(size))


@pytest.mark.parametrize("size", [(16_000,), (1_000_000,), (256, 256), (8, 30_000), (64, 64, 64), (8, 8, 999)], ids=str)
def test_weights_do_not_grow_with_the_example(size):
    def weights(shape: tuple[int, ...]) -> int:
        parts = conv.Encoder(shape, 0), conv.Decoder((CODE,), shape, 0)
        return sum(p.numel() for part in parts for p in part.parameters())

    assert weights((3, *size)) < 1.2 * weights((3, 64, 64))


@pytest.mark.parametrize("shape", [(5,), (1, 7), (3, 8, 7), (1, 7, 30, 30), (1, 8, 8, 8, 8)], ids=str)
@pytest.mark.parametrize("part", ["encoder", "decoder"])
def test_conv_refuses_what_is_too_small_or_has_too_many_dimensions(part, shape):
    with pytest.raises(UserError, match=f"not {' × '.join(map(str, shape))}: use name=mlp"):
        build(part, "conv", shape)


@pytest.mark.parametrize("factor", [1, 2, 3])
@pytest.mark.parametrize("size", [(11,), (8,), (5, 8), (7, 4), (5, 3, 4)], ids=str)
@torch.no_grad()
def test_a_head_gives_every_place_its_own_rows_of_the_matrix(size, factor):
    """Value i of a channel comes from the coarse place i // f through the rows that belong to i mod f, in C order."""
    channels, count, wide = 2, 3, 4
    coarse = tuple(math.ceil(n / factor) for n in size)
    head = PerValueHead((wide, *coarse), (channels, *size), count)
    features = torch.randn(2, wide, *coarse)
    weight = head.linear.weight.reshape(count, channels, factor ** len(size), wide)
    bias = head.linear.bias.reshape(count, channels, factor ** len(size))
    out = head(features)
    assert out.shape == (2, count, channels, *size)
    for place in np.ndindex(*size):
        row = 0
        for i in place:
            row = row * factor + i % factor
        feature = features[(..., *(i // factor for i in place))]
        told = torch.einsum("pcf,nf->npc", weight[:, :, row], feature) + bias[:, :, row]
        torch.testing.assert_close(out[(..., *place)], told)


@pytest.mark.parametrize(
    ("factor", "size"),
    [(0, ()), (0, (4, 6)), (1, (5,)), (2, (8,)), (2, (6, 4)), (3, (9, 6)), (2, (4, 6, 8)), (2, (7, 8))],
)
@torch.no_grad()
def test_a_head_beside_its_target_has_every_number_beside_its_own(factor, size):
    """Whatever the order of the places: a row's pairs (parameters, target) are those in the order of the example."""
    coarse = tuple(math.ceil(n / factor) for n in size) if factor else ()
    head = PerValueHead((4, *coarse), (2, *size), 3)
    features, target, seen = torch.randn(2, 4, *coarse), torch.randn(2, 2, *size), torch.rand(2, 2, *size) > 0.5
    parameters, told, known = head.beside(features, target, seen)

    def pairs(*columns: Tensor) -> list[list[tuple[float, ...]]]:
        wide = [column.double().reshape(2, -1, 2, math.prod(size)) for column in columns]  # rows, numbers, C, places
        return [sorted(map(tuple, part.tolist())) for part in torch.cat(wide, 1).movedim(1, -1).flatten(0, 1)]

    for found, expected in zip(pairs(parameters, told, known), pairs(head(features), target, seen), strict=True):
        torch.testing.assert_close(torch.tensor(found), torch.tensor(expected))


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("places", [(6,), (3, 4), (2, 2, 3)])
def test_the_head_s_own_gradient_is_that_of_the_product(places, last):
    """Once and twice, by differences; and it lies in memory as the features do, with the channels last or first."""
    features = torch.randn(3, 5, *places, dtype=torch.float64)
    if last:
        features = features.movedim(1, -1).contiguous().movedim(-1, 1)
    x = features.flatten(2).requires_grad_()
    weight, bias = (torch.randn(*shape, dtype=torch.float64, requires_grad=True) for shape in ((7, 5), (7,)))
    expected = torch.einsum("nfp,of->nop", x, weight) + bias.unsqueeze(-1)
    torch.testing.assert_close(_Planes.apply(x, weight, bias), expected)
    assert torch.autograd.gradcheck(_Planes.apply, (x, weight, bias))
    assert torch.autograd.gradgradcheck(_Planes.apply, (x, weight, bias))
    gradient = torch.randn_like(expected)
    (found,) = torch.autograd.grad(_Planes.apply(x, weight, bias), x, gradient)
    assert found.stride() == x.stride()


@pytest.mark.parametrize("size", [(9,), (9, 10), (9, 8, 11)], ids=str)
def test_a_head_starts_where_it_is_told_at_every_place(size):
    head = PerValueHead((4, *halved(size)), (2, *size), 3)
    start = torch.randn(3, 2)
    head.set_bias(start)
    out = head(torch.zeros(1, 4, *halved(size)))
    assert torch.equal(out, start.reshape(1, 3, 2, *[1] * len(size)).expand_as(out))


class Shown(torch.nn.Module):
    """An encoder that gives back what it is shown."""

    features = ()

    def forward(self, x: Tensor, context: Tensor | None) -> Tensor:
        return x


@pytest.mark.parametrize("shape", [(1, 9), (2, 9), (2, 3, 5), (2, 3, 2, 4)], ids=str)
def test_atoms_are_shown_beside_the_grey_value_of_their_channel(shape):
    atoms, levels = (0, 3), 5
    raw = torch.randint(levels, (6, *shape))
    shown = ShowAtoms(Shown(), atoms, levels)(raw / (levels - 1), None)
    assert shown.shape[1:] == ShowAtoms.shape(shape, atoms)
    for channel in range(shape[0]):
        grey, *flags = shown[:, 3 * channel : 3 * channel + 3].unbind(1)
        torch.testing.assert_close(grey, raw[:, channel] / (levels - 1))
        assert all(torch.equal(flag == 1, raw[:, channel] == atom) for flag, atom in zip(flags, atoms, strict=True))
        assert all(torch.equal(flag, flag.round()) for flag in flags)
