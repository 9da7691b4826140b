#include "steppe/models/metric/differences.hpp"

#include <algorithm>
#include <limits>
#include <utility>

#include "steppe/comm/wire.hpp"
#include "steppe/core/blas.hpp"

namespace steppe {
namespace {

constexpr std::size_t kFeatureBlock = 512;
constexpr std::size_t kRowTile = 128;
constexpr std::size_t kMostSlabs = 8;  // more ranks than that do not make the Gram matrix faster

std::size_t index(std::int64_t i) { return static_cast<std::size_t>(i); }

}  // namespace

template <class T>
void squared_distances(const PointPairs<T>& data, std::span<double> out, Team& team) {
  team.parallel_for(data.n_pairs(), 64, [&](std::size_t begin, std::size_t end, std::uint32_t) {
    for (std::size_t k = begin; k < end; ++k) {
      const T* const a = data.points.row(index(data.pairs(k, 0))).data();
      const T* const b = data.points.row(index(data.pairs(k, 1))).data();
      double sum = 0;
#pragma omp simd reduction(+ : sum)
      for (std::size_t j = 0; j < data.n_features(); ++j) {
        const double difference = static_cast<double>(a[j]) - static_cast<double>(b[j]);
        sum += difference * difference;
      }
      out[k] = sum;
    }
  });
}

template <class T>
AlignedVector<T> difference_rows(const PointPairs<T>& data, Team& team) {
  const std::size_t d = data.n_features();
  AlignedVector<T> rows(data.n_pairs() * d);
  std::vector<T> prior(data.prior.rows() * data.prior.cols());
  std::copy_n(data.prior.data(), prior.size(), prior.begin());
  const auto fill_tile = [&](std::size_t begin, std::size_t end) {
    T* const out = rows.data() + begin * d;
    for (std::size_t k = begin; k < end; ++k) {
      const auto a = data.points.row(index(data.pairs(k, 0))), b = data.points.row(index(data.pairs(k, 1)));
      std::transform(a.begin(), a.end(), b.begin(), out + (k - begin) * d, std::minus<>{});
    }
    if (prior.empty()) return;
    const AlignedVector<T> plain(out, out + (end - begin) * d);
    gemm<T>(Op::none, Op::none, 1, {plain.data(), end - begin, d}, {prior.data(), d, d}, 0, {out, end - begin, d});
  };
  team.parallel_for((data.n_pairs() + kRowTile - 1) / kRowTile, 1,
                    [&](std::size_t low, std::size_t high, std::uint32_t) {
                      for (std::size_t t = low; t < high; ++t)
                        fill_tile(t * kRowTile, std::min((t + 1) * kRowTile, data.n_pairs()));
                    });
  return rows;
}

template <class T>
void add_scatter(MatrixView<double> m, MatrixView<const T> rows, std::span<const double> weights, Team& team) {
  const std::size_t d = rows.cols();
  AlignedVector<double> plain, weighted;
  const auto add_chunk = [&] {
    const std::size_t n = plain.size() / std::max<std::size_t>(d, 1);
    team.parallel_for((m.rows() + kRowTile - 1) / kRowTile, 1, [&](std::size_t begin, std::size_t end, std::uint32_t) {
      for (std::size_t t = begin; t < end; ++t) {
        const std::size_t first = t * kRowTile, last = std::min(first + kRowTile, m.rows());
        gemm<double>(Op::transpose, Op::none, 1, {weighted.data() + first, n, last - first, d},
                     {plain.data(), n, last, d}, 1, {m.data() + first * m.stride(), last - first, last, m.stride()});
      }
    });
    plain.clear();
    weighted.clear();
  };
  for (std::size_t k = 0; k < rows.rows(); ++k) {
    if (weights[k] == 0) continue;
    for (const T value : rows.row(k)) {
      plain.push_back(static_cast<double>(value));
      weighted.push_back(weights[k] * static_cast<double>(value));
    }
    if (plain.size() >= kFeatureBlock * d) add_chunk();
  }
  if (!plain.empty()) add_chunk();
}

template <class T>
DifferenceSpan<T>::DifferenceSpan(const PointPairs<T>& data, Link& link, Team& team)
    : data_(data), team_(team), of_points_(data.points.rows() <= data.n_pairs()),
      n_(std::min(data.points.rows(), data.n_pairs())), gram_(n_ * n_, 0) {
  invariant(data.prior.rows() == 0, "the span of differences is found for the identity as prior");
  if (of_points_) find_mean();
  find_gram(link);
}

template <class T>
void DifferenceSpan<T>::find_mean() {
  const std::size_t n = data_.points.rows();
  mean_.assign(data_.n_features(), 0);
  team_.parallel_for(mean_.size(), kFeatureBlock, [&](std::size_t begin, std::size_t end, std::uint32_t) {
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
void DifferenceSpan<T>::add_slab(MatrixView<double> gram, std::size_t begin, std::size_t end) const {
  const std::size_t tile = 2 * kRowTile, n_tiles = (n_ + tile - 1) / tile;
  std::vector<std::pair<std::size_t, std::size_t>> tiles;
  for (std::size_t i = 0; i < n_tiles; ++i) {
    for (std::size_t j = 0; j <= i; ++j) tiles.emplace_back(i * tile, j * tile);
  }
  AlignedVector<double> rows(n_ * kFeatureBlock);
  for (std::size_t first = begin; first < end; first += kFeatureBlock) {
    const std::size_t width = std::min(kFeatureBlock, end - first);
    team_.parallel_for(n_, kRowTile, [&](std::size_t low, std::size_t high, std::uint32_t) {
      for (std::size_t i = low; i < high; ++i) fill(i, first, {rows.data() + i * width, width});
    });
    team_.parallel_for(tiles.size(), 1, [&](std::size_t low, std::size_t high, std::uint32_t) {
      for (std::size_t t = low; t < high; ++t) {
        const auto [i, j] = tiles[t];
        const std::size_t height = std::min(tile, n_ - i), breadth = std::min(tile, n_ - j);
        gemm<double>(Op::none, Op::transpose, 1, {rows.data() + i * width, height, width},
                     {rows.data() + j * width, breadth, width}, 1,
                     {gram.data() + i * gram.stride() + j, height, breadth, gram.stride()});
      }
    });
  }
}

// Each slab is summed by one rank; the slabs are added in order on all, so the bits do not depend on the ranks.
template <class T>
void DifferenceSpan<T>::find_gram(Link& link) {
  const std::size_t blocks = (data_.n_features() + kFeatureBlock - 1) / kFeatureBlock;
  const std::size_t n_slabs = std::min(kMostSlabs, blocks);
  const auto begin_of = [&](std::size_t slab) {
    return std::min(blocks * slab / n_slabs * kFeatureBlock, data_.n_features());
  };
  AlignedVector<double> slab_gram(n_ * n_);
  Bytes mine;
  for (std::size_t slab = 0; slab < n_slabs; ++slab) {
    if (slab % link.size() != link.rank()) continue;
    std::fill(slab_gram.begin(), slab_gram.end(), 0.0);
    add_slab({slab_gram.data(), n_, n_}, begin_of(slab), begin_of(slab + 1));
    if (link.size() > 1) {
      WireWriter(mine).put(std::span<const double>(slab_gram));
    } else {
      std::transform(gram_.begin(), gram_.end(), slab_gram.begin(), gram_.begin(), std::plus<>{});
    }
  }
  if (link.size() > 1) {
    const std::vector<Bytes> all = link.allgather(std::move(mine));
    std::vector<WireReader> readers(all.begin(), all.end());
    for (std::size_t slab = 0; slab < n_slabs; ++slab) {
      readers[slab % link.size()].get(std::span<double>(slab_gram));
      std::transform(gram_.begin(), gram_.end(), slab_gram.begin(), gram_.begin(), std::plus<>{});
    }
  }
  for (std::size_t i = 0; i < n_; ++i) {
    for (std::size_t j = 0; j < i; ++j) gram_[j * n_ + i] = gram_[i * n_ + j];
  }
}

template <class T>
AlignedVector<T> DifferenceSpan<T>::products() const {
  const std::size_t c = data_.n_pairs();
  AlignedVector<T> products(c * c);
  if (!of_points_) {
    std::transform(gram_.begin(), gram_.end(), products.begin(), [](double value) { return static_cast<T>(value); });
    return products;
  }
  team_.parallel_for(c, 16, [&](std::size_t begin, std::size_t end, std::uint32_t) {
    for (std::size_t k = begin; k < end; ++k) {
      const double* const a = gram_.data() + index(data_.pairs(k, 0)) * n_;
      const double* const b = gram_.data() + index(data_.pairs(k, 1)) * n_;
      for (std::size_t l = 0; l < c; ++l) {
        const std::size_t i = index(data_.pairs(l, 0)), j = index(data_.pairs(l, 1));
        products[k * c + l] = static_cast<T>((a[i] - a[j]) - (b[i] - b[j]));
      }
    }
  });
  return products;
}

template <class T>
void DifferenceSpan<T>::factorise() {
  double largest = 0;
  for (std::size_t i = 0; i < n_; ++i) largest = std::max(largest, gram_[i * n_ + i]);
  pivots_.resize(n_);
  const double tolerance = 4 * static_cast<double>(n_) * std::numeric_limits<double>::epsilon() * largest;
  rank_ = pivoted_cholesky({gram_.data(), n_, n_}, pivots_, tolerance);
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
void DifferenceSpan<T>::to_features(MatrixView<double> e, MatrixView<T> out) const {
  // Q' = L11^-1 X_p: the basis from the first r pivots.
  solve_lower<double>(Side::right, Op::none, {gram_.data(), rank_, rank_, n_}, e);
  AlignedVector<T> factors(e.rows() * rank_);
  for (std::size_t i = 0; i < e.rows(); ++i) {
    std::transform(e.row(i).begin(), e.row(i).end(), factors.begin() + static_cast<std::ptrdiff_t>(i * rank_),
                   [](double value) { return static_cast<T>(value); });
  }
  team_.parallel_for(out.cols(), kFeatureBlock, [&](std::size_t begin, std::size_t end, std::uint32_t) {
    const std::size_t whole = end - begin;
    AlignedVector<double> row(std::min(whole, kFeatureBlock));
    AlignedVector<T> rows(rank_ * row.size());
    for (std::size_t first = begin; first < end; first += kFeatureBlock) {
      const std::size_t width = std::min(kFeatureBlock, end - first);
      for (std::size_t i = 0; i < rank_; ++i) {
        fill(static_cast<std::size_t>(pivots_[i]), first, std::span<double>(row).first(width));
        std::transform(row.begin(), row.begin() + static_cast<std::ptrdiff_t>(width), rows.data() + i * width,
                       [](double value) { return static_cast<T>(value); });
      }
      gemm<T>(Op::none, Op::none, 1, MatrixView<const T>(factors.data(), e.rows(), rank_),
              MatrixView<const T>(rows.data(), rank_, width), 0,
              MatrixView<T>(out.data() + first, e.rows(), width, out.stride()));
    }
  });
}

template void squared_distances(const PointPairs<float>&, std::span<double>, Team&);
template AlignedVector<float> difference_rows(const PointPairs<float>&, Team&);
template class DifferenceSpan<float>;
template void squared_distances(const PointPairs<double>&, std::span<double>, Team&);
template AlignedVector<double> difference_rows(const PointPairs<double>&, Team&);
template class DifferenceSpan<double>;
template void add_scatter(MatrixView<double>, MatrixView<const float>, std::span<const double>, Team&);
template void add_scatter(MatrixView<double>, MatrixView<const double>, std::span<const double>, Team&);

}  // namespace steppe
