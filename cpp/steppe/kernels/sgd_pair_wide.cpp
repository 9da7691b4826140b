#include "steppe/kernels/sgd_pair_wide.hpp"

#include "steppe/kernels/vector_width.hpp"

// A rating must wait for the item row that the rating before it left behind: dot product, horizontal sum, step, update,
// one after the other, about 45 cycles. For two ratings a, b of the item h at once the second error needs no second
// wait,
//
//   b.h' = b.(keep h - t_a a) = keep (b.h) - t_a (a.b),
//
// so the five products a.h, b.h, a.b, |a|^2, |b|^2 are summed together, and the chain is walked half as often. The item
// row stays in registers from the first rating to the last.
namespace steppe::kernels {
namespace {

#if defined(__x86_64__) && defined(__GNUC__)

constexpr std::size_t kPrefetch = 8;  // ratings ahead: about the latency of the third-level cache

template <class T, std::size_t Bytes, std::size_t N>
struct PairVisit {
  using V = Vec<T, Bytes>;
  static constexpr std::size_t kLanes = VectorOf<T, Bytes>::lanes, kStride = N * kLanes;

  UserRows<T> users;
  SgdStep<T> step;
  V h[N];
  T item_bias;
  T norm;      // |h|^2, two ratings ago
  T c, floor;  // bias scale; 1 + 2 s c
  T loss = 0;

  [[gnu::always_inline]] PairVisit(const UserRows<T>& rows, const ItemRow<T>& item, const SgdStep<T>& rates)
      : users(rows), step(rates), item_bias(*item.bias), c(rates.bias_scale),
        floor(T(1) + T(2) * rates.step * rates.bias_scale) {
    V squares{};
    for (std::size_t i = 0; i < N; ++i) {
      load(h[i], item.factors + i * kLanes);
      squares += h[i] * h[i];
    }
    norm = sum_lanes<T>(squares);
  }

  [[gnu::always_inline]] void leave(const ItemRow<T>& item) const {
    for (std::size_t i = 0; i < N; ++i) store(item.factors + i * kLanes, h[i]);
    *item.bias = item_bias;
  }

  [[gnu::always_inline]] void prefetch(std::int32_t user) const {
    const T* row = users.factors + static_cast<std::size_t>(user) * kStride;
    for (std::size_t f = 0; f < kStride; f += 64 / sizeof(T)) __builtin_prefetch(row + f, 1);
  }

  [[gnu::always_inline]] T reg_of(std::size_t u) const { return users.reg != nullptr ? users.reg[u] : step.reg; }

  [[gnu::always_inline]] void one(std::size_t u, T rating) {
    T* const w = users.factors + u * kStride;
    V a[N], dots{}, squares{};
    for (std::size_t i = 0; i < N; ++i) {
      load(a[i], w + i * kLanes);
      dots += a[i] * h[i];
      squares += a[i] * a[i];
    }
    const T s = step.step / (floor + step.step * (norm + sum_lanes<T>(squares)));
    const T reg = reg_of(u), user_bias = users.bias != nullptr ? users.bias[u] : T(0);
    const T error = sum_lanes<T>(dots) + (step.mean + user_bias - rating) + item_bias;
    const T t = s * error, keep_user = T(1) - s * reg, keep_item = T(1) - s * step.item_reg;
    if (users.bias != nullptr) {
      users.bias[u] = (T(1) - c * s * reg) * user_bias - c * t;
      item_bias = (T(1) - c * s * step.item_reg) * item_bias - c * t;
    }
    loss += error * error;
    for (std::size_t i = 0; i < N; ++i) {
      store(w + i * kLanes, keep_user * a[i] - t * h[i]);
      h[i] = keep_item * h[i] - t * a[i];
    }
  }

  [[gnu::always_inline]] void two(std::size_t ua, std::size_t ub, T rating_a, T rating_b) {
    T* const wa = users.factors + ua * kStride;
    T* const wb = users.factors + ub * kStride;
    V a[N], b[N], ah{}, bh{}, ab{}, aa{}, bb{}, hh{};
    for (std::size_t i = 0; i < N; ++i) {
      load(a[i], wa + i * kLanes);
      load(b[i], wb + i * kLanes);
      ah += a[i] * h[i];
      bh += b[i] * h[i];
      ab += a[i] * b[i];
      aa += a[i] * a[i];
      bb += b[i] * b[i];
      hh += h[i] * h[i];
    }
    Quad<T> qah, qbh, qab, qhh, qaa, qbb, products, norms;
    fold_to_quad<T>(aa, qaa);
    fold_to_quad<T>(bb, qbb);
    sum_quads(qaa, qbb, qaa, qbb, norms);
    const T sa = step.step / (floor + step.step * (norm + norms[0]));
    const T sb = step.step / (floor + step.step * (norm + norms[1]));
    fold_to_quad<T>(ah, qah);
    fold_to_quad<T>(bh, qbh);
    fold_to_quad<T>(ab, qab);
    fold_to_quad<T>(hh, qhh);
    sum_quads(qah, qbh, qab, qhh, products);
    norm = products[3];

    const T reg_a = reg_of(ua), reg_b = reg_of(ub);
    const T keep_a = T(1) - sa * reg_a, keep_b = T(1) - sb * reg_b;
    const T keep_ha = T(1) - sa * step.item_reg, keep_hb = T(1) - sb * step.item_reg;
    const T bias_a = users.bias != nullptr ? users.bias[ua] : T(0);
    const T bias_b = users.bias != nullptr ? users.bias[ub] : T(0);
    const T error_a = products[0] + (step.mean + bias_a - rating_a) + item_bias, ta = sa * error_a;
    if (users.bias != nullptr) item_bias = (T(1) - c * sa * step.item_reg) * item_bias - c * ta;
    const T error_b = keep_ha * products[1] - ta * products[2] + (step.mean + bias_b - rating_b) + item_bias;
    const T tb = sb * error_b;
    if (users.bias != nullptr) {
      item_bias = (T(1) - c * sb * step.item_reg) * item_bias - c * tb;
      users.bias[ua] = (T(1) - c * sa * reg_a) * bias_a - c * ta;
      users.bias[ub] = (T(1) - c * sb * reg_b) * bias_b - c * tb;
    }
    loss += error_a * error_a + error_b * error_b;
    for (std::size_t i = 0; i < N; ++i) {
      const V between = keep_ha * h[i] - ta * a[i];
      store(wa + i * kLanes, keep_a * a[i] - ta * h[i]);
      store(wb + i * kLanes, keep_b * b[i] - tb * between);
      h[i] = keep_hb * between - tb * b[i];
    }
  }
};

template <class T, std::size_t Bytes, std::size_t N>
[[gnu::always_inline]] inline double visit_pairs(const UserRows<T>& users, const ItemRow<T>& item,
                                                 const ItemRatings<T>& ratings, const SgdStep<T>& step) {
  PairVisit<T, Bytes, N> visit(users, item, step);
  const std::int32_t* const user = ratings.users.data();
  const T* const value = ratings.values.data();
  const std::size_t n = ratings.users.size();
  std::size_t r = 0;
  for (; r + 1 < n; r += 2) {
    if (r + kPrefetch + 1 < n) {
      visit.prefetch(user[r + kPrefetch]);
      visit.prefetch(user[r + kPrefetch + 1]);
    }
    visit.two(static_cast<std::size_t>(user[r]), static_cast<std::size_t>(user[r + 1]), value[r], value[r + 1]);
  }
  if (r < n) visit.one(static_cast<std::size_t>(user[r]), value[r]);
  visit.leave(item);
  return static_cast<double>(visit.loss);
}

// Four dot products are summed across lanes for little more than the price of one.
template <class T, std::size_t Bytes>
[[gnu::always_inline]] inline double sum_squares(const UserRows<T>& users, const ItemRow<const T>& item,
                                                 const ItemRatings<T>& ratings, T mean) {
  using V = Vec<T, Bytes>;
  constexpr std::size_t kAhead = 12;
  const std::int32_t* const user = ratings.users.data();
  const std::size_t n = ratings.users.size(), stride = users.stride;
  const T offset = mean + *item.bias;
  double sum = 0;
  for (std::size_t r = 0; r < n; r += 4) {
    const T* rows[4];
    for (std::size_t q = 0; q < 4; ++q) {
      rows[q] = users.factors + static_cast<std::size_t>(user[r + q < n ? r + q : n - 1]) * stride;
      if (r + q + kAhead >= n) continue;
      const T* ahead = users.factors + static_cast<std::size_t>(user[r + q + kAhead]) * stride;
      for (std::size_t f = 0; f < stride; f += 64 / sizeof(T)) __builtin_prefetch(ahead + f);
    }
    V dots[4] = {}, h, w;
    for (std::size_t f = 0; f < stride; f += VectorOf<T, Bytes>::lanes) {
      load(h, item.factors + f);
      for (std::size_t q = 0; q < 4; ++q) {
        load(w, rows[q] + f);
        dots[q] += w * h;
      }
    }
    Quad<T> quads[4], sums;
    for (std::size_t q = 0; q < 4; ++q) fold_to_quad<T>(dots[q], quads[q]);
    sum_quads(quads[0], quads[1], quads[2], quads[3], sums);
    for (std::size_t q = 0; q < 4 && r + q < n; ++q) {
      const T bias = users.bias != nullptr ? users.bias[user[r + q]] : T(0);
      const T error = sums[q] + (offset + bias - ratings.values[r + q]);
      sum += static_cast<double>(error) * static_cast<double>(error);
    }
  }
  return sum;
}

template <class T>
__attribute__((target("arch=x86-64-v4"))) double squares_v4(const UserRows<T>& users, const ItemRow<const T>& item,
                                                            const ItemRatings<T>& ratings, T mean) {
  return sum_squares<T, 64>(users, item, ratings, mean);
}
template <class T>
__attribute__((target("arch=x86-64-v3"))) double squares_v3(const UserRows<T>& users, const ItemRow<const T>& item,
                                                            const ItemRatings<T>& ratings, T mean) {
  return sum_squares<T, 32>(users, item, ratings, mean);
}

template <class T>
ErrorKernel<T> find_error_kernel() {
  if (vector_bytes() == 64) return squares_v4<T>;
  return vector_bytes() == 32 ? squares_v3<T> : nullptr;
}

template <class T, std::size_t N>
__attribute__((target("arch=x86-64-v4"))) double visit_v4(const UserRows<T>& users, const ItemRow<T>& item,
                                                          const ItemRatings<T>& ratings, const SgdStep<T>& step) {
  return visit_pairs<T, 64, N>(users, item, ratings, step);
}
template <class T, std::size_t N>
__attribute__((target("arch=x86-64-v3"))) double visit_v3(const UserRows<T>& users, const ItemRow<T>& item,
                                                          const ItemRatings<T>& ratings, const SgdStep<T>& step) {
  return visit_pairs<T, 32, N>(users, item, ratings, step);
}

// Beyond eight registers for each of the rows, what a pair needs is spilled, and one by one is as good.
template <class T>
SgdKernel<T> find_kernel(std::size_t stride) {
  const std::size_t bytes = vector_bytes();
  if (bytes < 32) return nullptr;
  const std::size_t n = stride * sizeof(T) / bytes;
  if (bytes == 64) {
    switch (n) {
      case 1:
        return visit_v4<T, 1>;
      case 2:
        return visit_v4<T, 2>;
      case 3:
        return visit_v4<T, 3>;
      case 4:
        return visit_v4<T, 4>;
      case 8:
        return visit_v4<T, 8>;
      default:
        return nullptr;
    }
  }
  switch (n) {
    case 2:
      return visit_v3<T, 2>;
    case 4:
      return visit_v3<T, 4>;
    default:
      return nullptr;
  }
}

#else

template <class T>
SgdKernel<T> find_kernel(std::size_t) {
  return nullptr;
}
template <class T>
ErrorKernel<T> find_error_kernel() {
  return nullptr;
}

#endif

}  // namespace

template <class T>
SgdKernel<T> sgd_pair_kernel(std::size_t stride) {
  return find_kernel<T>(stride);
}

template <class T>
ErrorKernel<T> squared_error_kernel() {
  return find_error_kernel<T>();
}

template SgdKernel<float> sgd_pair_kernel(std::size_t);
template SgdKernel<double> sgd_pair_kernel(std::size_t);
template ErrorKernel<float> squared_error_kernel();
template ErrorKernel<double> squared_error_kernel();

}  // namespace steppe::kernels
