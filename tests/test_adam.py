"""The optimiser against torch's own, bit for bit."""

import subprocess
import sys

import pytest
import torch
from torch import nn

from variate.base.errors import UserError
from variate.training.adam import Adam

pytestmark = pytest.mark.bits


@pytest.mark.parametrize("betas", [(0.9, 0.999), (0.5, 0.9)])
def test_it_is_torch_s_adam(betas):
    """Sixty steps, some skipped, one weight without a gradient now and then, one in another order in memory."""
    generator = torch.Generator().manual_seed(0)
    shapes = [(30, 20), (30,), (4, 3, 5, 5), ()]
    starts = [torch.randn(shape, generator=generator) for shape in shapes]
    starts[2] = starts[2].contiguous(memory_format=torch.channels_last)
    ours, theirs = ([nn.Parameter(start.clone()) for start in starts] for _ in range(2))
    optimizer, oracle = Adam(ours, betas), torch.optim.Adam(theirs, betas=betas, fused=True)
    for step in range(60):
        rate, skipped = 0.01 / (1 + step), torch.tensor(float(step % 7 == 3))
        for place, (a, b) in enumerate(zip(ours, theirs, strict=True)):
            a.grad = torch.randn(a.shape, generator=generator).mul_(10.0 ** (step % 5 - 2))
            if place == 2:
                a.grad = a.grad.contiguous(memory_format=torch.channels_last)
            if place == 1 and step % 4 == 0:
                a.grad = None
            b.grad = None if a.grad is None else a.grad.clone()
        optimizer.step(rate, skipped)
        oracle.param_groups[0]["lr"] = rate
        oracle.found_inf = skipped
        oracle.step()
        if step % 5 == 0:
            optimizer.forget_traces()
        for a, b in zip(ours, theirs, strict=True):
            assert torch.equal(a, b)


def test_its_state_goes_on_where_it_was():
    weights = [nn.Parameter(torch.randn(5, 3, 2, 2).contiguous(memory_format=torch.channels_last)) for _ in range(2)]
    gradient, never = torch.randn(5, 3, 2, 2), torch.zeros(())
    first, second = (Adam([weight]) for weight in weights)
    weights[0].grad = gradient.contiguous(memory_format=torch.channels_last)
    first.step(0.1, never)
    second.load({name: value.contiguous() for name, value in first.state().items()})  # as a file gives it back
    with torch.no_grad():
        weights[1].copy_(weights[0])
    weights[1].grad = weights[0].grad
    first.step(0.1, never)
    second.step(0.1, never)
    assert torch.equal(weights[0], weights[1])


def test_moments_of_a_dead_unit_come_to_an_end():
    """By themselves they stop at the denormal numbers, which a processor is slow with; the weights are the same."""
    ours, theirs = (nn.Parameter(torch.linspace(-1, 1, 50)) for _ in range(2))
    optimizer, oracle = Adam([ours]), torch.optim.Adam([theirs], fused=True)
    for step in range(1500):
        ours.grad, theirs.grad = (torch.linspace(-1, 1, 50) * (step < 10) for _ in range(2))
        optimizer.step(1e-3, torch.zeros(()))
        oracle.step()
        if step % 20 == 0:
            optimizer.forget_traces()
    stuck = oracle.state[theirs]["exp_avg"]
    assert (0 < stuck.abs().max() < torch.finfo(torch.float32).tiny) and torch.equal(ours, theirs)
    mean, square, _ = optimizer.moments[0]
    assert not mean.any() and (square > 0).all()  # the second moments shrink more slowly


def test_a_state_of_torch_s_adam_is_read_and_a_foreign_one_refused():
    """Weights that never had a gradient have no moments there; frozen ones have none in either."""
    weights = [
        nn.Parameter(torch.ones(3)),
        nn.Parameter(torch.ones(2)),
        nn.Parameter(torch.ones(4), requires_grad=False),
    ]
    oracle, optimizer = torch.optim.Adam(weights, fused=True), Adam(weights)
    for place in (1, 0):  # here there were some, from which nothing stays
        weights[place].grad = torch.full_like(weights[place], 2.0)
        optimizer.step(0.1, torch.zeros(()))
        weights[1].grad = None
    oracle.step()
    told = oracle.state_dict()["state"]
    optimizer.load({f"{place}.{name}": value for place, row in told.items() for name, value in row.items()})
    state = optimizer.state()
    assert set(state) == {f"{place}.{name}" for place in (0, 1) for name in ("exp_avg", "exp_avg_sq", "step")}
    for name in ("exp_avg", "exp_avg_sq", "step"):
        assert torch.equal(state[f"0.{name}"], told[0][name]) and not state[f"1.{name}"].any()
    with pytest.raises(UserError, match="of another version or model: start anew"):
        optimizer.load({"0.momentum": torch.zeros(3)})


def test_without_gradients_nothing_happens():
    weight = nn.Parameter(torch.ones(3))
    Adam([weight]).step(0.1, torch.zeros(()))
    assert torch.equal(weight, torch.ones(3))


def test_a_step_imports_neither_a_compiler_nor_an_algebra_system():
    """Each takes a second or two, before a user sees the first step."""
    code = """
import sys, torch
from variate import config, noise
from variate.data.load import load
from variate.training.fitting import Asked, trainer_for
from variate.training.processes import Processes
rows = load(torch.randint(0, 256, (60, 16, 16), dtype=torch.uint8).numpy())
learner = trainer_for(Asked("vae").settings(rows, None), rows, 0, Processes(), None)
learner._one_step(torch.arange(20))
learner.validate()
print(sorted({"torch._dynamo", "sympy"} & set(sys.modules)))
"""
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "[]"
