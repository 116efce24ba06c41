# Thin wrappers of plain pip, pytest, ruff, mypy and asv lines. Each sets up what it needs, once, in .venv.

PYTHON ?= python3.11
BIN := .venv/bin

.PHONY: demo test test-cuda test-cuda-offline bench-cuda lint bench bench-releases bench-report bench-compare clean

demo: .venv/demo.stamp
	$(BIN)/python -m fastgate $(ARGS)

test: .venv/test.stamp
	$(BIN)/python -m pytest -n 2 --dist loadfile $(ARGS)

# The kernels for NVIDIA GPUs: on one; its figures beside cuDNN's; and, without any, compiled for sm_80 and sm_90.
.venv/cuda.stamp: .venv/test.stamp

test-cuda: .venv/cuda.stamp
	$(BIN)/python -m pytest -m gpu -rs $(ARGS) tests/cuda

bench-cuda: .venv/cuda.stamp
	$(BIN)/python tests/cuda/measure.py
	$(BIN)/python -m fastgate bench --device cuda --mode inference training \
	    --folder asv_benchmarks/results/gpu $(ARGS)

OFFLINE = .venv-cuda/bin
test-cuda-offline: .venv-cuda/stamp
	$(OFFLINE)/python -m pytest $(ARGS) tests/cuda/test_host_side.py tests/cuda/test_persistent_offline.py \
	    tests/cuda/test_offline_compilation.py

.venv-cuda/stamp: pyproject.toml tests/cuda/requirements.txt
	$(PYTHON) -m venv .venv-cuda
	$(OFFLINE)/python -m pip install --quiet --editable ".[cuda]" --requirement tests/cuda/requirements.txt
	touch $@

lint: .venv/dev.stamp
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy

# asv works in environments of its own, with pinned versions; see asv_benchmarks/README.md.
ASV = $(BIN)/asv
ASV_CONFIG = asv_benchmarks/asv.conf.json
MACHINE = $$($(BIN)/python asv_benchmarks/machine.py)

# The last commit.
bench: .venv/dev.stamp
	$(ASV) run --config $(ASV_CONFIG) --machine $(MACHINE) --show-stderr $(ARGS) "HEAD^!"

# Every release of releases.txt in one sitting, into the history.
bench-releases: .venv/dev.stamp
	$(BIN)/python asv_benchmarks/measure.py $(ARGS)

# Pages that open offline, the README's charts and its table, all from the history.
bench-report: .venv/dev.stamp
	$(BIN)/python asv_benchmarks/charts.py
	$(BIN)/python asv_benchmarks/readme_table.py
	$(BIN)/python asv_benchmarks/publish.py

# The last commit against the last release, taking turns; fails where it takes 1.3 times as long. Kept out of the history.
COMPARED = (Forward|TrainingStep|StreamingStep|OtherCells).*'fastgate'
bench-compare: .venv/dev.stamp
	$(ASV) continuous --config $$($(BIN)/python asv_benchmarks/elsewhere.py asv_benchmarks/.asv/compare) \
	    --machine $(MACHINE) --factor 1.3 --interleave-rounds --bench "$(COMPARED)" $(ARGS) \
	    $$(tail -n 1 asv_benchmarks/releases.txt | cut -d ' ' -f 2) HEAD

clean:
	rm -rf .venv .venv-cuda

.venv/bin/python:
	$(PYTHON) -m venv .venv

# One for each extra of pyproject.toml.
.venv/%.stamp: pyproject.toml | .venv/bin/python
	$(BIN)/python -m pip install --quiet --editable ".[$*]"
	touch $@
