"""The names that each section of a recipe may say."""

from variate.base.registry import modules as modules_of
from variate.base.registry import registry
from variate.data import views
from variate.models import contexts, labellings, latents, likelihoods, networks, objectives, posteriors, priors
from variate.models.labellings import Labelling
from variate.models.latents.latent import Latent
from variate.models.likelihoods.likelihood import Likelihood
from variate.models.objectives.objective import Objective
from variate.models.posteriors.posterior import Posterior
from variate.models.priors.prior import Prior

__all__ = ["JOINT", "OPTIONAL", "OWN", "network_registry", "registries"]

OPTIONAL = ("context", "labelling", "view")  # sections whose name may be "none"
JOINT = "joint"  # the likelihood of a table: a law for each of its fields
OWN = "own"  # the file in models/networks/ for modules that the user brings


def network_registry(part: str) -> dict[str, type]:
    """Name → class for every file in ``networks/`` that has the part ("Encoder" or "Decoder")."""
    return {m.__name__.rpartition(".")[2]: getattr(m, part) for m in modules_of(networks) if hasattr(m, part)}


def registries() -> dict[str, dict[str, type]]:
    """Section → name → class."""
    return {
        "encoder": network_registry("Encoder"),
        "decoder": network_registry("Decoder"),
        "latent": registry(latents, Latent),
        "posterior": registry(posteriors, Posterior),
        "prior": registry(priors, Prior),
        "likelihood": registry(likelihoods, Likelihood),
        "objective": registry(objectives, Objective),
        "context": registry(contexts, contexts.Context),
        "labelling": registry(labellings, Labelling),
        "view": registry(views, views.View),
    }
