# Sluice: every command there is. `make` alone lists them.

PYTHON ?= python3
RUN := PYTHONPATH=.:protos/gen:clients/python .venv/bin/python

.DEFAULT_GOAL := help
.PHONY: help install up down status logs demo audit deadletters clean tools unit test test-influx2 \
  test-examples test-collector faults fuzz check wheels format generate wheel scorecard bench capacity lock

# Passes the addresses of Redis and InfluxDB of the mesh that is up.
WITH_MESH = addresses=$$($(RUN) -c 'from deploy.local.mesh import LocalMesh; \
  from deploy.local.settings import LocalSettings; settings = LocalSettings.load(); \
  mesh = LocalMesh.that_runs(settings.state) or LocalMesh(settings); \
  from shlex import quote; addresses = mesh.redis_environment() | mesh.influx_environment(); \
  print(*(f"{name}={quote(value)}" for name, value in addresses.items()))') \
  && eval "export $$addresses" && $(RUN)
SEEDS ?= 3
INPUTS ?= 10000

help: ## list these commands
	@grep -E '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z0-9-]+):.*##(.*)/  make \1	\2/' | expand -t 20

install:
	@command -v $(PYTHON) >/dev/null || { \
	  echo "There is no $(PYTHON) here: install Python 3.11 or later (or name it: make PYTHON=...)."; exit 1; }
	@$(PYTHON) -m deploy.local.bootstrap

up: install ## install what is missing and start everything
	@$(RUN) -m deploy.local up

down: install ## stop everything; data stays
	@$(RUN) -m deploy.local down

status: install ## show each program's pid, uptime and health
	@$(RUN) -m deploy.local status

logs: install ## follow all logs, or one: make logs NAME=worker
	@$(RUN) -m deploy.local logs $(NAME)

demo: install ## walk the four scenes on the running mesh
	@$(RUN) -m deploy.local demo

audit: install ## compare what was accepted with what is recorded (SINCE=12h: lately)
	@$(WITH_MESH) -m worker.reconciliation $(if $(SINCE),--since $(SINCE))

deadletters: install ## list what could not be recorded, or put it back: REPLAY=all, REPLAY="id id"
	@$(WITH_MESH) -m worker.dead_letters $(if $(REPLAY),replay $(filter-out all,$(REPLAY)),list)

clean: install ## stop everything and delete its data, logs and reports
	@$(RUN) -m deploy.local clean

tools: install ## bring grpcurl, influx, sluice-scan and buf
	@$(RUN) -m deploy.local tools

unit: install ## run the tests that need no mesh; takes a minute
	@$(RUN) -m pytest tests/unit

test: tools ## run every test, on a mesh of its own (PART=e2e: one folder of tests/)
	@$(RUN) -m pytest $(if $(PART),tests/$(PART))

# Not part of `make test`: it first builds InfluxDB 2.7, which needs Rust and clang.
test-influx2: tools ## run the end-to-end tests on InfluxDB 2.7
	@$(RUN) -m tests.e2e.influx2
	@SLUICE_E2E_INFLUX2=yes $(RUN) -m pytest tests/e2e

# Not part of `make test`: Go and Node are needed.
test-examples: tools ## build the clients in other languages and run them
	@$(RUN) -m pytest tests/e2e/examples.py

# Not part of `make test`: there is no Collector among the tools.
test-collector: tools ## send log records through an OpenTelemetry Collector (COLLECTOR=otelcol)
	@COLLECTOR=$(COLLECTOR) $(RUN) -m pytest tests/e2e/collector.py

faults: tools ## strike real meshes at random and prove nothing is lost (SEEDS=3, ROWS=name,name)
	@$(RUN) -m tests.faults --seeds $(SEEDS) $(if $(ROWS),--rows $(ROWS))

fuzz: tools ## send thousands of generated inputs to a mesh of its own (INPUTS=10000)
	@$(RUN) -m tests.fuzz --inputs $(INPUTS)

check: install ## lint, types, and the rules of the contracts
	@.venv/bin/ruff check .
	@.venv/bin/ruff format --check .
	@$(RUN) -m mypy
	@PATH="$$(.venv/bin/python -c 'from deploy.local.parts import tool; print(tool("buf").parent)'):$$PATH" \
	  .venv/bin/python protos/check.py

wheels: install ## check that every pinned package has a wheel for each Python and processor
	@$(RUN) -m deploy.wheels

format: install ## bring the code into shape
	@.venv/bin/ruff check --fix --quiet . ; .venv/bin/ruff format .

generate: install ## generate stubs and descriptor set anew
	@.venv/bin/python protos/generate.py

wheel: install ## build the Python client and its typed stubs into dist/
	@rm -rf build/wheel && mkdir -p build/wheel && cp -r protos/gen protos/pyproject.toml build/wheel
	@.venv/bin/python -m build --wheel --no-isolation --outdir dist build/wheel
	@rm -rf build/client && cp -r clients/python build/client && cp protos/gen/version.txt build/client
	@echo "sluice-protos==$$(cat protos/gen/version.txt)" > build/client/requirements.txt
	@.venv/bin/python -m build --wheel --no-isolation --outdir dist build/client

scorecard: install ## measure what detection finds and what it leaves alone
	@$(RUN) -m tests.scorecard

# The comparison takes half an hour, growth some ten minutes of its own.
bench: install ## measure Sluice beside the stack it replaces, and as it grows; takes 45 minutes
	@$(RUN) -m bench
	@$(RUN) -m bench --growth

capacity: install ## turn the measured figures into what N users need
	@$(RUN) -m bench.capacity

lock: install ## pin the requirements anew
	@uv=$$($(RUN) -c 'from deploy.local.parts import tool; print(tool("uv"))'); \
	for set in runtime dev tools; do \
	  $$uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate \
	    --no-emit-index-url --custom-compile-command 'make lock' \
	    requirements/$$set.in -o requirements/$$set.txt || exit 1; \
	done
