# The one entry point. `make help` lists what there is.
PY := .venv/bin/python
.DEFAULT_GOAL := help
.PHONY: help up down status reset check format test unit bench bench-scheduler types lock clean

help: ## list these targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-15s %s\n", $$1, $$2}'

up: ## set up whatever is missing and start the cluster of this machine
	@tools/setup.sh up
	@.venv/bin/kybern up $(ARGS)

down: ## stop it and leave nothing behind but its data
	@.venv/bin/kybern down $(ARGS)

status: ## say what runs
	@.venv/bin/kybern status $(ARGS)

reset: ## stop it and delete its data
	@.venv/bin/kybern reset $(ARGS)

check: ## style, types and layers
	@tools/setup.sh test
	.venv/bin/ruff check src tests tools
	.venv/bin/ruff format --check src tests tools
	.venv/bin/mypy
	.venv/bin/lint-imports

test: check ## everything this machine can run: checks, then every test
	$(PY) -m pytest tests/unit tests/contracts tests/scripts tests/sim -n 2 -q
	$(PY) -m pytest tests/linux tests/clients -q -o faulthandler_exit_on_timeout=false

unit: ## only the fast tests
	@tools/setup.sh test
	$(PY) -m pytest tests/unit tests/scripts -n 2 -q

bench: ## measure against DESIGN's budgets; AGAINST=https://host:port TOKEN=... measures another API server
	@tools/setup.sh test
	@.venv/bin/kybern bench $(if $(AGAINST),--against $(AGAINST) --token $(TOKEN)) $(ARGS)

bench-scheduler: ## the scheduler alone on 5,000 nodes, against the gates of upstream's own benchmark
	@tools/setup.sh test
	@$(PY) tools/bench_scheduler.py $(ARGS)

format: ## rewrite the code in the project's style
	.venv/bin/ruff check --fix src tests tools
	.venv/bin/ruff format src tests tools

types: ## generate the API types again
	@tools/setup.sh test
	$(PY) tools/generate_types.py

lock: ## choose dependency versions again
	@tools/lock.sh

clean: ## forget the virtual environment and caches
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
