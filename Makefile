# Everything that a contributor runs. It needs Python 3.11 or newer and make, and installs the rest on first use.
#
#   make test ARGS="-k ledger -x"     with arguments for pytest
#   make test AIRFLOW=3.1             on another version of Airflow; constraints/ has a file for each version
#   make test PYTHON=python3.12       with another Python

PYTHON ?= python3
AIRFLOW ?= 3.3
ARGS ?=

# Contributors work with this version of Airflow. The environments of the other versions are .venv-2.11 and so on.
NEWEST := 3.3
OLDER := 3.0 3.1 3.2
# The first Python version with which a version of Airflow does not work.
PYTHON_BELOW_2.11 := 3.13
PYTHON_BELOW_3.0 := 3.13
PYTHON_BELOW_3.1 := 3.14

venv_of = $(if $(filter $(NEWEST),$(1)),.venv,.venv-$(1))
VENV := $(call venv_of,$(NEWEST))
BIN := $(VENV)/bin
READY := $(VENV)/.ready

# Clients of warehouses that cannot be installed beside the rest: with SQLAlchemy 2.0 (Airflow 3.3) and 1.4 (Airflow 2.11).
VENV_WAREHOUSES := .venv-warehouses
VENV_WAREHOUSES_2 := .venv-warehouses-2.11
WITH_WAREHOUSES := --group warehouses -e '.[sandbox,snowflake]'
READY_WAREHOUSES := $(VENV_WAREHOUSES)/.ready $(VENV_WAREHOUSES_2)/.ready

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

.PHONY: help
help: ## Show this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# --- Set-up -----------------------------------------------------------------------------------------------

.PHONY: venv
venv: $(READY) ## Create .venv with everything in it (Airflow 3.3)

$(READY): pyproject.toml constraints/airflow-$(NEWEST).txt
	$(call install,$(NEWEST),$(VENV),airflow-$(NEWEST),-e '.[dev]')

.venv-warehouses/.ready: pyproject.toml constraints/warehouses-3.3.txt
	$(call install,3.3,$(VENV_WAREHOUSES),warehouses-3.3,$(WITH_WAREHOUSES))

.venv-warehouses-2.11/.ready: pyproject.toml constraints/warehouses-2.11.txt
	$(call install,2.11,$(VENV_WAREHOUSES_2),warehouses-2.11,$(WITH_WAREHOUSES))

.venv-%/.ready: pyproject.toml constraints/airflow-%.txt
	$(call install,$*,.venv-$*,airflow-$*,-r constraints/airflow-$*.in -e '.[dev]')

# $(call install,<Airflow version>,<environment>,<constraint file>,<what to install>)
# The file .ready lets the next command start without asking the network anything.
define install
	@$(PYTHON) -c 'import sys; sys.exit(not 3.11 <= float("%d.%02d" % sys.version_info[:2]) < $(or $(PYTHON_BELOW_$(1)),4))' || { \
		echo "Airflow $(1) needs Python 3.11 or newer$(PYTHON_BELOW_$(1):%= and older than %), but $(PYTHON) is" \
			"$$($(PYTHON) --version 2>&1). Name another one: make PYTHON=python3.12" >&2; exit 1; }
	@echo "Installing Airflow $(1) and everything else into $(2) (once; needs the network)"
	@test -x $(2)/bin/uv || { $(PYTHON) -m venv --clear $(2) \
		&& $(2)/bin/python -m pip install --quiet -c constraints/$(3).txt uv; }
	@$(2)/bin/uv pip install --quiet --python $(2)/bin/python -c constraints/$(3).txt $(4)
	@touch $(2)/.ready
endef

# $(call extra,<name>): what only some commands need
define extra
	@$(BIN)/uv pip install --quiet --python $(BIN)/python -c constraints/airflow-$(NEWEST).txt -e '.[dev,$(1)]'
	@touch $@
endef

WITH_EXTRAS := --extra dev --extra distributed --extra docs --extra sandbox

.PHONY: constraints
constraints: $(READY) ## Pin what pyproject.toml and constraints/*.in require (UPGRADE=1: to the newest versions)
	$(foreach version,2.11 $(OLDER) $(NEWEST),$(call compile,$(version),airflow-$(version),$(WITH_EXTRAS)))
	$(call compile,3.3,warehouses-3.3,--extra sandbox --extra snowflake --group warehouses)
	$(call compile,2.11,warehouses-2.11,--extra sandbox --extra snowflake --group warehouses)

# $(call compile,<Airflow version>,<name of the file>,<extras and groups>)
# Without UPGRADE the versions in the file stay, and only what is missing is added.
define compile
	$(BIN)/uv pip compile pyproject.toml constraints/airflow-$(1).in $(3) $(if $(UPGRADE),--upgrade) \
		--universal --python-version 3.11 --no-annotate --no-emit-index-url --no-emit-find-links \
		--custom-compile-command 'make constraints' --quiet --output-file constraints/$(2).txt

endef

# --- Checks -----------------------------------------------------------------------------------------------

CHECKS := venv lint types docs demo package test-airflow-2 test

.PHONY: check
check: ## Run everything that CI runs, and print the time of each step
	@total=$$(date +%s); times=; \
	for step in $(CHECKS); do \
		printf '\n--- make %s\n' $$step; \
		began=$$(date +%s); \
		$(MAKE) --no-print-directory $$step || { printf '\n--- make %s failed\n' $$step; exit 1; }; \
		took="$$step took $$(($$(date +%s) - began)) s"; times="$$times\n    $$took"; \
		printf -- '--- make %s\n' "$$took"; \
	done; \
	printf "\nAll checks passed in $$(($$(date +%s) - total)) s:$$times\n"

.PHONY: lint
lint: $(READY) ## Check style and formatting
	$(BIN)/ruff check
	$(BIN)/ruff format --check

.PHONY: format
format: $(READY) ## Correct style and formatting
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

.PHONY: types
types: $(READY) ## Check the types
	$(BIN)/mypy

.PHONY: house
house: $(READY) ## Print modules and lines by package, and what in the package is long, short, double or in a circle
	@$(BIN)/python -m dev.house

.PHONY: package
package: $(READY) ## Build wheel and sdist, check them, and test the wheel without the checkout
	@$(BIN)/python -m dev.package

# --- Tests ------------------------------------------------------------------------------------------------

PYTEST = $(call venv_of,$(AIRFLOW))/bin/python -m pytest -n auto --dist loadfile $(ARGS)

.PHONY: test
test: $(call venv_of,$(AIRFLOW))/.ready ## Run all tests on Airflow 3.3 (AIRFLOW=2.11: on another version)
	$(PYTEST)

# What knows neither Airflow nor SQLAlchemy is the same code on every version, and is tested on the newest one.
SAME_EVERYWHERE := $(addprefix --ignore tests/,calls sandbox test_docs.py test_imports.py promises/test_contract.py \
	promises/test_promises_name_tests.py sync/test_spool.py pending/test_rules.py)

.PHONY: test-airflow-2
test-airflow-2: AIRFLOW = 2.11
test-airflow-2: .venv-2.11/.ready ## Run the tests on Airflow 2.11, but for those of code that knows neither it nor SQLAlchemy
	$(PYTEST) tests $(SAME_EVERYWHERE)

.PHONY: compat
compat: ## Run the unit tests and the example DAGs on Airflow 3.0, 3.1 and 3.2
	@for version in $(OLDER); do $(MAKE) --no-print-directory test-one-version AIRFLOW=$$version || exit 1; done

# Crashes, schedulers, browsers, several processes at once and what chance decides are tested on the newest version and on
# Airflow 2.11 only, as are databases other than SQLite and PostgreSQL.
.PHONY: test-one-version
test-one-version: $(call venv_of,$(AIRFLOW))/.ready
	$(PYTEST) tests $(SAME_EVERYWHERE) --ignore tests/end_to_end/browser --ignore-glob '*/end_to_end/*_crashes.py' \
		--ignore tests/end_to_end/test_scheduler.py --ignore tests/end_to_end/test_shared_limit.py \
		--ignore tests/sync/test_random_histories.py --ignore tests/promises/test_network.py \
		-k 'not mariadb and not duckdb'

# $(call test_warehouses,<which>): with the clients of warehouses. Beside their own tests, the ledger's run on Snowflake,
# without two that need thousands of rows: the emulator is slow.
define test_warehouses
	$(VENV_WAREHOUSES)/bin/python -m pytest -n auto --dist loadfile tests/warehouses tests/database/test_upsert.py \
		tests/ledger tests/pending/test_antijoin.py -k '$(1) and not any_number and not any_length' $(ARGS)
	$(VENV_WAREHOUSES_2)/bin/python -m pytest -n auto --dist loadfile tests/warehouses tests/database/test_upsert.py -k '$(1)' $(ARGS)
endef

.PHONY: test-warehouses
test-warehouses: $(READY_WAREHOUSES) ## Run the tests of Snowflake, BigQuery and the others, with SQLAlchemy 2.0 and 1.4
	$(call test_warehouses,(warehouses or snowflake))

.PHONY: test-snowflake
test-snowflake: $(READY_WAREHOUSES) ## Run only those of Snowflake
	$(call test_warehouses,snowflake)

.PHONY: soak
soak: $(READY) ## Test with crashes, network errors and random rows for MINUTES=5, from a random SEED or a given one
	@MINUTES=$(MINUTES) SEED=$(SEED) $(BIN)/python tests/soak.py $(ARGS)

# --- Documentation ----------------------------------------------------------------------------------------

.PHONY: docs
docs: $(VENV)/.docs ## Build the documentation into site/ (a broken link is an error)
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

$(VENV)/.docs: $(READY)
	$(call extra,docs)

.PHONY: pictures
pictures: $(READY) ## Draw the diagrams of the documentation (needs Chromium and npm)
	@$(BIN)/python -m dev.pictures

.PHONY: screenshots
screenshots: $(READY) ## Take the pictures in docs/images again (needs Chromium)
	SCREENSHOTS=1 $(BIN)/python -m pytest tests/end_to_end/browser

# --- To see it work ---------------------------------------------------------------------------------------

.PHONY: demo
demo: $(READY) ## Run an Airflow DAG that sends the refunds of a warehouse to a sandbox, and prove that it sends each once
	@$(BIN)/python -m dev.demo

.PHONY: ui
ui: $(READY) ## Open the demo in Airflow's UI (PORT=8080)
	@$(BIN)/python -m dev.demo.ui

.PHONY: distributed
distributed: $(VENV)/.distributed ## Run two accounts on CeleryExecutor with two workers (needs a Redis server)
	@$(BIN)/python -m dev.distributed

$(VENV)/.distributed: $(READY)
	$(call extra,distributed)

.PHONY: bench
bench: $(READY) ## Measure what the provider costs, and write README and docs/performance.md (ONLY="cpu rate": only print these)
	@$(BIN)/python -m dev.benchmarks $(if $(ONLY),,--publish) $(ONLY) $(ARGS)

# --- Cleaning up ------------------------------------------------------------------------------------------

.PHONY: clean
clean: ## Remove everything that these commands created
	rm -rf .venv .venv-* .demo .ui .distributed .bench.json dist site .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
