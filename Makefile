# The task runner: `make demo` and `make test` set up everything they need in .venv and nothing outside it.
# PYTHON chooses the interpreter (3.10 to 3.13), VENV the environment.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.installed
DEV := $(VENV)/.installed-dev
PIP := $(BIN)/python -m pip --disable-pip-version-check
PROJECTS := pyproject.toml export/pyproject.toml runtime/pyproject.toml

.PHONY: demo test lint format types wheels bench clean help

help:
	@echo "make demo    export a backbone, enrol good solar cells, find the broken ones; opens with a report"
	@echo "make test    run the tests"
	@echo "make lint    ruff, mypy --strict and the import rules"
	@echo "make wheels  build the three wheels into dist/"
	@echo "make bench   measure edgead beside others on this machine, and how it grows: docs/benchmarks.md"

$(READY): $(PROJECTS) constraints/dev.txt
	@echo "Setting up $(VENV): about 1.5 GB with a CPU build of torch, several more with a CUDA one"
	$(PYTHON) -m venv $(VENV)
	$(PIP) install --quiet --upgrade pip
	$(PIP) install --quiet -c constraints/dev.txt -e "./runtime[cpu,openvino]" -e ./export -e .
	@touch $@

$(DEV): $(READY)
	$(PIP) install --quiet -c constraints/dev.txt --group dev
	@touch $@

demo: $(READY)
	$(BIN)/edgead demo

test: $(DEV)
	$(BIN)/python -m pytest -n 2 --dist loadfile --max-worker-restart 0

lint: $(DEV)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(DEV)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

wheels: $(DEV)
	rm -rf dist
	for project in runtime export .; do \
		$(BIN)/python -m build --quiet --wheel --outdir dist $$project || exit 1; \
	done

bench: $(DEV)
	$(BIN)/python -m benchmarks.all $(BENCH)
	$(BIN)/python -m benchmarks.footprint

clean:
	rm -rf $(VENV) dist edgead-demo
