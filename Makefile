# Everything a developer runs. `make help` lists it; nothing has to be installed beforehand
# but Python (3.11 or newer, with venv) and make.

PYTHON ?= python3
ARGS   ?=
LONG   ?=

BIN    := .venv/bin
PY     := $(BIN)/python
PYTEST := $(PY) -m pytest
STAMP  := .venv/.installed
RULES  := --include='reconciler/core/*,reconciler/controller/*' --skip-covered --show-missing --fail-under=100

.DEFAULT_GOAL := help
.PHONY: help demo test check lint types floors compose cover branches bench chaos dev clean

help: ## this list
	@echo 'celery-reconciler: the first of these installs everything it needs into .venv.'
	@echo
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-9s %s\n", $$1, $$2 }' Makefile
	@echo
	@echo 'PYTHON=python3.12 picks another Python; ARGS="-k abort -x" goes to pytest.'

demo: $(STAMP) ## a survey of the standard library on embedded servers and real workers
	@$(PY) -m reconciler.cli demo

test: $(STAMP) ## all tests but the chaos ones, three files at a time; starts the servers it needs
	@$(PYTEST) -m 'not chaos' $(if $(ARGS),,-n 3 --dist loadfile --no-loadscope-reorder) $(ARGS)

check: lint types floors compose cover ## what must be green before a commit
	@$(PY) -m coverage report $(RULES)

lint: $(STAMP) ## formatting and ruff
	@$(PY) -m ruff format --check .
	@$(PY) -m ruff check .

types: $(STAMP) ## mypy --strict
	@$(PY) -m mypy

floors: $(STAMP) ## who may import whom (import-linter)
	@$(BIN)/lint-imports --no-logo --no-cache

compose: $(STAMP) ## docker-compose.yml against the Compose schema and our rules
	@$(PYTEST) -q tests/architecture/test_compose.py

cover: $(STAMP) ## the tests of `make test`, with a report of the lines they missed
	@$(PY) -m coverage run -m pytest -m 'not chaos' $(ARGS)
	@$(PY) -m coverage report --skip-covered --show-missing

branches: $(STAMP) ## every branch of the rules is taken by the quick tests alone; a part of `make check`
	@$(PY) -m coverage run --source=reconciler.core,reconciler.controller -m pytest -q tests/unit tests/fundamentals
	@$(PY) -m coverage report $(RULES)

bench: $(STAMP) ## throughput of a fan-out and of a chain, as JSON
	@$(PY) -m benchmarks fanout --n 6000 --json
	@$(PY) -m benchmarks chain --json

chaos: $(STAMP) ## breaks real servers and workers on purpose; LONG=1 for the long rounds, one after the other
	@CHAOS_LONG=$(LONG) $(PYTEST) -m chaos -rP $(if $(LONG),,-n 4 --dist loadfile) $(ARGS)

dev: $(STAMP) ## servers and workers on this machine until Ctrl-C
	@$(PY) -m reconciler.cli dev

clean: ## removes .venv, caches and reports; keeps .reconciler, the data of `make dev`
	@rm -rf .venv build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	@rm -f .coverage .coverage.* celerybeat-schedule*
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

# --- the installation ------------------------------------------------------------------------
#
# One shell, because of the lock: descriptor 9 is pyproject.toml, flock'ed by Python (which is there;
# flock(1) is not, on a Mac). The kernel drops the lock when the last process that inherited the
# descriptor ends, so no make can leave it behind, and nobody installs beside an orphaned pip.
#
# `.venv/.installing` marks an installation under way. Found at the start, the last one was killed in
# the middle: pip would believe in half-written packages, so the folder is made anew. A failure pip
# reports itself has been rolled back, and keeps the folder (think of a laptop without network).

define LOCK
import fcntl
try:
    fcntl.flock(9, fcntl.LOCK_EX | fcntl.LOCK_NB)
except BlockingIOError:
    print("Another make is installing into .venv; waiting for it ...", flush=True)
    fcntl.flock(9, fcntl.LOCK_EX)
endef
export LOCK

$(STAMP): pyproject.toml
	@set -u; \
	stop() { echo "$$*" >&2; exit 1; }; \
	quiet() { said=$$("$$@" 2>&1) || { echo "$$said" >&2; return 1; }; }; \
	command -v '$(PYTHON)' >/dev/null \
	  || stop 'Error: $(PYTHON) is not there. Install Python 3.11 or newer, or name one: make PYTHON=/path/to/python3'; \
	'$(PYTHON)' -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || stop "Error: $$('$(PYTHON)' -V 2>&1) is too old; 3.11 or newer is needed. Name another: make PYTHON=python3.12"; \
	'$(PYTHON)' -c 'import venv, ensurepip' 2>/dev/null \
	  || stop 'Error: $(PYTHON) comes without venv or ensurepip. On Debian and Ubuntu: apt-get install python3-venv'; \
	exec 9<pyproject.toml; \
	'$(PYTHON)' -c "$$LOCK" 9<&9 || stop 'Error: cannot lock pyproject.toml.'; \
	if [ -e $(STAMP) ] && [ -z "$$(find pyproject.toml -newer $(STAMP))" ]; then exit 0; fi; \
	echo 'Installing into .venv (once, about half a minute) ...'; \
	trap 'exit 130' INT; trap 'exit 143' TERM; \
	if [ -e .venv/.installing ] || ! $(PY) -m pip --version >/dev/null 2>&1; then \
	  rm -rf .venv && mkdir .venv && : > .venv/.installing && quiet '$(PYTHON)' -m venv .venv \
	    || stop 'Error: .venv could not be made; the lines above say why.'; \
	fi; \
	: > .venv/.installing; \
	quiet $(PY) -m pip install --disable-pip-version-check --no-input --editable '.[dev]' </dev/null \
	  || { rm -f .venv/.installing; stop 'Error: the packages could not be installed; the lines above say why.'; }; \
	touch $(STAMP); \
	rm -f .venv/.installing
