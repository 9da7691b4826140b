#include "steppe/kernels/rank_one.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include "steppe/core/macros.hpp"

namespace steppe::kernels {
namespace {

// det of A^-1 after an update relative to before, at least: below that rounding decides whether A is definite.
constexpr double kDefinite = 8 * std::numeric_limits<double>::epsilon();
// The same of a projection. Below, the digits of the dual variable do not tell how long the pair is.
constexpr double kTold = 1e-10;

// The trailing rows i > k of S += beta s_k s_k', then row k becomes that of N.
[[gnu::always_inline]] inline void eliminate(MatrixView<double> s, std::size_t k, double beta) {
  const std::size_t b = s.cols();
  double* const pivot = s.data() + k * s.stride();
  for (std::size_t i = k + 1; i < b; ++i) {
    const double factor = beta * pivot[i];
    double* const row = s.data() + i * s.stride();
#pragma omp simd
    for (std::size_t j = i; j < b; ++j) row[j] += factor * pivot[j];
  }
#pragma omp simd
  for (std::size_t j = k + 1; j < b; ++j) pivot[j] *= -beta;
}

// Makes the update A^-1 -= step c_k c_k' of step(k, p) if A stays definite; made(k, step) is told and returns the
// change of dual.
template <class Step, class Made>
[[gnu::always_inline]] inline BlockChange in_turn(MatrixView<double> s, std::span<double> beta, double least,
                                                  Step&& step, Made&& made) {
  BlockChange change;
  for (std::size_t k = 0; k < beta.size(); ++k) {
    const double p = s(k, k);
    const double moved = step(k, p), shrink = 1 - moved * p;
    const bool definite = p > 0 && shrink > least;
    if (moved != 0 && definite) {
      change.log_det -= std::log1p(-moved * p);
      change.dual += made(k, moved);
    } else if (!definite && moved != 0) {
      ++change.left_out;
    }
    beta[k] = definite ? moved / shrink : 0;
    eliminate(s, k, beta[k]);
  }
  return change;
}

}  // namespace

double projection_step(double p, double sign, double target, double dual, double gamma) {
  const double price = std::isinf(gamma) ? 1.0 : gamma / (gamma + 1);
  const double inverse_slack = 1 / target - sign * dual / gamma;
  return sign * std::min(dual, sign * price * (1 / p - inverse_slack));
}

bool projects(double p, double step) { return p > 0 && 1 - step * p > kTold; }

STEPPE_MULTIVERSION BlockChange project_in_turn(MatrixView<double> s, const BlockConstraints& constraints,
                                                std::span<double> beta) {
  const auto step = [&](std::size_t k, double p) {
    if (!(p > 0)) return std::numeric_limits<double>::quiet_NaN();
    return projection_step(p, constraints.sign[k], constraints.target[k], constraints.dual[k], constraints.gamma);
  };
  const auto made = [&](std::size_t k, double moved) {
    const double before = constraints.dual[k];
    constraints.dual[k] = std::max(before - constraints.sign[k] * moved, 0.0);
    return std::abs(before - constraints.dual[k]);
  };
  return in_turn(s, beta, kTold, step, made);
}
STEPPE_MULTIVERSION BlockChange apply_in_turn(MatrixView<double> s, std::span<const double> step,
                                              std::span<double> beta) {
  return in_turn(
      s, beta, kDefinite, [&](std::size_t k, double) { return step[k]; },
      [](std::size_t, double moved) { return std::abs(moved); });
}

}  // namespace steppe::kernels
