# make demo    trace routes through the embedded lab, and from a fleet in it with Nornir and Ansible
# make test    the whole test suite
# make lint    ruff, its formatter and mypy
# make bench   what traces cost, beside other tools; writes benchmarks/RESULTS.md
#
# Each sets up what it needs in .venv, as root or as an ordinary user, and installs again when pyproject.toml changes.
# PYTHON=python3.12 chooses the interpreter, PYTEST_OPTIONS="-k wire" what pytest is told.

PYTHON ?= python3
PYTEST_OPTIONS ?=
VENV := .venv
BIN := $(VENV)/bin

.PHONY: help demo test lint bench clean
.DELETE_ON_ERROR:

help:
	@sed -n 's/^# \(make .*\)/\1/p' Makefile

demo: $(VENV)/installed-demo
	@PATH="$(CURDIR)/$(BIN):$$PATH" nornir-tcptraceroute lab up demo -- sh examples/demo.sh
	@PATH="$(CURDIR)/$(BIN):$$PATH" nornir-tcptraceroute lab up fleet -- sh examples/demo_fleet.sh
	@PATH="$(CURDIR)/$(BIN):$$PATH" nornir-tcptraceroute lab up demo -- sh examples/demo_checks.sh

test: $(VENV)/installed-dev
	$(BIN)/python -m pytest $(PYTEST_OPTIONS)

lint: $(VENV)/installed-dev
	$(BIN)/python -m ruff check
	$(BIN)/python -m ruff format --check
	$(BIN)/python -m mypy

bench: $(VENV)/installed-dev
	$(BIN)/python benchmarks/results.py

clean:
	rm -rf $(VENV) build dist *.egg-info .coverage .hypothesis .mypy_cache .pytest_cache .ruff_cache

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 10) else "make: %s is Python %d.%d, and Python 3.10 or newer is needed: name one, as in  make PYTHON=python3.12" % (sys.executable, *sys.version_info[:2]))'
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo "make: $(PYTHON) can't make a virtual environment: install its venv module (Debian, Ubuntu: apt-get install python3-venv)" >&2; exit 1; }
	@echo "Setting up $(VENV) (once)"
	@$(PYTHON) -m venv $(VENV)

# Each stamp is written last, so that an interrupted installation is done again. The mode is the one that only names the checkout
# to Python; what setuptools does otherwise costs each start of Python as much as starting it.
$(VENV)/installed-%: pyproject.toml | $(BIN)/python
	@echo "Installing the package and what '$*' needs into $(VENV)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-input \
		--config-settings editable_mode=compat --editable '.[$*]'
	@touch $@
