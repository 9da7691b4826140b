#pragma once

#include <concepts>
#include <cstdint>
#include <limits>
#include <span>
#include <type_traits>
#include <vector>

namespace steppe {

// A doubly separable objective sum_ij f_ij(theta_i, theta'_j) is estimated with rows pinned to shards and columns
// travelling as tokens. Whoever holds a token owns its parameters, so ownership is the lock and every execution equals
// some serial order.
//
//   shard   rows pinned to one worker, numbered 0..n_shards-1 over all ranks
//   token   a column: an id and one row of `row_size` numbers
//   packet  tokens that travel together
//   pass    what a ring is walked for: training, evaluation, ...
//   round   every packet meets every shard it touches exactly once
//   run     rounds of one pass between two drains
//   drain   the end of a run: all packets parked, nothing in flight

// The model's own numbering; the engine only hands it on.
using Pass = std::uint8_t;

// Whether to end early; asked with the number of updates made since it was asked last.
class HaltProbe {
 public:
  HaltProbe() = default;
  template <class Halted>
  explicit HaltProbe(Halted& halted)
      : halted_(&halted),
        ask_([](const void* h, std::uint64_t n) { return (*static_cast<Halted*>(const_cast<void*>(h)))(n); }) {}

  bool operator()(std::uint64_t updates) const { return ask_ != nullptr && ask_(halted_, updates); }

 private:
  const void* halted_ = nullptr;
  bool (*ask_)(const void*, std::uint64_t) = nullptr;
};

struct VisitContext {
  std::uint64_t seed = 0;
  std::uint32_t round = 0;  // training rounds before this one: step sizes count by it
  std::uint32_t shard = 0, n_shards = 1;
  Pass pass = 0;
  std::span<double> globals;  // this shard's working copy: read it and add to it; empty when n_globals() is 0
  HaltProbe halted;           // for a visit of a packet that may take long: what it leaves half done must be usable
};

template <class Row>
struct TokenView {
  std::uint32_t id = 0;
  std::span<Row> row;
};

// The tokens of one packet; their rows are contiguous with a fixed stride.
template <class Row>
class Bundle {
 public:
  Bundle(std::span<const std::uint32_t> ids, Row* rows, std::uint32_t row_size)
      : ids_(ids), rows_(rows), row_size_(row_size) {}

  std::size_t size() const noexcept { return ids_.size(); }
  std::uint32_t id(std::size_t i) const noexcept { return ids_[i]; }
  TokenView<Row> operator[](std::size_t i) const noexcept { return {ids_[i], {rows_ + i * row_size_, row_size_}}; }
  std::span<const std::uint32_t> ids() const noexcept { return ids_; }
  Row* rows() const noexcept { return rows_; }

 private:
  std::span<const std::uint32_t> ids_;
  Row* rows_;
  std::size_t row_size_;
};

struct VisitStats {
  std::uint64_t updates = 0;
  double loss = 0;  // in an evaluation pass: this visit's share of the objective's pair part

  VisitStats& operator+=(const VisitStats& other) {
    updates += other.updates;
    loss += other.loss;
    return *this;
  }
};

// A model offers one of the two, unless all it offers is SumsOverRows. With VisitsOne the engine walks through the
// packet in a keyed order and skips tokens that do not touch the shard. While a visit runs it owns the shard and the
// tokens it is given.
template <class P>
concept VisitsOne = requires(P& p, typename P::Shard& s, TokenView<typename P::Row> t, const VisitContext& c) {
  { p.visit(s, t, c) } -> std::same_as<VisitStats>;
};
template <class P>
concept VisitsBundle = requires(P& p, typename P::Shard& s, Bundle<typename P::Row> b, const VisitContext& c) {
  { p.visit(s, b, c) } -> std::same_as<VisitStats>;
};
template <class P>
concept Visits = (VisitsOne<P> || VisitsBundle<P>) && requires(const P& cp, const typename P::Shard& cs, Pass pass) {
  // O(1), constant while the fit lasts; may differ by pass.
  { cp.touches(cs, std::uint32_t{}, pass) } -> std::same_as<bool>;
};

// For schedule hogwild: the same visit with rows that other workers read and write at the same time.
template <class P>
concept VisitsShared = requires(P& p, typename P::Shard& s, Bundle<typename P::Row> b, const VisitContext& c) {
  { p.visit_shared(s, b, c) } -> std::same_as<VisitStats>;
};

// What one step of batch or svi looks at in a shard: all rows, or those that are numbered.
struct RowSample {
  bool all = true;
  std::span<const std::uint32_t> rows;
};

struct SweepStats : VisitStats {
  double weight = 0;  // of the rows; a step over rows without weight changes nothing
};

// For the schedules batch and svi: a model whose token rows are, beside what they start from, sums over the rows of the
// data. Then every shard may look at all tokens at once: it adds up what its rows contribute while nothing moves, and
// only then do the tokens take over the sums of all shards.
template <class P>
concept SumsOverRows =
    requires(P& p, const P& cp, typename P::Shard& s, const typename P::Shard& cs, Bundle<typename P::Row> all,
             TokenView<typename P::Row> t, TokenView<const typename P::Row> ct, std::span<const typename P::Row> sums,
             std::span<typename P::Row> out, const RowSample& sample, const VisitContext& c) {
      { cp.n_rows(cs) } -> std::same_as<std::size_t>;
      // Of the rows of all ranks.
      { cp.total_weight() } -> std::same_as<double>;
      // Before every step, with all tokens by id: first what needs all of them, on the calling thread, then for
      // disjoint ranges of them at the same time.
      p.begin_step(all);
      p.prepare(all, std::size_t{}, std::size_t{});
      // Adds to `out` (n_tokens x row_size). The loss is the rows' part of the objective for the tokens as they are.
      { cp.sweep(s, all, sample, out, c) } -> std::same_as<SweepStats>;
      // row = (1 - rate) row + rate * scale * sums, what it started from aside.
      cp.blend(t, sums, double{}, double{});
      // The objective is the loss of a sweep over all rows plus this, for each token, and finish().
      { cp.token_divergence(ct) } -> std::same_as<double>;
    };

inline constexpr std::uint32_t kAnySkew = std::numeric_limits<std::uint32_t>::max();

// What most models leave alone. Inherit it and hide what differs.
template <class ShardType, class RowType>
struct ProblemDefaults {
  using Shard = ShardType;
  using Row = RowType;

  // Rounds a packet may be ahead of the shard's open round; 0 if a visit reads what end_round() sets.
  static constexpr std::uint32_t max_skew = kAnySkew;
  // Fewest tokens in a packet: 2 for models that exchange mass between tokens.
  static constexpr std::uint32_t min_bundle = 1;
  // Regroup tokens into packets before every training round.
  static constexpr bool redeal = false;
  // The pass that is run once before training, and the one whose visits sum the objective; -1: none.
  static constexpr int init_pass = -1;
  static constexpr int evaluate_pass = -1;

  void end_round(Shard&, const VisitContext&) {}
  void begin_step(Bundle<Row>) {}
  std::uint32_t n_globals() const { return 0; }
  void init_globals(std::span<double>) const {}
  double shard_objective(const Shard&) const { return 0; }
  double token_objective(TokenView<const Row>) const { return 0; }
  double finish(double parts, std::span<const double>) const { return parts; }
};

// A functor for the state() check: accepts the span of any contiguous array, or a vector whose length is state, too.
struct AnyArray {
  template <class T>
  void operator()(const char*, std::span<T>) const {}
  template <class T>
  void operator()(const char*, std::vector<T>&) const {}
};

template <class P>
concept TokenProblem =
    (Visits<P> || SumsOverRows<P>) && std::is_trivially_copyable_v<typename P::Row> &&
    requires(P& p, const P& cp, typename P::Shard& s, const typename P::Shard& cs, TokenView<typename P::Row> t,
             TokenView<const typename P::Row> ct, const VisitContext& c, std::span<double> g) {
      { cp.n_tokens() } -> std::same_as<std::uint32_t>;
      { cp.row_size() } -> std::same_as<std::uint32_t>;
      // A pure function of (seed, id), of the whole row: any rank may create any token.
      cp.init_token(t, std::uint64_t{});
      // The shard has met all packets of round c.round; local, no waiting.
      p.end_round(s, c);
      { cp.n_globals() } -> std::same_as<std::uint32_t>;
      cp.init_globals(g);
      { cp.shard_objective(cs) } -> std::same_as<double>;
      { cp.token_objective(ct) } -> std::same_as<double>;
      // Adds the term of the globals, signs and constants to the sum of the parts.
      { cp.finish(double{}, std::span<const double>{}) } -> std::same_as<double>;
      // Every array that a run changes, named: checkpoint, restore, the replay test and the memory estimate use it. A
      // span where the length is fixed, a vector where the length is a result, too.
      P::state(s, AnyArray{});
      { P::max_skew } -> std::convertible_to<std::uint32_t>;
      { P::min_bundle } -> std::convertible_to<std::uint32_t>;
      { P::redeal } -> std::convertible_to<bool>;
      { P::init_pass } -> std::convertible_to<int>;
      { P::evaluate_pass } -> std::convertible_to<int>;
    };

// The first four meet token by token; batch and svi look at all tokens at once.
enum class Schedule : std::uint8_t { serial, bsp, nomad, hogwild, batch, svi };

inline bool meets_all_tokens(Schedule schedule) { return schedule == Schedule::batch || schedule == Schedule::svi; }

}  // namespace steppe
