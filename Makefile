# Everything runs in .venv. `make demo` on a fresh clone installs what it needs by itself.
# PYTHON: 3.11 or newer for the server; a board's agent runs on 3.10 too.
PYTHON ?= python3
# Test processes; link and broker tests mostly wait, so more than two cores' worth.
JOBS ?= 4
# How long `make fuzz` and `make fuzz-mixing` search.
FUZZ_SECONDS ?= 60
VENV := .venv
BIN := $(VENV)/bin
STAMPS := $(VENV)/stamps
UV_COMPILE := $(BIN)/uv pip compile --quiet --universal --generate-hashes --no-header --no-annotate --no-emit-index-url
EXTRAS := --extra control --extra collector --extra postgres --extra zstd --extra lake --extra notebooks --extra sim --extra dev

.PHONY: help install system demo test lint bench bench-delta notebooks sample-data fuzz fuzz-mixing lock clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

install: system $(STAMPS)/install ## Make .venv with everything that the demo and the tests need

system: ## Install mosquitto, git, iproute2, gcc and PostgreSQL (as root on Debian), or say what is missing
	@PYTHON=$(PYTHON) devices/workstation/install

$(STAMPS)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "$(PYTHON) is $$($(PYTHON) --version 2>&1); the server needs Python 3.11 or newer: make PYTHON=python3.12" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	@mkdir -p $(STAMPS) && touch $@

$(STAMPS)/locked: requirements/dev.txt $(STAMPS)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
	@touch $@

$(STAMPS)/install: pyproject.toml setup.py $(wildcard edgesync/delta/mixing_core/*.[ch]) $(STAMPS)/locked
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

demo: install ## Bring new firmware to twelve boards over bad links, from a commit to confirmed boots
	$(BIN)/python -m edgesync.cli.main demo

lint: install ## Style, types and import contracts
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

test: lint ## All checks, then all tests; EDGESYNC_REQUIRE_ALL=1 turns skips for missing parts into failures
	$(BIN)/pytest -n $(JOBS) --dist worksteal

bench: install ## Measure what the README promises
	$(BIN)/python -m tests.bench

$(STAMPS)/%: requirements/%.txt $(STAMPS)/install
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $<
	@touch $@

bench-delta: $(STAMPS)/bench ## Measure deltas against every peer; ARGS="--pairs demo-v1-v2 --peers bsdiff4" for some
	@devices/workstation/install bench
	$(BIN)/python -m tests.bench_delta $(ARGS)

notebooks: install ## Open the notebooks in JupyterLab, on this machine's loopback only
	$(BIN)/jupyter lab --ip 127.0.0.1 --notebook-dir notebooks

sample-data: install ## Make the notebooks' data anew: a model fleet's day, through broker, receiver and exporter
	$(BIN)/python -m notebooks.sample

fuzz: $(STAMPS)/fuzz ## Throw damaged deltas at the reader for FUZZ_SECONDS (60); needs a Python that atheris has wheels for
	$(BIN)/python -m tests.fuzz.delta_reader -max_total_time=$(FUZZ_SECONDS) -artifact_prefix=build/fuzz/ build/fuzz/corpus

fuzz-mixing: install ## Throw damaged streams at the mixing coder, built with sanitizers, for FUZZ_SECONDS (60); needs gcc
	$(BIN)/python -m tests.fuzz.mixing $(FUZZ_SECONDS)

lock: $(STAMPS)/python ## Pin all dependencies anew, with hashes, for every platform and Python
	$(UV_COMPILE) --upgrade --python-version 3.10 pyproject.toml --output-file requirements/agent.txt
	$(UV_COMPILE) --python-version 3.10 --no-emit-package numpy --constraint requirements/agent.txt pyproject.toml --output-file requirements/agent-plain.txt
	$(UV_COMPILE) --upgrade --python-version 3.11 $(EXTRAS) pyproject.toml requirements/tools.in --output-file requirements/dev.txt
	$(UV_COMPILE) --upgrade --python-version 3.11 --extra bench --constraint requirements/dev.txt pyproject.toml --output-file requirements/bench.txt
	$(UV_COMPILE) --upgrade --python-version 3.11 --extra fuzz --constraint requirements/dev.txt pyproject.toml --output-file requirements/fuzz.txt

clean: ## Remove .venv and everything that was built
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
