"""Draw what a run learned: one HTML page with its pictures."""

import json
import math
import os
from base64 import b64encode
from dataclasses import dataclass
from html import escape
from pathlib import Path
from string import Template
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from variate import checkpoint, estimate, inference, pictures
from variate.apps.evaluate import compare, evaluate
from variate.checkpoint import Run
from variate.console import say
from variate.data import named
from variate.data.dataset import Dataset
from variate.data.load import load
from variate.files import write_atomic
from variate.progress import track

__all__ = ["report"]

COLUMNS = 12  # samples in a row: of one class, where there are classes
FREE_ROWS = 8  # rows of samples of an unconditional model
PAIRS = 16  # originals over reconstructions
INTERPOLATIONS, STEPS = 6, 10
GRID, QUANTILES = 15, (0.02, 0.98)
GRID_CLASSES = 3
DOTS = 5000
VECTOR_DRAWS, VECTOR_COLUMNS = 2000, 12
BASELINE_ROWS = 10_000  # training rows that the baselines are fitted to: seconds instead of minutes
EVALUATION_SEED = 0


class Picture(NamedTuple):
    """One figure of the page: PNG for light pages and, for a chart, for dark ones; labels beside rows and columns."""

    name: str
    title: str
    caption: str
    light: bytes
    dark: bytes | None = None
    rows: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    wide: bool = False


class Section(NamedTuple):
    title: str
    text: str
    pictures: list[Picture]


@dataclass(frozen=True)
class Findings:
    """All that the page is made of. ``codes``: the posterior means of ``seen``, a fixed subset of the ``test`` rows."""

    run: Run
    test: Dataset
    figures: dict
    baselines: dict[str, float]
    records: list[dict]
    seen: Dataset
    codes: Tensor
    active: np.ndarray

    @property
    def is_image(self) -> bool:
        return self.run.schema.is_image

    @property
    def classes(self) -> int:
        """How many the model can be asked for: 0 for an unconditional one."""
        return len(self.run.schema.labels or ()) if self.run.conditional else 0

    @property
    def units(self) -> tuple[int, int]:
        """The two latent units that say most: by their KL, or by their variance where there is no KL."""
        says = np.array(self.figures.get("unit_nats", self.codes.var(0).tolist()))
        first, second = np.argsort(-says, kind="stable")[:2]
        return int(first), int(second)

    @property
    def which(self) -> str:
        """ "test " in front of rows, where they are a test part."""
        return "test " if self.test.part == "test" else ""

    @property
    def code(self) -> str:
        """What a row's embedding is called."""
        return "code" if self.run.deterministic else "posterior mean"

    def sheet(self, images: np.ndarray, columns: int = COLUMNS) -> bytes:
        return pictures.sheet(images, self.run.schema, columns)


def report(
    run: Run,
    data: object = None,
    *,
    samples: int = 50,
    rows: int | None = 1000,
    out: str | os.PathLike | None = None,
) -> Path:
    """Write ``report.html``, ``report.json`` and ``pictures/*.png``; returns the path of the page.

    ``data``: rows that the model has not seen, by default the test part of the named set that it was trained on.
    ``samples`` and ``rows`` are those of ``evaluate``. ``out``: a folder, by default the run's own. The page refers to
    nothing outside itself. Baselines are fitted where the training rows are those of a named set.
    """
    test = load(run.info["data"] if data is None else data, part="test")
    found = _look(run, test, samples, rows)
    place = run.folder.path if out is None else Path(out)
    parts = []
    for draw in track(SECTIONS, "Drawing", unit="sections"):
        section = draw(found)
        for picture in section.pictures:
            write_atomic(place / "pictures" / f"{picture.name}.png", picture.light)
        parts.append(_section(section))
    write_atomic(place / "report.json", _json(found))
    write_atomic(place / "report.html", _page(found, [*parts, _numbers(found)]).encode())
    return place / "report.html"


def _look(run: Run, test: Dataset, samples: int, rows: int | None) -> Findings:
    """Everything that is measured, once."""
    figures = evaluate(run, test, samples=samples, rows=rows, seed=EVALUATION_SEED)
    seen = test.subset(DOTS)
    codes = inference.code_means(run, seen)
    active = np.ones(codes.shape[1], bool) if run.deterministic else estimate.active_units(run, test)
    baselines = _baselines(run, test if run.deterministic else test.subset(rows))
    return Findings(run, test, figures, baselines, run.folder.read_metrics(), seen, codes, active)


def _baselines(run: Run, test: Dataset) -> dict[str, float]:
    """``compare`` on a subset of the training rows; nothing where a name is not enough to load them again."""
    if run.info["data"] not in named.names():
        return {}
    train, _ = load(run.info["data"]).split(run.info["seed"])
    return compare(run, train.subset(BASELINE_ROWS), test)


# ---------------------------------------------------------------- sections: (title, text, pictures), none left out


def _samples(found: Findings) -> Section:
    if found.run.deterministic:
        return Section("Samples", "", [])
    if not found.is_image:
        drawn = inference.sample(found.run, VECTOR_DRAWS)[:, :VECTOR_COLUMNS]
        chart = pictures.both(pictures.histograms, found.test.values.numpy()[:, :VECTOR_COLUMNS], drawn)
        caption = f"{VECTOR_DRAWS:,} draws from the model against the {len(found.test):,} {found.which}rows."
        return Section("Samples", "", [Picture("samples", "Each column by itself.", caption, *chart)])
    n = COLUMNS * (found.classes or FREE_ROWS)
    labels = torch.arange(found.classes).repeat_interleave(COLUMNS) if found.classes else None
    names = tuple(map(str, range(found.classes)))
    text = "Made up by the model: z from the prior, x from the decoder; the first ones of seed 0, none picked by hand."
    text += " Every row is one class, asked for by its label." if found.classes else ""
    means, draws = (inference.sample(found.run, n, labels, mean=mean) for mean in (True, False))
    return Section(
        "Samples",
        text,
        [
            Picture("means", "Means.", "E[x | z]: what the decoder expects.", found.sheet(means), rows=names),
            Picture(
                "draws",
                "Draws.",
                "x ~ p(x | z) at the same z: also its noise.",
                found.sheet(draws),
                rows=names,
            ),
        ],
    )


def _data(found: Findings) -> Section:
    """What goes in, and what survives the latent space."""
    title = "Data and reconstructions"
    shown = found.test.rows(slice(0, PAIRS))
    if not found.is_image:
        rows = found.test.subset(VECTOR_DRAWS)
        columns = [v[:, :VECTOR_COLUMNS] for v in (rows.values.numpy(), inference.reconstruct(found.run, rows))]
        caption = f"{len(rows):,} {found.which}rows, each decoded from its {found.code}; on the line both agree."
        chart = pictures.both(pictures.against, *columns)
        return Section(title, "", [Picture("reconstructions", "Each column.", caption, *chart)])
    pairs = np.concatenate([shown.values.numpy(), inference.reconstruct(found.run, shown)])
    first = shown.rows(slice(0, 10))
    labels = () if first.labels is None else tuple(str(int(label)) for label in first.labels)
    caption = f"Above, the first {found.which}images; below, each decoded from its {found.code}."
    if found.run.binarize != "none":
        caption += f" The encoder sees them binarised ({found.run.binarize})."
    ten = pictures.sheet(first.values.numpy(), found.run.schema, len(first))
    return Section(
        title,
        "",
        [
            Picture("data", "Data.", f"The first {len(first)} {found.which}images.", ten, columns=labels, wide=True),
            Picture("reconstructions", "Reconstructions.", caption, found.sheet(pairs, len(shown)), wide=True),
        ],
    )


def _latent(found: Findings) -> Section:
    """The codes of the test rows and, for images, what the decoder makes of the plane they are shown in."""
    if found.codes.shape[1] < 2:
        return Section("Latent space", "", [])
    a, b = found.units
    which = "the two units" if found.codes.shape[1] == 2 else "the two most active units"
    labels = None if found.seen.labels is None else found.seen.labels.numpy()
    dots = pictures.both(pictures.scatter, found.codes[:, [a, b]].numpy(), labels, (a, b))
    caption = f"The {found.code}s of {len(found.seen):,} {found.which}rows in {which}, {a} and {b} (counted from 0)"
    caption += "." if labels is None else ", coloured by label."
    if found.classes:
        caption += " The label is given to encoder and decoder, so z need not tell the classes apart."
    drawn = [Picture("latent", "Codes.", caption, *dots)]
    classes = sorted({round(c) for c in np.linspace(0, found.classes - 1, GRID_CLASSES)}) if found.classes else [None]
    if found.is_image:
        drawn += [_manifold(found, label) for label in classes]
    return Section("Latent space", "", drawn)


def _manifold(found: Findings, label: int | None) -> Picture:
    """The grid of decoded points over two units; the others stay at their mean."""
    mean, scale = _spread(found, label)
    quantiles = torch.special.ndtri(torch.linspace(*QUANTILES, GRID, dtype=torch.float64)).float()
    up, across = torch.meshgrid(quantiles.flip(0), quantiles, indexing="ij")
    grid = mean.repeat(GRID * GRID, 1)
    for unit, place in zip(found.units, (across, up), strict=True):
        grid[:, unit] += scale[unit] * place.flatten()
    labels = None if label is None else torch.full((len(grid),), label)
    images = pictures.sheet(inference.decode(found.run, grid, labels), found.run.schema, GRID, gap=pictures.GAP // 2)
    a, b = found.units
    caption = f"E[x | z] over z[{a}] (to the right) and z[{b}] (upwards) at {GRID} quantiles from "
    caption += f"{QUANTILES[0]:.0%} to {QUANTILES[1]:.0%} of "
    caption += "a normal fitted to the codes" if found.run.deterministic else "the prior"
    caption += "." if len(mean) == 2 else "; the other units at their mean."
    if label is None:
        return Picture("manifold", "Decoded plane.", caption, images)
    return Picture(f"manifold-{label}", f"Decoded plane, class {label}.", caption, images)


@torch.inference_mode()
def _spread(found: Findings, label: int | None) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of every latent unit: the prior's, or the codes' where there is no prior."""
    if found.run.deterministic:
        return found.codes.mean(0), found.codes.std(0)
    model, batch = found.run.model, found.test.batch(slice(0, 1), found.run.binarize)
    c = model.encode_context(None if label is None else torch.tensor([label]))
    priors = [prior for _, prior in model.latent.marginals(model.encoder(batch.input, c), c)]
    return torch.cat([p.mean.flatten() for p in priors]), torch.cat([p.stddev.flatten() for p in priors])


def _interpolations(found: Findings) -> Section:
    """Straight lines in z between the codes of two test images."""
    if not found.is_image:
        return Section("Interpolations", "", [])
    pairs = _pairs(found)
    if not len(pairs):
        return Section("Interpolations", "", [])
    ends = found.test.rows(pairs.flatten())
    start, stop = inference.code_means(found.run, ends).unflatten(0, (-1, 2)).unbind(1)
    along = torch.linspace(0, 1, STEPS).view(1, -1, 1)
    path = (start.unsqueeze(1) + along * (stop - start).unsqueeze(1)).flatten(0, 1)
    labels = ends.labels[::2].repeat_interleave(STEPS) if found.classes and ends.labels is not None else None
    decoded = inference.decode(found.run, path, labels)
    originals = ends.values.numpy().reshape(-1, 2, *found.run.schema.shape)
    decoded = decoded.reshape(-1, STEPS, *found.run.schema.shape)
    rows = np.concatenate([originals[:, :1], decoded, originals[:, 1:]], axis=1)
    of_one, kept = (" of one class", ", the label kept") if found.classes else ("", "")
    caption = (
        f"First and last column: two {found.which}images{of_one}. Between them, E[x | z] at {STEPS} equal steps on the "
        f"straight line from the one's {found.code} to the other's{kept}."
    )
    sheet = found.sheet(rows.reshape(-1, *found.run.schema.shape), STEPS + 2)
    return Section(
        "Interpolations",
        "",
        [Picture("interpolations", "From one image to another.", caption, sheet, wide=True)],
    )


def _pairs(found: Findings) -> Tensor:
    """Rows to interpolate between, (pairs, 2): the first two of each class of a conditional model, else neighbours."""
    if not found.classes or found.test.labels is None:
        return torch.arange(min(INTERPOLATIONS, len(found.test) // 2) * 2).view(-1, 2)
    members = [(found.test.labels == label).nonzero().flatten()[:2] for label in range(found.classes)]
    return torch.cat([pair.view(1, 2) for pair in members if len(pair) == 2][:INTERPOLATIONS] or [torch.empty(0, 2)])


def _training(found: Findings) -> Section:
    """The curves of training and validation and, for a variational model, what each latent unit carries."""
    drawn = []
    records = [record for record in found.records if "epoch" in record]
    if records:
        drawn.append(_curves(found, records))
    if "unit_nats" in found.figures:
        nats = np.array(found.figures["unit_nats"])
        bars = pictures.both(pictures.unit_bars, nats, found.active)
        caption = f"Mean KL of each unit's q(z | x) to its p(z) over {len(found.test):,} {found.which}rows, sorted; "
        caption += f"{found.active.sum()} of {len(nats)} units are active: the posterior mean varies by more than 0.01."
        drawn.append(Picture("units", "What each latent unit carries.", caption, *bars))
    return Section("Training", "", drawn)


def _curves(found: Findings, records: list[dict]) -> Picture:
    schema, epochs = found.run.schema, [record["epoch"] for record in records]
    if "elbo_nats" in records[0]["validation"]:
        name, up, scale, shift = "elbo_nats", "ELBO, nats per example", 1.0, schema.log_volume_nats
    else:
        name, up, scale, shift = "squared_error", "squared error per value", 1 / schema.size, 0.0
    lines = {part: [record[part][name] * scale + shift for record in records] for part in ("train", "validation")}
    drawn = pictures.both(pictures.curves, epochs, lines, found.run.info["epoch"], up)
    kept = found.run.info["epoch"]
    caption = (
        "Training: the mean over the epoch, weights moving. Validation: held-out rows at the epoch's end, averaged "
        f"weights. Dotted: epoch {kept}, whose weights were kept."
    )
    return Picture("curves", "Learning.", caption, *drawn)


def _comparison(found: Findings) -> Section:
    """The model's figure beside those of models that need no network."""
    if not any(map(math.isfinite, found.baselines.values())):
        return Section("Beside simple models", "", [])
    fitted = f"fitted to at most {BASELINE_ROWS:,} training rows, a fixed seeded subset"
    if found.run.deterministic:
        own, value, across = "this autoencoder", found.figures["mse_per_dim"], "squared error per value"
        caption = f"All {found.which}rows, reconstructed; PCA {fitted}. Smaller is better."
    else:
        own, value, across = "this model", found.figures["bits_per_dim"], "−log p(x), bits/dim"
        rows = f"The same {found.figures['log_likelihood_n']:,} {found.which}rows"
        caption = f"{rows}; the others by maximum likelihood, {fitted}. Smaller is better."
        if found.run.schema.levels:
            caption += " Densities are those of x + u, u uniform on [0, 1), and so comparable."
    scores = {own: value} | found.baselines
    left_out = [name for name, score in scores.items() if not math.isfinite(score)]
    if left_out:
        caption += f" Not finite, and so not drawn: {', '.join(left_out)}."
    chart = pictures.both(pictures.bars, {k: v for k, v in scores.items() if k not in left_out}, own, across)
    return Section("Beside simple models", "", [Picture("comparison", "How well it predicts.", caption, *chart)])


SECTIONS = (_samples, _data, _latent, _interpolations, _training, _comparison)

# ---------------------------------------------------------------- numbers

EXPLAINED = {  # figure → (label, note), in the order of the table
    "data": ("data", "what was measured"),
    "n": ("rows", "of them"),
    "convention": ("what is scored", ""),
    "log_likelihood_nats": (
        "log p(x)",
        "nats per example, by importance weighting: its expectation is a lower bound",
    ),
    "log_likelihood_se": ("· standard error", "nats, across rows"),
    "log_likelihood_mc_se": ("· Monte Carlo alone", "nats: what more samples would remove"),
    "bits_per_dim": ("· in bits/dim", "−log p(x) / (D ln 2)"),
    "bits_per_dim_se": ("· its standard error", "bits/dim, across rows"),
    "samples": ("· samples k", "draws of z per row"),
    "log_likelihood_n": ("· rows", "a fixed, seeded subset"),
    "conditional_log_likelihood_nats": ("log p(x | c)", "nats per example, the label given; same k and rows"),
    "conditional_bits_per_dim": ("· in bits/dim", "the label given"),
    "elbo_nats": ("ELBO", "nats per example, all rows, one draw of z each"),
    "elbo_bits_per_dim": ("· in bits/dim", ""),
    "distortion_nats": ("· distortion", "nats, −E[log p(x | z)]"),
    "rate_nats": ("· rate", "nats, KL(q ‖ p)"),
    "active_units": ("active units", "variance of the posterior mean above 0.01"),
    "latent_size": ("latent units", ""),
    "mse_per_dim": ("squared error", "per value in model units, reconstructed at the posterior mean"),
}


def _facts(found: Findings) -> dict[str, tuple[str, object, str]]:
    """What is known of the training: name → (label, value, note)."""
    run, last = found.run, [record for record in found.records if "seconds" in record][-1:]
    facts: dict[str, tuple[str, object, str]] = {
        "trained_on": ("trained on", run.info["data"], run.schema.describe()),
        "dimensions": ("D", run.schema.size, "values in one example"),
        "weights": ("weights", sum(p.numel() for p in run.model.parameters()), "numbers that were learned"),
        "kept_epoch": ("epoch kept", run.info["epoch"], "the best on the validation rows"),
        "seed": ("seed of the training", run.info["seed"], ""),
    }
    for record in last:
        facts["epochs"] = ("epochs", record["epoch"], f"{record['step']:,} steps")
        facts["seconds"] = (
            "wall time",
            record["seconds"],
            "seconds of training, on the machine that trained it",
        )
    if not run.deterministic:
        facts["evaluation_seed"] = ("seed of the estimates", EVALUATION_SEED, "of the Monte-Carlo noise")
    return facts


def _json(found: Findings) -> bytes:
    """Figures, baselines and facts; what is not finite becomes null, as JSON wants."""
    facts = {name: value for name, (_, value, _) in _facts(found).items()}
    whole = {"figures": found.figures, "baselines": found.baselines, "training": facts}
    finite = {
        part: {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in values.items()}
        for part, values in whole.items()
    }
    return (json.dumps(finite, indent=2, sort_keys=True) + "\n").encode()


# ---------------------------------------------------------------- the page


def _page(found: Findings, sections: list[str]) -> str:
    template = Template(Path(__file__).with_suffix(".html").read_text(encoding="utf-8"))
    return template.substitute(
        title=escape(found.run.info["data"]),
        summary=escape(_summary(found)),
        cards="".join(map(_card, _headline(found))),
        sections="\n".join(sections),
    )


def _summary(found: Findings) -> str:
    """The model in one sentence."""
    config, run = found.run.config, found.run
    kind = "autoencoder" if run.deterministic else "variational autoencoder"
    likelihood = config["likelihood"]
    details = ", ".join(f"{k} {v}" for k, v in likelihood.items() if k != "name")
    noise = f"{likelihood['name'].replace('_', ' ')} likelihood{f' ({details})' if details else ''}"
    parts = [
        f"{config['encoder']['name']} encoder, {config['decoder']['name']} decoder, "
        f"{config['latent']['size']} latent units"
    ]
    if not run.deterministic:
        parts += [f"{config['posterior']['name']} posterior, {config['prior']['name']} prior, {noise}"]
    if run.binarize != "none":
        parts += [f"values binarised ({run.binarize})"]
    article = "A conditional" if run.conditional else "An" if run.deterministic else "A"
    return f"{article} {kind}: {'; '.join(parts)}. Data: {run.schema.describe()}."


def _headline(found: Findings) -> list[tuple[str, str, str, str]]:
    """The main figures: (number, unit, what it is, how it was computed)."""
    f = found.figures
    if found.run.deterministic:
        cards = [
            (f"{f['mse_per_dim']:.3g}", "per value", "squared error", f"{f['n']:,} {found.which}rows, in model units")
        ]
        for name, error in found.baselines.items():
            ratio = f"{error / f['mse_per_dim']:.2g} times as much, on the same rows"
            cards.append((f"{error:.3g}", "per value", name, ratio))
        return cards
    bound = "bounds log p(x | c), the label given" if found.classes else "bounds log p(x)"
    weighted = f"{f['log_likelihood_nats']:.2f} nats; importance weighting, k = {f['samples']}, "
    weighted += f"{f['log_likelihood_n']:,} {found.which}rows"
    bounded = f"{f['elbo_nats']:.2f} nats; {bound}; all {f['n']:,} {found.which}rows"
    active = (str(f["active_units"]), f"of {f['latent_size']}", "latent units active")
    return [
        (f"{f['bits_per_dim']:.3f}", f"± {f['bits_per_dim_se']:.3f} bits/dim", "log p(x)", weighted.replace("-", "−")),
        (f"{f['elbo_bits_per_dim']:.3f}", "bits/dim", "ELBO", bounded.replace("-", "−")),
        (*active, f"carrying {f['rate_nats']:.1f} nats"),
    ]


def _card(card: tuple[str, str, str, str]) -> str:
    number, unit, name, how = map(escape, card)
    return f'<div class="card"><b>{number} <small>{unit}</small></b><span>{name}</span><i>{how}</i></div>'


def _section(section: Section) -> str:
    """Title, a line of text, figures; nothing at all without figures."""
    if not section.pictures:
        return ""
    text = f"<p>{escape(section.text)}</p>" if section.text else ""
    figures = "\n".join(map(_figure, section.pictures))
    return f'<section><h2>{escape(section.title)}</h2>{text}\n<div class="figures">\n{figures}\n</div></section>'


def _figure(picture: Picture) -> str:
    dark = ""
    if picture.dark is not None:
        dark = f'<source media="(prefers-color-scheme: dark)" srcset="{_data_uri(picture.dark)}">'
    image = f'<img id="{picture.name}" alt="{escape(picture.title)}" src="{_data_uri(picture.light)}">'
    labels = "".join(
        f'<div class="{side}">{"".join(f"<span>{escape(name)}</span>" for name in names)}</div>' if names else ""
        for side, names in (("rows", picture.rows), ("columns", picture.columns))
    )
    caption = f"<figcaption><b>{escape(picture.title)}</b> {escape(picture.caption)}</figcaption>"
    kind = "chart" if picture.dark is not None else "sheet"
    wide = ' class="wide"' if picture.wide else ""
    return f'<figure{wide}><div class="{kind}"><picture>{dark}{image}</picture>{labels}</div>{caption}</figure>'


def _data_uri(png: bytes) -> str:
    return f"data:image/png;base64,{b64encode(png).decode()}"


def _numbers(found: Findings) -> str:
    """The table: every figure of ``evaluate``, then what is known of the training."""
    known = [name for name in EXPLAINED if name in found.figures]
    new = [name for name in found.figures if name not in EXPLAINED and not isinstance(found.figures[name], list)]
    rows = [_row(name, *EXPLAINED.get(name, (name, "")), found.figures[name]) for name in known + new]
    rows += [_row(name, label, note, value) for name, (label, value, note) in _facts(found).items()]
    table = "\n".join(rows)
    return f"<section><h2>Numbers</h2>\n<table>\n{table}\n</table></section>"


def _row(name: str, label: str, note: str, value: object) -> str:
    cells = f'<th scope="row">{escape(label)}</th><td class="value">{escape(_text(value))}</td><td>{escape(note)}</td>'
    return f'<tr id="{escape(name)}">{cells}</tr>'


def _text(value: object) -> str:
    """Whole numbers whole, others to five digits, with a real minus."""
    shown = f"{value:,}" if isinstance(value, int) else f"{value:.5g}" if isinstance(value, float) else str(value)
    return shown.replace("-", "−") if isinstance(value, int | float) else shown


def command(
    run: Path, data: str | None = None, *, samples: int = 50, rows: int | None = 1000, out: Path | None = None
) -> None:
    """Draw what a run learned: one HTML page with its pictures.

    Parameters
    ----------
    run
        the folder that fit wrote, or its model file.
    data
        a named set (its test part unless it says mnist:train); by default the one that the model was trained on.
    samples
        draws per row for log p(x); more are tighter and slower.
    rows
        a fixed, seeded subset for log p(x).
    out
        the folder to write into; by default the run's own.
    """
    say(f"the report is {report(checkpoint.load(run), data, samples=samples, rows=rows, out=out)}")
