#include <benchmark/benchmark.h>

#include <cmath>
#include <vector>

#include "steppe/core/aligned.hpp"
#include "steppe/core/rng.hpp"
#include "steppe/kernels/normal_equations.hpp"
#include "steppe/kernels/row_solver.hpp"
#include "steppe/kernels/sgd_pair.hpp"

using namespace steppe;

namespace {

// Items of 100 ratings by 5,000 users: what a block of a shard holds; the users' rows fit into the second-level cache.
template <class T>
struct Block {
  static constexpr std::size_t kUsers = 5000, kItems = 500, kRatings = 100;
  std::size_t stride;
  AlignedVector<T> users, items;
  std::vector<T> user_bias, item_bias, values;
  std::vector<std::int32_t> indices;

  explicit Block(std::size_t k)
      : stride(padded<T>(k)), users(kUsers * stride), items(kItems * stride), user_bias(kUsers), item_bias(kItems) {
    Stream stream(1, Purpose::data, k);
    const auto fill = [&](AlignedVector<T>& rows) {
      for (std::size_t i = 0; i < rows.size(); ++i) {
        rows[i] = i % stride < k ? static_cast<T>((stream.uniform() - 0.5) / std::sqrt(double(k))) : T(0);
      }
    };
    fill(users);
    fill(items);
    for (std::size_t n = 0; n < kItems * kRatings; ++n) {
      indices.push_back(
          static_cast<std::int32_t>(n % kRatings * (kUsers / kRatings) + stream.below(kUsers / kRatings)));
      values.push_back(static_cast<T>(stream.uniform()));
    }
  }

  kernels::ItemRatings<T> ratings(std::size_t j) const {
    return {std::span(indices).subspan(j * kRatings, kRatings), std::span(values).subspan(j * kRatings, kRatings)};
  }
};

// Goal: 48 million ratings a second at k = 32 in float, twice libmf on the same machine.
template <class T>
void sgd(benchmark::State& state) {
  Block<T> block(static_cast<std::size_t>(state.range(0)));
  const kernels::SgdStep<T> step{T(0.01), T(0.02), T(0.02), T(0), T(1), state.range(1) != 0};
  double loss = 0;
  for (auto _ : state) {
    for (std::size_t j = 0; j < Block<T>::kItems; ++j) {
      loss +=
          kernels::sgd_visit<T>({block.users.data(), block.user_bias.data(), nullptr, block.stride},
                                {block.items.data() + j * block.stride, &block.item_bias[j]}, block.ratings(j), step);
    }
  }
  benchmark::DoNotOptimize(loss);
  state.SetItemsProcessed(state.iterations() * static_cast<std::int64_t>(block.indices.size()));
}
BENCHMARK(sgd<float>)
    ->ArgNames({"k", "clipped"})
    ->Args({8, 0})
    ->Args({32, 0})
    ->Args({64, 0})
    ->Args({128, 0})
    ->Args({32, 1});
BENCHMARK(sgd<double>)->ArgNames({"k", "clipped"})->Args({32, 0})->Args({64, 0});

template <class T>
void squared_error(benchmark::State& state) {
  Block<T> block(static_cast<std::size_t>(state.range(0)));
  double sum = 0;
  for (auto _ : state) {
    for (std::size_t j = 0; j < Block<T>::kItems; ++j) {
      sum += kernels::squared_error<T>({block.users.data(), block.user_bias.data(), nullptr, block.stride},
                                       {block.items.data() + j * block.stride, &block.item_bias[j]}, block.ratings(j),
                                       T(0));
    }
  }
  benchmark::DoNotOptimize(sum);
  state.SetItemsProcessed(state.iterations() * static_cast<std::int64_t>(block.indices.size()));
}
BENCHMARK(squared_error<float>)->Arg(32);

// One row of alternating least squares with 100 ratings: its normal equations and ten conjugate gradients.
template <class T>
void als_row(benchmark::State& state) {
  Block<T> block(static_cast<std::size_t>(state.range(0)));
  const std::size_t k = block.stride;
  AlignedVector<T> matrix(k * k), right(k), tile(kernels::kTileRows * k), scratch(5 * k), x(k);
  const kernels::NormalEquations<T> equations{matrix.data(), right.data(), k, k};
  std::size_t j = 0;
  for (auto _ : state) {
    const auto ratings = block.ratings(j++ % Block<T>::kItems);
    kernels::form_normal_equations<T>({block.users.data(), nullptr, k, ratings.users, ratings.values, T(0)}, equations,
                                      tile);
    std::fill(x.begin(), x.end(), T(0));
    benchmark::DoNotOptimize(kernels::conjugate_gradient<T>(equations, T(2), x.data(), {10, 0.0}, scratch));
  }
  state.SetItemsProcessed(state.iterations() * static_cast<std::int64_t>(Block<T>::kRatings));
}
BENCHMARK(als_row<float>)->Arg(32)->Arg(128);
BENCHMARK(als_row<double>)->Arg(32);

}  // namespace
