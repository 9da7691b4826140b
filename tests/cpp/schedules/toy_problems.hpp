#pragma once

#include <cmath>
#include <cstdint>
#include <span>
#include <vector>

#include "steppe/core/rng.hpp"
#include "steppe/schedules/concepts.hpp"

// Small problems whose result depends on the order of visits down to the last bit, so that a replay that agrees has
// done the same things in the same order.
namespace toy {

inline constexpr steppe::Pass kTrain = 0;
inline constexpr steppe::Pass kEvaluate = 1;

struct Shard {
  std::vector<double> rows;         // pinned parameters
  std::vector<double> accumulated;  // swapped in at the end of a round
  std::vector<double> opened;
  std::vector<std::uint64_t> visits;  // by token: how often it was met in training
  std::vector<char> touched;          // by token
};

// A shard of `n_rows` pinned values; it touches a token with probability `density`, or none when it has no rows.
inline Shard make_shard(std::uint32_t number, std::uint32_t n_rows, std::uint32_t n_tokens, double density) {
  Shard shard;
  steppe::Stream stream(7, steppe::Purpose::data, number);
  for (std::uint32_t i = 0; i < n_rows; ++i) shard.rows.push_back(stream.normal());
  shard.accumulated.assign(n_rows, 0);
  shard.opened.assign(n_rows, 1);
  shard.visits.assign(n_tokens, 0);
  for (std::uint32_t j = 0; j < n_tokens; ++j) {
    shard.touched.push_back(n_rows > 0 && stream.uniform() < density ? 1 : 0);
  }
  return shard;
}

inline std::vector<Shard> make_shards(std::uint32_t first, std::uint32_t n, std::uint32_t n_tokens,
                                      double density = 0.7) {
  std::vector<Shard> shards;
  // Every third shard is empty, one has a single row.
  for (std::uint32_t s = first; s < first + n; ++s) {
    shards.push_back(make_shard(s, s % 3 == 2 ? 0 : 1 + 4 * (s % 5), n_tokens, density));
  }
  return shards;
}

template <class T>
struct Base : steppe::ProblemDefaults<Shard, T> {
  static constexpr int evaluate_pass = kEvaluate;

  explicit Base(std::uint32_t n_tokens) : n(n_tokens) {}

  std::uint32_t n_tokens() const { return n; }
  std::uint32_t row_size() const { return 3; }
  bool touches(const Shard& shard, std::uint32_t id, steppe::Pass) const { return shard.touched[id] != 0; }
  void init_token(steppe::TokenView<T> token, std::uint64_t seed) const {
    steppe::Stream stream(seed, steppe::Purpose::init_token, token.id);
    for (T& value : token.row) value = static_cast<T>(stream.normal());
  }
  double token_objective(steppe::TokenView<const T> token) const { return 0.5 * double(token.row[0]) * token.row[0]; }
  double shard_objective(const Shard& shard) const {
    double sum = 0;
    for (const double row : shard.rows) sum += std::abs(row);
    return sum;
  }
  template <class F>
  static void state(Shard& shard, F&& f) {
    f("rows", std::span(shard.rows));
    f("accumulated", std::span(shard.accumulated));
    f("opened", std::span(shard.opened));
    f("visits", std::span(shard.visits));
  }

  steppe::VisitStats meet(Shard& shard, steppe::TokenView<T> token, const steppe::VisitContext& context) const {
    if (context.pass == kEvaluate) {
      double loss = 0;
      for (const double row : shard.rows) loss += std::sin(row * double(token.row[1]));
      return {shard.rows.size(), loss};
    }
    ++shard.visits[token.id];
    const double step = 0.1 / (1 + context.round);
    for (std::size_t i = 0; i < shard.rows.size(); ++i) {
      const double old = shard.rows[i];
      shard.rows[i] -=
          step * (std::tanh(old * double(token.row[0])) - std::cos(double(token.row[1]))) * shard.opened[i];
      token.row[0] -= static_cast<T>(step * std::tanh(old));
      token.row[1] += static_cast<T>(step * std::sin(old * double(token.row[2])));
      shard.accumulated[i] += std::exp(-std::abs(double(token.row[0])));
      if (!context.globals.empty()) context.globals[i % context.globals.size()] += step * std::sin(old);
      if (!context.globals.empty()) token.row[2] += static_cast<T>(std::sin(context.globals[0]));
    }
    return {shard.rows.size(), 0};
  }

  std::uint32_t n;
};

// One token at a time, any skew.
template <class T>
struct One : Base<T> {
  using Base<T>::Base;
  steppe::VisitStats visit(Shard& s, steppe::TokenView<T> t, const steppe::VisitContext& c) {
    return this->meet(s, t, c);
  }
};

// The end of a round sets what the visits of the next one read, so no packet may be ahead.
template <class T>
struct Gated : One<T> {
  using One<T>::One;
  static constexpr std::uint32_t max_skew = 0;
  void end_round(Shard& shard, const steppe::VisitContext& context) {
    if (context.pass == kEvaluate) return;
    for (std::size_t i = 0; i < shard.rows.size(); ++i) {
      shard.opened[i] = 1 / (1 + shard.accumulated[i]);
      shard.accumulated[i] = 0;
    }
  }
};

// Two globals that every visit reads and adds to.
template <class T>
struct WithGlobals : One<T> {
  using One<T>::One;
  std::uint32_t n_globals() const { return 2; }
  void init_globals(std::span<double> globals) const { globals[0] = 1, globals[1] = -1; }
  double finish(double parts, std::span<const double> globals) const { return parts + globals[0] * globals[1]; }
};

// Tokens exchange mass inside their packet, and are dealt again before every round.
template <class T>
struct Bundled : Base<T> {
  using Base<T>::Base;
  static constexpr std::uint32_t min_bundle = 2;
  static constexpr bool redeal = true;
  steppe::VisitStats visit(Shard& s, steppe::Bundle<T> bundle, const steppe::VisitContext& c) {
    steppe::VisitStats stats;
    for (std::size_t i = 0; i < bundle.size(); ++i) {
      if (!s.touched[bundle.id(i)]) continue;
      stats += this->meet(s, bundle[i], c);
      if (c.pass == kEvaluate) continue;
      const T moved = bundle[i].row[0] * T(0.1);
      bundle[i].row[0] -= moved;
      bundle[(i + 1) % bundle.size()].row[0] += moved;
    }
    return stats;
  }
};

static_assert(steppe::TokenProblem<One<float>> && steppe::TokenProblem<Gated<double>>);
static_assert(steppe::TokenProblem<WithGlobals<float>> && steppe::TokenProblem<Bundled<double>>);

}  // namespace toy
