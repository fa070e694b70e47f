# make sweep: set up, run the smallest sweep, say where its report is.   make test: set up, run the quick tests.
# PYTHON chooses the interpreter (3.11 or later); PIP_OPTIONS goes to pip, for example --extra-index-url of the
# PyTorch build for your GPU.
PYTHON ?= python3
PIP_OPTIONS ?=
PY := .venv/bin/python

.PHONY: sweep test check fix

sweep: .venv/installed
	$(PY) -m alexnet_sweep -m model/lrn=on,off

test: .venv/installed-dev
	$(PY) -m pytest -n auto --maxprocesses 4

check: test
	$(PY) -m ruff format --check .
	$(PY) -m ruff check .
	$(PY) -m mypy

fix: .venv/installed-dev
	$(PY) -m ruff format .
	$(PY) -m ruff check --fix .

.venv/installed: pyproject.toml
	$(PYTHON) -m venv .venv
	$(PY) -m pip install --quiet $(PIP_OPTIONS) -e .
	touch $@

.venv/installed-dev: .venv/installed
	$(PY) -m pip install --quiet $(PIP_OPTIONS) -e '.[dev]'
	touch $@
