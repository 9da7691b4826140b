#include "steppe/models/metric/differences.hpp"

#include <algorithm>
#include <array>
#include <limits>
#include <memory>
#include <numeric>
#include <utility>

#include "steppe/comm/wire.hpp"
#include "steppe/core/blas.hpp"
#include "steppe/models/metric/polling.hpp"

namespace steppe {
namespace {

constexpr std::size_t kFeatureBlock = 512;
constexpr std::size_t kRowTile = 128;
constexpr std::size_t kScatterRows = 512;
constexpr std::size_t kWork = std::size_t{1} << 29;  // multiply-adds between two polls
constexpr std::size_t kGramTile = 2 * kRowTile;
constexpr std::size_t kMostSlabs = 8;  // more ranks than that do not make the Gram matrix faster

std::size_t pieces(std::size_t n, std::size_t size) { return (n + size - 1) / size; }

std::size_t index(std::int64_t i) { return static_cast<std::size_t>(i); }

// Summed in an order that depends on nothing but n, so that bounds found from float32 are those found from float64.
template <class T>
double squared_distance(const T* a, const T* b, std::size_t n) {
  constexpr std::size_t kLanes = 8;
  std::array<double, kLanes> sums{};
  const auto add = [&](std::size_t lane, std::size_t j) {
    const double difference = static_cast<double>(a[j]) - static_cast<double>(b[j]);
    sums[lane] += difference * difference;
  };
  const std::size_t whole = n - n % kLanes;
  for (std::size_t first = 0; first < whole; first += kLanes) {
    for (std::size_t lane = 0; lane < kLanes; ++lane) add(lane, first + lane);
  }
  for (std::size_t j = whole; j < n; ++j) add(j - whole, j);
  return std::accumulate(sums.begin(), sums.end(), 0.0);
}

}  // namespace

template <class T>
void squared_distances(const PointPairs<T>& data, std::span<double> out, Team& team, Pacer* pacer) {
  constexpr std::size_t kPiece = 64;
  for_each_piece(team, pieces(data.n_pairs(), kPiece), pacer, [&](std::size_t piece) {
    for (std::size_t k = piece * kPiece; k < std::min((piece + 1) * kPiece, data.n_pairs()); ++k) {
      const T* const a = data.points.row(index(data.pairs(k, 0))).data();
      const T* const b = data.points.row(index(data.pairs(k, 1))).data();
      out[k] = squared_distance(a, b, data.n_features());
    }
  });
}

VectorRows stored_rows(AlignedVector<double> vectors, std::size_t m) {
  const auto held = std::make_shared<const AlignedVector<double>>(std::move(vectors));
  return [held, m](std::size_t first, MatrixView<double> rows) {
    for (std::size_t i = 0; i < rows.rows(); ++i) std::copy_n(held->data() + (first + i) * m, m, rows.row(i).data());
  };
}

template <class T>
VectorRows difference_rows(const PointPairs<T>& data, Team& team, Pacer* pacer) {
  VectorRows plain = [data](std::size_t first, MatrixView<double> rows) {
    for (std::size_t i = 0; i < rows.rows(); ++i) {
      const auto a = data.points.row(index(data.pairs(first + i, 0))),
                 b = data.points.row(index(data.pairs(first + i, 1)));
      std::transform(a.begin(), a.end(), b.begin(), rows.row(i).begin(),
                     [](T x, T y) { return static_cast<double>(x) - static_cast<double>(y); });
    }
  };
  if (data.prior.rows() == 0) return plain;
  const std::size_t d = data.n_features();
  AlignedVector<double> vectors(data.n_pairs() * d);
  for_each_piece(team, pieces(data.n_pairs(), kRowTile), pacer, [&](std::size_t piece) {
    const std::size_t first = piece * kRowTile, n = std::min(kRowTile, data.n_pairs() - first);
    AlignedVector<double> differences(n * d);
    plain(first, {differences.data(), n, d});
    gemm<double>(Op::none, Op::none, 1, {differences.data(), n, d}, data.prior, 0, {vectors.data() + first * d, n, d});
  });
  return stored_rows(std::move(vectors), d);
}

void add_scatter(MatrixView<double> m, const VectorRows& rows, std::span<const double> weights, Team& team,
                 Pacer* pacer) {
  const std::size_t d = m.cols();
  const std::size_t most = std::min(kScatterRows, weights.size());
  AlignedVector<double> plain(most * d), weighted(most * d);
  std::size_t n = 0;
  const auto add_chunk = [&] {
    for_each_piece(team, pieces(d, kRowTile), pacer, [&](std::size_t tile) {
      const std::size_t first = tile * kRowTile, last = std::min(first + kRowTile, d);
      gemm<double>(Op::transpose, Op::none, 1, {weighted.data() + first, n, last - first, d},
                   {plain.data(), n, last, d}, 1, {m.data() + first * m.stride(), last - first, last, m.stride()});
    });
    n = 0;
  };
  for (std::size_t k = 0; k < weights.size(); ++k) {
    if (weights[k] == 0) continue;
    double* const to = plain.data() + n * d;
    rows(k, {to, 1, d});
    std::transform(to, to + d, weighted.data() + n * d, [weight = weights[k]](double value) { return weight * value; });
    if (++n == most) add_chunk();
  }
  if (n > 0) add_chunk();
}

template <class T>
DifferenceSpan<T>::DifferenceSpan(const PointPairs<T>& data, Link& link, Team& team, Pacer* pacer)
    : data_(data), team_(team), of_points_(data.points.rows() <= data.n_pairs()),
      n_(std::min(data.points.rows(), data.n_pairs())), gram_(n_ * n_, 0) {
  invariant(data.prior.rows() == 0, "the span of differences is found for the identity as prior");
  if (of_points_ && !ends_everywhere(link, [&] { find_mean(pacer); })) throw Stopped();
  find_gram(link, pacer);
}

template <class T>
void DifferenceSpan<T>::find_mean(Pacer* pacer) {
  const std::size_t n = data_.points.rows();
  mean_.assign(data_.n_features(), 0);
  for_each_piece(team_, pieces(mean_.size(), kFeatureBlock), pacer, [&](std::size_t piece) {
    const std::size_t begin = piece * kFeatureBlock, end = std::min(begin + kFeatureBlock, mean_.size());
    for (std::size_t i = 0; i < n; ++i) {
      for (std::size_t j = begin; j < end; ++j) mean_[j] += static_cast<double>(data_.points(i, j));
    }
    for (std::size_t j = begin; j < end; ++j) mean_[j] /= static_cast<double>(n);
  });
}

// Features begin.. of one row: of a centred point, or of a difference.
template <class T>
void DifferenceSpan<T>::fill(std::size_t row, std::size_t begin, std::span<double> out) const {
  const std::size_t i = of_points_ ? row : index(data_.pairs(row, 0));
  const T* const a = data_.points.row(i).data() + begin;
  if (of_points_) {
    for (std::size_t j = 0; j < out.size(); ++j) out[j] = static_cast<double>(a[j]) - mean_[begin + j];
  } else {
    const T* const b = data_.points.row(index(data_.pairs(row, 1))).data() + begin;
    for (std::size_t j = 0; j < out.size(); ++j) out[j] = static_cast<double>(a[j]) - static_cast<double>(b[j]);
  }
}

// The lower tiles of `gram` += X X' over the features begin..end-1.
template <class T>
void DifferenceSpan<T>::add_slab(MatrixView<double> gram, std::size_t begin, std::size_t end, Pacer* pacer) const {
  std::vector<std::pair<std::size_t, std::size_t>> tiles;
  for (std::size_t i = 0; i < n_; i += kGramTile) {
    for (std::size_t j = 0; j <= i; j += kGramTile) tiles.emplace_back(i, j);
  }
  AlignedVector<double> rows(n_ * kFeatureBlock);
  for (std::size_t first = begin; first < end; first += kFeatureBlock) {
    const std::size_t width = std::min(kFeatureBlock, end - first);
    for_each_piece(team_, pieces(n_, kRowTile), pacer, [&](std::size_t piece) {
      for (std::size_t i = piece * kRowTile; i < std::min((piece + 1) * kRowTile, n_); ++i) {
        fill(i, first, {rows.data() + i * width, width});
      }
    });
    for_each_piece(team_, tiles.size(), pacer, [&](std::size_t t) {
      const auto [i, j] = tiles[t];
      const std::size_t height = std::min(kGramTile, n_ - i), breadth = std::min(kGramTile, n_ - j);
      gemm<double>(Op::none, Op::transpose, 1, {rows.data() + i * width, height, width},
                   {rows.data() + j * width, breadth, width}, 1,
                   {gram.data() + i * gram.stride() + j, height, breadth, gram.stride()});
    });
  }
}

// The lower triangle of one rank's slab, a tile's rows at a time: whole slabs of all ranks would not fit.
template <class T>
void DifferenceSpan<T>::add_to_gram(MatrixView<double> slab, std::uint32_t owner, Link& link) {
  for (std::size_t begin = 0; begin < n_; begin += kGramTile) {
    const std::size_t end = std::min(begin + kGramTile, n_);
    const auto add = [&](std::size_t i, std::span<const double> row) {
      std::transform(row.begin(), row.end(), gram_.begin() + static_cast<std::ptrdiff_t>(i * n_),
                     gram_.begin() + static_cast<std::ptrdiff_t>(i * n_), std::plus<>{});
    };
    if (link.size() == 1) {
      for (std::size_t i = begin; i < end; ++i) add(i, slab.row(i).first(i + 1));
      continue;
    }
    Bytes mine;
    for (std::size_t i = begin; link.rank() == owner && i < end; ++i) {
      WireWriter(mine).put(std::span<const double>(slab.row(i).first(i + 1)));
    }
    const std::vector<Bytes> all = link.allgather(std::move(mine));
    WireReader reader(all[owner]);
    std::vector<double> row;
    for (std::size_t i = begin; i < end; ++i) {
      row.resize(i + 1);
      reader.get(std::span<double>(row));
      add(i, row);
    }
  }
}

// Each slab is summed by one rank; the slabs are added in order on all, so the bits do not depend on the ranks.
template <class T>
void DifferenceSpan<T>::find_gram(Link& link, Pacer* pacer) {
  const std::size_t blocks = pieces(data_.n_features(), kFeatureBlock);
  const std::size_t n_slabs = std::min(kMostSlabs, blocks);
  const auto begin_of = [&](std::size_t slab) {
    return std::min(blocks * slab / n_slabs * kFeatureBlock, data_.n_features());
  };
  AlignedVector<double> memory(n_ * n_);
  const MatrixView<double> own(memory.data(), n_, n_);
  for (std::size_t first = 0; first < n_slabs; first += link.size()) {
    const bool whole = ends_everywhere(link, [&] {
      const std::size_t slab = first + link.rank();
      if (slab >= n_slabs) return;
      std::fill(memory.begin(), memory.end(), 0.0);
      add_slab(own, begin_of(slab), begin_of(slab + 1), pacer);
    });
    if (!whole) throw Stopped();
    for (std::size_t slab = first; slab < std::min<std::size_t>(first + link.size(), n_slabs); ++slab) {
      add_to_gram(own, static_cast<std::uint32_t>(slab - first), link);
    }
  }
  for (std::size_t i = 0; i < n_; ++i) {
    for (std::size_t j = 0; j < i; ++j) gram_[j * n_ + i] = gram_[i * n_ + j];
  }
}

template <class T>
AlignedVector<double> DifferenceSpan<T>::products(Pacer* pacer) const {
  if (!of_points_) return gram_;
  constexpr std::size_t kPiece = 16;
  const std::size_t c = data_.n_pairs();
  AlignedVector<double> products(c * c);
  for_each_piece(team_, pieces(c, kPiece), pacer, [&](std::size_t piece) {
    for (std::size_t k = piece * kPiece; k < std::min((piece + 1) * kPiece, c); ++k) {
      const double* const a = gram_.data() + index(data_.pairs(k, 0)) * n_;
      const double* const b = gram_.data() + index(data_.pairs(k, 1)) * n_;
      for (std::size_t l = 0; l < c; ++l) {
        const std::size_t i = index(data_.pairs(l, 0)), j = index(data_.pairs(l, 1));
        products[k * c + l] = (a[i] - a[j]) - (b[i] - b[j]);
      }
    }
  });
  return products;
}

template <class T>
void DifferenceSpan<T>::factorise(Pacer* pacer) {
  double largest = 0;
  for (std::size_t i = 0; i < n_; ++i) largest = std::max(largest, gram_[i * n_ + i]);
  const double tolerance = 4 * static_cast<double>(n_) * std::numeric_limits<double>::epsilon() * largest;
  struct Found {
    std::vector<int> pivots;
    std::size_t rank = 0;
  };
  const auto found = std::make_shared<Found>();
  found->pivots.resize(n_);
  call_lapack(gram_, pacer, [found, tolerance, n = n_](AlignedVector<double>& gram) {
    found->rank = pivoted_cholesky({gram.data(), n, n}, found->pivots, tolerance);
  });
  pivots_ = std::move(found->pivots);
  rank_ = found->rank;
}

template <class T>
AlignedVector<double> DifferenceSpan<T>::coordinates() const {
  const std::size_t c = data_.n_pairs();
  std::vector<std::size_t> place(n_);  // of each row among the pivots
  for (std::size_t i = 0; i < n_; ++i) place[static_cast<std::size_t>(pivots_[i])] = i;
  AlignedVector<double> out(c * rank_, 0);
  const auto add = [&](std::size_t k, std::size_t row, double sign) {
    const std::size_t i = place[row], filled = std::min(i + 1, rank_);
    for (std::size_t j = 0; j < filled; ++j) out[k * rank_ + j] += sign * gram_[i * n_ + j];
  };
  for (std::size_t k = 0; k < c; ++k) {
    if (of_points_) {
      add(k, index(data_.pairs(k, 0)), 1);
      add(k, index(data_.pairs(k, 1)), -1);
    } else {
      add(k, k, 1);
    }
  }
  return out;
}

template <class T>
void DifferenceSpan<T>::to_features(MatrixView<double> e, MatrixView<T> out, Pacer* pacer) const {
  // Q' = L11^-1 X_p: the basis from the first r pivots.
  const std::size_t k = e.rows();
  constexpr std::size_t kPiece = 32;
  for_each_piece(team_, pieces(k, kPiece), pacer, [&](std::size_t piece) {
    const std::size_t first = piece * kPiece, n = std::min(kPiece, k - first);
    solve_lower<double>(Side::right, Op::none, {gram_.data(), rank_, rank_, n_},
                        {e.data() + first * e.stride(), n, rank_, e.stride()});
  });
  AlignedVector<T> factors(k * rank_);
  for (std::size_t i = 0; i < k; ++i) {
    std::transform(e.row(i).begin(), e.row(i).end(), factors.begin() + static_cast<std::ptrdiff_t>(i * rank_),
                   [](double value) { return static_cast<T>(value); });
  }
  const std::size_t width = std::clamp<std::size_t>(kWork / (k * rank_ + 1), kRowTile / 2, kFeatureBlock);
  for_each_piece(team_, pieces(out.cols(), width), pacer, [&](std::size_t piece) {
    const std::size_t first = piece * width, n = std::min(width, out.cols() - first);
    AlignedVector<double> row(n);
    AlignedVector<T> rows(rank_ * n);
    for (std::size_t i = 0; i < rank_; ++i) {
      fill(static_cast<std::size_t>(pivots_[i]), first, row);
      std::transform(row.begin(), row.end(), rows.data() + i * n, [](double value) { return static_cast<T>(value); });
    }
    gemm<T>(Op::none, Op::none, 1, MatrixView<const T>(factors.data(), k, rank_),
            MatrixView<const T>(rows.data(), rank_, n), 0, MatrixView<T>(out.data() + first, k, n, out.stride()));
  });
}

template void squared_distances(const PointPairs<float>&, std::span<double>, Team&, Pacer*);
template VectorRows difference_rows(const PointPairs<float>&, Team&, Pacer*);
template class DifferenceSpan<float>;
template void squared_distances(const PointPairs<double>&, std::span<double>, Team&, Pacer*);
template VectorRows difference_rows(const PointPairs<double>&, Team&, Pacer*);
template class DifferenceSpan<double>;

}  // namespace steppe
