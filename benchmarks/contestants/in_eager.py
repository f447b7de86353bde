"""Plain eager PyTorch: modules, a ``DataLoader`` and a loop, as people write them."""

import race
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset


class DenseVAE(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(race.SIDE**2, race.HIDDEN), nn.ReLU())
        self.posterior = nn.Linear(race.HIDDEN, 2 * race.LATENT)
        self.decoder = nn.Sequential(nn.Linear(race.LATENT, race.HIDDEN), nn.ReLU())
        self.head = nn.Linear(race.HIDDEN, race.SIDE**2)

    def forward(self, x: Tensor) -> Tensor:
        x = x.flatten(1)
        mean, log_scale = self.posterior(self.encoder(x)).chunk(2, dim=-1)
        z = mean + log_scale.exp() * torch.randn_like(mean)
        logits = self.head(self.decoder(z))
        distortion = F.binary_cross_entropy_with_logits(logits, x, reduction="none").sum(-1)
        rate = 0.5 * (mean**2 + (2 * log_scale).exp() - 1 - 2 * log_scale).sum(-1)
        return (distortion + rate).mean()


class Block(nn.Module):
    def __init__(self, channels: int):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv(F.relu(x))


def bounded_exp(x: Tensor) -> Tensor:
    return torch.exp(race.BEND * torch.tanh(x / race.BEND))


class NormalPrior(nn.Module):
    """A learned mean and covariance."""

    def __init__(self, size: int):
        super().__init__()
        self.mean = nn.Parameter(torch.zeros(size))
        self.lower = nn.Parameter(torch.zeros(size * (size + 1) // 2))
        self.register_buffer("places", torch.tril_indices(size, size))

    def rate(self, mean: Tensor, scale: Tensor) -> Tensor:
        """KL(N(mean, diag scale²) ‖ p)."""
        size = len(self.mean)
        raw = torch.zeros(size, size).index_put(tuple(self.places), self.lower)
        diagonal = bounded_exp(raw.diagonal())
        lower = raw.tril(-1) + torch.diag(diagonal)
        inverse = torch.linalg.solve_triangular(lower, torch.eye(size), upper=False)
        quadratic = (scale**2 @ inverse.T**2).sum(-1) + ((mean - self.mean) @ inverse.T).square().sum(-1)
        return 0.5 * (quadratic - size) + diagonal.log().sum() - scale.log().sum(-1)


class ConvVAE(nn.Module):
    def __init__(self):
        super().__init__()
        (half, quarter), (wide, narrow) = race.NARROW, race.WIDE
        places = race.QUARTER**2
        self.encoder = nn.Sequential(
            nn.Conv2d(1 + len(race.ATOMS), half, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(half, quarter, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(quarter * places, race.DENSE),
            nn.ReLU(),
        )
        self.posterior = nn.Linear(race.DENSE, 2 * race.CONV_LATENT)
        self.prior = NormalPrior(race.CONV_LATENT)
        self.decoder = nn.Sequential(
            nn.Linear(race.CONV_LATENT, race.DENSE),
            nn.ReLU(),
            nn.Linear(race.DENSE, wide * places),
            nn.Unflatten(1, (wide, race.QUARTER, race.QUARTER)),
            Block(wide),
            nn.ReLU(),
            nn.Conv2d(wide, 4 * narrow, 1),
            nn.PixelShuffle(2),
            Block(narrow),
            nn.ReLU(),
            nn.Conv2d(narrow, 4 * race.PER_VALUE, 1),
            nn.PixelShuffle(2),
        )
        k = race.COMPONENTS
        start = torch.zeros(race.PER_VALUE)
        start[:k], start[k : 2 * k] = torch.tensor(race.FIRST_MEANS), race.FIRST_LOG_SCALE
        with torch.no_grad():
            self.decoder[-2].bias.copy_(start.repeat_interleave(4))

    def forward(self, x: Tensor) -> Tensor:
        level = (x * (race.LEVELS - 1)).round()
        on_atom = torch.cat([level == atom for atom in race.ATOMS], dim=1)
        mean, log_scale = self.posterior(self.encoder(torch.cat([x, on_atom], dim=1))).chunk(2, dim=-1)
        scale = bounded_exp(log_scale)
        z = mean + scale * torch.randn_like(mean)
        distortion = -log_mass(self.decoder(z), x, on_atom).flatten(1).sum(-1)
        return (distortion + race.BETA * self.prior.rate(mean, scale)).mean()


def log_mass(parameters: Tensor, x: Tensor, on_atom: Tensor) -> Tensor:
    """A mixture of discretised logistics the way PixelCNN++ computes it, and of atoms."""
    k, half = race.COMPONENTS, 0.5 / (race.LEVELS - 1)
    means, log_scales, logits = parameters.split([k, k, k + len(race.ATOMS)], dim=1)
    log_scales = log_scales.clamp(-race.LOG_SCALES, race.LOG_SCALES)
    inverse = torch.exp(-log_scales)
    centred = x - means
    above, below, middle = inverse * (centred + half), inverse * (centred - half), inverse * centred
    mass = torch.sigmoid(above) - torch.sigmoid(below)
    log_density = middle - log_scales - 2 * F.softplus(middle)
    inside = torch.where(mass > 1e-5, mass.clamp(min=1e-12).log(), log_density + torch.tensor(2 * half).log())
    first, last = above - F.softplus(above), -F.softplus(below)
    smooth = torch.where(x < half, first, torch.where(x > 1 - half, last, inside))
    weights = logits.log_softmax(dim=1)
    atoms = weights[:, k:].masked_fill(~on_atom, -torch.inf)
    return torch.cat([smooth + weights[:, :k], atoms], dim=1).logsumexp(dim=1)


def main() -> None:
    asked = race.arguments()
    torch.set_num_threads(asked.threads)
    torch.manual_seed(0)
    rows = torch.from_numpy(race.images(asked.rows, "train")).unsqueeze(1).float() / 255
    loader = DataLoader(TensorDataset(rows), batch_size=race.BATCH, shuffle=True, drop_last=True)
    model = ConvVAE() if asked.workload == "conv" else DenseVAE()
    optimizer = torch.optim.Adam(model.parameters(), lr=race.LEARNING_RATE)

    def epoch() -> dict:
        total = 0.0
        for (x,) in loader:
            loss = model(x)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item()
        return {"loss": total / len(loader)}

    weights = sum(parameter.numel() for parameter in model.parameters())
    race.serve(epoch, versions={"torch": torch.__version__}, weights=weights, steps=len(loader))


if __name__ == "__main__":
    main()
