"""Estimates of trained models against exact sums, and their independence of order, batch and company."""

import functools
import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers_runs import TINY, bits, data_of, run, table
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from variate import cli, noise
from variate.apps.evaluate import evaluate
from variate.apps.evaluate import table as table_of
from variate.apps.fit import fit
from variate.apps.report import report
from variate.base.errors import UserError
from variate.data.batch import Cells
from variate.data.dataset import Dataset
from variate.data.infer import label_field
from variate.data.load import load
from variate.models.likelihoods.likelihood import Likelihood
from variate.results import estimate, inference
from variate.results.checkpoint import Run

pytestmark = pytest.mark.bits

KINDS = ["plain", "conditional", "binary", "table"]
SAME_NATS = 1e-4


@functools.cache
def rows_of(kind: str) -> Dataset:
    return data_of(kind).subset(12)


def log_p(kind: str, data: Dataset) -> torch.Tensor:
    return estimate.log_likelihood(run(kind), data, samples=5).nats


def marginal(kind: str, data: Dataset) -> torch.Tensor:
    return estimate.log_likelihood(run(kind), data, samples=5, marginal=True).nats


def elbo(kind: str, data: Dataset) -> torch.Tensor:
    return estimate.elbo_parts(run(kind), data).elbo_nats


SCORES = {"log_likelihood": log_p, "marginal": marginal, "elbo": elbo}
CASES = [(score, kind) for kind in KINDS for score in SCORES if score != "marginal" or kind == "conditional"]


@functools.cache
def whole(score: str, kind: str) -> torch.Tensor:
    return SCORES[score](kind, rows_of(kind))


@pytest.mark.parametrize(("score", "kind"), CASES)
@given(order=st.permutations(range(12)), kept=st.integers(1, 12))
@settings(max_examples=5, deadline=None)
def test_a_rows_score_is_its_own_in_any_order_and_company(score, kind, order, kept):
    chosen = torch.tensor(order[:kept])
    scores = SCORES[score](kind, rows_of(kind).rows(chosen))
    torch.testing.assert_close(scores, whole(score, kind)[chosen], rtol=same(kind), atol=same(kind))


def same(kind: str) -> float:
    """The promise: of vectors 1e-12 of a score in double precision, of everything else 1e-5 in single."""
    return 1e-5 if run(kind).schema.x.axes.spatial else 1e-12


@pytest.mark.parametrize(("score", "kind"), CASES)
def test_a_rows_score_at_its_place_is_the_same_to_the_bit_whatever_the_others_are(score, kind):
    """But where a label is summed out: the labels that count, of all rows of a chunk, share their batches."""
    rows, most = rows_of(kind), same(kind) if score == "marginal" else 0.0
    others = rows.rows(torch.tensor([0, 1, 2, 3, 4, 5, 0, 0, 0, 0, 3, 3]))
    for company, kept in ((others, 6), (rows.rows(slice(0, 4)), 4)):
        torch.testing.assert_close(SCORES[score](kind, company)[:kept], whole(score, kind)[:kept], rtol=most, atol=0)


@pytest.mark.parametrize("score", ["log_likelihood", "elbo"])
def test_scores_do_not_change_across_chunks(score):
    """Copies of one row at places 0, 49, 50, 249, 250 and the end all get the same score."""
    places = [0, 49, 50, 249, 250, 299]
    index = torch.arange(300) % 12
    index[places] = 7
    scores = SCORES[score]("plain", rows_of("plain").rows(index))[places]
    assert float(scores.max() - scores.min()) <= SAME_NATS


SIZES = [(inference, "CHUNK_BYTES", 30_000), (estimate, "ROWS", 7), (estimate, "DECODED_AT_ONCE", 70)]


@pytest.mark.parametrize(("module", "size", "number"), SIZES, ids=[name for _, name, _ in SIZES])
def test_scores_do_not_depend_on_the_size_of_a_chunk(monkeypatch, module, size, number):
    expected = {score: whole(score, "plain") for score in ("log_likelihood", "elbo")}  # kept, so not of this size
    monkeypatch.setattr(module, size, number)
    for score, scores in expected.items():
        torch.testing.assert_close(SCORES[score]("plain", rows_of("plain")), scores, rtol=0, atol=SAME_NATS)


@pytest.mark.parametrize("score", ["log_likelihood", "elbo"])
def test_rows_given_as_an_array_of_their_own_get_the_same_score(score):
    """The model's own offset and scale count, not those of the rows that happen to be scored."""
    values = table()
    together = SCORES[score]("table", load(values))
    some = SCORES[score]("table", load(values[:20]))
    torch.testing.assert_close(some, together[:20], rtol=0, atol=SAME_NATS)


def test_dark_rows_are_rows_of_the_model_too():
    """Whether an array uses all the levels says nothing about what it holds: a black image is an 8-bit image."""
    dark = np.zeros((3, 8, 8), np.uint8)
    scores = estimate.elbo_parts(run("pixels"), load(dark)).elbo_nats
    beside = estimate.elbo_parts(run("pixels"), load(np.concatenate([dark, dark + 255]))).elbo_nats
    torch.testing.assert_close(scores, beside[:3], rtol=0, atol=SAME_NATS)


def test_the_seed_moves_a_score_within_its_error():
    data = data_of("plain").subset(100)
    first, second = (estimate.log_likelihood(run("plain"), data, samples=50, seed=seed) for seed in (0, 1))
    assert not torch.equal(first.nats, second.nats)
    scaled = (first.nats - second.nats) / (first.mc_se**2 + second.mc_se**2).sqrt()
    assert 0.4 < scaled.square().mean() < 2.5


def test_more_samples_raise_the_bound_from_the_elbo():
    data = data_of("plain").subset(100)
    few, many = (estimate.log_likelihood(run("plain"), data, samples=k).mean for k in (1, 64))
    assert estimate.elbo_parts(run("plain"), data).elbo_nats.mean() < many
    assert few < many


# ---------------------------------------------------------------------------------------------------- exact sums


@functools.cache
def exact_given_label(label: int) -> torch.Tensor:
    """log p(x | c) of the 64 binary rows by quadrature: the one latent is summed over a fine grid of its prior."""
    model = run("bits").model
    grid = torch.linspace(-9, 9, 4001).unsqueeze(-1)
    c = model.encode_context({"label": Cells(torch.full((1,), label))})
    log_mass = torch.distributions.Normal(0.0, 1.0).log_prob(grid).squeeze(-1).double() + math.log(18 / 4000)
    chances = model.likelihood.only.distribution(model.decode(grid.unsqueeze(1), c)["x"][:, 0]).mean.double()
    x = every_row().values.double()
    log_x = x @ chances.log().T + (1 - x) @ (-chances).log1p().T
    return torch.logsumexp(log_x + log_mass, 1)


@functools.cache
def every_row(label: int = 0) -> Dataset:
    """All 2^6 binary rows; the schema is that of the training rows."""
    values = np.array(list(np.ndindex(*[2] * 6)), np.uint8)
    return Dataset(torch.from_numpy(values), torch.full((64,), label), run("bits").schema)


@functools.cache
def exact_marginal() -> torch.Tensor:
    """log p(x) = log Σ_c p(c) p(x|c), nothing left out, with the training rows' own frequencies."""
    train, _ = load(*bits()).split(0)
    frequencies = torch.bincount(train.labels).double() / len(train)
    each = torch.stack([exact_given_label(label) for label in range(3)])
    return torch.logsumexp(each + frequencies.log().unsqueeze(-1), 0)


def assert_estimates(estimated: estimate.LogLikelihood, exact: torch.Tensor) -> None:
    """No row further off than its error allows, and no bias on the mean."""
    gap = estimated.nats - exact
    assert (gap.abs() < 5 * estimated.mc_se + 1e-3).all()
    assert abs(float(gap.mean())) < 3 * estimated.mean_mc_se + 1e-3


def test_the_quadrature_is_exact():
    """The oracle itself: the probabilities of all rows sum to one, for every label."""
    for label in range(3):
        assert float(exact_given_label(label).exp().sum()) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("label", range(3))
def test_log_likelihood_given_a_label_is_the_exact_one(label):
    assert_estimates(estimate.log_likelihood(run("bits"), every_row(label), samples=1000), exact_given_label(label))


@pytest.mark.parametrize("label", [0, 2])
def test_the_label_is_summed_out_exactly_whatever_label_the_rows_have(label):
    estimated = estimate.log_likelihood(run("bits"), every_row(label), samples=500, marginal=True)
    assert_estimates(estimated, exact_marginal())


def test_leaving_out_labels_loses_nothing():
    """With k = 500 samples the estimate that skips hopeless labels is that of the whole sum, label by label."""
    frequencies = torch.tensor(run("bits").schema.class_counts, dtype=torch.float64)
    given = [estimate.log_likelihood(run("bits"), every_row(c), samples=500, seed=3).nats for c in range(3)]
    total = torch.logsumexp(torch.stack(given) + (frequencies / frequencies.sum()).log().unsqueeze(-1), 0)
    pruned = estimate.log_likelihood(run("bits"), every_row(), samples=500, marginal=True)
    assert (pruned.nats - total).abs().max() < 0.2
    assert abs(float((pruned.nats - total).mean())) < 4 * pruned.mean_mc_se + 1e-3


def test_a_label_that_no_training_row_has_counts_for_nothing():
    trained = run("bits")
    widened = Dataset(every_row().values, every_row().labels, trained.schema)
    without = estimate.LogLikelihood(*_marginal_with(trained, (3, 0, 1), widened))
    each = torch.stack([exact_given_label(label) for label in (0, 2)])
    exact = torch.logsumexp(each + torch.tensor([[0.75], [0.25]], dtype=torch.float64).log(), 0)
    assert_estimates(without, exact)


def _marginal_with(trained, counts: tuple[int, ...], data: Dataset) -> tuple[torch.Tensor, torch.Tensor]:
    other = replace(trained, schema=trained.schema.with_field(label_field(counts)))
    estimated = estimate.log_likelihood(other, replace(data, schema=other.schema), samples=500, marginal=True)
    return estimated.nats, estimated.mc_se


@pytest.mark.parametrize("label", range(3))
def test_the_elbo_is_below_the_exact_likelihood(label):
    parts = [estimate.elbo_parts(run("bits"), every_row(label), seed).elbo_nats for seed in range(400)]
    mean, error = torch.stack(parts).mean(0), torch.stack(parts).std(0) / 20
    assert (mean < exact_given_label(label) + 4 * error + 1e-4).all()


def test_the_parts_add_up():
    parts = estimate.elbo_parts(run("plain"), data_of("plain"))
    torch.testing.assert_close(parts.elbo_nats, -parts.distortion_nats - parts.rate_nats)
    assert (parts.rate_nats >= 0).all()


def test_the_units_add_up_to_the_rate_where_posterior_and_prior_factorise():
    parts = estimate.elbo_parts(run("table"), data_of("table"))
    assert float(parts.unit_nats.sum()) == pytest.approx(float(parts.rate_nats.mean()))


def test_a_density_is_one_of_the_raw_values():
    """log p(x) = log ∫ p(z) p(u|z) dz − Σ log scale: the two latents are summed over a grid, the units by hand."""
    trained, values = run("table"), table(40)
    axis = torch.linspace(-6, 6, 241)
    grid = torch.cartesian_prod(axis, axis)
    parameters = trained.model.decode(grid.unsqueeze(1), None)["x"][:, 0]
    decoded = trained.model.likelihood.only.distribution(parameters)
    offset, scale = (
        torch.tensor(v, dtype=torch.float64) for v in (trained.schema.x.kind.offset, trained.schema.x.kind.scale)
    )
    mean, deviation = decoded.mean.double() * scale + offset, decoded.stddev.double() * scale
    log_x = torch.distributions.Normal(mean, deviation).log_prob(torch.from_numpy(values).unsqueeze(1)).sum(-1)
    log_prior = -grid.double().square().sum(-1) / 2 - math.log(2 * math.pi) + 2 * math.log(12 / 240)
    rows = Dataset(torch.from_numpy(values), None, trained.schema)
    assert_estimates(estimate.log_likelihood(trained, rows, samples=2000), torch.logsumexp(log_x + log_prior, 1))


# ---------------------------------------------------------------------------------------------------- figures


@pytest.mark.parametrize("kind", ["plain", "conditional", "table", "autoencoder"])
def test_active_units_are_those_whose_posterior_means_vary(kind):
    data, model = data_of(kind), run(kind).model
    with torch.no_grad():
        batch = Dataset(data.values, data.labels, run(kind).schema).batch(slice(None))
        c = model.encode_context(batch.given)
        features = model.read(batch.input, c)
        means = model.latent.posterior(features).mean.numpy()
    expected = means.var(0, ddof=0) > 0.01
    assert estimate.active_units(run(kind), data).tolist() == expected.tolist()
    assert not estimate.active_units(run(kind), data, threshold=1e9).any()


def test_bits_per_dim_is_minus_nats_over_d_log_2():
    assert estimate.bits_per_dim(-64 * math.log(2) * 3.5, run("plain")) == pytest.approx(3.5)


def test_a_label_that_is_impossible_for_a_row_leaves_its_error_known():
    """Its share of log p(x) is 0, whatever the variance of its estimate."""
    trained, data = run("bits"), every_row()
    plain = estimate._pilot

    def pilot(*arguments):
        estimates, variances = plain(*arguments)
        estimates[2], variances[2] = -math.inf, math.inf
        return estimates, variances

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(estimate, "_pilot", pilot)
        found = estimate.log_likelihood(trained, data, samples=20, marginal=True)
    assert found.nats.isfinite().all() and found.mc_se.isfinite().all()


def test_one_sample_leaves_the_error_across_rows_known():
    """Equal rows or not: what a single draw cannot tell is nobody's."""
    rows = data_of("table").subset(8)
    rows = rows.rows(torch.arange(8).repeat(2))
    found = estimate.log_likelihood(run("table"), rows, samples=1)
    assert found.se == pytest.approx(float(found.nats.std()) / 4) and math.isinf(found.mean_mc_se)


def test_equal_rows_share_their_noise_and_their_error():
    """The mean's Monte-Carlo error over rows that repeat is the scatter of the mean over seeds."""
    few = data_of("table").subset(8)
    rows = few.rows(torch.arange(8).repeat_interleave(torch.tensor([1, 1, 2, 3, 5, 8, 20, 40])))
    found = [estimate.log_likelihood(run("table"), rows, samples=40, seed=seed) for seed in range(200)]
    scatter = torch.tensor([one.mean for one in found]).std()
    told = torch.tensor([one.mean_mc_se for one in found]).square().mean().sqrt()
    assert float(told / scatter) == pytest.approx(1, abs=0.2)
    naive = found[0].mc_se.square().sum().sqrt() / len(rows)
    assert found[0].mean_mc_se > 1.5 * float(naive)


def test_the_error_across_rows_holds_what_equal_rows_share():
    """Twice the same rows: no more is known than from half of them, but for the spread between rows."""
    nats, mc_se = torch.tensor([1.0, 2.0, 4.0, 9.0]), torch.tensor([0.1, 0.2, 0.2, 0.4])
    twice = estimate.LogLikelihood(nats.repeat(2), mc_se.repeat(2), 1, torch.arange(4).repeat(2))
    assert twice.mean_mc_se == pytest.approx(estimate.LogLikelihood(nats, mc_se).mean_mc_se)
    shared = 8 * np.square(mc_se.numpy()).sum() * 2 / 8 / 64  # of 8 pairs (i, j) of equal rows i ≠ j: Σ se_i se_j / n²
    assert twice.se == pytest.approx(math.sqrt(np.var(nats.repeat(2).numpy(), ddof=1) / 8 + shared))


@functools.cache
def whole_numbers() -> tuple[Run, np.ndarray]:
    """A model of real numbers that happen to be whole, some of them 0, and its rows."""
    values = np.random.default_rng(0).integers(-3, 4, size=(60, 4)).astype(np.float64)
    values[0] = [0, 0, -3, 3]
    return fit(values, epochs=2, overrides=TINY), values


@pytest.mark.parametrize("dtype", ["int8", "int16", "int64", ">i4", "float16", "float32", ">f8", "negative zero"])
def test_a_score_does_not_depend_on_what_a_row_is_stored_as(dtype):
    trained, values = whole_numbers()
    stored = np.where(values == 0, -0.0, values) if dtype == "negative zero" else values.astype(dtype)
    for score in (lambda data: estimate.log_likelihood(trained, data, 5).nats, lambda data: elbo_of(trained, data)):
        assert torch.equal(score(load(stored, like=trained.schema)), score(load(values, like=trained.schema)))


def elbo_of(trained: Run, data: Dataset) -> torch.Tensor:
    return estimate.elbo_parts(trained, data).elbo_nats


@pytest.mark.parametrize("kind", ["plain", "binary", "conditional"])
@pytest.mark.parametrize("dtype", ["int64", "uint16", "float32", "float64"])
def test_levels_are_levels_whatever_they_are_stored_as(kind, dtype):
    """Binarised ones get the same bits, too."""
    data = rows_of(kind)
    labels = None if data.labels is None else data.labels.numpy()
    stored = load(data.values.numpy().astype(dtype), labels, like=run(kind).schema)
    for score, name in CASES:
        if name == kind:
            assert torch.equal(SCORES[score](kind, stored), whole(score, kind))


def test_where_the_label_is_summed_out_labels_change_nothing():
    """Neither a row's own label, nor whether other rows have one."""
    data = rows_of("conditional")
    missing = torch.where(torch.arange(12) == 5, -1, data.labels)
    for labels in (None, missing, data.labels.flip(0), torch.full((12,), 3)):
        assert torch.equal(marginal("conditional", replace(data, labels=labels)), whole("marginal", "conditional"))
    beside = estimate.log_likelihoods(run("conditional"), data, 5)[0].nats  # whose batches hold the given ones too
    torch.testing.assert_close(beside, whole("marginal", "conditional"), rtol=same("conditional"), atol=0)


def test_the_label_given_is_the_one_that_is_scored():
    """The log p(x|c) that comes beside log p(x) is the one that comes alone, for any label."""
    data = rows_of("conditional")
    for labels in (data.labels, (data.labels + 4) % 10):
        rows = replace(data, labels=labels)
        _, beside = estimate.log_likelihoods(run("conditional"), rows, 7)
        alone = estimate.log_likelihood(run("conditional"), rows, 7)
        torch.testing.assert_close(beside.nats, alone.nats, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(beside.mc_se, alone.mc_se, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("far", [1e20, 1e160, 1e200, 1e308, -1.7e308])
def test_a_row_far_out_is_scored_by_itself_as_in_company(far):
    """log p = −∞ is what a density rounds to there; no verdict, and no other row's score, depends on it."""
    trained, values = whole_numbers()
    row = np.array([[0.0, 0.0, far, 0.0]])
    alone = estimate.log_likelihood(trained, load(row, like=trained.schema), 5)
    beside = estimate.log_likelihood(trained, load(np.concatenate([row, values]), like=trained.schema), 5)
    without = estimate.log_likelihood(trained, load(np.concatenate([values[:1], values]), like=trained.schema), 5)
    assert alone.nats[0] == beside.nats[0] < -1e30
    assert torch.equal(beside.nats[1:], without.nats[1:])
    assert inference.code_means(trained, load(row, like=trained.schema)).isfinite().all()
    if abs(far) > 1e160:
        assert alone.nats[0] == -math.inf and alone.effective_samples[0] == 0 and alone.mc_se[0] == math.inf


def test_a_chunk_has_a_size_in_bytes():
    """The parameters of p(x|z) of all rows that are decoded at a time fit into the limit, if those of one row do."""
    seen = []
    for kind in ("plain", "table"):
        trained = inference.exact(run(kind))
        size = trained.schema.x.size * trained.model.likelihood.only.per_value * trained.dtype.itemsize
        for limit in (1, 3 * size, 10**9):
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(inference, "CHUNK_BYTES", limit)
                hook = torch.nn.modules.module.register_module_forward_hook(
                    lambda module, inputs, output: (
                        seen.append(output.nbytes)
                        if isinstance(module, Likelihood) and isinstance(output, torch.Tensor)
                        else None
                    )
                )
                inference.sample(run(kind), 20, None, 0, True)
                hook.remove()
            assert seen and max(seen) <= max(limit, size)
            seen.clear()


def test_standard_errors_are_those_of_the_mean():
    nats, mc_se = torch.tensor([1.0, 2.0, 4.0, 9.0]), torch.tensor([0.1, 0.2, 0.2, 0.4])
    figures = estimate.LogLikelihood(nats, mc_se)
    assert figures.mean == 4.0
    assert figures.se == pytest.approx(np.std([1, 2, 4, 9], ddof=1) / 2)
    assert figures.mean_mc_se == pytest.approx(math.sqrt(0.01 + 0.04 + 0.04 + 0.16) / 4)


def test_the_monte_carlo_error_is_the_spread_over_seeds():
    rows = rows_of("plain")
    repeated = [estimate.log_likelihood(run("plain"), rows, samples=60, seed=seed) for seed in range(20)]
    spread = torch.stack([r.nats for r in repeated]).std(0)
    told = torch.stack([r.mc_se for r in repeated]).mean(0)
    assert 0.7 < float((told / spread).mean()) < 1.4


@pytest.mark.parametrize("kind", ["plain", "conditional", "table", "bits"])
def test_evaluate_tells_bits_per_dim_of_its_own_nats(kind):
    figures, data = evaluate(run(kind), data_of(kind), samples=3, rows=20), data_of(kind)
    to_bits = -1 / (data.values[0].numel() * math.log(2))
    assert figures["bits_per_dim"] == pytest.approx(figures["log_likelihood_nats"] * to_bits)
    assert figures["elbo_bits_per_dim"] == pytest.approx(figures["elbo_nats"] * to_bits)
    assert figures["elbo_nats"] == pytest.approx(-figures["distortion_nats"] - figures["rate_nats"])
    assert figures["n"] == len(data) and figures["samples"] == 3


def test_a_mean_that_a_row_makes_infinite_is_null_and_said(tmp_path, capfd):
    """A constant that is another in one row: its log p is −∞. Strict JSON, the table and the page say so."""
    values = np.insert(table(60), 2, 7.25, axis=1)
    trained = fit(values, out=tmp_path / "run", epochs=2, overrides=TINY)
    values[3, 2] = 8
    np.save(tmp_path / "odd.npy", values)
    where = [str(tmp_path / "run"), str(tmp_path / "odd.npy")]
    cli.main(["evaluate", *where, "--json", "--samples", "3"])
    figures = json.loads(capfd.readouterr().out, parse_constant=lambda constant: pytest.fail(f"bare {constant}"))
    assert figures["not_finite"] == 1 and figures["log_likelihood_nats"] is None and figures["elbo_nats"] is None
    cli.main(["evaluate", *where, "--samples", "3"])
    assert "no finite log p for 1 rows" in capfd.readouterr().out
    cli.main(["score", *where, "--samples", "3", "--out", str(tmp_path / "scores.csv")])
    assert "1 of 60 rows in " in capfd.readouterr().err
    scores = np.genfromtxt(tmp_path / "scores.csv", delimiter=",", names=True)
    assert scores["effective_samples"][3] == 0 and scores["log_likelihood_nats"][3] == -np.inf
    assert "unknown" in report(trained, load(tmp_path / "odd.npy"), samples=3, out=tmp_path / "page").read_text()


@pytest.mark.parametrize("kind", ["conditional", "bits"])
def test_the_errors_of_log_p_given_the_label_are_its_own(kind, capsys):
    """By numpy from the rows' own figures, equal rows together; the table prints each beside its estimate."""
    rows = data_of(kind).subset(40)
    _, group = np.unique(rows.values.flatten(1).numpy(), axis=0, return_inverse=True)
    both = estimate.log_likelihoods(run(kind), rows, samples=3)
    figures = evaluate(run(kind), rows, samples=3, rows=None)
    for prefix, law in zip(("", "conditional_"), both, strict=True):
        nats, mc_se = law.nats.numpy(), law.mc_se.numpy()
        shared = (np.bincount(group, mc_se) ** 2).sum()
        error = math.sqrt(nats.var(ddof=1) / 40 + (shared - (mc_se**2).sum()) / 40**2)
        assert figures[f"{prefix}log_likelihood_se"] == pytest.approx(error)
        assert figures[f"{prefix}log_likelihood_mc_se"] == pytest.approx(math.sqrt(shared) / 40)
        bits_per_nat = 1 / (rows.schema.x.size * math.log(2))
        assert figures[f"{prefix}bits_per_dim_se"] == pytest.approx(error * bits_per_nat)
    assert figures["conditional_log_likelihood_se"] != pytest.approx(figures["log_likelihood_se"], rel=1e-3)
    lines = table_of(figures).splitlines()
    place = next(number for number, line in enumerate(lines) if line.startswith("log p(x | c)"))
    assert f"± {figures['conditional_bits_per_dim_se']:.4f} bits" in lines[place]
    assert f"{figures['conditional_log_likelihood_mc_se']:.3f} Monte Carlo" in lines[place + 1]


@pytest.mark.parametrize("rows", [30, None])
def test_baselines_are_measured_on_the_rows_of_the_estimate(tmp_path, capsys, rows):
    """The normal of the training rows, by SciPy, at the very rows that log p(x) is told of."""
    train, test = table(), table(200, seed=1) * np.linspace(0.5, 2, 200)[:, None]
    for name, values in {"train": train, "test": test}.items():
        np.save(tmp_path / f"{name}.npy", values)
    call = ["evaluate", run("table").path.parent, tmp_path / "test.npy", "--train", tmp_path / "train.npy"]
    call += ["--baselines", "--json", "--samples", 2, *([] if rows is None else ["--rows", rows])]
    cli.main([str(word) for word in call])
    figures = json.loads(capsys.readouterr().out)
    fitted = load(train).split(0)[0].values.numpy()
    law = stats.multivariate_normal(fitted.mean(0), np.cov(fitted.T, bias=True))
    measured = load(test).subset(rows).values.numpy()
    assert figures["log_likelihood_n"] == len(measured)
    told = -law.logpdf(measured).mean() / (5 * math.log(2))
    assert figures["baselines"]["multivariate normal"] == pytest.approx(told, rel=1e-9)


def test_evaluate_on_a_subset_is_the_mean_of_those_rows():
    data = data_of("plain")
    figures = evaluate(run("plain"), data, samples=4, rows=30)
    assert figures["log_likelihood_nats"] == pytest.approx(
        estimate.log_likelihood(run("plain"), data.subset(30), samples=4).mean
    )


def test_evaluate_measures_the_squared_error_by_hand():
    data, model = data_of("autoencoder"), run("autoencoder").model
    x = data.values.float().unsqueeze(1) / 16
    with torch.no_grad():
        code = model.latent.posterior(model.encoder(x, None)).mean[None]
        copies = model.likelihood.point(model.decode(code, None))["x"]
    assert evaluate(run("autoencoder"), data)["mse_per_dim"] == pytest.approx(
        float(((x - copies[0]) ** 2).mean()), rel=1e-5
    )


@pytest.mark.parametrize("measure", [estimate.log_likelihood, estimate.elbo_parts])
def test_a_deterministic_autoencoder_has_no_likelihood(measure):
    with pytest.raises(UserError, match="no likelihood"):
        measure(run("autoencoder"), data_of("autoencoder"))


def test_an_evaluated_autoencoder_claims_no_likelihood():
    assert not [key for key in evaluate(run("autoencoder"), data_of("autoencoder")) if key.endswith(("nats", "dim_se"))]


@pytest.mark.parametrize("data", ["digits-without-labels", "table", "grey", "unknown-label"])
def test_rows_of_another_kind_are_refused(data):
    digits = data_of("conditional")
    others = {
        "digits-without-labels": Dataset(digits.values, None, digits.schema),
        "table": load(table(20), np.zeros(20, int)),
        "grey": load(np.full((5, 8, 8), 200, np.uint8), np.zeros(5, int)),
        "unknown-label": Dataset(digits.values, digits.labels + 1, digits.schema),
    }
    with pytest.raises(UserError):
        estimate.elbo_parts(run("conditional"), others[data])


def test_the_monte_carlo_error_of_a_sum_over_labels_is_that_of_the_estimates():
    """Where the label says nothing all labels weigh the same, and errors that they shared would not average out."""
    rows, labels = bits(8)
    settings = [*TINY, "train.epochs=20", "train.batch_size=40"]
    trained = fit(*bits(240), given="label", overrides=settings)
    with torch.no_grad():
        for name, weights in trained.model.named_parameters():
            if "film" in name or "shift" in name:  # all that a label could change
                weights.zero_()
    data = load(rows, labels)
    found = [estimate.log_likelihood(trained, data, 20, seed, marginal=True) for seed in range(60)]
    spread = torch.stack([one.nats for one in found]).std(0)
    told = torch.stack([one.mc_se for one in found]).square().mean(0).sqrt()
    assert float((told / spread).log().mean().exp()) == pytest.approx(1, abs=0.2)


@pytest.mark.parametrize("samples", [2, 7, 40])
def test_effective_samples_are_kishs(samples):
    """(Σ w)² / Σ w² of the very weights whose mean the estimate is."""
    trained = run("table")
    data = rows_of("table").under(trained.schema)
    found = estimate.log_likelihood(trained, data, samples)
    keys, batch = noise.row_keys(data.values), data.batch(slice(None))
    weights = estimate._log_weights(trained, batch, keys, samples, (0, "importance")).exp()
    kish = weights.sum(0) ** 2 / (weights**2).sum(0)
    torch.testing.assert_close(found.effective_samples, kish, rtol=1e-4, atol=1e-4)


def test_rows_that_rest_on_one_draw_are_named(tmp_path, capfd):
    """An anomaly far out: no draw of the posterior is like another."""
    np.save(tmp_path / "odd.npy", np.concatenate([table(3), 60 + 40 * table(2)]))
    cli.main(["score", str(run("table").path.parent), str(tmp_path / "odd.npy"), "--out", str(tmp_path / "odd.csv")])
    columns = np.genfromtxt(tmp_path / "odd.csv", delimiter=",", names=True)
    few = int((columns["effective_samples"] < estimate.FEW_EFFECTIVE).sum())
    assert few and f"{few} rows rest on fewer than 3 effective samples" in capfd.readouterr().err
