"""Tables from end to end: what a row of mixed columns with holes is, learns, is scored as and is drawn like."""

import json
import math

import numpy as np
import polars as pl
import pytest
import torch

import variate
from variate import UserError, cli, noise
from variate.data.batch import Batch, Cells
from variate.data.load import load
from variate.data.parting import held_out
from variate.data.table import frame_of, told
from variate.data.views import Hide
from variate.models.readers import reader_of
from variate.training.fitting import Asked, trainer_for
from variate.training.processes import Processes

ROWS = 600
FEW = [
    "train.least_steps=400",
    "train.epochs=1",
    "encoder.hidden=[32]",
    "decoder.hidden=[32]",
    "latent.size=4",
    "view.rows=0.7",
]


def frame(rows: int = ROWS, seed: int = 0) -> pl.DataFrame:
    """A town that goes with a price, a count, a date, a heap of zeros, and holes."""
    rng = np.random.default_rng(seed)
    town = rng.integers(0, 3, rows)
    price = np.round(100 + 50 * town + rng.normal(size=rows) * 10, 1)
    bonus = np.where(rng.random(rows) < 0.5, 0.0, rng.normal(5 + town, 1, rows))
    days = rng.integers(0, 365, rows)
    columns = {
        "town": pl.Series(np.array(["Aachen", "Bonn", "Celle"])[town].tolist()),
        "price": pl.Series(price),
        "rooms": pl.Series(rng.poisson(1 + town)),
        "bonus": pl.Series(bonus),
        "sold": pl.Series(np.datetime64("2024-01-01") + days.astype("timedelta64[D]")).cast(pl.Date),
        "size": pl.Series(rng.normal(town, 1)),
    }
    made = pl.DataFrame(columns)
    holes = rng.random((rows, 6)) < 0.1
    return made.with_columns(
        pl.when(pl.Series(~hole)).then(pl.col(name)).alias(name) for name, hole in zip(columns, holes.T, strict=True)
    )


@pytest.fixture(scope="module")
def run():
    return variate.fit(frame(), overrides=FEW)


def test_codes_come_back_from_units_as_they_were():
    rows = load(frame())
    batch = rows.batch(slice(None), dtype=torch.float64)
    raw = rows.schema.to_raw({name: cells.units for name, cells in batch.target.items()})
    known, heaped = ~rows.values.isnan().numpy(), rows.schema.code_names.index("bonus")
    exact = known & ~np.isin(np.arange(6), [heaped, rows.schema.code_names.index("size")])
    np.testing.assert_array_equal(raw[exact], rows.values.numpy()[exact])
    np.testing.assert_allclose(raw[known], rows.values.numpy()[known], rtol=1e-12, atol=1e-6)  # the bins' width
    assert frame_of(rows.values.numpy(), rows.schema).equals(frame())


def test_a_hole_is_read_as_a_hole_whatever_stands_in_it():
    rows = load(frame())
    batch = rows.batch(slice(None))
    reader = reader_of(rows.schema.explained)
    other = {
        name: Cells(torch.where(observed, units, units + 1), observed)
        for name, (units, observed) in batch.input.items()
        if "category" not in name
    }
    changed = batch.input | other
    assert reader(batch.input).shape[1:] == reader.shape
    for name, (_, observed) in batch.input.items():
        assert bool((batch.input[name].units[~observed] == 0).all())
    differ = (reader(changed) != reader(batch.input)).any(1)
    assert not bool(differ[torch.cat([c.observed for c in batch.input.values()], 1).all(1)].any())


def test_the_likelihood_of_a_row_is_that_of_its_observed_cells(run):
    """Observed cells and missing ones add up to all of them."""
    model, rows = run.model, load(frame(40), like=run.schema)
    batch = rows.batch(slice(None))
    whole = {name: Cells(units, torch.ones_like(observed)) for name, (units, observed) in batch.target.items()}
    rest = {name: Cells(units, ~batch.target[name].observed) for name, (units, _) in whole.items()}
    with torch.no_grad():
        parameters = model.decode(torch.randn(3, 40, 4), None)
        parts = [model.likelihood.log_prob(parameters, record) for record in (batch.target, rest, whole)]
    torch.testing.assert_close(parts[0] + parts[1], parts[2])


def test_the_levels_of_a_category_alone_have_probabilities_that_sum_to_one(run):
    empty = {name: [None] * 3 for name in ("price", "rooms", "bonus", "sold", "size")}
    alone = pl.DataFrame({"town": ["Aachen", "Bonn", "Celle"]} | empty)
    found = variate.score(run, alone, samples=2000)
    assert np.exp(found["log_likelihood_nats"]).sum() == pytest.approx(1, abs=0.03)


def test_a_row_of_holes_has_log_probability_nought(run):
    nothing = pl.DataFrame({name: [None, None] for name in frame().columns})
    np.testing.assert_allclose(variate.score(run, nothing, samples=500)["log_likelihood_nats"], 0, atol=0.05)


def test_samples_have_the_columns_types_and_values_of_the_table(run):
    drawn, learned = variate.sample(run, 200), frame()
    assert drawn.schema == learned.schema
    assert set(drawn["town"]) <= set(learned["town"].drop_nulls()) and drawn["rooms"].min() >= 0
    np.testing.assert_allclose(drawn["price"] * 10, (drawn["price"] * 10).round(), atol=1e-9)
    assert 0.3 < (drawn["bonus"] == 0).mean() < 0.7
    filled = variate.reconstruct(run, learned.head(5))
    assert filled.schema == learned.schema and filled.null_count().sum_horizontal().item() == 0


def test_rows_under_conditions_meet_them_and_are_as_frequent_as_among_all(run):
    drawn = variate.sample(run, 400, given="town=Bonn,rooms>=2", seed=1)
    assert set(drawn["town"]) == {"Bonn"} and drawn["rooms"].min() >= 2
    among = variate.sample(run, 20_000, seed=2).filter((pl.col("town") == "Bonn") & (pl.col("rooms") >= 2))
    error = 4 * among["price"].std() / math.sqrt(min(100, len(among)))
    assert drawn["price"].mean() == pytest.approx(among["price"].mean(), abs=error)
    ranged = variate.sample(run, 50, given={"price": "140..160", "town": ["Bonn", "Celle"]})
    assert ranged["price"].is_between(140, 160).all() and set(ranged["town"]) <= {"Bonn", "Celle"}
    with pytest.raises(UserError, match="no order"):
        variate.sample(run, 1, given="town<Bonn")
    with pytest.raises(UserError, match="never seen"):
        variate.sample(run, 1, given="town=Bon")


def test_what_is_given_is_told_and_stays():
    known = variate.fit(frame(), given="town", overrides=FEW)
    assert [field.name for field in known.schema.given] == ["given_category"]
    assert set(variate.sample(known, 5, given="town=Celle")["town"]) == {"Celle"}
    apart = [variate.sample(known, 300, given={"town": name})["price"].mean() for name in ("Aachen", "Celle")]
    assert apart[1] - apart[0] > 40
    with pytest.raises(UserError, match="is told of town"):
        variate.sample(known, 5)
    with pytest.raises(UserError, match="no such column"):
        told(load(frame()), ["towns"])


def test_evaluation_tells_the_columns_apart(run):
    figures = variate.evaluate(run, frame(seed=1), samples=5, rows=50)
    columns = figures["column_distortion_nats"]
    assert list(columns) == frame().columns
    seen = 1 - frame(seed=1).null_count().row(0)[0] / ROWS
    total = sum(nats * (1 - frame(seed=1)[name].null_count() / ROWS) for name, nats in columns.items())
    assert total == pytest.approx(figures["distortion_nats"], abs=0.05) and seen < 1


def test_hidden_cells_are_hidden_from_the_encoder_alone():
    record = load(frame()).batch(slice(None)).target
    sizes = sum(cells.units.shape[1] for cells in record.values())
    view = Hide(rows=0.5)
    hidden = view(record, lambda count: torch.rand((ROWS, count), generator=torch.Generator().manual_seed(0)))
    share = 0.0
    for name, (units, observed) in hidden.items():
        assert bool((units[~observed] == 0).all()) and bool((record[name].observed | ~observed).all())
        torch.testing.assert_close(units[observed], record[name].units[observed])
        share += float((record[name].observed & ~observed).sum() / record[name].observed.sum()) * units.shape[1]
    assert share / sizes == pytest.approx(0.25, abs=0.04)  # half of the rows, of which half on average


def test_a_row_of_weight_two_counts_as_two():
    rows = np.random.default_rng(0).normal(size=(24, 3))
    weights = np.where(np.arange(24) % 3 == 0, 2.0, 1.0)
    trainer = trainer_for(Asked().settings(load(rows), None), load(rows), 0, Processes(), None)
    step, whole = trainer.step_module, load(rows, weight=weights)
    draws = noise.normal(0, "test", shape=(1, 24, step.noise_size))
    twice = torch.arange(24).repeat_interleave(torch.from_numpy(weights).long())
    weighted, _ = step(whole.batch(slice(None)), draws, 0)
    repeated, _ = step(Batch.of(load(rows).batch(slice(None)).target["x"].units[twice]), draws[:, twice], 0)
    torch.testing.assert_close(weighted, repeated)
    with pytest.raises(UserError, match="24 finite numbers"):
        load(rows, weight=[1.0])


@pytest.mark.parametrize(
    "split, wrong", [("later", "not one of"), ("group:towns", "no column"), ("group", "not one of")]
)
def test_a_split_that_means_nothing_is_refused(split, wrong):
    with pytest.raises(UserError, match=wrong):
        variate.fit(frame(60), split=split, overrides=FEW)


def test_time_and_groups_part_rows():
    rows = load(frame())
    day = rows.schema.code_names.index("sold")
    train, valid = rows.split(0, "time:sold")
    known = [part.values[:, day][~part.values[:, day].isnan()] for part in (train, valid)]
    assert not len(known[1]) or known[0].max() <= known[1].min()
    town = rows.schema.code_names.index("town")
    groups = [set(part.values[:, town].nan_to_num(-1).tolist()) - {-1.0} for part in rows.split(0, "group:town")]
    assert not groups[0] & groups[1] and len(groups[0] | groups[1]) == 3
    last = held_out(12, 0, "time", rows.schema, rows.values, None)
    assert last.tolist() == [10, 11]


def test_a_table_goes_through_the_command_line(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    frame().write_csv("flats.csv")
    frame(50, 1).write_parquet("new.parquet")
    cli.main(["info", "flats.csv", "--out", "schema.toml"])
    assert "price" in capsys.readouterr().out
    settings = [word for text in FEW for word in ("--set", text)]
    fit = ["fit", "flats.csv", "--schema", "schema.toml", "--valid", "new.parquet", "--out", "run", "--no-report"]
    cli.main([*fit, *settings])
    cli.main(["sample", "run", "-n", "7", "--given", "town=Bonn,price<200", "--out", "made-up.csv"])
    made = pl.read_csv("made-up.csv", try_parse_dates=True)
    assert made.columns == frame().columns and set(made["town"]) == {"Bonn"} and len(made) == 7
    cli.main(["score", "run", "new.parquet", "--samples", "4", "--out", "scores.csv"])
    cli.main(["embed", "run", "new.parquet", "--out", "codes.npy"])
    cli.main(["reconstruct", "run", "new.parquet", "--out", "filled.parquet"])
    assert len(pl.read_csv("scores.csv")) == len(np.load("codes.npy")) == len(pl.read_parquet("filled.parquet")) == 50
    capsys.readouterr()
    cli.main(["evaluate", "run", "new.parquet", "--samples", "3", "--json"])
    assert json.loads(capsys.readouterr().out)["n"] == 50
    with pytest.raises(SystemExit):
        cli.main(["sample", "run", "--given", "village=Bonn", "--out", "none.csv"])
    assert "village" in capsys.readouterr().err and not (tmp_path / "none.csv").exists()


def test_a_resumed_table_is_learned_to_the_same_bytes(tmp_path, monkeypatch):
    from variate.training import trainer

    whole = variate.fit(frame(), out=tmp_path / "whole", overrides=FEW)
    kept = trainer.Trainer._end_of_epoch

    def stop_once(self):
        record = kept(self)
        if self.epoch == 3:
            monkeypatch.setattr(trainer.Trainer, "_end_of_epoch", kept)
            raise trainer.Interrupted("stopped")
        return record

    monkeypatch.setattr(trainer.Trainer, "_end_of_epoch", stop_once)
    with pytest.raises(trainer.Interrupted):
        variate.fit(frame(), out=tmp_path / "parts", overrides=FEW)
    again = variate.fit(frame(), out=tmp_path / "parts", resume=True)
    for one, other in zip(whole.model.parameters(), again.model.parameters(), strict=True):
        assert torch.equal(one, other)
