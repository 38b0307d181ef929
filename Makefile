# One command for everything. `make help` lists them; `make setup` is run by whatever needs it.

PYTHON ?= python3
SEEDS  ?= 10000
PYTEST_ARGS ?=
FARM_ARGS ?=
PEERS ?=

VENV  := .venv
BIN   := $(VENV)/bin
STAMP := $(VENV)/.stamp
LINTED = src tests tools $(wildcard bench ifarm)

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup demo farm test test-all bench peers simulate mutants lint format docs

help: ## list the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-10s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

setup: $(STAMP) ## build .venv from uv.lock (needs Python 3.11+ and pip, nothing else)

$(STAMP): pyproject.toml uv.lock tools/bootstrap.py $(wildcard */pyproject.toml)
	$(PYTHON) tools/bootstrap.py $(VENV)
	@touch $@

demo: $(STAMP) ## a farm's database dies and comes home: two real servers, a web server, its clients, explained
	$(BIN)/python ifarm/manage.py demo

farm: $(STAMP) ## start iFarm on two real servers of this machine, with a small herd; prints URL and login
	$(BIN)/python ifarm/manage.py farm

test: $(STAMP) ## run all tests but the slow ones
	$(BIN)/pytest -m "not slow" -n 2 --dist loadfile $(PYTEST_ARGS)
	$(BIN)/pytest -c ifarm/pyproject.toml -m "not slow" -n 2 --dist worksteal $(or $(FARM_ARGS),ifarm)

test-all: $(STAMP) ## run all tests
	$(BIN)/pytest $(PYTEST_ARGS)
	$(BIN)/pytest -c ifarm/pyproject.toml $(or $(FARM_ARGS),ifarm)

bench: $(STAMP) ## measure: every bench/*.py, one after another
	@set -e; for file in $(sort $(filter-out bench/_% bench/conftest.py,$(wildcard bench/*.py))); do \
	  echo "== $$file"; $(BIN)/python $$file; done

peers: $(STAMP) ## install PgBouncer, HAProxy, Chromium, PostgreSQL with contrib for tests (root, apt, mvn); PEERS=patroni for its bench
	$(BIN)/python tools/install_peers.py $(PEERS)

simulate: $(STAMP) ## random fault schedules against the promises (SEEDS=10000)
	$(BIN)/pytest tests/simulation -m "" --seeds=$(SEEDS) --timeout=0 $(PYTEST_ARGS)

mutants: $(STAMP) ## break each promise on purpose: does a test notice?
	$(BIN)/python tools/mutants.py

lint: $(STAMP) ## check format, style, types and the direction of imports
	$(BIN)/ruff format --check $(LINTED)
	$(BIN)/ruff check $(LINTED)
	$(BIN)/mypy --strict src/understudy
	$(BIN)/mypy --strict ifarm
	$(BIN)/lint-imports
	$(BIN)/python tools/check_repository.py
	$(BIN)/python tools/generate_diagram.py --check

format: $(STAMP) ## rewrite the code in the house format, fix what can be fixed safely
	$(BIN)/ruff format $(LINTED)
	$(BIN)/ruff check --fix $(LINTED)

docs: $(STAMP) ## build the documentation into build/site
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict
