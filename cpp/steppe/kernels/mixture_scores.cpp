#include "steppe/kernels/mixture_scores.hpp"

#include <algorithm>
#include <limits>

#include "steppe/kernels/exponential.hpp"
#include "steppe/kernels/logarithm.hpp"
#include "steppe/kernels/vector_width.hpp"

namespace steppe::kernels {
namespace {

inline constexpr std::size_t kOutputs = 4;  // rows of a triangle that are worked on together

// Rows lie in vector lanes, so nothing has to be summed across lanes, whatever the numbers of components and features.
template <class T, std::size_t Bytes>
struct Tile {
  using V = Vec<T, Bytes>;
  static constexpr std::size_t kLanes = VectorOf<T, Bytes>::lanes;
  static constexpr std::size_t kVectors = Bytes == 64 ? 4 : 2;  // with four outputs: accumulators fill the registers
  static constexpr std::size_t kRows = kVectors * kLanes;
};

// xt[feature][row] of up to kRows rows from `first` on; the last row stands in for those that are missing.
template <class T, std::size_t Bytes>
[[gnu::always_inline]] inline void transpose_tile(MatrixView<const T> x, std::size_t first, T* xt) {
  constexpr std::size_t kRows = Tile<T, Bytes>::kRows;
  const std::size_t last = x.rows() - 1, d = x.cols();
  for (std::size_t r = 0; r < kRows; r += 4) {
    const T* rows[4];
    for (std::size_t q = 0; q < 4; ++q) rows[q] = x.data() + std::min(first + r + q, last) * x.stride();
    std::size_t k = 0;
    for (; k + 4 <= d; k += 4) {
      Quad<T> a, b, c, e;
      load(a, rows[0] + k);
      load(b, rows[1] + k);
      load(c, rows[2] + k);
      load(e, rows[3] + k);
      const Quad<T> ab_low = __builtin_shufflevector(a, b, 0, 4, 1, 5),
                    ab_high = __builtin_shufflevector(a, b, 2, 6, 3, 7);
      const Quad<T> ce_low = __builtin_shufflevector(c, e, 0, 4, 1, 5),
                    ce_high = __builtin_shufflevector(c, e, 2, 6, 3, 7);
      T* to = xt + k * kRows + r;
      store(to, Quad<T>(__builtin_shufflevector(ab_low, ce_low, 0, 1, 4, 5)));
      store(to + kRows, Quad<T>(__builtin_shufflevector(ab_low, ce_low, 2, 3, 6, 7)));
      store(to + 2 * kRows, Quad<T>(__builtin_shufflevector(ab_high, ce_high, 0, 1, 4, 5)));
      store(to + 3 * kRows, Quad<T>(__builtin_shufflevector(ab_high, ce_high, 2, 3, 6, 7)));
    }
    for (; k < d; ++k) {
      for (std::size_t q = 0; q < 4; ++q) xt[k * kRows + r + q] = rows[q][k];
    }
  }
}

// The scores of kComponents components from k on.
template <class T, std::size_t Bytes, std::size_t kComponents>
[[gnu::always_inline]] inline void score_diagonal(const T* xt, const GaussiansView<T>& g, std::size_t k,
                                                  Vec<T, Bytes> (&score)[kComponents][Tile<T, Bytes>::kVectors]) {
  using Shape = Tile<T, Bytes>;
  using V = typename Shape::V;
  const std::size_t d = g.n_features;
  for (std::size_t c = 0; c < kComponents; ++c) {
    for (std::size_t v = 0; v < Shape::kVectors; ++v) score[c][v] = V{} + g.constants[k + c];
  }
  const T *factors = g.factors + k * d, *offsets = g.offsets + k * d;
  for (std::size_t i = 0; i < d; ++i) {
    V x[Shape::kVectors];
    for (std::size_t v = 0; v < Shape::kVectors; ++v) load(x[v], xt + i * Shape::kRows + v * Shape::kLanes);
    for (std::size_t c = 0; c < kComponents; ++c) {
      const T factor = factors[c * d + i], offset = offsets[c * d + i];
      for (std::size_t v = 0; v < Shape::kVectors; ++v) {
        const V t = x[v] * factor - offset;
        score[c][v] -= t * t;
      }
    }
  }
}

template <class T, std::size_t Bytes>
[[gnu::always_inline]] inline void score_triangular(const T* xt, const GaussiansView<T>& g, std::size_t k,
                                                    Vec<T, Bytes> (&score)[1][Tile<T, Bytes>::kVectors]) {
  using Shape = Tile<T, Bytes>;
  using V = typename Shape::V;
  const std::size_t d = g.n_features;
  for (std::size_t v = 0; v < Shape::kVectors; ++v) score[0][v] = V{} + g.constants[k];
  const T* f = g.factors + k * triangle_size(d);
  const T* offsets = g.offsets + k * offset_stride(d, true);
  for (std::size_t j = 0; j < d; j += kOutputs) {
    V y[kOutputs][Shape::kVectors];
    for (std::size_t o = 0; o < kOutputs; ++o) {
      for (std::size_t v = 0; v < Shape::kVectors; ++v) y[o][v] = V{} - offsets[j + o];
    }
    const std::size_t depth = std::min(j + kOutputs, d);
    for (std::size_t i = 0; i < depth; ++i, f += kOutputs) {
      V x[Shape::kVectors];
      for (std::size_t v = 0; v < Shape::kVectors; ++v) load(x[v], xt + i * Shape::kRows + v * Shape::kLanes);
      for (std::size_t o = 0; o < kOutputs; ++o) {
        const T factor = f[o];
        for (std::size_t v = 0; v < Shape::kVectors; ++v) y[o][v] += x[v] * factor;
      }
    }
    for (std::size_t o = 0; o < kOutputs; ++o) {
      for (std::size_t v = 0; v < Shape::kVectors; ++v) score[0][v] -= y[o][v] * y[o][v];
    }
  }
}

// Stands for scores of rows so far off that their squares overflow: these rows share equally.
template <class T>
inline constexpr T kLowest = std::numeric_limits<T>::lowest() / 4;

template <class T, std::size_t Bytes, std::size_t kComponents>
[[gnu::always_inline]] inline void keep(const Vec<T, Bytes> (&score)[kComponents][Tile<T, Bytes>::kVectors],
                                        std::size_t k, T* scores, Vec<T, Bytes> (&best)[Tile<T, Bytes>::kVectors]) {
  using Shape = Tile<T, Bytes>;
  using V = typename Shape::V;
  for (std::size_t c = 0; c < kComponents; ++c) {
    for (std::size_t v = 0; v < Shape::kVectors; ++v) {
      const V floor = V{} + kLowest<T>;
      const V known = score[c][v] > floor ? score[c][v] : floor;
      best[v] = known > best[v] ? known : best[v];
      store(scores + (k + c) * Shape::kRows + v * Shape::kLanes, known);
    }
  }
}

// scores[component][row] and the best of each row.
template <class T, std::size_t Bytes, bool kFull>
[[gnu::always_inline]] inline void score_tile(const T* xt, const GaussiansView<T>& g, T* scores, T* best_of_rows) {
  using Shape = Tile<T, Bytes>;
  using V = typename Shape::V;
  V best[Shape::kVectors];
  for (std::size_t v = 0; v < Shape::kVectors; ++v) best[v] = V{} + kLowest<T>;
  std::size_t k = 0;
  if constexpr (!kFull) {
    for (; k + 2 <= g.n_components; k += 2) {
      V score[2][Shape::kVectors];
      score_diagonal<T, Bytes, 2>(xt, g, k, score);
      keep<T, Bytes, 2>(score, k, scores, best);
    }
  }
  for (; k < g.n_components; ++k) {
    V score[1][Shape::kVectors];
    if constexpr (kFull) {
      score_triangular<T, Bytes>(xt, g, k, score);
    } else {
      score_diagonal<T, Bytes, 1>(xt, g, k, score);
    }
    keep<T, Bytes, 1>(score, k, scores, best);
  }
  for (std::size_t v = 0; v < Shape::kVectors; ++v) store(best_of_rows + v * Shape::kLanes, best[v]);
}

template <class T>
inline constexpr T kFaint = sizeof(T) == 4 ? T(-23.1) : T(-46.1);  // log kNegligibleShare
template <class T>
inline constexpr T kNone = T(-1);  // marks a component that is faint for a whole tile

// Exponentials of a tile's scores less the best of the row, in place, and their sums.
template <class T, std::size_t kRows>
[[gnu::always_inline]] inline void exponentiate(T* scores, std::size_t n_components, const T* best, T* sum) {
  for (std::size_t r = 0; r < kRows; ++r) sum[r] = 0;
  for (std::size_t k = 0; k < n_components; ++k) {
    T* e = scores + k * kRows;
    T most = std::numeric_limits<T>::lowest();
#pragma omp simd reduction(max : most)
    for (std::size_t r = 0; r < kRows; ++r) most = e[r] - best[r] > most ? e[r] - best[r] : most;
    if (most < kFaint<T>) {
      e[0] = kNone<T>;
      continue;
    }
#pragma omp simd
    for (std::size_t r = 0; r < kRows; ++r) {
      const T below = e[r] - best[r];
      e[r] = below < kFaint<T> ? T(0) : exponential(below);
      sum[r] += e[r];
    }
  }
}

// The exponentials of rows first..last-1 of the block, the tile's first ones, become shares. Every row is written, but
// the end of the list moves on only where a share counts: no branch to be mispredicted.
template <class T, std::size_t kRows>
[[gnu::always_inline]] inline void append_shares(const T* e, std::size_t n_components, const T* factor,
                                                 std::size_t first, std::size_t n_rows, const ShareLists<T>& lists) {
  for (std::size_t k = 0; k < n_components; ++k) {
    const T* of = e + k * kRows;
    if (of[0] == kNone<T>) continue;
    std::uint32_t* const rows = lists.rows + k * lists.capacity;
    T* const shares = lists.shares + k * lists.capacity;
    std::size_t n = lists.counts[k];
    for (std::size_t r = 0; r < n_rows; ++r) {
      rows[n] = static_cast<std::uint32_t>(first + r);
      shares[n] = of[r] * factor[r];
      n += of[r] > T(0) ? 1 : 0;
    }
    lists.counts[k] = static_cast<std::uint32_t>(n);
  }
}

template <class T, std::size_t kRows>
void write_probabilities(const T* e, const T* sum, std::size_t first, std::size_t n_rows, MatrixView<T> out) {
  for (std::size_t k = 0; k < out.cols(); ++k) {
    const T* of = e + k * kRows;
    for (std::size_t r = 0; r < n_rows; ++r) out(first + r, k) = of[0] == kNone<T> ? T(0) : of[r] / sum[r];
  }
}

template <class T, std::size_t kRows>
void write_labels(const T* scores, const T* best, std::size_t n_components, std::size_t first, std::size_t n_rows,
                  std::int32_t* labels) {
  for (std::size_t k = n_components; k-- > 0;) {
    for (std::size_t r = 0; r < n_rows; ++r) {
      if (scores[k * kRows + r] == best[r]) labels[first + r] = static_cast<std::int32_t>(k);
    }
  }
}

template <class T, std::size_t Bytes>
[[gnu::always_inline]] inline void assess(MatrixView<const T> x, const GaussiansView<T>& g,
                                          const MixtureOutputs<T>& out, T* scratch) {
  constexpr std::size_t kRows = Tile<T, Bytes>::kRows;
  T *const best = scratch, *const sum = best + kRows, *const factor = sum + kRows, *const xt = factor + kRows,
           *const scores = xt + g.n_features * kRows;
  if (out.lists.counts) std::fill_n(out.lists.counts, g.n_components, 0u);
  for (std::size_t first = 0; first < x.rows(); first += kRows) {
    const std::size_t n = std::min(kRows, x.rows() - first);
    transpose_tile<T, Bytes>(x, first, xt);
    if (g.full) {
      score_tile<T, Bytes, true>(xt, g, scores, best);
    } else {
      score_tile<T, Bytes, false>(xt, g, scores, best);
    }
    if (out.labels) write_labels<T, kRows>(scores, best, g.n_components, first, n, out.labels);
    exponentiate<T, kRows>(scores, g.n_components, best, sum);
    if (out.log_sums) {
#pragma omp simd
      for (std::size_t r = 0; r < kRows; ++r) factor[r] = best[r] + logarithm(sum[r]);
      std::copy_n(factor, n, out.log_sums + first);
    }
    if (out.probabilities.data()) write_probabilities<T, kRows>(scores, sum, first, n, out.probabilities);
    if (out.lists.counts) {
      for (std::size_t r = 0; r < n; ++r) factor[r] = (out.mass ? out.mass[first + r] : T(1)) / sum[r];
      append_shares<T, kRows>(scores, g.n_components, factor, first, n, out.lists);
    }
  }
}

template <class T>
using Assess = void (*)(MatrixView<const T>, const GaussiansView<T>&, const MixtureOutputs<T>&, T*);

template <class T>
void assess_base(MatrixView<const T> x, const GaussiansView<T>& g, const MixtureOutputs<T>& out, T* scratch) {
  assess<T, 16>(x, g, out, scratch);
}
#if defined(__x86_64__) && defined(__GNUC__)
template <class T>
__attribute__((target("arch=x86-64-v4"))) void assess_v4(MatrixView<const T> x, const GaussiansView<T>& g,
                                                         const MixtureOutputs<T>& out, T* scratch) {
  assess<T, 64>(x, g, out, scratch);
}
template <class T>
__attribute__((target("arch=x86-64-v3"))) void assess_v3(MatrixView<const T> x, const GaussiansView<T>& g,
                                                         const MixtureOutputs<T>& out, T* scratch) {
  assess<T, 32>(x, g, out, scratch);
}
#endif

template <class T>
Assess<T> find_assess() {
#if defined(__x86_64__) && defined(__GNUC__)
  if (vector_bytes() == 64) return assess_v4<T>;
  if (vector_bytes() == 32) return assess_v3<T>;
#endif
  return assess_base<T>;
}

}  // namespace

std::size_t triangle_size(std::size_t n_features) noexcept {
  std::size_t size = 0;
  for (std::size_t j = 0; j < n_features; j += kOutputs) size += kOutputs * std::min(j + kOutputs, n_features);
  return size;
}

std::size_t offset_stride(std::size_t n_features, bool full) noexcept {
  return full ? (n_features + kOutputs - 1) / kOutputs * kOutputs : n_features;
}

template <class T>
void pack_triangle(MatrixView<const double> f, T* packed) {
  const std::size_t d = f.rows();
  for (std::size_t j = 0; j < d; j += kOutputs) {
    for (std::size_t i = 0; i < std::min(j + kOutputs, d); ++i) {
      for (std::size_t o = j; o < j + kOutputs; ++o) *packed++ = o < d && i <= o ? static_cast<T>(f(o, i)) : T(0);
    }
  }
}

template <class T>
std::size_t mixture_scratch(std::size_t n_components, std::size_t n_features) noexcept {
  return (3 + n_features + n_components) * Tile<T, 64>::kRows;
}

template <class T>
void assess_rows(MatrixView<const T> x, const GaussiansView<T>& gaussians, const MixtureOutputs<T>& outputs,
                 T* scratch) {
  static const Assess<T> assess_here = find_assess<T>();
  assess_here(x, gaussians, outputs, scratch);
}

template void pack_triangle(MatrixView<const double>, float*);
template void pack_triangle(MatrixView<const double>, double*);
template std::size_t mixture_scratch<float>(std::size_t, std::size_t) noexcept;
template std::size_t mixture_scratch<double>(std::size_t, std::size_t) noexcept;
template void assess_rows(MatrixView<const float>, const GaussiansView<float>&, const MixtureOutputs<float>&, float*);
template void assess_rows(MatrixView<const double>, const GaussiansView<double>&, const MixtureOutputs<double>&,
                          double*);

}  // namespace steppe::kernels
