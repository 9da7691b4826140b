#include "steppe/kernels/row_solver.hpp"

#include <algorithm>

#include "steppe/core/macros.hpp"
#include "steppe/kernels/vector_width.hpp"

namespace steppe::kernels {
namespace {

// out = (A + reg) in by columns of one register; four partial sums hide the latency of the multiply-add.
template <class T, std::size_t Bytes>
[[gnu::always_inline]] inline void product(const NormalEquations<T>& equations, T reg, const T* in, T* out) {
  using V = Vec<T, Bytes>;
  const std::size_t n = equations.order;
  for (std::size_t j = 0; j < n; j += VectorOf<T, Bytes>::lanes) {
    V sums[4] = {}, row;
    load(row, in + j);
    sums[0] = reg * row;
    for (std::size_t i = 0; i < n; i += 4) {
      for (std::size_t q = 0; q < 4; ++q) {
        load(row, equations.matrix + (i + q) * n + j);
        sums[q] += in[i + q] * row;
      }
    }
    store(out + j, (sums[0] + sums[1]) + (sums[2] + sums[3]));
  }
}

template <class T>
[[gnu::always_inline]] inline T dot(const T* a, const T* b, std::size_t n) {
  T sum = 0;
#pragma omp simd reduction(+ : sum)
  for (std::size_t i = 0; i < n; ++i) sum += a[i] * b[i];
  return sum;
}

template <class T, std::size_t Bytes>
[[gnu::always_inline]] inline int solve(const NormalEquations<T>& equations, T reg, T* x, const SolverLimits& limits,
                                        T* scratch) {
  const std::size_t n = equations.order;
  T *residual = scratch, *direction = residual + n, *image = direction + n, *inverse = image + n, *scaled = inverse + n;
  product<T, Bytes>(equations, reg, x, image);
  T size = 0;
  for (std::size_t i = 0; i < n; ++i) {
    const T diagonal = equations.matrix[i * n + i] + reg;
    inverse[i] = diagonal > T(0) ? T(1) / diagonal : T(0);
  }
#pragma omp simd reduction(+ : size)
  for (std::size_t i = 0; i < n; ++i) {
    size += equations.right[i] * inverse[i] * equations.right[i];
    residual[i] = equations.right[i] - image[i];
    direction[i] = scaled[i] = inverse[i] * residual[i];
  }
  T rest = dot(residual, scaled, n);
  const T enough = limits.bound(size, rest);
  int step = 0;
  for (; step < limits.steps && rest > enough; ++step) {
    product<T, Bytes>(equations, reg, direction, image);
    const T curvature = dot(direction, image, n);
    if (!(curvature > T(0))) break;
    const T length = rest / curvature;
#pragma omp simd
    for (std::size_t i = 0; i < n; ++i) {
      x[i] += length * direction[i];
      residual[i] -= length * image[i];
      scaled[i] = inverse[i] * residual[i];
    }
    const T before = rest;
    rest = dot(residual, scaled, n);
    const T turn = rest / before;
#pragma omp simd
    for (std::size_t i = 0; i < n; ++i) direction[i] = scaled[i] + turn * direction[i];
  }
  return step;
}

#if defined(__x86_64__) && defined(__GNUC__)
template <class T>
__attribute__((target("arch=x86-64-v4"))) int solve_v4(const NormalEquations<T>& equations, T reg, T* x,
                                                       const SolverLimits& limits, T* scratch) {
  return solve<T, 64>(equations, reg, x, limits, scratch);
}
template <class T>
__attribute__((target("arch=x86-64-v3"))) int solve_v3(const NormalEquations<T>& equations, T reg, T* x,
                                                       const SolverLimits& limits, T* scratch) {
  return solve<T, 32>(equations, reg, x, limits, scratch);
}
template <class T>
__attribute__((target("arch=x86-64-v4"))) void product_v4(const NormalEquations<T>& equations, T reg, const T* in,
                                                          T* out) {
  product<T, 64>(equations, reg, in, out);
}
#endif

template <class T>
[[gnu::always_inline]] inline void descend(const NormalEquations<T>& equations, T reg, std::size_t free, T* x,
                                           int sweeps, T* gradient) {
  const std::size_t n = equations.order;
  product<T, 16>(equations, reg, x, gradient);
  for (std::size_t i = 0; i < n; ++i) gradient[i] -= equations.right[i];
  for (int sweep = 0; sweep < sweeps; ++sweep) {
    for (std::size_t i = 0; i < n; ++i) {
      const T* const row = equations.matrix + i * n;
      const T curvature = row[i] + reg;
      if (!(curvature > T(0))) continue;
      const T best = x[i] - gradient[i] / curvature;
      const T change = (i == free ? best : std::max(best, T(0))) - x[i];
      if (change == T(0)) continue;
      x[i] += change;
#pragma omp simd
      for (std::size_t j = 0; j < n; ++j) gradient[j] += change * row[j];
      gradient[i] += change * reg;
    }
  }
}

STEPPE_MULTIVERSION void descend_on(const NormalEquations<float>& equations, float reg, std::size_t free, float* x,
                                    int sweeps, float* gradient) {
  descend(equations, reg, free, x, sweeps, gradient);
}
STEPPE_MULTIVERSION void descend_on(const NormalEquations<double>& equations, double reg, std::size_t free, double* x,
                                    int sweeps, double* gradient) {
  descend(equations, reg, free, x, sweeps, gradient);
}

}  // namespace

template <class T>
void apply(const NormalEquations<T>& equations, T reg, const T* in, T* out) {
#if defined(__x86_64__) && defined(__GNUC__)
  if (vector_bytes() == 64) return product_v4<T>(equations, reg, in, out);
#endif
  product<T, 16>(equations, reg, in, out);
}

template <class T>
int conjugate_gradient(const NormalEquations<T>& equations, T reg, T* x, const SolverLimits& limits,
                       std::span<T> scratch) {
#if defined(__x86_64__) && defined(__GNUC__)
  if (vector_bytes() == 64) return solve_v4<T>(equations, reg, x, limits, scratch.data());
  if (vector_bytes() == 32) return solve_v3<T>(equations, reg, x, limits, scratch.data());
#endif
  return solve<T, 16>(equations, reg, x, limits, scratch.data());
}

template <class T>
void nonnegative_descent(const NormalEquations<T>& equations, T reg, std::size_t free, T* x, int sweeps,
                         std::span<T> scratch) {
  descend_on(equations, reg, free, x, sweeps, scratch.data());
}

template void apply(const NormalEquations<float>&, float, const float*, float*);
template void apply(const NormalEquations<double>&, double, const double*, double*);
template int conjugate_gradient(const NormalEquations<float>&, float, float*, const SolverLimits&, std::span<float>);
template int conjugate_gradient(const NormalEquations<double>&, double, double*, const SolverLimits&,
                                std::span<double>);
template void nonnegative_descent(const NormalEquations<float>&, float, std::size_t, float*, int, std::span<float>);
template void nonnegative_descent(const NormalEquations<double>&, double, std::size_t, double*, int, std::span<double>);

}  // namespace steppe::kernels
