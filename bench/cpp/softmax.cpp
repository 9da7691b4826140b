#include <benchmark/benchmark.h>

#include <cmath>
#include <numeric>
#include <vector>

#include "steppe/core/rng.hpp"
#include "steppe/kernels/softmax_dual.hpp"
#include "steppe/kernels/softmax_fold.hpp"

// The kernels of multinomial logistic regression on text-like rows: 60 of 50,000 features by Zipf's law, float32, all
// classes in one block. Goals on one core: a sweep under 0.25 ns, a fold (scores and log-sum) under 0.1 ns for each
// stored entry and class; that is 60 and 24 ms for 20,000 rows and 200 classes.
namespace {

using namespace steppe;

struct Text {
  static constexpr std::size_t kRows = 5000, kFeatures = 50000, kEntries = 60;

  explicit Text(std::size_t n_classes_) : n_classes(n_classes_), lanes(padded<float>(n_classes_)) {
    Stream stream(1, Purpose::data, 0);
    for (std::size_t i = 0; i < kRows; ++i) {
      for (std::size_t e = 0; e < kEntries; ++e) {
        indices.push_back(static_cast<std::int32_t>(std::pow(double(kFeatures), stream.uniform())) - 1);
        values.push_back(0.13f);
      }
      offsets.push_back(static_cast<std::int64_t>(indices.size()));
      labels.push_back(static_cast<std::int32_t>(stream.below(static_cast<std::uint32_t>(n_classes))));
    }
    order.resize(kRows);
    std::iota(order.begin(), order.end(), 0u);
    shuffle(std::span(order), stream);
    token.resize(kFeatures * lanes);
    dual.resize(kRows * lanes);
    scratch.resize(kernels::dual_scratch(n_classes, lanes));
  }

  kernels::RowsView<float> x() const {
    return kernels::RowsView<float>(CsrView<float>(offsets, indices, values, kFeatures));
  }
  std::int64_t work() const { return static_cast<std::int64_t>(kRows * kEntries * n_classes); }

  std::size_t n_classes, lanes;
  std::vector<std::int64_t> offsets{0};
  std::vector<std::int32_t> indices, labels;
  std::vector<float> values;
  std::vector<float> weight = std::vector<float>(kRows, 1.0f / kRows), curvature = std::vector<float>(kRows, 5.0f);
  std::vector<std::uint32_t> order;
  AlignedVector<float> token, dual, scratch;
};

void dual_sweep(benchmark::State& state) {
  Text text(static_cast<std::size_t>(state.range(0)));
  for (std::size_t i = 0; i < Text::kRows; ++i)
    text.dual[i * text.lanes + static_cast<std::size_t>(text.labels[i])] = 1;
  const kernels::DualRows<float> rows{text.x(), text.weight, text.curvature, text.dual.data(), text.lanes, text.order};
  const kernels::DualBlock<float> block{.weights = text.token.data(), .n_classes = text.n_classes};
  const kernels::DualBlocks<float> classes{std::span(&block, 1), text.lanes, true};
  for (auto _ : state) {
    kernels::sweep_softmax_dual(rows, classes, {.inverse_alpha = 25000.0f}, std::span<float>(text.scratch));
  }
  state.SetItemsProcessed(state.iterations() * text.work());
}

void score_fold(benchmark::State& state) {
  Text text(static_cast<std::size_t>(state.range(0)));
  std::vector<kernels::LogSum<float>> sums(Text::kRows);
  std::vector<float> own(Text::kRows);
  const kernels::ScoreBlock<float> block{
      .weights = text.token.data(), .lanes = text.lanes, .n_classes = text.n_classes, .first_class = 0};
  for (auto _ : state) {
    kernels::fold_scores(text.x(), text.labels, block, sums, own, std::span<float>(text.scratch));
  }
  state.SetItemsProcessed(state.iterations() * text.work());
}

BENCHMARK(dual_sweep)->Arg(16)->Arg(100)->Arg(200)->Arg(1000);
BENCHMARK(score_fold)->Arg(16)->Arg(100)->Arg(200)->Arg(1000);

}  // namespace
