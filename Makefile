# Every target sets up what it needs in .venv; only Python >= 3.11, pip and make have to be there.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready
DEV    := $(VENV)/.ready-dev
DOCS   := $(VENV)/.ready-docs
PIP    := $(BIN)/python -m pip --disable-pip-version-check --quiet

.DEFAULT_GOAL := help
.PHONY: help bench test test-fast test-slow test-engines lint type docs pages throughput lock clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

bench: $(READY) ## Train BC and MOPO on hopper; write the table, the curves and the report to results/bench
	$(BIN)/offline-mbrl sweep experiments/bench.toml --out results/bench
	$(BIN)/offline-mbrl report results/bench --out results/bench/report.html

# Nearly all that tests compile runs for an instant, so LLVM does not optimize it: that halves what compiling costs.
test test-fast: export XLA_FLAGS := --xla_backend_optimization_level=0 $(XLA_FLAGS)

# The medium tests of a file share a process, and so what one of them compiled.
test: $(DEV) ## All tests but the slow ones, the fastest first
	$(BIN)/python -m pytest -n auto -m "not medium and not slow"
	$(BIN)/python -m pytest -n auto -m "medium and not slow" --dist loadfile

test-fast: $(DEV) ## The quick tests of the spine; stops at the first failure
	$(BIN)/python -m pytest -n auto -x -m "not medium and not slow and not gpu"

test-slow: $(DEV) ## Only the slow tests
	$(BIN)/python -m pytest -n auto -m slow

test-engines: $(DEV) ## Sweeps on two Ray nodes and a two-node Slurm on this host, with workers and nodes lost
	$(BIN)/python -m pytest -p no:xdist tests/launch/test_executors.py

lint: $(DEV) ## Check rules and format with ruff
	$(BIN)/python -m ruff check .
	$(BIN)/python -m ruff format --check .

type: $(DEV) ## Check types with mypy (strict)
	$(BIN)/python -m mypy

pages: $(READY) ## Write docs/algorithms anew from systems and presets, docs/reproduction.md and docs/anchors.md from the records
	$(BIN)/python -m offline_mbrl.algorithms.describe --docs docs/algorithms
	$(BIN)/python -m offline_mbrl.launch.reproduction experiments/results docs

# The variable silences an advertisement for the tool's successor.
docs: $(DOCS) ## Build the documentation site into site/; a broken link or name fails
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict
	@echo "open site/index.html"

throughput: $(READY) ## Measure updates, rollouts and evaluation steps per second
	$(BIN)/python benchmarks/throughput.py

COMPILE = $(BIN)/uv pip compile --quiet --universal --no-header --no-annotate --python-version 3.11 pyproject.toml

lock: $(DEV) ## Choose the newest allowed versions anew and write them to requirements/
	$(PIP) install uv
	$(COMPILE) --upgrade --extra report --output-file requirements/lock.txt
	$(COMPILE) --upgrade --extra dev --constraint requirements/lock.txt --output-file requirements/lock-dev.txt
	$(COMPILE) --upgrade --extra docs --constraint requirements/lock-dev.txt --output-file requirements/lock-docs.txt

clean: ## Remove the environment, the caches and what was built; results stay
	rm -rf $(VENV) build dist site .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# --without-pip is for systems whose Python comes without ensurepip.
$(VENV)/.created:
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' 2>/dev/null || { \
	  echo "$(PYTHON) is not Python 3.11, 3.12 or 3.13; name one that is: make $(MAKECMDGOALS) PYTHON=python3.12" >&2; exit 1; }
	@echo "Setting up $(VENV) (about a minute) ..."
	@$(PYTHON) -m venv $(VENV) 2>/dev/null || { \
	  $(PYTHON) -m venv --clear --without-pip $(VENV) && $(PYTHON) -m pip --python $(BIN)/python install --quiet pip; }
	@touch $@

$(READY): $(VENV)/.created requirements/lock.txt pyproject.toml
	$(PIP) install -r requirements/lock.txt
	$(PIP) install --no-deps -e .
	@touch $@

$(DEV): $(READY) requirements/lock-dev.txt
	$(PIP) install -r requirements/lock-dev.txt
	@touch $@

$(DOCS): $(READY) requirements/lock-docs.txt
	$(PIP) install -r requirements/lock-docs.txt
	@touch $@
