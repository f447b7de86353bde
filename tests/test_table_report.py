"""The report of a table: its columns on both sides, how they go together, what is missing of them."""

import datetime
import json
from html.parser import HTMLParser

import numpy as np
import polars as pl
import pytest
from matplotlib.dates import date2num
from scipy import stats
from scipy.stats.contingency import association

from variate import fit, report
from variate.data.columns import codes, infer_columns
from variate.data.load import load
from variate.show.page import associations, html, marginals, number_line, pairwise, sides
from variate.show.page.sides import Sides

ROWS = 400
SMALL = ["encoder.hidden=[16]", "decoder.hidden=[16]", "latent.size=2"]
STRANGE = "a <b> $x$ 名"  # as HTML and as a formula it would be something else
DRAWN = ["town", STRANGE, "amount", "visits", "day", "start"]


def rows(n=ROWS):
    rng = np.random.default_rng(0)
    town = rng.integers(0, 3, n)
    amount = np.where(rng.random(n) < 0.4, 0.0, rng.normal(10 * town, 3.0, n))
    days = [datetime.date(2020, 1, 1) + datetime.timedelta(int(day)) for day in rng.integers(0, 900, n)]
    starts = [datetime.time(int(hour), int(minute)) for hour, minute in rng.integers(0, (24, 60), (n, 2))]
    frame = pl.DataFrame(
        {
            "town": np.array(["Ulm", "<Köln>", "東京"])[town],
            STRANGE: np.array(["no", "yes"])[(rng.random(n) < 0.2 + 0.3 * town).astype(int)],
            "amount": amount,
            "visits": rng.poisson(3.0, n),
            "day": days,
            "start": starts,
            "constant": ["same"] * n,
        }
    )
    return frame.with_columns(
        pl.when(pl.Series(rng.random(n) < 0.25)).then(None).otherwise(pl.col("town")).alias("town")
    )


@pytest.fixture(scope="module")
def frame():
    return rows()


@pytest.fixture(scope="module")
def run(tmp_path_factory, frame):
    return fit(frame, out=tmp_path_factory.mktemp("table") / "run", epochs=2, overrides=SMALL)


class Page(HTMLParser):
    """``titles`` of sections, ``pictures`` by name, ``cells`` of the listing of columns."""

    def __init__(self, text):
        super().__init__()
        self.titles, self.pictures, self.lines, self.text = [], [], [], ""
        self.inside = ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        said = dict(attrs)
        if tag == "img":
            self.pictures.append(said["id"])
        if tag == "tr":
            self.lines.append([])
        self.inside = tag

    def handle_data(self, data):
        self.text += data
        if self.inside == "h2":
            self.titles.append(data)
            self.inside = ""
        if self.inside in ("td", "th") and self.lines:
            self.lines[-1].append(data)
            self.inside = ""


@pytest.fixture(scope="module")
def place(run, frame):
    return report(run, frame, samples=3, rows=50).parent


@pytest.fixture(scope="module")
def page(place):
    return Page((place / "report.html").read_text(encoding="utf-8"))


def test_sections_of_a_table(page):
    expected = [marginals.TITLE, associations.TITLE, "Missing cells", "Latent space", "Training", "Columns", "Numbers"]
    assert page.titles == expected


def test_every_column_has_a_picture_and_its_name(page, place):
    columns = [name for name in page.pictures if name.startswith("column-")]
    assert columns == [f"column-{place}" for place in range(len(DRAWN))]
    assert all((place / "pictures" / f"{name}.png").exists() for name in page.pictures)
    assert all(name in page.text for name in (*DRAWN, "<Köln>", "東京"))


def test_figures_are_in_the_json_and_column_by_column_in_the_listing(run, frame, place, page):
    figures = json.loads((place / "report.json").read_text())
    by_column = figures["figures"]["column_distortion_nats"]
    assert list(by_column) == sorted(DRAWN)
    assert sum(by_column.values()) > figures["figures"]["distortion_nats"]  # each is over the rows that have the cell
    assert figures["training"]["dimensions"] == len(DRAWN)
    listed = {line[0]: line for line in page.lines if line}
    for name in DRAWN:
        assert listed[name][-1] == f"{by_column[name]:.3f}".replace("-", "−")
    assert listed["town"][2] == f"{frame['town'].null_count() / len(frame):.1%}"
    assert listed["constant"][1] == "same in every row"


def test_a_table_without_holes_has_no_section_of_them(run, frame, tmp_path):
    whole = frame.drop_nulls()
    page = Page(report(run, whole, samples=2, rows=10, out=tmp_path).read_text(encoding="utf-8"))
    assert "Missing cells" not in page.titles and marginals.TITLE in page.titles


def test_one_row_and_cells_that_are_all_missing(run, frame, tmp_path):
    alone = frame.head(1).with_columns(pl.lit(None, pl.Float64).alias("amount"), pl.lit(None, pl.String).alias("town"))
    page = Page(report(run, alone, samples=2, rows=1, out=tmp_path).read_text(encoding="utf-8"))
    assert associations.TITLE in page.titles


def test_samples_have_the_columns_that_are_given(tmp_path, frame):
    run = fit(frame, out=tmp_path / "run", epochs=1, given=["town", "visits"], overrides=SMALL)
    page = Page(report(run, frame, samples=2, rows=10).read_text(encoding="utf-8"))
    assert "told the given columns" in page.text
    assert [line[-1] for line in page.lines if line and line[0] == "town"] == ["given"]


def test_a_table_of_one_column(tmp_path):
    frame = pl.DataFrame({"amount": np.random.default_rng(0).normal(size=200)})
    run = fit(frame, out=tmp_path / "run", epochs=1, overrides=SMALL)
    page = Page(report(run, frame, samples=2, rows=10).read_text(encoding="utf-8"))
    assert marginals.TITLE in page.titles and associations.TITLE not in page.titles


# ---- numbers ----


@pytest.fixture(scope="module")
def coded(frame):
    columns = tuple(column for column in infer_columns(frame) if column.is_learned)
    return codes(frame, columns), columns


@pytest.fixture(scope="module")
def strengths(coded):
    values, columns = coded
    return pairwise.matrix(values, np.array([column.measure == "category" for column in columns]))


def there(frame, *names):
    return [side.to_numpy() for side in frame.select(names).drop_nulls()]


def test_categories_go_together_by_cramers_v(frame, strengths):
    town, other = there(frame, "town", STRANGE)
    table = stats.contingency.crosstab(town, other).count
    np.testing.assert_allclose(strengths[0, 1], association(table, method="cramer"), rtol=1e-12)


def test_numbers_go_together_by_their_ranks(frame, strengths):
    amount, visits = there(frame, "amount", "visits")
    np.testing.assert_allclose(strengths[2, 3], abs(stats.spearmanr(amount, visits).statistic), rtol=1e-9)


def test_a_number_goes_with_a_category_by_the_variance_between_levels(frame, strengths):
    town, amount = there(frame, "town", "amount")
    ranks = stats.rankdata(amount)
    groups = [ranks[town == level] for level in np.unique(town)]
    f, within = stats.f_oneway(*groups).statistic, len(town) - len(groups)
    np.testing.assert_allclose(strengths[0, 2] ** 2, f * 2 / (f * 2 + within), rtol=1e-9)


def test_strengths_are_symmetric_and_between_0_and_1(strengths):
    np.testing.assert_array_equal(strengths, strengths.T)
    above = strengths[np.triu_indices(len(strengths), 1)]
    assert np.isnan(strengths.diagonal()).all() and (above >= 0).all() and (above <= 1).all()


def test_a_column_that_does_not_vary_goes_with_none():
    table = np.array([[0.0, 1, 2], [0, 2, 1], [0, 3, np.nan]])
    found = pairwise.matrix(table, np.array([True, False, False]))
    assert found[0, 1] == found[0, 2] == 0 and found[1, 2] == pytest.approx(1)


def test_a_sentence_names_the_pairs_that_differ_most(coded):
    _, columns = coded
    data = np.full((3, 3), 0.5)
    drawn = data.copy()
    drawn[0, 2] = drawn[2, 0] = 0.1
    said = associations.differences(data, drawn, columns[:3])
    assert said.startswith("The largest differences are between town and amount (0.50 in the data, 0.10 in samples);")


def test_levels_that_few_rows_have_are_put_together():
    column = infer_columns(pl.DataFrame({"a": [f"level {i:02}" for i in range(20) for _ in range(30 - i)]}))[0]
    data = np.repeat(np.arange(20.0), range(30, 10, -1))
    names, shares, others = marginals.top_levels(data, np.zeros(5), column)
    assert names == (*column.levels[: marginals.MOST_LEVELS], "13 others")
    np.testing.assert_allclose(shares[[0, -1]], [30 / len(data), np.arange(11, 24).sum() / len(data)])
    np.testing.assert_allclose(others, [1] + [0] * 7)


def test_numbers_that_many_cells_hold_are_heaps():
    codes = np.r_[np.zeros(50), np.full(20, 7.0), np.linspace(1, 2, 80)]
    assert marginals.heaps_of(codes) == (0.0, 7.0)
    assert marginals.heaps_of(np.repeat([1.0, 2.0, 3.0], 30)) == ()  # a histogram of few values says it all


def test_codes_lie_where_their_values_are(frame, coded):
    values, columns = coded
    found = {}
    for place, column in enumerate(columns):
        if column.measure != "category":
            line = number_line.of(column)
            found[column.name] = line.offset + line.scale * values[:, place]
    np.testing.assert_allclose(found["amount"], frame["amount"].to_numpy())
    np.testing.assert_allclose(found["visits"], frame["visits"].to_numpy())
    np.testing.assert_allclose(found["day"], date2num(frame["day"].to_list()))
    np.testing.assert_allclose(found["start"], [time.hour + time.minute / 60 for time in frame["start"]])


def test_both_sides_have_as_many_rows(run, frame):
    found = sides.both(run, load(frame, like=run.schema))
    assert isinstance(found, Sides) and found.data.shape == found.drawn.shape == (ROWS, len(DRAWN))
    assert [column.name for column in found.columns] == DRAWN


def test_a_listing_is_escaped_and_nothing_without_rows():
    assert html.listing("Columns", ("a",), []) == ""
    assert "<td>&lt;b&gt;</td>" in html.listing("Columns", ("a",), [("<b>",)])
