#pragma once

#include <cstdint>
#include <span>

#include "steppe/kernels/class_block.hpp"

namespace steppe::kernels {

// One sweep of dual coordinate ascent for multinomial logistic regression, over the rows of one shard and the classes
// of one block.
//
//   min_W  alpha/2 ||W||^2 + sum_i omega_i (log sum_k e^{u_ik} - u_{i,y_i}),   u_ik = w_k.x_i + c_k
//
// At its optimum  W = -1/alpha sum_i omega_i (q_i - e_{y_i}) x_i^T  with q_i = softmax(u_i). The sweep keeps that
// relation for the current q (the dual variables), and replaces the q of a row by the solution of
//
//   log q_c + kappa (q_c - q_c_old) = u_c - nu,   e^{-nu} rest + sum_c q_c = 1,   kappa = omega ||x||^2 / alpha,
//
// the softmax of the scores as they will be after the step itself; `rest` is the share of the normaliser that other
// blocks hold. This is exact ascent of the dual in one row and block, so there is no step size, and a fixed point is
// the optimum whatever the order, the blocks and the staleness of `rest`. Shalev-Shwartz and Zhang, "Stochastic dual
// coordinate ascent methods for regularized loss minimization", JMLR 14 (2013); rows must come in random order.
//
// The intercept c_k is not penalised. It moves like the weight of a constant feature with penalty 1/intercept_scale
// about its last value (the proximal point method), hence `dual_sum`, sum_i omega_i (q_i - e_{y_i}).
template <class T>
struct DualBlock {
  T* weights = nullptr;    // features x lanes
  T* intercept = nullptr;  // lanes; null if there is none
  T* dual_sum = nullptr;   // lanes; null if there is none
  T* dual = nullptr;       // rows x lanes: q
  T* log_share = nullptr;  // rows: log sum_c e^{u_c} over this block, as last seen
  std::size_t lanes = 0, n_classes = 0;
  bool all_classes = false;  // the block holds every class, so there is no `rest`
};

template <class T>
struct DualRows {
  RowsView<T> x;
  std::span<const T> weight;             // omega
  std::span<const T> curvature;          // kappa
  T* log_normaliser = nullptr;           // rows: log sum_k e^{u_k} over all blocks, as last seen
  std::span<const std::uint32_t> order;  // the rows to visit
};

template <class T>
struct DualSettings {
  T inverse_alpha = 1;
  T intercept_scale = 0;
  T damping = 1;  // in (0, 1]: the part of the step that is made
};

inline constexpr std::size_t kDualScratch = 3;  // times lanes

// `scratch` is aligned to a cache line. The second form lets other threads sweep their rows over the same block.
// Aligned to a cache line.
template <class T>
using Scratch = std::span<T>;

void sweep_softmax_dual(const DualRows<float>& rows, const DualBlock<float>& block, const DualSettings<float>& settings,
                        Scratch<float> scratch);
void sweep_softmax_dual(const DualRows<double>& rows, const DualBlock<double>& block,
                        const DualSettings<double>& settings, Scratch<double> scratch);

// The same while other threads sweep other rows over the same block: atomic reads, and additions that are never lost,
// since nothing would ever repair the relation between W and q.
void sweep_softmax_dual_shared(const DualRows<float>& rows, const DualBlock<float>& block,
                               const DualSettings<float>& settings, Scratch<float> scratch);
void sweep_softmax_dual_shared(const DualRows<double>& rows, const DualBlock<double>& block,
                               const DualSettings<double>& settings, Scratch<double> scratch);

// Adds to a block what it owes to the rows' dual variables: -1/alpha sum_i omega_i (q_i - e_{y_i}) x_i^T to the
// weights, and the same sum without x to dual_sum. The block's first lane is class first_class.
void add_dual_weights(const DualRows<float>& rows, std::span<const std::int32_t> labels, std::int32_t first_class,
                      const DualBlock<float>& block, const DualSettings<float>& settings, Scratch<float> scratch);
void add_dual_weights(const DualRows<double>& rows, std::span<const std::int32_t> labels, std::int32_t first_class,
                      const DualBlock<double>& block, const DualSettings<double>& settings, Scratch<double> scratch);

}  // namespace steppe::kernels
