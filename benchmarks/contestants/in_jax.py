"""JAX: the epoch of dense networks is one jitted scan; of convolutional ones, one jitted step per batch."""

import os

import race

asked = race.arguments()
os.environ["XLA_FLAGS"] = f"--xla_cpu_multi_thread_eigen={'true' if asked.threads > 1 else 'false'}"
os.environ["JAX_PLATFORMS"] = "cpu"

import jax  # noqa: E402 (its flags are read when it is imported)
import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402
import optax  # noqa: E402

PRODUCTS = jnp.bfloat16 if asked.precision == "bf16" else jnp.float32
SPATIAL = ("NHWC", "HWIO", "NHWC")


def product(x, w):  # noqa: ANN001, ANN201
    """A matrix product of operands in the precision asked for, summed in fp32."""
    return jnp.matmul(x.astype(PRODUCTS), w.astype(PRODUCTS), preferred_element_type=jnp.float32)


def convolution(x, w, stride):  # noqa: ANN001, ANN201
    """Operands and result in the precision asked for: JAX cannot differentiate a convolution of mixed precisions."""
    x, w = x.astype(PRODUCTS), w.astype(PRODUCTS)
    out = jax.lax.conv_general_dilated(x, w, (stride, stride), ((1, 1), (1, 1)), dimension_numbers=SPATIAL)
    return out.astype(jnp.float32)


def dense(key, inputs, outputs):  # noqa: ANN001, ANN201
    bound = inputs**-0.5
    return {"w": jax.random.uniform(key, (inputs, outputs), minval=-bound, maxval=bound), "b": jnp.zeros(outputs)}


def kernel(key, inputs, outputs):  # noqa: ANN001, ANN201
    layer = dense(key, 9 * inputs, outputs)
    return layer | {"w": layer["w"].reshape(3, 3, inputs, outputs)}


def apply(layer, x, stride=1):  # noqa: ANN001, ANN201
    out = convolution(x, layer["w"], stride) if layer["w"].ndim == 4 else product(x, layer["w"])
    return out + layer["b"]


def mlp(key):  # noqa: ANN001, ANN201
    pairs = [(784, race.HIDDEN), (race.HIDDEN, 2 * race.LATENT), (race.LATENT, race.HIDDEN), (race.HIDDEN, 784)]
    return [dense(k, *pair) for k, pair in zip(jax.random.split(key, 4), pairs, strict=True)]


def mlp_loss(parameters, x, key):  # noqa: ANN001, ANN201
    x = x.reshape(len(x), -1).astype(jnp.float32) / 255
    mean, log_scale = jnp.split(apply(parameters[1], jax.nn.relu(apply(parameters[0], x))), 2, axis=-1)
    z = mean + jnp.exp(log_scale) * jax.random.normal(key, mean.shape)
    logits = apply(parameters[3], jax.nn.relu(apply(parameters[2], z)))
    distortion = optax.sigmoid_binary_cross_entropy(logits, x).sum(-1)
    rate = 0.5 * (mean**2 + jnp.exp(2 * log_scale) - 1 - 2 * log_scale).sum(-1)
    return (distortion + rate).mean()


def conv(key):  # noqa: ANN001, ANN201
    (half, quarter), (wide, narrow) = race.NARROW, race.WIDE
    places, size, k = race.QUARTER**2, race.CONV_LATENT, race.COMPONENTS
    shapes = {
        "half": (kernel, 1 + len(race.ATOMS), half),
        "quarter": (kernel, half, quarter),
        "dense": (dense, quarter * places, race.DENSE),
        "posterior": (dense, race.DENSE, 2 * size),
        "from_code": (dense, size, race.DENSE),
        "spread": (dense, race.DENSE, wide * places),
        "wide": (kernel, wide, wide),
        "up": (dense, wide, 4 * narrow),
        "narrow": (kernel, narrow, narrow),
        "head": (dense, narrow, 4 * race.PER_VALUE),
    }
    keys = jax.random.split(key, len(shapes))
    layers = {name: make(k, *pair) for k, (name, (make, *pair)) in zip(keys, shapes.items(), strict=True)}
    start = [*race.FIRST_MEANS, *[race.FIRST_LOG_SCALE] * k, *[0.0] * (k + len(race.ATOMS))]
    layers["head"]["b"] = jnp.tile(jnp.array(start), 4)
    layers["prior"] = {"mean": jnp.zeros(size), "lower": jnp.zeros(size * (size + 1) // 2)}
    return layers


def finer(x):  # noqa: ANN001, ANN201
    """(B, H, W, 4 F) → (B, 2 H, 2 W, F)."""
    rows, height, width, features = x.shape
    x = x.reshape(rows, height, width, 2, 2, features // 4).transpose(0, 1, 3, 2, 4, 5)
    return x.reshape(rows, 2 * height, 2 * width, features // 4)


def bounded_exp(x):  # noqa: ANN001, ANN201
    return jnp.exp(race.BEND * jnp.tanh(x / race.BEND))


def prior_rate(prior, mean, scale):  # noqa: ANN001, ANN201
    """KL of a diagonal normal to one with a learned mean and covariance."""
    size = len(prior["mean"])
    raw = jnp.zeros((size, size)).at[jnp.tril_indices(size)].set(prior["lower"])
    diagonal = bounded_exp(jnp.diag(raw))
    lower = jnp.tril(raw, -1) + jnp.diag(diagonal)
    inverse = jax.scipy.linalg.solve_triangular(lower, jnp.eye(size), lower=True)
    quadratic = (scale**2 @ inverse.T**2).sum(-1) + (((mean - prior["mean"]) @ inverse.T) ** 2).sum(-1)
    return 0.5 * (quadratic - size) + jnp.log(diagonal).sum() - jnp.log(scale).sum(-1)


def log_mass(parameters, x, on_atom):  # noqa: ANN001, ANN201
    """A mixture of discretised logistics the way PixelCNN++ computes it, and of atoms."""
    k, half = race.COMPONENTS, 0.5 / (race.LEVELS - 1)
    means, log_scales, logits = jnp.split(parameters, [k, 2 * k], axis=-1)
    log_scales = jnp.clip(log_scales, -race.LOG_SCALES, race.LOG_SCALES)
    inverse = jnp.exp(-log_scales)
    centred = x - means
    above, below, middle = inverse * (centred + half), inverse * (centred - half), inverse * centred
    mass = jax.nn.sigmoid(above) - jax.nn.sigmoid(below)
    log_density = middle - log_scales - 2 * jax.nn.softplus(middle) + np.log(2 * half)
    inside = jnp.where(mass > 1e-5, jnp.log(jnp.maximum(mass, 1e-12)), log_density)
    smooth = jnp.where(x > 1 - half, -jax.nn.softplus(below), inside)
    smooth = jnp.where(x < half, above - jax.nn.softplus(above), smooth)
    weights = jax.nn.log_softmax(logits)
    atoms = jnp.where(on_atom, weights[..., k:], -jnp.inf)
    return jax.nn.logsumexp(jnp.concatenate([smooth + weights[..., :k], atoms], -1), axis=-1)


def conv_loss(net, x, key):  # noqa: ANN001, ANN201
    level = x[..., None]
    x = level.astype(jnp.float32) / (race.LEVELS - 1)
    on_atom = level == jnp.array(race.ATOMS, level.dtype)
    h = jax.nn.relu(apply(net["half"], jnp.concatenate([x, on_atom], -1), 2))
    h = jax.nn.relu(apply(net["quarter"], h, 2)).reshape(len(x), -1)
    mean, log_scale = jnp.split(apply(net["posterior"], jax.nn.relu(apply(net["dense"], h))), 2, axis=-1)
    scale = bounded_exp(log_scale)
    z = mean + scale * jax.random.normal(key, mean.shape)
    h = apply(net["spread"], jax.nn.relu(apply(net["from_code"], z)))
    h = h.reshape(len(x), race.QUARTER, race.QUARTER, -1)
    h = jax.nn.relu(h + apply(net["wide"], jax.nn.relu(h)))
    h = finer(apply(net["up"], h))
    h = jax.nn.relu(h + apply(net["narrow"], jax.nn.relu(h)))
    distortion = -log_mass(finer(apply(net["head"], h)), x, on_atom).sum((1, 2))
    return (distortion + race.BETA * prior_rate(net["prior"], mean, scale)).mean()


def main() -> None:
    rows = jnp.asarray(race.images(asked.rows, "train"))
    make, loss_of = (conv, conv_loss) if asked.workload == "conv" else (mlp, mlp_loss)
    adam = optax.adam(race.LEARNING_RATE)
    parameters = make(jax.random.key(0))
    state = {"now": (parameters, adam.init(parameters)), "epoch": 0}
    steps = len(rows) // race.BATCH

    def step(carry, at):  # noqa: ANN001, ANN202
        parameters, moments = carry
        index, key = at
        loss, gradient = jax.value_and_grad(loss_of)(parameters, rows[index], key)
        change, moments = adam.update(gradient, moments)
        return (optax.apply_updates(parameters, change), moments), loss

    def plan(key):  # noqa: ANN001, ANN202
        order = jax.random.permutation(key, len(rows))[: steps * race.BATCH].reshape(steps, race.BATCH)
        return order, jax.random.split(key, steps)

    scanned = jax.jit(lambda carry, key: jax.lax.scan(step, carry, plan(key)), donate_argnums=0)
    jitted = jax.jit(step, donate_argnums=0)

    def stepwise(carry, key):  # noqa: ANN001, ANN202
        losses = []
        for at in zip(*plan(key), strict=True):
            carry, loss = jitted(carry, at)
            losses.append(loss)
        return carry, jnp.stack(losses)

    def run() -> dict:
        epoch = stepwise if asked.workload == "conv" else scanned
        state["now"], losses = epoch(state["now"], jax.random.key(state["epoch"]))
        state["epoch"] += 1
        return {"loss": float(losses.mean())}

    weights = sum(weight.size for weight in jax.tree.leaves(parameters))
    race.serve(run, versions={"jax": jax.__version__, "optax": optax.__version__}, weights=weights, steps=steps)


main()
