#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "steppe/comm/link.hpp"
#include "steppe/core/aligned.hpp"
#include "steppe/core/array_map.hpp"
#include "steppe/core/views.hpp"
#include "steppe/runtime/team.hpp"

namespace steppe {

// The matrix that ITML updates, by blocks of constraints. Either A (m x m) beside the vectors z_k (C x m) of the
// constraints, starting at A = I; or, without A, the products G = Z A Z' (C x C) that a constraint sees of it.
//
// Rows lie in tiles whose size depends on m alone. Every product is made tile by tile, each by one thread of one rank,
// so the bits do not depend on how many there are. With several ranks each owns consecutive tiles and the ranks
// exchange the rows of V = A Z_B, once a block.
template <class T>
class BlockedMatrix {
 public:
  enum class Kind { vectors, products };

  // `data` is Z (C x m), or G (C x C) at the start. Small matrices are whole on every rank.
  BlockedMatrix(Kind kind, AlignedVector<T> data, std::size_t n_constraints, std::size_t m, Link& link, Team& team);

  std::size_t n_constraints() const noexcept { return n_constraints_; }
  std::size_t n_blocks() const noexcept { return (n_constraints_ + block_ - 1) / block_; }
  std::size_t block_begin(std::size_t b) const noexcept { return b * block_; }
  std::size_t block_end(std::size_t b) const noexcept;
  void set_block(std::size_t size);  // constraints of a block

  void reset();  // to the start

  // Collective. What update() was told of the last block becomes part of A; then S = Z_B A Z_B' of this one.
  // True if `stop` was set on any rank (seen where rows are exchanged).
  bool load(std::size_t block, MatrixView<T> s, bool stop = false);
  // Remembers A += V M V' of the block loaded last, M = N^-1 diag(beta) N^-T; N as kernels::rank_one leaves it.
  void update(MatrixView<const T> n, std::span<const double> beta);
  void flush();  // makes what is remembered

  // Collective. p_k = z_k' A z_k of all constraints.
  void quadratic_forms(std::span<double> p);

  bool shared() const noexcept { return shared_; }
  Array state() const;  // this rank's rows; nothing may be remembered
  void restore(const Array& rows);

 private:
  struct Tile {
    std::size_t begin, end;
  };
  Tile tile(std::size_t t) const;
  MatrixView<T> rows_of(Tile tile);
  void work(std::size_t t);
  void read_columns(Tile tile);
  bool exchange(bool stop);

  Kind kind_;
  std::size_t n_constraints_, m_, tile_, block_ = 1;
  Link& link_;
  Team& team_;
  bool shared_;
  std::size_t first_tile_, last_tile_;                  // own
  AlignedVector<T> data_;                               // Z, or G at the start
  AlignedVector<T> matrix_;                             // own rows of A or G
  AlignedVector<T> columns_, next_;                     // V of the last block and of the one being loaded (m x block)
  AlignedVector<T> inner_, scratch_;                    // M (b x b), V M of own rows
  std::size_t loaded_ = 0, loading_ = 0, pending_ = 0;  // widths
  std::size_t loading_begin_ = 0;
};

}  // namespace steppe
