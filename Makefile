# Everything that a clone needs; see README.md. Environments are made inside the clone.
PYTHON ?= python3
VENV := .venv
OLD := .venv-tflite-2.14
BIN := $(VENV)/bin
OUT := models/out
# Two workers of one thread each; what one has left the other takes over.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal --durations 10
BOARD := tests/harness/test_virtual_board.py
export FCA_EDGE_TFLITE_214 := $(CURDIR)/$(OLD)/bin/python

.PHONY: demo train-l1 test test-slow test-board test-docker gate lint bench clean setup

setup: $(VENV)/.done $(OLD)/.done

$(VENV)/.done: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

$(OLD)/.done: $(VENV)/.done
	$(BIN)/fca-edge targets setup local
	touch $@

# The main job on real input: a trained FcaFormer, proven, measured beside its rivals.
demo: setup
	$(BIN)/python models/digits/split.py $(OUT)/digits-images
	$(BIN)/fca-edge export --checkpoint models/digits/digits.safetensors \
	    --profile modern,tflite-2.14 --images $(OUT)/digits-images/test --out $(OUT) --force
	$(BIN)/python bench/digits_accuracy.py --out $(OUT) --images $(OUT)/digits-images/test
	$(BIN)/fca-edge bench $(OUT)/digits-fp32.onnx $(OUT)/digits-fp32.tflite \
	    --suite quick --threads 2 --out $(OUT)/suite

# Weights of real width, to judge int8 on: an FcaFormer-L1 at 64 px on the digits, 25 MB, not
# committed. About nine minutes of one core; one thread, so that sums have one order.
train-l1: setup
	$(BIN)/python models/digits/split.py $(OUT)/digits-images
	OMP_NUM_THREADS=1 $(BIN)/python models/digits/train.py $(OUT)/digits-images \
	    --variant l1 --img-size 64 --epochs 12 --batch 32 --peak-rate 1e-3 --layer-scale 0.1 \
	    --out $(OUT)/l1-digits.safetensors

test: setup
	$(PYTEST)

test-slow: setup
	$(PYTEST) -m slow --ignore=tests/docker --ignore=$(BOARD)

# The SSH target on a whole emulated ARM machine: every way to fail, in ten minutes of two cores.
test-board: setup
	$(BIN)/python -m pytest -m slow $(BOARD)

# Builds the images for real: root on a Debian machine, no engine. Installs what that needs.
test-docker: setup
	docker/tools.sh
	$(BIN)/python -m pytest -m 'slow or not slow' tests/docker

lint: $(VENV)/.done
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# Deterministic costs on emulated ARM against bench/baselines: fails when a change makes one worse.
gate: setup
	$(BIN)/python bench/gate.py

# What the project promises, measured: exactness, parity, graphs, latency, cost of an export.
bench: setup
	$(BIN)/python bench/must_show.py

clean:
	rm -rf $(VENV) $(OLD) $(OUT) bench/out
