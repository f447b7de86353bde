"""The command line: every verb end to end, and one clear sentence for whatever the user can mend."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from helpers_runs import FLAGS, TINY, model_bytes, pixels, run, scratch
from PIL import Image

from variate import cli
from variate.apps.fit import fit
from variate.results import checkpoint
from variate.training.trainer import Trainer

VERBS = sorted(path.stem for path in Path(cli.__file__).with_name("apps").glob("*.py") if path.stem != "__init__")
FIT = ["digits", *FLAGS, "--epochs", "1", "--no-report"]


def folder(kind: str) -> str:
    return str(run(kind).path.parent)


@pytest.fixture
def call(capsys):
    """``call("verb", …) → (exit status, standard output, standard error)``, in this process."""

    def calling(*arguments: object) -> tuple[int, str, str]:
        capsys.readouterr()
        try:
            cli.main([str(argument) for argument in arguments])
            status = 0
        except SystemExit as stop:
            status = stop.code
        return status, *capsys.readouterr()

    return calling


@pytest.fixture
def refused(call):
    """The standard error of a command that must end with status 2, nothing printed and no traceback."""

    def refusing(*arguments: object) -> str:
        status, out, err = call(*arguments)
        assert (status, out) == (2, "")
        assert "Traceback" not in err and err.strip()
        return err

    return refusing


@pytest.fixture
def done(call):
    """The standard output of a command that must succeed."""

    def doing(*arguments: object) -> str:
        status, out, err = call(*arguments)
        assert status == 0, err
        return out

    return doing


# ---------------------------------------------------------------------------------------------------- help


def test_help_lists_every_verb_and_does_not_import_torch():
    code = "import sys; from variate import cli; cli.main(['--help']); sys.exit(3 if 'torch' in sys.modules else 0)"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert shown.returncode == 0, shown.stderr
    assert [verb for verb in VERBS if f" {verb} " not in shown.stdout] == []


def test_the_package_is_imported_without_torch():
    code = "import sys, variate; dir(variate); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_explains_itself(done, verb):
    shown = done(verb, "--help")
    assert f"variate {verb}" in shown and len(shown.splitlines()) > 5


def test_the_version_is_told(done):
    assert done("--version").strip()[0].isdigit()


# ---------------------------------------------------------------------------------------------------- verbs that work


def test_fit_leaves_a_run(done, tmp_path):
    done("fit", *FIT, "--out", tmp_path / "run", "--given", "label", "--seed", 3)
    trained = checkpoint.load(tmp_path / "run")
    assert trained.conditional and trained.info["seed"] == 3 and trained.info["data"] == "digits"
    assert (tmp_path / "run" / "metrics.jsonl").read_text().count("\n") == 1


def test_fit_prints_nothing_on_standard_output(call, tmp_path):
    status, out, err = call("fit", *FIT, "--out", tmp_path / "run")
    assert (status, out) == (0, "")
    assert "1,197 rows to train on, 240 to validate" in err and "ELBO" in err


@pytest.mark.parametrize("kind", ["plain", "conditional", "binary", "table"])
@pytest.mark.parametrize("mean", [[], ["--mean"]], ids=["drawn", "mean"])
def test_sample_gives_rows_in_the_datas_shape_and_dtype(done, tmp_path, kind, mean):
    done("sample", folder(kind), "-n", 7, "--out", tmp_path / "made.npy", *mean)
    made, schema = np.load(tmp_path / "made.npy"), run(kind).schema
    assert made.shape == (7, *schema.x.shape) and made.dtype == schema.x.dtype
    if schema.x.kind.levels:
        assert made.max() < schema.x.kind.levels


def test_sample_follows_its_seed(done, tmp_path):
    drawn = []
    for name, seed in [("a", 1), ("b", 1), ("c", 2)]:
        done("sample", folder("plain"), "-n", 5, "--out", tmp_path / f"{name}.npy", "--seed", seed)
        drawn.append((tmp_path / f"{name}.npy").read_bytes())
    assert drawn[0] == drawn[1] != drawn[2]


@pytest.mark.parametrize(
    ("condition", "classes"),
    [("3", [3, 3, 3, 3, 3]), ("0..2", [0, 1, 2, 0, 1]), ("1,4..5", [1, 4, 5, 1, 4]), ("label=1|4..5", [1, 4, 5, 1, 4])],
)
def test_a_condition_is_gone_through_in_turn(done, tmp_path, condition, classes):
    """Row i of the mixture is row i of a sample of its class alone, with the same seed."""
    mixed = sample_of(done, tmp_path, condition)
    for row, label in enumerate(classes):
        np.testing.assert_array_equal(mixed[row], sample_of(done, tmp_path, str(label))[row])


def sample_of(done, place: Path, condition: str) -> np.ndarray:
    done("sample", folder("conditional"), "-n", 5, "--given", condition, "--out", place / "made.npy")
    return np.load(place / "made.npy")


def read_npz(path: Path) -> np.ndarray:
    return np.load(path)["values"]


def read_csv(path: Path) -> np.ndarray:
    return np.loadtxt(path, delimiter=",").reshape(-1, 8, 8)


@pytest.mark.parametrize(("extension", "read"), [("npz", read_npz), ("csv", read_csv)])
def test_every_extension_holds_the_same_rows(done, tmp_path, extension, read):
    for name in ("made.npy", f"made.{extension}"):
        done("sample", folder("plain"), "-n", 4, "--out", tmp_path / name)
    np.testing.assert_array_equal(read(tmp_path / f"made.{extension}"), np.load(tmp_path / "made.npy"))


def test_a_picture_shows_every_sample(done, tmp_path):
    done("sample", folder("plain"), "-n", 4, "--out", tmp_path / "made.png")
    done("sample", folder("plain"), "-n", 4, "--out", tmp_path / "made.npy")
    picture = np.asarray(Image.open(tmp_path / "made.png"), float)
    for row in np.load(tmp_path / "made.npy"):
        wanted = np.round(row * 255.0 / 16)
        windows = np.lib.stride_tricks.sliding_window_view(picture, (8, 8))
        assert (np.abs(windows - wanted).max((-1, -2)) <= 1).any()


def test_numbers_in_a_csv_come_back_to_the_last_digit(done, tmp_path):
    for name in ("made.npy", "made.csv"):
        done("sample", folder("table"), "-n", 4, "--out", tmp_path / name)
    np.testing.assert_array_equal(np.loadtxt(tmp_path / "made.csv", delimiter=","), np.load(tmp_path / "made.npy"))


@pytest.mark.parametrize("kind", ["plain", "conditional", "autoencoder", "binary"])
def test_reconstruct_gives_a_row_for_every_row(done, tmp_path, kind):
    done("reconstruct", folder(kind), "digits", "--out", tmp_path / "copies.npy")
    copies = np.load(tmp_path / "copies.npy")
    assert copies.shape == (360, 8, 8) and copies.dtype == np.uint8 and copies.max() <= 16


def test_reconstruct_of_fewer_rows_is_part_of_the_whole(done, tmp_path):
    for name, rows in [("few", ["--rows", 5]), ("all", [])]:
        done("reconstruct", folder("plain"), "digits", "--out", tmp_path / f"{name}.npy", *rows)
    few, every = (np.load(tmp_path / f"{name}.npy") for name in ("few", "all"))
    assert len(few) == 5 and all((every == row).all((1, 2)).any() for row in few)


def strict_json(text: str) -> dict:
    """Exactly one object of the JSON standard, which knows neither NaN nor Infinity."""

    def refuse(constant: str) -> None:
        raise ValueError(f"{constant} is not JSON")

    return json.loads(text, parse_constant=refuse)


PROMISED = {
    *("elbo_nats", "log_likelihood_nats", "log_likelihood_se", "log_likelihood_mc_se", "bits_per_dim", "samples"),
    *("elbo_bits_per_dim", "distortion_nats", "rate_nats", "active_units", "n"),
}


@pytest.mark.parametrize("kind", ["plain", "conditional", "binary"])
def test_evaluate_prints_one_json_object_with_what_is_promised(done, kind):
    figures = strict_json(done("evaluate", folder(kind), "digits", "--samples", 3, "--rows", 30, "--json"))
    assert PROMISED <= set(figures) and (figures["samples"], figures["n"]) == (3, 360)


@pytest.mark.parametrize("few", [{"--rows": 1}, {"--samples": 1}], ids=str)
def test_figures_that_do_not_exist_are_no_nan_in_json(done, few):
    options = {"--samples": 2, "--rows": 3} | few
    strict_json(done("evaluate", folder("plain"), "digits", *sum(options.items(), ()), "--json"))


def test_evaluate_of_an_autoencoder_names_its_error_and_no_likelihood(done):
    figures = strict_json(done("evaluate", folder("autoencoder"), "digits", "--json"))
    assert figures["mse_per_dim"] > 0 and not PROMISED & (set(figures) - {"n"})


@pytest.mark.parametrize("kind", ["plain", "conditional", "autoencoder"])
def test_evaluate_for_people_agrees_with_json(done, kind):
    options = ["evaluate", folder(kind), "digits", "--samples", 3, "--rows", 30]
    text, figures = done(*options), strict_json(done(*options, "--json"))
    for name, digits in [("elbo_nats", 2), ("log_likelihood_nats", 2), ("bits_per_dim", 4), ("mse_per_dim", 5)]:
        assert name not in figures or f"{figures[name]:.{digits}f}" in text


@pytest.mark.parametrize("kind", ["plain", "autoencoder"])
def test_baselines_are_beside_the_figures(done, kind):
    options = ["--samples", 2, "--rows", 5, "--baselines", "--json"]
    found = strict_json(done("evaluate", folder(kind), "digits", *options))["baselines"]
    assert ("PCA, 2 components" in found) == (kind == "autoencoder")
    assert all(value > 0 for value in found.values())


@pytest.mark.parametrize("kind", ["plain", "table"])
def test_info_tells_what_the_run_is(done, kind):
    known = strict_json(done("info", folder(kind), "--json"))
    assert known["weights"] == sum(p.numel() for p in run(kind).model.parameters())
    assert known["config"]["latent"]["size"] == 2
    assert f"{known['weights']:,} weights" in done("info", run(kind).path)


def test_info_tells_what_fit_would_take_data_for(done, tmp_path):
    """The same words as for fit: images of two sizes, brought to one, with labels from a file."""
    for row, side in enumerate((8, 9, 10)):
        Image.new("RGB", (side, side + 1), (row, 0, 0)).save(tmp_path / f"{row}.png")
    (tmp_path / "labels.txt").write_text("a\nb\n\n")
    options = ["--resize", "12,8", "--labels", tmp_path / "labels.txt", "--levels", 300]
    known = strict_json(done("info", tmp_path, *options, "--json"))
    assert known["rows"] == 3 and known["schema"]["fields"][0]["shape"] == [12, 8, 3]
    assert known["schema"]["fields"][0]["kind"]["levels"] == 300
    assert known["classes"] == {"a": 1, "b": 1} and known["without_label"] == 1


@pytest.mark.parametrize("case", ["own labels", "labels in a file", "no test part", "a folder"])
def test_the_report_is_of_rows_that_were_not_learned_from(done, tmp_path, case):
    """The test part where there is one that the model can read, else the validation rows: no refusal at the end."""
    rng = np.random.default_rng(0)
    arrays = {"x_train": pixels(60), "y_train": rng.integers(2, size=60), "x_test": pixels(24, seed=1)}
    options, place = ["--given", "label"], tmp_path / "rows.npz"
    expected = 24
    if case == "own labels":
        arrays["y_test"] = rng.integers(2, size=24)
    elif case == "labels in a file":
        (tmp_path / "names.txt").write_text("".join(f"{'ab'[label]}\n" for label in arrays.pop("y_train")))
        options, expected = [*options, "--labels", tmp_path / "names.txt"], 10
    elif case == "no test part":
        del arrays["x_test"]
        expected = 10
    else:
        options, place = [], tmp_path / "rows"
        for part in ("train", "test"):
            (place / part).mkdir(parents=True)
            for row, values in enumerate(arrays[f"x_{part}"]):
                Image.fromarray(values).save(place / part / f"{row}.png")
    if place.suffix:
        np.savez(place, **arrays)
    done("fit", place, *options, *FLAGS, "--epochs", 1, "--out", tmp_path / "run")
    page = (tmp_path / "run" / "report.html").read_text()
    assert re.search(f"all {expected} ({'test' if expected == 24 else 'validation'} )?rows", page), page


def test_report_writes_a_page(done, tmp_path):
    fit(pixels(60), out=tmp_path / "run", epochs=1, overrides=TINY)
    fit("digits", out=tmp_path / "digits", epochs=1, overrides=TINY)
    done("report", tmp_path / "digits", "digits", "--samples", 2, "--rows", 20)
    assert "<html" in (tmp_path / "digits" / "report.html").read_text()[:500].lower()


# ---------------------------------------------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["fitt", "digits"], "fit"),
        (["fit", "digits", "--out", "x", "--epoch", "3"], "epoch"),
        (["fit", "--out", "x"], "DATA"),
        (["fit", "digits"], "--out"),
        (["sample"], "RUN"),
        (["fit", "digits", "--out", "x", "--epochs", "many"], "many"),
    ],
    ids=str,
)
def test_a_command_that_is_not_understood_is_refused(refused, tmp_path, monkeypatch, arguments, named):
    monkeypatch.chdir(tmp_path)
    assert named.lower() in refused(*arguments).lower()
    assert os.listdir(tmp_path) == []


WRONG_FITS = {
    "data set": (["digitz"], "digits"),
    "part": (["digits:tests"], "train and test"),
    "recipe": (["digits", "--recipe", "vaee"], "vae"),
    "section": (["digits", "--set", "latnt.size=3"], "latent"),
    "key": (["digits", "--set", "latent.sizes=3"], "size"),
    "override": (["digits", "--set", "latent"], "section.key=value"),
    "epochs=0": (["digits", "--epochs", "0"], "epochs"),
    "epochs=-1": (["digits", "--epochs", "-1"], "epochs"),
    "batch size": (["digits", "--set", "train.batch_size=0"], "batch_size"),
    "latent size": (["digits", "--set", "latent.size=-2"], "latent.size"),
    "binarisation": (["digits", "--set", "likelihood.name=bernoulli"], "binariz"),
    "the former word": (["digits", "--conditional"], "--conditional is now --given label"),
    "an unknown name": (["digits", "--given", "lable"], "did you mean 'label'"),
    "no names": (["digits", "--given", "label,"], "label,"),
    "no columns": (["digits", "--given", "columns"], "--given label"),
    "nothing to resume": (["digits", "--resume"], "resume"),
    "device": (["digits", "--device", "abacus", "--epochs", "1"], "abacus"),
}


def assert_one_sentence(err: str, named: str) -> None:
    lines = [line for line in err.splitlines() if line.startswith("variate: ")]
    assert len(lines) == 1 and err.splitlines()[-1] == lines[0]
    assert named in lines[0]


@pytest.mark.parametrize(("arguments", "named"), WRONG_FITS.values(), ids=WRONG_FITS)
def test_a_fit_that_cannot_be_is_refused_and_leaves_nothing(refused, tmp_path, arguments, named):
    assert_one_sentence(refused("fit", *arguments, "--out", tmp_path / "run"), named)
    assert not (tmp_path / "run").exists()


WRONG = {
    "n=0": (["sample", "plain", "-n", 0, "--out", "a.npy"], "0"),
    "n=-3": (["sample", "plain", "-n", -3, "--out", "a.npy"], "-3"),
    "samples=0": (["evaluate", "plain", "digits", "--samples", 0], "samples"),
    "samples=-1": (["evaluate", "plain", "digits", "--samples", -1], "samples"),
    "evaluate rows=0": (["evaluate", "plain", "digits", "--rows", 0], "rows"),
    "reconstruct rows=0": (["reconstruct", "plain", "digits", "--rows", 0, "--out", "a.npy"], "rows"),
    "reconstruct rows=-2": (["reconstruct", "plain", "digits", "--rows", -2, "--out", "a.npy"], "rows"),
    "no extension": (["sample", "plain", "--out", "a"], ".npy"),
    "another extension": (["sample", "plain", "--out", "a.jpg"], ".png"),
    "a picture of a table": (["sample", "table", "--out", "a.png"], ".csv"),
    "an unknown class": (["sample", "conditional", "--given", "10", "--out", "a.npy"], "0..9"),
    "a huge class": (["sample", "conditional", "--given", "0..99999999999", "--out", "a.npy"], "0..9"),
    "a backward range": (["sample", "conditional", "--given", "5..3", "--out", "a.npy"], "0..9"),
    "a word for a class": (["sample", "conditional", "--given", "three", "--out", "a.npy"], "three"),
    "no class": (["sample", "conditional", "--given", "", "--out", "a.npy"], "--given"),
    "a condition too many": (["sample", "plain", "--given", "3", "--out", "a.npy"], "--given label"),
    "an unknown name": (["sample", "conditional", "--given", "lable=3", "--out", "a.npy"], "did you mean 'label'"),
    "labels compared": (["sample", "conditional", "--given", "label>=3", "--out", "a.npy"], "label=a|b"),
    "an open quote": (["sample", "conditional", "--given", "label='3", "--out", "a.npy"], "not closed"),
    "the former word": (["sample", "plain", "--condition", "3", "--out", "a.npy"], "--condition is now --given"),
    "data of another shape": (["evaluate", "table", "digits"], "8 × 8"),
    "reconstructing another shape": (["reconstruct", "table", "digits", "--out", "a.npy"], "8 × 8"),
    "reporting another shape": (["report", "table", "digits"], "8 × 8"),
    "an unknown set": (["evaluate", "plain", "digitz"], "digits"),
    "an unknown part": (["evaluate", "plain", "digits:exam"], "exam"),
}


@pytest.mark.parametrize(("arguments", "named"), WRONG.values(), ids=WRONG)
def test_a_request_that_makes_no_sense_is_refused(refused, tmp_path, monkeypatch, arguments, named):
    monkeypatch.chdir(tmp_path)
    verb, kind, *rest = arguments
    assert_one_sentence(refused(verb, folder(kind), *rest), named)
    assert os.listdir(tmp_path) == []


USES = {
    "classify": ["digits", "--out", "a.csv"],
    "embed": ["digits", "--out", "a.npy"],
    "evaluate": ["digits"],
    "info": [],
    "reconstruct": ["digits", "--out", "a.npy"],
    "report": ["digits"],
    "sample": ["--out", "a.npy"],
    "score": ["digits", "--out", "a.csv"],
}


@pytest.mark.parametrize("verb", [verb for verb in VERBS if verb not in ("fit", "doctor")])
@pytest.mark.parametrize("place", ["nowhere", "empty", "text.safetensors"])
def test_a_place_that_is_no_run_is_refused_by_every_verb(refused, tmp_path, monkeypatch, verb, place):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.safetensors").write_text("hello")
    assert_one_sentence(refused(verb, place, *USES[verb]), place)


@pytest.mark.parametrize("verb", ["fit", "sample", "reconstruct"])
def test_a_file_where_a_folder_should_be_is_refused(refused, tmp_path, verb):
    (tmp_path / "file").write_text("mine")
    start = {"fit": FIT, "sample": [folder("plain")], "reconstruct": [folder("plain"), "digits"]}[verb]
    assert_one_sentence(refused(verb, *start, "--out", tmp_path / "file" / "a.npy"), "file")
    assert (tmp_path / "file").read_text() == "mine"


def test_a_file_is_no_place_for_a_run(refused, tmp_path):
    (tmp_path / "file").write_text("mine")
    assert_one_sentence(refused("fit", *FIT, "--out", tmp_path / "file"), "file")
    assert (tmp_path / "file").read_text() == "mine"


def test_a_folder_is_no_place_for_a_picture(refused, tmp_path):
    (tmp_path / "a.png").mkdir()
    assert_one_sentence(refused("sample", folder("plain"), "--out", tmp_path / "a.png"), "a.png")


def test_a_run_is_not_overwritten(refused, done, tmp_path):
    done("fit", *FIT, "--out", tmp_path)
    before = model_bytes(tmp_path)
    assert_one_sentence(refused("fit", *FIT, "--out", tmp_path), "--resume")
    assert model_bytes(tmp_path) == before


def test_resuming_with_other_settings_is_refused(refused, done, tmp_path):
    done("fit", *FIT, "--out", tmp_path)
    assert_one_sentence(refused("fit", "digits", "--out", tmp_path, "--resume", "--set", "latent.size=3"), "settings")


# ---------------------------------------------------------------------------------------------------- Ctrl-C


def test_ctrl_c_during_fit_is_told_in_one_sentence_and_resume_finishes(call, done, tmp_path, monkeypatch):
    options = ["digits", *FLAGS, "--epochs", 4, "--no-report", "--out", tmp_path / "run"]
    plain, steps = Trainer._one_step, []

    def interrupting(self, index):
        steps.append(index)
        if len(steps) == 12:
            signal.raise_signal(signal.SIGINT)
        return plain(self, index)

    with monkeypatch.context() as patched:
        patched.setattr(Trainer, "_one_step", interrupting)
        status, out, err = call("fit", *options)
    assert (status, out) == (130, "") and "Traceback" not in err
    assert_one_sentence(err, "step")
    done("fit", *options, "--resume")
    assert (tmp_path / "run" / "metrics.jsonl").read_text().count("\n") == 4


def test_ctrl_c_before_anything_is_done_is_130_too(call, tmp_path, monkeypatch):
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(checkpoint, "load", interrupted)
    status, out, err = call("info", folder("plain"))
    assert (status, out) == (130, "") and err.startswith("variate: ")


def test_a_reader_that_has_seen_enough_is_no_error():
    script = scratch() / "info.sh"
    script.write_text(f"{sys.executable} -m variate info {folder('plain')} | head -c 1")
    shown = subprocess.run(["bash", "-o", "pipefail", script], capture_output=True, text=True)
    assert (shown.returncode, shown.stderr) == (0, "")
