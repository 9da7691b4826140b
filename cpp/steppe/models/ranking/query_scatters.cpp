#include <algorithm>
#include <vector>

#include "steppe/core/blas.hpp"
#include "steppe/models/ranking/local_metric.hpp"

namespace steppe {
namespace {

// out += factor * row.
void add(std::span<const double> row, double factor, std::span<double> out) {
#pragma omp simd
  for (std::size_t j = 0; j < out.size(); ++j) out[j] += factor * row[j];
}

// Sums over the documents met so far: of weight w and grade g, 1, g, x and g x, each times w.
struct Running {
  double weight = 0, grade = 0;
  std::vector<double> x, graded;

  explicit Running(std::size_t r) : x(r, 0), graded(r, 0) {}
  void meet(std::span<const double> row, double g, double w) {
    weight += w;
    grade += w * g;
    add(row, w, x);
    add(row, w * g, graded);
  }
};

// The rows sum_b w_ab (x_a - x_b) of one query's documents, by rising grade, so that X' times them is the scatter. Sums
// that run along the grades replace the sum over pairs; documents of equal grade have no gap and cancel by themselves.
// Returns the number of pairs, weighted by their gaps where these count.
double dissimilar_rows(MatrixView<const double> x, std::span<const double> grade, std::span<const double> weight,
                       MatrixView<double> out) {
  double gaps = 0;
  Running lower(x.cols()), higher(x.cols());
  for (std::size_t a = 0; a < x.rows(); ++a) {
    const double gap = grade[a] * lower.weight - lower.grade;
    gaps += gap;
    add(x.row(a), weight[a] * gap, out.row(a));
    add(lower.x, -weight[a] * grade[a], out.row(a));
    add(lower.graded, weight[a], out.row(a));
    lower.meet(x.row(a), grade[a], 1);
  }
  for (std::size_t a = x.rows(); a-- > 0;) {
    add(x.row(a), higher.grade - grade[a] * higher.weight, out.row(a));
    add(higher.x, grade[a], out.row(a));
    add(higher.graded, -1, out.row(a));
    higher.meet(x.row(a), grade[a], weight[a]);
  }
  return gaps;
}

double similar_rows(MatrixView<const double> x, std::span<const double> grade, std::span<const double> weight,
                    MatrixView<double> out) {
  double pairs = 0;
  for (std::size_t begin = 0, end = 0; begin < x.rows(); begin = end) {
    Running plain(x.cols()), weighted(x.cols());
    for (end = begin; end < x.rows() && grade[end] == grade[begin]; ++end) {
      plain.meet(x.row(end), 0, 1);
      weighted.meet(x.row(end), 0, weight[end]);
    }
    if (grade[begin] <= 0) continue;
    pairs += plain.weight * (plain.weight - 1) / 2;
    for (std::size_t a = begin; a < end; ++a) {
      add(x.row(a), (plain.weight * weight[a] + weighted.weight) / 2, out.row(a));
      add(plain.x, -weight[a] / 2, out.row(a));
      add(weighted.x, -0.5, out.row(a));
    }
  }
  return pairs;
}

// The mean over the queries of X' rows(X) / pairs.
template <class T, class Rows>
AlignedVector<double> scatter(const QueryBlock<T>& block, MatrixView<const double> x, Rows rows) {
  const std::size_t r = x.cols();
  AlignedVector<double> products(x.rows() * r, 0), out(r * r, 0);
  double queries = 0;
  for (std::size_t q = 0; q < block.n_learn; ++q) {
    const std::size_t begin = block.begin[q], n = block.begin[q + 1] - begin;
    const MatrixView<double> own(products.data() + begin * r, n, r);
    const double pairs = rows(MatrixView<const double>(x.data() + begin * r, n, r),
                              std::span(block.grade).subspan(begin, n), std::span(block.weight).subspan(begin, n), own);
    if (pairs <= 0) continue;
    queries += 1;
    std::for_each_n(own.data(), n * r, [pairs](double& value) { value /= pairs; });
  }
  gemm<double>(Op::transpose, Op::none, queries > 0 ? 1 / queries : 0, x, {products.data(), x.rows(), r}, 0,
               {out.data(), r, r});
  return out;
}

}  // namespace

template <class T>
Scatters query_scatters(const QueryBlock<T>& block, MatrixView<const double> coordinates) {
  return {scatter(block, coordinates, similar_rows), scatter(block, coordinates, dissimilar_rows)};
}

template Scatters query_scatters(const QueryBlock<float>&, MatrixView<const double>);
template Scatters query_scatters(const QueryBlock<double>&, MatrixView<const double>);

}  // namespace steppe
