#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace steppe::kernels {

inline constexpr std::size_t kScoreRows = 4;     // users scored together
inline constexpr std::size_t kScoreItems = 512;  // items scored together

// scores[u * kScoreItems + j] = offset[j] + sum_f rows[u][f] items[f * kScoreItems + j] for kScoreRows users and a
// block of kScoreItems items, which stand in columns. All offsets are given.
template <class T>
void score_block(const T* const* rows, std::size_t k, const T* items, const T* offset, T* scores);

// The best of what was offered so far, falling; empty places hold -inf and -1.
template <class T>
struct Best {
  std::span<T> scores;
  std::span<std::int32_t> items;
};

// Offers the scores of items first, first + 1, ... Of equal scores the lower item wins; -inf and NaN never do.
template <class T>
void select_best(std::span<const T> scores, std::int32_t first, const Best<T>& best);

}  // namespace steppe::kernels
