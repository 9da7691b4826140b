#pragma once

#include <cstddef>
#include <string>
#include <vector>

// cuBLAS, loaded when it is first needed: whoever brings it (the toolkit, nvidia-cublas, torch), this build links none.
namespace steppe::cuda {

// Where to look before the loader's own places. To be called before the first product, if at all.
void set_cublas_paths(std::vector<std::string> paths);

// The file that was loaded. Throws std::runtime_error that names what was tried if there is none.
std::string cublas_path();

// C = A B of the current device's row-major matrices, C transposed: c[j * rows + i] = sum_k a[i][k] b[k][j]. `stream`
// is a cudaStream_t. In full precision of T. Products of one lane share a workspace, so they belong on one stream at a
// time; what they compute does not depend on other lanes.
template <class T>
void transposed_product(std::size_t rows, std::size_t columns, std::size_t depth, const T* a, std::size_t a_stride,
                        const T* b, std::size_t b_stride, T* c, void* stream, std::size_t lane);

}  // namespace steppe::cuda
