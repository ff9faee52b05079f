# Needs Python 3.11 to 3.13 and make; makes its own virtual environment.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check

.DEFAULT_GOAL := help
.PHONY: help render test lint format bench chaos up screenshots vendor clean

help:  ## Show the verbs
	@grep -E '^[a-z]+:.*##' Makefile | sed -E 's/:.*## /\t/' | expand -t 13

render: $(VENV)/compiled  ## Draw the 24 example prompts into renders/examples
	$(BIN)/tenstep render infra/examples/prompts.txt --out renders/examples

up: $(VENV)/compiled  ## Run a dispatcher and a worker until Ctrl-C
	$(BIN)/tenstep up

test: $(VENV)/installed-dev $(VENV)/compiled $(VENV)/browser  ## Run every test; starts the servers it needs itself
	$(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder

lint: $(VENV)/installed-dev  ## Check style, types, the directions of imports, and that money is exact
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m pytest --quiet tests/architecture/test_house_rules.py

format: $(VENV)/installed-dev  ## Rewrite the code in the project's style
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(VENV)/installed-dev $(VENV)/compiled  ## Measure this machine: renders, submissions, status, results, the API, pages, fleets (2 h)
	$(BIN)/python infra/benchmarks/render.py
	$(BIN)/python infra/benchmarks/pipeline.py
	$(BIN)/python infra/benchmarks/quote.py
	$(BIN)/tenstep bench busy --images 200
	$(BIN)/python infra/benchmarks/speed.py
	PYTHONPATH=infra:tests $(BIN)/python infra/benchmarks/start.py
	PYTHONPATH=infra:tests $(BIN)/python infra/benchmarks/overhead.py
	PYTHONPATH=infra:tests $(BIN)/python infra/benchmarks/fleet.py
	PYTHONPATH=infra:tests $(BIN)/python infra/benchmarks/dispatcher.py --devices 200 1000
	PYTHONPATH=infra:tests $(BIN)/python infra/benchmarks/submit.py
	PYTHONPATH=infra:tests $(BIN)/python infra/benchmarks/status.py
	PYTHONPATH=infra:tests $(BIN)/python infra/benchmarks/manifest.py
	PYTHONPATH=infra:tests $(BIN)/python infra/benchmarks/costs.py
	PYTHONPATH=infra:tests $(BIN)/python infra/benchmarks/api.py
	PYTHONPATH=infra:tests $(BIN)/python infra/benchmarks/pages.py
	PYTHONPATH=infra:tests $(BIN)/python infra/benchmarks/pull.py
	PYTHONPATH=infra:tests $(BIN)/python infra/benchmarks/pull.py --images 1500 --bytes 400000

chaos: $(VENV)/installed-dev $(VENV)/compiled  ## Kill, freeze and empty everything under load, and check the books
	PYTHONPATH=infra:tests $(BIN)/python -m chaos.run

screenshots: $(VENV)/installed-dev $(VENV)/browser  ## Take pictures of the dashboard's pages (3 min)
	PYTHONPATH=infra:tests $(BIN)/python infra/screenshots/take.py

vendor:  ## Copy the dashboard's scripts from npm again, after a change of their versions (needs npm)
	infra/vendor/vendor.sh

clean:  ## Remove the virtual environment and all caches; keeps renders and tenstep-data
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

# torch comes first and alone: its exact pin decides between a small CPU build and CUDA's.
$(VENV)/installed: pyproject.toml infra/constraints.txt | $(BIN)/python
	$(PIP) install --constraint infra/constraints.txt torch
	$(PIP) install --constraint infra/constraints.txt --editable '.[worker,api]'
	@touch $@

# Once a machine, half a minute to a minute: the processor's kernels.
$(VENV)/compiled: $(wildcard worker/kernels/*.py) | $(VENV)/installed
	$(BIN)/python -m worker.compile_kernels
	@touch $@

$(VENV)/installed-dev: $(VENV)/installed infra/qaic-emulator/pyproject.toml
	$(PIP) install --constraint infra/constraints.txt --editable '.[worker,api,train,test,lint]'
	$(PIP) install --constraint infra/constraints.txt --editable ./infra/qaic-emulator
	@touch $@

# Installs Chromium where there is none: root on Debian has it from there, others from Playwright.
$(VENV)/browser: infra/browser/install.py $(VENV)/installed-dev
	PYTHONPATH=tests $(BIN)/python infra/browser/install.py
	@touch $@
