"""What steps add up to, against plain sums."""

import math

import pytest
import torch

from variate.data.load import load
from variate.models.objectives.objective import Terms
from variate.training.processes import Processes
from variate.training.tally import Outcome, Tally, in_raw_units, recorded, total_terms


def test_the_sum_of_terms_is_over_rows_and_groups():
    terms = Terms(torch.arange(3.0), torch.ones(3, 2))
    names, sums = total_terms(terms)
    assert dict(zip(names, sums.tolist(), strict=True)) == {
        "bound_nats": -9.0,
        "elbo_nats": -9.0,
        "distortion_nats": 3.0,
        "rate_nats": 6.0,
    }


@pytest.mark.parametrize("at_once", [1, 4, 12])
def test_skipped_steps_count_no_rows_and_are_counted_in_a_row(at_once):
    """Twelve steps, looked at one by one or together; the sums of a skipped one are whatever they are."""
    skipped = [0, 1, 1, 0, 0, 1, 1, 1, 0, 0, 0, 1]
    rows = [8, 8, 8, 8, 8, 3, 8, 8, 8, 8, 8, 3]
    sums = [math.nan if bad else 10.0 * step for step, bad in enumerate(skipped)]
    outcomes = [
        Outcome(["elbo_nats"], torch.tensor([total]), torch.tensor(float(bad)), count)
        for total, bad, count in zip(sums, skipped, rows, strict=True)
    ]
    tally = Tally()
    fresh = [tally.add(outcomes[start : start + at_once], Processes()) for start in range(0, 12, at_once)]
    good = [step for step, bad in enumerate(skipped) if not bad]
    assert sum(each["rows"] for each in fresh) == sum(rows[step] for step in good)
    assert tally.skipped == sum(skipped)
    assert (tally.bad_run, tally.worst_run) == (1, 3)
    assert tally.end_epoch() == pytest.approx(
        {"elbo_nats": sum(sums[step] for step in good) / sum(rows[step] for step in good)}
    )
    assert tally.sums == {}


def test_a_row_of_probability_zero_leaves_no_mean():
    """It is not left out, nor counted as 0; what others are told is null."""
    outcomes = [
        Outcome(["elbo_nats", "rate_nats"], torch.tensor([total, 8.0]), torch.tensor(0.0), 4)
        for total in (-6.0, -math.inf)
    ]
    tally = Tally()
    tally.add(outcomes, Processes())
    assert recorded(tally.end_epoch()) == {"elbo_nats": None, "rate_nats": 2.0}


def test_the_sum_over_the_first_rows_leaves_the_others_out():
    rates = torch.tensor([[1.0, 1.0], [2.0, 2.0], [4.0, math.inf]])
    terms = Terms(None, rates, None, torch.tensor([1.0, 2.0, math.nan]))
    assert total_terms(terms, 2)[1].tolist() == [3.0, 6.0] and total_terms(terms, 0)[1].tolist() == [0.0, 0.0]


def test_densities_of_standardised_values_become_those_of_the_values(rng):
    """log p(x) of x = 10 u + 3 per value: the log of the scale less for each, in the bound as in the distortion."""
    schema = load(rng.normal(3, 10, (500, 4))).schema
    raw = in_raw_units({"elbo_nats": -5.0, "distortion_nats": 4.0, "rate_nats": 1.0}, schema)
    volume = sum(math.log(scale) for scale in schema.x.kind.scale)
    assert raw["elbo_nats"] == pytest.approx(-5.0 - volume) == -raw["distortion_nats"] - raw["rate_nats"]
    assert raw["elbo_bits_per_dim"] == pytest.approx(-raw["elbo_nats"] / 4 / math.log(2))
