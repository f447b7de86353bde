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

from variate import cli, estimate, noise
from variate.apps.evaluate import evaluate
from variate.apps.evaluate import table as table_of
from variate.apps.fit import fit
from variate.data.dataset import Dataset
from variate.data.load import load
from variate.errors import UserError

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
    torch.testing.assert_close(scores, whole(score, kind)[chosen], rtol=0, atol=SAME_NATS)


@pytest.mark.parametrize("score", ["log_likelihood", "elbo"])
def test_scores_do_not_change_across_chunks(score):
    """Copies of one row at places 0, 49, 50, 249, 250 and the end all get the same score."""
    places = [0, 49, 50, 249, 250, 299]
    index = torch.arange(300) % 12
    index[places] = 7
    scores = SCORES[score]("plain", rows_of("plain").rows(index))[places]
    assert float(scores.max() - scores.min()) <= SAME_NATS


@pytest.mark.parametrize("size", ["CHUNK", "DECODED_AT_ONCE"])
def test_scores_do_not_depend_on_the_size_of_a_chunk(monkeypatch, size):
    monkeypatch.setattr(estimate, size, 70)
    for score in ("log_likelihood", "elbo"):
        scores = SCORES[score]("plain", rows_of("plain"))
        torch.testing.assert_close(scores, whole(score, "plain"), rtol=0, atol=SAME_NATS)


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
    c = model.encode_context(torch.full((1,), label))
    log_mass = torch.distributions.Normal(0.0, 1.0).log_prob(grid).squeeze(-1).double() + math.log(18 / 4000)
    chances = model.likelihood.distribution(model.decode(grid.unsqueeze(1), c)[:, 0]).mean.double()
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
    frequencies = torch.tensor(run("bits").schema.labels, dtype=torch.float64)
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
    other = replace(trained, schema=replace(trained.schema, labels=counts))
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
    parameters = trained.model.decode(grid.unsqueeze(1), None)[:, 0]
    decoded = trained.model.likelihood.distribution(parameters)
    offset, scale = (torch.tensor(v, dtype=torch.float64) for v in (trained.schema.offset, trained.schema.scale))
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
        c = model.encode_context(batch.context)
        features = model.encoder(batch.input, c)
        means = model.latent.posterior(features).mean.numpy()
    expected = means.var(0, ddof=0) > 0.01
    assert estimate.active_units(run(kind), data).tolist() == expected.tolist()
    assert not estimate.active_units(run(kind), data, threshold=1e9).any()


def test_bits_per_dim_is_minus_nats_over_d_log_2():
    assert estimate.bits_per_dim(-64 * math.log(2) * 3.5, run("plain")) == pytest.approx(3.5)


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


@pytest.mark.parametrize("kind", ["conditional", "bits"])
def test_the_errors_of_log_p_given_the_label_are_its_own(kind, capsys):
    """By numpy from the rows' own figures; the table prints each beside its estimate."""
    rows = data_of(kind).subset(40)
    both = estimate.log_likelihoods(run(kind), rows, samples=3)
    figures = evaluate(run(kind), rows, samples=3, rows=None)
    for prefix, law in zip(("", "conditional_"), both, strict=True):
        nats, mc_se = law.nats.numpy(), law.mc_se.numpy()
        assert figures[f"{prefix}log_likelihood_se"] == pytest.approx(nats.std(ddof=1) / math.sqrt(40))
        assert figures[f"{prefix}log_likelihood_mc_se"] == pytest.approx(math.sqrt((mc_se**2).sum()) / 40)
        bits_per_nat = 1 / (rows.schema.size * math.log(2))
        assert figures[f"{prefix}bits_per_dim_se"] == pytest.approx(nats.std(ddof=1) / math.sqrt(40) * bits_per_nat)
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
        copies = model.likelihood.point(model.decode(model.latent.posterior(model.encoder(x, None)).mean[None], None))
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
    trained = fit(*bits(240), conditional=True, overrides=settings)
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
    weights = estimate._log_weights(trained, batch, None, keys, samples, (0, "importance")).exp()
    kish = weights.sum(0) ** 2 / (weights**2).sum(0)
    torch.testing.assert_close(found.effective_samples, kish, rtol=1e-4, atol=1e-4)


def test_rows_that_rest_on_one_draw_are_named(tmp_path, capfd):
    """An anomaly far out: no draw of the posterior is like another."""
    np.save(tmp_path / "odd.npy", np.concatenate([table(3), 60 + 40 * table(2)]))
    cli.main(["score", str(run("table").path.parent), str(tmp_path / "odd.npy"), "--out", str(tmp_path / "odd.csv")])
    columns = np.genfromtxt(tmp_path / "odd.csv", delimiter=",", names=True)
    few = int((columns["effective_samples"] < estimate.FEW_EFFECTIVE).sum())
    assert few and f"{few} rows rest on fewer than 3 effective samples" in capfd.readouterr().err
