# Tributary. `make help` lists the commands; each sets up what it needs.
PYTHON ?= python3
VENV   := .venv
LINT   := .venv-lint
CLI     = $(VENV)/bin/tributary
# A company proxy's certificates are in the system's store, which uv does not read by default.
export UV_SYSTEM_CERTS := true
# Where it is set, every command compiles dbt and Airflow again, which takes seconds.
unexport PYTHONDONTWRITEBYTECODE
SHELL  := /bin/bash
.SHELLFLAGS := -euo pipefail -c

.PHONY: help demo test check up down env docs lint wheel bench hunt lock clean

help:  ## this list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

demo: $(VENV)/ready  ## sandbox → raw → marts through Airflow, printed as tables
	@$(VENV)/bin/python -m sandbox.demo

test: $(VENV)/ready  ## all tests
	@$(VENV)/bin/python -m pytest

check: $(VENV)/ready  ## the tests that start no service: under a minute
	@$(VENV)/bin/python -m pytest tests/unit tests/sandbox

up: $(VENV)/ready  ## Airflow in the background, and the sandbox where the settings use it
	@$(CLI) up

down: $(VENV)/ready  ## stop them, and the embedded Postgres
	@$(CLI) down

env: $(VENV)/ready  ## eval "$(make -s env)" makes plain airflow, dbt and psql work
	@$(CLI) env

docs: $(VENV)/ready  ## dbt's documentation of all models as one HTML page
	@$(CLI) docs

lint: $(VENV)/ready $(LINT)/ready  ## ruff, import-linter, mypy, sqlfluff
	@$(LINT)/bin/ruff format --check .
	@$(LINT)/bin/ruff check .
	@PYTHONPATH=include:. $(LINT)/bin/lint-imports --no-logo
	@$(LINT)/bin/mypy --python-executable $(VENV)/bin/python
	@$(LINT)/bin/sqlfluff lint --disable-progress-bar dbt

bench: $(VENV)/ready  ## the benchmark report; fails when a goal is missed
	@missed=; for name in extraction dbt_build upload google_upload webhooks attribution "attribution --growth 122 730"; do \
		$(VENV)/bin/python -m bench.$$name || missed="$$missed $$name"; \
	done; test -z "$$missed" || { echo "goals missed:$$missed"; exit 1; }

hunt: $(VENV)/ready  ## random days of changes to the marts' sources: make hunt SEEDS="1 2 3" DAYS=15
	@HUNT_SEEDS="$(or $(SEEDS),1 2 3 4 5)" HUNT_DAYS="$(or $(DAYS),15)" \
		$(VENV)/bin/python -m pytest --dist load tests/dbt/test_random_changes.py

wheel: $(VENV)/ready  ## build the wheel, and use it in an environment that has only requirements.txt
	@UV=$(VENV)/bin/uv PYTHON=$(VENV)/bin/python .ci/wheel

COMPILE = UV_CUSTOM_COMPILE_COMMAND="make lock" $(VENV)/bin/uv pip compile -q --universal --python-version 3.11
lock: $(VENV)/ready  ## compile requirements*.in into requirements*.txt
	@$(COMPILE) requirements.in -o requirements.txt
	@$(COMPILE) requirements.in requirements-dev.in -c requirements.txt -o requirements-dev.txt
	@$(COMPILE) requirements-lint.in -o requirements-lint.txt

clean:  ## remove local state: services, data, virtual environments
	@if [ -e $(VENV)/ready ]; then $(CLI) down; fi
	@rm -rf $(VENV) $(LINT) "$${TRIBUTARY_HOME:-.tributary}" include/*.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis dbt/target dbt/logs

# uv is in the lock itself, so that syncing keeps it.
$(VENV)/ready: requirements-dev.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("Tributary needs Python 3.11 or later: make PYTHON=python3.12 …")' >&2
	@echo "setting up $(VENV) …" >&2
	@test -x $(VENV)/bin/python || $(PYTHON) -m venv $(VENV) >&2
	@test -x $(VENV)/bin/uv || $(VENV)/bin/python -m pip install -q uv >&2
	@$(VENV)/bin/uv pip sync -q --python $(VENV)/bin/python requirements-dev.txt >&2
	@$(VENV)/bin/uv pip install -q --python $(VENV)/bin/python --no-deps -e . >&2
	@rm -rf include/*.egg-info  # beside the installed metadata, Airflow takes it for a second plugin
	@touch $@

$(LINT)/ready: requirements-lint.txt
	@$(PYTHON) -m venv $(LINT) >&2
	@$(VENV)/bin/uv pip sync -q --python $(LINT)/bin/python requirements-lint.txt >&2
	@touch $@
