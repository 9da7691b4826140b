#include "steppe/kernels/mixture_moments.hpp"

#include <algorithm>

#include "steppe/core/aligned.hpp"
#include "steppe/core/macros.hpp"
#include "steppe/kernels/logarithm.hpp"
#include "steppe/kernels/vector_width.hpp"

namespace steppe::kernels {
namespace {

template <class T>
using Line = Vec<T, kCacheLine>;
template <class T>
inline constexpr std::size_t kLine = VectorOf<T, kCacheLine>::lanes;
inline constexpr std::size_t kColumns = 8;  // of the second moments, worked on together

template <class T>
[[gnu::always_inline]] inline void add_line(const Line<T>& values, std::size_t n, double* to) {
  for (std::size_t l = 0; l < n; ++l) to[l] += static_cast<double>(values[l]);
}

// w z, its sum and the entropy.
template <class T>
[[gnu::always_inline]] inline void add_masses(const SharedRows<T>& shared, double* sums, T* mass) {
  const std::size_t n = shared.rows.size();
  const std::uint32_t* rows = shared.rows.data();
  const T* shares = shared.shares.data();
  if (shared.weights == nullptr) {
    std::copy_n(shares, n, mass);
  } else {
    for (std::size_t e = 0; e < n; ++e) mass[e] = shares[e] * shared.weights[rows[e]];
  }
  T total = 0, entropy = 0;
#pragma omp simd reduction(+ : total, entropy)
  for (std::size_t e = 0; e < n; ++e) {
    total += mass[e];
    entropy -= mass[e] * logarithm(shares[e]);
  }
  sums[0] += static_cast<double>(total);
  sums[1] += static_cast<double>(entropy);
}

template <class T>
[[gnu::always_inline]] inline void add_squares(const SharedRows<T>& shared, const T* mass, const T* mean,
                                               double* sums) {
  const std::size_t n = shared.rows.size(), d = shared.x.cols(), stride = shared.x.stride();
  for (std::size_t j = 0; j < d; j += kLine<T>) {
    Line<T> centre, first[2] = {}, second[2] = {};
    load(centre, mean + j);
    const auto add = [&](std::size_t e, std::size_t to) __attribute__((always_inline)) {
      Line<T> x;
      load(x, shared.x.data() + shared.rows[e] * stride + j);
      const Line<T> t = x - centre, u = t * mass[e];
      first[to] += u;
      second[to] += u * t;
    };
    std::size_t e = 0;
    for (; e + 2 <= n; e += 2) {
      add(e, 0);
      add(e + 1, 1);
    }
    if (e < n) add(e, 0);
    const std::size_t width = std::min(kLine<T>, d - j);
    add_line<T>(first[0] + first[1], width, sums + kFirstMoments + j);
    add_line<T>(second[0] + second[1], width, sums + second_moments(d) + j);
  }
}

// kColumns columns from i on of the second moments, for a line of rows from j on, below and on the diagonal.
template <class T>
[[gnu::always_inline]] inline void add_products(const T* t, const T* u, std::size_t n, std::size_t stride,
                                                std::size_t d, std::size_t i, std::size_t j, double* triangle) {
  Line<T> products[kColumns] = {};
  for (std::size_t e = 0; e < n; ++e) {
    Line<T> at;
    load(at, t + e * stride + j);
    for (std::size_t c = 0; c < kColumns; ++c) products[c] += at * u[e * stride + i + c];
  }
  for (std::size_t c = 0; c < kColumns && i + c < d; ++c) {
    const std::size_t row = i + c;
    if (j > row) continue;
    add_line<T>(products[c], std::min(kLine<T>, row + 1 - j), triangle + row * (row + 1) / 2 + j);
  }
}

template <class T>
[[gnu::always_inline]] inline void add_triangle(const SharedRows<T>& shared, const T* mass, const T* mean, double* sums,
                                                T* scratch) {
  const std::size_t n = shared.rows.size(), d = shared.x.cols(), stride = shared.x.stride();
  T *const t = scratch, *const u = scratch + kMomentRows * stride;
  for (std::size_t j = 0; j < d; j += kLine<T>) {
    Line<T> centre, first = {};
    load(centre, mean + j);
    for (std::size_t e = 0; e < n; ++e) {
      Line<T> x;
      load(x, shared.x.data() + shared.rows[e] * stride + j);
      const Line<T> away = x - centre, weighted = away * mass[e];
      store(t + e * stride + j, away);
      store(u + e * stride + j, weighted);
      first += weighted;
    }
    add_line<T>(first, std::min(kLine<T>, d - j), sums + kFirstMoments + j);
  }
  for (std::size_t i = 0; i < d; i += kColumns) {
    for (std::size_t j = 0; j < std::min(i + kColumns, d); j += kLine<T>) {
      add_products(t, u, n, stride, d, i, j, sums + second_moments(d));
    }
  }
}

template <class T>
[[gnu::always_inline]] inline void add_any(const SharedRows<T>& shared, const T* mean, bool full, double* sums,
                                           T* scratch) {
  if (shared.rows.empty()) return;
  T* const mass = scratch + 2 * kMomentRows * shared.x.stride();
  add_masses(shared, sums, mass);
  if (full) {
    add_triangle(shared, mass, mean, sums, scratch);
  } else {
    add_squares(shared, mass, mean, sums);
  }
}

}  // namespace

STEPPE_MULTIVERSION void add_moments(const SharedRows<float>& shared, const float* mean, bool full, double* sums,
                                     float* scratch) {
  add_any(shared, mean, full, sums, scratch);
}
STEPPE_MULTIVERSION void add_moments(const SharedRows<double>& shared, const double* mean, bool full, double* sums,
                                     double* scratch) {
  add_any(shared, mean, full, sums, scratch);
}

}  // namespace steppe::kernels
