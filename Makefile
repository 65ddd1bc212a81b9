# Every target sets up what it needs: a machine needs Python 3.11 or newer, make and a package registry, nothing else.
# ARGS= is handed on to the program: make demo ARGS='--exit --json'
SHELL := /bin/sh
MAKEFLAGS += --no-print-directory --no-builtin-rules
.DEFAULT_GOAL := help

BIN := .venv/bin
READY := .venv/.installed

.PHONY: help setup parts demo demo-kafka test check ci afternoons brokerless bench model simulate bugs crash chaos outage soak docs reference pictures routes histories format constraints clean lint formatted types imports style site

help: ## what can be made
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1@\2/p' Makefile | awk -F@ '{ printf "%-22s%s\n", $$1, $$2 }'

setup: $(READY) ## make .venv and install everything into it (each target below does it by itself)

demo: $(READY) ## place orders and watch them confirmed and taken back
	@$(BIN)/ordersaga demo $(ARGS)

demo-kafka: $(READY) ## the same over a real Kafka, started here
	@$(BIN)/ordersaga demo --kafka $(ARGS)

# Tests wait for servers most of their time: three processes share them, by files, on two processors.
SHARED ?= -n 3 --dist loadfile

test: parts ## the tests, in under ten minutes
	@$(BIN)/python -m pytest -m "not slow" $(SHARED) $(ARGS)

parts: $(READY) ## fetch the Apache Kafka and PostgreSQL that tests start, once; a test has no time for it
	@$(BIN)/python -m ordersaga.local.prepare

check: lint formatted types imports style site ## what is read and not run: style, types, contracts between packages, the documentation's links

ci: parts ## the longer suites: tests marked slow, simulated afternoons, planted bugs, crashes, chaos, an outage
	@$(BIN)/python -m pytest -m slow $(SHARED) --no-loadscope-reorder $(ARGS)
	@$(MAKE) -j 2 afternoons brokerless
	@echo "ci: planted bugs" && $(BIN)/python -m seeded_bugs --passed-unplanted
	@echo "ci: killed at every failpoint" && $(BIN)/python -m tests.faults.crash
	@echo "ci: five minutes of chaos" && $(BIN)/python -m tests.faults.chaos --minutes 5

# Side by side: without a broker most of the time goes in waiting, and simulated time does not care how long it takes.
afternoons: $(READY)
	@echo "ci: 5,000 simulated afternoons" && $(BIN)/python -m simulation --seeds 5000
	@echo "ci: 1,000 simulated afternoons of deliveries" && $(BIN)/python -m simulation --saga complete_order --seeds 1000

brokerless: parts
	@echo "ci: no broker for 150 s" && $(BIN)/python -m tests.faults.outage --what kafka --seconds 150

bench: $(READY) ## measure
	@$(BIN)/python -m bench $(ARGS)

model: $(READY) ## every interleaving of each saga with its participants, within bounds
	@$(BIN)/python -m ordersaga.model $(ARGS)

SEEDS ?= 1000
FIRST ?= 0
simulate: $(READY) ## SEEDS=n afternoons of everything going wrong, from seed FIRST=s (ARGS='--saga complete_order': of deliveries)
	@$(BIN)/python -m simulation --seeds $(SEEDS) --first $(FIRST) $(ARGS)

bugs: parts ## plant bugs, one at a time, and see whether anything notices
	@$(BIN)/python -m seeded_bugs $(ARGS)

crash: parts ## kill a process at every failpoint, while orders go forward, back and are retried
	@$(BIN)/python -m tests.faults.crash $(ARGS)

MINUTES ?= 5
chaos: parts ## MINUTES=n of everything breaking at random: three brokers, two of each process, one database
	@$(BIN)/python -m tests.faults.chaos --minutes $(MINUTES) $(ARGS)

outage: parts ## Kafka, PostgreSQL, or both gone for minutes while orders come in
	@$(BIN)/python -m tests.faults.outage --what kafka $(ARGS)
	@$(BIN)/python -m tests.faults.outage --what database --seconds 120 $(ARGS)
	@$(BIN)/python -m tests.faults.outage --what both --seconds 120 $(ARGS)

soak: parts ## processes are stopped and started one after the other, under load
	@$(BIN)/python -m tests.faults.storm --rolling $(ARGS)

docs: $(READY) ## the documentation as a site, into build/site; ARGS=serve shows it on this machine
	@NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs $(or $(ARGS),build)

reference: $(READY) ## write docs/reference: settings, HTTP, messages, commands as the code has them
	@$(BIN)/python -m tools.reference

pictures: $(READY) ## draw docs/what-happens-when.md from the definition and the engine's table
	@$(BIN)/python -m ordersaga.testing.pictures > docs/what-happens-when.md

routes: $(READY) ## draw docs/routes.md from the application
	@$(BIN)/python -m tests.api.route_table > docs/routes.md

histories: $(READY) ## write down what sagas decide, after a rule was changed on purpose: another release finishes what this one begins
	@$(BIN)/python -m ordersaga.testing.histories create_order tests/sagas/histories/create_order_1.jsonl.gz
	@$(BIN)/python -m ordersaga.testing.histories complete_order tests/sagas/histories/complete_order_1.jsonl.gz

format: $(READY) ## lay out the code
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

constraints: $(READY) ## write down the versions that are installed now, after changing a dependency
	@$(BIN)/python -m pip install --quiet --editable '.[dev,java,deploy]' >&2
	@$(BIN)/python -m pip freeze --exclude-editable > constraints.txt

clean: ## remove what was made here, .venv too
	@rm -rf .venv build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .cache src/*.egg-info
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

lint: $(READY)
	@echo "check: ruff" && $(BIN)/ruff check .

formatted: $(READY)
	@echo "check: ruff format" && $(BIN)/ruff format --check .

types: $(READY)
	@echo "check: mypy" && $(BIN)/mypy

imports: $(READY)
	@echo "check: import contracts" && $(BIN)/lint-imports --no-cache --no-logo

style: $(READY)
	@echo "check: house style" && $(BIN)/python -m pytest -q tests/test_house_style.py

site: $(READY)
	@echo "check: documentation" && $(MAKE) docs ARGS=build

$(READY): pyproject.toml constraints.txt tools/setup
	@tools/setup
