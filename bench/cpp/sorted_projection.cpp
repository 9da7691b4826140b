#include <benchmark/benchmark.h>

#include <algorithm>
#include <vector>

#include "steppe/core/aligned.hpp"
#include "steppe/core/rng.hpp"
#include "steppe/kernels/sort.hpp"
#include "steppe/kernels/sorted_projection.hpp"
#include "system_blas.hpp"

// Columns of normal values. Goals on one core with AVX-512 at 16,000 float32 values: sort_values at least 450 M values
// a second (numpy.sort of rows), sort_order at least half of that; project at least 90 % of sgemm's rate at D = 2,048.
// sort_values sorts a copy, which is part of its time.
namespace {

using namespace steppe;

[[maybe_unused]] const bool kHaveBlas = use_system_blas();

constexpr std::size_t kColumns = 64;  // different ones in turn: the same again would be learnt by the branch predictor

template <class T>
std::vector<T> normals(std::size_t n) {
  Stream stream(1, Purpose::data, 0);
  std::vector<T> values(n);
  for (T& v : values) v = static_cast<T>(stream.normal());
  return values;
}

template <class T>
void sort_values(benchmark::State& state) {
  const auto n = static_cast<std::size_t>(state.range(0));
  const auto columns = normals<T>(n * kColumns);
  AlignedVector<T> column(n);
  AlignedVector<kernels::SortKey<T>> keys(n + kernels::kSortSlack), scratch(n + kernels::kSortSlack);
  std::size_t turn = 0;
  for (auto _ : state) {
    std::copy_n(columns.data() + turn++ % kColumns * n, n, column.data());
    kernels::sort_values(column.data(), n, keys.data(), scratch.data());
  }
  state.SetItemsProcessed(state.iterations() * state.range(0));
}

template <class T>
void sort_order(benchmark::State& state) {
  const auto n = static_cast<std::size_t>(state.range(0));
  const auto columns = normals<T>(n * kColumns);
  AlignedVector<std::int64_t> keys(n + kernels::kSortSlack), scratch(n + kernels::kSortSlack);
  std::vector<std::uint32_t> order(n);
  std::size_t turn = 0;
  for (auto _ : state) {
    kernels::sort_order(columns.data() + turn++ % kColumns * n, n, keys.data(), scratch.data(), order.data());
  }
  state.SetItemsProcessed(state.iterations() * state.range(0));
}

template <class T>
void distance(benchmark::State& state) {
  const auto n = static_cast<std::size_t>(state.range(0));
  auto x = normals<T>(n), y = normals<T>(n + 1);
  std::sort(x.begin(), x.end());
  std::sort(y.begin(), y.end());
  const kernels::SortedSample<T> a{x, {}, 1}, b{std::span<const T>(y).first(n), {}, 1};
  for (auto _ : state) benchmark::DoNotOptimize(kernels::quantile_distance(a, b, 2));
  state.SetItemsProcessed(state.iterations() * state.range(0));
}

void project(benchmark::State& state) {
  const std::size_t n = 16000, columns = 125, d = static_cast<std::size_t>(state.range(0));
  const auto rows = normals<float>(n * d), directions = normals<float>(d * 1000);
  std::vector<float> out(columns * n);
  for (auto _ : state) {
    kernels::project<float>({rows.data(), n, d}, {directions.data(), d, columns, 1000}, {out.data(), columns, n});
  }
  state.counters["flop/s"] =
      benchmark::Counter(2.0 * double(n * d * columns) * double(state.iterations()), benchmark::Counter::kIsRate);
}

BENCHMARK(sort_values<float>)->Arg(256)->Arg(2000)->Arg(16000)->Arg(1000000);
BENCHMARK(sort_values<double>)->Arg(16000);
BENCHMARK(sort_order<float>)->Arg(2000)->Arg(16000)->Arg(1000000);
BENCHMARK(sort_order<double>)->Arg(16000);
BENCHMARK(distance<float>)->Arg(16000);
BENCHMARK(project)->Arg(128)->Arg(2048);

}  // namespace
