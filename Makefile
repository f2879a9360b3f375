# The two commands of the README. Everything is installed into .venv; nothing else on the machine is touched.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
PORT   ?= 9000
SECONDS ?= 60

.PHONY: help serve test stress soak check format clean bench bench-quick picture
help:            ## this list
	@sed -n 's/^\([a-z-]*\):.*## /make \1 - /p' Makefile

$(VENV)/.installed: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "make: $(PYTHON) is older than Python 3.11; name a newer one: make PYTHON=python3.13" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

serve: $(VENV)/.installed   ## install what is missing and serve on port 9000 (PORT=...)
	$(BIN)/echoserver serve --port $(PORT)

test: $(VENV)/.installed    ## run the tests
	$(BIN)/python -m pytest -m 'not stress'

stress: $(VENV)/.installed  ## hostile peers, a failing system, each with its figure; some 10 minutes
	@for tool in strace prlimit; do command -v $$tool >/dev/null || { \
		echo "make: $$tool is missing: apt-get install strace util-linux" >&2; exit 1; }; done
	$(BIN)/python -m pytest -m stress

soak: $(VENV)/.installed    ## peers of every kind against both modes, and a verdict (SECONDS=60)
	$(BIN)/python tests/stress/soak.py --seconds $(SECONDS)

check: $(VENV)/.installed   ## lint, format and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -q tests/test_structure.py

# The peers that the benchmark compares with; nothing else needs them.
$(VENV)/.installed-bench: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[bench]'
	@touch $@

bench: $(VENV)/.installed-bench        ## compare with other servers and write docs/benchmarks.md; some 12 minutes
	$(BIN)/python -m bench --page docs/benchmarks.md

bench-quick: $(VENV)/.installed-bench  ## the same in less than a minute, to see that it works; writes nothing
	$(BIN)/python -m bench --quick

picture: $(VENV)/.installed ## redraw docs/packages.svg from the imports
	$(BIN)/python docs/draw_packages.py

format: $(VENV)/.installed  ## let ruff put the code into shape
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:           ## remove what make made
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis dist
