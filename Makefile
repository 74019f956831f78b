# make quickstart: from nothing to a report.  make test: from nothing to all tests except the slow ones.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin

.PHONY: quickstart test test-slow gpu lint docs clean

quickstart: $(VENV)/.installed
	$(BIN)/medctx run quickstart

test: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -n logical --dist worksteal -m "not slow and not whole_machine" --durations 12
	$(BIN)/python -m pytest -m "whole_machine and not slow" --durations 12

# Sweeps that are killed and go on, every network with a method, and the published tables.
test-slow: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -n logical --dist worksteal -m "slow and not whole_machine" --durations 12
	$(BIN)/python -m pytest -m "slow and whole_machine" --durations 12

# What a GPU shows within eight minutes; on a CPU: python tests/gpu/evidence.py --small
gpu: $(VENV)/.installed
	$(BIN)/python tests/gpu/evidence.py --json results/gpu.json --table results/gpu.md

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/mypy

# The site: guides, gallery, results and API reference, to be read without a network: build/site/index.html
docs: $(VENV)/.installed-dev
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

# The lock constrains every version, so that a fresh machine gets what was tested.
$(VENV)/.installed: pyproject.toml requirements.lock | $(VENV)/bin/python
	$(BIN)/pip install --constraint requirements.lock --editable .
	touch $@

$(VENV)/.installed-dev: pyproject.toml requirements.lock | $(VENV)/bin/python
	$(BIN)/pip install --constraint requirements.lock --editable ".[dev]"
	touch $@ $(VENV)/.installed

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

clean:
	rm -rf $(VENV) dist build
