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

// Less mass than this on the classes at hand is left where it is.
template <class T>
constexpr T kLeastMass = std::is_same_v<T, float> ? T(1e-7) : T(1e-14);

// What the Newton iteration of one row works on: q, log q and the old dual variables as parts of the mass at hand,
// which scales kappa.
template <class T>
struct RowState {
  T* log_q;
  T* q;
  const T* dual;
  std::size_t n;
  T kappa, nu;
};

// log_q and q: the softmax of `log_q`. Sets nu, its log-normaliser.
template <class T>
[[gnu::always_inline]] inline void start_at_softmax(RowState<T>& row) {
  T top = -std::numeric_limits<T>::infinity();
#pragma omp simd reduction(max : top)
  for (std::size_t c = 0; c < row.n; ++c) top = row.log_q[c] > top ? row.log_q[c] : top;
  T sum = 0;
#pragma omp simd reduction(+ : sum)
  for (std::size_t c = 0; c < row.n; ++c) {
    row.q[c] = exponential(row.log_q[c] - top);
    sum += row.q[c];
  }
  row.nu = top + std::log(sum);
  const T scale = 1 / sum;
#pragma omp simd
  for (std::size_t c = 0; c < row.n; ++c) {
    row.q[c] *= scale;
    row.log_q[c] -= row.nu;
  }
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
  const T move = (mass - 1 - lean) / slope;
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
  return moved + std::abs(total - 1);
}

// The same solution where the joint iteration does not settle (kappa far above 1: long rows, little penalty). The sum
// of q is convex and falls with nu, so Newton from where one q is 1 climbs to the root; for a given nu, log q solves y
// + kappa e^y = shifted - nu + kappa q_old, convex and rising, so Newton from its right descends to it.
template <class T>
T mass_at(RowState<T>& row, const T* shifted, T& slope) {
  T mass = 0;
  slope = 0;
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

// The scores of the classes at hand, one block behind the other. `lane_scores` has room for one block.
template <class Access, class T>
[[gnu::always_inline]] inline void gather_scores(SparseRow<T> x, const DualBlocks<T>& classes, T* lane_scores,
                                                 T* scores) {
  for (const DualBlock<T>& block : classes.blocks) {
    for (std::size_t c = 0; c < classes.lanes; ++c) {
      lane_scores[c] = block.intercept ? Access::load(block.intercept[c]) : T{0};
    }
    add_scores<Access>(x, block.weights, classes.lanes, lane_scores);
    scores = std::copy_n(lane_scores, block.n_classes, scores);
  }
}

// The row's dual variables of the classes at hand, as parts of their sum, which is returned.
template <class T>
[[gnu::always_inline]] inline T gather_dual(const DualBlocks<T>& classes, const T* dual, T* parts, std::size_t n) {
  T* end = parts;
  for (const DualBlock<T>& block : classes.blocks) end = std::copy_n(dual + block.first_dual, block.n_classes, end);
  T mass = 0;
#pragma omp simd reduction(+ : mass)
  for (std::size_t c = 0; c < n; ++c) mass += parts[c];
  const T scale = mass > 0 ? 1 / mass : T{0};
#pragma omp simd
  for (std::size_t c = 0; c < n; ++c) parts[c] *= scale;
  return classes.all_classes ? T{1} : mass;
}

// Adds omega change to the dual sum and -omega/alpha change x^T to the weights of one block.
template <class Access, class T>
[[gnu::always_inline]] inline void apply(SparseRow<T> x, const DualBlock<T>& block, std::size_t lanes,
                                         const DualSettings<T>& settings, T omega, const T* change, T* step) {
  const std::size_t n = block.n_classes;
  if (block.dual_sum) {
    for (std::size_t c = 0; c < n; ++c) add_to<Access>(block.dual_sum[c], omega * change[c]);
  }
#pragma omp simd
  for (std::size_t c = 0; c < n; ++c) step[c] = -settings.inverse_alpha * omega * change[c];
  std::fill(step + n, step + lanes, T{0});
  add_outer<Access>(x, step, lanes, block.weights);
}

// Moves the dual variables of the classes at hand to mass * q (a part of the way under damping), and the weights with
// them. `q` is left as the change.
template <class Access, class T>
[[gnu::always_inline]] inline void move(SparseRow<T> x, const DualBlocks<T>& classes, const DualSettings<T>& settings,
                                        T omega, T mass, T* dual, T* q, T* step) {
  const std::size_t n = classes.n_classes();
  T total = 0;
#pragma omp simd reduction(+ : total)
  for (std::size_t c = 0; c < n; ++c) total += q[c];
  const T scale = mass / total;  // the mass is conserved to rounding, however far the iteration went
  for (const DualBlock<T>& block : classes.blocks) {
    T* old = dual + block.first_dual;
#pragma omp simd
    for (std::size_t c = 0; c < block.n_classes; ++c) {
      const T change = settings.damping * (scale * q[c] - old[c]);
      old[c] += change;
      q[c] = change;
    }
    if (block.intercept) {
      const T moves = -omega * settings.intercept_scale;
      for (std::size_t c = 0; c < block.n_classes; ++c) add_to<Access>(block.intercept[c], moves * q[c]);
    }
    apply<Access>(x, block, classes.lanes, settings, omega, q, step);
    q += block.n_classes;
  }
}

template <class T>
[[gnu::always_inline]] inline void prefetch_span(const T* first, std::size_t n) {
  for (std::size_t at = 0; at < n; at += kLanes<T>) __builtin_prefetch(first + at, 1);
}

// Rows come in random order and the weights they meet lie anywhere, so a sweep would wait for most of what it reads.
// It asks ahead: for a row's entries and dual variables kRowsAhead rows before, for its weights one row before, which
// are on their way while that row is being solved.
constexpr std::size_t kRowsAhead = 4;

template <class T>
[[gnu::always_inline]] inline void prefetch(const DualRows<T>& rows, const DualBlocks<T>& classes, std::size_t at) {
  if (at + kRowsAhead < rows.order.size()) {
    const std::uint32_t i = rows.order[at + kRowsAhead];
    const SparseRow<T> x = rows.x.row(i);
    prefetch_span(x.indices.data(), x.size());
    prefetch_span(x.values.data(), x.size());
    for (const DualBlock<T>& block : classes.blocks) {
      prefetch_span(rows.dual + i * rows.dual_stride + block.first_dual, block.n_classes);
    }
  }
  if (at + 1 < rows.order.size()) {
    const SparseRow<T> x = rows.x.row(rows.order[at + 1]);
    for (const DualBlock<T>& block : classes.blocks) {
      for (const std::int32_t j : x.indices) {
        prefetch_span(block.weights + static_cast<std::size_t>(j) * classes.lanes, classes.lanes);
      }
    }
  }
}

template <class Access, class T>
[[gnu::always_inline]] inline std::size_t sweep(const DualRows<T>& rows, const DualBlocks<T>& classes,
                                                const DualSettings<T>& settings, std::span<T> scratch) {
  const std::size_t n = classes.n_classes();
  T* lanes = scratch.data();  // first: aligned
  T* step = lanes + classes.lanes;
  T* scores = step + classes.lanes;
  T* dual = scores + n;
  T* q = dual + n;
  T* log_q = q + n;
  std::size_t shared_out = 0;
  for (std::size_t at = 0; at < rows.order.size(); ++at) {
    const std::uint32_t i = rows.order[at];
    const T omega = rows.weight[i];
    if (omega == 0) continue;
    const T mass = gather_dual(classes, rows.dual + i * rows.dual_stride, dual, n);
    if (mass < kLeastMass<T>) continue;
    const SparseRow<T> x = rows.x.row(i);
    gather_scores<Access>(x, classes, lanes, scores);
    std::copy(scores, scores + n, log_q);
    prefetch(rows, classes, at);
    RowState<T> row{log_q, q, dual, n, rows.curvature[i] * mass, T{0}};
    solve(row, scores);
    move<Access>(x, classes, settings, omega, mass, rows.dual + i * rows.dual_stride, q, step);
    ++shared_out;
  }
  return shared_out;
}

template <class T>
[[gnu::always_inline]] inline void rebuild(const DualRows<T>& rows, std::span<const std::int32_t> labels,
                                           std::int32_t first_class, const DualBlock<T>& block, std::size_t lanes,
                                           const DualSettings<T>& settings, std::span<T> scratch) {
  T* residual = scratch.data() + lanes;
  for (std::size_t i = 0; i < rows.x.rows(); ++i) {
    if (rows.weight[i] == 0) continue;
    std::copy_n(rows.dual + i * rows.dual_stride + block.first_dual, block.n_classes, residual);
    const std::int64_t own = std::int64_t{labels[i]} - first_class;
    if (own >= 0 && own < static_cast<std::int64_t>(block.n_classes)) residual[own] -= 1;
    apply<Exclusive>(rows.x.row(i), block, lanes, settings, rows.weight[i], residual, scratch.data());
  }
}

}  // namespace

STEPPE_MULTIVERSION std::size_t sweep_softmax_dual(const DualRows<float>& rows, const DualBlocks<float>& classes,
                                                   const DualSettings<float>& settings, Scratch<float> scratch) {
  return sweep<Exclusive>(rows, classes, settings, scratch);
}
STEPPE_MULTIVERSION std::size_t sweep_softmax_dual(const DualRows<double>& rows, const DualBlocks<double>& classes,
                                                   const DualSettings<double>& settings, Scratch<double> scratch) {
  return sweep<Exclusive>(rows, classes, settings, scratch);
}
std::size_t sweep_softmax_dual_shared(const DualRows<float>& rows, const DualBlocks<float>& classes,
                                      const DualSettings<float>& settings, Scratch<float> scratch) {
  return sweep<Shared>(rows, classes, settings, scratch);
}
std::size_t sweep_softmax_dual_shared(const DualRows<double>& rows, const DualBlocks<double>& classes,
                                      const DualSettings<double>& settings, Scratch<double> scratch) {
  return sweep<Shared>(rows, classes, settings, scratch);
}
void add_dual_weights(const DualRows<float>& rows, std::span<const std::int32_t> labels, std::int32_t first_class,
                      const DualBlock<float>& block, std::size_t lanes, const DualSettings<float>& settings,
                      Scratch<float> scratch) {
  rebuild(rows, labels, first_class, block, lanes, settings, scratch);
}
void add_dual_weights(const DualRows<double>& rows, std::span<const std::int32_t> labels, std::int32_t first_class,
                      const DualBlock<double>& block, std::size_t lanes, const DualSettings<double>& settings,
                      Scratch<double> scratch) {
  rebuild(rows, labels, first_class, block, lanes, settings, scratch);
}

}  // namespace steppe::kernels
