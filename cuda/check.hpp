#pragma once

#include <cuda_runtime.h>

#include <new>
#include <stdexcept>
#include <string>

namespace steppe::cuda {

// Throws what CUDA says of a call; memory that is not there is std::bad_alloc, Python's MemoryError. A failed launch
// leaves an error that would otherwise be blamed on the next call: it is taken away.
inline void check(cudaError_t status, const char* what) {
  if (status == cudaSuccess) return;
  cudaGetLastError();
  if (status == cudaErrorMemoryAllocation) throw std::bad_alloc();
  throw std::runtime_error(std::string("CUDA: ") + what + ": " + cudaGetErrorString(status));
}

inline void check_launch(const char* kernel) { check(cudaGetLastError(), kernel); }

}  // namespace steppe::cuda
