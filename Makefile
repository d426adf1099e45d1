# `make run` and `make test` need nothing but make, Python 3.11+ and a package index; everything is installed into .venv.
# PYTHON=python3.12 make run    chooses the interpreter that .venv is made from
# make test ARGS="-k cron"      passes options on

PYTHON ?=
ARGS ?=
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --require-virtualenv install --constraint constraints.txt
PACKAGES := shared services/submitter services/worker services/scheduler services/operator services/standalone
MANIFESTS := constraints.txt requirements.txt $(addsuffix /pyproject.toml,$(PACKAGES))

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help run test test-cluster faults images lint audit format bench bench-peers constraints clean

help: ## Show this help
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: $(VENV)/.run ## Start DTQ on this machine; data stays in ./.data, Ctrl-C stops it
	@exec $(BIN)/dtq up

test: $(VENV)/.dev ## Run every test that needs no cluster
	$(BIN)/pytest -n auto --maxprocesses 4 $(ARGS)

test-cluster: $(VENV)/.dev ## Run the tests on the cluster of KUBECONFIG; LOAD="kind load image-archive", see tools/test_cluster.sh
	@sh tools/test_cluster.sh $(BIN)/python $(ARGS)

faults: $(VENV)/.dev ## Kill, freeze and cut off everything, and check that no job is lost; DURATION=3600 for a soak
	$(BIN)/python tests/faults/faults.py $(if $(DURATION),--duration $(DURATION)) $(ARGS)

images: ## Build the container images; BASE=, TAG=, REGISTRY= and more, see tools/images.sh
	@sh tools/images.sh

lint: $(VENV)/.dev ## Check style, types and import rules
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	$(BIN)/bandit --quiet --configfile pyproject.toml --recursive shared services tools
	$(BIN)/yamllint --strict .
	$(BIN)/python tools/chart_docs.py --check
	@$(BIN)/python tools/helm.py
	@PATH="$(CURDIR)/$(BIN):$$PATH"; ! command -v helm >/dev/null || helm lint --strict --quiet charts/dtq

audit: $(VENV)/.dev ## Look for known vulnerabilities of the pinned versions; says so when nobody can be asked
	@$(PIP) --quiet --requirement requirements-audit.txt
	@$(BIN)/python tools/audit.py || [ $$? = 3 ]

format: $(VENV)/.dev ## Sort imports and format the code
	$(BIN)/ruff check --select I --fix .
	$(BIN)/ruff format .

bench: $(VENV)/.dev ## Measure speed and memory, print ratios, write benchmarks/results/
	$(BIN)/python benchmarks/run.py $(ARGS)

bench-peers: $(VENV)/.dev ## Measure DTQ beside other queues, see benchmarks/peers/README.md; ARGS="--only saq,dtq --quick"
	PYTHONPATH=benchmarks $(BIN)/python -m peers $(ARGS)

constraints: $(VENV)/.dev ## Pin the newest versions of everything in constraints.txt
	@sh tools/pin.sh $(BIN)/python

clean: ## Remove .venv and caches; keeps .data
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The editable installs are built with the pinned hatchling of .venv, not one fetched anew for each of them.
$(VENV)/.run: $(VENV)/.made $(MANIFESTS)
	@echo "Installing DTQ into $(VENV) (once; a minute or so)"
	$(PIP) hatchling editables
	$(PIP) --no-build-isolation --requirement requirements.txt
	@touch $@

$(VENV)/.dev: $(VENV)/.run requirements-dev.txt
	@echo "Installing the tools for tests and checks into $(VENV) (once)"
	$(PIP) --requirement requirements-dev.txt
	@$(BIN)/python tools/helm.py
	@touch $@

$(VENV)/.made:
	@sh tools/venv.sh $(VENV) $(PYTHON)
	@touch $@
