"""The floor: the matrix products and convolutions of forward and backward alone, each by the fastest that does it.

Matrix products: MKL (``torch.mm``, ``torch.addmm``'s kernel), oneDNN (its linear) and OpenBLAS (NumPy), the weights
stored either way. Convolutions: oneDNN and torch's own (unfolded, then MKL), in both memory formats. Everything else
that a step needs, and packing operands that change at every step, costs nothing here.
"""

import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import race
import torch
from torch import Tensor

LARGE = 2048
SECONDS = 0.02  # for every way to compute a product, in every repetition
PASSES = 5

Ways = dict[str, Callable[[], object]]


@dataclass(frozen=True)
class Product:
    """One product of a step: its floating-point operations, and who can compute it."""

    name: str
    flops: float
    ways: Ways


def matrix_ways(a: Tensor, b: Tensor) -> Ways:
    """a @ b, with operands and result where they are wanted."""
    out = torch.empty(a.shape[0], b.shape[1], dtype=a.dtype)
    ways: Ways = {"MKL" if a.dtype == torch.float32 else "torch": lambda: torch.mm(a, b, out=out)}
    rows, columns = a.contiguous(), b.t().contiguous()
    ways["oneDNN"] = lambda: torch.ops.mkldnn._linear_pointwise(rows, columns, None, "none", [], "")
    if a.dtype == torch.float32:
        left, right, result = a.numpy(), b.numpy(), out.numpy()
        ways["OpenBLAS"] = lambda: np.matmul(left, right, out=result)
    return ways


def both_ways(a: Tensor, b: Tensor) -> Ways:
    """a @ b, b stored as it is and transposed."""
    other = {f"{name}, other layout": way for name, way in matrix_ways(a, b.t().contiguous().t()).items()}
    return matrix_ways(a, b) | other


def linear(name: str, rows: int, inputs: int, outputs: int, dtype: torch.dtype, first: bool = False) -> list[Product]:
    x, weight, gradient = (
        torch.randn(shape).to(dtype) for shape in ((rows, inputs), (outputs, inputs), (rows, outputs))
    )
    flops = 2.0 * rows * inputs * outputs
    backward = {f"transposed {who}": way for who, way in matrix_ways(x.t(), gradient).items()}
    products = [
        Product(f"{name} forward", flops, both_ways(x, weight.t())),
        Product(f"{name} to weights", flops, matrix_ways(gradient.t(), x) | backward),
    ]
    return products if first else [*products, Product(f"{name} to inputs", flops, both_ways(gradient, weight))]


def convolution(
    name: str, side: int, inputs: int, outputs: int, stride: int, dtype: torch.dtype, first: bool = False
) -> list[Product]:
    kinds = {"forward": (False, False), "to weights": (False, True)} | ({} if first else {"to inputs": (True, False)})
    flops = 2.0 * race.BATCH * (side // stride) ** 2 * 9 * inputs * outputs
    ways: dict[str, Ways] = {kind: {} for kind in kinds}
    for layout, memory in (("channels first", torch.contiguous_format), ("channels last", torch.channels_last)):
        x, weight, gradient = (
            torch.randn(shape).to(dtype).contiguous(memory_format=memory)
            for shape in (
                (race.BATCH, inputs, side, side),
                (outputs, inputs, 3, 3),
                (race.BATCH, outputs, side // stride, side // stride),
            )
        )
        for library, enabled in (("oneDNN", True), ("torch", False)):
            for kind, wanted in kinds.items():
                way = convolution_way(x, weight, gradient, stride, wanted, enabled)
                ways[kind][f"{library}, {layout}"] = way
    return [Product(f"{name} {kind}", flops, ways[kind]) for kind in kinds]


def convolution_way(
    x: Tensor, weight: Tensor, gradient: Tensor, stride: int, wanted: tuple[bool, bool], onednn: bool
) -> Callable[[], None]:
    """The forward convolution, or one of the two gradients, if one is wanted."""
    strides, padding, one, none = [stride, stride], [1, 1], [1, 1], [0, 0]

    def way() -> None:
        with torch.backends.mkldnn.flags(enabled=onednn):
            if not any(wanted):
                torch.nn.functional.conv2d(x, weight, stride=stride, padding=1)
                return
            torch.ops.aten.convolution_backward(
                gradient, x, weight, None, strides, padding, one, False, none, 1, [*wanted, False]
            )

    return way


def dense_products(dtype: torch.dtype) -> list[Product]:
    pixels = race.SIDE**2
    return [
        *linear("784→400", race.BATCH, pixels, race.HIDDEN, dtype, first=True),
        *linear("400→40", race.BATCH, race.HIDDEN, 2 * race.LATENT, dtype),
        *linear("20→400", race.BATCH, race.LATENT, race.HIDDEN, dtype),
        *linear("400→784", race.BATCH, race.HIDDEN, pixels, dtype),
    ]


def conv_products(dtype: torch.dtype) -> list[Product]:
    (half, quarter), (wide, narrow) = race.NARROW, race.WIDE
    places, batch, size = race.QUARTER**2, race.BATCH, race.CONV_LATENT
    return [
        *convolution("to half", race.SIDE, 1 + len(race.ATOMS), half, 2, dtype, first=True),
        *convolution("to quarter", race.SIDE // 2, half, quarter, 2, dtype),
        *linear("dense", batch, quarter * places, race.DENSE, dtype),
        *linear("posterior", batch, race.DENSE, 2 * size, dtype),
        *linear("from code", batch, size, race.DENSE, dtype),
        *linear("spread", batch, race.DENSE, wide * places, dtype),
        *convolution("at quarter", race.QUARTER, wide, wide, 1, dtype),
        *linear("up", batch * places, wide, 4 * narrow, dtype),
        *convolution("at half", race.SIDE // 2, narrow, narrow, 1, dtype),
        *linear("head", batch * 4 * places, narrow, 4 * race.PER_VALUE, dtype),
    ]


def seconds(ways: Ways) -> dict[str, float]:
    """How long each way takes: the median of a few passes, taken in turn."""
    calls = {name: max(1, int(SECONDS / PASSES / min(once(way, 1), once(way, 1)))) for name, way in ways.items()}
    passes = [{name: once(way, calls[name]) for name, way in ways.items()} for _ in range(PASSES)]
    return {name: statistics.median(each[name] for each in passes) for name in ways}


def once(way: Callable[[], object], calls: int) -> float:
    start = time.perf_counter()
    for _ in range(calls):
        way()
    return (time.perf_counter() - start) / calls


def fastest(products: list[Product]) -> Iterator[tuple[Product, str, float]]:
    for product in products:
        times = seconds(product.ways)
        best = min(times, key=times.__getitem__)
        yield product, best, times[best]


def main() -> None:
    asked = race.arguments()
    torch.set_num_threads(asked.threads)
    dtype = torch.bfloat16 if asked.precision == "bf16" else torch.float32
    products = conv_products(dtype) if asked.workload == "conv" else dense_products(dtype)
    square = torch.randn(LARGE, LARGE).to(dtype)
    large = [Product("large", 2.0 * LARGE**3, matrix_ways(square, square))]
    steps = len(race.images(asked.rows, "train")) // race.BATCH

    def run() -> dict:
        with torch.inference_mode():
            found, (_, library, at_best) = list(fastest(products)), next(fastest(large))
        step = sum(time for _, _, time in found)
        each = {p.name: f"{time * 1e6:.0f} µs, {p.flops / time / 1e9:.0f} GFLOP/s, {who}" for p, who, time in found}
        rate, most = sum(p.flops for p in products) / step / 1e9, large[0].flops / at_best / 1e9
        return {"seconds": step * steps, "gflops": rate, "large_gflops": most, "large_by": library, "each": each}

    race.serve(run, versions={"torch": torch.__version__, "numpy": np.__version__}, steps=steps)


main()
