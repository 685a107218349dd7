# `make demo` and `make test` need python3 (3.11 or newer), pip, git and make; `make bench` installs nginx, haproxy and wrk.
PYTHON ?= python3
PIP := .venv/bin/pip install --quiet --disable-pip-version-check

.PHONY: demo test bench nightly fmt clean
.DEFAULT_GOAL := demo

demo: .venv/.demo
	.venv/bin/python -m pointsman.lab.demo

test: .venv/.dev
	scripts/check.sh

bench: .venv/.dev
	.venv/bin/python bench/run.py $(ARGS)

# Longer than a change can wait for: 20 kills of each process under load, a reload a second for a minute, thousands of
# fuzzed exchanges, 2,000 drawn examples a property, 10,000 seeds of the simulation, and the campaigns with real processes (docs/faults.md).
nightly: .venv/.dev
	KILLS=20 FUZZ_ROUNDS=3000 RELOAD_S=60 .venv/bin/pytest --timeout 1200 tests/cli/test_serve.py tests/cli/test_shared_stores.py tests/cli/test_reload.py tests/gateway/test_fuzz.py
	HYPOTHESIS_PROFILE=nightly .venv/bin/pytest --timeout 1200 tests/core
	SEEDS=10000 .venv/bin/pytest -s tests/simulation/test_simulation.py
	.venv/bin/python hatch_build.py
	PYTHONPATH=build/compiled .venv/bin/pytest -n2 -m "not serial and not nightly" tests/gateway tests/dialects tests/simulation tests/faults
	KILLS=20 .venv/bin/pytest -s --timeout 1200 tests/replicas
	.venv/bin/pytest tests/demo
	.venv/bin/pytest -s tests/browser/test_beside_traffic.py
	BILL_REQUESTS=10000 KILL_ROUNDS=500 STOP_ROUNDS=60 OUTAGE_S=45 FROZEN_S=10 LONG=1 .venv/bin/pytest -s -rs tests/campaigns

fmt: .venv/.dev
	.venv/bin/ruff format .
	.venv/bin/ruff check --fix .

clean:
	rm -rf .venv .demo bench/run build dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis .coverage
	find src tests bench -name __pycache__ -type d -prune -exec rm -rf {} +

# One stamp per extra: a second call installs nothing unless pyproject.toml has changed.
.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "Python 3.11 or newer is needed: make PYTHON=python3.11")'
	$(PYTHON) -m venv .venv

.venv/.demo .venv/.dev: .venv/.%: pyproject.toml | .venv/bin/python
	@echo "installing pointsman[$*] into .venv ..."
	@$(PIP) --editable '.[$*]'
	@touch $@
