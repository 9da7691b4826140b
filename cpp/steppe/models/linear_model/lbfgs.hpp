#pragma once

#include <cstddef>
#include <deque>
#include <functional>
#include <optional>
#include <span>
#include <vector>

#include "steppe/core/array_map.hpp"
#include "steppe/core/bytes.hpp"
#include "steppe/runtime/team.hpp"

namespace steppe {

// Limited-memory BFGS (Nocedal and Wright, "Numerical optimization", algorithm 7.5) for a smooth convex function of a
// matrix, whose rows have each a curvature of their own: its inverse scales the first inverse Hessian, which is what
// features of very different frequency need. Sums are made in fixed pieces, so the result does not depend on threads.
template <class T>
class Lbfgs {
 public:
  using Vector = std::vector<T, UninitialisedAllocator<T>>;  // large: whoever writes it first shall touch it first
  // The value and the gradient; nothing if a stop was asked for, of whichever rank.
  using Function = std::function<std::optional<double>(std::span<const T> at, std::span<T> gradient, Pacer& pacer)>;
  // Collective: whether any rank wants to stop.
  using Agree = std::function<bool(bool mine)>;
  enum class Outcome { moved, settled, stopped };

  Lbfgs(Vector start, std::vector<T> inverse_curvature, std::size_t stride, Function function, Agree agree, Team& team);

  // One step with a line search. settled: rounding hides any further descent; nothing was changed. After a stop the
  // point is the one before the step or the one after it.
  Outcome step(Control& control);
  // The value at the present point; nothing if a stop was asked for before it was known.
  std::optional<double> value(Control& control);

  std::span<const T> point() const { return point_; }
  void save(ArrayMap& state) const;
  void restore(const ArrayMap& state);

 private:
  struct Pair {
    Vector move, change;
    double inner = 0;  // move . change
  };
  static constexpr std::size_t kMemory = 6;

  Outcome try_step();
  bool evaluate();
  bool stops() { return agree_(pacer_->stop_requested()); }
  double dot(std::span<const T> a, std::span<const T> b);
  double scaled_dot(std::span<const T> a);  // a . inverse_curvature a
  void add_scaled(double factor, std::span<const T> a, std::span<T> to);
  void find_direction();
  bool remember(std::span<const T> old_gradient, double length);
  template <class Body>
  void over_rows(Body&& body);
  template <class Body>
  double sum_over_rows(Body&& body);

  std::vector<T> inverse_curvature_;  // by row
  std::size_t stride_, rows_per_piece_;
  Function function_;
  Agree agree_;
  Team& team_;
  std::optional<Pacer> pacer_;  // of the call under way; passes over vectors are cut short once it is stopped
  Vector point_, gradient_, direction_, next_point_, next_gradient_;
  std::optional<double> value_;
  std::deque<Pair> pairs_;
};

extern template class Lbfgs<float>;
extern template class Lbfgs<double>;

}  // namespace steppe
