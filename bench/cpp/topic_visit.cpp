#include <benchmark/benchmark.h>

#include <cmath>
#include <vector>

#include "steppe/core/aligned.hpp"
#include "steppe/core/rng.hpp"
#include "steppe/kernels/topic_visit.hpp"

using namespace steppe;

namespace {

// Words of 100 entries each, in 20,000 documents: gamma fits into the third-level cache, z (as in a fit) does not.
template <class T>
struct Block {
  static constexpr std::size_t kDocuments = 20000, kWords = 5000, kEntries = 100;
  std::size_t k, stride;
  AlignedVector<T> gamma, alpha, lambda, totals, change, scratch;
  AlignedVector<typename kernels::Share<T>::Stored> z;
  std::vector<std::int32_t> documents;
  std::vector<T> counts;

  explicit Block(std::size_t n_topics)
      : k(n_topics), stride(padded<T>(k)), gamma(kDocuments * stride), alpha(stride), lambda(stride, T(0.01)),
        totals(stride, T(200)), change(stride), scratch(4 * stride + k), z(kWords * kEntries * stride),
        counts(kWords * kEntries, T(1)) {
    Stream stream(1, Purpose::data, k);
    for (std::size_t i = 0; i < k; ++i) {
      alpha[i] = T(0.1);
      lambda[i] = static_cast<T>(0.01 + 5 * stream.uniform());
      totals[i] = static_cast<T>(10000 + 100 * stream.uniform());
    }
    for (std::size_t d = 0; d < kDocuments; ++d) {
      for (std::size_t i = 0; i < k; ++i) gamma[d * stride + i] = static_cast<T>(0.1 + 3 * stream.uniform());
    }
    for (std::size_t w = 0; w < kWords; ++w) {
      for (std::size_t e = 0; e < kEntries; ++e) {
        documents.push_back(static_cast<std::int32_t>(kDocuments / kEntries * e + stream.below(kDocuments / kEntries)));
      }
    }
    const auto equal = kernels::Share<T>::write(T(1) / static_cast<T>(k));
    for (std::size_t i = 0; i < z.size(); ++i) z[i] = i % stride < k ? equal : 0;
  }

  kernels::TopicDocuments<T> rows() { return {gamma.data(), alpha.data(), stride}; }
  kernels::WordEntries<T> word(std::size_t w) {
    return {std::span(documents).subspan(w * kEntries, kEntries), std::span(counts).subspan(w * kEntries, kEntries),
            z.data() + w * kEntries * stride};
  }
  kernels::WordTopics<T> topics() { return {lambda.data(), totals.data(), change.data(), T(0.01), T(200)}; }
  void forget() { std::ranges::fill(change, T(0)); }
};

// Goal: 45 million entries a second at K = 64 in float, which with 25 passes to the perplexity that a collapsed Gibbs
// sampler of 19 million tokens a second needs 100 for is ten times as fast.
template <class T>
void collapsed(benchmark::State& state) {
  Block<T> block(static_cast<std::size_t>(state.range(0)));
  for (auto _ : state) {
    for (std::size_t w = 0; w < Block<T>::kWords; ++w) {
      block.forget();
      kernels::collapsed_visit(block.rows(), block.word(w), block.topics(), {}, block.scratch.data());
    }
  }
  state.SetItemsProcessed(state.iterations() * static_cast<std::int64_t>(block.counts.size()));
}
BENCHMARK(collapsed<float>)->ArgName("k")->Arg(16)->Arg(64)->Arg(256);
BENCHMARK(collapsed<double>)->ArgName("k")->Arg(64);

// Goal: 10 million entries a second at K = 64 in float, twenty times scikit-learn's passes.
template <class T>
void mean_field(benchmark::State& state) {
  Block<T> block(static_cast<std::size_t>(state.range(0)));
  for (auto _ : state) {
    for (std::size_t w = 0; w < Block<T>::kWords; ++w) {
      block.forget();
      kernels::mean_field_visit(block.rows(), block.word(w), block.topics(), block.scratch.data());
    }
  }
  state.SetItemsProcessed(state.iterations() * static_cast<std::int64_t>(block.counts.size()));
}
BENCHMARK(mean_field<float>)->ArgName("k")->Arg(16)->Arg(64)->Arg(256);
BENCHMARK(mean_field<double>)->ArgName("k")->Arg(64);

template <class T>
void truncated(benchmark::State& state) {
  Block<T> block(static_cast<std::size_t>(state.range(0)));
  const auto kept = static_cast<std::size_t>(state.range(1));
  std::vector<std::uint16_t> topics(block.counts.size() * kept);
  std::vector<std::int32_t> best(kept);
  for (auto _ : state) {
    for (std::size_t w = 0; w < Block<T>::kWords; ++w) {
      block.forget();
      const auto word = block.word(w);
      const std::size_t first = w * Block<T>::kEntries * kept;
      kernels::truncated_visit(block.rows(),
                               {word.documents, word.counts, topics.data() + first, block.z.data() + first, kept},
                               block.topics(), {}, true, {block.scratch.data(), best.data()});
    }
  }
  state.SetItemsProcessed(state.iterations() * static_cast<std::int64_t>(block.counts.size()));
}
BENCHMARK(truncated<float>)->ArgNames({"k", "kept"})->Args({64, 8})->Args({256, 8});

}  // namespace
