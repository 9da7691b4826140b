#include "steppe/models/mixture/mixture_query.hpp"

#include <algorithm>
#include <atomic>
#include <vector>

#include "steppe/models/mixture/gaussian_panel.hpp"

namespace steppe {
namespace {

constexpr std::size_t kBlockRows = 512;

// About the mean of the means, in T, so that rows far from the origin lose nothing.
template <class T>
std::vector<T> centre_of(MatrixView<const double> means) {
  std::vector<double> sum(means.cols());
  for (std::size_t k = 0; k < means.rows(); ++k) {
    for (std::size_t j = 0; j < sum.size(); ++j) sum[j] += means(k, j) / double(means.rows());
  }
  return {sum.begin(), sum.end()};
}

template <class T>
GaussianPanel<T> panel_of(const MixtureModel& model, std::span<const T> centre) {
  const std::size_t k_all = model.means.rows(), d = model.means.cols(), size = model.full ? d * d : d;
  GaussianPanel<T> panel;
  panel.resize(k_all, d, model.full);
  std::vector<double> mean(d);
  for (std::size_t k = 0; k < k_all; ++k) {
    for (std::size_t j = 0; j < d; ++j) mean[j] = model.means(k, j) - double{centre[j]};
    panel.set(k, model.constants[k], mean, model.factors.subspan(k * size, size));
  }
  return panel;
}

}  // namespace

template <class T>
bool ask_mixture(MatrixView<const T> x, const MixtureModel& model, const MixtureAnswers<T>& answers, Team& team,
                 Control& control) {
  const std::vector<T> centre = centre_of<T>(model.means);
  const GaussianPanel<T> panel = panel_of<T>(model, centre);
  const std::size_t n_blocks = (x.rows() + kBlockRows - 1) / kBlockRows;
  std::atomic<std::size_t> next{0};
  std::atomic<bool> halted{false};
  Pacer pacer(control);
  const Team::Job job = [&](std::uint32_t member) {
    RowBlock<T> block(x.cols(), kBlockRows);
    AlignedVector<T> scratch(kernels::mixture_scratch<T>(panel.size(), x.cols()));
    for (std::size_t b = next++; b < n_blocks && !halted; b = next++) {
      const std::size_t first = b * kBlockRows, n = std::min(kBlockRows, x.rows() - first);
      block.fill(x, {}, centre, n, [&](std::size_t r) { return first + r; });
      kernels::MixtureOutputs<T> out;
      if (!answers.log_sums.empty()) out.log_sums = answers.log_sums.data() + first;
      if (!answers.labels.empty()) out.labels = answers.labels.data() + first;
      if (answers.probabilities.data() != nullptr) {
        out.probabilities = {answers.probabilities.row(first).data(), n, panel.size()};
      }
      kernels::assess_rows(block.rows(), panel.view(), out, scratch.data());
      if (member == 0 && pacer.stop_requested()) halted = true;
    }
  };
  team.run_polling(job, pacer, [&] { halted = true; });
  return !halted;
}

template bool ask_mixture(MatrixView<const float>, const MixtureModel&, const MixtureAnswers<float>&, Team&, Control&);
template bool ask_mixture(MatrixView<const double>, const MixtureModel&, const MixtureAnswers<double>&, Team&,
                          Control&);

}  // namespace steppe
