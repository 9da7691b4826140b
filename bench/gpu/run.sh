#!/bin/sh
# Builds, tests and times what runs on GPUs, on a machine that has one; within 10 minutes on 16 cores, without internet.
#   bench/gpu/run.sh            figures in build/gpu/gpu.md, or in $OUT/gpu.md if OUT is set
#   bench/gpu/run.sh --check    only says what this machine lacks
# PYTHON names the Python to use (python3).
set -eu
cd "$(dirname "$0")/../.."
python=${PYTHON:-python3}
build=build/gpu
site=$build/site
out=${OUT:-$build}

lacks=""
need() { lacks="$lacks
  $1"; }
for program in cmake ninja nvcc; do
  command -v "$program" >/dev/null || need "$program: on PATH (cmake and ninja are on PyPI, nvcc is in the CUDA toolkit)"
done
for module in numpy scipy sklearn joblib threadpoolctl pybind11 pytest; do
  "$python" -c "import $module" 2>/dev/null || need "the Python package $module, for $python"
done
"$python" -c 'import ctypes; ctypes.CDLL("libcuda.so.1")' 2>/dev/null || need "an NVIDIA driver (libcuda.so.1)"
if [ -n "$lacks" ]; then
  echo "bench/gpu/run.sh cannot run here. It lacks:$lacks" >&2
  exit 1
fi
"$python" -c 'import torch' 2>/dev/null || echo "without torch: no rates of cuBLAS to compare with"
"$python" -c 'import cupy' 2>/dev/null || echo "without cupy: its arrays are not tested"
[ "${1:-}" != --check ] || exit 0

tests=OFF
if echo '#include <doctest/doctest.h>' | c++ -E -x c++ - >/dev/null 2>&1; then
  tests=ON
else
  echo "without doctest: the C++ tests are left out"
fi
mkdir -p "$out"
cmake -S . -B $build -G Ninja -DCMAKE_BUILD_TYPE=Release -DSTEPPE_PYTHON=ON -DSTEPPE_CUDA=ON -DSTEPPE_MPI=OFF \
  -DSTEPPE_TESTS=$tests -DCMAKE_CUDA_ARCHITECTURES=native -DPython_EXECUTABLE="$(command -v "$python")" \
  -Dpybind11_DIR="$("$python" -m pybind11 --cmakedir)" >$build.log
cmake --build $build --target _core _cuda >>$build.log || { tail -n 40 $build.log; exit 1; }
cmake --install $build --component python --prefix $site >>$build.log
cp -R python/steppe/. $site/steppe/
PYTHONPATH="$PWD/$site"
export PYTHONPATH

status=0
"$python" -m steppe doctor || status=1
"$python" -m pytest -q -W default -p no:cacheprovider tests/python/gpu tests/python/test_device.py || status=1
if [ $tests = ON ]; then
  cmake --build $build --target steppe_gpu_tests >>$build.log && $build/steppe_gpu_tests || status=1
fi
timeout 150 "$python" bench/gpu/measure.py --output "$out/gpu.md" || status=1
if command -v compute-sanitizer >/dev/null; then
  timeout 150 compute-sanitizer --tool memcheck --error-exitcode 9 "$python" -m pytest -q -W default -p no:cacheprovider \
    tests/python/gpu -k 'numpy or lowest or bytes or (equals and 130) or (unequal and 17)' || status=1
else
  echo "without compute-sanitizer: memory accesses are not checked"
fi
exit $status
