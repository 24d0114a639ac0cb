# Every verb makes what it needs first; the work is in scripts/. `make help` lists them.
MAKEFLAGS += --no-print-directory
ROOMS := src tests $(wildcard demo bench)
ARGS :=
SEEDS := 30000
# Environments of clients that cannot share ours: they install into the same packages.
OTHERS := $(patsubst %,.venv-%/.stamp,mainland tccli tccli-intl alibaba)
BENCHES = $(basename $(notdir $(shell grep -l '^def main' bench/*.py)))

.DEFAULT_GOAL := help
.PHONY: help setup system demo test check format lock coverage bench soak clean

help: ## Show this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 10

setup: .venv/.stamp ## Make .venv with everything pinned in requirements.lock, and penstock in it
	@:
.venv/.stamp: requirements.lock pyproject.toml scripts/setup
	@scripts/setup
.venv-%/.stamp: .venv/.stamp requirements-%.lock
	@scripts/setup $*

system: ## Install the real peers and tools that tests need, with apt (as root)
	@scripts/system

demo: setup ## Start Penstock, relay a live test stream, break it twice, and watch it recover
	@.venv/bin/python demo/relay.py $(ARGS)

test: setup $(OTHERS) ## Run the tests; ARGS="-k name" chooses
	@[ "$$(id -u)" != 0 ] || scripts/system || echo "make test: going on without them" >&2
	@scripts/clients || echo "make test: going on without these clients" >&2
	@.venv/bin/python -m pytest -n 2 --dist loadgroup $(ARGS)

check: setup ## Lint, check the format, and check the types
	@.venv/bin/ruff check $(ROOMS)
	@.venv/bin/ruff format --check $(ROOMS)
	@.venv/bin/mypy $(ROOMS)

format: setup ## Mend what ruff can mend by itself
	@.venv/bin/ruff check --fix-only $(ROOMS)
	@.venv/bin/ruff format $(ROOMS)

lock: setup ## Make the locks again from pyproject.toml; ARGS=--upgrade for newer versions
	@scripts/lock $(ARGS)

coverage: setup .venv-mainland/.stamp .venv-alibaba/.stamp ## Write docs/coverage.md anew, from the schemas and from what the tests prove
	@scripts/coverage

bench: setup ## Measure, some of it against real peers; ARGS=name chooses one
	@for name in $(or $(ARGS),$(BENCHES)); do \
		printf '\n==> %s\n' $$name; .venv/bin/python -m bench.$$name || failed=yes; \
	done; [ -z "$$failed" ]

soak: setup $(OTHERS) ## Run for hours under faults: the tests marked soak, then SEEDS scenarios of the simulation
	@.venv/bin/python -m pytest -m soak $(ARGS)
	@.venv/bin/python -m pytest -n 2 tests/sim --seeds $(SEEDS)

clean: ## Remove the environments and caches
	@rm -rf .venv .venv-* .clients .bench .mypy_cache .pytest_cache .ruff_cache .hypothesis
	@find src tests $(wildcard demo bench) -name __pycache__ -type d -prune -exec rm -rf {} +
