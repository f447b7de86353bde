"""Baselines of tables: laws that they contain are found exactly, masses sum to one, missing cells are summed over."""

import itertools
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "benchmarks"))

import tabular_baselines as of  # noqa: E402

NO_PSEUDO_ROWS = 1e-9
CHAIN = np.array([[8, 2], [3, 7]])  # out of ten: b given a, and c given b


def chain(n: int = 100) -> tuple[of.Columns, np.ndarray]:
    """Rows in exactly the shares of a → b → c, and the log-probability of each; c stands first, so it is no path."""
    cells = [(a, b, c, CHAIN[a, b] * CHAIN[b, c] * n // 100) for a, b, c in itertools.product(range(2), repeat=3)]
    rows = np.array([row[:3] for row in cells for _ in range(row[3])])
    log_p = np.log([row[3] / (2 * n) for row in cells for _ in range(row[3])])
    words = np.array(["no", "yes"])[rows]
    return {"c": words[:, 2], "a": words[:, 0], "b": words[:, 1]}, log_p


def table(rng: np.random.Generator, n: int = 400) -> of.Columns:
    word = rng.choice(["x", "y", "z"], size=n, p=[0.5, 0.3, 0.2])
    wide = rng.integers(0, 1000, size=n) + 1000.0 * (word == "x")
    heaped = np.where(rng.random(n) < 0.5, 0.0, rng.poisson(5, size=n))
    return {"word": word, "wide": wide, "heaped": heaped}


FITS = {
    "tree": lambda rows: of.ChowLiu(rows, 1.0),
    "classes": lambda rows: of.LatentClasses(rows, 1.0, 3),
    "independent": lambda rows: of.LatentClasses(rows, 1.0),
}


def test_the_tree_of_a_chain_is_the_chain():
    columns, log_p = chain()
    coded = of.coder(columns)(columns)
    tree = of.ChowLiu(coded, NO_PSEUDO_ROWS)
    assert {tuple(sorted((child, tree.parents[child]))) for child in tree.order[1:]} == {(0, 2), (1, 2)}
    # the shares of the root have half a row more of each word (a new one too): 1e-2 of a row in 100
    np.testing.assert_allclose(tree.log_prob(coded), log_p, atol=0.02)


def test_columns_apart_are_found_exactly():
    columns, _ = chain()
    coded = of.coder(columns)(columns)
    counts = [np.array([(column == v).sum() for v in column]) for column in columns.values()]
    apart = sum(np.log((n + (n + 0.5) / 201.5) / 201) for n in counts)  # one pseudo-row, of 200 rows and three words
    np.testing.assert_allclose(of.LatentClasses(coded, 1.0).log_prob(coded), apart)


def test_latent_classes_find_two_kinds_of_rows(rng):
    """Six words which a hidden kind decides for nine in ten rows: near the true log-probability, far below apart."""
    kind = rng.random(4000) < 0.5
    cells = np.where(rng.random((4000, 6)) < 0.9, kind[:, None], ~kind[:, None])
    columns = {f"c{j}": np.array(["no", "yes"])[cell.astype(int)] for j, cell in enumerate(cells.T)}
    yes = cells.sum(1)
    true = np.log(0.5 * 0.9**yes * 0.1 ** (6 - yes) + 0.5 * 0.1**yes * 0.9 ** (6 - yes))
    coded = of.coder(columns)(columns)
    found = of.LatentClasses(coded, 1.0, 2).log_prob(coded)
    assert abs(found.mean() - true.mean()) < 0.01
    assert of.LatentClasses(coded, 1.0).log_prob(coded).mean() < true.mean() - 1


@pytest.mark.parametrize("fit", FITS.values(), ids=FITS)
def test_masses_sum_to_one_and_missing_cells_are_summed_over(rng, fit):
    train = table(rng)
    code = of.coder(train)
    model = fit(code(train))
    whole = {
        "word": np.array(["x", "y", "z", "new"]),
        "wide": np.arange(-2100.0, 4100),
        "heaped": np.arange(-30.0, 40),
    }
    one = {"word": np.array(["y"]), "wide": np.array([150.0]), "heaped": np.array([0.0])}
    missing = {"word": np.array([""]), "wide": np.array([np.nan]), "heaped": np.array([np.nan])}

    def mass(columns: of.Columns) -> float:
        every = np.meshgrid(*columns.values(), indexing="ij")
        flat = {name: column.ravel() for name, column in zip(columns, every, strict=True)}
        return np.exp(model.log_prob(code(flat))).sum()

    for name in whole:
        assert mass(one | {name: whole[name]}) == pytest.approx(mass(one | {name: missing[name]}), rel=1e-9)
    assert mass(missing) == pytest.approx(1)


def test_numbers_that_many_have_are_bins_of_their_own():
    values = np.concatenate([np.zeros(500), np.arange(1.0, 501)])
    edges = of.edges(np.append(values, np.nan))
    assert {0, 1} <= set(edges) and edges[0] < 0 and edges[-1] > 501 and len(edges) > 5
    with_two = of.edges(np.where(values == 7, np.nan, values))
    assert np.isfinite(with_two).all()


def test_values_never_seen_are_unlikely_not_impossible(rng):
    train = table(rng)
    code = of.coder(train)
    odd = code({"word": np.array(["never"]), "wide": np.array([1e6]), "heaped": np.array([3.0])})
    likely = code({"word": np.array(["never"]), "wide": np.array([1e3]), "heaped": np.array([3.0])})
    tree = FITS["tree"](code(train))
    assert tree.log_prob(odd)[0] == -np.inf  # beyond what the last bin holds
    assert -30 < tree.log_prob(likely)[0] < -10


def test_information_of_a_copy_is_its_entropy_and_of_a_stranger_none():
    assert of.mutual_information(np.diag([50.0, 50.0])) == pytest.approx(np.log(2))
    assert of.mutual_information(np.full((2, 2), 25.0)) == pytest.approx(0)


def test_adult_is_read_as_its_authors_wrote_it(tmp_path, monkeypatch):
    line = "39, State-gov, 77516, Bachelors, 13, Never-married, ?, Not-in-family, White, Male, 2174, 0, 40, Cuba, <=50K"
    (tmp_path / "adult.test").write_text(f"|1x3 Cross validator\n{line}.\n\n")
    monkeypatch.setenv("VARIATE_DATA", str(tmp_path))
    read = of.adult("test")
    assert list(read) == of.ADULT and read["occupation"][0] == "" and read["income"][0] == "<=50K"
    assert (read["age"][0], read["fnlwgt"][0], read["capital-gain"][0]) == (39.0, 77516.0, 2174.0)
    with pytest.raises(of.UserError, match="no adult.data"):
        of.adult("data")
