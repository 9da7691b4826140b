#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "steppe/core/access.hpp"
#include "steppe/core/errors.hpp"
#include "steppe/core/partition.hpp"
#include "steppe/kernels/sgd_pair.hpp"
#include "steppe/models/recommend/factor_table.hpp"
#include "steppe/models/recommend/ratings.hpp"
#include "steppe/schedules/concepts.hpp"

namespace steppe {

// Matrix factorisation by stochastic gradient descent, doubly separable (Yun et al., VLDB 2014):
//
//   minimise  1/2 sum_(u,j) e_uj^2  +  1/2 sum_u l_u (|w_u|^2 + b_u^2)  +  1/2 sum_j l_j (|h_j|^2 + b_j^2)
//   e_uj = mean + b_u + b_j + w_u.h_j - r_uj,   l = reg * (number of ratings of that user or item), or reg ("plain")
//
// Users stay in shards, items travel: a token is (h_j, b_j), a visit one pass over the ratings of item j by some users
// of the shard (see EpochPlan).

struct MatrixFactorizationObjective {
  double reg = 0.05;
  bool count_weighted = true;
  bool biases = true;
  bool nonnegative = false;

  // l of a user or item with that many ratings. Without ratings its factors are zero and it weighs nothing.
  double weight(std::uint64_t n_ratings) const {
    return n_ratings == 0 ? 0 : count_weighted ? reg * static_cast<double>(n_ratings) : reg;
  }
};

// The largest step of epoch t: learning_rate / scale, falling geometrically, then constant. The implicit form of the
// update (kernels/sgd_pair.hpp) is stable for any step, so the first can be large; the floor lets a fit without noise
// go on converging.
struct StepSchedule {
  double learning_rate = 0.3;
  double scale = 1;          // of the ratings: makes the learning rate a pure number
  std::uint32_t offset = 0;  // rounds of earlier fits

  double operator()(std::uint32_t round) const {
    return learning_rate / scale * std::max(std::pow(0.6, static_cast<double>(round) + offset), 0.02);
  }
};

// How an epoch is cut into rounds of the engine. Each round is for one block of every shard's users: an item then moves
// a little for each block in turn rather than far for all users at once, and the users of a later block start from
// better items. In the first epoch each block is cut again into slices: while all factors are near zero, shards that
// meet different items learn them in different directions, which takes many epochs to mend, so items must change shards
// often. Together this halves the number of epochs.
struct EpochPlan {
  std::uint32_t blocks = 1, slices = 1;  // slices: in each block

  static constexpr Pass kSlicePasses = 16, kEvaluatePass = 80;  // passes below 16 are blocks, below 80 slices

  std::uint32_t rounds(std::uint32_t epoch) const { return epoch == 0 ? blocks * slices : blocks; }
  Pass first_pass(std::uint32_t epoch) const { return epoch == 0 ? kSlicePasses : Pass{0}; }
  std::uint32_t epoch_of(std::uint32_t round) const { return round < rounds(0) ? 0 : 1 + (round - rounds(0)) / blocks; }
};

template <class T>
struct UserShard {
  FactorTable<T> users;
  std::vector<RatingColumns<T>> blocks;   // ratings of consecutive ranges of users, which are numbered within the shard
  std::vector<std::size_t> slice_bounds;  // first user of each slice of all blocks, and the end
  std::vector<std::uint32_t> counts;      // ratings by user
  std::vector<T> reg;                     // L2 weight in one rating's gradient by user; empty if it is the same for all
  std::vector<T> copy;                    // hogwild: an item's row while it is worked on
};

template <class T>
class MatrixFactorizationProblem : public ProblemDefaults<UserShard<T>, T> {
 public:
  static constexpr int evaluate_pass = EpochPlan::kEvaluatePass;
  // Without a bound some items run far ahead in a long run; parked early, they go stale while the users move on.
  static constexpr std::uint32_t max_skew = 1;

  // `items`, if given, is where the items start instead of the keyed random numbers; it must outlive the first run.
  MatrixFactorizationProblem(MatrixFactorizationObjective objective, StepSchedule steps, RatingSummary summary,
                             double mean, std::size_t n_factors, EpochPlan plan, FactorInit init,
                             const FactorTable<T>* items = nullptr)
      : objective_(objective), steps_(steps), summary_(std::move(summary)), mean_(static_cast<T>(mean)),
        n_factors_(n_factors), plan_(plan), stride_(padded<T>(n_factors)), init_(init), items_(items) {
    invariant(
        plan.blocks <= EpochPlan::kSlicePasses && plan.rounds(0) <= EpochPlan::kEvaluatePass - EpochPlan::kSlicePasses,
        "an epoch has at most 16 blocks, the first one 64 slices");
  }

  std::uint32_t n_tokens() const { return static_cast<std::uint32_t>(summary_.item_counts.size()); }
  std::uint32_t row_size() const { return static_cast<std::uint32_t>(stride_) + 1; }

  void init_token(TokenView<T> token, std::uint64_t) const {
    std::ranges::fill(token.row, T(0));
    if (items_ != nullptr) {
      std::ranges::copy(items_->row(token.id), token.row.begin());
      token.row[stride_] = items_->bias[token.id];
    } else if (summary_.item_counts[token.id] > 0) {
      init_factors(token.row.first(n_factors_), init_, Purpose::init_token, token.id);
    }
  }

  // A slice is not searched for ratings: visiting an empty one costs no more than knowing that it is empty.
  bool touches(const UserShard<T>& shard, std::uint32_t item, Pass pass) const {
    if (pass < EpochPlan::kSlicePasses) return shard.blocks[pass].count(item) > 0;
    if (pass < EpochPlan::kEvaluatePass) return shard.blocks[block_of(pass)].count(item) > 0;
    return std::ranges::any_of(shard.blocks, [&](const auto& block) { return block.count(item) > 0; });
  }

  VisitStats visit(UserShard<T>& shard, TokenView<T> token, const VisitContext& context) const {
    if (context.pass == evaluate_pass) return evaluate(shard, token);
    return train(shard, token.id, token.row, context);
  }

  // Hogwild: works on a copy of the item and adds what it changed, by relaxed reads and writes. What another worker
  // writes in between may be lost.
  VisitStats visit_shared(UserShard<T>& shard, Bundle<T> bundle, const VisitContext& context) const {
    VisitStats stats;
    const std::size_t size = row_size();
    shard.copy.resize(2 * size);
    const std::span<T> mine = std::span(shard.copy).first(size), before = std::span(shard.copy).last(size);
    for (std::size_t t = 0; t < bundle.size(); ++t) {
      if (!touches(shard, bundle.id(t), context.pass)) continue;
      const std::span<T> row = bundle[t].row;
      for (std::size_t i = 0; i < size; ++i) mine[i] = before[i] = Shared::load(row[i]);
      stats += train(shard, bundle.id(t), mine, context);
      const T floor = objective_.nonnegative ? T(0) : -std::numeric_limits<T>::infinity();
      for (std::size_t i = 0; i < size; ++i) {
        const T moved = Shared::load(row[i]) + (mine[i] - before[i]);
        Shared::store(row[i], i < stride_ ? std::max(floor, moved) : moved);
      }
    }
    return stats;
  }

  double shard_objective(const UserShard<T>& shard) const {
    double sum = 0;
    for (std::size_t u = 0; u < shard.users.rows; ++u) {
      sum += objective_.weight(shard.counts[u]) * shard.users.squared_norm(u);
    }
    return 0.5 * sum;
  }

  double token_objective(TokenView<const T> token) const {
    double sum = 0;
    for (const T value : token.row) sum += static_cast<double>(value) * static_cast<double>(value);
    return 0.5 * objective_.weight(summary_.item_counts[token.id]) * sum;
  }

  template <class F>
  static void state(UserShard<T>& shard, F&& f) {
    f("factors", std::span<T>(shard.users.factors));
    f("bias", std::span<T>(shard.users.bias));
  }

  // Users of those rows, the first being number `first_user` over all ranks, with the start they have of themselves.
  UserShard<T> make_shard(CsrView<T> rows, std::uint64_t first_user) const;

  const RatingSummary& summary() const { return summary_; }
  const FactorInit& init() const { return init_; }
  std::size_t n_factors() const { return n_factors_; }
  const EpochPlan& plan() const { return plan_; }
  double mean() const { return static_cast<double>(mean_); }
  double scale() const { return steps_.scale; }

 private:
  kernels::UserRows<T> rows_of(UserShard<T>& shard) const {
    return {shard.users.factors.data(), objective_.biases ? shard.users.bias.data() : nullptr,
            shard.reg.empty() ? nullptr : shard.reg.data(), stride_};
  }
  std::size_t block_of(Pass slice_pass) const { return (slice_pass - EpochPlan::kSlicePasses) / plan_.slices; }

  // The ratings of an item that a training pass visits. Within a column users rise, so a slice is found by bisection.
  kernels::ItemRatings<T> ratings_of(const UserShard<T>& shard, std::uint32_t item, Pass pass) const {
    if (pass < EpochPlan::kSlicePasses) return {shard.blocks[pass].users_of(item), shard.blocks[pass].values_of(item)};
    const std::size_t slice = pass - EpochPlan::kSlicePasses;
    const RatingColumns<T>& block = shard.blocks[block_of(pass)];
    const auto users = block.users_of(item);
    const auto place = [&](std::size_t bound) {
      return static_cast<std::size_t>(std::ranges::lower_bound(users, static_cast<std::int32_t>(bound)) -
                                      users.begin());
    };
    const std::size_t first = place(shard.slice_bounds[slice]), last = place(shard.slice_bounds[slice + 1]);
    return {users.subspan(first, last - first), block.values_of(item).subspan(first, last - first)};
  }
  // L2 weight in the gradient of one of `n` ratings, so that all of them together weigh objective_.weight(n).
  T reg_per_rating(std::uint64_t n) const {
    return static_cast<T>(n == 0 ? 0 : objective_.weight(n) / static_cast<double>(n));
  }

  VisitStats train(UserShard<T>& shard, std::uint32_t item, std::span<T> row, const VisitContext& context) const {
    const auto ratings = ratings_of(shard, item, context.pass);
    const kernels::SgdStep<T> step{static_cast<T>(steps_(plan_.epoch_of(context.round))),
                                   static_cast<T>(objective_.reg),
                                   reg_per_rating(summary_.item_counts[item]),
                                   mean_,
                                   objective_.biases ? static_cast<T>(steps_.scale) : T(0),
                                   objective_.nonnegative};
    const double loss = kernels::sgd_visit<T>(rows_of(shard), {row.data(), row.data() + stride_}, ratings, step);
    if (!std::isfinite(loss)) {
      throw InvalidArgument("learning_rate: the factors of item " + std::to_string(item) +
                            " left the finite numbers; use a smaller learning_rate or more reg");
    }
    return {ratings.users.size(), 0.5 * loss};
  }

  VisitStats evaluate(UserShard<T>& shard, TokenView<T> token) const {
    VisitStats stats;
    for (const RatingColumns<T>& block : shard.blocks) {
      stats += {block.count(token.id),
                0.5 * kernels::squared_error<T>(rows_of(shard), {token.row.data(), token.row.data() + stride_},
                                                {block.users_of(token.id), block.values_of(token.id)}, mean_)};
    }
    return stats;
  }

  MatrixFactorizationObjective objective_;
  StepSchedule steps_;
  RatingSummary summary_;
  T mean_;
  std::size_t n_factors_;
  EpochPlan plan_;
  std::size_t stride_;
  FactorInit init_;
  const FactorTable<T>* items_;
};

template <class T>
UserShard<T> MatrixFactorizationProblem<T>::make_shard(CsrView<T> rows, std::uint64_t first_user) const {
  UserShard<T> shard;
  shard.users = FactorTable<T>(rows.rows(), n_factors_);
  shard.slice_bounds = balanced_ranges(rows.offsets(), plan_.rounds(0));
  for (std::uint32_t b = 0; b < plan_.blocks; ++b) {
    const std::size_t first = shard.slice_bounds[b * plan_.slices], last = shard.slice_bounds[(b + 1) * plan_.slices];
    shard.blocks.push_back(columns_of(rows.rows_between(first, last), first));
  }
  shard.counts.resize(rows.rows());
  if (!objective_.count_weighted) shard.reg.resize(rows.rows());
  for (std::size_t u = 0; u < rows.rows(); ++u) {
    const std::size_t n = rows.row_size(u);
    shard.counts[u] = static_cast<std::uint32_t>(n);
    if (!objective_.count_weighted) shard.reg[u] = reg_per_rating(n);
    if (n > 0) init_factors(shard.users.row(u), init_, Purpose::init_row, first_user + u);
  }
  return shard;
}

static_assert(TokenProblem<MatrixFactorizationProblem<float>> && TokenProblem<MatrixFactorizationProblem<double>>);
static_assert(VisitsShared<MatrixFactorizationProblem<float>>);

}  // namespace steppe
