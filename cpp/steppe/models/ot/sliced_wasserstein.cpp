#include "steppe/models/ot/sliced_wasserstein.hpp"

#include <algorithm>
#include <atomic>
#include <numeric>
#include <vector>

#include "steppe/core/aligned.hpp"
#include "steppe/core/errors.hpp"
#include "steppe/kernels/sort.hpp"
#include "steppe/kernels/sorted_projection.hpp"
#include "steppe/models/ot/column_exchange.hpp"

namespace steppe {
namespace {

constexpr std::size_t kBlockBytes = std::size_t{1} << 24;
constexpr std::size_t kFewestColumns = 8, kMostColumns = 512;

// Of projected values at a time, for each of n_threads: what the cache holds, or half of what the samples take in all.
// The more columns meet a sample at once the less often BLAS rearranges it: of long rows that is a third of the time.
std::size_t block_bytes(std::size_t bytes_of_samples, std::size_t n_threads) {
  return std::max(kBlockBytes, bytes_of_samples / (2 * n_threads));
}

// body(begin, end) on pieces of 0..n-1 on all members, until a stop is asked for.
template <class Body>
void for_each_piece(std::size_t n, std::size_t grain, Team& team, Control& control, Body&& body) {
  std::atomic<std::size_t> next{0};
  const Team::Job job = [&](std::uint32_t) {
    for (std::size_t begin; (begin = next.fetch_add(grain)) < n;) body(begin, std::min(begin + grain, n));
  };
  team.run(job, control, [&] { next = n; });
}

// Columns at a time for each of n_threads (or ranks), as asked or up to so many bytes, so that blocks have equal sizes.
std::size_t columns_of_block(std::size_t asked, std::size_t bytes, std::size_t bytes_of_column, std::size_t n_columns,
                             std::size_t n_threads) {
  const std::size_t fitting =
      std::clamp(bytes / std::max<std::size_t>(bytes_of_column, 1), kFewestColumns, kMostColumns);
  const std::size_t most = asked > 0 ? asked : fitting;
  const std::size_t rounds = (n_columns + most * n_threads - 1) / (most * n_threads);
  return std::max<std::size_t>((n_columns + rounds * n_threads - 1) / std::max<std::size_t>(rounds * n_threads, 1), 1);
}

double total(std::span<const double> weights, std::size_t n) {
  return weights.empty() ? static_cast<double>(n) : std::accumulate(weights.begin(), weights.end(), 0.0);
}

template <class T>
MatrixView<T> some_rows(MatrixView<T> matrix, std::size_t first, std::size_t last) {
  return {matrix.data() + first * matrix.stride(), last - first, matrix.cols(), matrix.stride()};
}
template <class T>
MatrixView<T> some_columns(MatrixView<T> matrix, std::size_t first, std::size_t last) {
  return {matrix.data() + first, matrix.rows(), last - first, matrix.stride()};
}

// Sorts columns of up to n values, with their weights where there are any. One for each thread.
template <class T>
class ColumnSorter {
 public:
  explicit ColumnSorter(std::size_t n) : keys_(n + kernels::kSortSlack), scratch_(n + kernels::kSortSlack) {}

  kernels::SortedSample<T> sort(std::span<T> column) {
    kernels::sort_values(column.data(), column.size(), keys_.data(), scratch_.data());
    return {column, {}, 1};
  }

  kernels::SortedSample<T> sort(std::span<T> column, std::span<const double> weights) {
    if (weights.empty()) return sort(column);
    order(column);
    sorted_.resize(column.size());
    weights_.resize(column.size());
    for (std::size_t r = 0; r < column.size(); ++r) {
      sorted_[r] = column[order_[r]];
      weights_[r] = weights[order_[r]];
    }
    return {sorted_, weights_, 1};
  }

  std::span<const std::uint32_t> order(std::span<const T> column) {
    wide_keys_.resize(column.size() + kernels::kSortSlack);
    wide_scratch_.resize(column.size() + kernels::kSortSlack);
    order_.resize(column.size());
    kernels::sort_order(column.data(), column.size(), wide_keys_.data(), wide_scratch_.data(), order_.data());
    return order_;
  }

 private:
  AlignedVector<kernels::SortKey<T>> keys_, scratch_;
  AlignedVector<std::int64_t> wide_keys_, wide_scratch_;
  std::vector<std::uint32_t> order_;
  std::vector<T> sorted_;
  std::vector<double> weights_;
};

// The distances of whole columns, which are sorted in their places.
template <class T>
class ColumnDistances {
 public:
  ColumnDistances(std::span<const double> x_weights, std::span<const double> y_weights, std::size_t n, std::size_t m,
                  double p)
      : x_weights_(x_weights), y_weights_(y_weights), x_total_(total(x_weights, n)), y_total_(total(y_weights, m)),
        p_(p), x_sorter_(n), y_sorter_(m) {}

  double operator()(std::span<T> x, std::span<T> y) {
    auto sorted_x = x_sorter_.sort(x, x_weights_);
    auto sorted_y = y_sorter_.sort(y, y_weights_);
    sorted_x.scale = y_total_;
    sorted_y.scale = x_total_;
    return kernels::quantile_distance(sorted_x, sorted_y, p_);
  }

 private:
  std::span<const double> x_weights_, y_weights_;
  double x_total_, y_total_, p_;
  ColumnSorter<T> x_sorter_, y_sorter_;
};

template <class T>
void distances_alone(const SlicedSample<T>& x, const SlicedSample<T>& y, MatrixView<const T> directions,
                     const SlicedParams& params, Team& team, Control& control, std::span<double> distances) {
  const std::size_t n = x.rows.rows(), m = y.rows.rows();
  const std::size_t bytes = block_bytes((n + m) * directions.rows() * sizeof(T), team.size());
  const std::size_t columns =
      columns_of_block(params.block_columns, bytes, (n + m) * sizeof(T), distances.size(), team.size());
  struct Workspace {
    AlignedVector<T> x, y;
    ColumnDistances<T> distances;
  };
  std::atomic<std::size_t> next{0};
  const Team::Job job = [&](std::uint32_t) {
    Workspace work{AlignedVector<T>(columns * n), AlignedVector<T>(columns * m),
                   ColumnDistances<T>(x.weights, y.weights, n, m, params.p)};
    for (std::size_t begin; (begin = next.fetch_add(columns)) < distances.size();) {
      const std::size_t end = std::min(begin + columns, distances.size());
      const MatrixView<T> x_block(work.x.data(), end - begin, n), y_block(work.y.data(), end - begin, m);
      kernels::project(x.rows, some_columns(directions, begin, end), x_block);
      kernels::project(y.rows, some_columns(directions, begin, end), y_block);
      for (std::size_t j = begin; j < end; ++j) {
        distances[j] = work.distances(x_block.row(j - begin), y_block.row(j - begin));
      }
    }
  };
  team.run(job, control, [&] { next = distances.size(); });
}

// A block of columns of one sample: this rank's rows of all of them, and its share of them whole.
template <class T>
struct SharedBlock {
  SharedBlock(Link& link, Control& control, std::size_t rows) : exchange(link, control, rows), own_rows(rows) {}

  void resize(std::size_t n_columns) {
    part.resize(n_columns * own_rows);
    whole.resize(exchange.own_share(n_columns) * exchange.total_rows());
  }
  MatrixView<T> part_view(std::size_t n_columns) { return {part.data(), n_columns, own_rows}; }
  MatrixView<T> whole_view(std::size_t n_columns) {
    return {whole.data(), exchange.own_share(n_columns), exchange.total_rows()};
  }
  void gather(std::size_t n_columns) {
    exchange.to_owners(MatrixView<const T>(part_view(n_columns)), whole_view(n_columns));
  }
  void scatter(std::size_t n_columns) {
    exchange.to_holders(MatrixView<const T>(whole_view(n_columns)), part_view(n_columns));
  }
  std::size_t bytes_of_column() const { return 2 * sizeof(T) * exchange.largest_share_of_rows(); }

  ColumnExchange exchange;
  std::size_t own_rows;
  AlignedVector<T> part, whole;
};

template <class T>
void distances_over_ranks(const SlicedSample<T>& x, const SlicedSample<T>& y, MatrixView<const T> directions,
                          const SlicedParams& params, Team& team, Link& link, Control& control,
                          std::span<double> distances) {
  SharedBlock<T> x_block(link, control, x.rows.rows()), y_block(link, control, y.rows.rows());
  const std::size_t n = x_block.exchange.total_rows(), m = y_block.exchange.total_rows();
  const std::size_t bytes = block_bytes((n + m) * directions.rows() * sizeof(T), link.size());
  const std::size_t bytes_of_column = x_block.bytes_of_column() + y_block.bytes_of_column();
  const std::size_t columns =
      columns_of_block(params.block_columns, bytes, link.size() * bytes_of_column, distances.size(), link.size());
  std::fill(distances.begin(), distances.end(), 0.0);
  for (std::size_t begin = 0; begin < distances.size(); begin += columns * link.size()) {
    const std::size_t block = std::min(columns * link.size(), distances.size() - begin);
    x_block.resize(block);
    y_block.resize(block);
    const auto grain = (block + team.size() - 1) / team.size();
    for_each_piece(block, grain, team, control, [&](std::size_t first, std::size_t last) {
      const auto some = some_columns(directions, begin + first, begin + last);
      kernels::project(x.rows, some, some_rows(x_block.part_view(block), first, last));
      kernels::project(y.rows, some, some_rows(y_block.part_view(block), first, last));
    });
    x_block.gather(block);
    y_block.gather(block);
    const std::size_t share = x_block.exchange.own_share(block), first_own = x_block.exchange.own_first(block);
    for_each_piece(share, (share + team.size() - 1) / team.size() + (share == 0), team, control,
                   [&](std::size_t first, std::size_t last) {
                     ColumnDistances<T> measure(x.weights, y.weights, n, m, params.p);
                     for (std::size_t j = first; j < last; ++j) {
                       distances[begin + first_own + j] =
                           measure(x_block.whole_view(block).row(j), y_block.whole_view(block).row(j));
                     }
                   });
  }
  sum_over_ranks(link, distances);  // one term of each is not zero: exact
}

// block[j][i] = rows[i][first + j], and back.
template <class T>
void read_columns(MatrixView<const T> rows, std::size_t first, MatrixView<T> block) {
  for (std::size_t i = 0; i < rows.rows(); ++i) {
    for (std::size_t j = 0; j < block.rows(); ++j) block(j, i) = rows(i, first + j);
  }
}
template <class T>
void write_columns(MatrixView<const T> block, std::size_t first, MatrixView<T> rows) {
  for (std::size_t i = 0; i < rows.rows(); ++i) {
    for (std::size_t j = 0; j < block.rows(); ++j) rows(i, first + j) = block(j, i);
  }
}

// Replaces the values of whole columns of x by their targets among those of y, which are sorted in their places.
template <class T>
class ColumnTargets {
 public:
  ColumnTargets(std::size_t n, std::size_t m) : x_sorter_(n), y_sorter_(m), means_(n) {}

  void operator()(std::span<T> x, std::span<T> y) {
    const auto order = x_sorter_.order(x);
    kernels::SortedSample<T> ranks{x, {}, static_cast<double>(y.size())};
    auto sorted = y_sorter_.sort(y);
    sorted.scale = static_cast<double>(x.size());
    kernels::quantile_means(ranks, sorted, std::span<T>(means_));
    for (std::size_t r = 0; r < x.size(); ++r) x[order[r]] = means_[r];
  }

 private:
  ColumnSorter<T> x_sorter_, y_sorter_;
  std::vector<T> means_;
};

template <class T>
void targets_alone(MatrixView<const T> x, MatrixView<const T> y, Team& team, Control& control, MatrixView<T> targets) {
  constexpr std::size_t columns = kCacheLine / sizeof(T);  // whole cache lines are read and written
  for_each_piece(x.cols(), columns, team, control, [&](std::size_t first, std::size_t last) {
    AlignedVector<T> x_values(columns * x.rows()), y_values(columns * y.rows());
    ColumnTargets<T> replace(x.rows(), y.rows());
    const MatrixView<T> x_block(x_values.data(), last - first, x.rows());
    const MatrixView<T> y_block(y_values.data(), last - first, y.rows());
    read_columns(x, first, x_block);
    read_columns(y, first, y_block);
    for (std::size_t j = 0; j < last - first; ++j) replace(x_block.row(j), y_block.row(j));
    write_columns(MatrixView<const T>(x_block), first, targets);
  });
}

template <class T>
void targets_over_ranks(MatrixView<const T> x, MatrixView<const T> y, Team& team, Link& link, Control& control,
                        MatrixView<T> targets) {
  SharedBlock<T> x_block(link, control, x.rows()), y_block(link, control, y.rows());
  const std::size_t bytes_of_column = x_block.bytes_of_column() + y_block.bytes_of_column();
  const std::size_t columns = columns_of_block(0, kBlockBytes, link.size() * bytes_of_column, x.cols(), link.size());
  for (std::size_t begin = 0; begin < x.cols(); begin += columns * link.size()) {
    const std::size_t block = std::min(columns * link.size(), x.cols() - begin);
    x_block.resize(block);
    y_block.resize(block);
    read_columns(x, begin, x_block.part_view(block));
    read_columns(y, begin, y_block.part_view(block));
    x_block.gather(block);
    y_block.gather(block);
    const std::size_t share = x_block.exchange.own_share(block);
    for_each_piece(share, 1, team, control, [&](std::size_t j, std::size_t) {
      ColumnTargets<T> replace(x_block.exchange.total_rows(), y_block.exchange.total_rows());
      replace(x_block.whole_view(block).row(j), y_block.whole_view(block).row(j));
    });
    x_block.scatter(block);
    write_columns(MatrixView<const T>(x_block.part_view(block)), begin, targets);
  }
}

}  // namespace

template <class T>
void sliced_distances(const SlicedSample<T>& x, const SlicedSample<T>& y, MatrixView<const T> directions,
                      const SlicedParams& params, Team& team, Link& link, Control& control,
                      std::span<double> distances) {
  if (link.size() == 1) return distances_alone(x, y, directions, params, team, control, distances);
  distances_over_ranks(x, y, directions, params, team, link, control, distances);
}

template <class T>
void sorted_targets(MatrixView<const T> x, MatrixView<const T> y, Team& team, Link& link, Control& control,
                    MatrixView<T> targets) {
  if (link.size() == 1) return targets_alone(x, y, team, control, targets);
  targets_over_ranks(x, y, team, link, control, targets);
}

template void sliced_distances(const SlicedSample<float>&, const SlicedSample<float>&, MatrixView<const float>,
                               const SlicedParams&, Team&, Link&, Control&, std::span<double>);
template void sliced_distances(const SlicedSample<double>&, const SlicedSample<double>&, MatrixView<const double>,
                               const SlicedParams&, Team&, Link&, Control&, std::span<double>);
template void sorted_targets(MatrixView<const float>, MatrixView<const float>, Team&, Link&, Control&,
                             MatrixView<float>);
template void sorted_targets(MatrixView<const double>, MatrixView<const double>, Team&, Link&, Control&,
                             MatrixView<double>);

}  // namespace steppe
