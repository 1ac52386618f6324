# The one entry point. `make help` lists what there is.
PY := .venv/bin/python
.DEFAULT_GOAL := help
.PHONY: help up down status reset check format test unit sim fuzz histories soak conformance bench bench-scheduler types lock clean

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
	$(PY) -m pytest tests/unit tests/contracts tests/fuzz tests/scripts tests/sim -n 2 -q
	$(PY) -m pytest tests/linux -n 2 --dist loadfile -q -o faulthandler_exit_on_timeout=false
	$(PY) -m pytest tests/clients -n 2 --dist loadfile -q -o faulthandler_exit_on_timeout=false

unit: ## only the fast tests
	@tools/setup.sh test
	$(PY) -m pytest tests/unit tests/scripts -n 2 -q

fuzz: ## send hostile bodies to an API server in memory, unpack damaged images; FUZZ_BODIES=50000 FUZZ_SEED=... FUZZ_ARCHIVES=10000 say how many, and which
	@tools/setup.sh test
	FUZZ_BODIES=$(or $(FUZZ_BODIES),50000) FUZZ_SEED=$(FUZZ_SEED) $(PY) -m pytest tests/fuzz -n 2 -q -o faulthandler_timeout=3600
	FUZZ_ARCHIVES=$(or $(FUZZ_ARCHIVES),10000) $(PY) -m pytest tests/linux/test_runtime_unpack.py -k random -q -o faulthandler_timeout=3600

histories: ## check long histories of concurrent clients, and of watches; HISTORY_OPERATIONS=100000 says how long
	@tools/setup.sh test
	HISTORY_OPERATIONS=$(or $(HISTORY_OPERATIONS),100000) $(PY) -m pytest tests/contracts -n 2 -q -o faulthandler_timeout=3600

sim: ## 200 random runs of a faulty cluster, 500 random owner graphs, 100 stopped leaders; SEED=n plays one again
	@tools/setup.sh test
	$(if $(SEED),SEED=$(SEED),SEEDS=200 GRAPHS=500 LEADERS=20) $(PY) -m pytest tests/sim -n 2 -q

soak: ## nodes' agents killed 200 times, machines reset 50 times, leaders stopped 100 times, 20 rolling updates under load; KILLS=, RESETS=, PAUSES=, PODS=
	@tools/setup.sh test
	KILLS=$(or $(KILLS),200) RESETS=$(or $(RESETS),50) PAUSES=$(or $(PAUSES),100) PODS=$(or $(PODS),40) \
		$(PY) -m pytest tests/clients/test_kills.py tests/clients/test_two_leaders.py -q -o faulthandler_timeout=7200
	ROLLING_ROUNDS=20 ROLLING_ENDPOINTS=20 ROLLING_KILLS=50 POLICY_STARTS=500 \
		$(PY) -m pytest tests/clients/test_service_kinds.py tests/linux/test_network_policies.py -k 'rolling or policies or deny' \
		-q -s -o faulthandler_timeout=7200

conformance: ## upstream's own conformance suite, built from Debian's source package; FOCUS=regex for some of its tests
	@tools/setup.sh test
	@tools/conformance/run.sh $(if $(FOCUS),'$(FOCUS)')

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
