"""The report: one page that needs nothing else, whose pictures and numbers are the model's own."""

import base64
import io
import json
import math
from html.parser import HTMLParser

import numpy as np
import pytest
import torch
from PIL import Image

from variate import inference, pictures
from variate.apps import report as report_module
from variate.apps.evaluate import evaluate
from variate.apps.fit import fit
from variate.apps.report import COLUMNS, PAIRS, _text, report
from variate.checkpoint import RunFolder
from variate.data.infer import infer_schema
from variate.data.load import load
from variate.outputs import as_bytes

SAMPLES, ROWS = 3, 20
TINY = ["encoder.name=mlp", "decoder.name=mlp", "encoder.hidden=[16]", "decoder.hidden=[16]", "latent.size=3"]


class Page(HTMLParser):
    """Every attribute that can load something, the images by their id, the table's cells by their row's id."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.links, self.images, self.cells, self.spans = [], [], {}, {}, []
        self.row = self.cell = None
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        known = dict(attrs)
        self.tags.append(tag)
        self.cell = tag
        self.links += [known[name] for name in ("src", "srcset", "href", "data", "action") if name in known]
        if tag == "img":
            self.images[known["id"]] = decode(known["src"])
        if tag == "tr":
            self.row = known["id"]

    def handle_data(self, data):
        if self.cell == "td" and self.row is not None:
            self.cells.setdefault(self.row, data)
        if self.cell == "span":
            self.spans.append(data)

    def handle_endtag(self, tag):
        self.cell = None


def decode(uri):
    head, _, body = uri.partition(",")
    assert head == "data:image/png;base64"
    image = Image.open(io.BytesIO(base64.b64decode(body, validate=True)))
    image.load()
    return image


def tiles(image, schema, count, columns):
    """The images of a sheet at their own size, grey (count, H, W), read back from where they must stand."""
    scale = pictures.tile_scale(schema)
    height, width = (side * scale for side in schema.shape[:2])
    pixels, gap = np.asarray(image)[..., 0], pictures.GAP
    places = [divmod(index, columns) for index in range(count)]
    corners = [(row * (height + gap), column * (width + gap)) for row, column in places]
    return np.stack([pixels[y : y + height : scale, x : x + width : scale] for y, x in corners])


@pytest.fixture(scope="module")
def digits():
    return load("digits:test")


def fitted(folder, data="digits", **options):
    return fit(data, out=folder / "run", epochs=2, overrides=options.pop("overrides", TINY), **options)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return fitted(tmp_path_factory.mktemp("conditional"), conditional=True)


@pytest.fixture(scope="module")
def place(run, digits):
    return report(run, digits, samples=SAMPLES, rows=ROWS).parent


@pytest.fixture(scope="module")
def page(place):
    return Page((place / "report.html").read_text())


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
            assert page.cells[name] == _text(value), name
            assert isinstance(value, str) or math.isclose(number(page.cells[name]), value, rel_tol=1e-4)
    written = json.loads((place / "report.json").read_text())
    assert written["figures"] == figures
    assert written["baselines"].keys() >= {"multivariate normal", "independent values"}


def number(text):
    return float(text.replace("−", "-").replace(",", ""))


def test_table_tells_the_training(run, place, page):
    last = RunFolder(run.path.parent).read_metrics()[-1]
    assert number(page.cells["epochs"]) == last["epoch"]
    assert number(page.cells["seconds"]) == pytest.approx(last["seconds"], rel=1e-4)
    assert number(page.cells["weights"]) == sum(p.numel() for p in run.model.parameters())
    assert number(page.cells["seed"]) == run.info["seed"]


def test_headline_is_the_estimate(run, digits, page):
    figures = evaluate(run, digits, samples=SAMPLES, rows=ROWS)
    text = (run.path.parent / "report.html").read_text()
    assert f"<b>{figures['bits_per_dim']:.3f} <small>± {figures['bits_per_dim_se']:.3f} bits/dim" in text
    assert f"k = {SAMPLES}" in text and f"{ROWS} test rows" in text


@pytest.mark.parametrize(("name", "mean"), [("means", True), ("draws", False)])
def test_one_row_of_samples_for_each_class(run, page, name, mean):
    labels = torch.arange(10).repeat_interleave(COLUMNS)
    expected = as_bytes(inference.sample(run, 10 * COLUMNS, labels, mean=mean), run.schema)
    assert np.array_equal(tiles(page.images[name], run.schema, 10 * COLUMNS, COLUMNS), expected)
    assert page.spans.count("9") >= 2  # beside both sheets


def test_originals_stand_over_reconstructions(run, digits, page):
    shown = digits.rows(slice(0, PAIRS))
    both = np.concatenate([shown.values.numpy(), inference.reconstruct(run, shown)])
    found = tiles(page.images["reconstructions"], run.schema, 2 * PAIRS, PAIRS)
    assert np.array_equal(found, as_bytes(both, run.schema))


def test_data_are_the_first_ten(digits, page):
    expected = as_bytes(digits.values[:10].numpy(), digits.schema)
    assert np.array_equal(tiles(page.images["data"], digits.schema, 10, 10), expected)


def test_interpolations_join_images_of_one_class(run, digits, page):
    found = tiles(page.images["interpolations"], run.schema, 12 * 6, 12).reshape(6, 12, 8, 8)
    for label, row in enumerate(found):
        pair = digits.rows((digits.labels == label).nonzero().flatten()[:2])
        ends = as_bytes(pair.values.numpy(), run.schema)
        copies = as_bytes(inference.reconstruct(run, pair), run.schema)
        assert np.array_equal(row[[0, -1]], ends)
        assert np.abs(row[[1, -2]].astype(int) - copies).max() <= 16  # one level: the chunk's sums may differ


def test_the_gaps_of_a_sheet_are_transparent(page):
    alpha = np.asarray(page.images["means"])[..., -1]
    side = pictures.tile_scale(infer_schema(np.zeros((1, 8, 8), np.uint8))) * 8
    assert (alpha[:, side : side + pictures.GAP] == 0).all() and (alpha[:side, :side] == 255).all()


def test_an_autoencoder_claims_no_likelihood(tmp_path, digits):
    settings = ["posterior.name=point", "objective.name=reconstruction", "likelihood.name=gaussian", *TINY]
    path = report(fitted(tmp_path, overrides=settings), digits)
    page, text = Page(path.read_text()), path.read_text()
    assert not {"means", "draws", "units"} & page.images.keys()
    assert {"reconstructions", "latent", "manifold", "interpolations", "curves", "comparison"} <= page.images.keys()
    assert not any("nats" in name or "likelihood" in name or "bits" in name for name in page.cells)
    assert "bits/dim" not in text and "log p(x)" not in text and "ELBO" not in text
    assert "PCA, 3 components" in text


def test_an_unconditional_model_has_no_rows_of_classes(tmp_path, digits):
    page = Page(report(fitted(tmp_path), digits, samples=SAMPLES, rows=ROWS).read_text())
    assert {"means", "draws", "manifold"} <= page.images.keys()
    assert "conditional_bits_per_dim" not in page.cells


@pytest.mark.parametrize(("latents", "conditional"), [(1, False), (2, True)])
def test_vectors_get_histograms(tmp_path, latents, conditional):
    values = np.random.default_rng(0).normal(size=(300, 5)) * 3 + 7
    labels = (values[:, 0] > 7).astype(int)
    data = load(values, labels if conditional else None)
    run = fitted(tmp_path, data, overrides=[f"latent.size={latents}"], conditional=conditional)
    path = report(run, data, samples=SAMPLES, rows=ROWS, out=tmp_path / "elsewhere")
    page = Page(path.read_text())
    assert path == tmp_path / "elsewhere" / "report.html"
    expected = {"samples", "reconstructions", "curves", "units"} | ({"latent"} if latents > 1 else set())
    assert page.images.keys() == expected  # no baselines: an array cannot be loaded again by its name
    assert math.isfinite(number(page.cells["log_likelihood_nats"]))


def test_a_score_that_is_not_finite_is_named_and_not_drawn(run, digits, monkeypatch, tmp_path):
    monkeypatch.setattr(report_module, "compare", lambda *_: {"broken": math.inf, "sound": 2.0})
    path = report(run, digits.subset(30), samples=SAMPLES, rows=ROWS, out=tmp_path)
    assert "Not finite, and so not drawn: broken." in path.read_text()
    assert json.loads((tmp_path / "report.json").read_text())["baselines"] == {"broken": None, "sound": 2.0}


def test_colour_images(tmp_path):
    values = np.random.default_rng(0).integers(0, 16, size=(60, 5, 7, 3), dtype=np.uint8)
    data = load(values, levels=16)
    overrides = ["encoder.hidden=[8]", "decoder.hidden=[8]", "latent.size=2"]
    page = Page(report(fitted(tmp_path, data, overrides=overrides), data, samples=SAMPLES, rows=ROWS).read_text())
    scale = pictures.tile_scale(data.schema)
    shown = np.asarray(page.images["data"])[: 5 * scale : scale, : 7 * scale : scale, :3]
    assert np.array_equal(shown, values[0] * 17)
