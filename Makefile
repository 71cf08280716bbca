# Everything a contributor runs. It needs Python 3.11 or newer and make; the rest is installed on first use.
#
#   make test PYTHON=python3.12       with another Python
#   make test ARGS="-k ledger -x"     with arguments for pytest

PYTHON ?= python3
ARGS ?=

VENV := .venv
VENV_2 := .venv-2.11
BIN := $(VENV)/bin
READY := $(VENV)/.ready
READY_2 := $(VENV_2)/.ready

# Clients of warehouses that cannot be installed beside the rest: with SQLAlchemy 2.0 (Airflow 3.3) and 1.4 (Airflow 2.11).
VENV_WAREHOUSES := .venv-warehouses
VENV_WAREHOUSES_2 := .venv-warehouses-2.11
WITH_WAREHOUSES := --group warehouses -e '.[sandbox,snowflake]'
LEDGER_TESTS := tests/ledger tests/database/test_upsert.py tests/pending/test_antijoin.py
READY_WAREHOUSES := $(VENV_WAREHOUSES)/.ready $(VENV_WAREHOUSES_2)/.ready

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

.PHONY: help
help: ## Show this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# --- Set-up -----------------------------------------------------------------------------------------------

.PHONY: venv
venv: $(READY) ## Make .venv with everything in it (Airflow 3.3)

$(READY): pyproject.toml constraints/airflow-3.3.txt
	$(call install,$(VENV),constraints/airflow-3.3.txt,-e '.[dev]',(3, 11) <= sys.version_info,3.11 or newer)

$(READY_2): pyproject.toml constraints/airflow-2.11.txt
	$(call install,$(VENV_2),constraints/airflow-2.11.txt,-e '.[dev]',(3, 11) <= sys.version_info < (3, 13),3.11 or 3.12 for Airflow 2.11)

$(VENV_WAREHOUSES)/.ready: pyproject.toml constraints/warehouses-3.3.txt
	$(call install,$(VENV_WAREHOUSES),constraints/warehouses-3.3.txt,$(WITH_WAREHOUSES),(3, 11) <= sys.version_info,3.11 or newer)

$(VENV_WAREHOUSES_2)/.ready: pyproject.toml constraints/warehouses-2.11.txt
	$(call install,$(VENV_WAREHOUSES_2),constraints/warehouses-2.11.txt,$(WITH_WAREHOUSES),(3, 11) <= sys.version_info < (3, 13),3.11 or 3.12 for Airflow 2.11)

# $(call install,<venv>,<constraint file>,<what to install>,<which Pythons will do>,<the same in words>)
# The stamp file is what lets the next run start without asking the network anything.
define install
	@$(PYTHON) -c 'import sys; sys.exit(not $(4))' || { \
		echo "This needs Python $(5); $(PYTHON) is $$($(PYTHON) --version 2>&1). Say which: make PYTHON=python3.12" >&2; exit 1; }
	@echo "Installing into $(1) with $(2) (once; needs the network)"
	@test -x $(1)/bin/uv || { $(PYTHON) -m venv --clear $(1) && $(1)/bin/python -m pip install --quiet -c $(2) uv; }
	@$(1)/bin/uv pip install --python $(1)/bin/python -c $(2) $(3)
	@touch $(1)/.ready
endef

.PHONY: constraints
constraints: $(READY) ## Pin what pyproject.toml asks for (UPGRADE=1: to the newest versions)
	$(call compile,3.3,airflow-3.3,--extra dev --extra distributed --extra docs --extra sandbox)
	$(call compile,2.11,airflow-2.11,--extra dev --extra distributed --extra docs --extra sandbox)
	$(call compile,3.3,warehouses-3.3,--extra sandbox --extra snowflake --group warehouses)
	$(call compile,2.11,warehouses-2.11,--extra sandbox --extra snowflake --group warehouses)

# $(call compile,<Airflow>,<name of the file>,<which extras and groups>)
# Without UPGRADE the versions that are already in the file stay, and only what is missing is added.
define compile
	echo 'apache-airflow==$(1).*' | $(BIN)/uv pip compile pyproject.toml - $(3) $(if $(UPGRADE),--upgrade) \
		--universal --python-version 3.11 --no-annotate --no-emit-index-url --no-emit-find-links \
		--custom-compile-command 'make constraints' --quiet --output-file constraints/$(2).txt
endef

# --- Checks -----------------------------------------------------------------------------------------------

.PHONY: lint
lint: $(READY) ## Check style and formatting
	$(BIN)/ruff check
	$(BIN)/ruff format --check

.PHONY: format
format: $(READY) ## Put style and formatting right
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

.PHONY: types
types: $(READY) ## Check the types
	$(BIN)/mypy

.PHONY: test
test: $(READY) ## Run the whole suite on Airflow 3.3
	$(BIN)/python -m pytest -n auto --dist loadfile $(ARGS)

.PHONY: test-airflow-2
test-airflow-2: $(READY_2) ## Run the same suite on Airflow 2.11
	$(VENV_2)/bin/python -m pytest -n auto --dist loadfile $(ARGS)

# $(call test_warehouses,<what to run>): with the clients of warehouses, in both of their environments.
define test_warehouses
	$(VENV_WAREHOUSES)/bin/python -m pytest -n auto --dist loadfile $(1) $(ARGS)
	$(VENV_WAREHOUSES_2)/bin/python -m pytest -n auto --dist loadfile $(1) $(ARGS)
endef

.PHONY: test-warehouses
test-warehouses: $(READY_WAREHOUSES) ## Run the tests of Snowflake, BigQuery and the others, with SQLAlchemy 2.0 and 1.4
	$(call test_warehouses,tests/warehouses $(LEDGER_TESTS) -k 'warehouses or snowflake')

.PHONY: test-snowflake
test-snowflake: $(READY_WAREHOUSES) ## Run only those of Snowflake
	$(call test_warehouses,tests/warehouses $(LEDGER_TESTS) -k snowflake)

.PHONY: soak
soak: $(READY) ## Crashes, a bad network and odd rows for MINUTES=5, from a random SEED or yours on
	@MINUTES=$(MINUTES) SEED=$(SEED) $(BIN)/python tests/soak.py $(ARGS)

# --- To read ----------------------------------------------------------------------------------------------

.PHONY: docs
docs: $(VENV)/.docs ## Build the documentation into site/ (a broken link ends it)
	$(BIN)/mkdocs build --strict

$(VENV)/.docs: $(READY)
	$(BIN)/uv pip install --python $(BIN)/python -c constraints/airflow-3.3.txt -e '.[dev,docs]'
	@touch $@

# --- To see it work ---------------------------------------------------------------------------------------

.PHONY: demo
demo: $(READY) ## Watch an Airflow DAG send a warehouse's refunds to a sandbox, once each
	@$(BIN)/python -m dev.demo

.PHONY: ui
ui: $(READY) ## The same in Airflow's own pages, to click through
	@$(BIN)/python -m dev.demo.ui

.PHONY: distributed
distributed: $(VENV)/.distributed ## Two accounts on CeleryExecutor, with Redis, PostgreSQL and two workers
	@$(BIN)/python -m dev.distributed

$(VENV)/.distributed: $(READY)
	$(BIN)/uv pip install --python $(BIN)/python -c constraints/airflow-3.3.txt -e '.[dev,distributed]'
	@touch $@

.PHONY: screenshots
screenshots: $(READY) ## Make the pictures in docs/images anew (needs Chromium)
	SCREENSHOTS=1 $(BIN)/python -m pytest tests/end_to_end/browser

.PHONY: bench
bench: $(READY) ## Measure what it costs against what you would otherwise use (ONLY="cpu rate" for some rows)
	@$(BIN)/python -m dev.benchmarks --markdown .bench.md $(ONLY) $(ARGS)

# --- Leaving ----------------------------------------------------------------------------------------------

.PHONY: clean
clean: ## Remove everything that these commands made
	rm -rf $(VENV) $(VENV_2) $(VENV_WAREHOUSES) $(VENV_WAREHOUSES_2) .demo .ui .distributed .bench.md dist site .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
