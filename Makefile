# Two commands are all a newcomer needs: make reproduce, make test.
SHELL := /bin/bash
PYTHON ?= python3
BIN := .venv/bin
export PYTHON

.PHONY: help reproduce test test-published test-cluster test-faults test-fuzz audit check format golden coverage lock gallery readme environment clean
.DEFAULT_GOAL := help

help: ## list the commands
	@sed -n 's/^\([a-z-]*\):.*## /  make \1\t/p' Makefile | expand -t 20

reproduce: environment ## make everything: data, traces, metrics, figures, tables, paper
	@bash scripts/latex.sh
	@$(BIN)/snakemake --cores all
	@$(BIN)/lensbench made

test: environment ## run the tests that take minutes at most
	@bash scripts/browser.sh
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist worksteal \
		--ignore=tests/cluster --ignore=tests/faults --ignore=tests/fuzz \
		--ignore=tests/test_published.py

test-published: environment ## run the published study in small, from servers on this machine to its PDF
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q tests/test_published.py

test-cluster: environment ## run a small study on a Slurm of its own that loses a node (root)
	@bash scripts/slurm.sh
	@$(BIN)/python -m pytest -q tests/cluster

test-faults: environment ## kill runs, fill disks, damage files: QUICK=1 for a short cut of it
	@OMP_NUM_THREADS=1 QUICK=$(QUICK) timeout --foreground -s INT -k 30 20m \
		$(BIN)/python -m pytest -q -n auto --dist worksteal tests/faults

test-fuzz: environment ## read hostile inputs, N=10000 a parser; SEED=… repeats a run
	@OMP_NUM_THREADS=1 FUZZ_N=$(or $(N),10000) FUZZ_SEED=$(SEED) \
		$(BIN)/python -m pytest -q -n 2 --dist worksteal tests/fuzz

audit: environment ## ask for known vulnerabilities of the locked packages; needs a network
	@$(BIN)/python scripts/audit.py

check: environment ## run the linters and the type checker
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/snakefmt --check Snakefile workflow
	$(BIN)/snakemake --lint

format: environment ## format Python and snakemake files in place
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/snakefmt Snakefile workflow

golden: environment ## regenerate the golden outputs that tests compare with
	-$(BIN)/python -m pytest -q tests/golden --regen-all
	$(BIN)/python -m pytest -q tests/golden

coverage: environment ## judge every type of model that transformers has; writes docs/coverage.*
	OMP_NUM_THREADS=1 $(BIN)/lensbench coverage --jobs "$$(nproc)"

lock: environment ## write requirements.lock from the present environment
	$(BIN)/python scripts/lock.py

gallery: environment ## write docs/gallery from the results: small pictures and screenshots
	$(BIN)/python scripts/gallery.py

readme: environment ## write the file tree of README.md
	$(BIN)/python scripts/readme_tree.py

environment: .venv/.complete ## make .venv with the locked packages

.venv/.complete: requirements.lock pyproject.toml scripts/environment.sh
	@bash scripts/environment.sh

clean: ## remove results and logs (downloads in resources/ and .venv stay)
	rm -rf results logs .snakemake report.html
