#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>

namespace steppe::kernels {

// Sorting works on integers of the values' order.
template <class T>
using SortKey = std::conditional_t<sizeof(T) == 4, std::int32_t, std::int64_t>;

// Room that arrays of keys have behind their last one; its contents are lost.
inline constexpr std::size_t kSortSlack = 16;

// Sorts n finite values, rising; -0.0 comes before 0.0. `keys` and `scratch` have room for n + kSortSlack.
// O(n log n) in any case; AVX-512 quicksort where the machine has it, else a radix sort.
template <class T>
void sort_values(T* values, std::size_t n, SortKey<T>* keys, SortKey<T>* scratch) noexcept;

// order[r] = the index of the value of rank r among n < 2^31 finite values. Stable: of equal values (0.0 equals -0.0)
// the lower index comes first. `keys` and `scratch` have room for n + kSortSlack.
template <class T>
void sort_order(const T* values, std::size_t n, std::int64_t* keys, std::int64_t* scratch,
                std::uint32_t* order) noexcept;

}  // namespace steppe::kernels
