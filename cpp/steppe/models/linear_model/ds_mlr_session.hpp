#pragma once

#include <memory>
#include <vector>

#include "steppe/models/linear_model/multinomial_logistic_problem.hpp"
#include "steppe/models/token_session.hpp"

namespace steppe {

struct DsMlrOptions {
  EngineOptions engine;
  std::uint32_t n_threads = 1;
  std::uint32_t n_sweeps = 1;       // in each round of the session
  bool keep_dual = false;           // whether result() holds the dual variables
  std::size_t hand_over_bytes = 0;  // size of the weights from which on they are not held twice
};

// A fit by the token engine. Weights that are large against memory must not be there twice, as tokens and as a result:
// in one process result() then lets go of the tokens and makes the weights from the dual variables, of which they are a
// sum. If the fit goes on after that, the tokens are made again in the same way.
template <class T>
class DsMlrSession final : public FitSession {
 public:
  using Problem = MultinomialLogisticProblem<T>;
  using Shard = MultinomialShard<T>;

  // `columns` are those of dense rows, which the shards look at. The link outlives the session.
  DsMlrSession(Problem problem, std::vector<Shard> shards, std::vector<std::int32_t> columns, Link& link,
               DsMlrOptions options);

  Progress advance(std::uint32_t rounds, Control& control) override;
  double objective(Control& control) override;
  std::uint32_t rounds_done() const override;
  ArrayMap state() const override;
  void restore(const ArrayMap& state) override;
  ArrayMap result() override;

 private:
  // The engine with its tokens, which can be told to give back the shards.
  class Running : public TokenSession<Problem> {
   public:
    using TokenSession<Problem>::TokenSession;
    using TokenSession<Problem>::initialise;
    using TokenSession<Problem>::initialised;
    ArrayMap result() override { return {}; }
    Problem& problem() { return this->problem_; }
    std::vector<Shard>& shards() { return this->shards_; }
  };

  Running& running() const;
  void let_go();
  void let_go_unless_initialised();
  bool hands_over(const Problem& problem) const;
  void collect(std::span<T> weights, std::span<T> intercept);
  void add_duals(ArrayMap& fitted) const;
  void weights_from_duals(std::span<T> weights) const;
  void add_weights_from_dual(const Shard& shard, std::size_t first, MatrixView<T> weights) const;
  std::vector<Shard>& shards() const { return running_ ? running_->shards() : shards_; }

  std::vector<std::int32_t> columns_;
  Link& link_;
  DsMlrOptions options_;
  std::vector<T> intercept_;         // of the tokens that were let go
  std::uint32_t rounds_before_ = 0;  // of the engine before that
  mutable Problem problem_;
  mutable std::vector<Shard> shards_;  // while nothing is running
  mutable std::unique_ptr<Running> running_;
};

extern template class DsMlrSession<float>;
extern template class DsMlrSession<double>;

}  // namespace steppe
