"""Products are as exact as asked, and nobody's settings change."""

import pytest
import torch

from variate.base import precision
from variate.base.errors import UserError
from variate.config import Training

pytestmark = pytest.mark.bits

BACKENDS = {
    "mkldnn.matmul": torch.backends.mkldnn.matmul,
    "mkldnn.conv": torch.backends.mkldnn.conv,
    "cuda.matmul": torch.backends.cuda.matmul,
    "cudnn.conv": torch.backends.cudnn.conv,
}


def settings() -> dict[str, str]:
    return {name: backend.fp32_precision for name, backend in BACKENDS.items()}


@pytest.mark.parametrize("name", precision.PRECISIONS)
def test_the_settings_come_back(name):
    before = settings()
    with pytest.raises(ZeroDivisionError), precision.products(name):
        assert settings() != before
        _ = 1 / 0
    assert settings() == before


def test_the_highest_is_exact_to_single_precision():
    """Sums of three products of whole numbers below 2^11 fit into 24 bits; bfloat16 would round the numbers to 8."""
    x = torch.randint(2**10, 2**11, (64, 3), generator=torch.Generator().manual_seed(0)).float()
    with precision.products("highest"):
        found = x @ x.T
    assert torch.equal(found.double(), x.double() @ x.double().T)


@pytest.mark.parametrize(("units", "expected"), [((), "ieee"), (("avx512_bf16",), "bf16"), (("amx_bf16",), "bf16")])
def test_auto_takes_the_units_that_there_are(units, expected, monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: dict.fromkeys(units, True))
    with precision.products("auto"):
        assert settings() == {
            "mkldnn.matmul": expected,
            "mkldnn.conv": expected,
            "cuda.matmul": "tf32",
            "cudnn.conv": "tf32",
        }


def test_an_unknown_one_is_refused():
    with pytest.raises(
        UserError, match=r"train.precision='higest' is not one of auto, highest.*did you mean 'highest'"
    ):
        Training(precision="higest")
