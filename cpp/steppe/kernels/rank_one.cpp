#include "steppe/kernels/rank_one.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include "steppe/core/macros.hpp"

namespace steppe::kernels {
namespace {

// The trailing rows i > k of S += beta s_k s_k', then row k becomes that of N.
template <class T>
[[gnu::always_inline]] inline void eliminate(MatrixView<T> s, std::size_t k, T beta) {
  const std::size_t b = s.cols();
  T* const pivot = s.data() + k * s.stride();
  for (std::size_t i = k + 1; i < b; ++i) {
    const T factor = beta * pivot[i];
    T* const row = s.data() + i * s.stride();
#pragma omp simd
    for (std::size_t j = i; j < b; ++j) row[j] += factor * pivot[j];
  }
#pragma omp simd
  for (std::size_t j = k + 1; j < b; ++j) pivot[j] *= -beta;
}

// Makes the updates that step(k, p) asks for: A^-1 -= step c c'.
template <class T, class Step>
[[gnu::always_inline]] inline BlockChange in_turn(MatrixView<T> s, std::span<double> beta, Step&& step) {
  BlockChange change;
  for (std::size_t k = 0; k < beta.size(); ++k) {
    const auto p = static_cast<double>(s(k, k));
    const double moved = step(k, p);
    const double shrink = 1 - moved * p;  // det of the new A^-1 relative to the old
    if (shrink > 8 * std::numeric_limits<T>::epsilon()) {
      beta[k] = moved / shrink;
      change.log_det -= std::log(shrink);
    } else {
      beta[k] = 0;
      change.definite = false;
    }
    eliminate(s, k, static_cast<T>(beta[k]));
  }
  return change;
}

template <class T>
[[gnu::always_inline]] inline BlockChange project(MatrixView<T> s, const BlockConstraints& constraints,
                                                  std::span<double> beta) {
  double moved = 0;
  BlockChange change = in_turn(s, beta, [&](std::size_t k, double p) {
    if (!(p > 0)) return 0.0;  // rounding only: a distance this small is beyond the precision
    const double sign = constraints.sign[k];
    double& dual = constraints.dual[k];
    const double step = projection_step(p, sign, constraints.target[k], dual, constraints.gamma);
    const double before = dual;
    dual = std::max(dual - sign * step, 0.0);
    moved += std::abs(before - dual);
    return step;
  });
  change.dual = moved;
  return change;
}

template <class T>
[[gnu::always_inline]] inline BlockChange apply(MatrixView<T> s, std::span<const double> step, std::span<double> beta) {
  return in_turn(s, beta, [&](std::size_t k, double) { return step[k]; });
}

}  // namespace

double projection_step(double p, double sign, double target, double dual, double gamma) {
  const double price = std::isinf(gamma) ? 1.0 : gamma / (gamma + 1);
  const double inverse_slack = 1 / target - sign * dual / gamma;
  return sign * std::min(dual, sign * price * (1 / p - inverse_slack));
}

STEPPE_MULTIVERSION BlockChange project_in_turn(MatrixView<float> s, const BlockConstraints& constraints,
                                                std::span<double> beta) {
  return project(s, constraints, beta);
}
STEPPE_MULTIVERSION BlockChange project_in_turn(MatrixView<double> s, const BlockConstraints& constraints,
                                                std::span<double> beta) {
  return project(s, constraints, beta);
}
STEPPE_MULTIVERSION BlockChange apply_in_turn(MatrixView<float> s, std::span<const double> step,
                                              std::span<double> beta) {
  return apply(s, step, beta);
}
STEPPE_MULTIVERSION BlockChange apply_in_turn(MatrixView<double> s, std::span<const double> step,
                                              std::span<double> beta) {
  return apply(s, step, beta);
}

}  // namespace steppe::kernels
