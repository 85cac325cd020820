# Two commands on a machine with Python 3.11+ (venv), make and the Python package index:
#   make demo [VIDEO=file]    make test
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
VIDEO ?=
OUT ?= demo

.PHONY: demo test lint types bench clean

$(BIN)/facesieve: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable .
	@touch $@

demo: $(BIN)/facesieve
	@video="$(VIDEO)"; \
	[ -n "$$video" ] || video="$$($(BIN)/facesieve models pull sample-clip --print-path)"; \
	$(BIN)/facesieve run "$$video" --out $(OUT) --overwrite

$(VENV)/dev-installed: pyproject.toml constraints.txt $(BIN)/facesieve
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev,fiqa]'
	@touch $@

test: $(VENV)/dev-installed
	$(BIN)/python -m pytest

lint: $(VENV)/dev-installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/dev-installed
	$(BIN)/mypy -p facesieve

bench: $(VENV)/dev-installed
	$(BIN)/python benchmarks/throughput.py

clean:
	rm -rf $(VENV) demo
