#include "steppe/models/topics/latent_dirichlet_fit.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <utility>

#include "steppe/core/partition.hpp"
#include "steppe/models/token_session.hpp"
#include "steppe/models/topics/batch_dirichlet_problem.hpp"
#include "steppe/models/topics/latent_dirichlet_problem.hpp"

namespace steppe {
namespace {

// Of documents and words by turns, or of batches of documents.
template <class Problem, class T>
class LatentDirichletSession final : public TokenSession<Problem> {
 public:
  LatentDirichletSession(Problem problem, std::vector<typename Problem::Shard> shards, Link& link,
                         std::uint32_t n_threads, EngineOptions options, std::uint32_t n_sweeps,
                         std::vector<double> eta)
      : TokenSession<Problem>(std::move(problem), std::move(shards), link, n_threads, options, Problem::kTrain),
        n_sweeps_(n_sweeps), eta_(std::move(eta)) {}

  Progress advance(std::uint32_t rounds, Control& control) override {
    return TokenSession<Problem>::advance(rounds * n_sweeps_, control);
  }
  std::uint32_t rounds_done() const override { return TokenSession<Problem>::rounds_done() / n_sweeps_; }

  ArrayMap result() override {
    const std::size_t n_topics = this->problem_.row_size(), n_words = this->problem_.n_tokens();
    std::vector<double> rows(n_words * n_topics);
    this->engine_.gather(rows);
    ArrayMap result;
    result["components"] = Array::zeros<T>({n_topics, n_words});
    const auto lambda = result["components"].template as<T>();
    for (std::size_t v = 0; v < n_words; ++v) {
      for (std::size_t k = 0; k < n_topics; ++k) {
        lambda[k * n_words + v] = static_cast<T>(std::max(rows[v * n_topics + k], 0.0) + eta_[v]);
      }
    }
    return result;
  }

 private:
  std::uint32_t n_sweeps_;
  std::vector<double> eta_;
};

// A visit should last about a microsecond, or moving tokens costs more than the entries; and yet there should be more
// packets than workers.
constexpr double kTopicsPerPacket = 3000;

constexpr std::uint32_t kLaps = 8;  // of the totals in a round: in the first pass they grow from nothing

std::uint32_t tokens_per_packet(const CorpusSummary& summary, std::size_t n_words, std::uint32_t n_topics,
                                std::uint32_t n_shards) {
  const double pairs = static_cast<double>(n_words) * n_shards;
  const double work = static_cast<double>(summary.n_entries) * n_topics;
  const double most = std::max(1.0, static_cast<double>(n_words) / (8.0 * n_shards));
  return static_cast<std::uint32_t>(std::clamp(std::ceil(kTopicsPerPacket * pairs / work), 1.0, most));
}

std::uint32_t shards_of_all(Link& link, std::uint32_t mine) {
  std::uint64_t n[] = {mine};
  sum_over_ranks(link, n);
  return static_cast<std::uint32_t>(n[0]);
}

void check(const LatentDirichletParams& params, Schedule schedule, std::size_t n_words,
           const LatentDirichletStart* start) {
  const auto positive = [](double value) { return value > 0 && std::isfinite(value); };
  require(params.n_topics > 0, "n_components: must be 1 or more");
  require(n_words > 0, "X: has no columns; pass a matrix of documents x words");
  require(params.inference == "vb" || params.inference == "cvb0", "inference: choose 'vb' or 'cvb0'");
  require(!meets_all_tokens(schedule) || params.inference == "vb",
          "schedule='batch' and 'svi' are for inference='vb'; with 'cvb0' choose 'serial', 'bsp' or 'nomad'");
  require(
      !meets_all_tokens(schedule) || params.kept == 0,
      "top_k: schedule='batch' and 'svi' keep no topics of entries, so there are none to leave out; pass top_k=None");
  require(params.kept <= params.n_topics, "top_k: keep at most n_components topics");
  require(params.kept == 0 || params.n_topics <= std::numeric_limits<std::uint16_t>::max(),
          "top_k: works with at most 65535 topics");
  require(params.doc_topic_prior.size() == params.n_topics && std::ranges::all_of(params.doc_topic_prior, positive),
          "doc_topic_prior: give one positive number, or one for each topic");
  require(params.topic_word_prior.size() == n_words && std::ranges::all_of(params.topic_word_prior, positive),
          "topic_word_prior: give one positive number, or one for each word");
  require(params.n_sweeps > 0, "n_sweeps: give a positive number");
  require(start == nullptr || (start->counts.rows() == params.n_topics && start->counts.cols() == n_words),
          "start: the model to start from has another shape");
}

TopicStart start_of(const LatentDirichletStart* start) {
  TopicStart own;
  if (start == nullptr) return own;
  const auto& counts = start->counts;
  own.adds = start->adds;
  own.counts.resize(counts.rows() * counts.cols());
  for (std::size_t k = 0; k < counts.rows(); ++k) {
    for (std::size_t v = 0; v < counts.cols(); ++v) own.counts[v * counts.rows() + k] = std::max(counts(k, v), 0.0);
  }
  return own;
}

// Cuts this rank's documents into shards of about equal entries, built in parallel: make(documents, number of the
// first).
template <class Shard, class T, class Make>
std::vector<Shard> make_shards(CsrView<T> documents, std::uint64_t first_document, std::uint32_t n_shards,
                               std::uint32_t n_threads, Make&& make) {
  const std::vector<std::int64_t> none{0};
  const auto offsets = documents.rows() == 0 ? std::span<const std::int64_t>(none) : documents.offsets();
  const auto bounds = balanced_ranges(offsets, n_shards);
  std::vector<Shard> shards(n_shards);
  Team team(std::min(n_threads, n_shards));
  team.parallel_for(n_shards, 1, [&](std::size_t begin, std::size_t end, std::uint32_t) {
    for (std::size_t s = begin; s < end; ++s) {
      const CsrView<T> rows(offsets.subspan(bounds[s], bounds[s + 1] - bounds[s] + 1), documents.indices(),
                            documents.values(), documents.cols());
      shards[s] = make(rows, first_document + bounds[s]);
    }
  });
  return shards;
}

}  // namespace

template <class T>
std::unique_ptr<FitSession> make_latent_dirichlet(const LatentDirichletParams& params, CsrView<T> documents,
                                                  const LatentDirichletStart* start, Link& link) {
  const Schedule schedule = parse_schedule(params.schedule, params.n_threads, link.size(), Schedule::nomad);
  check(params, schedule, documents.cols(), start);
  const CorpusSummary summary = summarise_corpus(documents, link);
  require(summary.n_tokens > 0 || (start != nullptr && start->adds),
          "X: holds no word at all; pass at least one document with a positive count");
  const std::uint32_t n_threads = workers_for(schedule, params.n_threads);
  const std::uint32_t n_shards = schedule == Schedule::bsp && params.n_shards > 0 ? params.n_shards : n_threads;

  EngineOptions options;
  options.schedule = schedule;
  options.seed = params.seed;
  options.packet_tokens = tokens_per_packet(summary, documents.cols(), params.n_topics, shards_of_all(link, n_shards));
  options.record = params.record;
  options.laps = kLaps;
  options.batch_rows = params.batch_rows;
  options.learning_decay = params.learning_decay;
  options.learning_offset = params.learning_offset;

  const auto& eta = params.topic_word_prior;
  const TopicSettings settings{params.n_topics, params.kept,
                               params.inference == "cvb0" ? TopicInference::collapsed : TopicInference::mean_field,
                               params.seed};
  TopicPriors priors{params.doc_topic_prior, eta, std::accumulate(eta.begin(), eta.end(), 0.0)};
  const auto session = [&]<class Problem>(Problem problem) -> std::unique_ptr<FitSession> {
    auto shards = make_shards<typename Problem::Shard>(
        documents, summary.first_document, n_shards, n_threads,
        [&](CsrView<T> rows, std::uint64_t first) { return problem.make_shard(rows, first); });
    return std::make_unique<LatentDirichletSession<Problem, T>>(std::move(problem), std::move(shards), link, n_threads,
                                                                options, params.n_sweeps, eta);
  };
  if (meets_all_tokens(schedule)) {
    return session(BatchDirichletProblem<T>(settings, std::move(priors), start_of(start), summary.n_documents));
  }
  return session(LatentDirichletProblem<T>(settings, std::move(priors), start_of(start)));
}

template std::unique_ptr<FitSession> make_latent_dirichlet(const LatentDirichletParams&, CsrView<float>,
                                                           const LatentDirichletStart*, Link&);
template std::unique_ptr<FitSession> make_latent_dirichlet(const LatentDirichletParams&, CsrView<double>,
                                                           const LatentDirichletStart*, Link&);

}  // namespace steppe
