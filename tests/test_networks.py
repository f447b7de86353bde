"""Every network: gradient reaches every parameter, rows stay apart, any size of image, the context counts."""

import pytest
import torch

from variate import config

ENCODERS, DECODERS = config.network_registry("Encoder"), config.network_registry("Decoder")
SIZES = [(8, 8), (9, 13), (28, 28), (17, 31)]
SHAPES = [(channels, *size) for size in SIZES for channels in (1, 3)]
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
        network = DECODERS[name](CODE, shape, context)
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
@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 9, 13)], ids=str)
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
    network, (first, context) = build(part, name, shape), inputs(part, shape)
    many = network(first, context)
    alone = torch.cat([network(first[i : i + 1], context[i : i + 1]) for i in range(ROWS)])
    torch.testing.assert_close(alone, many, rtol=1e-5, atol=1e-6)


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
