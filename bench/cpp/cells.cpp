#include <benchmark/benchmark.h>

#include <cmath>
#include <vector>

#include "steppe/core/rng.hpp"
#include "steppe/models/ot/assignment.hpp"

// Nearest sites and soft shares, float32 and float64, one and two threads. Goals on a core whose sgemm runs at 265
// GFLOP/s: 225 for 1,024 sites in 64 dimensions (85 %), on two cores twice that; 16 sites in 2 dimensions under 0.5 ms
// for 100,000 points. Soft shares under 1.6 times the time of cells.
namespace {

using namespace steppe;

template <class T>
struct Cloud {
  std::size_t n, m, d;
  AlignedVector<T> x, sites;

  Cloud(std::size_t n_, std::size_t m_, std::size_t d_) : n(n_), m(m_), d(d_), x(n * d), sites(m * d) {
    Stream stream(1, Purpose::data, 0);
    for (T& value : x) value = static_cast<T>(stream.normal());
    for (T& value : sites) value = static_cast<T>(stream.normal());
  }
  MatrixView<const T> rows() const { return {x.data(), n, d}; }
  MatrixView<const T> places() const { return {sites.data(), m, d}; }
};

template <class T>
void cells(benchmark::State& state) {
  const Cloud<T> cloud(100000, static_cast<std::size_t>(state.range(0)), static_cast<std::size_t>(state.range(1)));
  Team team(static_cast<std::uint32_t>(state.range(2)));
  const SitePack<T> pack(cloud.places(), true);
  std::vector<std::int32_t> labels(cloud.n);
  Control control;
  for (auto _ : state) {
    assign_cells(cloud.rows(), pack, std::span(labels), team, control);
    benchmark::DoNotOptimize(labels.data());
  }
  const double operations = 2.0 * static_cast<double>(cloud.n * cloud.m * cloud.d);
  state.counters["GFLOP/s"] = benchmark::Counter(operations * 1e-9, benchmark::Counter::kIsIterationInvariantRate);
}

template <class T>
void shares(benchmark::State& state) {
  const Cloud<T> cloud(20000, static_cast<std::size_t>(state.range(0)), static_cast<std::size_t>(state.range(1)));
  const SitePack<T> pack(cloud.places(), true);
  std::vector<double> mass(cloud.m);
  AlignedVector<T> scratch(kernels::spread_scratch(pack.view()));
  for (auto _ : state) {
    kernels::SpreadSums sums{.mass = mass, .moments = {}, .moment_mass = {}};
    kernels::spread_rows<T>(cloud.rows(), nullptr, pack.view(), pack.steepness(0.5), sums, scratch.data());
    benchmark::DoNotOptimize(mass.data());
  }
  const double operations = 2.0 * static_cast<double>(cloud.n * cloud.m * cloud.d);
  state.counters["GFLOP/s"] = benchmark::Counter(operations * 1e-9, benchmark::Counter::kIsIterationInvariantRate);
}

BENCHMARK(cells<float>)->Args({1024, 64, 1})->Args({1024, 64, 2})->Args({16, 2, 1})->UseRealTime();
BENCHMARK(cells<double>)->Args({1024, 64, 1})->Args({1024, 64, 2})->UseRealTime();
BENCHMARK(shares<float>)->Args({1024, 64})->Args({1024, 2});
BENCHMARK(shares<double>)->Args({1024, 64});

}  // namespace
