# Two commands on a machine with Python 3.11+ (venv), make and the Python package index:
#   make demo [VIDEO=file]    make test
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
VIDEO ?=
OUT ?= demo

.PHONY: demo test test-mediapipe lint types bench figures drill drill-vm soak clean

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

# Schemathesis against the API of a running service; it brings much with it, so it is not of the dev extra.
fuzz-api: $(VENV)/dev-installed
	$(BIN)/python -m pip install --quiet 'schemathesis>=4.30'
	$(BIN)/python tests/fuzz_api.py

bench: $(VENV)/dev-installed
	$(BIN)/python benchmarks/throughput.py

# The figures of selection and identity, one after the other (about 20 minutes); tables in benchmarks/results.
figures: $(VENV)/dev-installed
	for part in selection cascade components identities recognition fiqa_tables; do \
		$(BIN)/python benchmarks/$$part.py || exit 1; done

# Cameras and receivers that fail on purpose (half an hour), and half an hour at load; figures in benchmarks/results.
drill: $(VENV)/dev-installed
	$(BIN)/python benchmarks/drill.py

# USB cameras and a bad network in a small virtual machine, as both need another kernel (Debian, qemu-system-x86).
drill-vm: $(VENV)/dev-installed
	$(BIN)/python benchmarks/vm_drill.py

soak: $(VENV)/dev-installed
	$(BIN)/python benchmarks/soak.py

clean:
	rm -rf $(VENV) $(MEDIAPIPE) demo
