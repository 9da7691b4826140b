#pragma once

#include <cstdint>
#include <span>

#include "steppe/kernels/class_block.hpp"

namespace steppe::kernels {

// One sweep of dual coordinate ascent for multinomial logistic regression, over the rows of one shard and the classes
// that are at hand.
//
//   min_W  alpha/2 ||W||^2 + sum_i omega_i (log sum_k e^{u_ik} - u_{i,y_i}),   u_ik = w_k.x_i + c_k
//
// At its optimum  W = -1/alpha sum_i omega_i (q_i - e_{y_i}) x_i^T  with q_i = softmax(u_i). The sweep keeps that
// relation for the current q (the dual variables: of each row, a distribution over all classes). Among the classes at
// hand a row shares out anew the mass that it has on them,  C = sum_c q_c:
//
//   log q_c + kappa (q_c - q_c_old) = u_c - nu,   sum_c q_c = C,   kappa = omega ||x||^2 / alpha,
//
// which is the restricted softmax of the scores as they will be after the step itself. This is exact ascent of the dual
// over one row and these classes: nothing it reads can be stale, so the dual never falls, whatever the order, the
// number of workers and their speed. Classes must meet in changing company, for mass moves only between classes at
// hand. Shalev-Shwartz and Zhang, "Stochastic dual coordinate ascent methods for regularized loss minimization", JMLR
// 14 (2013); the conserved mass is that of Raman et al., "Extreme stochastic variational inference", AISTATS 2019. Rows
// must come in random order.
//
// The intercept c_k is not penalised. It moves like the weight of a constant feature with penalty 1/intercept_scale
// about its last value (the proximal point method), hence `dual_sum`, sum_i omega_i (q_i - e_{y_i}).

// Consecutive classes whose weights lie together.
template <class T>
struct DualBlock {
  T* weights = nullptr;    // features x lanes
  T* intercept = nullptr;  // lanes; null if there is none
  T* dual_sum = nullptr;   // lanes; null if there is none
  std::size_t n_classes = 0;
  std::size_t first_dual = 0;  // where its classes begin in a row of dual variables
};

// The classes at hand.
template <class T>
struct DualBlocks {
  std::span<const DualBlock<T>> blocks;
  std::size_t lanes = 0;     // of each block
  bool all_classes = false;  // then C = 1

  std::size_t n_classes() const noexcept {
    std::size_t n = 0;
    for (const auto& block : blocks) n += block.n_classes;
    return n;
  }
};

template <class T>
struct DualRows {
  RowsView<T> x;
  std::span<const T> weight;     // omega
  std::span<const T> curvature;  // kappa
  T* dual = nullptr;             // rows x dual_stride: q
  std::size_t dual_stride = 0;
  std::span<const std::uint32_t> order;  // the rows to visit
};

template <class T>
struct DualSettings {
  T inverse_alpha = 1;
  T intercept_scale = 0;
  T damping = 1;  // in (0, 1]: the part of the step that is made
};

// Numbers of scratch for that many classes at hand.
constexpr std::size_t dual_scratch(std::size_t n_classes, std::size_t lanes) { return 4 * n_classes + 2 * lanes; }

// `scratch` is aligned to a cache line. Returns the rows that had mass to share out.
template <class T>
using Scratch = std::span<T>;

std::size_t sweep_softmax_dual(const DualRows<float>& rows, const DualBlocks<float>& classes,
                               const DualSettings<float>& settings, Scratch<float> scratch);
std::size_t sweep_softmax_dual(const DualRows<double>& rows, const DualBlocks<double>& classes,
                               const DualSettings<double>& settings, Scratch<double> scratch);

// The same while other threads sweep other rows over the same block: atomic reads, and additions that are never lost,
// since nothing would ever repair the relation between W and q.
std::size_t sweep_softmax_dual_shared(const DualRows<float>& rows, const DualBlocks<float>& classes,
                                      const DualSettings<float>& settings, Scratch<float> scratch);
std::size_t sweep_softmax_dual_shared(const DualRows<double>& rows, const DualBlocks<double>& classes,
                                      const DualSettings<double>& settings, Scratch<double> scratch);

// Adds to a block what it owes to the rows' dual variables: -1/alpha sum_i omega_i (q_i - e_{y_i}) x_i^T to the
// weights, and the same sum without x to dual_sum. The block's first lane is class first_class.
void add_dual_weights(const DualRows<float>& rows, std::span<const std::int32_t> labels, std::int32_t first_class,
                      const DualBlock<float>& block, std::size_t lanes, const DualSettings<float>& settings,
                      Scratch<float> scratch);
void add_dual_weights(const DualRows<double>& rows, std::span<const std::int32_t> labels, std::int32_t first_class,
                      const DualBlock<double>& block, std::size_t lanes, const DualSettings<double>& settings,
                      Scratch<double> scratch);

}  // namespace steppe::kernels
