# Targets of this checkout; `make help` lists them. They write only ./.venv, ./.yard and the user's cache.

PYTHON ?= python3
ARGS ?=

# No __pycache__ folders in the checkout.
export PYTHONDONTWRITEBYTECODE := 1
unexport PYTHONPATH PYTHONHOME

.DEFAULT_GOAL := help
.PHONY: help demo down test check env venv lock docs thorough lowest soak quality frameworks live bench bench-gpu

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {gsub(/\$$\$$/, "$$"); printf "make %-10s %s\n", $$1, $$2}' Makefile

demo: .python ## make a yard on this machine and run a distributed job on it (a second time adopts the finished run)
	@$(PYTHON) tools/demo.py

down: .python ## stop the demo's runs, destroy its yard, remove ./.yard
	@$(PYTHON) tools/down.py

test: .python ## run every check and test, with a time budget per step (ARGS go to pytest)
	@$(PYTHON) tools/test.py all $(ARGS)

check: .python ## check formatting, lint and types only
	@$(PYTHON) tools/test.py check

env: .python ## print the local stack's environment: eval "$$(make -s env)", then pulumi and gpuyard just work
	@$(PYTHON) tools/local_env.py

venv: .python ## make .venv with everything that tests and checks need
	@$(PYTHON) tools/venv.py dev

lock: venv ## pin the dependencies of pyproject.toml with hashes (ARGS=--upgrade for the newest)
	@$(PYTHON) tools/lock.py $(ARGS)

docs: venv ## generate the pages and pictures of docs/ that come from code
	@.venv/bin/python -m tools.docs_tables

thorough: venv ## run the tests that `make test` leaves out for time; takes 10 minutes (run `make test` once before)
	@.venv/bin/python -m pytest -n auto --dist worksteal -m thorough $(ARGS)

lowest: venv ## run the tests of the object stores with the lowest versions that pyproject.toml allows; downloads gigabytes
	@.venv/bin/python tools/lowest.py $(ARGS)

soak: venv ## run hundreds of seeded faults; takes hours
	@.venv/bin/python -m pytest -m soak --timeout=0 $(ARGS)

quality: venv ## train the tiny GPT until it beats the trigram entropy of the validation bytes; takes minutes
	@.venv/bin/python -m pytest -m quality --timeout=0 $(ARGS)

frameworks: venv ## kill, stop and resume Hugging Face Trainer, Accelerate, Lightning and plain DDP on 2 nodes; installs them below .yard
	@.venv/bin/uv pip install --quiet --target .yard/frameworks --override tests/e2e/frameworks-override.txt transformers accelerate lightning
	@PYTHONPATH=$(CURDIR)/.yard/frameworks .venv/bin/python -m pytest -m frameworks -n 0 $(ARGS) tests/e2e/test_frameworks.py

live: venv ## create GPUYARD_LIVE_STACK in a real AWS, Azure or GCP account, run short jobs, destroy it, find leftovers; costs money, asks first
	@.venv/bin/python tools/live.py

bench: venv ## run the benchmarks; each prints a ratio to a named baseline of the same run
	@code=0; for file in benchmarks/[a-z]*.py; do echo "== $$file"; .venv/bin/python "$$file" $(ARGS) || code=1; done; exit $$code

bench-gpu: venv ## measure the trainer on one GPU, in under 8 minutes
	@.venv/bin/python -m benchmarks.train.gpu $(ARGS)

.PHONY: .python
.python:
	@$(PYTHON) tools/python_gate.py
