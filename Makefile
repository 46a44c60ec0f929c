# Two commands for a newcomer: `make evaluate` and `make test`. Both set everything up first.
#
#   PYTHON=python3.12   the interpreter to build with
#   VENV=path           where the environment lies (default .venv here)

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.zifbench-ready

.PHONY: evaluate test quick-test lint bench pipeline setup clean

evaluate: setup ## score the bundled model on bundled frames it has not seen
	$(BIN)/zifbench evaluate nequip-small --out build/evaluate --overwrite

test: setup ## every test, slow ones too
	$(BIN)/python -m pytest

quick-test: setup ## without the slow tests
	$(BIN)/python -m pytest -m "not slow"

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: setup ## speed, as ratios of alternatives timed in the same run
	$(BIN)/python -m pytest benchmarks -o python_files='bench_*.py' -o python_functions='bench_*'

pipeline: setup ## pull the data and run ingest, split, train, evaluate, leaderboard (dvc.yaml)
	PATH="$(abspath $(BIN)):$$PATH" dvc pull
	PATH="$(abspath $(BIN)):$$PATH" dvc repro

setup: $(READY)

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "zifbench needs Python 3.11 or newer; set PYTHON=python3.12, say" >&2; exit 2; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[nequip,dev]'
	touch $(READY)

clean:
	rm -rf .venv build
