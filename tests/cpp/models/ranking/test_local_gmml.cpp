#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include "schedules/rank_harness.hpp"
#include "steppe/comm/local_link.hpp"
#include "steppe/core/blas.hpp"
#include "steppe/models/ranking/local_gmml.hpp"
#include "steppe/models/ranking/warp.hpp"
#include "system_blas.hpp"

using namespace steppe;

namespace {

[[maybe_unused]] const bool kHaveBlas = use_system_blas();

// Documents of some queries, in the canonical order.
struct Documents {
  std::size_t d;
  std::vector<double> x, grade, weight;
  std::vector<std::int64_t> order, offsets{0}, number;

  Documents(std::size_t n_queries, std::size_t d_, std::uint64_t seed) : d(d_) {
    Stream stream(seed, Purpose::data, 0);
    for (std::size_t q = 0; q < n_queries; ++q) {
      const std::size_t n = 3 + stream.below(9);
      std::vector<double> own(n);
      for (double& value : own) value = stream.below(3);
      std::sort(own.begin(), own.end());
      for (const double value : own) add(value, stream);
      offsets.push_back(static_cast<std::int64_t>(grade.size()));
      number.push_back(static_cast<std::int64_t>(q));
    }
  }
  void add(double g, Stream& stream) {
    order.push_back(static_cast<std::int64_t>(order.size()));
    grade.push_back(g);
    weight.push_back(1);
    for (std::size_t j = 0; j < d; ++j) x.push_back(stream.normal() + (j == 0 ? g : 0));
  }
  RankedQueries<double> view() const { return between(0, number.size()); }
  // Of the queries first..last-1; rows stay where they are.
  RankedQueries<double> between(std::size_t first, std::size_t last) const {
    return {{x.data(), grade.size(), d},
            order,
            grade,
            weight,
            std::span(offsets).subspan(first, last - first + 1),
            std::span(number).subspan(first, last - first)};
  }
};

QueryBlock<double> block_of(const Documents& documents) {
  QueryBlock<double> block;
  block.n_features = documents.d;
  block.n_learn = documents.number.size();
  block.begin.assign(documents.offsets.begin(), documents.offsets.end());
  block.values.assign(documents.x.begin(), documents.x.end());
  block.grade = documents.grade;
  block.weight = documents.weight;
  return block;
}

LocalGmmlParams quick(std::uint32_t n_threads = 1) {
  LocalGmmlParams params;
  params.metrics.n_metrics = 3;
  params.metrics.sample_size = 30;
  params.metrics.seed = 7;
  params.n_threads = n_threads;
  return params;
}

ArrayMap fit(const LocalGmmlParams& params, const RankedQueries<double>& queries, Link& link) {
  Control control;
  const auto session = make_local_gmml_session<double>(params, queries, {}, link);
  session->advance(4, control);
  session->objective(control);
  return session->result();
}

bool same(const ArrayMap& a, const ArrayMap& b) {
  return a.size() == b.size() && std::equal(a.begin(), a.end(), b.begin(), [](const auto& left, const auto& right) {
           return left.first == right.first && left.second.data == right.second.data;
         });
}

}  // namespace

TEST_CASE("the order of documents does not depend on the one in which they came") {
  const std::vector<double> x{1, 2, 3, 4, 5, 6, 1, 2}, grade{0, 1, 1, 0}, weight(4, 1.0);
  const std::vector<std::int64_t> query{5, 2, 5, 2};
  CHECK(canonical_order<double>({x.data(), 4, 2}, query, grade, weight) == std::vector<std::int64_t>{3, 1, 0, 2});
}

TEST_CASE("scatters by sums along the grades equal those by pairs, with weights") {
  for (const std::uint64_t seed : {1, 2, 3}) {
    Documents documents(4, 3, seed);
    Stream stream(seed, Purpose::sample, 0);
    for (double& value : documents.weight) value = stream.uniform();
    const auto block = block_of(documents);
    const MatrixView<const double> x(documents.x.data(), documents.grade.size(), 3);
    const Scatters scatters = query_scatters<double>(block, x);
    std::vector<double> similar(9, 0.0), dissimilar(9, 0.0);
    double n_similar = 0, n_dissimilar = 0;
    for (std::size_t q = 0; q < block.n_learn; ++q) {
      std::vector<double> s(9, 0.0), t(9, 0.0);
      double pairs = 0, gaps = 0;
      for (std::size_t a = block.begin[q]; a < block.begin[q + 1]; ++a) {
        for (std::size_t b = block.begin[q]; b < a; ++b) {  // grade[b] <= grade[a]
          const double gap = block.grade[a] - block.grade[b];
          const bool alike = gap == 0 && block.grade[a] > 0;
          pairs += alike ? 1 : 0;
          gaps += gap;
          for (std::size_t e = 0; e < 9; ++e) {
            const double product = (x(a, e / 3) - x(b, e / 3)) * (x(a, e % 3) - x(b, e % 3));
            s[e] += alike ? (block.weight[a] + block.weight[b]) / 2 * product : 0;
            t[e] += block.weight[a] * gap * product;
          }
        }
      }
      for (std::size_t e = 0; e < 9; ++e) {
        similar[e] += pairs > 0 ? s[e] / pairs : 0;
        dissimilar[e] += gaps > 0 ? t[e] / gaps : 0;
      }
      n_similar += pairs > 0 ? 1 : 0;
      n_dissimilar += gaps > 0 ? 1 : 0;
    }
    for (std::size_t e = 0; e < 9; ++e) {
      CHECK(scatters.similar[e] == doctest::Approx(similar[e] / std::max(n_similar, 1.0)).epsilon(1e-9));
      CHECK(scatters.dissimilar[e] == doctest::Approx(dissimilar[e] / std::max(n_dissimilar, 1.0)).epsilon(1e-9));
    }
  }
}

TEST_CASE("learned in the span of few documents or in all features: the same metric, distances and anchor") {
  const Documents documents(3, 40, 5);  // fewer documents than features
  QueryBlock<double> block = block_of(documents);
  REQUIRE(block.n_learn_rows() < block.n_features);
  const auto in_span = learn_local_metric(block, {0.5, 1e-2}, 1, 0);
  REQUIRE(!in_span.stretch.empty());
  // The definition, in all features.
  const std::size_t d = 40;
  Scatters scatters = query_scatters<double>(block, block.rows());
  double trace = 0;
  for (std::size_t i = 0; i < d; ++i) trace += scatters.similar[i * d + i] + scatters.dissimilar[i * d + i];
  const AlignedVector<double>& l = in_span.components;
  AlignedVector<double> a(d * d), as(d * d), asa(d * d);
  // reg is relative to the dimension in which it was learned; A S A = D holds with the same one in both.
  const double r = static_cast<double>(block.n_learn_rows() - 1);
  const double reg = 1e-2 * trace / (2 * r);
  for (std::size_t i = 0; i < d; ++i) {
    scatters.similar[i * d + i] += reg;
    scatters.dissimilar[i * d + i] += reg;
  }
  gemm<double>(Op::transpose, Op::none, 1, {l.data(), d, d}, {l.data(), d, d}, 0, {a.data(), d, d});
  gemm<double>(Op::none, Op::none, 1, {a.data(), d, d}, {scatters.similar.data(), d, d}, 0, {as.data(), d, d});
  gemm<double>(Op::none, Op::none, 1, {as.data(), d, d}, {a.data(), d, d}, 0, {asa.data(), d, d});
  for (std::size_t e = 0; e < d * d; ++e) {
    CHECK(asa[e] == doctest::Approx(scatters.dissimilar[e]).epsilon(1e-7).scale(1));
  }
  std::vector<double> by_factors(block.grade.size()), by_components(block.grade.size());
  anchor_distances(in_span.distance(), block.rows(), {}, by_factors);
  anchor_distances<double>({{l.data(), d, d}, {}, 0, in_span.anchor}, block.rows(), {}, by_components);
  for (std::size_t i = 0; i < by_factors.size(); ++i) {
    CHECK(by_factors[i] == doctest::Approx(by_components[i]).epsilon(1e-9).scale(1));
  }
  CHECK(*std::min_element(by_factors.begin(), by_factors.end()) == 0);  // the anchor is one of the documents
}

TEST_CASE("no bit depends on threads") {
  const Documents documents(60, 6, 3);
  for (const bool per_query : {false, true}) {
    LocalGmmlParams params = quick(1);
    params.per_query = per_query;
    LocalLink link;
    const ArrayMap one = fit(params, documents.view(), link);
    for (const std::uint32_t n_threads : {2, 4}) {
      params.n_threads = n_threads;
      CHECK(same(one, fit(params, documents.view(), link)));
    }
  }
}

TEST_CASE("ranks reach the result of one, whichever queries they hold, also with held-out queries") {
  const Documents documents(40, 5, 9);
  LocalGmmlParams params = quick();
  params.validation_fraction = 0.3;
  params.per_query = true;
  LocalLink alone;
  const ArrayMap one = fit(params, documents.view(), alone);
  for (const std::vector<std::size_t>& cuts : {std::vector<std::size_t>{0, 17, 40}, {0, 13, 13, 40}}) {
    std::vector<ArrayMap> all(cuts.size() - 1);
    on_ranks(static_cast<std::uint32_t>(all.size()), [&](std::uint32_t rank, Link& link) {
      // A copy, as rows of other ranks must not be seen.
      Documents own = documents;
      const auto first = static_cast<std::size_t>(own.offsets[cuts[rank]]);
      const auto last = static_cast<std::size_t>(own.offsets[cuts[rank + 1]]);
      const auto keep = [](auto& values, std::size_t from, std::size_t to) {
        values = {values.begin() + static_cast<std::ptrdiff_t>(from), values.begin() + static_cast<std::ptrdiff_t>(to)};
      };
      keep(own.x, first * own.d, last * own.d);
      keep(own.grade, first, last);
      keep(own.weight, first, last);
      own.order.resize(last - first);
      keep(own.offsets, cuts[rank], cuts[rank + 1] + 1);
      for (std::int64_t& offset : own.offsets) offset -= static_cast<std::int64_t>(first);
      keep(own.number, cuts[rank], cuts[rank + 1]);
      all[rank] = fit(params, own.view(), link);
    });
    for (const ArrayMap& result : all) {
      CHECK(same(result, all[0]));
      for (const char* name : {"weights", "ndcg", "query_weights"}) {
        const auto theirs = at(one, name).as<double>(), ours = at(result, name).as<double>();
        REQUIRE(ours.size() == theirs.size());
        for (std::size_t i = 0; i < ours.size(); ++i) CHECK(ours[i] == doctest::Approx(theirs[i]).epsilon(1e-9));
      }
    }
  }
}

// The WARP rule as it is written, one query and one document after the other: phi of each query, or one phi in all
// rows.
std::vector<double> warp_by_hand(const Documents& documents, bool per_query, std::uint64_t seed, std::uint32_t rounds) {
  const std::size_t n_queries = documents.number.size(), m = documents.d;
  constexpr std::uint32_t kParts = 8;  // each round in as many steps, each with its share of the relevant documents
  const auto f = [&](const double* phi, std::size_t i) {
    return std::inner_product(phi, phi + m, &documents.x[i * m], 0.0);
  };
  const auto rank_weight = [](std::uint32_t k) {
    double sum = 0;
    for (std::uint32_t i = 1; i <= k; ++i) sum += 1 / std::log2(i + 1.0);
    return sum;
  };
  double total_weight = 0;
  std::vector<double> phi(n_queries * m, 1.0 / static_cast<double>(m));
  for (std::uint32_t step = 1; step <= kParts * rounds; ++step) {
    std::vector<double> gradient(n_queries * m);
    total_weight = 0;
    for (std::size_t q = 0; q < n_queries; ++q) {
      const auto begin = documents.view().begin(q), end = documents.view().end(q);
      const auto lower = [&](std::size_t i) {
        return static_cast<std::uint32_t>(std::count_if(&documents.grade[begin],
                                                        &documents.grade[begin] + (end - begin),
                                                        [&](double g) { return g < documents.grade[i]; }));
      };
      std::size_t first = begin;
      while (first < end && lower(first) == 0) ++first;
      if (first == end) continue;  // a query of one grade teaches nothing
      const auto relevant = static_cast<double>(end - first);
      total_weight +=
          std::accumulate(&documents.weight[first], &documents.weight[first] + (end - first), 0.0) / relevant;
      Stream stream(seed, Purpose::sample, q, step);
      for (std::size_t a = first + ((step - 1) % kParts + q) % kParts; a < end; a += kParts) {
        const std::uint32_t n = lower(a);
        std::uint32_t tries = 0, drawn = 0;
        bool violates = false;
        while (!violates && tries < n) {
          drawn = stream.below(n);
          ++tries;
          violates = 1 + f(&phi[q * m], begin + drawn) > f(&phi[q * m], a);
        }
        if (!violates) continue;
        const double weight = documents.weight[a] * rank_weight(n / tries) / rank_weight(n) * kParts / relevant;
        for (std::size_t r = 0; r < m; ++r) {
          gradient[q * m + r] += weight * (documents.x[(begin + drawn) * m + r] - documents.x[a * m + r]);
        }
      }
    }
    for (std::size_t q = 0; q < n_queries; ++q) {
      for (std::size_t r = 0; r < m; ++r) {
        double slope = gradient[q * m + r];
        if (!per_query) {
          slope = 0;
          for (std::size_t other = 0; other < n_queries; ++other) slope += gradient[other * m + r] / total_weight;
        }
        phi[q * m + r] = std::max(phi[q * m + r] - slope / std::sqrt(double(step)), 0.0);
      }
    }
  }
  return phi;
}

struct Trained {
  std::vector<double> phi;
  std::vector<std::uint32_t> own;  // queries that teach
  double before = 0, after = 0;
};

Trained train(const Documents& documents, bool per_query, std::uint64_t seed, std::uint32_t rounds) {
  LocalLink link;
  Team team(2);
  std::vector<std::uint32_t> lower;
  for (std::size_t q = 0; q < documents.number.size(); ++q) {
    const auto begin = documents.view().begin(q);
    const auto own = count_lower(std::span(documents.grade).subspan(begin, documents.view().end(q) - begin));
    lower.insert(lower.end(), own.begin(), own.end());
  }
  const QueryCensus census = take_census(documents.view(), std::span<const std::uint32_t>(lower), link);
  WarpTrainer trainer(
      {{documents.x.data(), documents.grade.size(), documents.d}, documents.weight, lower, documents.offsets, census},
      per_query, seed, link, team);
  Trained trained;
  trained.own = census.own;
  trained.before = trainer.loss();
  for (std::uint32_t round = 0; round < rounds; ++round) CHECK_FALSE(trainer.round(false));
  trained.after = trainer.loss();
  trained.phi.assign(trainer.phi().begin(), trainer.phi().end());
  CHECK(trainer.round(true));  // a stop is seen
  return trained;
}

TEST_CASE("WARP draws, weighs and steps as the rule says, with one phi and with one for each query") {
  Documents documents(30, 4, 2);
  Stream stream(5, Purpose::data, 1);
  for (double& weight : documents.weight) weight = 0.25 + 2 * stream.uniform();
  for (const bool per_query : {false, true}) {
    const auto expected = warp_by_hand(documents, per_query, 11, 4);
    const Trained trained = train(documents, per_query, 11, 4);
    REQUIRE(trained.own.size() > 25);
    for (std::size_t i = 0; i < trained.own.size(); ++i) {
      const std::size_t at = per_query ? i * 4 : 0;
      for (std::size_t r = 0; r < 4; ++r) {
        // The mean step is summed in whole numbers: 2^-31 of the largest a query may add.
        CHECK(trained.phi[at + r] == doctest::Approx(expected[trained.own[i] * 4 + r]).epsilon(1e-6));
      }
    }
  }
}

TEST_CASE("steps of WARP lower the expected loss") {
  const Trained trained = train(Documents(30, 4, 2), false, 1, 20);
  CHECK(trained.after < 0.9 * trained.before);
  CHECK(trained.phi[0] > trained.phi[1]);  // the feature that tells
}

TEST_CASE("an exception on one rank while metrics are learned is met on all") {
  struct Failing : Control {
    bool poll() override { throw std::bad_alloc(); }
  };
  LocalGmmlParams params = quick();
  params.metrics.n_metrics = 40;  // learning lasts until the control is asked
  params.metrics.sample_size = 1500;
  std::vector<std::exception_ptr> errors;
  on_ranks(
      2,
      [&](std::uint32_t rank, Link& link) {
        Documents own(300, 60, rank);
        for (std::int64_t& number : own.number) number += 300 * rank;
        Control patient;
        Failing failing;
        Control& control = rank == 1 ? failing : patient;
        make_local_gmml_session<double>(params, own.view(), {}, link)->advance(1, control);
      },
      &errors);
  REQUIRE(errors[0]);
  REQUIRE(errors[1]);
  CHECK_THROWS_AS(std::rethrow_exception(errors[1]), std::bad_alloc);
  CHECK(describe(errors[0]).starts_with("rank 1 failed"));
}

TEST_CASE("nothing to learn from, or nothing held out, is bad input") {
  Documents documents(5, 3, 1);
  std::fill(documents.grade.begin(), documents.grade.end(), 1.0);
  LocalLink link;
  CHECK_THROWS_WITH_AS(fit(quick(), documents.view(), link), doctest::Contains("different grades"), InvalidArgument);
  const Documents few(2, 3, 1);
  LocalGmmlParams params = quick();
  params.validation_fraction = 1e-9;
  CHECK_THROWS_WITH_AS(fit(params, few.view(), link), doctest::Contains("validation_fraction"), InvalidArgument);
}
