#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace steppe::kernels {

// The users of a shard: row u is factors[u * stride .. + k], padded with zeros up to the stride, which is a multiple of
// a cache line. Padding stays zero, since every update is a combination of rows.
template <class T>
struct UserRows {
  T* factors;
  T* bias;       // by user; null without biases
  const T* reg;  // L2 weight in one rating's gradient by user; null: SgdStep::reg for all
  std::size_t stride;
};

// One item: its row, of the same stride, and its bias.
template <class T>
struct ItemRow {
  T* factors;
  T* bias;
};

// The ratings of one item by the users of a shard. A user occurs once.
template <class T>
struct ItemRatings {
  std::span<const std::int32_t> users;
  std::span<const T> values;
};

// What is the same for all ratings of a visit.
template <class T>
struct SgdStep {
  T step;            // largest step s, in units of 1 / |rating|
  T reg;             // L2 weight in one rating's gradient, users; overridden by UserRows::reg
  T item_reg;        // the same for the item
  T mean;            // predicted where nothing is known
  T bias_scale;      // c: biases move as if their feature were sqrt(c); 0 leaves them alone
  bool nonnegative;  // factors are clipped at 0 after each step
};

// One pass of stochastic gradient descent over the ratings of one item, in their order. For rating r
// of user w, b_u by item h, b_j:
//
//   e = mean + b_u + b_j + w.h - r,   s' = s / (1 + s (|w|^2 + |h|^2 + 2c))
//   w <- (1 - s' reg) w - s' e h          h <- (1 - s' item_reg) h - s' e w
//   b_u <- (1 - c s' reg) b_u - c s' e    b_j <- (1 - c s' item_reg) b_j - c s' e
//
// with the old values on the right. The step s' is that of the linearised implicit update: however large s is, the
// error of this rating shrinks and does not change its sign. |h|^2 is looked up every two ratings, as it was two
// ratings before: its latency would bound the speed, and h moves little between two ratings.
// Returns the sum of e^2, each before its update; not finite if the parameters have left the numbers.
template <class T>
double sgd_visit(const UserRows<T>& users, const ItemRow<T>& item, const ItemRatings<T>& ratings,
                 const SgdStep<T>& step);

// The sum of e^2 over the same ratings; changes nothing.
template <class T>
double squared_error(const UserRows<T>& users, const ItemRow<const T>& item, const ItemRatings<T>& ratings, T mean);

}  // namespace steppe::kernels
