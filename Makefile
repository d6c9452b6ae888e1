# Everything a developer does every day; `make` alone lists it.
# Needs git, make, python3 (3.11 or newer) and python3-venv. The environment is .venv; it is made
# again when the pins in requirements/ change.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory --no-builtin-rules
.DELETE_ON_ERROR:
.NOTPARALLEL:

PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python
PIP := $(PY) -m pip --disable-pip-version-check --no-input --quiet
# Written when the environment holds what fwsync needs (RUN) or all the house needs (DEV).
RUN := $(VENV)/.stamp-run
DEV := $(VENV)/.stamp-dev
INSTALLED := $(VENV)/.stamp-installed

# What a user may set.
SEED ?=
BUDGET_S ?= 1200
JOBS ?= auto
ARGS ?=

# One line per step.
say = @printf '%s\n' '· $(1)'

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-15s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@printf '\n  ARGS="…" goes to pytest; SEED=… BUDGET_S=… to torture; JOBS=1 runs the tests in one process.\n'

# ------------------------------------------------------------------------------- environment

# What builds comes first, with hashes too: what has no wheel is built without isolation.

define make-venv
	$(call say,environment in $(VENV))
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "fwsync needs Python 3.11 or newer; set PYTHON=…")'
	@$(PYTHON) -m venv --clear $(VENV)
endef

$(RUN): requirements/runtime.txt requirements/build.txt
	$(make-venv)
	$(call say,pinned packages to run fwsync)
	@$(PIP) install --require-hashes -r requirements/build.txt
	@$(PIP) install --require-hashes --no-build-isolation -r requirements/runtime.txt
	@touch $@

$(DEV): requirements/dev.txt
	$(make-venv)
	$(call say,pinned packages to work on fwsync)
	@$(PIP) install --require-hashes -r requirements/build.txt
	@$(PIP) install --require-hashes --no-build-isolation -r requirements/dev.txt
	@touch $@ $(RUN)

# The demo is content with the smaller environment, and uses the larger one where there is one.
DEMO_ENV := $(if $(wildcard $(DEV)),$(DEV),$(RUN))

define install
	$(call say,fwsync itself)
	@$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $(INSTALLED)
endef

# The editable install is made again when its environment or pyproject.toml is newer.
.PHONY: env env-demo
env: $(DEV)
	@if [ ! $(INSTALLED) -nt $(DEV) ] || [ ! $(INSTALLED) -nt pyproject.toml ]; then $(MAKE) install-into-env; fi

env-demo: $(DEMO_ENV)
	@if [ ! $(INSTALLED) -nt $(DEMO_ENV) ] || [ ! $(INSTALLED) -nt pyproject.toml ]; then $(MAKE) install-into-env; fi

.PHONY: install-into-env
install-into-env:
	$(install)

# ------------------------------------------------------------------------------------- using

.PHONY: demo
demo: env-demo ## see fwsync at work: a server, a project, a sync; needs no account
	@$(VENV)/bin/fwsync demo

# ----------------------------------------------------------------------------------- checking

.PHONY: check
check: env ## format, lint, strict types, import layers
	$(call say,format)
	@$(PY) -m ruff format --check --quiet .
	$(call say,lint)
	@$(PY) -m ruff check --quiet .
	$(call say,types)
	@$(PY) -m mypy --no-error-summary
	$(call say,imports)
	@out=$$($(VENV)/bin/lint-imports 2>&1) || { printf '%s\n' "$$out"; exit 1; }

.PHONY: fix
fix: env ## put format and import order right, and what lint can mend
	@$(PY) -m ruff check --fix --quiet . || true
	@$(PY) -m ruff format --quiet .

# The official SDK and CLI, which tests/conformance runs; made once, and kept in .cache.
.PHONY: conformance-env
conformance-env: env ## the environments of the official SDK and CLI, and of what de-identifies
	@$(PY) -m tests.conformance.environments sdk cli deid >/dev/null

.PHONY: test
test: env conformance-env ## the tests
	$(call say,tests)
	@$(PY) -m pytest --quiet --numprocesses=$(JOBS) --dist=worksteal $(ARGS)

# What imitates the clouds: moto's S3 server, Azurite, and the clouds' libraries that sign URLs.
.PHONY: stores-env
stores-env: env
	@$(PY) -m tests.conformance.environments stores >/dev/null
	@$(PY) -m tests.sandbox.stores.azurite >/dev/null

.PHONY: tools
tools: env stores-env ## the tests that compare with system tools
	$(call say,tests with system tools)
	@$(PY) -m pytest --quiet -rs -m tools $(ARGS)

# atheris, which is fed to the tar reader.
.PHONY: fuzz-env
fuzz-env: env
	@$(PY) -m tests.conformance.environments fuzz >/dev/null

.PHONY: torture
torture: env fuzz-env ## long random runs with kills and faults (SEED, BUDGET_S)
	$(call say,torture for $(BUDGET_S) s)
	@$(PY) tests/torture/run.py $(if $(SEED),--seed $(SEED)) --budget-s $(BUDGET_S)

.PHONY: mutants
mutants: env ## break the code on purpose; the tests must notice
	$(call say,mutants)
	@$(PY) tests/torture/mutants.py

.PHONY: bench
bench: env ## measure
	$(call say,benchmarks)
	@$(PY) bench/noop.py

.PHONY: coverage
coverage: env conformance-env ## what the tests do not reach
	@$(PY) -m pytest --quiet --numprocesses=$(JOBS) --cov --cov-report=term $(ARGS)

# -------------------------------------------------------------------------------- maintaining

COMPILE := UV_CUSTOM_COMPILE_COMMAND='make requirements' $(VENV)/bin/uv pip compile --quiet --no-config --system-certs \
	--python-version 3.11 --generate-hashes --no-annotate --no-strip-extras --no-emit-index-url $(if $(UPGRADE),--upgrade)

.PHONY: requirements
requirements: env ## compile the pins again (UPGRADE=1 to move them)
	$(call say,requirements/*.txt)
	@$(COMPILE) requirements/build.in -o requirements/build.txt
	@$(COMPILE) pyproject.toml -o requirements/runtime.txt
	@$(COMPILE) -c requirements/runtime.txt -c requirements/build.txt \
		pyproject.toml requirements/build.in requirements/dev.in -o requirements/dev.txt
	@$(COMPILE) requirements/conformance-build.in -o requirements/conformance-build.txt
	@$(COMPILE) requirements/conformance-sdk.in -o requirements/conformance-sdk.txt
	@$(COMPILE) -c requirements/conformance-build.txt \
		requirements/conformance-cli.in -o requirements/conformance-cli.txt
	@$(COMPILE) requirements/stores.in -o requirements/stores.txt
	@$(COMPILE) -c requirements/runtime.txt \
		pyproject.toml requirements/conformance-deid.in -o requirements/conformance-deid.txt
	@$(COMPILE) -c requirements/runtime.txt \
		pyproject.toml requirements/fuzz.in -o requirements/fuzz.txt

.PHONY: changelog
changelog: env ## show what the next release would say
	@$(PY) -m towncrier build --draft --version next

.PHONY: clean
clean: ## remove the environment and what the tools left
	@rm -rf $(VENV) .cache build dist .coverage .coverage.* htmlcov .hypothesis .ci/log bench-results
	@rm -rf *.egg-info .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
	@find fwsync tests -name __pycache__ -type d -prune -exec rm -rf {} +
