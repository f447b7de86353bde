"""The doctor: what it says is true, what is broken it finds, and it leaves nothing behind."""

import json
import os
import tempfile
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest
import torch

from variate import cli
from variate.apps import doctor as verb
from variate.apps.doctor import doctor
from variate.base import waiting
from variate.results import checkpoint, estimate
from variate.results.checkpoint import Run
from variate.results.estimate import LogLikelihood

pytestmark = pytest.mark.bits

CHECKS = [
    "two training steps",
    "the same seed gives the same bytes",
    "a model file is read and written unchanged",
    "samples",
    "log p(x) agrees with its integral",
]


@pytest.fixture
def call(capsys):
    """``call(…) → (exit status, standard output, standard error)`` of the verb, in this process."""

    def calling(*arguments: str) -> tuple[int, str, str]:
        capsys.readouterr()
        try:
            cli.main(["doctor", *arguments])
            status = 0
        except SystemExit as stop:
            status = stop.code
        return status, *capsys.readouterr()

    return calling


@pytest.fixture
def healthy(monkeypatch):
    """Without the checks, for what does not need them."""
    monkeypatch.setattr(verb, "_checks", lambda: dict.fromkeys(CHECKS, "ok"))


def test_all_is_well_here_and_nothing_is_left_behind(call, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    before = torch.get_rng_state()
    status, out, err = call("--json")
    assert (status, err) == (0, "")
    assert [name for name in os.listdir(tmp_path) if not name.startswith("torchinductor")] == []  # which is torch's own
    found = json.loads(out)
    assert found["checks"] == dict.fromkeys(CHECKS, "ok") and found["works"]
    assert torch.equal(torch.get_rng_state(), before)


def test_people_read_what_programs_read(call, healthy):
    status, out, err = call()
    found = doctor()
    assert (status, err) == (0, "")
    for name, version in found["versions"].items():
        assert f"{name} {version}" in out
    assert all(f"{name}: ok\n" in out for name in CHECKS)
    assert found["data"]["cache"] in out and f"{found['machine']['threads']} threads" in out


def test_versions_are_of_all_that_is_needed(healthy, monkeypatch, call):
    versions = doctor()["versions"]
    assert {"variate", "python", "torch", "numpy", "safetensors", "scikit-learn", "pillow"} <= set(versions)
    assert "pytest" not in versions and versions["numpy"] == np.__version__ and versions["torch"] == torch.__version__
    real = metadata.version

    def version(name: str) -> str:
        if name == "rich":
            raise metadata.PackageNotFoundError(name)
        return real(name)

    monkeypatch.setattr(metadata, "version", version)
    assert doctor()["versions"]["rich"] is None and "rich is MISSING" in call()[1]


def test_the_machine_is_told_as_it_is(healthy):
    machine = doctor()["machine"]
    assert machine["threads"] == torch.get_num_threads() and machine["precision"] == "float32"
    assert 1 <= machine["cores"] <= os.cpu_count()
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert machine["memory"] == pytest.approx(pages, rel=0.01) and 0 < machine["memory_free"] < machine["memory"]


@pytest.mark.parametrize("adapts", [True, False])
@pytest.mark.parametrize("seen", ["busily", "asleep", None])
def test_how_threads_wait_is_told_with_a_remedy_where_it_is_slow(call, healthy, monkeypatch, seen, adapts):
    monkeypatch.setattr(verb, "_how_threads_wait", lambda: seen)
    monkeypatch.setattr(waiting, "adapts", lambda: adapts)
    out = call()[1]
    assert ("threads wait" in out) == (seen is not None)
    assert ("OMP_WAIT_POLICY=PASSIVE" in out) == (seen == "busily" and not adapts)
    machine = doctor()["machine"]
    assert (machine["threads_wait"], machine["threads_adapt"]) == (seen, adapts)


@pytest.mark.parametrize("flags, told", [("fpu avx512_bf16", True), ("fpu avx512f", False), ("fp asimd bf16", True)])
def test_bfloat16_is_read_off_the_processor(healthy, monkeypatch, flags, told):
    key = "Features" if "asimd" in flags else "flags"
    monkeypatch.setattr(verb, "_table", lambda path: {key: [flags, flags]} if "cpu" in path else {})
    machine = doctor()["machine"]
    assert machine["bfloat16"] is told
    assert machine["memory"] is None and machine["cores"] == os.cpu_count()


def test_systems_without_tables_are_no_matter(call, healthy, monkeypatch):
    monkeypatch.setattr(verb, "_table", lambda path: {})
    status, out, _ = call()
    assert status == 0 and "memory: an unknown amount" in out


def test_hyperthreads_are_no_cores():
    cpu = {"physical id": ["0", "0", "0", "0"], "core id": ["0", "1", "0", "1"]}
    assert verb._cores(cpu) == 2


def test_data_sets_are_told_where_they_are(call, healthy, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "none"))
    monkeypatch.delenv("VARIATE_DATA", raising=False)
    data = doctor()["data"]
    assert (data["cached"], data["cache_bytes"], data["cache_writeable"]) == ([], 0, True)
    assert not (tmp_path / "none").exists() and data["disk_free"] > 0
    for name, size in {"mnist/a.gz": 30, "fashion_mnist/b.gz": 12, "something/c": 100}.items():
        file = tmp_path / "cache" / "variate" / name
        file.parent.mkdir(parents=True)
        file.write_bytes(bytes(size))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("VARIATE_DATA", str(tmp_path / "mine"))
    data = doctor()["data"]
    assert data["cached"] == ["mnist", "fashion-mnist"] and data["cache_bytes"] == 142
    assert f"{tmp_path / 'mine'} (which does not exist)" in call()[1]
    (tmp_path / "mine").mkdir()
    assert f"{tmp_path / 'mine'} (VARIATE_DATA)" in call()[1]


def test_a_cache_that_cannot_be_written_is_told(call, healthy, tmp_path, monkeypatch):
    (tmp_path / "variate").write_text("a file where the folder should be")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert "NOT writeable" in call()[1]


# --- what is broken is found


def assert_only_fails(call, name: str, why: str) -> None:
    status, out, err = call("--json")
    checks = json.loads(out)["checks"]
    assert (
        status == 2 and err.count("\n") == 1 and err.startswith("variate: variate does not work here") and name in err
    )
    assert {check for check, outcome in checks.items() if outcome != "ok"} == {name}
    assert checks[name].startswith("FAILED") and why in checks[name]


def test_an_estimator_that_is_off_is_found(call, monkeypatch):
    real = estimate.log_likelihood

    def biased(*args: object, **options: object) -> LogLikelihood:
        found = real(*args, **options)
        return LogLikelihood(found.nats + 0.2, found.mc_se)

    monkeypatch.setattr(estimate, "log_likelihood", biased)
    assert_only_fails(call, "log p(x) agrees with its integral", "is exact")


def test_samples_that_are_not_finite_are_found(call, monkeypatch):
    monkeypatch.setattr(verb, "sample", lambda run, n: np.full((n, 2), np.nan))
    assert_only_fails(call, "samples", "nan")


def test_a_model_file_that_changes_is_found(call, monkeypatch):
    real = checkpoint.load

    def changing(path: Path) -> Run:
        run = real(path)
        with torch.no_grad():
            next(run.model.parameters()).view(-1)[0] += 1
        return run

    monkeypatch.setattr(checkpoint, "load", changing)
    assert_only_fails(call, "a model file is read and written unchanged", "differ")


def test_training_that_changes_from_run_to_run_is_found(call, monkeypatch):
    real, shift = verb.fit, iter([0.0, 1.0])
    monkeypatch.setattr(verb, "fit", lambda data, **options: real(data + next(shift), **options))
    assert_only_fails(call, "the same seed gives the same bytes", "differ")


def test_where_nothing_can_be_trained_all_else_is_not_tried(call, monkeypatch):
    def fails(*_: object, **__: object) -> None:
        raise OSError("Illegal\ninstruction")

    monkeypatch.setattr(verb, "fit", fails)
    status, out, err = call()
    assert status == 2 and "two training steps: FAILED OSError: Illegal instruction\n" in out
    assert out.count("not tried, since nothing was trained") == 3 and all(name in err for name in CHECKS)
    assert "Traceback" not in err and "fresh environment" in err


def test_a_device_that_does_not_work_is_found(call, monkeypatch):
    device = {"device": "cuda:99", "name": "An accelerator", "memory": 80 * 10**9}
    monkeypatch.setattr(verb, "_devices", lambda: [device])
    assert_only_fails(call, "two training steps on cuda:99", "cuda:99")
    assert "devices: cuda:99 (An accelerator, 80 GB)" in call()[1]
