# make install   .venv with banguard and its extras
# make demo      the real server on real input, in a private network
# make test      the whole test suite
# make check     formatter, linter, types, import contract, tests: what CI runs
# make bench     the benchmarks, beside fail2ban where it is installed
# make deb       the Debian package, in dist/
# make wheel     the Python package, in dist/
# make fmt       format the source, and renew docs/filters.md and the list in docs/architecture.md (make docs: only that)
# make cov       the tests, with coverage
# make system    only the tests with real components
#
# Each word first sees to what it needs (tools/setup.sh). PYTHON chooses the interpreter, JOBS the test processes.

PYTHON ?= python3
JOBS ?= 2
BIN := .venv/bin
PYTEST := $(BIN)/python -m pytest -n $(JOBS)

.PHONY: install demo test check fmt cov system bench docs deb wheel

install:
	@PYTHON="$(PYTHON)" sh tools/setup.sh

demo: install
	@$(BIN)/python tools/demo.py

test: install
	@$(PYTEST)

check: install
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	@$(PYTEST)

fmt: install
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .
	@$(BIN)/python tools/architecture.py --write
	@$(BIN)/python tools/filters.py --write

cov: install
	@$(PYTEST) --cov=banguard --cov-branch --cov-report=term-missing:skip-covered

system: install
	@$(PYTEST) -m system

bench: install
	@$(BIN)/python bench/run.py

docs: install
	@$(BIN)/python tools/architecture.py --write
	@$(BIN)/python tools/filters.py --write

deb: install
	@$(BIN)/python tools/deb.py

wheel: install
	@$(BIN)/python -m pip wheel --quiet --no-deps --no-build-isolation --wheel-dir dist .
	@ls dist/*.whl
