# Every target makes what it needs; `make` alone lists them. A fresh clone wants python3 (3.11 or newer),
# make, and a package index that pip reaches.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip --disable-pip-version-check --quiet

# What `make run` shows: a governed fleet under load, as a page on this machine.
RUN     ?= live day --speed 120 --ledger build/ledger.sqlite
# More for pytest (`make test ARGS="-k queue"`), for the pins (`make lock ARGS=--upgrade`), for `make cluster-up`.
ARGS    ?=
# Seconds that `make test` gives to building KEDA: ten minutes, if nothing of it was compiled before.
KEDA_LIMIT ?= 300
# The image that is built, pushed and deployed; which overlay of deploy/operator, with which components ("wva monitoring").
IMG     ?= flyball:$(VERSION)
OVERLAY ?= recommend-only
WITH    ?=
# Of one's own; left out, that of PATH or the sandbox's (deploy/kubectl), and whichever is there.
KUBECTL ?=
DOCKER  ?= $(firstword $(foreach tool,docker podman,$(shell command -v $(tool) 2>/dev/null)))

VERSION := $(shell sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
PINS    := $(VENV)/.pins
FLYBALL := $(VENV)/.flyball

.DEFAULT_GOAL := help
.PHONY: help run run-kubernetes test chromium sandbox-tools prometheus test-fast check bench soak lock clean $(VENV) \
	install uninstall deploy undeploy build-installer docker-build docker-push cluster-up cluster-down
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z][a-z-]*:.*## / { printf "  make %-15s %s\n", $$1, $$2 }' Makefile

run: $(FLYBALL) ## govern a simulated fleet, and show it on a page
	@mkdir -p build
	@$(BIN)/flyball $(RUN)

run-kubernetes: $(FLYBALL) prometheus ## govern a Kubernetes with engines under load, on this machine
	@$(BIN)/flyball sandbox demo $(ARGS)

# Some hundred processes of Flyball: compiled once, and not by each, whatever the environment says.
test: export PYTHONDONTWRITEBYTECODE =
test: $(FLYBALL) chromium sandbox-tools ## the whole suite, as in CI (all but the soak runs)
	@echo "test: the whole suite"
	@$(BIN)/python -m pytest -m "not soak" --durations 25 --durations-min 5 $(ARGS)

chromium: # what the page's plots are tested in; Debian's, where we may install it
	@command -v chromium >/dev/null || { \
	  if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	    echo "test: installing chromium"; \
	    apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium >/dev/null 2>&1; \
	  fi; } || echo "test: no chromium here: plots are not tested in a browser"

sandbox-tools: $(FLYBALL) prometheus # the Kubernetes, Helm and KEDA of the system tests, built once per user
	@$(BIN)/flyball sandbox build kubernetes kwok helm >/dev/null
	@limit=; ! command -v timeout >/dev/null || limit="timeout $(KEDA_LIMIT)"; \
	$$limit $(BIN)/flyball sandbox build keda >/dev/null || \
	  echo "sandbox: KEDA is not built (within $(KEDA_LIMIT) s): its tests are left out; the next time goes on from here"

prometheus: # Debian's, with Alertmanager and promtool, where we may install it
	@have() { command -v prometheus >/dev/null && command -v prometheus-alertmanager >/dev/null; }; \
	if ! have && [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	  echo "sandbox: installing prometheus, prometheus-alertmanager"; \
	  apt-get update -qq && apt-get install -y -qq --no-install-recommends prometheus prometheus-alertmanager >/dev/null 2>&1; \
	fi; \
	have || echo "sandbox: no prometheus and prometheus-alertmanager here: what needs them is left out"

test-fast: $(FLYBALL) ## the suite without what takes seconds
	@echo "test-fast: without slow and soak"
	@$(BIN)/python -m pytest -m "not slow and not soak" $(ARGS)

check: $(FLYBALL) ## format, lint, types, who imports whom, and the image's steps
	@echo "check: format"
	@$(BIN)/ruff format --check --quiet --output-format concise . || { echo "to format them: $(BIN)/ruff format ."; exit 1; }
	@echo "check: lint"
	@$(BIN)/ruff check --quiet --output-format concise .
	@echo "check: types"
	@$(BIN)/mypy --no-error-summary
	@echo "check: imports"
	@out=$$($(BIN)/lint-imports --no-logo) || { echo "$$out"; exit 1; }
	@echo "check: image"
	@$(BIN)/hadolint deploy/Dockerfile

# ---- in a cluster --------------------------------------------------------------------------------

KUBE     = KUBECTL="$(KUBECTL)" deploy/kubectl
GENERATE = KUBECTL="$(KUBECTL)" $(BIN)/python deploy/operator/generate.py
MANIFESTS = $(GENERATE) show $(OVERLAY) --image $(IMG) $(foreach one,$(WITH),--with $(one))

install: $(FLYBALL) ## put Flyball's kinds (CRDs) into the cluster of KUBECONFIG
	@$(KUBE) apply -k deploy/crds

uninstall: $(FLYBALL) ## take the kinds out again, and with them every object of them
	@$(KUBE) delete --ignore-not-found -k deploy/crds

deploy: $(FLYBALL) ## deploy the operator (IMG=..., OVERLAY=recommend-only, cluster or one-namespace)
	@made=$$($(MANIFESTS)) && printf '%s\n' "$$made" | $(KUBE) apply -f -

undeploy: $(FLYBALL) ## take the operator out again; the kinds and their objects stay
	@made=$$($(MANIFESTS) --without-crds) && printf '%s\n' "$$made" | $(KUBE) delete --ignore-not-found -f -

build-installer: $(FLYBALL) ## write dist/install.yaml, dist/chart and manifests/yamls/deploy.yaml for IMG
	@$(GENERATE) write --image $(IMG)

docker-build: ## build the image IMG
	@test -n "$(DOCKER)" || { echo "docker-build: neither docker nor podman is here: install one, or say DOCKER=..."; exit 1; }
	@$(DOCKER) build -f deploy/Dockerfile -t $(IMG) .

docker-push: ## push the image IMG to its registry
	@test -n "$(DOCKER)" || { echo "docker-push: neither docker nor podman is here: install one, or say DOCKER=..."; exit 1; }
	@$(DOCKER) push $(IMG)

cluster-up: $(FLYBALL) ## start a Kubernetes on this machine (flyball sandbox up)
	@$(BIN)/flyball sandbox up --detach $(ARGS)

cluster-down: $(FLYBALL) ## end it
	@$(BIN)/flyball sandbox down $(ARGS)

# --------------------------------------------------------------------------------------------------

bench: $(FLYBALL) ## time the problems x sizes beside the reference
	@$(BIN)/python -m benchmarks $(ARGS)

soak: $(FLYBALL) ## the long campaigns
	@echo "soak: the long campaigns"
	@$(BIN)/python -m pytest -m soak --hypothesis-profile soak $(ARGS) || { rc=$$?; [ $$rc -eq 5 ] && echo "soak: there are none yet" || exit $$rc; }

lock: $(PINS) ## pin anew what pyproject.toml asks for (ARGS=--upgrade: to the newest)
	@echo "lock: requirements/run.txt, dev.txt, build.txt"
	@$(LOCK) $(ARGS) requirements/run.in --output-file requirements/run.txt
	@$(LOCK) $(ARGS) requirements/dev.in --group dev --output-file requirements/dev.txt
	@$(LOCK) requirements/build.in --constraint requirements/dev.txt --output-file requirements/build.txt

clean: ## remove everything made here, .venv included
	@echo "clean: .venv, build, packages in dist, caches"
	@rm -rf $(VENV) build dist/*.whl dist/*.tar.gz .hypothesis .benchmarks .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
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
