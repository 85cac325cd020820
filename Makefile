# Two commands on a machine with Python 3.11+ (venv), make and the Python package index:
#   make demo [VIDEO=file]    make test
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
VIDEO ?=
OUT ?= demo

.PHONY: demo test test-mediapipe lint types bench drill soak clean

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

# MediaPipe brings an OpenCV that clashes with ours, so what needs it runs in an environment of its own.
MEDIAPIPE = $(VENV)-mediapipe
$(MEDIAPIPE)/installed: pyproject.toml
	$(PYTHON) -m venv $(MEDIAPIPE)
	$(MEDIAPIPE)/bin/python -m pip install --quiet 'mediapipe>=1' av onnx onnxruntime openvino platformdirs \
		pytest pytest-timeout hypothesis pydantic typer rich lapx
	@touch $@

test-mediapipe: $(MEDIAPIPE)/installed $(VENV)/dev-installed
	$(MEDIAPIPE)/bin/python -m pytest tests/engines/models/test_mediapipe.py
	FACESIEVE_MEDIAPIPE_PYTHON="$$(realpath -s $(MEDIAPIPE)/bin/python)" $(BIN)/python -m pytest tests/engines/models/test_blazeface.py

lint: $(VENV)/dev-installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/dev-installed
	$(BIN)/mypy -p facesieve

bench: $(VENV)/dev-installed
	$(BIN)/python benchmarks/throughput.py

# Cameras and receivers that fail on purpose (half an hour), and half an hour at load; figures in benchmarks/results.
drill: $(VENV)/dev-installed
	$(BIN)/python benchmarks/drill.py

soak: $(VENV)/dev-installed
	$(BIN)/python benchmarks/soak.py

clean:
	rm -rf $(VENV) $(MEDIAPIPE) demo
