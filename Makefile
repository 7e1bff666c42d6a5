# SPDX-License-Identifier: Apache-2.0
#
# The same commands for people and for .ci/run. `make help` lists them.
# DRY_RUN=1 (or --dry-run) says what a target would install and change, and changes nothing.
# ARGS="..." goes to pytest, to the demo, to the benchmarks or to `isthmus lab up`.

SHELL := /bin/bash
.DEFAULT_GOAL := help
.NOTPARALLEL:

python := .venv/bin/python

# make puts its one-letter options into the first word of MAKEFLAGS; n is --dry-run. The lines that start with "+" are
# run then as well, so each of them must honour $(dry).
dry := $(if $(filter-out 0 no false,$(DRY_RUN))$(findstring n,$(firstword -$(MAKEFLAGS))),--dry-run)

.PHONY: help setup demo test test-long test-fresh coverage check bench docs lab dist clean

help: ## list these commands
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | while IFS=$$'\t' read -r target text; do printf '  make %-10s %s\n' "$$target" "$$text"; done

setup: ## install the packages of the distribution that are missing (as root), and Isthmus in .venv
	+@packaging/setup $(dry)

demo: ## three hosts, two tenants, real packets: see what Isthmus does, and that it does it (as root)
	+@packaging/setup --quiet $(dry)
ifdef dry
	+@echo "demo: would make network namespaces, start Open vSwitch, the stores, a controller and agents in them, and remove all of it at its end"
else
	@$(python) -m isthmus_lab.demo $(ARGS)
endif

test: ## all tests but the long ones: on values, then with packets in network namespaces (as root)
	+@packaging/setup --quiet --dev $(dry)
	+@packaging/run-tests $(dry) -- $(ARGS)

test-long: ## the tests that take long, among them a real guest in QEMU, and test-fresh (as root)
	+@packaging/setup --quiet --dev --long --fresh $(dry)
	+@packaging/run-tests --long $(dry) -- $(ARGS)
	+@packaging/test-fresh $(dry)

test-fresh: ## the README's commands on bare Debian 12 and 13, in trees of their own (as root)
	+@packaging/setup --quiet --dev --fresh $(dry)
	+@packaging/test-fresh $(dry) $(ARGS)

coverage: ## which branches of the code no test on values has taken: htmlcov/index.html
	+@packaging/setup --quiet --dev $(dry)
ifdef dry
	+@echo "coverage: would run the tests on values, and write .coverage and htmlcov"
else
	$(python) -m coverage run -m pytest -q tests -m "not system and not long" $(ARGS)
	$(python) -m coverage html --quiet
	$(python) -m coverage report --skip-covered --sort=cover
endif

check: ## format, lint, types, import contracts, generated documents, rules of the tree
	+@packaging/setup --quiet --dev $(dry)
ifdef dry
	+@echo "check: would read the tree, and change only the checkers' caches in it"
else
	$(python) -m ruff format --check .
	$(python) -m ruff check .
	$(python) -m mypy --strict src tests $(wildcard bench)
	.venv/bin/lint-imports
	$(if $(wildcard packaging/generate-docs),packaging/generate-docs --check)
	packaging/check-tree
endif

bench: ## the benchmarks beside OVN; writes bench/results.json (as root, takes long)
	+@packaging/setup --quiet --dev --bench $(dry)
ifdef dry
	+@echo "bench: would make network namespaces, start Isthmus and then OVN in them, write bench/results.json, and remove the rest at its end"
else
	@$(python) -m bench $(ARGS)
endif

docs: ## write the generated documents anew
	+@packaging/setup --quiet $(dry)
ifdef dry
	+@echo "docs: would write the generated documents under docs/ anew"
else
	$(if $(wildcard packaging/generate-docs),packaging/generate-docs)
endif

lab: ## a cloud on this machine, to try things on: isthmus lab up (as root)
	+@packaging/setup --quiet $(dry)
ifdef dry
	+@echo "lab: would make network namespaces and start Open vSwitch, the stores, a controller and agents in them, until: .venv/bin/isthmus lab down"
else
	@.venv/bin/isthmus lab up $(ARGS)
endif

dist: ## a wheel, and packages for Debian 12 and 13: dist (as root; ARGS=trixie for one release only)
	+@packaging/setup --quiet --fresh $(dry)
	+@packaging/make-dist $(dry) $(ARGS)

clean: ## remove .venv, caches and build products from this folder; packages of the distribution stay
ifdef dry
	+@echo "clean: would remove .venv, caches and build products from this folder"
else
	rm -rf .venv build dist htmlcov .coverage .coverage.* .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
endif
