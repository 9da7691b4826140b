#!/bin/sh
# Builds, tests and times what runs on GPUs, on a machine that has one, in one go and without a network.
#   bench/gpu/run.sh            the table in build/gpu/gpu.md, or in $OUT/gpu.md if OUT is set
#   bench/gpu/run.sh --check    only says what this machine lacks
#   bench/gpu/run.sh --build    builds, also where there is no GPU
# PYTHON   the Python to use (python3)
# WHEELS   a folder of wheels: what that Python lacks is taken from there (made by: pip download -d FOLDER ...)
# LIMIT_S  seconds for each of timing and compute-sanitizer (150)
set -eu
cd "$(dirname "$0")/../.."
python=${PYTHON:-python3}
build=build/gpu
site=$build/site
out=${OUT:-$build}
limit=${LIMIT_S:-150}
mode=${1:-all}
modules="numpy scipy sklearn joblib threadpoolctl pybind11 pytest"
mkdir -p "$build" "$out"

if [ -n "${WHEELS:-}" ]; then
  # cmake and ninja are wheels, too: their programs land in bin.
  "$python" -m pip install -q --no-index --no-deps --no-compile --upgrade --target $build/wheels "$WHEELS"/*.whl
  PYTHONPATH="$PWD/$build/wheels${PYTHONPATH:+:$PYTHONPATH}"
  PATH="$PWD/$build/wheels/bin:$PATH"
  export PYTHONPATH PATH
fi

lacks=""
need() { lacks="$lacks
  $1"; }
for program in cmake nvcc c++; do
  command -v "$program" >/dev/null || need "$program: on PATH (cmake is on PyPI, nvcc is in the CUDA toolkit)"
done
for module in $modules; do
  "$python" -c "import $module" 2>/dev/null || need "the Python package $module, for $python (a wheel in WHEELS)"
done
if [ "$mode" != --build ]; then
  "$python" -c 'import ctypes; ctypes.CDLL("libcuda.so.1")' 2>/dev/null || need "an NVIDIA driver (libcuda.so.1)"
fi
if [ -n "$lacks" ]; then
  echo "bench/gpu/run.sh cannot run here. It lacks:$lacks" >&2
  exit 1
fi
"$python" -c 'import torch' 2>/dev/null || echo "without torch: no rates of cuBLAS to compare with"
"$python" -c 'import cupy' 2>/dev/null || echo "without cupy: its arrays are not tested"
[ "$mode" != --check ] || exit 0

# --- build ---

tests=OFF
if echo '#include <doctest/doctest.h>' | c++ -E -x c++ - >/dev/null 2>&1; then
  tests=ON
else
  echo "without doctest: the C++ tests are left out"
fi
generator=""
! command -v ninja >/dev/null || generator="-G Ninja"
architectures=native
[ "$mode" != --build ] || architectures=90-real
if ! {
  cmake -S . -B $build $generator -DCMAKE_BUILD_TYPE=Release -DSTEPPE_PYTHON=ON -DSTEPPE_CUDA=ON -DSTEPPE_MPI=OFF \
    -DSTEPPE_TESTS=$tests -DCMAKE_CUDA_ARCHITECTURES=$architectures -DPython_EXECUTABLE="$(command -v "$python")" \
    -Dpybind11_DIR="$("$python" -m pybind11 --cmakedir)" &&
    cmake --build $build --parallel --target _core _cuda $([ $tests = OFF ] || echo steppe_gpu_tests) &&
    cmake --install $build --component python --prefix $site
} >$build.log 2>&1; then
  tail -n 40 $build.log
  exit 1
fi
cp -R python/steppe/. $site/steppe/
PYTHONPATH="$PWD/$site${PYTHONPATH:+:$PYTHONPATH}"
export PYTHONPATH
[ "$mode" != --build ] || exec "$python" -c 'from steppe import _device; print("built;", _device.why_no_cuda())'

# --- test, time, check ---

# `what` is one word for the table of what ran.
status=0
outcomes=""
run() {
  what=$1
  shift
  echo "--- $what"
  if "$@"; then said=passed; else
    said="FAILED"
    status=1
  fi
  outcomes="$outcomes
| $what | $said |"
}
pytest() { "$python" -m pytest -q -W default -p no:cacheprovider "$@"; }

run doctor "$python" -m steppe doctor
[ $tests = OFF ] || run "C++ tests" $build/steppe_gpu_tests
run "Python tests" pytest tests/python/gpu tests/python/test_device.py
run "Python tests by device" pytest -k cuda tests/python/test_cells.py tests/python/test_semi_discrete.py \
  tests/python/test_sliced_wasserstein.py
run timing timeout "$limit" "$python" bench/gpu/measure.py --output "$out/gpu.md"
if command -v compute-sanitizer >/dev/null; then
  sanitized="tests/python/gpu -k (numpy or lowest or bytes or (equals and 130) or (unequal and 17))"
  for tool in memcheck racecheck; do
    run "compute-sanitizer $tool" timeout "$limit" compute-sanitizer --tool $tool --error-exitcode 9 \
      "$python" -m pytest -q -W default -p no:cacheprovider "${sanitized%% *}" -k "${sanitized#*-k }"
  done
else
  echo "without compute-sanitizer: memory accesses are not checked"
  outcomes="$outcomes
| compute-sanitizer | not there |"
fi
printf '\n| what ran | outcome |\n|---|---|%s\n' "$outcomes" >>"$out/gpu.md"
cat "$out/gpu.md"
exit $status
