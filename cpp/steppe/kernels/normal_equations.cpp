#include "steppe/kernels/normal_equations.hpp"

#include <algorithm>

#include "steppe/core/aligned.hpp"
#include "steppe/kernels/vector_width.hpp"

// A rank-n update of a symmetric matrix. The rows are gathered into a tile that stays in the first-level cache; then
// each block of the lower triangle is kept in registers while the tile passes by.
namespace steppe::kernels {
namespace {

// Copies `n` rows into the tile, and what is left to explain of their values.
template <class T>
[[gnu::always_inline]] inline void gather(const RatedRows<T>& rated, std::size_t first, std::size_t n, T* tile,
                                          T* targets) {
  constexpr std::size_t kPrefetch = 12;
  const std::size_t stride = rated.stride;
  for (std::size_t r = 0; r < n; ++r) {
    const auto index = static_cast<std::size_t>(rated.indices[first + r]);
    if (first + r + kPrefetch < rated.indices.size()) {
      const T* ahead = rated.factors + static_cast<std::size_t>(rated.indices[first + r + kPrefetch]) * stride;
      for (std::size_t f = 0; f < stride; f += 64 / sizeof(T)) __builtin_prefetch(ahead + f);
    }
    targets[r] = rated.values[first + r] - rated.mean - (rated.bias != nullptr ? rated.bias[index] : T(0));
    std::copy_n(rated.factors + index * stride, stride, tile + r * stride);
  }
}

// right += tile' targets and, with biases, border += tile' 1.
template <class T, std::size_t Bytes>
[[gnu::always_inline]] inline void add_sums(const T* tile, const T* targets, std::size_t n, std::size_t stride,
                                            T* right, T* border) {
  using V = Vec<T, Bytes>;
  for (std::size_t j = 0; j < stride; j += VectorOf<T, Bytes>::lanes) {
    V row, explained, ones{};
    load(explained, right + j);
    for (std::size_t r = 0; r < n; ++r) {
      load(row, tile + r * stride + j);
      explained += targets[r] * row;
      ones += row;
    }
    store(right + j, explained);
    if (border == nullptr) continue;
    load(row, border + j);
    store(border + j, row + ones);
  }
}

// matrix[i0 .. i0 + Rows)[j0 .. j0 + lanes) += tile' tile, for that block.
template <class T, std::size_t Bytes, std::size_t Rows>
[[gnu::always_inline]] inline void add_block(const T* tile, std::size_t n, std::size_t stride, T* matrix,
                                             std::size_t order, std::size_t i0, std::size_t j0) {
  using V = Vec<T, Bytes>;
  V sums[Rows], row;
  for (std::size_t i = 0; i < Rows; ++i) load(sums[i], matrix + (i0 + i) * order + j0);
  for (std::size_t r = 0; r < n; ++r) {
    load(row, tile + r * stride + j0);
    const T* const column = tile + r * stride + i0;
#pragma GCC unroll 16
    for (std::size_t i = 0; i < Rows; ++i) sums[i] += column[i] * row;
  }
  for (std::size_t i = 0; i < Rows; ++i) store(matrix + (i0 + i) * order + j0, sums[i]);
}

template <class T>
[[gnu::always_inline]] inline void mirror(T* matrix, std::size_t order, std::size_t n) {
  for (std::size_t i = 1; i < n; ++i) {
    for (std::size_t j = 0; j < i; ++j) matrix[j * order + i] = matrix[i * order + j];
  }
}

template <class T, std::size_t Bytes>
[[gnu::always_inline]] inline void form(const RatedRows<T>& rated, const NormalEquations<T>& out, T* tile) {
  constexpr std::size_t kRows = Bytes == 64 ? kCacheLine / sizeof(T) : 8, kLanes = VectorOf<T, Bytes>::lanes;
  const std::size_t stride = rated.stride, order = out.order, count = rated.indices.size();
  const bool biases = rated.bias != nullptr;
  std::fill_n(out.matrix, order * order, T(0));
  std::fill_n(out.right, order, T(0));

  // Sum f borders A. Its row is beyond the stride, or one where the padded factors add nothing but zeros.
  T* const border = biases ? out.matrix + out.bias_at * order : nullptr;
  T target_sum = 0, targets[kTileRows];
  for (std::size_t first = 0; first < count; first += kTileRows) {
    const std::size_t n = std::min(kTileRows, count - first);
    gather(rated, first, n, tile, targets);
    add_sums<T, Bytes>(tile, targets, n, stride, out.right, border);
    for (std::size_t r = 0; r < n; ++r) target_sum += targets[r];
    for (std::size_t i0 = 0; i0 < stride; i0 += kRows) {
      for (std::size_t j0 = 0; j0 < i0 + kRows && j0 < stride; j0 += kLanes) {
        add_block<T, Bytes, kRows>(tile, n, stride, out.matrix, order, i0, j0);
      }
    }
  }
  mirror(out.matrix, order, stride);
  if (!biases) return;
  for (std::size_t f = 0; f < stride; ++f) out.matrix[f * order + out.bias_at] = border[f];
  border[out.bias_at] = static_cast<T>(count);
  out.right[out.bias_at] = target_sum;
}

#if defined(__x86_64__) && defined(__GNUC__)
template <class T>
__attribute__((target("arch=x86-64-v4"))) void form_v4(const RatedRows<T>& rated, const NormalEquations<T>& out,
                                                       T* tile) {
  form<T, 64>(rated, out, tile);
}
template <class T>
__attribute__((target("arch=x86-64-v3"))) void form_v3(const RatedRows<T>& rated, const NormalEquations<T>& out,
                                                       T* tile) {
  form<T, 32>(rated, out, tile);
}
#endif

}  // namespace

template <class T>
void form_normal_equations(const RatedRows<T>& rated, const NormalEquations<T>& out, std::span<T> tile) {
#if defined(__x86_64__) && defined(__GNUC__)
  if (vector_bytes() == 64) return form_v4<T>(rated, out, tile.data());
  if (vector_bytes() == 32) return form_v3<T>(rated, out, tile.data());
#endif
  form<T, 16>(rated, out, tile.data());
}

template void form_normal_equations(const RatedRows<float>&, const NormalEquations<float>&, std::span<float>);
template void form_normal_equations(const RatedRows<double>&, const NormalEquations<double>&, std::span<double>);

}  // namespace steppe::kernels
