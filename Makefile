PYTHON  ?= python3
VENV    ?= .venv
WORKERS ?= 2
STEP    ?=

BIN     := $(VENV)/bin
PYTEST   = $(BIN)/python -m pytest -n $(WORKERS) $(ARGS)

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo test test-data lint bench covered clean

help:  ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' Makefile

demo: $(VENV)/.demo  ## Train on real digits, open the network as linear maps, write a report
	$(BIN)/adjoint demo $(ARGS)

test: $(VENV)/.dev  ## Run the tests; those whose data is missing skip
	$(PYTEST)

test-data: $(VENV)/.dev  ## The same tests; missing data is a failure
	ADJOINT_REQUIRE_DATA=1 $(PYTEST)

lint: $(VENV)/.dev  ## Check style, format and types
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

bench: $(VENV)/.dev  ## Measure every speed claim beside its peers
	$(BIN)/python -m benchmarks $(ARGS)

covered:  ## List the coverage rows that no test carries (STEP=A: of one step, and fail if there are any)
	@$(PYTHON) -m tests.covered $(if $(STEP),--step $(STEP))

clean:  ## Remove the virtual environment and every cache
	rm -rf $(VENV) .hypothesis .mypy_cache .pytest_cache .ruff_cache build dist
	find . -name __pycache__ -prune -exec rm -rf {} +

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.demo: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --editable '.[demo]'
	@touch $@

$(VENV)/.dev: pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install --constraint constraints.txt --editable '.[dev]'
	@touch $@
