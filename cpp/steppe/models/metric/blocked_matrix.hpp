#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "steppe/comm/link.hpp"
#include "steppe/core/aligned.hpp"
#include "steppe/core/array_map.hpp"
#include "steppe/core/views.hpp"
#include "steppe/models/metric/differences.hpp"
#include "steppe/runtime/control.hpp"
#include "steppe/runtime/team.hpp"

namespace steppe {

// The matrix that ITML updates, by blocks of constraints. Either A (m x m), starting at A = I, with the vectors z_k of
// the constraints given a block at a time; or, without A, the products G = Z A Z' (C x C) that a constraint sees of it.
//
// In double precision whatever the points are in: the dual variables say what A is, and rounding must not part them.
// Rows lie in tiles whose size depends on m alone. Every product is made tile by tile, each by one thread of one rank,
// so the bits do not depend on how many there are. With several ranks each owns consecutive tiles and the ranks
// exchange the rows of V = A Z_B, once a block. Small matrices are whole on every rank.
class BlockedMatrix {
 public:
  BlockedMatrix(VectorRows vectors, std::size_t n_constraints, std::size_t m, Link& link, Team& team);
  // From G (C x C) at the start.
  BlockedMatrix(AlignedVector<double> products, std::size_t n_constraints, Link& link, Team& team);

  std::size_t size() const noexcept { return m_; }
  std::size_t n_blocks() const noexcept { return (n_constraints_ + block_ - 1) / block_; }
  std::size_t block_begin(std::size_t b) const noexcept { return b * block_; }
  std::size_t block_end(std::size_t b) const noexcept;
  void set_block(std::size_t size);  // constraints of a block

  void reset();  // to the start

  // Where these meet a stop, the matrix is of no use until reset() or restore(), though every rank goes through the
  // same exchanges. A pacer only where all ranks come to know: with one rank or, but for flush(), where shared().
  //
  // Collective. What update() was told of the last block becomes part of A; then S = Z_B A Z_B' of this one.
  // False if a stop was asked for on any rank.
  bool load(std::size_t block, MatrixView<double> s, Pacer* pacer);
  // Remembers A += W diag(beta) W' of the block loaded last, W = V N^-1; N as kernels::rank_one leaves it. Once for a
  // load. (N^-1 by itself may be large where W is not: made apart, it would cost digits.)
  void update(MatrixView<const double> n, std::span<const double> beta);
  bool flush(Pacer* pacer);  // makes what is remembered

  // Collective. p_k = z_k' A z_k of all constraints; false as above.
  bool quadratic_forms(std::span<double> p, Pacer* pacer);

  bool shared() const noexcept { return shared_; }
  Array state() const;  // this rank's rows; nothing may be remembered
  void restore(const Array& rows);

 private:
  struct Tile {
    std::size_t begin, end;
  };
  BlockedMatrix(VectorRows vectors, AlignedVector<double> products, std::size_t n_constraints, std::size_t m,
                Link& link, Team& team);
  bool of_products() const noexcept { return !vectors_; }
  Tile tile(std::size_t t) const;
  MatrixView<double> rows_of(Tile tile);
  bool work(Pacer* pacer);
  void work_on(std::size_t t);
  void read_columns(Tile tile);
  bool exchange(bool stop);

  VectorRows vectors_;              // unless of products
  AlignedVector<double> products_;  // G at the start
  std::size_t n_constraints_, m_, tile_, block_ = 1;
  Link& link_;
  Team& team_;
  bool shared_;
  std::size_t first_tile_, last_tile_;    // own
  AlignedVector<double> matrix_;          // own rows of A or G
  AlignedVector<double> z_;               // vectors of the block being loaded (block x m)
  AlignedVector<double> columns_, next_;  // V or W of the last block, V of the one being loaded (m x block)
  AlignedVector<double> scratch_;         // W diag(beta) of own rows
  std::vector<double> beta_;              // of the last block
  std::size_t loaded_ = 0, loading_ = 0, pending_ = 0;  // widths
  std::size_t loading_begin_ = 0;
};

}  // namespace steppe
