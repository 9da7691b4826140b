#pragma once

#include <cstddef>
#include <cstdint>
#include <numeric>
#include <span>
#include <vector>

#include "steppe/comm/link.hpp"
#include "steppe/core/views.hpp"
#include "steppe/runtime/control.hpp"
#include "steppe/schedules/wait.hpp"

namespace steppe {

// Blocks of columns whose rows are spread over ranks. Each rank holds its rows of all columns of a block (columns, own
// rows); of a share of the columns it is the owner and may hold them whole (share, rows of all ranks in rank order).
class ColumnExchange {
 public:
  // Collective. `own_rows` is this rank's number of rows.
  ColumnExchange(Link& link, Control& control, std::size_t own_rows) : link_(link), control_(control) {
    std::vector<std::uint64_t> counts(link.size(), 0);
    counts[link.rank()] = own_rows;
    sum_over_ranks(link, std::span<std::uint64_t>(counts));
    starts_.assign(1, 0);
    for (const std::uint64_t count : counts) starts_.push_back(starts_.back() + count);
  }

  std::size_t total_rows() const { return starts_.back(); }
  std::size_t largest_share_of_rows() const {
    std::size_t largest = 0;
    for (std::uint32_t rank = 0; rank < link_.size(); ++rank) largest = std::max(largest, rows_of(rank));
    return largest;
  }

  // The columns of a block of n that `rank` owns: first(n, rank) to first(n, rank + 1).
  std::size_t first(std::size_t n_columns, std::uint32_t rank) const { return n_columns * rank / link_.size(); }
  std::size_t own_first(std::size_t n_columns) const { return first(n_columns, link_.rank()); }
  std::size_t own_share(std::size_t n_columns) const {
    return first(n_columns, link_.rank() + 1) - own_first(n_columns);
  }

  // Collective. `block` (n columns, own rows) to `whole` (own share of them, all rows).
  template <class T>
  void to_owners(MatrixView<const T> block, MatrixView<T> whole) {
    std::vector<Bytes> messages(link_.size());
    for (std::uint32_t rank = 0; rank < link_.size(); ++rank) {
      if (rank == link_.rank()) continue;
      messages[rank] = open();
      WireWriter wire(messages[rank]);
      for (std::size_t j = first(block.rows(), rank); j < first(block.rows(), rank + 1); ++j) {
        wire.put(std::span<const T>(block.row(j)));
      }
    }
    for (std::size_t j = 0; j < whole.rows(); ++j) {
      const auto from = block.row(own_first(block.rows()) + j);
      std::copy(from.begin(), from.end(), part(whole, j, link_.rank()).begin());
    }
    exchange(std::move(messages), [&](std::uint32_t from, WireReader& wire) {
      for (std::size_t j = 0; j < whole.rows(); ++j) wire.get(part(whole, j, from));
    });
  }

  // Collective, and back again.
  template <class T>
  void to_holders(MatrixView<const T> whole, MatrixView<T> block) {
    std::vector<Bytes> messages(link_.size());
    for (std::uint32_t rank = 0; rank < link_.size(); ++rank) {
      if (rank == link_.rank()) continue;
      messages[rank] = open();
      WireWriter wire(messages[rank]);
      for (std::size_t j = 0; j < whole.rows(); ++j) wire.put(std::span<const T>(part(whole, j, rank)));
    }
    for (std::size_t j = 0; j < whole.rows(); ++j) {
      const auto from = part(whole, j, link_.rank());
      std::copy(from.begin(), from.end(), block.row(own_first(block.rows()) + j).begin());
    }
    exchange(std::move(messages), [&](std::uint32_t from, WireReader& wire) {
      for (std::size_t j = first(block.rows(), from); j < first(block.rows(), from + 1); ++j) wire.get(block.row(j));
    });
  }

 private:
  std::size_t rows_of(std::uint32_t rank) const { return starts_[rank + 1] - starts_[rank]; }

  template <class T>
  std::span<T> part(MatrixView<T> whole, std::size_t column, std::uint32_t rank) const {
    return whole.row(column).subspan(starts_[rank], rows_of(rank));
  }

  Bytes open() const {
    Bytes bytes = open_frame({.run = run_});
    WireWriter(bytes).put(link_.rank());
    return bytes;
  }

  template <class Take>
  void exchange(std::vector<Bytes> messages, Take&& take) {
    exchange_all(link_, control_, run_++, std::move(messages),
                 [&](WireReader& wire) { take(wire.get<std::uint32_t>(), wire); });
  }

  Link& link_;
  Control& control_;
  std::vector<std::size_t> starts_;
  std::uint32_t run_ = 0;
};

}  // namespace steppe
