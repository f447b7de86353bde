"""The report: one page that needs nothing else, whose pictures and numbers are the model's own."""

import base64
import io
import json
import math
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image

from variate.apps.evaluate import evaluate
from variate.apps.fit import fit
from variate.apps.report import report
from variate.base.errors import UserError
from variate.data.dataset import Dataset
from variate.data.infer import infer_schema, label_field
from variate.data.kinds import Reals
from variate.data.load import load
from variate.data.schema import Field, Schema
from variate.results import inference
from variate.results.folder import RunFolder
from variate.show import pictures
from variate.show.outputs import save_array, save_pairs
from variate.show.page import charts, classes, columns, findings, html, latent, sheets, training
from variate.show.page.numbers import text as spelt
from variate.show.page.parts import Picture, Section

SAMPLES, ROWS = 3, 20
COLUMNS, PAIRS = sheets.SMALL.columns, sheets.SMALL.pairs
TINY = ["encoder.name=mlp", "decoder.name=mlp", "encoder.hidden=[16]", "decoder.hidden=[16]", "latent.size=3"]
LONG = "<i>a & b</i>, called by a name that goes on and on"


class Page(HTMLParser):
    """Every attribute that can load something, the images by their id, the table's cells by their row's id, the names
    beside pictures, in full, and all of its text."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.links, self.images, self.cells, self.names, self.colours = [], [], {}, {}, [], {}
        self.text, self.row, self.cell, self.place, self.known = "", None, None, None, {}
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        known = dict(attrs)
        self.tags.append(tag)
        self.cell, self.known = tag, known
        self.links += [known[name] for name in ("src", "srcset", "href", "data", "action") if name in known]
        if tag == "div":
            self.place = known.get("class")
        if tag == "img" and known["src"]:
            self.images[known["id"]] = decode(known["src"])
        if tag == "tr":
            self.row = known["id"]

    def handle_data(self, data):
        self.text += data if self.cell != "style" else ""
        if self.cell == "td" and self.row is not None:
            self.cells.setdefault(self.row, data)
        if self.cell == "span" and self.place in ("rows", "columns", "keys"):
            self.names.append(self.known.get("title", data))
            if "style" in self.known:
                self.colours[self.names[-1]] = self.known["style"].removeprefix("--key: ")

    def handle_endtag(self, tag):
        self.cell = None


def decode(uri):
    head, _, body = uri.partition(",")
    assert head == "data:image/png;base64"
    image = Image.open(io.BytesIO(base64.b64decode(body, validate=True)))
    image.load()
    return image


def tiles(image, schema, count, columns):
    """The images of a sheet at their own size, (count, H, W) or (count, H, W, 3), from where they must stand."""
    scale, shrunk = pictures.scales(schema, count)
    assert shrunk == 1
    height, width = (side * scale for side in schema.x.tensor_shape[-2:])
    pixels, gap = np.asarray(image), pictures.GAP
    pixels = pixels[..., 0] if image.mode == "LA" else pixels[..., :3]
    places = [divmod(index, columns) for index in range(count)]
    corners = [(row * (height + gap), column * (width + gap)) for row, column in places]
    return np.stack([pixels[y : y + height : scale, x : x + width : scale] for y, x in corners])


def number(text):
    return float(text.replace("−", "-").replace(",", ""))


@pytest.fixture(scope="module")
def digits():
    return load("digits:test")


def fitted(folder, data="digits", **options):
    return fit(data, out=folder / "run", epochs=2, overrides=options.pop("overrides", TINY), **options)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return fitted(tmp_path_factory.mktemp("conditional"), given="label")


@pytest.fixture(scope="module")
def place(run, digits):
    return report(run, digits, samples=SAMPLES, rows=ROWS).parent


@pytest.fixture(scope="module")
def page(place):
    return Page((place / "report.html").read_text())


@pytest.fixture
def shown(tiny_run, tmp_path):
    """``shown(rows, …sections of the configuration)`` → (an untrained run for such rows, its page)."""

    def draw(rows, **sections):
        untrained = tiny_run(rows.schema, **sections)
        untrained.info.update(data="mine", epoch=0)
        path = report(untrained, rows, samples=SAMPLES, rows=ROWS, out=tmp_path / "page")
        return untrained, Page(path.read_text())

    return draw


@pytest.fixture
def looked(tiny_run):
    """The same without a page: what was found out about an untrained run for such rows."""

    def look(rows, **sections):
        untrained = tiny_run(rows.schema, **sections)
        untrained.info.update(data="mine", epoch=0)
        return findings.look(untrained, rows, SAMPLES, ROWS)

    return look


@pytest.fixture
def asked_of(monkeypatch):
    """``asked_of(name)``: what the chart of that name is asked to draw from now on, instead of drawing it."""

    def listen(name):
        heard = []
        monkeypatch.setattr(charts, name, lambda *args: heard.clear() or heard.extend(args[:-1]) or Figure())
        return heard

    return listen


# ---------------------------------------------------------------- the page


def test_page_needs_nothing_else(place, page):
    text = (place / "report.html").read_text()
    assert "http://" not in text and "https://" not in text and "file:" not in text and "url(" not in text
    assert not {"script", "link", "iframe", "object", "embed"} & set(page.tags)
    assert page.links and all(link.startswith("data:image/png;base64,") for link in page.links)
    for link in page.links:
        assert min(decode(link).size) > 20
    assert str(place) not in text


def test_pictures_beside_the_page_are_those_in_it(place, page):
    files = {path.stem: Image.open(path) for path in (place / "pictures").iterdir()}
    assert files.keys() == page.images.keys()
    assert {"means", "draws", "data", "reconstructions", "latent", "manifold-0", "interpolations"} < files.keys()
    assert {"curves", "units", "comparison"} < files.keys()
    for name, image in files.items():
        assert np.array_equal(np.asarray(image), np.asarray(page.images[name]))


def test_table_holds_every_figure(run, digits, place, page):
    figures = evaluate(run, digits, samples=SAMPLES, rows=ROWS)
    for name, value in figures.items():
        if not isinstance(value, list):
            assert page.cells[name] == spelt(value), name
            assert isinstance(value, str) or math.isclose(number(page.cells[name]), value, rel_tol=1e-4)
    written = json.loads((place / "report.json").read_text())
    assert written["figures"] == figures
    assert written["baselines"].keys() >= {"multivariate normal", "independent values"}


def test_table_tells_the_training(run, place, page):
    last = RunFolder(run.path.parent).read_metrics()[-1]
    assert number(page.cells["epochs"]) == last["epoch"]
    assert number(page.cells["seconds"]) == pytest.approx(last["seconds"], rel=1e-4)
    assert number(page.cells["weights"]) == sum(p.numel() for p in run.model.parameters())
    assert number(page.cells["seed"]) == run.info["seed"]


def test_headline_is_the_estimate(run, digits, place, page):
    figures = evaluate(run, digits, samples=SAMPLES, rows=ROWS)
    text = (place / "report.html").read_text()
    assert f"<b>{figures['bits_per_dim']:.3f} <small>± {figures['bits_per_dim_se']:.3f} bits/dim" in text
    assert f"k = {SAMPLES}" in page.text.replace("\N{NO-BREAK SPACE}", " ") and f"{ROWS} test rows" in page.text


def test_names_and_titles_are_escaped_and_cut():
    picture = Picture("one", LONG, LONG, b"", rows=(LONG,), keys=(("#123456", LONG),))
    drawn = html.section(Section(LONG, LONG, [picture]))
    assert "<i>" not in drawn
    page = Page(drawn.replace("data:image/png;base64,", ""))
    assert page.names == [LONG, LONG] and page.colours == {LONG: "#123456"}
    assert page.text.count(LONG) == 4 and page.text.count("<i>a & b</i>, cal…") == 2


# ---------------------------------------------------------------- images


def spaced(rows: Dataset, count: int) -> np.ndarray:
    return np.array([round(place * (len(rows) - 1) / (count - 1)) for place in range(count)])


@pytest.mark.parametrize(("name", "mean"), [("means", True), ("draws", False)])
def test_one_line_of_samples_for_each_class(run, page, name, mean):
    labels = torch.arange(10).repeat_interleave(COLUMNS)
    expected = pictures.as_bytes(inference.sample(run, 10 * COLUMNS, labels, mean=mean), run.schema)
    assert np.array_equal(tiles(page.images[name], run.schema, 10 * COLUMNS, COLUMNS), expected)
    assert page.names.count("9") >= 2  # beside both sheets


def test_originals_stand_over_reconstructions(run, digits, page):
    pairs = digits.rows(torch.from_numpy(spaced(digits, PAIRS)))
    both = np.concatenate([pairs.values.numpy(), inference.reconstruct(run, pairs)])
    found = tiles(page.images["reconstructions"], run.schema, 2 * PAIRS, PAIRS)
    assert np.array_equal(found, pictures.as_bytes(both, run.schema))


def test_data_are_ten_from_the_first_to_the_last(digits, page):
    expected = pictures.as_bytes(digits.values.numpy()[spaced(digits, 10)], digits.schema)
    assert np.array_equal(tiles(page.images["data"], digits.schema, 10, 10), expected)


def test_interpolations_join_images_of_one_class(run, digits, page):
    found = tiles(page.images["interpolations"], run.schema, 12 * 6, 12).reshape(6, 12, 8, 8)
    for label, row in enumerate(found):
        pair = digits.rows((digits.labels == label).nonzero().flatten()[:2])
        ends = pictures.as_bytes(pair.values.numpy(), run.schema)
        copies = pictures.as_bytes(inference.reconstruct(run, pair), run.schema)
        assert np.array_equal(row[[0, -1]], ends)
        assert np.abs(row[[1, -2]].astype(int) - copies).max() <= 16  # one level: the chunk's sums may differ


def test_the_gaps_of_a_sheet_are_transparent(page):
    alpha = np.asarray(page.images["means"])[..., -1]
    side = pictures.scales(infer_schema(np.zeros((1, 8, 8), np.uint8)), 1)[0] * 8
    assert (alpha[:, side : side + pictures.GAP] == 0).all() and (alpha[:side, :side] == 255).all()


def test_an_unconditional_model_has_no_lines_of_classes(tmp_path, digits):
    page = Page(report(fitted(tmp_path), digits, samples=SAMPLES, rows=ROWS).read_text())
    assert {"means", "draws", "manifold"} <= page.images.keys()
    assert "conditional_bits_per_dim" not in page.cells


@pytest.mark.parametrize("layout", ["HWC", "CHW"])
def test_colours_are_the_data_s_whichever_way_they_lie(shown, layout):
    levels = np.random.default_rng(0).integers(0, 256, size=(60, 5, 7, 3))
    levels[0, 0, 0, 0] = 1  # is on no coarser grid
    values = (levels / 255).astype(np.float32)
    words = np.array(["", "b", LONG] * 20)
    rows = load(np.moveaxis(values, -1, 1) if layout == "CHW" else values, words, layout=layout)
    assert (rows.schema.x.layout, rows.schema.x.kind.levels, rows.schema.x.kind.divisor) == (layout, 256, 255)
    _, page = shown(rows, context={"name": "none"})
    chosen = spaced(rows, 10)
    assert np.array_equal(tiles(page.images["data"], rows.schema, 10, 10), levels[chosen])
    assert page.names[:10] == [word or classes.NO_LABEL for word in words[chosen]]
    assert page.colours.keys() == {"b", LONG, classes.NO_LABEL}


def test_what_is_transparent_lies_on_white():
    values = np.zeros((1, 2, 2, 4), np.uint8)
    values[0, :, :, 3] = [[0, 255], [51, 102]]
    schema = infer_schema(values)
    found = tiles(Image.open(io.BytesIO(pictures.sheet(values, schema, 1))), schema, 1, 1)
    assert found[0, :, :, 0].tolist() == [[255, 0], [204, 153]]


def test_volumes_show_their_middle_slices(shown):
    values = np.random.default_rng(0).integers(0, 256, size=(30, 4, 6, 5), dtype=np.uint8)
    rows = load(values, layout="DHW")
    run, page = shown(rows)
    assert np.array_equal(tiles(page.images["data"], rows.schema, 10, 10), values[spaced(rows, 10), 2])
    means = inference.sample(run, COLUMNS * 8, mean=True)[:, 2]
    assert np.array_equal(tiles(page.images["means"], rows.schema, COLUMNS * 8, COLUMNS), means)
    assert "the middle slice, number 2 of 0 to 3" in page.text


def test_real_images_have_one_brightness_on_all_sheets():
    values = np.linspace(-1, 3, 1001)[:, None, None] * np.ones((1, 1, 2))
    gallery = sheets.Sheets(infer_schema(values), values)
    black, white = gallery.span
    assert (black, white) == pytest.approx((-1 + 0.004, 3 - 0.004))
    middle = np.full((1, 1, 2), (black + white) / 2)
    found = tiles(Image.open(io.BytesIO(gallery.grid(middle, 1)[0])), gallery.schema, 1, 1)
    assert (found == 128).all()


@pytest.mark.parametrize("count", [8, 48, 72])
def test_large_images_are_averaged_to_fit_a_sheet(count):
    values = np.random.default_rng(0).integers(0, 256, size=(count, 256, 256, 3), dtype=np.uint8)
    schema = infer_schema(values)
    _, by = pictures.scales(schema, count)
    sheet = Image.open(io.BytesIO(pictures.sheet(values, schema, 8)))
    side = -(-256 // by)
    assert sheet.size == (8 * (side + pictures.GAP) - pictures.GAP, count // 8 * (side + pictures.GAP) - pictures.GAP)
    assert count * (256 / by) ** 2 <= pictures.MOST_PIXELS
    first = np.asarray(sheet)[0, 0, :3]
    assert np.abs(first - values[0, :by, :by].mean((0, 1))).max() <= 1


def test_a_page_of_large_images_is_not_large(shown, tmp_path, monkeypatch):
    monkeypatch.setattr(pictures, "MOST_PIXELS", 30_000)
    values = np.random.default_rng(0).integers(0, 256, size=(12, 60, 60, 3), dtype=np.uint8)
    _, page = shown(load(values, np.arange(12) % 3))
    assert "Shrunk to 1/" in page.text
    drawn = [path.stat().st_size for path in (tmp_path / "page" / "pictures").iterdir()]
    sheets_of = {
        "means",
        "draws",
        "data",
        "reconstructions",
        "manifold-0",
        "manifold-1",
        "manifold-2",
        "interpolations",
    }
    assert sheets_of | {"latent", "units"} == page.images.keys()
    assert max(drawn) < 4 * 30_000  # bytes of a pixel and what is around it


# ---------------------------------------------------------------- signals


def panel(figure, index, columns, behind=False, channel=0, channels=1):
    """The values of a line in a panel, from 0 at its bottom to 1 at its top, and where they must be from left."""
    _, *lines = figure.axes[0].collections
    drawn = lines[channel + (0 if behind or len(lines) == channels else channels)]
    corner = np.array([index % columns, -(index // columns) - 1])
    curve = drawn.get_segments()[index] - corner
    box = figure.axes[0].collections[0].get_paths()[index].get_extents()
    curve = (curve + corner - box.p0) / (box.p1 - box.p0)
    return (curve[:, 1] - pictures.MARGIN) / (1 - 2 * pictures.MARGIN), curve[:, 0]


def test_panels_hold_their_lines_and_what_is_behind_them():
    rng = np.random.default_rng(0)
    lines, behind = rng.random((2, 7, 2, 30))
    figure = pictures.panels(lines, behind, pictures.Grid(3, 5.0, 0.5), pictures.LIGHT)
    for index in range(7):
        for channel in range(2):
            up, across = panel(figure, index, 3, False, channel, 2)
            assert up == pytest.approx(lines[index, channel])
            assert across[[0, -1]] == pytest.approx([pictures.MARGIN, 1 - pictures.MARGIN])
            assert panel(figure, index, 3, True, channel, 2)[0] == pytest.approx(behind[index, channel])


def test_a_long_signal_keeps_its_peaks():
    line = np.zeros(100_000)
    line[[777, 55_555]] = 1, -0.02
    figure = pictures.panels(line[None, None], None, pictures.Grid(1, 2.0, 1.0), pictures.LIGHT)
    up, _ = panel(figure, 0, 1)
    assert len(up) <= pictures.MOST_POINTS and (up.max(), up.min()) == pytest.approx((1, -0.02))


@pytest.mark.parametrize(("layout", "shape"), [("LC", (40, 9, 2)), ("CL", (40, 2, 9)), ("L", (40, 9))])
def test_every_channel_has_a_scale_of_its_own(layout, shape):
    values = np.random.default_rng(0).normal(size=shape)
    schema = infer_schema(values, layout=layout)
    lines = {"LC": np.moveaxis(values, -1, 1), "CL": values, "L": values[:, None]}[layout]
    spans = pictures.line_spans(values, schema)
    low, high = np.quantile(lines, [0.001, 0.999], axis=(0, 2))
    assert spans == pytest.approx(np.stack([low, high], axis=1))
    expected = (lines - low[:, None]) / (high - low)[:, None]
    assert pictures.as_lines(values, schema, spans) == pytest.approx(expected)
    wider = pictures.line_spans(values, schema, values[:5])
    assert (pictures.as_lines(values[:5], schema, wider) >= 0).all() and (wider[:, 1] >= spans[:, 1]).all()
    assert (pictures.as_lines(values[:5], schema, wider) <= 1).all() and (wider[:, 0] <= spans[:, 0]).all()


@pytest.fixture
def drawn_panels(monkeypatch):
    """What ``pictures.panels`` is asked to draw, light and dark alike, as (lines, behind, grid)."""
    asked, draw = [], pictures.panels

    def listen(lines, behind, grid, theme):
        if theme == pictures.LIGHT:
            asked.append((lines, behind, grid))
        return draw(lines, behind, grid, theme)

    monkeypatch.setattr(pictures, "panels", listen)
    return asked


def test_signals_are_lines(shown, drawn_panels):
    rng = np.random.default_rng(0)
    values = rng.normal(size=(40, 9, 2)).astype(np.float32)
    rows = load(values, np.array(["walk", "run"] * 20), layout="LC")
    run, page = shown(rows)
    six, twelve = spaced(rows, 6), spaced(rows, 12)
    spans = pictures.line_spans(values, rows.schema, values[[*six, *twelve]])

    def lines(raw):
        return pictures.as_lines(raw, rows.schema, spans)

    means, _, data, copies, *planes, paths = drawn_panels
    told = torch.arange(2).repeat_interleave(6)
    assert np.array_equal(means[0], lines(inference.sample(run, 12, told, mean=True)))
    assert np.array_equal(data[0], lines(values[six]))
    assert np.array_equal(copies[1], lines(values[twelve]))
    assert np.array_equal(copies[0], lines(inference.reconstruct(run, rows.rows(torch.from_numpy(twelve)))))
    assert len(planes) == 2 and all(len(plane[0]) == 49 for plane in planes)
    ladder = paths[1].reshape(12, 2, 2, 9)  # rungs, paths; classes in alphabetical order
    assert np.array_equal(ladder[0], lines(values[[1, 0]])) and np.array_equal(ladder[-1], lines(values[[3, 2]]))
    assert np.isnan(ladder[1:-1]).all() and np.isnan(paths[0].reshape(ladder.shape)[[0, -1]]).all()
    ends = lines(inference.reconstruct(run, rows.rows(slice(0, 4))))[[1, 0, 3, 2]].reshape(2, 2, 2, 9)
    assert paths[0].reshape(ladder.shape)[[1, -2]] == pytest.approx(ends, abs=1e-5)
    assert page.names[: 2 + 2] == ["channel 0", "channel 1", "run", "walk"]


# ---------------------------------------------------------------- vectors


@pytest.mark.parametrize(("latents", "given"), [(1, None), (2, "label")])
def test_vectors_are_shown_column_by_column(tmp_path, latents, given):
    values = np.random.default_rng(0).normal(size=(300, 5)) * 3 + 7
    labels = (values[:, 0] > 7).astype(int)
    data = load(values, labels if given else None)
    run = fitted(tmp_path, data, overrides=[f"latent.size={latents}"], given=given)
    path = report(run, data, samples=SAMPLES, rows=ROWS, out=tmp_path / "elsewhere")
    page = Page(path.read_text())
    assert path == tmp_path / "elsewhere" / "report.html"
    expected = {"samples", "reconstructions", "curves", "units", "latent"}
    assert page.images.keys() == expected  # no baselines: an array cannot be loaded again by its name
    assert math.isfinite(number(page.cells["log_likelihood_nats"]))


def test_curves_are_in_the_data_s_units(tmp_path):
    data = load(np.random.default_rng(0).normal(size=(60, 2)) * 100)
    run = fitted(tmp_path, data, overrides=[])
    records = RunFolder.of(run).read_metrics()
    lines, _ = training.lines(run, records)
    assert lines["validation"] == [record["validation"]["elbo_nats"] for record in records]


@pytest.mark.parametrize("missing", [{1}, {0, 1, 2, 3, 4}], ids=["one", "all"])
def test_epochs_without_a_mean_are_gaps_in_the_curves(missing):
    means = {
        "train": [None if epoch in missing else -9.0 + epoch for epoch in range(5)],
        "validation": [-8.0, -7, -6, -5, -4],
    }
    if len(missing) == 5:
        means["validation"] = means["train"]
    records = [{part: {"elbo_nats": line[epoch]} for part, line in means.items()} for epoch in range(5)]
    figure = charts.curves(list(range(5)), *training.lines(None, records), 2, pictures.LIGHT)
    drawn = figure.axes[0].lines[0].get_ydata()
    assert [np.isnan(drawn[epoch]) for epoch in range(5)] == [epoch in missing for epoch in range(5)]
    assert pictures.png(figure)
    low, high = figure.axes[0].get_ylim()
    assert low < high and (len(missing) == 5 or low < -7 < -4 < high)


def test_histograms_are_shares_of_the_rows():
    rng = np.random.default_rng(0)
    data, drawn = rng.poisson(3, size=(200, 2)).astype(float), rng.normal(3, 1, size=(500, 2))
    figure = charts.histograms(data, drawn, ["x[0]", "x[4]"], pictures.LIGHT)
    for column, ax in enumerate(figure.axes):
        filled, line = ax.patches[:-1], ax.patches[-1].get_xy()
        counts = np.bincount(data[:, column].astype(int), minlength=len(filled))
        assert [bar.get_height() for bar in filled] == pytest.approx(counts / 200)
        inside = np.abs(drawn[:, column] - counts.size / 2 + 0.5) <= counts.size / 2
        heights = line[1:-1:2, 1]
        assert heights.sum() == pytest.approx(inside.mean())
        assert ax.get_title(loc="left") == f"x[{4 * column}]"


def test_of_many_columns_those_that_vary_most_are_shown(looked, asked_of):
    values = np.random.default_rng(0).normal(size=(50, 40)) * np.where(np.arange(40) % 3 == 0, 10, 1)
    values[:, 6:] *= 0.01
    values[:, -5:] *= 1e4
    found = looked(load(values))
    asked = asked_of("against")
    picture = columns.reconstructions(found)
    data, copies, names = asked
    chosen = sorted(np.argsort(-values.var(0))[:12].tolist())
    assert names == [f"x[{column}]" for column in chosen] and set(chosen) >= {0, 3, 35, 36, 37, 38, 39}
    assert np.array_equal(data, values[:, chosen])
    assert copies == pytest.approx(inference.reconstruct(found.run, found.rows)[:, chosen])
    assert "Of 40 columns the 12 that vary most" in picture.caption


@pytest.mark.parametrize("divisor", [1, 255])
def test_whole_numbers_are_spread_to_the_sides_and_their_copies_are_not_rounded(looked, asked_of, divisor):
    values = np.random.default_rng(0).integers(0, 20, size=(60, 3)) / divisor
    found = looked(load(values, levels=None if divisor > 1 else 20))
    assert found.run.schema.x.kind.divisor == divisor
    asked = asked_of("against")
    picture = columns.reconstructions(found)
    data, copies, _ = asked
    assert np.array_equal((data * divisor).round(), values * divisor) and (np.ptp(data - values, axis=0) > 0).all()
    assert inference.reconstruct(found.run, found.rows) == pytest.approx((copies * divisor).round().clip(0) / divisor)
    assert not np.array_equal(copies, inference.reconstruct(found.run, found.rows))
    assert "spread to the sides" in picture.caption


# ---------------------------------------------------------------- what is known of the rows


def test_the_most_frequent_of_many_classes_are_named(shown):
    counts = np.arange(1, 21)
    labels = np.repeat(np.arange(20), counts)
    values = np.random.default_rng(0).integers(0, 17, size=(len(labels), 8, 8), dtype=np.uint8)
    rows = load(values, np.array([f"kind {label:02}" for label in labels]), levels=17)
    _, page = shown(rows)
    named = [f"kind {label:02}" for label in range(8, 20)]
    assert page.names[:12] == named
    assert list(page.colours) == [*named, "other classes"] and len(set(page.colours.values())) == 13
    assert "The 12 most frequent of 20 classes." in page.text


def test_dots_have_their_class_s_colour(looked, asked_of):
    schema = Schema.of(Field(Reals(), (2,), "float64"), label_field((5, 5), ("a", "b")))
    assert classes.names_of(torch.tensor([1, -1, 0]), schema) == ("b", classes.NO_LABEL, "a")
    values = np.random.default_rng(0).normal(size=(12, 2))
    found = looked(load(values, np.array(["a", "b", ""] * 4)), context={"name": "none"})
    asked = asked_of("scatter")
    keys = {name: colour for colour, name in latent.draw(found).pictures[0].keys}
    points, colours, units = asked
    expected = inference.code_means(found.run, found.rows)[:, list(units)]
    assert np.array_equal(points, expected)
    assert colours.tolist() == [keys[name] for name in ("a", "b", classes.NO_LABEL)] * 4


def test_samples_are_told_the_columns_of_the_first_rows(shown):
    rng = np.random.default_rng(0)
    values, known = rng.integers(0, 17, size=(30, 8, 8), dtype=np.uint8), rng.normal(size=(30, 2))
    rows = load(values, known, levels=17)
    run, page = shown(rows, context={"name": "columns"})
    told = torch.from_numpy(known[:8]).repeat_interleave(COLUMNS, 0)
    expected = pictures.as_bytes(inference.sample(run, 8 * COLUMNS, told, mean=True), run.schema)
    assert np.array_equal(tiles(page.images["means"], run.schema, 8 * COLUMNS, COLUMNS), expected)
    assert page.names[0] == f"{known[0, 0]:.3g}, {known[0, 1]:.3g}".replace("-", "−")
    assert "log_likelihood_nats" not in page.cells and "log p(x | c)" in page.text
    figures = evaluate(run, rows, samples=SAMPLES, rows=ROWS)
    assert page.cells["conditional_log_likelihood_nats"] == spelt(figures["conditional_log_likelihood_nats"])
    assert f"{figures['conditional_bits_per_dim']:.3f}".replace("-", "−") in page.text


def test_columns_go_along_an_interpolation(shown, drawn_panels):
    rng = np.random.default_rng(0)
    values, known = rng.normal(size=(30, 9)), rng.normal(size=(30, 1))
    rows = load(values, known, layout="L")
    run, _ = shown(rows, context={"name": "columns"})
    lines = drawn_panels[-1][0].reshape(12, 4, 9)
    ends = inference.code_means(run, rows.rows(slice(0, 2)))
    drawn = values[[*spaced(rows, 6), *spaced(rows, 12)]]
    third = torch.lerp(ends[:1], ends[1:], torch.tensor(1 / 3, dtype=ends.dtype))
    told = torch.from_numpy(known[:1] * 2 / 3 + known[1:2] / 3)
    expected = pictures.as_lines(
        inference.decode(run, third, told), rows.schema, pictures.line_spans(values, rows.schema, drawn)
    )
    assert lines[4, 0] == pytest.approx(expected[0, 0], abs=1e-6)


# ---------------------------------------------------------------- autoencoders


def test_an_autoencoder_claims_no_likelihood(tmp_path, digits):
    settings = [
        "posterior.name=point",
        "objective.name=reconstruction",
        "likelihood.name=gaussian",
        "prior.name=standard",
    ]
    path = report(fitted(tmp_path, overrides=[*settings, *TINY]), digits)
    page, text = Page(path.read_text()), path.read_text()
    assert not {"means", "draws", "units"} & page.images.keys()
    assert {"reconstructions", "latent", "manifold", "interpolations", "curves", "comparison"} <= page.images.keys()
    assert not any("nats" in name or "likelihood" in name or "bits" in name for name in page.cells)
    assert "bits/dim" not in text and "log p(x)" not in text and "ELBO" not in text
    assert "PCA, 3 components" in text


def test_an_autoencoder_with_a_fitted_prior_shows_means(tmp_path, digits):
    run = fitted(tmp_path, overrides=TINY, recipe="autoencoder")
    page = Page(report(run, digits).read_text())
    expected = pictures.as_bytes(inference.sample(run, 8 * COLUMNS, mean=True), run.schema)
    assert np.array_equal(tiles(page.images["means"], run.schema, 8 * COLUMNS, COLUMNS), expected)
    assert "draws" not in page.images
    assert "a mixture of normals fitted to the codes" in page.text


# ---------------------------------------------------------------- which rows


def test_rows_are_called_what_they_are(run, digits):
    for part, said in (("test", "test "), ("validation", "validation "), ("train", "training "), ("all", "")):
        rows = replace(digits, part=part)
        assert findings.Findings(run, rows, {}, {}, [], rows, torch.zeros(1, 3), np.ones(3, bool)).which == said


def test_rows_of_one_s_own_have_to_be_named(tmp_path, shown):
    rows = load(np.random.default_rng(0).normal(size=(30, 2)))
    run, _ = shown(rows)
    with pytest.raises(UserError, match="name the rows"):
        report(run)
    with pytest.raises(UserError, match="say with out"):
        report(run, rows)


@pytest.mark.parametrize(
    ("shape", "options"),
    [
        ((1, 1), {"layout": "HW"}),
        ((1,), {"layout": "L"}),
        ((3, 1), {"layout": "LC"}),
        ((1, 1, 1), {"layout": "DHW"}),
        ((1,), {}),
        ((3,), {}),
    ],
)
def test_the_least_of_data(tmp_path, shape, options):
    """Two validation rows of constants, one class, one latent unit."""
    values = np.full((12, *shape), 7.5)
    data = load(values, np.zeros(12, int), **options)
    small = ["latent.size=1", "encoder.name=mlp", "decoder.name=mlp"]
    run = fitted(tmp_path, data, overrides=small, given="label")
    held_out = data.split(run.info["seed"])[1].under(run.schema)
    page = Page(report(run, held_out, samples=SAMPLES, rows=ROWS).read_text())
    assert len(held_out) == 2 and "all 2 validation rows" in page.text
    assert {"latent", "reconstructions", "curves", "units"} <= page.images.keys()


def test_a_score_that_is_not_finite_is_named_and_not_drawn(run, digits, monkeypatch, tmp_path):
    monkeypatch.setattr(findings, "compare", lambda *_: {"broken": math.inf, "sound": 2.0})
    path = report(run, digits.subset(30), samples=SAMPLES, rows=ROWS, out=tmp_path)
    assert "Not finite, and so not drawn: broken." in path.read_text()
    assert json.loads((tmp_path / "report.json").read_text())["baselines"] == {"broken": None, "sound": 2.0}


def test_a_name_that_belongs_to_other_data_brings_no_baselines(shown):
    rows = load(np.random.default_rng(0).normal(size=(30, 2)))
    run, _ = shown(rows)
    run.info["data"] = "digits"
    assert findings.look(run, rows, SAMPLES, ROWS).baselines == {}


# ---------------------------------------------------------------- pictures as files


def test_a_sheet_in_a_file_is_the_data(tmp_path):
    values = np.random.default_rng(0).integers(0, 256, size=(5, 3, 4, 6), dtype=np.uint8)
    for layout, planes in (("CHW", np.moveaxis(values, 1, -1)), ("DHW", values[:, 1])):
        save_array(tmp_path / "one.png", values, infer_schema(values, layout=layout), 3)
        found = np.asarray(Image.open(tmp_path / "one.png"))
        assert np.array_equal(found[2 + 6 : 2 + 6 + 4, 2 + 8 : 2 + 8 + 6], planes[4])


def test_pairs_in_a_file_stand_over_each_other_and_lines_lie_on_each_other(tmp_path, drawn_panels):
    values = np.random.default_rng(0).integers(0, 256, size=(23, 8, 8), dtype=np.uint8)
    save_pairs(tmp_path / "pairs.png", values, 255 - values, infer_schema(values))
    found = np.asarray(Image.open(tmp_path / "pairs.png")).astype(int)
    assert found.shape == (4 * 10 + 2, 20 * 10 + 2)
    assert (found[2:10, 2:-2] + found[12:20, 2:-2])[:, :8].tolist() == np.full((8, 8), 255).tolist()
    assert np.array_equal(found[22:30, 22:30], values[22]) and (found[22:, 32:] == 255).all()
    signals = values.reshape(23, 64)
    schema = infer_schema(signals, layout="L")
    save_pairs(tmp_path / "lines.png", signals, 255 - signals, schema)
    lines, behind, _ = drawn_panels[0]
    assert lines + behind == pytest.approx(np.ones((23, 1, 64)))
    save_pairs(tmp_path / "lines.npy", signals, 255 - signals, schema)
    assert np.array_equal(np.load(tmp_path / "lines.npy"), 255 - signals)


def test_vectors_are_no_picture(tmp_path):
    values = np.zeros((3, 4))
    for save in (
        lambda: save_array(tmp_path / "a.png", values, infer_schema(values)),
        lambda: save_pairs(tmp_path / "a.png", values, values, infer_schema(values)),
    ):
        with pytest.raises(UserError, match="are no images"):
            save()
