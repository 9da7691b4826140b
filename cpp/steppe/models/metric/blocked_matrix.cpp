#include "steppe/models/metric/blocked_matrix.hpp"

#include <algorithm>

#include "steppe/comm/wire.hpp"
#include "steppe/core/blas.hpp"

namespace steppe {
namespace {

constexpr std::size_t kSmall = 384;  // up to that many rows a message costs more than the rows of other ranks

std::size_t tile_for(std::size_t m) { return m <= 512 ? 64 : 128; }

std::size_t block_for(std::size_t m) { return m <= 96 ? 32 : m <= 1024 ? 64 : 128; }

}  // namespace

template <class T>
BlockedMatrix<T>::BlockedMatrix(Kind kind, AlignedVector<T> data, std::size_t n_constraints, std::size_t m, Link& link,
                                Team& team)
    : kind_(kind), n_constraints_(n_constraints), m_(m), tile_(tile_for(m)), link_(link), team_(team),
      shared_(link.size() > 1 && m > kSmall), data_(std::move(data)) {
  const std::size_t n_tiles = (m_ + tile_ - 1) / tile_;
  const std::size_t parts = shared_ ? link.size() : 1, part = shared_ ? link.rank() : 0;
  first_tile_ = n_tiles * part / parts;
  last_tile_ = n_tiles * (part + 1) / parts;
  const std::size_t rows = std::min(last_tile_ * tile_, m_) - std::min(first_tile_ * tile_, m_);
  matrix_.resize(rows * m_);
  set_block(block_for(m));
  reset();
}

template <class T>
std::size_t BlockedMatrix<T>::block_end(std::size_t b) const noexcept {
  return std::min((b + 1) * block_, n_constraints_);
}

template <class T>
void BlockedMatrix<T>::set_block(std::size_t size) {
  flush();
  block_ = std::max<std::size_t>(size, 1);
  columns_.assign(m_ * block_, 0);
  next_.assign(m_ * block_, 0);
  inner_.assign(block_ * block_, 0);
  scratch_.assign(std::max<std::size_t>(matrix_.size() / std::max<std::size_t>(m_, 1), 1) * block_, 0);
}

template <class T>
typename BlockedMatrix<T>::Tile BlockedMatrix<T>::tile(std::size_t t) const {
  return {std::min(t * tile_, m_), std::min((t + 1) * tile_, m_)};
}

template <class T>
MatrixView<T> BlockedMatrix<T>::rows_of(Tile tile) {
  return {matrix_.data() + (tile.begin - first_tile_ * tile_) * m_, tile.end - tile.begin, m_};
}

template <class T>
void BlockedMatrix<T>::reset() {
  pending_ = 0;
  for (std::size_t t = first_tile_; t < last_tile_; ++t) {
    const MatrixView<T> rows = rows_of(tile(t));
    for (std::size_t i = 0; i < rows.rows(); ++i) {
      const std::size_t row = tile(t).begin + i;
      if (kind_ == Kind::products) {
        std::copy_n(data_.data() + row * m_, m_, rows.row(i).data());
      } else {
        std::fill_n(rows.row(i).data(), m_, T{0});
        rows(i, row) = 1;
      }
    }
  }
}

template <class T>
void BlockedMatrix<T>::read_columns(Tile tile) {
  const MatrixView<T> rows = rows_of(tile);
  const MatrixView<T> v(next_.data() + tile.begin * loading_, rows.rows(), loading_);
  if (kind_ == Kind::vectors) {
    const MatrixView<const T> z(data_.data() + loading_begin_ * m_, loading_, m_);
    gemm<T>(Op::none, Op::transpose, 1, rows, z, 0, v);
    return;
  }
  for (std::size_t i = 0; i < rows.rows(); ++i) {
    std::copy_n(rows.row(i).data() + loading_begin_, loading_, v.row(i).data());
  }
}

// One tile: what is remembered of the last block, then V of the next, while the rows are in cache.
template <class T>
void BlockedMatrix<T>::work(std::size_t t) {
  const Tile mine = tile(t);
  const MatrixView<T> rows = rows_of(mine);
  if (pending_ > 0) {
    const MatrixView<const T> v(columns_.data(), m_, pending_);
    const MatrixView<const T> own(columns_.data() + mine.begin * pending_, rows.rows(), pending_);
    const MatrixView<const T> inner(inner_.data(), pending_, pending_);
    const MatrixView<T> scaled(scratch_.data() + (mine.begin - first_tile_ * tile_) * block_, rows.rows(), pending_);
    gemm<T>(Op::none, Op::none, 1, own, inner, 0, scaled);
    gemm<T>(Op::none, Op::transpose, 1, scaled, v, 1, rows);
  }
  if (loading_ > 0) read_columns(mine);
}

template <class T>
bool BlockedMatrix<T>::exchange(bool stop) {
  Bytes mine;
  WireWriter writer(mine);
  writer.put(static_cast<std::uint8_t>(stop));
  const std::size_t first = std::min(first_tile_ * tile_, m_) * loading_;
  const std::size_t last = std::min(last_tile_ * tile_, m_) * loading_;
  writer.put(std::span<const T>(next_.data() + first, last - first));
  T* to = next_.data();
  for (const Bytes& bytes : link_.allgather(std::move(mine))) {
    WireReader reader(bytes);
    stop |= reader.get<std::uint8_t>() != 0;
    const std::size_t n = (bytes.size() - 1) / sizeof(T);
    reader.get(std::span<T>(to, n));
    to += n;
  }
  return stop;
}

template <class T>
bool BlockedMatrix<T>::load(std::size_t block, MatrixView<T> s, bool stop) {
  loading_begin_ = block_begin(block);
  loading_ = block_end(block) - loading_begin_;
  team_.parallel_for(last_tile_ - first_tile_, 1, [&](std::size_t begin, std::size_t end, std::uint32_t) {
    for (std::size_t t = begin; t < end; ++t) work(first_tile_ + t);
  });
  if (shared_) stop = exchange(stop);
  std::swap(columns_, next_);
  loaded_ = loading_;
  pending_ = loading_ = 0;
  const MatrixView<const T> v(columns_.data(), m_, loaded_);
  if (kind_ == Kind::vectors) {
    gemm<T>(Op::none, Op::none, 1, MatrixView<const T>(data_.data() + loading_begin_ * m_, loaded_, m_), v, 0, s);
  } else {
    for (std::size_t i = 0; i < loaded_; ++i) std::copy_n(v.row(loading_begin_ + i).data(), loaded_, s.row(i).data());
  }
  return stop;
}

template <class T>
void BlockedMatrix<T>::update(MatrixView<const T> n, std::span<const double> beta) {
  const std::size_t b = loaded_;
  if (std::all_of(beta.begin(), beta.end(), [](double value) { return value == 0; })) return;
  AlignedVector<T> inverse(b * b, 0), scaled(b * b);
  for (std::size_t k = 0; k < b; ++k) inverse[k * b + k] = 1;
  solve_unit_upper<T>(n, MatrixView<T>(inverse.data(), b, b));
  for (std::size_t i = 0; i < b * b; ++i) scaled[i] = inverse[i] * static_cast<T>(beta[i % b]);
  gemm<T>(Op::none, Op::transpose, 1, MatrixView<const T>(scaled.data(), b, b),
          MatrixView<const T>(inverse.data(), b, b), 0, MatrixView<T>(inner_.data(), b, b));
  pending_ = b;
}

template <class T>
void BlockedMatrix<T>::flush() {
  if (pending_ == 0) return;
  team_.parallel_for(last_tile_ - first_tile_, 1, [&](std::size_t begin, std::size_t end, std::uint32_t) {
    for (std::size_t t = begin; t < end; ++t) work(first_tile_ + t);
  });
  pending_ = 0;
}

template <class T>
void BlockedMatrix<T>::quadratic_forms(std::span<double> p) {
  AlignedVector<T> s(block_ * block_);
  for (std::size_t block = 0; block < n_blocks(); ++block) {
    const std::size_t begin = block_begin(block), b = block_end(block) - begin;
    load(block, MatrixView<T>(s.data(), b, b));
    for (std::size_t k = 0; k < b; ++k) p[begin + k] = static_cast<double>(s[k * b + k]);
  }
}

template <class T>
Array BlockedMatrix<T>::state() const {
  invariant(pending_ == 0, "a block is still to be added to the matrix");
  return Array::copy_of(std::span<const T>(matrix_));
}

template <class T>
void BlockedMatrix<T>::restore(const Array& rows) {
  const auto values = rows.as<T>();
  require(values.size() == matrix_.size(), "state: the matrix has another size than the fit it is loaded into");
  std::copy(values.begin(), values.end(), matrix_.begin());
  pending_ = 0;
}

template class BlockedMatrix<float>;
template class BlockedMatrix<double>;

}  // namespace steppe
