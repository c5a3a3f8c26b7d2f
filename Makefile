# Everything this project makes lives under one ignored folder. Other folders and the system's
# Python are left alone.
#
#   OUTLOOK_LAKE_HOME=/data/outlook make demo      another folder than .lake-home
#   PYTHON=python3.13 make demo                    another interpreter (3.11, 3.12 or 3.13)

SHELL := /bin/sh
.DEFAULT_GOAL := help
.PHONY: help setup demo demo-check test check format bench drill lock docs clean

OUTLOOK_LAKE_HOME ?= .lake-home
export OUTLOOK_LAKE_HOME
# Without its .pyc files every Airflow process starts two seconds later.
unexport PYTHONDONTWRITEBYTECODE

# The virtual environment lies in this folder even when the state lies elsewhere.
PY := .lake-home/venv/bin/python
PORT ?= 8080
MINUTES ?= 2
NAME ?=
PRODUCT := include dags plugins benchmarks tests

help: ## Show these targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 22

setup: ## Install everything into .lake-home (done by the others when needed)
	@.ci/bootstrap

demo: setup ## Watch mail flow: simulator, Airflow and a live table (PORT=8080), Ctrl-C ends it
	@$(PY) -m outlook_lake.demo --port $(PORT)

demo-check: setup ## The same unattended, judged by the audit (MINUTES=2 TRAFFIC=file.parquet)
	@$(PY) -m outlook_lake.demo --port $(PORT) --minutes $(MINUTES) --json \
	    $(if $(TRAFFIC),--traffic "$(TRAFFIC)")

test: setup ## All tests, with one Airflow for the end-to-end ones (under 10 minutes)
	@.ci/test

check: setup ## Format, lint, types and the fast tests
	@$(PY) -m ruff format --check $(PRODUCT)
	@$(PY) -m ruff check $(PRODUCT)
	@$(PY) -m mypy
	@$(PY) -m pytest -q -n 3 --dist loadgroup -m "not slow and not airflow"

format: setup ## Format the code and mend what ruff can mend
	@$(PY) -m ruff check --fix --quiet $(PRODUCT) || true
	@$(PY) -m ruff format $(PRODUCT)

bench: setup ## Measure something: NAME=freshness ... (one JSON line at the end)
	@test -n "$(NAME)" || { echo "which one? make bench NAME=freshness" >&2; exit 2; }
	@$(PY) -m benchmarks.$(NAME)

drill: setup ## Break something and prove that nothing was lost: NAME=chaos ...
	@test -n "$(NAME)" || { echo "which one? make drill NAME=chaos" >&2; exit 2; }
	@$(PY) -m benchmarks.$(NAME)

docs: setup ## Write docs/cli.md and docs/data-dictionary.md anew from the code
	@$(PY) -m outlook_lake.commands.document docs/cli.md
	@$(PY) -m outlook_lake.lake.dictionary docs/data-dictionary.md

lock: setup ## Pin requirements.txt anew from requirements.in
	@.lake-home/bootstrap/bin/uv pip compile --universal --python-version 3.11 --no-header \
	    --no-annotate --quiet requirements.in -o requirements.txt

clean: ## Remove the demo's state, the lake and the virtual environment
	@.ci/clean
