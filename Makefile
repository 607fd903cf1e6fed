# Each target does all of its own set-up. Python 3.11 or newer, git and make are enough.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin

.PHONY: quickstart test test-all lint types check clean

quickstart: .venv/installed ## A real study, offline, in a few minutes on two cores
	$(BIN)/crossover run study=quickstart

test: .venv/installed-dev ## The fast tests
	$(BIN)/python -m pytest

test-all: .venv/installed-dev ## Every test
	$(BIN)/python -m pytest -m "slow or not slow"

lint: .venv/installed-dev
	$(BIN)/ruff check . && $(BIN)/ruff format --check .

types: .venv/installed-dev
	$(BIN)/pyright

check: lint types test

.venv/bin/python:
	$(PYTHON) -c 'import sys; sys.exit(None if sys.version_info >= (3, 11) else "Crossover needs Python 3.11 or newer: set PYTHON=...")'
	$(PYTHON) -m venv .venv

.venv/installed: .venv/bin/python pyproject.toml constraints.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e . -c constraints.txt
	touch $@

.venv/installed-dev: .venv/installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e ".[dev]" -c constraints.txt
	touch $@

clean: ## Everything but your data and runs
	rm -rf .venv build *.egg-info .pytest_cache .ruff_cache .hypothesis
