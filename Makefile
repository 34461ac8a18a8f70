# Two commands are enough: `make demo` does the main job, `make test` runs all tests.

PYTHON ?= python3
BIN := .venv/bin
# workers of one thread each: with more, they fight for the cores
WORKERS ?= 2
# what is compiled is kept, for many tests start a process; neighbours share what they prepare, so a
# worker has a row of files, and takes from the other one at the end
PYTEST := PYTHONDONTWRITEBYTECODE= OMP_NUM_THREADS=1 $(BIN)/pytest -q -n $(WORKERS) --dist worksteal

.DEFAULT_GOAL := help
.PHONY: help demo test suite nightly torches lint format bench calibrate figures docs clean

help: ## show this
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | awk -F '\t' '{printf "make %-8s %s\n", $$1, $$2}'

demo: .venv/installed ## compare one model of each family on handwritten digits (6 minutes)
	$(BIN)/simulacra compare digits --budget 45s

test: .venv/tested ## run the style, type and test suites, without network
	@$(MAKE) --no-print-directory --jobs=2 lint suite

suite: .venv/tested
	$(PYTEST)

nightly: .venv/tested ## all tests, every law on all data, those of large extras, other torches
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[hf]'
	$(PYTEST) --every
	@$(MAKE) --no-print-directory torches

# The oldest that pyproject.toml promises, and the newest there is: what is promised is tested. A
# plain build of torch, with all that it needs, may take several GB.
TORCHES ?= torch==$(shell sed -n 's/^  "torch>=\([0-9.]*\)".*/\1/p' pyproject.toml).* torch

torches: .venv/tested ## all tests with the oldest torch that is promised, and with the newest
	grep -v '^torch=' constraints.txt > .venv/others.txt
	set -e; for torch in $(foreach each,$(TORCHES),'$(each)'); do \
		$(PYTHON) -m venv --clear .venv/torch; \
		$(BIN)/python -m pip --python .venv/torch/bin/python install --quiet \
			-c .venv/others.txt "$$torch" -e . --group test; \
		.venv/torch/bin/python -c 'import torch; print("torch", torch.__version__)'; \
		$(subst $(BIN)/,.venv/torch/bin/,$(PYTEST)); \
	done

bench: .venv/installed ## measure time, FLOPs, memory and sampling (10 minutes)
	$(BIN)/python -m benchmarks
	$(BIN)/python -m benchmarks.sampling

calibrate: .venv/installed ## try the figures of samples where the truth is known (30 minutes)
	$(BIN)/python -m benchmarks.calibration

# FAMILY=flow and ROWS=digits,mnist pick some; LIST=1 shows them; DATA= is the folder of named sets
figures: .venv/installed ## train and evaluate what docs/results.md lacks (hours; stop and go on)
	$(BIN)/python -m benchmarks.figures $(FAMILY:%=--family %) $(ROWS:%=--rows %) \
		$(LIST:%=--list) $(DATA:%=--data-dir %)

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
