# `make help` lists what can be made.
PYTHON ?= python3
VENV ?= .venv
# Address of a wheel index with another build of PyTorch; empty: the build that pip finds by itself.
TORCH_INDEX ?=
# The archive to train on; the default is synthetic and written on first use.
SYNTHETIC := data/synthetic/Dataset_icip2026
DATA ?= $(SYNTHETIC)
# Further words for train.py or evaluate.py, e.g. ARGS="target=hs seed=1".
ARGS ?=
CKPT ?= $(firstword $(shell ls -t outputs/*/*/checkpoints/best.ckpt 2>/dev/null))

BIN := $(VENV)/bin
READY := $(VENV)/.ready

.DEFAULT_GOAL := help
.PHONY: help setup train evaluate test lint docs bench results lock

help:  ## this list
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

setup: $(READY)  ## an environment in .venv with the very versions of constraints.txt

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and f"snowmap needs Python 3.11 or newer, $(PYTHON) is {sys.version.split()[0]}; name another as PYTHON=…")'
	$(PYTHON) -m venv $(VENV)
	$(if $(TORCH_INDEX),$(BIN)/python -m pip install --quiet --constraint constraints.txt --index-url $(TORCH_INDEX) torch)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[dev]"
	@touch $@

$(SYNTHETIC): | $(READY)
	$(BIN)/snowmap synthesize $@

train: $(READY) | $(filter $(SYNTHETIC),$(DATA))  ## train the U-Net on SWE and score it (DATA=archive ARGS="key=value …")
	$(BIN)/python train.py data.root=$(DATA) $(ARGS)

evaluate: $(READY)  ## score the newest run's best checkpoint again (CKPT=… ARGS="…")
	$(if $(CKPT),,$(error no checkpoint below outputs/: run `make train`, or name one as CKPT=…))
	$(BIN)/python evaluate.py ckpt=$(CKPT) $(ARGS)

test: $(READY)  ## all tests, and the notebooks (ARGS="tests/data/test_splits.py" for some)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist worksteal $(ARGS)
	$(if $(ARGS),,OMP_NUM_THREADS=1 $(BIN)/python -m pytest --nbmake --nbmake-timeout=600 notebooks)

lint: $(READY)  ## style, format, imports and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/pyright --pythonpath $(BIN)/python

docs: $(READY)  ## the documents as a site, in site/ (look at it with `python -m http.server -d site`)
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

bench: $(READY)  ## the ratios of benchmarks/ (about half an hour)
	$(BIN)/python -m benchmarks.opening
	$(BIN)/python -m benchmarks.training
	$(BIN)/python -m benchmarks.usual_stack
	$(BIN)/python -m benchmarks.scaling
	$(BIN)/python -m benchmarks.evaluating
	$(BIN)/python -m benchmarks.predicting
	$(BIN)/python -m benchmarks.building
	$(BIN)/python -m benchmarks.dealing
	$(BIN)/python -m benchmarks.sweeping
	$(BIN)/python -m benchmarks.patches
	$(BIN)/python -m benchmarks.despeckling
	$(BIN)/python -m benchmarks.kills

results: $(READY)  ## docs/results-synthetic.md: all models, three seeds each (hours; ARGS="--height 62 --width 140" is shorter)
	$(BIN)/python -m benchmarks.results $(ARGS)

lock: $(READY)  ## write the versions of .venv to constraints.txt
	$(BIN)/python -m pip freeze --exclude-editable | sed -E 's/\+[a-z0-9.]+$$//' > constraints.txt.new
	mv constraints.txt.new constraints.txt
	@touch $(READY)
