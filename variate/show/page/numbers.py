"""Every figure of ``evaluate`` and what is known of the training, as a table and as JSON."""

import json
import math

from variate.show.page.findings import EVALUATION_SEED, Findings
from variate.show.page.words import signed

__all__ = ["as_json", "rows", "text"]

EXPLAINED = {  # figure → (label, note), in the order of the table
    "data": ("data", "what was measured"),
    "n": ("rows", ""),
    "convention": ("what is scored", ""),
    "log_likelihood_nats": (
        "log p(x)",
        "nats per example, by importance weighting: its expectation is a lower bound",
    ),
    "bits_per_dim": ("· in bits/dim", "−log p(x) / (D ln 2)"),
    "log_likelihood_se": ("· standard error", "nats, across rows"),
    "log_likelihood_mc_se": ("· Monte Carlo alone", "nats: what more samples would remove"),
    "bits_per_dim_se": ("· standard error", "bits/dim, across rows"),
    "conditional_log_likelihood_nats": (
        "log p(x | c)",
        "nats per example, by importance weighting, the {told} given: its expectation is a lower bound",
    ),
    "conditional_bits_per_dim": ("· in bits/dim", "−log p(x | c) / (D ln 2)"),
    "conditional_log_likelihood_se": ("· standard error", "nats, across rows"),
    "conditional_log_likelihood_mc_se": ("· Monte Carlo alone", "nats: what more samples would remove"),
    "conditional_bits_per_dim_se": ("· standard error", "bits/dim, across rows"),
    "samples": ("· samples k", "draws of z per row"),
    "effective_samples": ("· effective ones", "in the median row; near 1, log p is higher than it says"),
    "log_likelihood_n": ("· rows", "all, or a fixed, seeded subset"),
    "not_finite": ("· not finite", "of these rows: no mean has a value beside them"),
    "elbo_nats": ("ELBO", "nats per example, all rows, one draw of z each"),
    "elbo_bits_per_dim": ("· in bits/dim", ""),
    "distortion_nats": ("· distortion", "nats, −E[log p(x | z)]"),
    "rate_nats": ("· rate", "nats, KL(q ‖ p)"),
    "active_units": ("active units", "variance of the posterior mean above 0.01"),
    "latent_size": ("latent units", ""),
    "mse_per_dim": ("squared error", "per value in model units, reconstructed at the posterior mean"),
}


def rows(found: Findings) -> list[tuple[str, str, str, str]]:
    """(id, what it is, value, note) of every number."""
    known = [name for name in EXPLAINED if name in found.figures]
    new = [name for name in found.figures if name not in EXPLAINED and not isinstance(found.figures[name], list | dict)]
    listed = []
    for name in known + new:
        label, note = EXPLAINED.get(name, (name, ""))
        listed.append((name, label, text(found.figures[name]), note.format(told=found.told)))
    return listed + [(name, label, text(value), note) for name, (label, value, note) in _facts(found).items()]


def as_json(found: Findings) -> bytes:
    """Figures, baselines and facts; what is not finite becomes null, as JSON wants."""
    facts = {name: value for name, (_, value, _) in _facts(found).items()}
    whole = {"figures": found.figures, "baselines": found.baselines, "training": facts}
    finite = {
        part: {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in values.items()}
        for part, values in whole.items()
    }
    return (json.dumps(finite, indent=2, sort_keys=True) + "\n").encode()


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
            "seconds of training and validation, on the machine that trained it",
        )
    if not run.deterministic:
        facts["evaluation_seed"] = ("seed of the estimates", EVALUATION_SEED, "of the Monte-Carlo noise")
    return facts


def text(value: object) -> str:
    """Whole numbers whole, others to five digits, with a real minus; None is what so few rows or samples cannot say."""
    if value is None:
        return "unknown"
    shown = f"{value:,}" if isinstance(value, int) else f"{value:.5g}" if isinstance(value, float) else str(value)
    return signed(shown) if isinstance(value, int | float) else shown
