# Two commands do all set-up on a fresh machine: `make quickstart` and `make test`.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
# The files with tests that start a Ray: pytest would import all others, and torch with them, to leave them out.
RAY_TESTS = $(shell grep -rlE 'pytest\.mark\.ray' tests --include='test_*.py')

# Tests start some hundreds of Python processes; where bytecode is not kept, each compiles our modules again.
export PYTHONDONTWRITEBYTECODE :=

.DEFAULT_GOAL := help
.PHONY: help install quickstart test test-all lint format types imports unit examples bench clean

help:  ## Show what can be made
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## */\t/' | expand -t 14

install: $(INSTALLED)  ## Make the virtual environment with pinned dependencies

$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed (set PYTHON=...)" if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@touch $@

quickstart: $(INSTALLED)  ## Run a real search on text that comes with Python, W&B offline
	@$(BIN)/tunesmith run examples/quickstart.yaml --set name=quickstart-$$(date +%Y%m%d-%H%M%S)

test: lint types imports unit  ## Lint, types, import directions and the quick tests

test-all: test  ## The same with the slow tests
	$(BIN)/python -m pytest -q -m slow

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(INSTALLED)  ## Format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: $(INSTALLED)
	$(BIN)/mypy

imports: $(INSTALLED)
	$(BIN)/lint-imports

unit: $(INSTALLED)
	$(BIN)/python -m pytest -q -n 4 -m "not slow and not ray"
	$(BIN)/python -m pytest -q -n 3 --dist loadfile --no-loadscope-reorder -m "ray and not slow" $(RAY_TESTS)

examples: $(INSTALLED)  ## Run every example for a few steps
	@$(BIN)/python examples/run_all.py

bench: $(INSTALLED)  ## Measure what a trial, a worker group, W&B, the training loop and data cost
	$(BIN)/python benchmarks/trial_overhead.py
	$(BIN)/python benchmarks/worker_group_overhead.py
	$(BIN)/python benchmarks/wandb_cost.py
	$(BIN)/python benchmarks/training_throughput.py
	$(BIN)/python benchmarks/data_preparation.py

clean:  ## Remove the virtual environment and caches
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
