#pragma once

#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <span>
#include <utility>

#include "steppe/comm/link.hpp"
#include "steppe/core/aligned.hpp"
#include "steppe/runtime/control.hpp"
#include "steppe/runtime/team.hpp"

namespace steppe {

// Thrown out of a computation in which a stop was asked for. A pacer that is null asks nobody.
class Stopped : public std::exception {
 public:
  const char* what() const noexcept override { return "a stop was asked for"; }
};

// Runs a job that cannot be interrupted on a thread of its own, and polls. False as soon as a stop is asked for: the
// job then goes on to its end by itself, so it has to own all that it touches. The process waits for it when it exits.
bool run_apart(std::function<void()> job, Pacer& pacer);

// f(matrix), a call of LAPACK: apart if it may last. What else f touches it has to own.
template <class F>
void call_lapack(AlignedVector<double>& matrix, Pacer* pacer, const F& f) {
  constexpr std::size_t kLong = 700 * 700;
  if (pacer == nullptr || matrix.size() < kLong) {
    f(matrix);
    return;
  }
  const auto owned = std::make_shared<AlignedVector<double>>(std::move(matrix));
  if (!run_apart([owned, f] { f(*owned); }, *pacer)) throw Stopped();
  matrix = std::move(*owned);
}

// body(i) for i = 0..n-1, each of some milliseconds, on the threads of the team; Stopped if that was asked for.
template <class Body>
void for_each_piece(Team& team, std::size_t n, Pacer* pacer, Body&& body) {
  const auto each = [&](std::size_t begin, std::size_t end, std::uint32_t) {
    for (std::size_t i = begin; i < end; ++i) body(i);
  };
  if (pacer == nullptr) {
    team.parallel_for(n, 1, each);
  } else if (team.parallel_for(n, 1, *pacer, each)) {
    throw Stopped();
  }
}

// Collective. Whether f() came to its end on every rank; where it did not, none may go on.
template <class F>
bool ends_everywhere(Link& link, F&& f) {
  std::uint64_t stops = 0;
  try {
    f();
  } catch (const Stopped&) {
    stops = 1;
  }
  sum_over_ranks(link, std::span<std::uint64_t>(&stops, 1));
  return stops == 0;
}

}  // namespace steppe
