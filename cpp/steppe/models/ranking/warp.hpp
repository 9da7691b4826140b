#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "steppe/comm/link.hpp"
#include "steppe/core/views.hpp"
#include "steppe/models/ranking/query_census.hpp"
#include "steppe/runtime/team.hpp"

namespace steppe {

// This rank's documents as WARP sees them: m features each, within a query by rising grade.
struct WarpData {
  MatrixView<const double> features;
  std::span<const double> weight;
  std::span<const std::uint32_t> lower;  // count_lower of each query
  std::span<const std::int64_t> offsets;
  const QueryCensus& census;  // of the queries to train on
};

// Scores f_q(p) = phi_q . features(p) with phi >= 0, one phi for all queries or one for each, trained by WARP (Weston,
// Bengio, Usunier, IJCAI 2011): a relevant document p+ and documents p- of lower grade, drawn until one has
// 1 + f(p-) > f(p+), say after N of at most n- draws; then a step down the gradient of
//   L(n- / N) / L(n-) (1 + f(p-) - f(p+)),   L(k) = sum_{i<=k} 1 / log2(i + 1),
// of length 1 / sqrt(step). A shared phi makes the mean step of all queries, summed in whole numbers, so that its bits
// depend on neither threads nor ranks.
class WarpTrainer {
 public:
  WarpTrainer(const WarpData& data, bool per_query, std::uint64_t seed, Link& link, Team& team);

  // Collective. A pass over all relevant documents; true if `stop` was set on any rank, which is then as good as done.
  bool round(bool stop);
  // Collective. The mean over queries of the mean over p+ of L(k)/L(n-) times the mean hinge of the k violators.
  double loss();
  std::uint64_t updates_of_a_round() const noexcept { return n_relevant_; }  // on all ranks

  std::span<double> phi() noexcept { return phi_; }  // m, or m for each own query of the census
  std::span<const double> phi() const noexcept { return phi_; }
  std::vector<double> mean_phi();  // collective
  std::uint32_t& steps() noexcept { return steps_; }
  std::uint32_t steps() const noexcept { return steps_; }

 private:
  struct Query {
    std::size_t begin, n, first_relevant;
    std::uint64_t number;
    double weight;
  };
  std::span<const double> phi_of(std::size_t own) const;
  void score(const Query& query, std::span<const double> phi, std::span<double> out) const;
  void add_gradient(const Query& query, std::size_t part, std::span<const double> phi, std::span<const double> scores,
                    std::span<double> gradient) const;
  double query_loss(const Query& query, std::span<const double> scores) const;
  bool step(std::size_t part, bool stop);

  WarpData data_;
  bool per_query_;
  std::uint64_t seed_, n_relevant_ = 0;
  Link& link_;
  Team& team_;
  std::vector<Query> queries_;
  std::size_t longest_ = 0;
  double total_weight_ = 0, unit_ = 1;  // of the whole numbers
  std::vector<double> sums_, phi_;
  std::uint32_t steps_ = 0;
};

}  // namespace steppe
