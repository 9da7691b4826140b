#include "steppe/kernels/softmax_dual.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include "steppe/core/macros.hpp"
#include "steppe/kernels/exponential.hpp"

namespace steppe::kernels {
namespace {

constexpr int kNewtonSteps = 8;

// A Newton step that moves no more probability than this is the last one: the next would move about its square.
template <class T>
constexpr T kSettled = std::is_same_v<T, float> ? T(1e-3) : T(1e-5);

// What rounding leaves of 1 - share: a smaller rest is not known.
template <class T>
constexpr T kLeastRest = std::is_same_v<T, float> ? T(1e-6) : T(1e-14);

// What the Newton iteration of one row works on.
template <class T>
struct RowState {
  T* log_q;
  T* q;
  const T* dual;
  std::size_t n;
  T kappa, rest, nu;
};

// log_q and q: the softmax of `log_q` (scores relative to the old normaliser) beside `rest`. Sets nu, the change of the
// log-normaliser.
template <class T>
[[gnu::always_inline]] inline void start_at_softmax(RowState<T>& row) {
  T top = 0;
#pragma omp simd reduction(max : top)
  for (std::size_t c = 0; c < row.n; ++c) top = row.log_q[c] > top ? row.log_q[c] : top;
  T sum = 0;
#pragma omp simd reduction(+ : sum)
  for (std::size_t c = 0; c < row.n; ++c) {
    row.q[c] = exponential(row.log_q[c] - top);
    sum += row.q[c];
  }
  if (row.rest != 0) sum += row.rest * std::exp(-top);
  row.nu = top + std::log(sum);
  const T scale = 1 / sum;
#pragma omp simd
  for (std::size_t c = 0; c < row.n; ++c) {
    row.q[c] *= scale;
    row.log_q[c] -= row.nu;
  }
}

// log(e^a + e^b)
template <class T>
[[gnu::always_inline]] inline T log_sum(T a, T b) {
  const T top = a > b ? a : b, other = a > b ? b : a;
  return top + std::log1p(std::exp(other - top));
}

// What is left of `rest` under the new normaliser.
template <class T>
[[gnu::always_inline]] inline T rest_share(const RowState<T>& row) {
  return row.rest == 0 ? T{0} : row.rest * std::exp(-row.nu);
}

// One Newton step on log q and nu for the row's equations; `excess` is u - nu + kappa * q_old - log q - kappa * q.
// Returns how much probability it expects to move.
template <class T>
[[gnu::always_inline]] inline T newton_step(RowState<T>& row, const T* shifted) {
  T mass = 0, slope = 0, lean = 0;
#pragma omp simd reduction(+ : mass, slope, lean)
  for (std::size_t c = 0; c < row.n; ++c) {
    const T q = row.q[c];
    const T weight = q / (1 + row.kappa * q);
    const T residual = row.log_q[c] + row.nu - shifted[c] + row.kappa * (q - row.dual[c]);
    mass += q;
    slope += weight;
    lean += weight * residual;
  }
  const T rest = rest_share(row);
  const T move = (mass + rest - 1 - lean) / (slope + rest);
  T moved = 0, total = 0;
#pragma omp simd reduction(+ : moved, total)
  for (std::size_t c = 0; c < row.n; ++c) {
    const T q = row.q[c];
    const T residual = row.log_q[c] + row.nu - shifted[c] + row.kappa * (q - row.dual[c]);
    const T change = -(residual + move) / (1 + row.kappa * q);
    const T next = row.log_q[c] + change;
    row.log_q[c] = next < 0 ? next : T{0};
    row.q[c] = exponential(row.log_q[c]);
    moved += row.q[c] > q ? row.q[c] - q : q - row.q[c];
    total += row.q[c];
  }
  row.nu += move;
  return moved + std::abs(total + rest_share(row) - 1);
}

// The same solution where the joint iteration does not settle (kappa far above 1: long rows, little penalty). The sum
// of q is convex and falls with nu, so Newton from where one q is 1 climbs to the root; for a given nu, log q solves y
// + kappa e^y = shifted - nu + kappa q_old, convex and rising, so Newton from its right descends to it.
template <class T>
T mass_at(RowState<T>& row, const T* shifted, T& slope) {
  T mass = rest_share(row);
  slope = mass;
  for (std::size_t c = 0; c < row.n; ++c) {
    const T target = shifted[c] - row.nu + row.kappa * row.dual[c];
    T y = std::min(target, T{0}), move = 1;
    for (int inner = 0; inner < 60 && std::abs(move) > T(1e-4); ++inner) {
      const T rising = row.kappa * std::exp(y);
      move = (y + rising - target) / (1 + rising);
      y = std::min(y - move, T{0});
    }
    row.log_q[c] = y;
    row.q[c] = std::exp(y);
    mass += row.q[c];
    slope += row.q[c] / (1 + row.kappa * row.q[c]);
  }
  return mass;
}

template <class T>
void solve_nested(RowState<T>& row, const T* shifted) {
  T low = -std::numeric_limits<T>::infinity();
  for (std::size_t c = 0; c < row.n; ++c) low = std::max(low, shifted[c] + row.kappa * (row.dual[c] - 1));
  if (row.rest > 0) low = std::max(low, std::log(row.rest));
  T high = std::numeric_limits<T>::infinity();
  row.nu = low;
  for (int outer = 0; outer < 80; ++outer) {
    T slope = 0;
    const T mass = mass_at(row, shifted, slope);
    if (std::abs(mass - 1) < T(1e-5)) return;
    (mass > 1 ? low : high) = row.nu;
    row.nu += (mass - 1) / slope;
    if (!(row.nu > low && row.nu < high)) row.nu = low + (high - low) / 2;
    if (!(row.nu > low && row.nu < high)) return;  // neighbours: no number lies between
  }
}

template <class T>
[[gnu::always_inline]] inline void solve(RowState<T>& row, const T* shifted) {
  start_at_softmax(row);
  for (int step = 0; step < kNewtonSteps; ++step) {
    if (newton_step(row, shifted) < kSettled<T>) return;
  }
  solve_nested(row, shifted);
}

// Scores relative to the row's last known normaliser.
template <class Access, class T>
[[gnu::always_inline]] inline void relative_scores(SparseRow<T> x, const DualBlock<T>& block, T normaliser, T* scores) {
  for (std::size_t c = 0; c < block.lanes; ++c) scores[c] = block.intercept ? Access::load(block.intercept[c]) : T{0};
  add_scores<Access>(x, block.weights, block.lanes, scores);
#pragma omp simd
  for (std::size_t c = 0; c < block.n_classes; ++c) scores[c] -= normaliser;
}

// Moves a row's dual variables to q (a part of the way under damping), leaves the change in q and the new scores in
// `scores`, and returns their log-sum.
template <class T>
[[gnu::always_inline]] inline T move_dual(T* dual, T* q, T* scores, std::size_t n, T kappa, T damping) {
  T top = -std::numeric_limits<T>::infinity();
#pragma omp simd reduction(max : top)
  for (std::size_t c = 0; c < n; ++c) {
    const T change = damping * (q[c] - dual[c]);
    dual[c] += change;
    scores[c] -= kappa * change;
    q[c] = change;
    top = scores[c] > top ? scores[c] : top;
  }
  T share = 0;
#pragma omp simd reduction(+ : share)
  for (std::size_t c = 0; c < n; ++c) share += exponential(scores[c] - top);
  return top + std::log(share);
}

// Adds omega change to the dual sum and -omega/alpha change x^T to the weights.
template <class Access, class T>
[[gnu::always_inline]] inline void apply(SparseRow<T> x, const DualBlock<T>& block, const DualSettings<T>& settings,
                                         T omega, const T* change, T* step) {
  const std::size_t n = block.n_classes;
  if (block.dual_sum) {
    for (std::size_t c = 0; c < n; ++c) add_to<Access>(block.dual_sum[c], omega * change[c]);
  }
#pragma omp simd
  for (std::size_t c = 0; c < n; ++c) step[c] = -settings.inverse_alpha * omega * change[c];
  std::fill(step + n, step + block.lanes, T{0});
  add_outer<Access>(x, step, block.lanes, block.weights);
}

template <class Access, class T>
[[gnu::always_inline]] inline void sweep(const DualRows<T>& rows, const DualBlock<T>& block,
                                         const DualSettings<T>& settings, std::span<T> scratch) {
  const std::size_t lanes = block.lanes, n = block.n_classes;
  T* scores = scratch.data();
  T* q = scores + lanes;
  T* log_q = q + lanes;
  for (const std::uint32_t i : rows.order) {
    const T omega = rows.weight[i];
    if (omega == 0) continue;
    const SparseRow<T> x = rows.x.row(i);
    const T normaliser = rows.log_normaliser[i];
    relative_scores<Access>(x, block, normaliser, scores);
    T rest = 0;
    if (!block.all_classes) rest = std::max(1 - std::exp(block.log_share[i] - normaliser), kLeastRest<T>);
    std::copy(scores, scores + n, log_q);
    T* dual = block.dual + i * lanes;
    RowState<T> row{log_q, q, dual, n, rows.curvature[i], rest, T{0}};
    solve(row, scores);
    const T share = normaliser + move_dual(dual, q, scores, n, row.kappa, settings.damping);
    block.log_share[i] = share;
    rows.log_normaliser[i] = rest == 0 ? share : log_sum(share, normaliser + std::log(rest));
    if (block.intercept) {
      const T scale = -omega * settings.intercept_scale;
      for (std::size_t c = 0; c < n; ++c) add_to<Access>(block.intercept[c], scale * q[c]);
    }
    apply<Access>(x, block, settings, omega, q, scores);
  }
}

template <class T>
[[gnu::always_inline]] inline void rebuild(const DualRows<T>& rows, std::span<const std::int32_t> labels,
                                           std::int32_t first_class, const DualBlock<T>& block,
                                           const DualSettings<T>& settings, std::span<T> scratch) {
  T* residual = scratch.data() + block.lanes;
  for (std::size_t i = 0; i < rows.x.rows(); ++i) {
    if (rows.weight[i] == 0) continue;
    std::copy_n(block.dual + i * block.lanes, block.lanes, residual);
    const std::int64_t own = std::int64_t{labels[i]} - first_class;
    if (own >= 0 && own < static_cast<std::int64_t>(block.n_classes)) residual[own] -= 1;
    apply<Exclusive>(rows.x.row(i), block, settings, rows.weight[i], residual, scratch.data());
  }
}

}  // namespace

STEPPE_MULTIVERSION void sweep_softmax_dual(const DualRows<float>& rows, const DualBlock<float>& block,
                                            const DualSettings<float>& settings, Scratch<float> scratch) {
  sweep<Exclusive>(rows, block, settings, scratch);
}
STEPPE_MULTIVERSION void sweep_softmax_dual(const DualRows<double>& rows, const DualBlock<double>& block,
                                            const DualSettings<double>& settings, Scratch<double> scratch) {
  sweep<Exclusive>(rows, block, settings, scratch);
}
void sweep_softmax_dual_shared(const DualRows<float>& rows, const DualBlock<float>& block,
                               const DualSettings<float>& settings, Scratch<float> scratch) {
  sweep<Shared>(rows, block, settings, scratch);
}
void sweep_softmax_dual_shared(const DualRows<double>& rows, const DualBlock<double>& block,
                               const DualSettings<double>& settings, Scratch<double> scratch) {
  sweep<Shared>(rows, block, settings, scratch);
}
void add_dual_weights(const DualRows<float>& rows, std::span<const std::int32_t> labels, std::int32_t first_class,
                      const DualBlock<float>& block, const DualSettings<float>& settings, Scratch<float> scratch) {
  rebuild(rows, labels, first_class, block, settings, scratch);
}
void add_dual_weights(const DualRows<double>& rows, std::span<const std::int32_t> labels, std::int32_t first_class,
                      const DualBlock<double>& block, const DualSettings<double>& settings, Scratch<double> scratch) {
  rebuild(rows, labels, first_class, block, settings, scratch);
}

}  // namespace steppe::kernels
