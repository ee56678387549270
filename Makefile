# `make demo` and `make test` set up everything they need in .venv and then do their work.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP_INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

.PHONY: demo test check lint format bench random-tiny lock clean

demo: $(VENV)/.demo
	mkdir -p out
	$(BIN)/cuestream score examples/big-buck-bunny.mp4 -o out/demo.mp4 --timeline out/demo.jsonl --plot out/demo.png

test: $(VENV)/.dev
	$(BIN)/python -m pytest

# Everything that CI checks: format, lint, types, tests.
check: lint test

lint: $(VENV)/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: $(VENV)/.dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(VENV)/.dev
	$(BIN)/python -m benchmarks.step
	$(BIN)/python -m benchmarks.score

# The model that ships with the repository, made again from its seed.
random-tiny: $(VENV)/.dev
	$(BIN)/cuestream random tiny -o models/random-tiny

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Cuestream needs Python 3.11 or later")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.demo: $(BIN)/python pyproject.toml constraints.txt
	$(PIP_INSTALL) -e '.[cpu,plot]'
	touch $@

$(VENV)/.dev: $(BIN)/python pyproject.toml constraints.txt
	$(PIP_INSTALL) -e '.[cpu,plot,export,dev]'
	touch $@ $(VENV)/.demo

# The newest versions that pyproject.toml allows; local build tags are cut off.
lock: $(BIN)/python
	$(BIN)/python -m pip install --quiet --upgrade -e '.[cpu,plot,export,dev]'
	(head -n 1 constraints.txt; $(BIN)/python -m pip list --format=freeze \
	    | sed 's/+cpu//' | grep -viE '^(pip|cuestream|setuptools)=' | sort -f) > constraints.new
	mv constraints.new constraints.txt

clean:
	rm -rf $(VENV) out
