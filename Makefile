# Everything that is done with this repository by hand; `make help` lists it.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
ARGS   ?=

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help install dev demo demo-down image up down scale upgrade check format test test-packages test-clouds test-sdk test-compose soak soak-resume soak-chaos soak-cluster soak-store bench debian clean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

install: $(VENV)/.installed ## make .venv with haul in it, and nothing else
	@echo "haul is $(BIN)/haul; to have it at hand:  export PATH=\"$(CURDIR)/$(BIN):\$$PATH\""

# Editable, so that the repository stays the source; only a changed pyproject.toml installs again.
$(VENV)/.installed: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "haul needs Python 3.11 or newer; try  make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	@test -x $(BIN)/pip || $(PYTHON) -m venv $(VENV) \
		|| { rm -rf $(VENV); echo "python3 cannot make environments; on Debian:  apt install python3-venv" >&2; exit 1; }
	$(BIN)/pip install --quiet --disable-pip-version-check --editable .
	@touch $@

dev: $(VENV)/.installed-dev ## the same environment with what the tests need

$(VENV)/.installed-dev: pyproject.toml $(VENV)/.installed
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

demo: $(VENV)/.installed ## start a cluster and a web server, download, read back, compare
	@$(BIN)/python deploy/demo/run.py up

demo-down: ## stop what `make demo` has started
	@if [ -x $(BIN)/python ] && [ -d .demo ]; then $(BIN)/python deploy/demo/run.py down; else echo "The demo is not running."; fi

image: $(VENV)/.installed ## build the container image; BASE_IMAGE, WHEELS, HAUL_IMAGE and ETCD_IMAGE can be set
	@PATH="$(CURDIR)/$(BIN):$$PATH" deploy/docker/build.sh

up: image ## start the cluster of docker-compose.yml: 3 etcd members, 2 proxies, 4 targets
	@$(PYTHON) deploy/compose/cluster.py up

down: ## stop it and keep its data; ARGS=--volumes removes that, too
	@$(PYTHON) deploy/compose/cluster.py down $(ARGS)

scale: ## have TARGETS=n targets in it; those too many are emptied first
	@$(PYTHON) deploy/compose/cluster.py scale $(TARGETS)

upgrade: image ## give it the present image and settings, one container after the other
	@$(PYTHON) deploy/compose/cluster.py upgrade

check: dev ## format, lint, import rules and types
	$(BIN)/ruff format --check --quiet .
	$(BIN)/ruff check --quiet .
	$(BIN)/lint-imports
	$(BIN)/mypy

format: dev ## bring all files into their form
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

test: dev test-packages ## all tests that need neither npm nor a container engine; ARGS="-k name" chooses, ARGS="-n 2 --dist loadfile" takes two files at a time
	$(BIN)/pytest $(ARGS)

test-packages:
	@deploy/debian-packages.sh deploy/debian-packages-tests.txt

test-clouds: dev ## the tests on emulators of clouds, which npm installs into .azurite once
	@command -v npm >/dev/null || deploy/debian-packages.sh deploy/debian-packages-clouds.txt
	$(BIN)/pytest tests/clouds $(ARGS)

test-sdk: dev ## AIStore's own Python SDK, which PyPI puts into .sdk once, in several versions and with PyTorch
	@deploy/debian-packages.sh deploy/debian-packages-sdk.txt
	$(BIN)/python -m tests.sdk.environments
	$(BIN)/pytest tests/sdk $(ARGS)

test-compose: dev ## build the image and pass the tests on containers; starts an engine if none answers
	@deploy/debian-packages.sh deploy/debian-packages-compose.txt
	@PATH="$(CURDIR)/$(BIN):$$PATH" PROMETHEUS_IMAGE=haul-prometheus:local deploy/docker/with-engine.sh sh -euc \
		'deploy/docker/build.sh; pytest tests/compose --timeout=600 "$$@"' pytest $(ARGS)

soak: dev ## a hundred thousand objects under random kills; takes minutes
	$(BIN)/python -m tests.crash.soak

soak-resume: dev ## 300 kills while large objects arrive; ARGS are passed on; takes ten minutes
	$(BIN)/python -m tests.crash.resume_soak $(ARGS)

soak-chaos: dev ## 50 jobs under kills, breaks, lies and storms; ARGS are passed on
	$(BIN)/python -m tests.crash.chaos $(ARGS)

soak-store: dev ## three etcds killed and paused under load for a minute; ARGS are passed on
	$(BIN)/python -m tests.metastore.nemesis $(ARGS)

soak-cluster: dev ## 20 minutes and 100,000 objects of chaos over a whole cluster on etcd; ARGS="--seed 7" repeats one
	$(BIN)/python -m tests.failover.chaos $(ARGS)

bench: dev ## measure beside curl and aria2c; ARGS are passed on
	$(BIN)/python -m bench $(ARGS)

debian: ## install the Debian packages that tests and benchmarks use, if any is missing
	@deploy/debian-packages.sh deploy/debian-packages.txt
	@deploy/debian-packages.sh deploy/debian-packages-tests.txt
	@deploy/debian-packages.sh deploy/debian-packages-compose.txt

clean: demo-down ## remove everything that can be made again, but for .venv
	rm -rf .azurite .demo .sdk build *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +
