#pragma once

#include <algorithm>
#include <cstddef>
#include <limits>
#include <span>

#include "steppe/kernels/normal_equations.hpp"

namespace steppe::kernels {

// When conjugate gradients stop: after `steps`, or once the residual r is small in the norm r' D r (D is the inverse
// diagonal): at most `tolerance` of b and a tenth of what it was at the start, so that sweeps go on converging, or as
// small as rounding allows.
struct SolverLimits {
  int steps = 10;
  double tolerance = 1e-3;

  // The bound on r' D r, given those of b and of the first residual.
  template <class T>
  T bound(T right, T first) const {
    constexpr T rounding = 4 * std::numeric_limits<T>::epsilon() * std::numeric_limits<T>::epsilon();
    return std::max(rounding * right, std::min(static_cast<T>(tolerance * tolerance) * right, T(0.01) * first));
  }
};

// out = (A + reg) in.
template <class T>
void apply(const NormalEquations<T>& equations, T reg, const T* in, T* out);

// Conjugate gradients with Jacobi's preconditioner on (A + reg) x = b, from the x it is given (the last sweep's: a few
// steps are enough). `scratch` holds 5 x order values. Returns the number of steps.
template <class T>
int conjugate_gradient(const NormalEquations<T>& equations, T reg, T* x, const SolverLimits& limits,
                       std::span<T> scratch);

// The same problem with x >= 0 but for the entry at `free` (order if there is none): cyclic coordinate descent, each
// coordinate exactly minimised and clipped, from the x it is given. `scratch` holds `order` values.
template <class T>
void nonnegative_descent(const NormalEquations<T>& equations, T reg, std::size_t free, T* x, int sweeps,
                         std::span<T> scratch);

}  // namespace steppe::kernels
