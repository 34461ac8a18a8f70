# Two commands are enough: `make demo` does the main job, `make test` runs all tests.

PYTHON ?= python3
BIN := .venv/bin
# workers of one thread each: with more, they fight for the cores
WORKERS ?= 2
# what is compiled is kept, for many tests start a process; neighbours share what they prepare, so a
# worker has a row of files, and takes from the other one at the end
PYTEST := PYTHONDONTWRITEBYTECODE= OMP_NUM_THREADS=1 $(BIN)/pytest -q -n $(WORKERS) --dist worksteal

.DEFAULT_GOAL := help
.PHONY: help demo test suite nightly lint format bench calibrate docs clean

help: ## show this
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | awk -F '\t' '{printf "make %-8s %s\n", $$1, $$2}'

demo: .venv/installed ## compare one model of each family on handwritten digits (5 minutes)
	$(BIN)/simulacra compare digits --budget 45s

test: .venv/tested ## run the style, type and test suites, without network
	@$(MAKE) --no-print-directory --jobs=2 lint suite

suite: .venv/tested
	$(PYTEST)

nightly: .venv/tested ## all tests, every law on all data, and those of large extras
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[hf]'
	$(PYTEST) --every

bench: .venv/installed ## measure time, FLOPs, memory and sampling (10 minutes)
	$(BIN)/python -m benchmarks
	$(BIN)/python -m benchmarks.sampling

calibrate: .venv/installed ## try the figures of samples where the truth is known (30 minutes)
	$(BIN)/python -m benchmarks.calibration

docs: .venv/tested ## build the documentation into site/
	$(BIN)/python docs/generate.py
	$(BIN)/zensical build --strict

lint: .venv/tested
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

format: .venv/tested ## put the code into its form
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

clean: ## remove what the commands above made, but for runs and comparisons
	rm -rf .venv site .cache bench .mypy_cache .pytest_cache .ruff_cache .hypothesis

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "simulacra needs Python 3.11 or newer: make PYTHON=python3.12 ..." >&2; exit 2; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade "pip>=25.1"

.venv/installed: pyproject.toml constraints.txt | .venv/bin/python
	$(BIN)/python -m pip install --quiet -c constraints.txt -e .
	@touch $@

.venv/tested: .venv/installed
	$(BIN)/python -m pip install --quiet -c constraints.txt --group test --group lint --group docs
	@touch $@
