# Targets work on a fresh machine: each makes the virtual environment .venv and installs what it needs.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
BENCH := .venv-bench

.PHONY: demo test check lint wheel benchmark benchmark-mc benchmark-models benchmark-thermodynamics benchmark-any-order benchmark-any-cell benchmark-calibration reproduce-cuau reproduce-ising clean hardening

demo: $(VENV)/.installed
	$(BIN)/python tutorials/demo.py

test: $(VENV)/.installed-test
	$(BIN)/python -m pytest -n 2 --dist worksteal

# the quick tests, for the daily loop
check: $(VENV)/.installed-test
	$(BIN)/python -m pytest -n 2 --dist worksteal -m "not slow"

lint: $(VENV)/.installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python .ci/type_errors.py

# sdist and wheel; the wheel installed and tried outside of the checkout
wheel: $(VENV)/.installed-test
	$(BIN)/python .ci/wheel.py

# figures of docs/benchmarks.md: Monte Carlo beside its rivals, then neural sampling and the shipped models (one hour on two quiet cores)
benchmark: benchmark-mc $(VENV)/.installed-test
	$(BIN)/python -m pytest tests/benchmarks --benchmark-only --benchmark-disable-gc -s
	$(BIN)/python tests/benchmarks/shipped_models.py

# speed beside CLEASE, icet, smol and CASM in an environment of their own (icet and smol build from source: a C++ compiler),
# then the accuracy of each sampler against exact answers
benchmark-mc: $(BENCH)/.installed
	$(BENCH)/bin/python tests/benchmarks/rivals.py --output tests/benchmarks/results/rivals.json
	$(BENCH)/bin/python tests/benchmarks/ising_speed.py
	$(BENCH)/bin/python tests/benchmarks/parallel.py
	$(BENCH)/bin/python tests/benchmarks/wang_landau.py --schedules 1/t --seeds 0 1 2 3 4
	$(BENCH)/bin/python tests/benchmarks/wang_landau.py --schedules 1/t --seeds 0 1 2 3 4 --transitions
	$(BENCH)/bin/python tests/benchmarks/metadynamics.py --only small
	$(BENCH)/bin/python tests/benchmarks/mbar.py

# the paper's models: figures with a target (two hours of a core), memory and time, comparison of all at equal budgets (an hour
# and a half on two quiet cores); each goes on where it was stopped
benchmark-models: $(VENV)/.installed-test
	$(BIN)/python tests/benchmarks/paper_models.py
	$(BIN)/python tests/benchmarks/memory_time.py --figure docs/figures/memory_time.png
	$(BIN)/python tests/benchmarks/comparison.py

# observables, free energies and the CuAu phase diagram against exact and Monte Carlo values (half an hour on two quiet cores)
benchmark-thermodynamics: $(VENV)/.installed-test
	$(BIN)/python tests/benchmarks/thermodynamics.py --figures

# fixed sites, out-painting, annealed weights, block moves, and the pictures (under two hours on two quiet cores)
benchmark-any-order: $(VENV)/.installed-test
	$(BIN)/python tests/benchmarks/any_order.py
	$(BIN)/python tests/benchmarks/any_order_figures.py

# damaged files, kills, bad arguments: the tables of docs/files.md (an hour of a core)
hardening: $(VENV)/.installed-test
	$(BIN)/python tests/hardening/run.py

# z-scores of every estimator in every regime over 30 seeds (see docs/error_bars.md); goes on where it was stopped
benchmark-calibration: $(VENV)/.installed-test
	$(BIN)/python tests/benchmarks/calibration.py --markdown docs/calibration.md

# the laws of every supercell: training by data/NAME.toml (110 minutes of a core, Ising twice 95), then the tables of docs/any_cell.md for what came out
reproduce-cuau: $(VENV)/.installed-test
	$(BIN)/alloygen train cuau -o runs/cuau
	$(BIN)/python tests/benchmarks/any_cell.py runs/cuau/model.safetensors --n 1024 --forward 500

reproduce-ising: $(VENV)/.installed-test
	$(BIN)/alloygen train ising_first -o runs/ising_first
	$(BIN)/alloygen train ising -o runs/ising
	$(BIN)/python tests/benchmarks/any_cell.py runs/ising/model.safetensors --n 1024 --forward 500

# the laws that ship: the tables of docs/any_cell.md, held sites, more even weights, what 99 free energies cost, a new alloy
benchmark-any-cell: $(VENV)/.installed-test
	$(BIN)/python tests/benchmarks/any_cell.py ising --n 1024 --forward 500
	$(BIN)/python tests/benchmarks/any_cell.py cuau --n 1024 --forward 500
	$(BIN)/python tests/benchmarks/any_cell_refined.py
	$(BIN)/python tests/benchmarks/held.py
	$(BIN)/python tests/benchmarks/cost.py
	$(BIN)/python tests/benchmarks/new_alloy.py --seeds 1 2 3

$(VENV)/.installed: pyproject.toml setup.py constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet -c constraints.txt torch
	$(BIN)/python -m pip install --quiet -c constraints.txt -e .
	touch $@

$(VENV)/.installed-test: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet -c constraints.txt -e ".[dev]"
	touch $@

$(BENCH)/.installed: pyproject.toml constraints.txt tests/benchmarks/requirements.txt
	test -x $(BENCH)/bin/python || $(PYTHON) -m venv $(BENCH)
	$(BENCH)/bin/python -m pip install --quiet -c constraints.txt torch
	$(BENCH)/bin/python -m pip install --quiet -c constraints.txt -e .
	$(BENCH)/bin/python -m pip install --quiet -c constraints.txt -r tests/benchmarks/requirements.txt
	mkdir -p tests/benchmarks/results
	touch $@

clean:
	rm -rf build dist *.egg-info demo
