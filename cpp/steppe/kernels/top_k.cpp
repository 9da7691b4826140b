#include "steppe/kernels/top_k.hpp"

#include "steppe/kernels/vector_width.hpp"

namespace steppe::kernels {
namespace {

// A tile of 4 users by two registers of items: eight sums, each of whose operands is loaded once for the tile.
template <class T, std::size_t Bytes>
[[gnu::always_inline]] inline void score(const T* const* rows, std::size_t k, const T* items, const T* offset,
                                         T* scores) {
  using V = Vec<T, Bytes>;
  constexpr std::size_t lanes = VectorOf<T, Bytes>::lanes;
  for (std::size_t j = 0; j < kScoreItems; j += 2 * lanes) {
    V left[kScoreRows], right[kScoreRows], a, b;
    for (std::size_t u = 0; u < kScoreRows; ++u) {
      load(left[u], offset + j);
      load(right[u], offset + j + lanes);
    }
    for (std::size_t f = 0; f < k; ++f) {
      load(a, items + f * kScoreItems + j);
      load(b, items + f * kScoreItems + j + lanes);
      for (std::size_t u = 0; u < kScoreRows; ++u) {
        left[u] += rows[u][f] * a;
        right[u] += rows[u][f] * b;
      }
    }
    for (std::size_t u = 0; u < kScoreRows; ++u) {
      store(scores + u * kScoreItems + j, left[u]);
      store(scores + u * kScoreItems + j + lanes, right[u]);
    }
  }
}

#if defined(__x86_64__) && defined(__GNUC__)
template <class T>
__attribute__((target("arch=x86-64-v4"))) void score_v4(const T* const* rows, std::size_t k, const T* items,
                                                        const T* offset, T* scores) {
  score<T, 64>(rows, k, items, offset, scores);
}
template <class T>
__attribute__((target("arch=x86-64-v3"))) void score_v3(const T* const* rows, std::size_t k, const T* items,
                                                        const T* offset, T* scores) {
  score<T, 32>(rows, k, items, offset, scores);
}
#endif

}  // namespace

template <class T>
void score_block(const T* const* rows, std::size_t k, const T* items, const T* offset, T* scores) {
#if defined(__x86_64__) && defined(__GNUC__)
  if (vector_bytes() == 64) return score_v4<T>(rows, k, items, offset, scores);
  if (vector_bytes() == 32) return score_v3<T>(rows, k, items, offset, scores);
#endif
  score<T, 16>(rows, k, items, offset, scores);
}

// Insertion: an offer beats the worst of n ever more rarely, about n log(N / n) times in N.
template <class T>
void select_best(std::span<const T> scores, std::int32_t first, const Best<T>& best) {
  if (best.scores.empty()) return;
  const std::size_t last = best.scores.size() - 1;
  for (std::size_t j = 0; j < scores.size(); ++j) {
    const T score = scores[j];
    if (!(score > best.scores[last])) continue;
    std::size_t place = last;
    for (; place > 0 && score > best.scores[place - 1]; --place) {
      best.scores[place] = best.scores[place - 1];
      best.items[place] = best.items[place - 1];
    }
    best.scores[place] = score;
    best.items[place] = first + static_cast<std::int32_t>(j);
  }
}

template void score_block(const float* const*, std::size_t, const float*, const float*, float*);
template void score_block(const double* const*, std::size_t, const double*, const double*, double*);
template void select_best(std::span<const float>, std::int32_t, const Best<float>&);
template void select_best(std::span<const double>, std::int32_t, const Best<double>&);

}  // namespace steppe::kernels
