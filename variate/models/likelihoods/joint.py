"""The likelihood of a record: its fields are independent given z, each with a law of its own."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from variate.data.batch import Cells, Record
from variate.models.likelihoods.likelihood import Likelihood

__all__ = []  # no likelihood by itself: what a model of any record has


class Joint(nn.ModuleDict):
    """log p(x | z) = Σ_fields log p(x_f | z), over the cells that are observed; a missing one is summed out.

    Features (N, …) of one decoder go to the last layer of every law; parameters are a dictionary like the record.
    """

    def __init__(self, laws: dict[str, Likelihood]):
        super().__init__(laws)

    @property
    def laws(self) -> Iterator[tuple[str, Likelihood]]:
        yield from self.items()  # pyright: ignore[reportReturnType] (nothing else is in it)

    @property
    def only(self) -> Likelihood:
        """The law of a record of one field."""
        (law,) = self.values()
        return law  # pyright: ignore[reportReturnType]

    def forward(self, features: Tensor) -> dict[str, Tensor]:
        return {name: law(features) for name, law in self.laws}

    def beside(self, features: Tensor, target: Record) -> tuple[dict[str, Tensor], Record]:
        """``forward(features)`` and the target, with the places of both in whatever order is free for each field."""
        parameters, placed = {}, {}
        for name, law in self.laws:
            units, observed = target[name]
            known = (units,) if observed is None else (units, observed)
            parameters[name], *moved = law.beside(features, *known)
            placed[name] = Cells(*moved)
        return parameters, placed

    def log_probs(self, parameters: dict[str, Tensor], target: Record) -> dict[str, Tensor]:
        """log p(x_f | z) of every field, in nats, batch shape (…)."""
        return {name: law.log_prob(parameters[name], *target[name]) for name, law in self.laws}

    def log_prob(self, parameters: dict[str, Tensor], target: Record) -> Tensor:
        terms = list(self.log_probs(parameters, target).values())
        return terms[0] if len(terms) == 1 else torch.stack(terms).sum(0)

    def point(self, parameters: dict[str, Tensor]) -> dict[str, Tensor]:
        """The best guess of every field, in model units."""
        return {name: law.point(parameters[name]) for name, law in self.laws}

    def distributions(self, parameters: dict[str, Tensor]) -> dict[str, Distribution]:
        return {name: law.distribution(parameters[name]) for name, law in self.laws}

    def start_at(self, rows: Record) -> None:
        """Every value of every field starts at its marginal over training rows, of which cells may be missing."""
        for name, law in self.laws:
            law.start_at(rows[name].holes)

    @property
    def wants_residuals(self) -> bool:
        return any(law.wants_residuals for _, law in self.laws)

    def refit(self, mse_per_dim: float) -> None:
        for _, law in self.laws:
            law.refit(mse_per_dim)

    @property
    def parameters_per_row(self) -> int:
        """How many numbers the parameters of one row are."""
        return sum(law.per_value * law.field.size for _, law in self.laws)
