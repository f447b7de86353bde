# make demo   learn MNIST, digit by digit, and draw what was learned (runs/demo)
# make test   lint and the whole test suite
# make bits   the tests that compare bits or digits, as another processor rounds
# make lint   ruff and pyright
# make docs   the documentation, into build/docs; warnings and dead links are errors

PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet -c constraints.txt

.PHONY: demo test bits lint

demo: .venv/installed
	rm -rf runs/demo
	$(BIN)/variate fit mnist --given label --out runs/demo
	@echo
	@echo "Open runs/demo/report.html in a browser. Then try:"
	@echo "  . .venv/bin/activate"
	@echo "  variate sample runs/demo -n 100 --given 0..9 --out digits.png"
	@echo "  variate reconstruct runs/demo mnist --rows 40 --out reconstructions.png"
	@echo "  variate evaluate runs/demo mnist --samples 100 --rows 1000"

test: .venv/installed-test
	$(BIN)/ruff check .
	$(BIN)/python -m pytest -n 2 -q

# the instructions of an older processor, whose products round otherwise
OLDER := ATEN_CPU_CAPABILITY=avx2 MKL_CBWR=AVX2 ONEDNN_MAX_CPU_ISA=AVX2

bits: .venv/installed-test
	$(OLDER) $(BIN)/python -m pytest -n 2 -q -m bits

lint: .venv/installed-test
	$(PIP) -e .[lint]
	$(BIN)/ruff check .
	$(BIN)/pyright

.PHONY: docs
docs: .venv/installed
	$(PIP) -e .[docs]
	rm -rf build/docs
	OMP_NUM_THREADS=1 $(BIN)/sphinx-build --fail-on-warning --nitpicky --quiet -d build/doctrees docs build/docs
	$(BIN)/python docs/links.py build/docs
	@echo "Open build/docs/index.html in a browser."

.venv/bin/python:
	$(PYTHON) -m venv .venv

.venv/installed: .venv/bin/python pyproject.toml constraints.txt
	$(PIP) -e .
	touch $@

.venv/installed-test: .venv/installed
	$(PIP) -e .[test]
	touch $@
