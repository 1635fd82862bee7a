# make setup   own virtual environment, dependencies, the package and its kernels (quick when nothing changed)
# make kernels the native kernels alone, anew; ADAIR_BUILD=auto|cpu|cuda|none says which
# make demo    train a deblurring adapter on sample photos and restore a held-out one (< 5 minutes on 2 cores)
# make test    all tests (< 15 minutes on 2 cores)
# make bench   all speed targets, measured and judged (about 30 minutes on 2 idle cores)
# make lint    formatting, lint, types, doctests; lines of C++ of at most 120 characters
# make docs    the documentation as a site, in site/; a broken link is an error
# make cuda-check  compiles the CUDA kernels for all architectures, links and loads them; csrc/resources.tsv has what they take
PYTHON ?= python3
VENV   ?= .venv
PIP_ARGS ?=
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.adair-setup
CPLUSPLUS := $(wildcard csrc/*/*) $(shell find tests/emulation -name '*.h' -o -name '*.cpp' -o -name '*.cu')
KERNELS_STAMP := $(VENV)/.adair-kernels
# Tests run in two processes of one thread each: on small machines two OpenMP threads stall whenever anything else runs.
TEST_PROCESSES ?= 2

.PHONY: setup kernels demo test bench lint docs cuda-check format clean

setup: $(KERNELS_STAMP)

# The package first and without its kernels: they need the PyTorch that comes with it, and have an incremental build.
$(STAMP): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
	  { echo "adair needs Python >= 3.10, $(PYTHON) is $$($(PYTHON) --version 2>&1); use make PYTHON=/path/to/python3" >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet $(PIP_ARGS) "setuptools>=77" wheel "pybind11>=2.13" ninja
	ADAIR_BUILD=none $(BIN)/python -m pip install --quiet $(PIP_ARGS) --no-build-isolation --editable ".[dev]"
	@touch $@

$(KERNELS_STAMP): $(STAMP) setup.py $(wildcard csrc/*/*) $(wildcard adair_core/ops/*.py $(addprefix adair_core/ops/*/,native.py parameters.py cuda.py composed.py))
	@rm -f $@
	@$(MAKE) --no-print-directory kernels
	@touch $@

kernels: $(STAMP)
	$(BIN)/python setup.py --quiet build_ext --inplace

demo: setup
	$(BIN)/python tools/demo.py

test: setup
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(TEST_PROCESSES) --dist worksteal

bench: setup
	$(BIN)/python tools/bench_all.py $(BENCH_ARGS)

lint: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	awk 'length > 120 {print FILENAME ":" FNR ": more than 120 characters"; long = 1} END {exit long}' $(CPLUSPLUS)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q --doctest-modules --doctest-glob="*.md" adair_core plugins docs README.md -p no:benchmark

# The variable silences an announcement of the theme's authors about MkDocs 2.
docs: setup
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict

cuda-check: setup
	$(BIN)/python tools/nvcc_check.py
	$(BIN)/python tools/cuda_library_check.py

format: setup
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf build dist site *.egg-info adair_core/*.so $(KERNELS_STAMP) .pytest_cache .mypy_cache .ruff_cache
