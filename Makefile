# SPDX-License-Identifier: MIT
# Works from a clean clone with Python >= 3.11 (with venv) and make, as root or not.  `make` alone prints the verbs.

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
RUN_TESTS := $(BIN)/python -m pytest -p tests.plugin_skips -n 3 --dist loadfile --no-loadscope-reorder
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help demo test sweep check bench format install vectors debian-packages clean
MAKEFLAGS += --no-print-directory

help: ## This list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(STAMP) ## A server and two devices live through a good and a bad update, on this machine, in a temporary folder
	@.ci/tpm $(BIN)/python
	@$(BIN)/trueboot demo $(ARGS)

test: $(STAMP) ## Run all tests (ARGS="-k demo" for some); as root, installs what debian-packages.txt lists
	@.ci/debian-packages
	@.ci/tpm $(BIN)/python
	@$(RUN_TESTS) $(ARGS)

sweep: $(STAMP) ## Cut the power at every effect of an update, on every platform (ARGS="--short" takes minutes less)
	@$(BIN)/python tests/sweep/run.py $(ARGS)

check: $(STAMP) ## Lint, types, device lint, .mpy sizes, heap of a board
	@$(BIN)/python tools/check/all.py

bench: $(STAMP) ## Benchmarks, as ratios measured in one run
	@$(BIN)/python bench/run.py $(ARGS)

format: $(STAMP) ## Sort imports and format the Python files
	@$(BIN)/ruff check --select I --fix -q . && $(BIN)/ruff format .

install: $(STAMP) ## Make .venv with everything in it

vectors: $(STAMP) ## Install the published signature vectors (56 MB) that some tests want
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[vectors]'

debian-packages: ## Install the Debian packages that some tests want (needs root)
	@.ci/debian-packages

clean: ## Remove what the other verbs made
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .ruff_cache .mypy_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/bin/python:
	@.ci/venv $(VENV)

$(STAMP): setup.cfg pyproject.toml | $(VENV)/bin/python
	@echo "Installing Trueboot and its tools into $(VENV) (once; a minute or so) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[all]'
	@.ci/tpm $(BIN)/python
	@touch $@
