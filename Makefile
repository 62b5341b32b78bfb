# Everything a person does with this project; `make` alone lists it.
PYTHON ?= python3
VENV   := .venv
RUN    := $(VENV)/bin/python
READY  := $(VENV)/.ready
LOCK   := $(wildcard .lock/*.txt) .lock/install.py

GRID := activation=sigmoid,relu init=normal,xavier,he lr=small,medium,large bn=none,before,after 'seed=range(0,10)'
# Another grid: make sweep GRID="bn=none,before 'seed=range(0,3)'"
# More overrides for `make sweep`, `make report` and `make experiments`, more options for `make test` and `make bench`:
# make sweep ARGS='train.epochs=5'
ARGS ?=
PORT ?= 5000

# One run trains on as many cores as it pays; a test is small, and two threads on tiny operators are slower than one.
ONE_THREAD := OMP_NUM_THREADS=1

# A run's setting given to make itself would be ignored in silence.
GIVEN := $(foreach name,$(.VARIABLES),$(if $(filter command,$(firstword $(origin $(name)))),$(name)))
ifneq ($(filter-out PYTHON VENV GRID ARGS PORT,$(GIVEN)),)
$(error $(filter-out PYTHON VENV GRID ARGS PORT,$(GIVEN)): overrides go into ARGS='KEY=VALUE ...', another grid into GRID="...")
endif

.DEFAULT_GOAL := help
.PHONY: help sweep report experiments ui test test-slow kernels campaign simulations bench lint format types browser postgres lock clean

help: ## list these targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1|\2/p' $(firstword $(MAKEFILE_LIST)) | awk -F'|' '{ printf "%-18s %s\n", $$1, $$2 }'

sweep: $(READY) ## train the default sweep (540 runs) on the embedded data and rank it; ARGS= adds overrides
	@$(RUN) -m bnsweep -m $(GRID) $(ARGS)

report: $(READY) ## write the report of the latest sweep again; ARGS= adds overrides such as sweep=ID
	@$(RUN) -m bnsweep.report $(ARGS)

experiments: $(READY) ## expected numbers beside ours, written to experiments/; ARGS= names some of them or adds settings
	@$(RUN) -m bnsweep.experiments $(ARGS)

ui: $(READY) ## open MLflow on mlflow.db (or MLFLOW_TRACKING_URI), this machine only; PORT= chooses the port
	@$(RUN) -m bnsweep.ui port=$(PORT)

test: lint types ## lint, types and tests
	$(ONE_THREAD) $(RUN) -m pytest -n 2 --dist loadfile --no-loadscope-reorder $(ARGS)

test-slow: $(READY) ## the tests marked slow
	$(ONE_THREAD) $(RUN) -m pytest -m slow $(ARGS)

kernels: $(READY) ## hold a GPU's kernels to torch: on the GPU, or without one in Triton's interpreter; ARGS= adds options
	@$(RUN) .lock/install.py triton
	$(ONE_THREAD) $(RUN) -m pytest -m '' tests/kernels tests/nets/test_batch_norm.py tests/training/test_gpu.py $(ARGS)

campaign: $(READY) ## kills, full disks, servers that fail, bad inputs, by seed (about an hour); ARGS= adds options
	@$(RUN) -m tests.campaign $(ARGS)

simulations: $(READY) ## how often the report is right about sweeps whose truth is known (hours); ARGS= adds options
	@$(ONE_THREAD) $(RUN) -m tests.simulations $(ARGS)

bench: $(READY) ## time bnsweep against other ways to train the same runs (about 5 minutes); ARGS= adds options
	@$(RUN) .lock/install.py bench
	@$(RUN) -m tests.benchmarks $(ARGS)

lint: $(READY) ## ruff: rules and formatting
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .

format: $(READY) ## ruff: mend what can be mended
	$(RUN) -m ruff check --fix-only .
	$(RUN) -m ruff format .

types: $(READY) ## mypy, strict
	$(RUN) -m mypy

browser: ## install Debian's chromium for the browser test, where that is possible; never fails
	@sh .ci/browser

postgres: ## install Debian's PostgreSQL for the tests that start one, where that is possible; never fails
	@sh .ci/postgres

lock: ## resolve the dependencies anew and write .lock/*.txt
	$(PYTHON) .lock/lock.py

clean: ## remove the environment and caches; results (mlflow.db, report, multirun) stay
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache build dist *.egg-info
	find bnsweep hydra_plugins tests -name __pycache__ -type d -prune -exec rm -rf {} +

$(READY): $(LOCK) pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || \
	  { echo "error: '$(PYTHON)' is missing or older than Python 3.11; name another: make PYTHON=python3.12" >&2; exit 1; }
	@$(RUN) -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV) || \
	  { rm -rf $(VENV); echo "error: '$(PYTHON) -m venv' failed; on Debian: apt-get install python3-venv" >&2; exit 1; }
	@$(RUN) .lock/install.py
	@touch $@
