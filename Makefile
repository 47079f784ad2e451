# Everything that a clone needs; see README.md. Environments are made inside the clone.
VENV := .venv
OLD := .venv-tflite-2.14
FLOORS := .venv-floors
BIN := $(VENV)/bin
OUT := models/out
# Another Python than that of the environment makes it anew; unless one is named, it stays.
PYTHON ?= $(if $(wildcard $(VENV)/.done),$(BIN)/python,python3)
RELEASE := $(shell $(PYTHON) -c 'import platform; print(platform.python_version())' 2>/dev/null)
NEEDS := Python 3.10 to 3.14 is needed
IS := $(PYTHON) $(if $(RELEASE),is $(RELEASE),cannot be run)
NAME_ONE := name another, as in: make demo PYTHON=python3.12
# An index with a build of torch that has no CUDA, such as https://download.pytorch.org/whl/cpu.
# torch alone comes from there: pip would take any name from an extra index.
export TORCH_INDEX ?=
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check \
    --constraint constraints.txt
# Two workers of one thread each; what one has left the other takes over.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal --durations 10
BOARDS := $(addprefix tests/targets/test_virtual_board,.py _armv7.py)
export FCA_EDGE_TFLITE_214 := $(CURDIR)/$(OLD)/bin/python

.PHONY: help setup demo train-l1 test test-slow test-board test-docker fuzz check-python \
    check-floors audit hashes gate gate-update gate-count lint bench bench-exports bench-shapes \
    tables clean

help:
	@echo 'make setup       makes the environment .venv, with everything installed'
	@echo 'make demo        sets everything up, exports the digits model, proves and measures it'
	@echo 'make test        sets everything up and runs the suite'
	@echo 'make test-slow   runs the tests that take minutes; also: test-board, test-docker'
	@echo 'make fuzz        tries every reader on damaged files for ten minutes; also: MINUTES=60'
	@echo 'make check-python   sets up with another Python of this machine, and benches with it'
	@echo 'make check-floors   sets up with the lowest versions that pyproject.toml admits, and tests'
	@echo 'make audit       asks a database of advisories about every pin and every floor'
	@echo 'make hashes      writes docker/hashes anew, from constraints.txt'
	@echo 'make gate        counts on emulated ARM and compares with bench/baselines'
	@echo 'make lint        runs ruff and mypy'
	@echo 'make bench       measures what the project promises; also: bench-latency, bench-memory, ...'
	@echo 'make bench-exports   exports every precision, for the tables of sizes and errors'
	@echo 'make tables      writes the measured tables of README.md and docs/ anew'
	@echo 'make train-l1    trains weights of real width'
	@echo 'make api-docs    writes the reference of the Python API to docs/out'
	@echo 'make clean       removes environments and results'
	@echo '$(NEEDS): $(IS); $(NAME_ONE)'

ifneq ($(filter-out help clean,$(MAKECMDGOALS)),)
ifeq ($(filter 3.10.% 3.11.% 3.12.% 3.13.% 3.14.%,$(RELEASE)),)
$(error $(NEEDS), and $(IS); $(NAME_ONE))
endif
endif

setup: $(VENV)/.done $(OLD)/.done

# Its name tells which Python the environment is of.
STAMP := $(VENV)/.python-$(RELEASE)
$(STAMP):
	@if ! $(BIN)/python -c 'import platform; assert platform.python_version() == "$(RELEASE)"' \
	    2>/dev/null; then \
	    test ! -e $(VENV) || echo '$(VENV) is of another Python: making it anew with $(IS)'; \
	    rm -rf $(VENV) && $(PYTHON) -m venv $(VENV); \
	fi
	@rm -f $(VENV)/.python-* $(VENV)/.done && touch $@

$(VENV)/.done: pyproject.toml constraints.txt $(STAMP)
	@test '$(TORCH_INDEX)' || echo 'Installing; without a CPU build of torch, pip takes that with' \
	    'CUDA (3 GB): see TORCH_INDEX in README.md'
	$(if $(TORCH_INDEX),$(INSTALL) --no-deps --index-url $(TORCH_INDEX) torch)
	$(INSTALL) --editable '.[dev]'
	@touch $@

# Where it cannot be had the rest goes on; a line has said why.
$(OLD)/.done: $(VENV)/.done
	@$(BIN)/fca-edge targets setup local --optional
	@mkdir -p $(OLD) && touch $@

# The main job on real input: a trained FcaFormer, proven, measured beside its rivals.
demo: setup
	$(BIN)/python models/digits/split.py $(OUT)/digits-images
	$(BIN)/fca-edge export --checkpoint models/digits/digits.safetensors \
	    --profile modern$$(test ! -x $(OLD)/bin/python || echo ,tflite-2.14) \
	    --images $(OUT)/digits-images/test --out $(OUT) --force
	$(BIN)/fca-edge eval $(OUT)/digits-fp32*.onnx $(OUT)/digits-fp32*.tflite \
	    --data $(OUT)/digits-images/test --checkpoint models/digits/digits.safetensors
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
	$(PYTEST) -m slow --ignore=tests/docker $(BOARDS:%=--ignore=%)

# The SSH target on whole emulated ARM machines, of 64 bits with every way to fail, and of 32 bits
# for the runner in C: twenty minutes of two cores.
test-board: setup
	$(BIN)/python -m pytest -m slow $(BOARDS)

# Builds the images for real: root on a Debian machine, no engine. Installs what that needs.
test-docker: setup
	docker/tools.sh
	$(BIN)/python -m pytest -m 'slow or not slow' tests/docker

# Every reader on documents, pictures and checkpoints near valid ones: nothing but our own errors.
MINUTES := 10
fuzz: setup
	$(BIN)/python tests/fuzz/run.py $$(( $(MINUTES) * 2 / 3 ))
	PYTHONPATH=tests $(BIN)/python tests/checkpoint/test_fuzz.py $$(( $(MINUTES) * 20 )) $$(date +%s)
	PYTHONPATH=tests $(BIN)/python tests/native/coverage.py $$(( $(MINUTES) / 3 ))
	FUZZ_FILES=$$(( $(MINUTES) * 500 )) FUZZ_SEED=$$(date +%s) $(BIN)/python -m pytest -q \
	    tests/native -k sanitizers

# Another Python of this machine, without torch; tflite-runtime 2.14 on Debian's own 3.11.
check-python: setup
	$(BIN)/python .ci/other_python.py

# The lowest versions of all direct dependencies, in environments of their own.
check-floors: setup
	$(BIN)/python .ci/floors.py $(FLOORS)

audit: $(VENV)/.done
	$(BIN)/python .ci/audit.py $(if $(OSV_URL),--osv-url $(OSV_URL))

hashes: $(VENV)/.done
	docker/hashes.sh $(BIN)/python

lint: $(VENV)/.done
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# Deterministic costs on emulated ARM against bench/baselines: fails when a change makes one worse.
# Exports, and then the two machines, run side by side: what is counted does not depend on time.
GATE := bench/out/gate
GATE_MACHINES := aarch64 armv7
GATE_EXPORTS := l1 l2 micro upernet_micro digits
GATE_PROFILES := --profile modern,tflite-2.14,onnxruntime-xnnpack --out $(GATE)
gate: setup gate-count
	@for machine in $(GATE_MACHINES); do \
	    $(BIN)/fca-edge compare bench/baselines/$$machine.json $(GATE)/$$machine.json \
	        --gate bench/baselines/thresholds.toml || exit $$?; \
	    $(BIN)/fca-edge compare --bounds bench/bounds_gate.toml $(GATE)/$$machine.json || exit $$?; \
	done

# Makes what was counted the new baselines.
gate-update: setup gate-count
	@for machine in $(GATE_MACHINES); do \
	    $(BIN)/fca-edge compare --update-baseline bench/baselines/$$machine.json \
	        $(GATE)/$$machine.json || exit $$?; \
	done

gate-count: setup
	rm -rf $(GATE)
	$(MAKE) --no-print-directory --output-sync -j2 $(GATE_EXPORTS:%=gate-export-%)
	$(MAKE) --no-print-directory --output-sync -j2 $(GATE_MACHINES:%=gate-machine-%)

# Two at a time, so that each has one core.
gate-export-%: export OMP_NUM_THREADS = 1

gate-export-digits:
	$(BIN)/fca-edge export --checkpoint models/digits/digits.safetensors $(GATE_PROFILES)

gate-export-%:
	$(BIN)/fca-edge export --variant $* $(GATE_PROFILES)

gate-machine-%:
	$(BIN)/fca-edge targets setup qemu:$*
	$(BIN)/fca-edge bench --suite bench/suites/gate.toml --target qemu:$* --out $(GATE) \
	    --json $(GATE)/$*.json

# What the project promises, measured and held against bench/bounds.toml. The comparison with
# other toolchains, whose samples are committed, is bench/peers/run.py.
SUITES := latency precision memory arm precision_arm xnnpack
PEERS := bench/results/peers-l1.json bench/results/peers-l2.json
bench: $(SUITES:%=bench-%)
	$(BIN)/fca-edge compare --bounds bench/bounds.toml $(SUITES:%=bench/out/%.json) $(PEERS)

bench-%: setup
	$(BIN)/fca-edge bench --suite bench/suites/$*.toml --out bench/out/$* \
	    --json bench/out/$*.json --force

# Size, error and accuracy of every precision, as an export tells them; it times nothing.
EXPORTS := bench/results/exports
bench-exports: setup
	$(BIN)/python models/digits/split.py $(OUT)/digits-images
	$(BIN)/fca-edge export --checkpoint models/digits/digits.safetensors \
	    --precision fp32,fp16,int8,int8-static --calibration $(OUT)/digits-images/train \
	    --data $(OUT)/digits-images/test --out bench/out/exports --force \
	    --json $(EXPORTS)/digits.json
	$(BIN)/fca-edge export --variant l1 --precision fp32,fp16,int8 --out bench/out/exports \
	    --force --json $(EXPORTS)/l1.json
	sed -i 's#$(CURDIR)/##' $(EXPORTS)/*.json  # no place of this machine in what is committed

# Accuracy of the trained dense networks, in every precision, beside their checkpoints.
SHAPES := bench/out/shapes
SHAPES_DATA := --data $(SHAPES)/pictures --force
ACCURACY := bench/results/accuracy
bench-shapes: setup
	$(BIN)/python models/shapes/draw.py $(SHAPES)/pictures --part test
	for name in upernet mask_rcnn; do \
	    $(BIN)/fca-edge export --checkpoint models/shapes/$$name.safetensors \
	        --precision fp32,int8 $(SHAPES_DATA) --out $(SHAPES) || exit $$?; \
	done
	$(BIN)/fca-edge eval $(SHAPES)/upernet-*.onnx $(SHAPES)/upernet-*.tflite $(SHAPES_DATA) \
	    --checkpoint models/shapes/upernet.safetensors --json $(ACCURACY)/pixels.json
	$(BIN)/fca-edge eval $(SHAPES)/upernet-*.onnx $(SHAPES)/upernet-*.tflite $(SHAPES_DATA) \
	    --checkpoint models/shapes/upernet.safetensors --sliding \
	    --json $(ACCURACY)/pixels-sliding.json
	$(BIN)/fca-edge eval $(SHAPES)/mask_rcnn-*.onnx $(SHAPES)/mask_rcnn-features*.tflite \
	    $(SHAPES_DATA) --checkpoint models/shapes/mask_rcnn.safetensors \
	    --json $(ACCURACY)/objects.json

# The reference of the Python API, from its docstrings.
api-docs: setup
	$(INSTALL) --editable '.[dev,docs]'
	$(BIN)/python docs/build_api.py docs/out

# Writes the measured tables of README.md and docs/ anew, from the JSON that is committed.
tables: setup
	$(BIN)/python bench/tables.py

clean:
	rm -rf $(VENV) $(OLD) $(FLOORS) $(OUT) bench/out docs/out
