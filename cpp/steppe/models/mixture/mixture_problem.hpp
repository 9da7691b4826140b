#pragma once

#include <memory>
#include <span>
#include <vector>

#include "steppe/models/mixture/component_posterior.hpp"
#include "steppe/models/mixture/gaussian_panel.hpp"
#include "steppe/models/mixture/responsibilities.hpp"
#include "steppe/schedules/concepts.hpp"

namespace steppe {

template <class T>
struct MixtureRows {
  MatrixView<const T> x;
  std::span<const T> weights;            // or empty: one each
  std::span<const std::int32_t> labels;  // of a start from labels: the component of each row; else empty

  // Rows first, first + step, ...
  std::size_t size(std::size_t first, std::size_t step) const {
    return x.rows() > first ? (x.rows() - first + step - 1) / step : 0;
  }
};

// Posteriors to start from, as statistics about the centre, n_components x moment_size.
struct MixtureStart {
  std::vector<double> statistics;  // empty: from labels
  bool keep = false;               // whether the rows that made them count beside those of this fit
};

template <class T>
struct MixtureShard {
  MatrixView<const T> x;
  std::vector<T> weights;  // or empty: one each
  double weight = 0;       // sum of all of them

  ShareTable<T> table;               // the shares that rows have of components
  std::vector<double> contribution;  // n_components x moment_size: what these rows have added to the tokens

  std::unique_ptr<ShareScratch<T>> scratch;
  GaussianPanel<T> panel;    // of the components of a visit
  std::vector<double> sums;  // of a visit, by place in its packet
};

// A variational Gaussian mixture as tokens (extreme stochastic variational inference, Zhang, Raman, Ji, Yu,
// Vishwanathan and Dhillon, AISTATS 2019). A token is a component: its sufficient statistics, about the data's centre,
// in double precision. The responsibilities z_ik stay with the rows.
//
// A visit takes the components B of a packet and shares out anew the mass that each row has on them,
//
//   z_ik = (sum_{l in B} z_il) softmax_{k in B} (psi(alpha_k) + E log p(x_i | component k)),
//
// and moves the statistics by the difference, which is the exact maximum of the bound over these z and then over these
// components: whoever visits, in whatever order, the bound never falls. For mass to get everywhere packets hold two
// components or more and are dealt anew for every round. With all components in one packet on one shard a visit is an
// iteration of batch variational inference, no shares need to be remembered, and memory does not grow with
// n x n_components. Otherwise only shares that count are remembered, and rows without any on a packet are passed over.
template <class T>
class MixtureProblem : public ProblemDefaults<MixtureShard<T>, double> {
 public:
  using Shard = MixtureShard<T>;
  enum Passes : Pass { kTrain, kInit };

  static constexpr std::uint32_t min_bundle = 2;
  static constexpr bool redeal = true;
  static constexpr int init_pass = kInit;

  // `total_weight`: of the rows of all ranks. `centre` (n_features) is the same on all ranks. `remembers`: whether
  // visits are of some of the components only, or of one of several shards, so that shards must remember their shares.
  MixtureProblem(std::uint32_t n_components, MixturePrior prior, std::vector<T> centre, double total_weight,
                 bool remembers, MixtureStart start);

  // Of every `step`-th row from `first` on: rows are often sorted, and shards should be alike.
  Shard make_shard(const MixtureRows<T>& rows, std::size_t first, std::size_t step) const;

  const MixturePrior& prior() const { return *prior_; }
  std::span<const T> centre() const { return centre_; }

  std::uint32_t n_tokens() const { return n_components_; }
  std::uint32_t row_size() const { return static_cast<std::uint32_t>(row_size_); }
  void init_token(TokenView<double> token, std::uint64_t) const;
  bool touches(const Shard& shard, std::uint32_t, Pass) const { return shard.x.rows() > 0; }
  VisitStats visit(Shard& shard, Bundle<double> bundle, const VisitContext& context);
  void end_round(Shard& shard, const VisitContext& context);
  double token_objective(TokenView<const double> token) const;
  double finish(double parts, std::span<const double>) const;

  std::size_t n_rows(const Shard& shard) const { return shard.x.rows(); }
  double total_weight() const { return total_weight_; }
  void prepare(Bundle<double> all, std::size_t first, std::size_t last);
  SweepStats sweep(Shard& shard, Bundle<double> all, const RowSample& sample, std::span<double> sums,
                   const VisitContext& context) const;
  void blend(TokenView<double> token, std::span<const double> sums, double rate, double scale) const;
  double token_divergence(TokenView<const double> token) const;

  template <class F>
  static void state(Shard& shard, F&& f) {
    auto packed = shard.table.packed();
    f("share_counts", std::span(packed.counts));
    f("share_rows", packed.rows);
    f("shares", packed.shares);
    shard.table.unpack(packed);
    f("loose", shard.table.loose());
    f("contribution", std::span(shard.contribution));
  }

 private:
  double total_concentration() const;
  std::span<const double> base(std::uint32_t id) const;
  void place(GaussianPanel<T>& panel, std::size_t at, std::span<const double> statistics) const;
  void first_shares(Shard& shard) const;
  VisitStats add_first(Shard& shard, Bundle<double> bundle) const;
  VisitStats meet_all(Shard& shard, Bundle<double> bundle, const VisitContext& context) const;
  VisitStats meet_some(Shard& shard, Bundle<double> bundle, const VisitContext& context) const;

  std::uint32_t n_components_;
  std::shared_ptr<const MixturePrior> prior_;  // posteriors refer to it, wherever the problem moves
  std::vector<T> centre_;
  double total_weight_;
  bool remembers_;
  MixtureStart start_;
  std::size_t row_size_;
  GaussianPanel<T> panel_;  // of all components, for the sweeps of a step
};

extern template class MixtureProblem<float>;
extern template class MixtureProblem<double>;

static_assert(TokenProblem<MixtureProblem<float>> && SumsOverRows<MixtureProblem<float>>);
static_assert(TokenProblem<MixtureProblem<double>> && SumsOverRows<MixtureProblem<double>>);

}  // namespace steppe
