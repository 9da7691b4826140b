#include <doctest/doctest.h>

#include <cmath>
#include <numeric>
#include <vector>

#include "schedules/rank_harness.hpp"
#include "steppe/comm/local_link.hpp"
#include "steppe/models/topics/latent_dirichlet_problem.hpp"

using namespace steppe;

namespace {

// Documents of two topics out of `kinds`; some are empty, some words never occur.
template <class T>
struct Corpus {
  std::size_t n_documents, n_words;
  std::vector<std::int64_t> offsets{0};
  std::vector<std::int32_t> indices;
  std::vector<T> values;
  double n_tokens = 0;

  Corpus(std::size_t documents, std::size_t words, std::size_t kinds = 4) : n_documents(documents), n_words(words) {
    Stream stream(7, Purpose::data, documents, static_cast<std::uint32_t>(words));
    for (std::size_t d = 0; d < documents; ++d) {
      for (std::size_t v = 0; v < words && d % 9 != 4; ++v) {
        const bool likely = v % kinds == d % kinds || v % kinds == (d / kinds) % kinds;
        if (v % 13 == 5 || stream.uniform() > (likely ? 0.7 : 0.05)) continue;
        indices.push_back(static_cast<std::int32_t>(v));
        values.push_back(static_cast<T>(1 + stream.below(3)));
        n_tokens += double(values.back());
      }
      offsets.push_back(static_cast<std::int64_t>(indices.size()));
    }
  }

  CsrView<T> view(std::size_t first, std::size_t last) const {
    return CsrView<T>(offsets, indices, values, n_words).rows_between(first, last);
  }
};

template <class T>
using Problem = LatentDirichletProblem<T>;

template <class T>
Problem<T> make_problem(const Corpus<T>& corpus, std::uint32_t k, TopicInference inference, std::uint32_t kept = 0,
                        double eta = 0.05) {
  std::vector<double> alpha(k), etas(corpus.n_words, eta);
  for (std::uint32_t i = 0; i < k; ++i) alpha[i] = 0.1 + 0.01 * i;
  return Problem<T>({k, kept, inference, 5}, {alpha, etas, eta * double(corpus.n_words)}, {});
}

// Shards first .. first + n - 1 of `all`, of equal numbers of documents.
template <class T>
std::vector<DocumentShard<T>> make_shards(const Problem<T>& problem, const Corpus<T>& corpus, std::uint32_t first,
                                          std::uint32_t n, std::uint32_t all) {
  std::vector<DocumentShard<T>> shards;
  for (std::uint32_t s = first; s < first + n; ++s) {
    const std::size_t begin = corpus.n_documents * s / all, end = corpus.n_documents * (s + 1) / all;
    shards.push_back(problem.make_shard(corpus.view(begin, end), begin));
  }
  return shards;
}

template <class T>
struct Outcome {
  std::vector<double> rows, totals, objectives;
  std::vector<DocumentShard<T>> shards;
  Record record;
};

struct Layouts {
  Layout layout{1};
  Schedule schedule = Schedule::bsp;
};

template <class T>
Outcome<T> fit(const Problem<T>& made, const Corpus<T>& corpus, std::uint32_t rounds, const Layouts& how = {}) {
  Outcome<T> outcome;
  outcome.shards.resize(total(how.layout));
  on_ranks(static_cast<std::uint32_t>(how.layout.size()), [&](std::uint32_t rank, Link& link) {
    Problem<T> problem = made;
    auto shards = make_shards(problem, corpus, before(how.layout, rank), how.layout[rank], total(how.layout));
    Team team(how.layout[rank]);
    Control control;
    EngineOptions options;
    options.schedule = how.schedule;
    options.seed = 4;
    options.packet_tokens = 2;
    options.record = true;
    Engine<Problem<T>> engine(problem, shards, link, team, options);
    engine.run(Problem<T>::kInit, 1, false, control);
    std::vector<double> objectives{engine.objective(control)};
    for (std::uint32_t round = 0; round < rounds; ++round) {
      engine.run(Problem<T>::kTrain, 1, true, control);
      objectives.push_back(engine.objective(control));
    }
    std::vector<double> rows(std::size_t{problem.n_tokens()} * problem.row_size());
    engine.gather(rows);
    const Record record = engine.record();
    std::copy(shards.begin(), shards.end(), outcome.shards.begin() + before(how.layout, rank));
    if (rank > 0) return;
    outcome.rows = rows;
    outcome.totals.assign(engine.globals().begin(), engine.globals().end());
    outcome.objectives = objectives;
    outcome.record = record;
  });
  return outcome;
}

// What the sums should be, from z.
template <class T>
struct Sums {
  std::vector<double> rows, totals, gamma;
  double entropy = 0;

  Sums(const Problem<T>& problem, const Corpus<T>& corpus, const std::vector<DocumentShard<T>>& shards) {
    const std::size_t k = problem.row_size(), stride = problem.stride(), kept = problem.settings().kept;
    const std::size_t width = kept > 0 ? kept : stride;
    rows.resize(corpus.n_words * k);
    totals.resize(k);
    for (const auto& shard : shards) {
      const std::size_t first = gamma.size();
      for (std::size_t d = 0; d < shard.n_documents; ++d) {
        for (std::size_t i = 0; i < k; ++i) gamma.push_back(double(T(0.1 + 0.01 * double(i))));
      }
      for (std::size_t v = 0; v < corpus.n_words; ++v) {
        for (std::size_t e = shard.words.first(v); e < shard.words.first(v) + shard.words.count(v); ++e) {
          for (std::size_t i = 0; i < width; ++i) {
            const std::size_t topic = kept > 0 ? shard.topics[e * width + i] : i;
            const double z = double(kernels::Share<T>::read(shard.z[e * width + i]));
            if (z == 0) continue;
            const double mass = double(shard.words.counts[e]) * z;
            rows[v * k + topic] += mass;
            totals[topic] += mass;
            gamma[first + static_cast<std::size_t>(shard.words.documents[e]) * k + topic] += mass;
            entropy -= mass * std::log(z);
          }
        }
      }
    }
  }

  // The documented objective.
  double objective(std::uint32_t k, double eta, std::size_t n_words) const {
    double bound = entropy;
    for (std::size_t d = 0; d < gamma.size(); d += k) {
      double sum = 0, alphas = 0;
      for (std::uint32_t i = 0; i < k; ++i) {
        const double alpha = 0.1 + 0.01 * i;
        bound += std::lgamma(gamma[d + i]) - std::lgamma(alpha);
        sum += gamma[d + i];
        alphas += alpha;
      }
      bound += std::lgamma(alphas) - std::lgamma(sum);
    }
    for (const double n : rows) bound += std::lgamma(n + eta) - std::lgamma(eta);
    const double all = eta * double(n_words);
    for (const double n : totals) bound += std::lgamma(all) - std::lgamma(n + all);
    return -bound;
  }
};

double largest_gap(const std::vector<double>& a, const std::vector<double>& b) {
  double gap = 0;
  for (std::size_t i = 0; i < a.size(); ++i) gap = std::max(gap, std::abs(a[i] - b[i]));
  return gap;
}

constexpr TopicInference kBoth[] = {TopicInference::mean_field, TopicInference::collapsed};

}  // namespace

TEST_CASE("mean field on one worker never lowers the bound") {
  const Corpus<double> corpus(60, 50);
  const auto outcome = fit(make_problem(corpus, 5, TopicInference::mean_field), corpus, 80);
  // After the collapsed rounds each visit is a step of coordinate ascent.
  for (std::size_t i = Problem<double>::kWarmUpRounds + 1; i < outcome.objectives.size(); ++i) {
    CHECK(outcome.objectives[i] <= outcome.objectives[i - 1] + 1e-10 * std::abs(outcome.objectives[i]));
  }
  CHECK(outcome.objectives.back() < outcome.objectives.front());
}

TEST_CASE_TEMPLATE("the sums are those of z after thousands of visits, and the objective is the documented one", T,
                   float, double) {
  const Corpus<T> corpus(60, 50);
  for (const auto inference : kBoth) {
    for (const std::uint32_t kept : {0u, 2u}) {
      for (const Layouts& how : {Layouts{{1}, Schedule::serial},
                                 {{3}, Schedule::bsp},
                                 {{4}, Schedule::nomad},
                                 {{1, 2}, Schedule::nomad},
                                 {{2, 1, 1}, Schedule::bsp}}) {
        const auto problem = make_problem(corpus, 5, inference, kept);
        const auto outcome = fit(problem, corpus, 40, how);
        const Sums<T> sums(problem, corpus, outcome.shards);
        const double close = sizeof(T) == 4 ? 1e-3 : 1e-10;
        CHECK(largest_gap(outcome.rows, sums.rows) < close);
        CHECK(largest_gap(outcome.totals, sums.totals) < close);
        CHECK(std::accumulate(outcome.totals.begin(), outcome.totals.end(), 0.0) ==
              doctest::Approx(corpus.n_tokens).epsilon(sizeof(T) == 4 ? 1e-4 : 1e-12));
        std::vector<double> gamma;
        for (const auto& shard : outcome.shards) {
          for (std::size_t d = 0; d < shard.n_documents; ++d) {
            for (std::size_t i = 0; i < 5; ++i) gamma.push_back(double(shard.gamma[d * problem.stride() + i]));
          }
        }
        CHECK(largest_gap(gamma, sums.gamma) < close);
        CHECK(outcome.objectives.back() ==
              doctest::Approx(sums.objective(5, 0.05, corpus.n_words)).epsilon(sizeof(T) == 4 ? 1e-5 : 1e-11));
        CHECK(outcome.objectives.back() < outcome.objectives[0]);
      }
    }
  }
}

TEST_CASE("one topic: every sum is a count") {
  const Corpus<float> corpus(30, 20);
  for (const auto inference : kBoth) {
    const auto outcome = fit(make_problem(corpus, 1, inference), corpus, 3, {{2}, Schedule::bsp});
    std::vector<double> counts(corpus.n_words);
    for (std::size_t i = 0; i < corpus.indices.size(); ++i) {
      counts[static_cast<std::size_t>(corpus.indices[i])] += double(corpus.values[i]);
    }
    CHECK(outcome.rows == counts);
    CHECK(outcome.totals[0] == corpus.n_tokens);
  }
}

TEST_CASE("more topics than documents, fewer documents than shards, one word") {
  for (const auto inference : kBoth) {
    const Corpus<double> few(3, 12);
    const auto outcome = fit(make_problem(few, 40, inference), few, 20, {{5}, Schedule::nomad});
    CHECK(std::isfinite(outcome.objectives.back()));
    CHECK(std::accumulate(outcome.totals.begin(), outcome.totals.end(), 0.0) == doctest::Approx(few.n_tokens));
    const Corpus<float> narrow(9, 1, 1);
    CHECK(std::isfinite(fit(make_problem(narrow, 3, inference), narrow, 5).objectives.back()));
  }
}

TEST_CASE_TEMPLATE("a recorded run replays bit by bit", T, float, double) {
  const Corpus<T> corpus(60, 50);
  for (const auto inference : kBoth) {
    for (const std::uint32_t kept : {0u, 2u}) {
      for (const Layouts& how : {Layouts{{4}, Schedule::bsp}, {{4}, Schedule::nomad}, {{2, 2}, Schedule::nomad}}) {
        auto problem = make_problem(corpus, 5, inference, kept);
        const auto outcome = fit(problem, corpus, 6, how);
        auto shards = make_shards(problem, corpus, 0, total(how.layout), total(how.layout));
        CHECK(replay(problem, shards, outcome.record, 4) == outcome.rows);
        for (std::size_t s = 0; s < shards.size(); ++s) {
          CHECK(shards[s].gamma == outcome.shards[s].gamma);
          CHECK(shards[s].z == outcome.shards[s].z);
          CHECK(shards[s].topics == outcome.shards[s].topics);
        }
      }
    }
  }
}

TEST_CASE("bsp depends on the number of shards, not on ranks") {
  const Corpus<float> corpus(60, 50);
  for (const auto inference : kBoth) {
    const auto problem = make_problem(corpus, 5, inference);
    const auto alone = fit(problem, corpus, 5, {{4}, Schedule::bsp});
    for (const Layout& layout : {Layout{2, 2}, {1, 3}, {1, 1, 2}}) {
      const auto outcome = fit(problem, corpus, 5, {layout, Schedule::bsp});
      CHECK(outcome.rows == alone.rows);
      CHECK(outcome.objectives == alone.objectives);
    }
  }
}

TEST_CASE("a start gives the first topics, and keeps its counts where documents are added") {
  const Corpus<double> corpus(60, 50);
  const auto first = fit(make_problem(corpus, 5, TopicInference::collapsed), corpus, 40);
  const std::vector<double> alpha(5, 0.1), eta(corpus.n_words, 0.05);
  for (const bool adds : {false, true}) {
    const Problem<double> problem({5, 0, TopicInference::collapsed, 5}, {alpha, eta, 2.5}, {first.rows, adds});
    const auto outcome = fit(problem, corpus, 1);
    const double tokens = (adds ? 2 : 1) * corpus.n_tokens;
    CHECK(std::accumulate(outcome.totals.begin(), outcome.totals.end(), 0.0) == doctest::Approx(tokens).epsilon(1e-12));
    for (std::size_t i = 0; i < outcome.rows.size() && adds; ++i) CHECK(outcome.rows[i] >= first.rows[i] - 1e-9);
    if (!adds) CHECK(outcome.objectives.back() < first.objectives[1]);
  }
}
