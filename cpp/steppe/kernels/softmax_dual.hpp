#pragma once

#include "steppe/kernels/class_block.hpp"

namespace steppe::kernels {

// One sweep of dual coordinate ascent for multinomial logistic regression, over the rows of one shard and the classes of
// one block.
//
// The problem is  min_W  alpha/2 ||W||^2 + sum_i omega_i (log sum_k e^{u_ik} - u_{i,y_i}),  u_ik = w_k.x_i (+ c_k).
// At its optimum  W = -1/alpha sum_i omega_i (q_i - e_{y_i}) x_i^T  with q_i = softmax(u_i). The sweep keeps that
// relation for the current q (the dual variables), and replaces the q of a row by the solution of
//
//     q_c = e^{u_c - kappa (q_c - q_c_old) - nu},     e^{-nu} rest + sum_c q_c = 1,     kappa = omega ||x||^2 / alpha,
//
// the softmax of the scores as they will be after the step itself; `rest` is the share of the normaliser that other
// blocks hold. This is exact ascent of the dual in the block, so no step size is needed, and each fixed point is the
// optimum whatever the order, the blocks and the staleness of `rest`.
//
// The intercept c_k is not penalised. It moves like the weight of a constant feature with penalty 1/intercept_scale
// about its last value (the proximal point method), hence `dual_sum`, sum_i omega_i (q_i - e_{y_i}).
template <class T>
struct DualBlock {
  T* weights = nullptr;    // features x lanes
  T* intercept = nullptr;  // lanes, null if there is none
  T* dual_sum = nullptr;   // lanes, null if there is none
  T* dual = nullptr;       // rows x lanes: q
  T* log_share = nullptr;  // rows: log sum_c e^{u_c} of this block, as last seen
  std::size_t lanes = 0, n_classes = 0;
  bool all_classes = false;  // the block holds every class, so there is no `rest`
};

template <class T>
struct DualRows {
  RowsView<T> x;
  std::span<const T> weight;            // omega
  std::span<const T> curvature;         // kappa
  std::span<T> log_normaliser;          // log sum_k e^{u_k} over all blocks, as last seen
  std::span<const std::uint32_t> order; // the rows to visit
};

template <class T>
struct DualSettings {
  T inverse_alpha = 1;
  T intercept_scale = 0;
  T damping = 1;  // in (0, 1]: the part of the step that is made
};

// scratch: 3 * lanes numbers, aligned to a cache line.
void sweep_softmax_dual(const DualRows<float>& rows, const DualBlock<float>& block, const DualSettings<float>& settings,
                        std::span<float> scratch);
void sweep_softmax_dual(const DualRows<double>& rows, const DualBlock<double>& block,
                        const DualSettings<double>& settings, std::span<double> scratch);

}  // namespace steppe::kernels
