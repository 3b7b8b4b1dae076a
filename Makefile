# Needs Python 3.11 or newer, git and make; everything else goes into .venv.  Another Python: make PYTHON=python3.13 lab
PYTHON ?= python3
BIN := .venv/bin
PY := $(BIN)/python
PARALLEL := -n auto --maxprocesses 4
EXACT := mmviz/mm/*,mmviz/capture/*

.DEFAULT_GOAL := help
.PHONY: help venv lab test check unit nbval browser notebooks slides figures editions bench lock clean

help:            ## say what there is
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' Makefile

venv:            ## make .venv with the pinned packages (instant when it is there)
	@$(PYTHON) .ci/bootstrap.py

lab: venv        ## open the lessons in JupyterLab (options: make lab LAB='--no-browser --port=9999')
	$(PY) -m jupyterlab $(if $(filter 0,$(shell id -u)),--allow-root) $(LAB) notebooks

test: check unit nbval browser  ## all that CI runs

check: venv      ## lint and types
	$(BIN)/ruff check .
	$(BIN)/mypy --strict mmviz

unit: venv       ## unit, property and doctests, and their coverage
	$(PY) -m pytest -q $(PARALLEL) --dist worksteal --ignore=tests/browser --cov --cov-report=
	$(PY) -m coverage report --include='$(EXACT)' --fail-under=99.9

nbval: venv      ## run every notebook and compare what it shows
	$(PY) -m pytest -q --nbval --nbval-current-env notebooks/*.ipynb  # one after the other: kernels that start together can choose the same port

browser: venv    ## the lessons in JupyterLab and as saved pages, in a real Chromium
	$(PY) -m pytest -q $(PARALLEL) --dist loadfile tests/browser

notebooks: venv  ## run every notebook and save its outputs
	$(PY) notebooks/_run.py

slides: venv     ## make an offline deck of every lesson in build/slides
	$(PY) notebooks/_slides.py build/slides

figures: venv    ## write the key pictures of every lesson as PDF, SVG and PNG in build/figures
	$(PY) notebooks/_figures.py build/figures

editions: venv   ## make a blank and a solved edition of every lesson in build/editions
	$(PY) notebooks/_editions.py build/editions

bench: venv      ## measure; nothing fails here
	$(PY) -m pytest -q -s -o python_files='bench_*.py' tests/bench

lock: venv       ## resolve the newest packages that pyproject.toml allows, for every platform, into requirements.lock
	$(PY) -m pip install --quiet --upgrade uv
	$(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.11 --fork-strategy fewest \
	    --no-annotate --no-header --extra test pyproject.toml --output-file requirements.lock

clean:           ## take away what can be made again
	rm -rf .venv .coverage .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
