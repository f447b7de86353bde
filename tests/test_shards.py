"""Data larger than memory: read from where they are, they give what the same rows give in memory."""

import itertools
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers_runs import TINY, model_bytes, pixels, table
from PIL import Image

import variate
from variate import noise
from variate.apps.fit import fit
from variate.base.errors import UserError
from variate.data import shards
from variate.data.load import load
from variate.data.sources import read
from variate.training.keeper import Keeping
from variate.training.trainer import Trainer

pytestmark = pytest.mark.bits

ROWS = 240
KINDS = {
    "bytes": pixels(ROWS),
    "bits": pixels(ROWS, (6,)) > 99,
    "16 bits": pixels(ROWS).astype(">u2") * 200,
    "divided": pixels(ROWS).astype(np.float32) / 255,
    "colours": pixels(ROWS, (8, 9))[..., None].repeat(3, -1) // np.array([1, 2, 3], np.uint8),
    "reals": table(ROWS) + 1e4,
    "signals": pixels(ROWS, (32, 2)).astype(np.float64) ** 1.5,
    "counts": pixels(ROWS, (5,)).astype(np.int16) * 3,
}


@pytest.fixture
def small_memory(monkeypatch) -> None:
    """Everything that is larger than 1 kB is left on the disk, and gone through piece by piece."""
    monkeypatch.setattr(shards, "IN_MEMORY_BYTES", 1000)
    monkeypatch.setattr(shards, "PIECE_BYTES", 2000)


def save(folder: Path, values: np.ndarray, sizes: tuple[int, ...] = (70, 20, 100, 50)) -> Path:
    """The rows as shards of these sizes, whose names sort as they do."""
    folder.mkdir(exist_ok=True)
    assert sum(sizes) == len(values)
    for number, end in enumerate(itertools.accumulate(sizes)):
        np.save(folder / f"{number}.npy", values[end - sizes[number] : end])
    return folder


def stored(values: torch.Tensor | shards.Shards) -> np.ndarray:
    return values[:].numpy()


# ---------------------------------------------------------------------------------------------------- the same rows


@pytest.mark.parametrize("kind", KINDS)
def test_rows_in_shards_are_the_rows_in_memory(tmp_path, small_memory, kind):
    values = KINDS[kind]
    here, there = load(values), load(save(tmp_path / "shards", values))
    assert there.streams and not here.streams
    assert np.array_equal(stored(there.values), here.values.numpy())
    for far, near in (
        (there, here),
        *zip(there.split(3), here.split(3), strict=True),
        (there.subset(9), here.subset(9)),
    ):
        for name in ("offset", "scale"):
            assert getattr(far.schema.x.kind, name) == pytest.approx(getattr(near.schema.x.kind, name), rel=1e-9)
        near = replace(near, schema=near.schema.with_kind(far.schema.x.kind))
        assert far.schema == near.schema
        index = noise.permutation("rows", n=len(near))[:40]
        assert torch.equal(far.batch(index).input["x"].units, near.batch(index).input["x"].units)
        for a, b in zip(far.batches(7), near.batches(7), strict=True):
            assert torch.equal(a.input["x"].units, b.input["x"].units)


@pytest.mark.parametrize("cut", [1, 1000, 1 << 26])
def test_a_single_file_is_read_row_by_row(tmp_path, small_memory, monkeypatch, cut):
    monkeypatch.setattr("variate.data.sources.npy.SPAN_BYTES", cut)
    monkeypatch.setattr("variate.data.sources.npy.SKIPPED_BYTES", cut)
    np.save(tmp_path / "rows.npy", KINDS["reals"])
    rows = load(tmp_path / "rows.npy")
    index = torch.tensor([5, 239, 5, 0, 6, 100, 99])
    assert rows.streams and np.array_equal(rows.values[index].numpy(), KINDS["reals"][index])


def test_what_is_chosen_of_what_was_chosen(tmp_path, small_memory):
    here, there = load(KINDS["reals"]), load(save(tmp_path / "shards", KINDS["reals"]))
    for _ in range(2):
        index = noise.permutation("some", n=len(here))[: len(here) * 2 // 3]
        here, there = here.rows(index), there.rows(index)
        assert there.streams and np.array_equal(stored(there.values), here.values.numpy())
    few = there.rows(slice(10, 14))
    assert not few.streams and torch.equal(few.values, here.rows(slice(10, 14)).values)


def test_labels_stay_beside_their_rows(tmp_path, small_memory):
    labels = np.arange(ROWS) % 3
    np.save(tmp_path / "labels.npy", labels)
    rows = load(save(tmp_path / "shards", KINDS["bytes"]), tmp_path / "labels.npy")
    part = rows.split(0)[1]
    assert rows.schema.class_counts == (80, 80, 80)
    which = [int(np.flatnonzero((KINDS["bytes"] == image).all((1, 2)))[0]) for image in stored(part.values)]
    assert part.labels.tolist() == [labels[row] for row in which]


def test_small_shards_are_one_array_in_memory(tmp_path):
    rows = load(save(tmp_path / "shards", KINDS["16 bits"]))
    assert not rows.streams and rows.schema == load(KINDS["16 bits"]).schema
    assert torch.equal(rows.values, load(KINDS["16 bits"]).values)


def test_shards_have_parts(tmp_path, small_memory):
    save(tmp_path / "train", KINDS["bytes"])
    save(tmp_path / "test", KINDS["bytes"][:70], (70,))
    assert [len(load(tmp_path, part=part)) for part in ("train", "test")] == [ROWS, 70]


@pytest.mark.parametrize("name", ["static", "threshold"])
def test_binarised_rows_have_the_same_bits(tmp_path, small_memory, name):
    here, there = (load(data).binarized(name) for data in (KINDS["bytes"], save(tmp_path / "a", KINDS["bytes"])))
    assert there.streams and there.schema == here.schema
    assert np.array_equal(stored(there.values), here.values.numpy())


def folder_of_images(folder: Path, values: np.ndarray) -> Path:
    for number, image in enumerate(values):
        place = folder / ("odd" if number % 2 else "even")
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(place / f"{number:03d}.png")
    return folder


@pytest.mark.parametrize("resize", [None, (6, 5)])
def test_images_are_decoded_when_they_are_needed(tmp_path, monkeypatch, resize):
    folder = folder_of_images(tmp_path / "images", KINDS["colours"])
    here = load(folder, resize=resize)
    monkeypatch.setattr(shards, "IN_MEMORY_BYTES", 1000)
    there = load(folder, resize=resize)
    assert there.streams and there.schema == here.schema
    assert torch.equal(there.labels, here.labels)
    assert torch.equal(there.values[:], here.values)
    assert torch.equal(there.order(1, 2), here.order(1, 2))
    damaged = sorted((folder / "odd").iterdir())[3]
    damaged.write_bytes(damaged.read_bytes()[:60])
    with pytest.raises(UserError, match=f"{damaged} cannot be read"):
        load(folder, resize=resize)


# ---------------------------------------------------------------------------------------------------- order


def runs_of(order: torch.Tensor, bounds: list[int]) -> list[int]:
    """Which shard the rows are of, each shard named once per run of its rows."""
    return [shard for shard, _ in itertools.groupby(np.searchsorted(bounds, order.numpy(), side="right").tolist())]


def test_an_order_goes_through_shard_after_shard(tmp_path, small_memory):
    rows = load(save(tmp_path / "shards", KINDS["bytes"]))
    bounds = [70, 90, 190]
    orders = [rows.order(seed, epoch) for seed in range(3) for epoch in range(20)]
    for order in orders:
        assert order.dtype == torch.int64 and order.sort().values.tolist() == list(range(ROWS))
        assert sorted(runs_of(order, bounds)) == [0, 1, 2, 3]
    assert len({tuple(order.tolist()) for order in orders}) == 60
    assert len({tuple(runs_of(order, bounds)) for order in orders}) > 15  # of 24
    again = load(save(tmp_path / "shards", KINDS["bytes"])).order(2, 7)
    assert torch.equal(again, orders[47])


def test_within_a_shard_every_row_may_come_first(tmp_path, small_memory):
    rows = load(save(tmp_path / "shards", KINDS["bytes"][:60], (30, 30)))
    first = {int(rows.order(0, epoch)[0]) for epoch in range(400)}
    assert first == set(range(60))


def test_an_order_of_a_part_goes_through_its_shards(tmp_path, small_memory):
    part, _ = load(save(tmp_path / "shards", KINDS["bytes"])).split(0)
    order = part.order(0, 0)
    assert order.sort().values.tolist() == list(range(200))
    where = part.values.index[order]
    assert sorted(runs_of(where, [70, 90, 190])) == [0, 1, 2, 3]


def test_in_memory_the_order_is_what_it_was():
    assert torch.equal(load(KINDS["bytes"]).order(3, 4), noise.permutation(3, "order", 4, n=ROWS))


def test_a_single_file_is_cut_into_shards(tmp_path, small_memory, monkeypatch):
    monkeypatch.setattr("variate.data.sources.npy.SHARD_BYTES", 50 * 64 + 1)
    np.save(tmp_path / "rows.npy", KINDS["bytes"])
    assert sorted(runs_of(load(tmp_path / "rows.npy").order(0, 0), [50, 100, 150, 200])) == [0, 1, 2, 3, 4]


# ---------------------------------------------------------------------------------------------------- training


def test_training_goes_through_the_rows_in_that_order(tmp_path, small_memory, monkeypatch):
    """Every training row once in an epoch."""
    seen, plain = [], Trainer._one_step
    monkeypatch.setattr(Trainer, "_one_step", lambda self, i: (seen.append(i), plain(self, i))[1])
    data = save(tmp_path / "shards", KINDS["reals"])
    fit(data, epochs=2, overrides=[*TINY, "train.batch_size=50"], seed=4)
    part = load(data).split(4)[0]
    assert torch.cat(seen).tolist() == [*part.order(4, 0).tolist(), *part.order(4, 1).tolist()]


@pytest.mark.parametrize("overrides", [[], ["data.binarize=static", "likelihood.name=bernoulli"]])
def test_a_run_on_shards_resumes_to_the_same_bytes(tmp_path, small_memory, overrides):
    data, states = save(tmp_path / "shards", KINDS["bytes"]), []

    def copied(what: dict) -> None:
        states.append(tmp_path / f"state {what['step']}")
        shutil.copytree(tmp_path / "whole", states[-1])

    options = {"epochs": 2, "overrides": [*TINY, "train.batch_size=5", *overrides]}
    fit(data, out=tmp_path / "whole", keeping=Keeping(every_seconds=1e-9, callbacks={"save": copied}), **options)
    assert len(states) == 4
    for place in states[:3]:
        fit(data, out=place, resume=True)
        assert model_bytes(place) == model_bytes(tmp_path / "whole")


def test_a_model_of_shards_is_applied_as_any_other(tmp_path, small_memory):
    data = save(tmp_path / "shards", KINDS["bytes"])
    run = fit(data, out=tmp_path / "run", epochs=1, overrides=TINY)
    here, there = KINDS["bytes"], data
    assert np.array_equal(variate.embed(run, there), variate.embed(run, here))
    assert variate.evaluate(run, there, samples=2, rows=20) | {"data": ""} == variate.evaluate(
        run, here, samples=2, rows=20
    ) | {"data": ""}
    for name, column in variate.score(run, here, samples=2).items():
        assert np.array_equal(column, variate.score(run, there, samples=2)[name])
    with pytest.raises(UserError, match="^shards is too large to be reconstructed in memory: give fewer rows"):
        variate.reconstruct(run, there)


@pytest.mark.parametrize("kind", ["bytes", "reals"])
def test_a_report_of_shards_is_drawn(tmp_path, monkeypatch, kind):
    data = save(tmp_path / "shards", KINDS[kind])
    monkeypatch.setattr(shards, "IN_MEMORY_BYTES", KINDS[kind].nbytes - 1)
    run = fit(data, out=tmp_path / "run", epochs=1, overrides=TINY)
    assert load(data).streams
    assert variate.report(run, data, samples=2, rows=20).is_file()


# ---------------------------------------------------------------------------------------------------- what is wrong


def header_only(rows: int) -> bytes:
    head = b"{'descr': '|u1', 'fortran_order': False, 'shape': (%d, 8, 8), }" % rows
    return b"\x93NUMPY\1\0" + len(head).to_bytes(2, "little") + head


WRONG = {
    "another shape": (np.zeros((9, 8, 9), np.uint8), "rows of 8 x 9 uint8, but .* rows of 8 x 8 uint8: give shards"),
    "another type": (np.zeros((9, 8, 8), np.int8), "rows of 8 x 8 int8, but .* rows of 8 x 8 uint8"),
    "labels": (np.zeros(9, np.int64), "rows of 1 int64, but"),
    "by columns": (np.asfortranarray(np.ones((9, 8, 8), np.uint8)), "is stored column by column.*ascontiguousarray"),
    "a number": (np.array(3), "a single value"),
    "complex": (np.ones((9, 8, 8), complex), "complex numbers"),
    "nothing": (np.zeros((0, 8, 8), np.uint8), "no values"),
    "objects": (np.array([{}]), "could run code"),
    "cut short": (header_only(10) + bytes(639), "cut short"),
    "a promise": (header_only(1 << 40) + bytes(640), "cut short"),
    "too much": (header_only(10) + bytes(641), "goes on after its end"),
    "no array": (b"PK\3\4", "header that is not NumPy's"),
}


@pytest.mark.parametrize("large", [False, True])
@pytest.mark.parametrize("name", WRONG)
def test_a_shard_that_does_not_fit_is_named(tmp_path, monkeypatch, name, large):
    content, why = WRONG[name]
    save(tmp_path, KINDS["bytes"])
    place = tmp_path / "wrong.npy"
    place.write_bytes(content) if isinstance(content, bytes) else np.save(place, content, allow_pickle=True)
    if large:
        monkeypatch.setattr(shards, "IN_MEMORY_BYTES", 1000)
    with pytest.raises(UserError, match=f"^{place} .*{why}") as caught:
        read(tmp_path)
    assert "\n" not in str(caught.value)


def test_only_images_are_resized(tmp_path):
    with pytest.raises(UserError, match=f"^{tmp_path} is a folder of .npy shards.*leave --resize out"):
        read(save(tmp_path, KINDS["bytes"]), resize=(4, 4))


def test_an_array_beside_images_is_no_shard(tmp_path):
    folder = folder_of_images(tmp_path, KINDS["bytes"][:4])
    np.save(folder / "labels.npy", np.arange(4))
    assert read(folder).values.shape == (4, 8, 8)


@pytest.mark.parametrize("harm", ["gone", "shorter"])
def test_a_shard_that_changes_while_it_is_used_is_named(tmp_path, small_memory, harm):
    rows = load(save(tmp_path, KINDS["bytes"]))
    place = tmp_path / "2.npy"
    place.unlink() if harm == "gone" else os.truncate(place, 500)
    with pytest.raises(UserError, match=f"^{place} .*{'No such file' if harm == 'gone' else 'shorter'}"):
        rows.batch(slice(0, ROWS))


def later(place: Path) -> None:
    """As if some time had passed since it was written, however coarse the clock of the file system."""
    told = place.stat()
    os.utime(place, ns=(told.st_atime_ns, told.st_mtime_ns + 1_000_000_000))


REPLACED = {
    "another type": lambda values: values.astype(np.float32),
    "NaN": lambda values: np.full_like(values, np.nan),
    "other values": lambda values: values + 1,
    "more rows": lambda values: np.concatenate([values, values]),
    "fewer rows": lambda values: values[:-1],
}


@pytest.mark.parametrize("single", [False, True], ids=["a shard", "a single file"])
@pytest.mark.parametrize("kind", REPLACED)
def test_a_shard_that_is_replaced_while_it_is_learned_from_is_named(tmp_path, small_memory, kind, single):
    """In the middle of training: no step is made of what it holds now."""
    values = table(ROWS)
    data = save(tmp_path / "shards", values, *([(ROWS,)] if single else []))
    place, data = (data / "0.npy", data / "0.npy") if single else (data / "2.npy", data)

    def replaced(record: dict) -> None:
        np.save(place, REPLACED[kind](np.load(place)))
        later(place)

    with pytest.raises(UserError, match=f"^{place} has (changed since the data were opened|become shorter)"):
        fit(data, epochs=3, overrides=TINY, keeping=Keeping(callbacks={"epoch": replaced}))


def test_files_that_are_only_looked_at_have_not_changed(tmp_path, small_memory):
    data = save(tmp_path / "shards", KINDS["bytes"])
    rows = load(data)
    for place in data.iterdir():
        told = place.stat()
        os.utime(place, ns=(told.st_atime_ns + 10**9, told.st_mtime_ns))
        place.chmod(0o600)
    assert np.array_equal(stored(rows.values), KINDS["bytes"])


IMAGES = {
    "larger": lambda image: image.resize((20, 20)),
    "smaller": lambda image: image.resize((4, 4)),
    "of another mode": lambda image: image.convert("RGBA"),
    "other pixels": lambda image: Image.fromarray(255 - np.asarray(image)),
}


@pytest.mark.parametrize("kind", IMAGES)
@pytest.mark.parametrize("resize", [None, (6, 5)])
def test_an_image_that_is_replaced_while_it_is_learned_from_is_named(tmp_path, small_memory, kind, resize):
    folder = folder_of_images(tmp_path / "images", KINDS["bytes"][:40])
    place = folder / "odd" / "003.png"

    def replaced(record: dict) -> None:
        image = Image.open(place)
        IMAGES[kind](image).save(place)
        later(place)

    with pytest.raises(UserError, match=f"^{place} has changed since the data were opened"):
        fit(folder, resize=resize, epochs=3, overrides=TINY, keeping=Keeping(callbacks={"epoch": replaced}))


def partly(folder: Path, data: Path, **options: object) -> Path:
    """A run on these data that is not complete."""
    kept = folder.with_name("part")

    def copied(what: dict) -> None:
        if not kept.exists():
            shutil.copytree(folder, kept)

    fit(data, out=folder, epochs=2, overrides=TINY, keeping=Keeping(callbacks={"save": copied}), **options)
    return kept


def test_a_run_goes_on_with_a_copy_of_its_shards_but_not_with_others(tmp_path, small_memory):
    """The copy is of another time and at another place."""
    data = save(tmp_path / "shards", KINDS["bytes"])
    place = partly(tmp_path / "whole", data)
    others = save(tmp_path / "others", 255 - KINDS["bytes"])
    with pytest.raises(UserError, match="resume it with the data it"):
        fit(others, out=place, resume=True)
    moved = shutil.copytree(data, tmp_path / "elsewhere" / "shards")
    for file in moved.iterdir():
        later(file)
    fit(moved, out=place, resume=True)
    assert model_bytes(place) == model_bytes(tmp_path / "whole")


def test_a_run_goes_on_with_its_images_only(tmp_path, small_memory):
    data = folder_of_images(tmp_path / "images", KINDS["bytes"][:40])
    place = partly(tmp_path / "whole", data)
    last = sorted((data / "odd").iterdir())[-1]
    content = last.read_bytes()
    Image.fromarray(KINDS["bytes"][100]).save(last)
    with pytest.raises(UserError, match="resume it with the data it"):
        fit(data, out=place, resume=True)
    last.write_bytes(content)
    fit(data, out=place, resume=True)
    assert model_bytes(place) == model_bytes(tmp_path / "whole")


def test_infinity_in_any_shard_is_named_with_its_row_and_nan_is_missing(tmp_path, small_memory):
    values = table(ROWS)
    values[201, 3] = np.nan
    rows = load(save(tmp_path / "holes", values))
    assert rows.schema.x.missing
    np.testing.assert_allclose(rows.schema.x.kind.offset, np.nanmean(values.astype(np.float64), 0), rtol=1e-9)
    np.testing.assert_allclose(rows.schema.x.kind.scale, np.nanstd(values.astype(np.float64), 0), rtol=1e-9)
    values[201, 3] = np.inf
    with pytest.raises(UserError, match=r"^row 201 of the data holds infinity \(value 3 of it\)"):
        load(save(tmp_path / "infinite", values))


def test_numbers_too_large_to_count_with_are_refused_in_shards_too(tmp_path, small_memory):
    values = np.ones((ROWS, 5), np.uint64)
    values[230] = 1 << 63
    with pytest.raises(UserError, match="beyond 64 bits"):
        load(save(tmp_path, values))


# ---------------------------------------------------------------------------------------------------- memory


CHILD = """
import re, sys, threading, time
import numpy as np
import variate
from variate.data import shards

shards.IN_MEMORY_BYTES = 1 << 24
peak = [0]

def anonymous():
    return int(re.search(r"RssAnon:\\s+(\\d+)", open("/proc/self/status").read())[1]) / 1024

def watch():
    while True:
        peak[0] = max(peak[0], anonymous())
        time.sleep(0.005)

small = [f"{part}.{what}" for part in ("encoder", "decoder") for what in ("name=mlp", "hidden=[4]")]
small += ["train.least_steps=0", "train.batch_size=500"]
fit = lambda data: variate.fit(data, epochs=1, overrides=small)
fit(np.load(sys.argv[1] + "/0.npy")[:2000].copy())  # what libraries need of their own is there before
before = anonymous()
threading.Thread(target=watch, daemon=True).start()
variate.embed(fit(sys.argv[1]), sys.argv[1])
print(peak[0] - before)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is measured as Linux tells it")
def test_memory_does_not_grow_with_the_data(tmp_path):
    """200 MB of shards are learned from, and embedded, in less than 100 MB."""
    dice = np.random.default_rng(0)
    for number in range(4):
        np.save(tmp_path / f"{number}.npy", dice.random((25_000, 500), np.float32))
    environment = os.environ | {"OMP_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "2"}
    done = subprocess.run([sys.executable, "-c", CHILD, tmp_path], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout.splitlines()[-1]) < 100
