# Thin targets; `make` alone lists them.
VENV := .venv
BIN := $(VENV)/bin
# The first Python that is new enough; looked for only when the environment has to be made.
find_python = $(or $(PYTHON),$(firstword $(foreach name,python3 python3.14 python3.13 python3.12 python3.11 python, \
	$(shell $(name) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $(name)))))
LOCK := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--no-annotate --no-header
UPGRADE ?= --upgrade

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help setup run test lint types imports suite lock settings peers bench plots chaos killpoints clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{split($$1, name, ":"); printf "  %-10s %s\n", name[1], $$2}'

$(VENV)/.ready: requirements.lock pyproject.toml
	@test -n "$(find_python)" || { echo "Darkroom needs Python 3.11 or newer; set PYTHON=/path/to/python3" >&2; exit 1; }
	@echo "Setting up $(VENV) with everything pinned; this takes a minute or two, once."
	@$(BIN)/python -c 'import pip, ssl' 2>/dev/null || $(find_python) -m venv --clear $(VENV)
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --no-compile --require-hashes -r requirements.lock
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --no-deps --no-build-isolation -e .
	@$(BIN)/python -m compileall -q -j 0 $(VENV)/lib || true # only makes every start faster
	@touch $@

setup: $(VENV)/.ready ## make .venv with everything pinned
	@echo "$(VENV) is ready."

run: $(VENV)/.ready ## run the whole service (simulated upstream unless WAVESPEED_API_KEY is set)
	@$(BIN)/darkroom up

test: $(VENV)/.ready lint types imports suite ## lint, types, import rules and the whole test suite, as CI does

lint: $(VENV)/.ready ## style of the code
	@$(BIN)/ruff check --quiet .
	@$(BIN)/ruff format --quiet --check . || { $(BIN)/ruff format --check .; exit 1; }

types: $(VENV)/.ready ## types of the code
	@$(BIN)/mypy

imports: $(VENV)/.ready ## who may import whom
	@$(BIN)/lint-imports

suite: $(VENV)/.ready
	@$(BIN)/pytest -n 3 --dist loadfile $(PYTEST_ARGS)

.venv-peers/.ready: bench/peers/requirements.lock
	@echo "Setting up .venv-peers with what the benchmarks compare with."
	@$(find_python) -m venv --clear .venv-peers
	@.venv-peers/bin/python -m pip install -qq --disable-pip-version-check --require-hashes -r bench/peers/requirements.lock
	@touch $@

peers: .venv-peers/.ready ## make the environment of those whom the benchmarks compare with

bench: $(VENV)/.ready .venv-peers/.ready ## run the benchmarks; the table goes to bench/results/
	@$(BIN)/python -m bench
	@.venv-peers/bin/python -m bench.plots

plots: .venv-peers/.ready ## draw docs/load.svg from bench/results/curve.json
	@.venv-peers/bin/python -m bench.plots

chaos: $(VENV)/.ready ## kill everything at random for minutes and judge what is left (CHAOS_ARGS="--seed 1 --seed 2")
	@$(BIN)/python -m tests.chaos.storm $(CHAOS_ARGS)

killpoints: $(VENV)/.ready ## kill at every point of a job's and a batch's way, TIMES= each (5); the table goes to bench/results/
	@$(BIN)/python -m tests.chaos.kill.killpoints --times $(or $(TIMES),5)

settings: $(VENV)/.ready ## write docs/settings.md and .env.example from the settings classes
	@$(BIN)/python -m deploy.settings_reference

lock: $(VENV)/.ready ## renew the locks from pyproject.toml (UPGRADE= keeps what is pinned)
	$(LOCK) $(UPGRADE) --all-extras pyproject.toml -o requirements.lock
	$(LOCK) --extra server --extra simulator -c requirements.lock pyproject.toml -o deploy/requirements-server.lock
	$(LOCK) $(UPGRADE) bench/peers/requirements.in -o bench/peers/requirements.lock
	echo hatchling | $(LOCK) -c requirements.lock - -o deploy/requirements-build.lock

clean: ## remove what can be made again; your jobs and keys in .darkroom stay
	@rm -rf $(VENV) .venv-peers .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis dist
