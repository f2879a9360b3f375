# The two commands of the README. Everything is installed into .venv; nothing else on the machine is touched.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
PORT   ?= 9000
SECONDS ?= 60
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --editable

.PHONY: help serve test test-ft stress soak check format clean bench bench-quick bench-guard duel picture tour tour-links tour-pictures
help:            ## this list
	@sed -n 's/^\([a-z-]*\):.*## /make \1 - /p' Makefile

# One stamp for each extra, so that a target installs what it needs and no more. What `serve` and `test` need has no
# compiled part.
$(VENV)/.installed: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "make: $(PYTHON) is older than Python 3.11; name a newer one: make PYTHON=python3.13" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(INSTALL) '.[client]'
	@touch $@

$(VENV)/.installed-%: $(VENV)/.installed
	$(INSTALL) '.[$*]'
	@touch $@

serve: $(VENV)/.installed   ## install what is missing and serve on port 9000 (PORT=...)
	$(BIN)/echoserver serve --port $(PORT)

test: $(VENV)/.installed-test   ## run the tests
	$(BIN)/python -m pytest -m 'not stress' -n 3 --dist loadfile

test-ft:         ## run the tests on a free-threaded interpreter (PYTHON=.../python3.13t)
	@$(PYTHON) -c 'import sys, sysconfig; sys.exit(not sysconfig.get_config_var("Py_GIL_DISABLED"))' || \
		{ echo "make: $(PYTHON) is not free-threaded; name one that is: make test-ft PYTHON=python3.13t" >&2; exit 1; }
	PYTHON_GIL=0 $(MAKE) --no-print-directory test VENV=.venv-ft

stress: $(VENV)/.installed-test  ## hostile peers, a failing system, each with its figure; some 10 minutes
	@for tool in strace prlimit; do command -v $$tool >/dev/null || { \
		echo "make: $$tool is missing: apt-get install strace util-linux" >&2; exit 1; }; done
	$(BIN)/python -m pytest -m stress

soak: $(VENV)/.installed-test  ## peers of every kind against both modes, and a verdict (SECONDS=60)
	$(BIN)/python tests/stress/soak.py --seconds $(SECONDS)

check: $(VENV)/.installed-dev    ## lint, format, types, structure, and the tests that need more than a pure Python package
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -q tests/test_structure.py tests/test_structure_picture.py tests/client/test_structure.py tests/client/load/test_histogram.py tests/client/test_tls*.py tests/server/test_tls*.py tests/server/test_over_*.py tests/server/test_faults_served.py tests/plugin/test_server_tls.py

bench: $(VENV)/.installed-bench        ## compare with other servers and write docs/benchmarks.md; some 15 minutes
	$(BIN)/python -m bench --page docs/benchmarks.md

bench-quick: $(VENV)/.installed-bench  ## the same in less than a minute, to see that it works; writes nothing
	$(BIN)/python -m bench --quick

bench-guard: $(VENV)/.installed  ## does a message cost more than at a commit? BASE=COMMIT; two minutes
	@test -n "$(BASE)" || { echo "make: name the commit to compare with: make bench-guard BASE=HEAD~1" >&2; exit 1; }
	$(BIN)/python -m bench.guard $(BASE)

duel: $(VENV)/.installed    ## each model of the server at the same work, on one page: duel.html; a minute
	$(BIN)/python -m bench.duel --html duel.html

tour: $(VENV)/.installed    ## the tour of threads: all chapters, or one of them (CHAPTER=8)
	@chapters=$$(ls examples/tour/[01][0-9]_*.py | grep "/0*$(or $(CHAPTER),[0-9]*)_"); \
		test -n "$$chapters" || { echo "make: there is no chapter $(CHAPTER); name one: make tour CHAPTER=8" >&2; exit 1; }; \
		for chapter in $$chapters; do printf '\n== %s\n\n' "$$chapter"; $(BIN)/python "$$chapter" || exit 1; done

tour-links: $(VENV)/.installed     ## set the line numbers in docs/tour.md to where the code stands now
	$(BIN)/python docs/draw_tour.py links

tour-pictures: $(VENV)/.installed  ## redraw docs/tour/*.svg; on a machine that does nothing else
	$(BIN)/python docs/draw_tour.py pictures

picture: $(VENV)/.installed ## redraw docs/packages.svg from the imports
	$(BIN)/python docs/draw_packages.py

format: $(VENV)/.installed-dev  ## let ruff put the code into shape
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:           ## remove what make made
	rm -rf $(VENV) .venv-ft .pytest_cache .mypy_cache .ruff_cache .hypothesis dist
