# make demo: bands, DOS and gap of graphene with the embedded model, next to DFT.  make test: the whole suite.
# Both make .venv first; nothing outside this folder is touched and no root is needed.
PYTHON ?= $(shell for p in python3 python3.11 python3.12 python3.13; do command -v $$p >/dev/null 2>&1 && $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && $$p -c 'import ensurepip' 2>/dev/null && echo $$p && break; done)
BIN := .venv/bin

.PHONY: demo test lint docs clean

demo: .venv/installed
	$(BIN)/tracegrad demo --out demo-output

test: .venv/installed
	$(BIN)/python -m pytest -n 2 --dist worksteal -q

lint: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: .venv/installed
	$(BIN)/mkdocs build --strict --quiet
	@echo "open site/index.html"

.venv/installed: pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer with venv is needed (Debian: apt-get install python3-venv)"; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install -q -c constraints.txt "setuptools>=77" torch
	$(BIN)/python -m pip install -q -c constraints.txt -e ".[test]"
	touch $@

clean:
	rm -rf .venv demo-output build site *.egg-info
