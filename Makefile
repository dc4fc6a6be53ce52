# Targets work on a fresh machine: each makes the virtual environment .venv and installs what it needs.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test lint benchmark clean

demo: $(VENV)/.installed
	$(BIN)/python tutorials/demo.py

test: $(VENV)/.installed-test
	$(BIN)/python -m pytest

lint: $(VENV)/.installed-test
	$(BIN)/ruff check .

# figures of the README: speed beside CLEASE, then the shipped models over the whole grid
benchmark: $(VENV)/.installed-test
	$(BIN)/python -m pytest tests/benchmarks --benchmark-only --benchmark-disable-gc -s
	$(BIN)/python tests/benchmarks/shipped_models.py

$(VENV)/.installed: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet -c constraints.txt torch
	$(BIN)/python -m pip install --quiet -c constraints.txt -e .
	touch $@

$(VENV)/.installed-test: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet -c constraints.txt -e ".[dev]"
	touch $@

clean:
	rm -rf build dist *.egg-info demo
