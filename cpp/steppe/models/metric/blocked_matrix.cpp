#include "steppe/models/metric/blocked_matrix.hpp"

#include <algorithm>
#include <functional>

#include "steppe/comm/wire.hpp"
#include "steppe/core/blas.hpp"
#include "steppe/models/metric/polling.hpp"

namespace steppe {
namespace {

constexpr std::size_t kSmall = 384;  // up to that many rows a message costs more than the rows of other ranks

std::size_t tile_for(std::size_t m) { return m <= 512 ? 64 : 128; }

std::size_t block_for(std::size_t m) { return m <= 96 ? 32 : m <= 1024 ? 64 : 128; }

}  // namespace

BlockedMatrix::BlockedMatrix(VectorRows vectors, std::size_t n_constraints, std::size_t m, Link& link, Team& team)
    : BlockedMatrix(std::move(vectors), {}, n_constraints, m, link, team) {}

BlockedMatrix::BlockedMatrix(AlignedVector<double> products, std::size_t n_constraints, Link& link, Team& team)
    : BlockedMatrix({}, std::move(products), n_constraints, n_constraints, link, team) {}

BlockedMatrix::BlockedMatrix(VectorRows vectors, AlignedVector<double> products, std::size_t n_constraints,
                             std::size_t m, Link& link, Team& team)
    : vectors_(std::move(vectors)), products_(std::move(products)), n_constraints_(n_constraints), m_(m),
      tile_(tile_for(m)), link_(link), team_(team), shared_(link.size() > 1 && m > kSmall) {
  const std::size_t n_tiles = (m_ + tile_ - 1) / tile_;
  const std::size_t parts = shared_ ? link.size() : 1, part = shared_ ? link.rank() : 0;
  first_tile_ = n_tiles * part / parts;
  last_tile_ = n_tiles * (part + 1) / parts;
  const std::size_t rows = std::min(last_tile_ * tile_, m_) - std::min(first_tile_ * tile_, m_);
  matrix_.resize(rows * m_);
  set_block(block_for(m));
  reset();
}

std::size_t BlockedMatrix::block_end(std::size_t b) const noexcept {
  return std::min((b + 1) * block_, n_constraints_);
}

void BlockedMatrix::set_block(std::size_t size) {
  flush(nullptr);
  block_ = std::max<std::size_t>(size, 1);
  if (!of_products()) z_.assign(block_ * m_, 0);
  columns_.assign(m_ * block_, 0);
  next_.assign(m_ * block_, 0);
  scratch_.assign(std::max<std::size_t>(matrix_.size() / std::max<std::size_t>(m_, 1), 1) * block_, 0);
}

BlockedMatrix::Tile BlockedMatrix::tile(std::size_t t) const {
  return {std::min(t * tile_, m_), std::min((t + 1) * tile_, m_)};
}

MatrixView<double> BlockedMatrix::rows_of(Tile tile) {
  return {matrix_.data() + (tile.begin - first_tile_ * tile_) * m_, tile.end - tile.begin, m_};
}

void BlockedMatrix::reset() {
  pending_ = 0;
  for (std::size_t t = first_tile_; t < last_tile_; ++t) {
    const MatrixView<double> rows = rows_of(tile(t));
    for (std::size_t i = 0; i < rows.rows(); ++i) {
      const std::size_t row = tile(t).begin + i;
      if (of_products()) {
        std::copy_n(products_.data() + row * m_, m_, rows.row(i).data());
      } else {
        std::fill_n(rows.row(i).data(), m_, 0.0);
        rows(i, row) = 1;
      }
    }
  }
}

void BlockedMatrix::read_columns(Tile tile) {
  const MatrixView<double> rows = rows_of(tile);
  const MatrixView<double> v(next_.data() + tile.begin * loading_, rows.rows(), loading_);
  if (!of_products()) {
    gemm<double>(Op::none, Op::transpose, 1, rows, {z_.data(), loading_, m_}, 0, v);
    return;
  }
  for (std::size_t i = 0; i < rows.rows(); ++i) {
    std::copy_n(rows.row(i).data() + loading_begin_, loading_, v.row(i).data());
  }
}

// One tile: what is remembered of the last block, then V of the next, while the rows are in cache.
void BlockedMatrix::work_on(std::size_t t) {
  const Tile mine = tile(t);
  const MatrixView<double> rows = rows_of(mine);
  if (pending_ > 0) {
    const MatrixView<const double> v(columns_.data(), m_, pending_);
    const MatrixView<const double> own(columns_.data() + mine.begin * pending_, rows.rows(), pending_);
    const MatrixView<double> scaled(scratch_.data() + (mine.begin - first_tile_ * tile_) * block_, rows.rows(),
                                    pending_);
    for (std::size_t i = 0; i < rows.rows(); ++i) {
      std::transform(own.row(i).begin(), own.row(i).end(), beta_.begin(), scaled.row(i).begin(), std::multiplies<>{});
    }
    gemm<double>(Op::none, Op::transpose, 1, scaled, v, 1, rows);
  }
  if (loading_ > 0) read_columns(mine);
}

bool BlockedMatrix::work(Pacer* pacer) {
  try {
    for_each_piece(team_, last_tile_ - first_tile_, pacer, [&](std::size_t t) { work_on(first_tile_ + t); });
  } catch (const Stopped&) {
    return false;
  }
  return true;
}

bool BlockedMatrix::exchange(bool stop) {
  Bytes mine;
  WireWriter writer(mine);
  writer.put(static_cast<std::uint8_t>(stop));
  const std::size_t first = std::min(first_tile_ * tile_, m_) * loading_;
  const std::size_t last = std::min(last_tile_ * tile_, m_) * loading_;
  writer.put(std::span<const double>(next_.data() + first, last - first));
  double* to = next_.data();
  for (const Bytes& bytes : link_.allgather(std::move(mine))) {
    WireReader reader(bytes);
    stop |= reader.get<std::uint8_t>() != 0;
    const std::size_t n = (bytes.size() - 1) / sizeof(double);
    reader.get(std::span<double>(to, n));
    to += n;
  }
  return stop;
}

bool BlockedMatrix::load(std::size_t block, MatrixView<double> s, Pacer* pacer) {
  loading_begin_ = block_begin(block);
  loading_ = block_end(block) - loading_begin_;
  if (!of_products()) vectors_(loading_begin_, {z_.data(), loading_, m_});
  bool stop = !work(pacer);
  if (shared_) stop = exchange(stop);
  std::swap(columns_, next_);
  loaded_ = loading_;
  pending_ = loading_ = 0;
  const MatrixView<const double> v(columns_.data(), m_, loaded_);
  if (!of_products()) {
    gemm<double>(Op::none, Op::none, 1, {z_.data(), loaded_, m_}, v, 0, s);
  } else {
    for (std::size_t i = 0; i < loaded_; ++i) std::copy_n(v.row(loading_begin_ + i).data(), loaded_, s.row(i).data());
  }
  return !stop;
}

void BlockedMatrix::update(MatrixView<const double> n, std::span<const double> beta) {
  const std::size_t b = loaded_;
  if (std::all_of(beta.begin(), beta.end(), [](double value) { return value == 0; })) return;
  for_each_piece(team_, (m_ + tile_ - 1) / tile_, nullptr, [&](std::size_t t) {
    const Tile rows = tile(t);
    solve_unit_upper<double>(n, {columns_.data() + rows.begin * b, rows.end - rows.begin, b});
  });
  beta_.assign(beta.begin(), beta.end());
  pending_ = b;
}

bool BlockedMatrix::flush(Pacer* pacer) {
  if (pending_ == 0) return true;
  const bool whole = work(pacer);
  pending_ = 0;
  return whole;
}

bool BlockedMatrix::quadratic_forms(std::span<double> p, Pacer* pacer) {
  AlignedVector<double> s(block_ * block_);
  for (std::size_t block = 0; block < n_blocks(); ++block) {
    const std::size_t begin = block_begin(block), b = block_end(block) - begin;
    if (!load(block, {s.data(), b, b}, pacer)) return false;
    for (std::size_t k = 0; k < b; ++k) p[begin + k] = s[k * b + k];
  }
  return true;
}

Array BlockedMatrix::state() const {
  invariant(pending_ == 0, "a block is still to be added to the matrix");
  return Array::copy_of(std::span<const double>(matrix_));
}

void BlockedMatrix::restore(const Array& rows) {
  const auto values = rows.as<double>();
  require(values.size() == matrix_.size(), "state: the matrix has another size than the fit it is loaded into");
  std::copy(values.begin(), values.end(), matrix_.begin());
  pending_ = 0;
}

}  // namespace steppe
