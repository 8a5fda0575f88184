# Every target makes what it needs; `make` alone lists them. A fresh clone wants python3 (3.11 or newer),
# make, and a package index that pip reaches.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip --disable-pip-version-check --quiet

# What `make run` shows: a governed fleet under load, as a page on this machine.
RUN     ?= live day --speed 120 --ledger build/ledger.sqlite
# More for pytest (`make test ARGS="-k queue"`) or for the pins (`make lock ARGS=--upgrade`).
ARGS    ?=

PINS    := $(VENV)/.pins
FLYBALL := $(VENV)/.flyball

.DEFAULT_GOAL := help
.PHONY: help run run-kubernetes test chromium sandbox-tools test-fast check bench soak lock clean $(VENV)
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z][a-z-]*:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' Makefile

run: $(FLYBALL) ## govern a simulated fleet, and show it on a page
	@mkdir -p build
	@$(BIN)/flyball $(RUN)

run-kubernetes: $(FLYBALL) sandbox-tools ## govern a Kubernetes with engines under load, on this machine
	@$(BIN)/flyball sandbox demo $(ARGS)

test: $(FLYBALL) chromium sandbox-tools ## the whole suite, as in CI (all but the soak runs)
	@echo "test: the whole suite"
	@$(BIN)/python -m pytest -m "not soak" $(ARGS)

chromium: # what the page's plots are tested in; Debian's, where we may install it
	@command -v chromium >/dev/null || { \
	  if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	    echo "test: installing chromium"; \
	    apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium >/dev/null 2>&1; \
	  fi; } || echo "test: no chromium here: plots are not tested in a browser"

sandbox-tools: $(FLYBALL) # the Kubernetes of the system tests, built once per user; Debian's Prometheus
	@have() { command -v prometheus >/dev/null && command -v prometheus-alertmanager >/dev/null; }; \
	if ! have && [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	  echo "sandbox: installing prometheus, prometheus-alertmanager"; \
	  apt-get update -qq && apt-get install -y -qq --no-install-recommends prometheus prometheus-alertmanager >/dev/null 2>&1; \
	fi; \
	have || echo "sandbox: no prometheus and prometheus-alertmanager here: what needs them is left out"
	@$(BIN)/flyball sandbox build >/dev/null

test-fast: $(FLYBALL) ## the suite without what takes seconds
	@echo "test-fast: without slow and soak"
	@$(BIN)/python -m pytest -m "not slow and not soak" $(ARGS)

check: $(FLYBALL) ## format, lint, types, and who imports whom
	@echo "check: format"
	@$(BIN)/ruff format --check --quiet --output-format concise . || { echo "to format them: $(BIN)/ruff format ."; exit 1; }
	@echo "check: lint"
	@$(BIN)/ruff check --quiet --output-format concise .
	@echo "check: types"
	@$(BIN)/mypy --no-error-summary
	@echo "check: imports"
	@out=$$($(BIN)/lint-imports --no-logo) || { echo "$$out"; exit 1; }

bench: $(FLYBALL) ## time the problems x sizes beside the reference
	@$(BIN)/python -m benchmarks $(ARGS)

soak: $(FLYBALL) ## the long campaigns
	@echo "soak: the long campaigns"
	@$(BIN)/python -m pytest -m soak --hypothesis-profile soak $(ARGS) || { rc=$$?; [ $$rc -eq 5 ] && echo "soak: there are none yet" || exit $$rc; }

lock: $(PINS) ## pin anew what pyproject.toml asks for (ARGS=--upgrade: to the newest)
	@echo "lock: requirements/run.txt, requirements/dev.txt"
	@$(LOCK) $(ARGS) requirements/run.in --output-file requirements/run.txt
	@$(LOCK) $(ARGS) requirements/dev.in --group dev --output-file requirements/dev.txt

clean: ## remove everything made here, .venv included
	@echo "clean: .venv, build, dist, caches"
	@rm -rf $(VENV) build dist .hypothesis .benchmarks .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
	@find src tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true

$(VENV): $(FLYBALL)

# Versions and hashes only, one set for every Python from 3.11 on, and no address of any index.
LOCK = $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --fork-strategy fewest --generate-hashes \
	--no-emit-index-url --no-emit-find-links --no-header --no-annotate --no-emit-package flyball

# Wheels only: building from source would bring in what is not pinned.
$(PINS): requirements/dev.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Flyball wants Python 3.11 or newer: make PYTHON=..."; exit 1; }
	@echo "$(VENV): the pins of requirements/dev.txt"
	@$(PYTHON) -m venv --clear $(VENV)
	@$(PIP) install --require-hashes --only-binary :all: --requirement requirements/dev.txt
	@touch $@

# `pip check` finds a dependency in pyproject.toml that is not pinned: `make lock`.
$(FLYBALL): $(PINS) pyproject.toml
	@echo "$(VENV): flyball, editable"
	@$(PIP) install --no-deps --no-build-isolation --editable .
	@$(PIP) check || { echo "not pinned: run 'make lock'"; exit 1; }
	@touch $@
