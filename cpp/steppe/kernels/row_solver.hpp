#pragma once

#include <cstddef>
#include <span>

#include "steppe/kernels/normal_equations.hpp"

namespace steppe::kernels {

// When conjugate gradients stop: after `steps`, or once the residual r has (r' D r) <= tolerance^2 (b' D b), with D the
// inverse diagonal.
struct SolverLimits {
  int steps = 10;
  double tolerance = 1e-3;
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
