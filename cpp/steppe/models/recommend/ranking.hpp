#pragma once

#include <cstdint>
#include <span>

#include "steppe/core/views.hpp"
#include "steppe/models/recommend/matrix_factorization_problem.hpp"

namespace steppe {

// What is asked of fitted factors. Nothing here is collective; n_threads workers share the rows.

// Row u of `scores` and `items`: the best columns of users * items' + offset, falling, without the stored columns of
// row u of `excluded` (ignored if it has no rows). Where too few are left, -inf and -1. The full table is never formed.
template <class T>
void top_items(MatrixView<const T> users, MatrixView<const T> items, std::span<const T> offset, CsrView<T> excluded,
               std::uint32_t n_threads, MatrixView<T> scores, MatrixView<std::int32_t> best);

// out[n] = users[u[n]] . items[i[n]].
template <class T>
void pair_products(MatrixView<const T> users, MatrixView<const T> items, std::span<const std::int64_t> u,
                   std::span<const std::int64_t> i, std::uint32_t n_threads, std::span<T> out);

// The factors and biases that minimise the objective for new users, the items being fixed.
template <class T>
void fold_in(const MatrixFactorizationObjective& objective, CsrView<T> ratings, MatrixView<const T> items,
             std::span<const T> item_bias, double mean, std::uint32_t n_threads, MatrixView<T> factors,
             std::span<T> bias);

}  // namespace steppe
