#pragma once

#include <cstdint>
#include <span>

#include "steppe/kernels/rows.hpp"

namespace steppe {

// The examples of one rank, or of one of its shards. Owned by the caller.
template <class T>
struct LabelledRows {
  kernels::RowsView<T> x;
  std::span<const std::int32_t> labels;  // 0..n_classes-1
  std::span<const T> weights;            // not normalised

  std::size_t size() const noexcept { return x.rows(); }
  LabelledRows between(std::size_t first, std::size_t last) const {
    return {x.rows_between(first, last), labels.subspan(first, last - first), weights.subspan(first, last - first)};
  }
};

// Classes cut into blocks of equal width: whole cache lines, so the last block may have lanes without a class.
struct ClassBlocks {
  std::uint32_t n_classes = 0, lanes = 0;

  // About `wanted` blocks.
  template <class T>
  static ClassBlocks cut(std::uint32_t n_classes, std::uint32_t wanted) {
    return {n_classes, static_cast<std::uint32_t>(padded<T>((n_classes + wanted - 1) / wanted))};
  }

  std::uint32_t count() const noexcept { return (n_classes + lanes - 1) / lanes; }
  std::uint32_t first_class(std::uint32_t block) const noexcept { return block * lanes; }
  std::uint32_t size(std::uint32_t block) const noexcept { return std::min(lanes, n_classes - block * lanes); }
};

}  // namespace steppe
