"""The model in one sentence, and the figures that matter most."""

from variate.show.page.findings import Findings
from variate.show.page.words import fixed

__all__ = ["cards", "summary"]

K = "k\N{NO-BREAK SPACE}=\N{NO-BREAK SPACE}"


def summary(found: Findings) -> str:
    config, run = found.run.config, found.run
    kind = "autoencoder" if run.deterministic else "variational autoencoder"
    noise = _noise(config["likelihood"])
    units = run.model.latent.size
    networks = f"{config['encoder']['name']} encoder, {config['decoder']['name']} decoder"
    parts = [f"{networks}, {units} latent unit{'s' if units > 1 else ''}"]
    if not run.deterministic:
        laws = [part for part in ("posterior", "prior") if hasattr(run.model.latent, part)]  # of a latent made of them
        named = ", ".join(f"{config[part]['name']} {part}" for part in laws or ["latent"])
        parts += [f"{named}, {noise}"]
    if run.binarize != "none":
        parts += [f"values binarised ({run.binarize})"]
    article = "A conditional" if run.conditional else "An" if run.deterministic else "A"
    return f"{article} {kind}: {'; '.join(parts)}. Data: {run.schema.describe()}."


def _noise(likelihood: dict) -> str:
    """The likelihood's name and options; of a table's columns that of every measure."""
    details = {option: value for option, value in likelihood.items() if option != "name"}
    if likelihood["name"] == "joint":
        laws = (law if isinstance(law, str) else law["name"] for law in details.values())
        return f"likelihoods {', '.join(law.replace('_', ' ') for law in laws)}"
    shown = ", ".join(f"{option} {value}" for option, value in details.items())
    return f"{likelihood['name'].replace('_', ' ')} likelihood{f' ({shown})' if shown else ''}"


def cards(found: Findings) -> list[tuple[str, str, str, str]]:
    """(number, unit, what it is, how it was computed)."""
    return _errors(found) if found.run.deterministic else _likelihoods(found)


def _errors(found: Findings) -> list[tuple[str, str, str, str]]:
    own = found.figures["mse_per_dim"]
    shown = "unknown" if own is None else f"{own:.3g}"
    listed = [(shown, "per value", "squared error", f"{found.figures['n']:,} {found.which}rows, in model units")]
    for name, error in found.baselines.items():
        ratio = f"{error / own:.2g} times as much, on the same rows" if own else "on the same rows"
        listed.append((f"{error:.3g}", "per value", name, ratio))
    return listed


def _likelihoods(found: Findings) -> list[tuple[str, str, str, str]]:
    f = found.figures
    prefix, law = ("", "log p(x)") if "bits_per_dim" in f else ("conditional_", "log p(x | c)")
    given = f"log p(x | c), the {found.told} given" if found.run.conditional else "log p(x)"
    spread = f[f"{prefix}bits_per_dim_se"]
    error = "" if spread is None else f"± {spread:.3f} "
    weighted = f"{_nats(f[f'{prefix}log_likelihood_nats'])}; importance weighting, {K}{f['samples']}, "
    weighted += f"{f['log_likelihood_n']:,} {found.which}rows" + (f"; the {found.told} given" if prefix else "")
    bounded = f"{_nats(f['elbo_nats'])}; bounds {given}; all {f['n']:,} {found.which}rows"
    active = (str(f["active_units"]), f"of {f['latent_size']}", "latent units active")
    return [
        (fixed(f[f"{prefix}bits_per_dim"], ".3f"), f"{error}bits/dim", law, weighted),
        (fixed(f["elbo_bits_per_dim"], ".3f"), "bits/dim", "ELBO", bounded),
        (*active, f"carrying {fixed(f['rate_nats'], '.1f')} nats"),
    ]


def _nats(value: float | None) -> str:
    return f"{fixed(value, ',.2f')} nats"
