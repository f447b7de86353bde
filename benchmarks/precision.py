"""Whether products of bfloat16 cost quality: the test bound of 784-400-20 after 20 epochs, either precision.

    python benchmarks/precision.py
    python benchmarks/precision.py --data digits --epochs 2 --seeds 2

Where the processor has no bfloat16 units, the operands of dense layers are rounded to bfloat16 and their products
summed in float32, forward and back, as such units do. Prints a JSON line for every run, then the mean of each precision
and the range over its seeds.
"""

import argparse
import json
import statistics
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import torch
import torch.nn.functional as F
from torch import Tensor

import variate
from variate.base.precision import BF16_UNITS, PRECISIONS

plain = F.linear


class Rounded(torch.autograd.Function):
    """x Wᵀ + b of operands rounded to bfloat16, and so its gradient."""

    @staticmethod
    def forward(ctx, x, weight, bias):  # noqa: ANN001, ANN205 (autograd's own signature)
        x, weight = rounded(x), rounded(weight)
        ctx.save_for_backward(x, weight)
        return plain(x, weight, bias)

    @staticmethod
    def backward(ctx, gradient):  # noqa: ANN001, ANN205
        x, weight = ctx.saved_tensors
        told = rounded(gradient)
        return told @ weight, told.flatten(0, -2).t() @ x.flatten(0, -2), gradient.flatten(0, -2).sum(0)


def rounded(x: Tensor) -> Tensor:
    return x.bfloat16().float()


@contextmanager
def as_with_units() -> Iterator[None]:
    """Dense layers that learn compute as a processor with bfloat16 units does; those that are applied, in float32."""
    F.linear = lambda x, weight, bias: (Rounded.apply if torch.is_grad_enabled() else plain)(x, weight, bias)
    try:
        yield
    finally:
        F.linear = plain


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="mnist")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--seeds", type=int, default=3)
    asked = parser.parse_args()
    has_units = any(torch.cpu.get_capabilities().get(unit) for unit in BF16_UNITS)
    bounds: dict[str, list[float]] = {precision: [] for precision in PRECISIONS}
    for seed in range(asked.seeds):
        for precision, found in bounds.items():
            said = ["data.binarize=expected", f"train.precision={precision}"]
            imitated = precision == "auto" and not has_units
            with as_with_units() if imitated else nullcontext():
                run = variate.fit(
                    asked.data, recipe="kingma-welling", epochs=asked.epochs, seed=seed, overrides=said, device="cpu"
                )
            found.append(variate.evaluate(run, asked.data, samples=1, rows=1)["elbo_nats"])
            told = {"seed": seed, "precision": precision, "imitated": imitated, "elbo_nats": found[-1]}
            print(json.dumps(told), flush=True)
    means = {name: statistics.mean(found) for name, found in bounds.items()}
    print(json.dumps({"mean_nats": means, "range_nats": {name: max(v) - min(v) for name, v in bounds.items()}}))


if __name__ == "__main__":
    main()
