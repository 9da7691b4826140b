#pragma once

#include <cstddef>
#include <cstdint>

namespace steppe::kernels {

// Sorts n keys, rising, in any case in O(n log n). Both arrays have room for kSortSlack (kernels/sort.hpp) keys behind
// n, whose contents are lost.
void sort_wide(std::int32_t* keys, std::int32_t* scratch, std::size_t n) noexcept;
void sort_wide(std::int64_t* keys, std::int64_t* scratch, std::size_t n) noexcept;

// The same when more than `depth` partitions inside one another would be made: digits take over. The functions above
// allow some times as many as even halves need.
void sort_wide(std::int32_t* keys, std::int32_t* scratch, std::size_t n, unsigned depth) noexcept;
void sort_wide(std::int64_t* keys, std::int64_t* scratch, std::size_t n, unsigned depth) noexcept;

// The same by digits, least significant first, without vectors.
void sort_digits(std::int32_t* keys, std::int32_t* scratch, std::size_t n) noexcept;
void sort_digits(std::int64_t* keys, std::int64_t* scratch, std::size_t n) noexcept;

}  // namespace steppe::kernels
