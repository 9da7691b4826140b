#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace steppe {

// Cuts rows into n contiguous ranges of about equal nonzeros: range r is bounds[r]..bounds[r+1]-1. Each row also
// counts one, so that rows without entries are shared out too. With fewer rows than ranges some are empty.
inline std::vector<std::size_t> balanced_ranges(std::span<const std::int64_t> offsets, std::size_t n) {
  const std::size_t rows = offsets.empty() ? 0 : offsets.size() - 1;
  const auto weight_before = [&](std::size_t row) {
    return static_cast<double>(offsets[row] - offsets[0]) + static_cast<double>(row);
  };
  std::vector<std::size_t> bounds{0};
  for (std::size_t r = 1; r < n; ++r) {
    std::size_t low = bounds.back(), high = rows;
    const double wanted = rows == 0 ? 0 : weight_before(rows) * static_cast<double>(r) / static_cast<double>(n);
    while (low < high) {
      const std::size_t middle = (low + high) / 2;
      if (weight_before(middle) < wanted) {
        low = middle + 1;
      } else {
        high = middle;
      }
    }
    bounds.push_back(low);
  }
  bounds.push_back(rows);
  return bounds;
}

}  // namespace steppe
