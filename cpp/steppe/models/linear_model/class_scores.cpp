#include "steppe/models/linear_model/class_scores.hpp"

#include <algorithm>
#include <numeric>
#include <vector>

#include "steppe/kernels/row_scores.hpp"

namespace steppe {
namespace {

constexpr std::size_t kRowPiece = 64;

template <class T>
void scores_of(const kernels::RowsView<T>& x, const LinearClassifier<T>& model, std::span<T> scores, Team& team) {
  const std::size_t k = model.n_classes();
  team.parallel_for(x.rows(), kRowPiece, [&](std::size_t begin, std::size_t end, std::uint32_t) {
    for (std::size_t i = begin; i < end; ++i) {
      kernels::row_scores(x.row(i), model.weights, model.intercept, scores.subspan(i * k, k));
    }
  });
}

template <class T>
void best_of(const kernels::RowsView<T>& x, const LinearClassifier<T>& model, std::size_t k,
             std::span<std::int32_t> labels, std::span<T> scores, Team& team) {
  const std::size_t n_classes = model.n_classes();
  require(k >= 1 && k <= n_classes, "k: give a number of classes from 1 to the number of classes of the model");
  team.parallel_for(x.rows(), kRowPiece, [&](std::size_t begin, std::size_t end, std::uint32_t) {
    std::vector<T> all(n_classes);
    std::vector<std::int32_t> order(n_classes);
    for (std::size_t i = begin; i < end; ++i) {
      kernels::row_scores(x.row(i), model.weights, model.intercept, std::span<T>(all));
      std::iota(order.begin(), order.end(), 0);
      std::partial_sort(order.begin(), order.begin() + static_cast<std::ptrdiff_t>(k), order.end(),
                        [&](std::int32_t a, std::int32_t b) {
                          const T ours = all[static_cast<std::size_t>(a)], theirs = all[static_cast<std::size_t>(b)];
                          return ours != theirs ? ours > theirs : a < b;
                        });
      for (std::size_t rank = 0; rank < k; ++rank) {
        labels[i * k + rank] = order[rank];
        scores[i * k + rank] = all[static_cast<std::size_t>(order[rank])];
      }
    }
  });
}

}  // namespace

void class_scores(const kernels::RowsView<float>& x, const LinearClassifier<float>& model, std::span<float> scores,
                  Team& team) {
  scores_of(x, model, scores, team);
}
void class_scores(const kernels::RowsView<double>& x, const LinearClassifier<double>& model, std::span<double> scores,
                  Team& team) {
  scores_of(x, model, scores, team);
}

void best_classes(const kernels::RowsView<float>& x, const LinearClassifier<float>& model, std::size_t k,
                  std::span<std::int32_t> labels, std::span<float> scores, Team& team) {
  best_of(x, model, k, labels, scores, team);
}
void best_classes(const kernels::RowsView<double>& x, const LinearClassifier<double>& model, std::size_t k,
                  std::span<std::int32_t> labels, std::span<double> scores, Team& team) {
  best_of(x, model, k, labels, scores, team);
}

}  // namespace steppe
