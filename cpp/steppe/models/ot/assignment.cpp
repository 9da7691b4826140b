#include "steppe/models/ot/assignment.hpp"

#include <algorithm>

namespace steppe {
namespace {

constexpr std::size_t kPieceWork = std::size_t{1} << 21;  // multiply-adds: far more than what handing out a piece costs
constexpr std::size_t kSlabWork = std::size_t{1} << 31;   // between two looks at the signals: some 20 ms

std::size_t rows_for(std::size_t work, std::size_t work_of_row, std::size_t tile) {
  return std::max<std::size_t>(work / work_of_row / tile, 1) * tile;
}

}  // namespace

template <class T>
bool assign_cells(MatrixView<const T> x, const SitePack<T>& sites, std::span<std::int32_t> labels, Team& team,
                  Control& control) {
  const auto view = sites.view();
  const std::size_t tile = kernels::row_tile<T>(), work = view.n_sites * (view.n_features + 4);
  const std::size_t piece = rows_for(kPieceWork, work, tile);
  const std::size_t slab = std::max(rows_for(kSlabWork, work, tile), piece) * team.size();
  const std::size_t n_scratch = padded<T>(kernels::assign_scratch<T>(view.n_features));
  AlignedVector<T> scratch(n_scratch * team.size());
  Pacer pacer(control);
  for (std::size_t first = 0; first < x.rows(); first += slab) {
    if (pacer.stop_requested()) return false;
    team.parallel_for(
        std::min(slab, x.rows() - first), piece, [&](std::size_t begin, std::size_t end, std::uint32_t member) {
          const MatrixView<const T> rows(x.data() + (first + begin) * x.stride(), end - begin, x.cols(), x.stride());
          kernels::assign_rows(rows, view, labels.subspan(first + begin, end - begin),
                               scratch.data() + member * n_scratch);
        });
  }
  return true;
}

template <class T>
void costs_of_cells(MatrixView<const T> x, MatrixView<const T> sites, std::span<const double> potential, bool squared,
                    std::span<const std::int32_t> labels, std::span<T> costs, Team& team) {
  team.parallel_for(x.rows(), rows_for(kPieceWork, 8 * (x.cols() + 4), 1),
                    [&](std::size_t begin, std::size_t end, std::uint32_t) {
                      for (std::size_t i = begin; i < end; ++i) {
                        const auto j = static_cast<std::size_t>(labels[i]);
                        const double cost = cost_between<T>(x.row(i), sites.row(j), squared);
                        costs[i] = static_cast<T>(potential.empty() ? cost : cost - potential[j]);
                      }
                    });
}

template bool assign_cells(MatrixView<const float>, const SitePack<float>&, std::span<std::int32_t>, Team&, Control&);
template bool assign_cells(MatrixView<const double>, const SitePack<double>&, std::span<std::int32_t>, Team&, Control&);
template void costs_of_cells(MatrixView<const float>, MatrixView<const float>, std::span<const double>, bool,
                             std::span<const std::int32_t>, std::span<float>, Team&);
template void costs_of_cells(MatrixView<const double>, MatrixView<const double>, std::span<const double>, bool,
                             std::span<const std::int32_t>, std::span<double>, Team&);

}  // namespace steppe
