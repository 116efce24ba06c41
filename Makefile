# Thin wrappers of plain pip, pytest, ruff, mypy and asv lines. Each sets up what it needs, once, in .venv.

PYTHON ?= python3.11
BIN := .venv/bin

.PHONY: demo test lint bench clean

demo: .venv/demo.stamp
	$(BIN)/python -m fastgate $(ARGS)

test: .venv/test.stamp
	$(BIN)/python -m pytest $(ARGS)

lint: .venv/dev.stamp
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy

# Measures the last commit in an environment of asv's own.
bench: .venv/dev.stamp
	$(BIN)/asv machine --yes --config asv_benchmarks/asv.conf.json
	$(BIN)/asv run --config asv_benchmarks/asv.conf.json --show-stderr $(ARGS) "HEAD^!"

clean:
	rm -rf .venv

.venv/bin/python:
	$(PYTHON) -m venv .venv

# One for each extra of pyproject.toml.
.venv/%.stamp: pyproject.toml | .venv/bin/python
	$(BIN)/python -m pip install --quiet --editable ".[$*]"
	touch $@
