#include "steppe/kernels/sgd_pair.hpp"

#include <algorithm>
#include <limits>

#include "steppe/core/macros.hpp"
#include "steppe/kernels/sgd_pair_wide.hpp"

namespace steppe::kernels {
namespace {

// One rating after the other, for any stride: the readable form of the kernel, and the one that clips.
template <class T>
[[gnu::always_inline]] inline double visit_one_by_one(const UserRows<T>& users, const ItemRow<T>& item,
                                                      const ItemRatings<T>& ratings, const SgdStep<T>& step) {
  const std::size_t k = users.stride;
  T* const h = item.factors;
  T norm_before = 0, norm = 0, item_bias = *item.bias, loss = 0;
#pragma omp simd reduction(+ : norm)
  for (std::size_t f = 0; f < k; ++f) norm += h[f] * h[f];
  norm_before = norm;

  for (std::size_t n = 0; n < ratings.users.size(); ++n) {
    const auto u = static_cast<std::size_t>(ratings.users[n]);
    T* const w = users.factors + u * k;
    T dot = 0, user_norm = 0, norm_now = 0;
#pragma omp simd reduction(+ : dot, user_norm, norm_now)
    for (std::size_t f = 0; f < k; ++f) {
      dot += w[f] * h[f];
      user_norm += w[f] * w[f];
      norm_now += h[f] * h[f];
    }
    if (n % 2 == 0) {
      norm_before = norm;
      norm = norm_now;
    }
    const T s = step.step / (T(1) + step.step * (norm_before + user_norm + T(2) * step.bias_scale));
    const T user_reg = users.reg != nullptr ? users.reg[u] : step.reg;
    const T user_bias = users.bias != nullptr ? users.bias[u] : T(0);
    const T error = dot + step.mean + user_bias + item_bias - ratings.values[n];
    const T t = s * error, keep_user = T(1) - s * user_reg, keep_item = T(1) - s * step.item_reg;
    loss += error * error;
    if (users.bias != nullptr) {
      const T c = step.bias_scale;
      users.bias[u] = (T(1) - c * s * user_reg) * user_bias - c * t;
      item_bias = (T(1) - c * s * step.item_reg) * item_bias - c * t;
    }
    const T floor = step.nonnegative ? T(0) : -std::numeric_limits<T>::infinity();
#pragma omp simd
    for (std::size_t f = 0; f < k; ++f) {
      const T old = w[f];
      w[f] = std::max(floor, keep_user * old - t * h[f]);
      h[f] = std::max(floor, keep_item * h[f] - t * old);
    }
  }
  *item.bias = item_bias;
  return static_cast<double>(loss);
}

STEPPE_MULTIVERSION double one_by_one(const UserRows<float>& users, const ItemRow<float>& item,
                                      const ItemRatings<float>& ratings, const SgdStep<float>& step) {
  return visit_one_by_one(users, item, ratings, step);
}
STEPPE_MULTIVERSION double one_by_one(const UserRows<double>& users, const ItemRow<double>& item,
                                      const ItemRatings<double>& ratings, const SgdStep<double>& step) {
  return visit_one_by_one(users, item, ratings, step);
}

template <class T>
[[gnu::always_inline]] inline double sum_of_squares(const UserRows<T>& users, const ItemRow<const T>& item,
                                                    const ItemRatings<T>& ratings, T mean) {
  const std::size_t k = users.stride;
  const T offset = mean + *item.bias;
  double sum = 0;
  for (std::size_t n = 0; n < ratings.users.size(); ++n) {
    const auto u = static_cast<std::size_t>(ratings.users[n]);
    const T* const w = users.factors + u * k;
    T dot = 0;
#pragma omp simd reduction(+ : dot)
    for (std::size_t f = 0; f < k; ++f) dot += w[f] * item.factors[f];
    const T error = dot + offset + (users.bias != nullptr ? users.bias[u] : T(0)) - ratings.values[n];
    sum += static_cast<double>(error) * static_cast<double>(error);
  }
  return sum;
}

STEPPE_MULTIVERSION double squares(const UserRows<float>& users, const ItemRow<const float>& item,
                                   const ItemRatings<float>& ratings, float mean) {
  return sum_of_squares(users, item, ratings, mean);
}
STEPPE_MULTIVERSION double squares(const UserRows<double>& users, const ItemRow<const double>& item,
                                   const ItemRatings<double>& ratings, double mean) {
  return sum_of_squares(users, item, ratings, mean);
}

}  // namespace

template <class T>
double sgd_visit(const UserRows<T>& users, const ItemRow<T>& item, const ItemRatings<T>& ratings,
                 const SgdStep<T>& step) {
  if (!step.nonnegative) {
    if (const auto kernel = sgd_pair_kernel<T>(users.stride)) return kernel(users, item, ratings, step);
  }
  return one_by_one(users, item, ratings, step);
}

template <class T>
double squared_error(const UserRows<T>& users, const ItemRow<const T>& item, const ItemRatings<T>& ratings, T mean) {
  if (const auto kernel = squared_error_kernel<T>()) return kernel(users, item, ratings, mean);
  return squares(users, item, ratings, mean);
}

template double sgd_visit(const UserRows<float>&, const ItemRow<float>&, const ItemRatings<float>&,
                          const SgdStep<float>&);
template double sgd_visit(const UserRows<double>&, const ItemRow<double>&, const ItemRatings<double>&,
                          const SgdStep<double>&);
template double squared_error(const UserRows<float>&, const ItemRow<const float>&, const ItemRatings<float>&, float);
template double squared_error(const UserRows<double>&, const ItemRow<const double>&, const ItemRatings<double>&,
                              double);

}  // namespace steppe::kernels
