# The commands of the README. Everything installs into .venv, nothing else is touched.
PYTHON ?= python3
BIN = .venv/bin
.PHONY: demo real test test-cluster check format bench bench-gpu clean

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	touch $@

demo: .venv/installed  ## a whole unlearning run on a small world made here; prints the table and the report's path
	$(BIN)/nepenthe demo

real: .venv/installed  ## a real model forgets Harry Potter: fetches a model of 135 M parameters; half an hour without a GPU
	$(BIN)/nepenthe real

test: .venv/installed  ## every test but those that start servers
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder -m "not benchmark and not cluster"

test-cluster: .venv/installed  ## PostgreSQL, Prefect, workers, Ray, Slurm, S3: servers that the tests start themselves
	OMP_NUM_THREADS=1 $(BIN)/pytest -m cluster tests/cluster tests/storage

check: .venv/installed  ## format, lint, types, import contracts, fast tests
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	MYPYPATH=tests/benchmarks $(BIN)/mypy --explicit-package-bases tests/benchmarks tests/measure/whole_evaluation.py
	$(BIN)/lint-imports
	OMP_NUM_THREADS=1 $(BIN)/pytest -q -n 2 --dist loadfile --no-loadscope-reorder -m "not slow and not benchmark and not cluster"

format: .venv/installed  ## put every file into the one form
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: .venv/installed  ## the measurements behind docs/LOG.md: ratios and medians
	$(BIN)/pytest -q -s -m benchmark tests/benchmarks

bench-gpu: .venv/installed  ## the figures of one GPU, at most 8 minutes, without a network: bench-gpu.json
	$(BIN)/python tests/benchmarks/gpu.py

clean:  ## remove the environment
	rm -rf .venv
