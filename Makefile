# Everything a person does here is a target; `make help` lists them.
# Python: the system's where it is new enough, so that another user of the machine can run it too.
PYTHON ?= $(shell for p in /usr/bin/python3 python3 python3.13 python3.12 python3.11; do \
	command -v $$p >/dev/null 2>&1 && $$p -c 'import sys, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	&& echo $$p && break; done)
VENV := .venv
BIN := $(VENV)/bin
k ?=

.PHONY: help up down test lint fuzz bench soak update clean

help:  ## this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 10

$(VENV)/.installed: pyproject.toml
	@test -n "$(PYTHON)" || { echo 'cais needs Python 3.11 or newer with venv: apt-get install -y python3-venv'; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e .
	@touch $@

$(VENV)/.dev: pyproject.toml $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	@touch $@

up: $(VENV)/.installed  ## install into .venv, bring stacks/clarifai up, run its smoke flow
	@test -f stacks/clarifai/.env || cp stacks/clarifai/.env.example stacks/clarifai/.env
	cd stacks/clarifai && ../../$(BIN)/cais up -d --wait && ../../$(BIN)/python smoke.py

down: $(VENV)/.installed  ## stop what `make up` started; its data stays
	cd stacks/clarifai && ../../$(BIN)/cais down

test: $(VENV)/.dev  ## all tests; k=word picks some
	@tests/run $(if $(k),-k '$(k)')

lint: $(VENV)/.dev  ## ruff, mypy --strict, the layers
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

fuzz: $(VENV)/.dev  ## the fuzz tests longer, then invented bytes for seconds=120; an input that breaks stays as crash-*
	CAIS_EXAMPLES=$(or $(examples),5000) $(BIN)/python -m pytest -q --timeout 0 tests/load tests/source -k 'any_ or read_back'
	$(BIN)/python tests/fuzz/bytes.py -max_total_time=$(or $(seconds),120)

bench: $(VENV)/.dev  ## figures and ratios against peers, printed with the machine's load
	$(BIN)/python bench/run.py

soak: $(VENV)/.dev  ## what takes long: kills at random moments; its table is in docs/soak.md
	$(BIN)/python bench/soak.py

update: $(VENV)/.dev  ## rewrite generated pages; read the diff as you would code
	$(BIN)/python scripts/commands.py

clean:  ## remove what was built here; caches and state of stacks stay
	rm -rf crash-* timeout-* $(VENV) .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
