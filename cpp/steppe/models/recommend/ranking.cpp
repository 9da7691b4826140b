#include "steppe/models/recommend/ranking.hpp"

#include <algorithm>
#include <limits>
#include <vector>

#include "steppe/kernels/row_solver.hpp"
#include "steppe/kernels/top_k.hpp"
#include "steppe/runtime/team.hpp"

namespace steppe {
namespace {

using kernels::kScoreItems;
using kernels::kScoreRows;

// Items in columns, block by block, with their offsets; the last block is filled up with zeros.
template <class T>
struct ItemBlocks {
  std::size_t k, n_items, n_blocks;
  AlignedVector<T> columns, offset;

  ItemBlocks(MatrixView<const T> items, std::span<const T> offsets)
      : k(items.cols()), n_items(items.rows()), n_blocks((n_items + kScoreItems - 1) / kScoreItems),
        columns(n_blocks * k * kScoreItems), offset(n_blocks * kScoreItems) {
    for (std::size_t j = 0; j < n_items; ++j) {
      T* const column = columns.data() + j / kScoreItems * k * kScoreItems + j % kScoreItems;
      for (std::size_t f = 0; f < k; ++f) column[f * kScoreItems] = items(j, f);
      if (!offsets.empty()) offset[j] = offsets[j];
    }
  }
  std::size_t size(std::size_t b) const { return std::min(kScoreItems, n_items - b * kScoreItems); }
};

// Hides the excluded items of one block; `next` walks along the row as the blocks do.
template <class T>
void hide(std::span<const std::int32_t> excluded, std::size_t& next, std::size_t first, std::span<T> scores) {
  for (; next < excluded.size(); ++next) {
    const auto item = static_cast<std::size_t>(excluded[next]);
    if (item >= first + scores.size()) return;
    scores[item - first] = -std::numeric_limits<T>::infinity();
  }
}

template <class T>
void rank_users(const ItemBlocks<T>& blocks, MatrixView<const T> users, CsrView<T> excluded, std::size_t begin,
                std::size_t end, MatrixView<T> scores, MatrixView<std::int32_t> best, std::span<T> tile) {
  for (std::size_t u0 = begin; u0 < end; u0 += kScoreRows) {
    const std::size_t n = std::min(kScoreRows, end - u0);
    const T* rows[kScoreRows];
    std::size_t next[kScoreRows] = {};
    for (std::size_t u = 0; u < kScoreRows; ++u) rows[u] = users.row(u0 + std::min(u, n - 1)).data();
    for (std::size_t b = 0; b < blocks.n_blocks; ++b) {
      kernels::score_block<T>(rows, blocks.k, blocks.columns.data() + b * blocks.k * kScoreItems,
                              blocks.offset.data() + b * kScoreItems, tile.data());
      for (std::size_t u = 0; u < n; ++u) {
        const std::span<T> row = tile.subspan(u * kScoreItems, blocks.size(b));
        if (excluded.rows() > 0) hide(excluded.row(u0 + u).indices, next[u], b * kScoreItems, row);
        kernels::select_best<T>(row, static_cast<std::int32_t>(b * kScoreItems),
                                {scores.row(u0 + u), best.row(u0 + u)});
      }
    }
  }
}

}  // namespace

template <class T>
void top_items(MatrixView<const T> users, MatrixView<const T> items, std::span<const T> offset, CsrView<T> excluded,
               std::uint32_t n_threads, MatrixView<T> scores, MatrixView<std::int32_t> best) {
  const ItemBlocks<T> blocks(items, offset);
  for (std::size_t u = 0; u < users.rows(); ++u) {
    std::ranges::fill(scores.row(u), -std::numeric_limits<T>::infinity());
    std::ranges::fill(best.row(u), -1);
  }
  Team team(n_threads);
  std::vector<AlignedVector<T>> tiles(n_threads, AlignedVector<T>(kScoreRows * kScoreItems));
  team.parallel_for(users.rows(), 64, [&](std::size_t begin, std::size_t end, std::uint32_t member) {
    rank_users(blocks, users, excluded, begin, end, scores, best, std::span<T>(tiles[member]));
  });
}

template <class T>
void pair_products(MatrixView<const T> users, MatrixView<const T> items, std::span<const std::int64_t> u,
                   std::span<const std::int64_t> i, std::uint32_t n_threads, std::span<T> out) {
  Team team(n_threads);
  team.parallel_for(out.size(), 4096, [&](std::size_t begin, std::size_t end, std::uint32_t) {
    for (std::size_t n = begin; n < end; ++n) {
      const auto w = users.row(static_cast<std::size_t>(u[n])), h = items.row(static_cast<std::size_t>(i[n]));
      T sum = 0;
#pragma omp simd reduction(+ : sum)
      for (std::size_t f = 0; f < w.size(); ++f) sum += w[f] * h[f];
      out[n] = sum;
    }
  });
}

template <class T>
void fold_in(const MatrixFactorizationObjective& objective, CsrView<T> ratings, MatrixView<const T> items,
             std::span<const T> item_bias, double mean, std::uint32_t n_threads, MatrixView<T> factors,
             std::span<T> bias) {
  constexpr int kSweeps = 200;
  const kernels::SolverLimits limits{100, 1e-6};
  FactorTable<T> table(items.rows(), items.cols());
  table.assign(items, item_bias);
  const std::size_t order = padded<T>(table.k + (objective.biases ? 1 : 0));
  const T* const biases = objective.biases ? table.bias.data() : nullptr;

  Team team(n_threads);
  team.parallel_for(ratings.rows(), 64, [&](std::size_t begin, std::size_t end, std::uint32_t) {
    AlignedVector<T> matrix(order * order), right(order), tile(kernels::kTileRows * table.stride), scratch(5 * order);
    const kernels::NormalEquations<T> equations{matrix.data(), right.data(), order, table.k};
    for (std::size_t u = begin; u < end; ++u) {
      const auto row = ratings.row(u);
      AlignedVector<T> x(order);
      kernels::form_normal_equations<T>(
          {table.factors.data(), biases, table.stride, row.indices, row.values, static_cast<T>(mean)}, equations, tile);
      const auto reg = static_cast<T>(objective.weight(row.size()));
      if (objective.nonnegative) {
        kernels::nonnegative_descent<T>(equations, reg, biases != nullptr ? table.k : order, x.data(), kSweeps,
                                        scratch);
      } else {
        kernels::conjugate_gradient<T>(equations, reg, x.data(), limits, scratch);
      }
      std::copy_n(x.data(), table.k, factors.row(u).begin());
      bias[u] = biases != nullptr ? x[table.k] : T(0);
    }
  });
}

template void top_items(MatrixView<const float>, MatrixView<const float>, std::span<const float>, CsrView<float>,
                        std::uint32_t, MatrixView<float>, MatrixView<std::int32_t>);
template void top_items(MatrixView<const double>, MatrixView<const double>, std::span<const double>, CsrView<double>,
                        std::uint32_t, MatrixView<double>, MatrixView<std::int32_t>);
template void pair_products(MatrixView<const float>, MatrixView<const float>, std::span<const std::int64_t>,
                            std::span<const std::int64_t>, std::uint32_t, std::span<float>);
template void pair_products(MatrixView<const double>, MatrixView<const double>, std::span<const std::int64_t>,
                            std::span<const std::int64_t>, std::uint32_t, std::span<double>);
template void fold_in(const MatrixFactorizationObjective&, CsrView<float>, MatrixView<const float>,
                      std::span<const float>, double, std::uint32_t, MatrixView<float>, std::span<float>);
template void fold_in(const MatrixFactorizationObjective&, CsrView<double>, MatrixView<const double>,
                      std::span<const double>, double, std::uint32_t, MatrixView<double>, std::span<double>);

}  // namespace steppe
