# Two commands do everything: `make up` and `make test`. They need Python 3.11 and make, nothing else.

PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
ARGS ?=
TESTS ?= tests
ROUNDS ?= 1
MINUTES ?= 60
SEED ?=

.PHONY: up down venv test lint legacy-suite faults nemesis bench lock clean

up: $(VENV)/.standalone  ## start everything, with demo schedules, and wait until it is ready
	$(BIN)/python manage.py up --demo $(ARGS)

down: $(VENV)/.standalone  ## stop what `make up` started
	$(BIN)/python manage.py down

venv: $(VENV)/.standalone  ## just make the virtual environment

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.standalone: requirements/standalone.txt | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/standalone.txt
	@touch $@

$(VENV)/.dev: requirements/dev.txt | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
	@touch $@ $(VENV)/.standalone

test: $(VENV)/.dev  ## every test, on servers of its own
	@sh tests/browser/install-chromium.sh
	@sh tests/broker/fetch-redis.sh $(VENV)/redis-server
	$(BIN)/python -m pytest -n 2 --dist loadfile $(TESTS) $(ARGS)

lint: $(VENV)/.dev  ## style, types, import rules
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	SECRET_KEY=lint $(BIN)/mypy .
	SECRET_KEY=lint $(BIN)/lint-imports

legacy-suite: $(VENV)/.dev  ## django-celery-beat's own tests; fetches its source from the package index
	$(BIN)/python tests/legacy_suite/run.py $(ARGS)

faults: $(VENV)/.dev  ## the 25 faults at full size, ROUNDS times, and a table
	$(BIN)/python -m tests.faults --rounds $(ROUNDS) $(ARGS)

nemesis: $(VENV)/.dev  ## MINUTES of random faults; the same SEED gives the same plan
	$(BIN)/python -m tests.faults.nemesis --minutes $(MINUTES) $(if $(SEED),--seed $(SEED)) $(ARGS)

bench: $(VENV)/.dev  ## what the README claims about speed
	$(BIN)/python -m benchmarks $(ARGS)

lock: $(VENV)/.dev  ## resolve the dependencies anew; needs uv
	uv pip compile pyproject.toml --generate-hashes --no-emit-index-url --no-header --python-version 3.11 -q -o requirements/base.txt
	uv pip compile pyproject.toml --extra standalone --generate-hashes --no-emit-index-url --no-header --python-version 3.11 -q -o requirements/standalone.txt
	uv pip compile pyproject.toml --extra standalone --extra dev --generate-hashes --no-emit-index-url --no-header --python-version 3.11 -q -o requirements/dev.txt
	for peers in celery procrastinate apscheduler; do \
	    uv pip compile requirements/bench/$$peers.in --generate-hashes --no-emit-index-url --no-header \
	        --python-version 3.11 -q -o requirements/bench/$$peers.txt || exit 1; done

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis
