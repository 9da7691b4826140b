#include "steppe/models/ot/ranks_dual.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

namespace steppe {

template <class T>
RanksDual<T>::RanksDual(const SemiDiscreteParams& params, const SemiDiscreteData<T>& data, Link& link, Team& team)
    : data_(data), squared_(params.squared), link_(link) {
  std::vector<std::uint64_t> rows{0};
  std::vector<double> reach(link.size());
  for (const auto& points : data_.measures) {
    measures_.push_back(std::make_unique<TransportDual<T>>(points, data_.sites, squared_, params.on_device, team));
    rows[0] += points.x.rows();
    reach[link.rank()] = std::max(reach[link.rank()], measures_.back()->reach());
  }
  sum_over_ranks(link_, rows);
  sum_over_ranks(link_, reach);
  n_rows_ = rows[0];
  const double most = 2 * *std::max_element(reach.begin(), reach.end());
  largest_cost_ = squared_ ? most * most : most;
}

template <class T>
std::uint64_t RanksDual<T>::work(std::size_t stride) const {
  std::uint64_t rows = 0;
  for (const auto& measure : measures_) rows += measure->size(stride);
  return rows * n_sites();
}

template <class T>
std::vector<double> RanksDual<T>::potentials(std::span<const double> variables) const {
  const std::size_t m = n_sites();
  std::vector<double> phi(variables.begin(), variables.end());
  phi.resize(n_measures() * m);
  if (fixed()) return phi;
  double* last = phi.data() + (n_measures() - 1) * m;
  for (std::size_t k = 0; k + 1 < n_measures(); ++k) {
    const double ratio = data_.measure_weights[k] / data_.measure_weights.back();
    for (std::size_t j = 0; j < m; ++j) last[j] -= ratio * phi[k * m + j];
  }
  return phi;
}

template <class T>
std::vector<double> RanksDual<T>::variables(std::span<const double> potentials) const {
  return {potentials.begin(), potentials.begin() + static_cast<std::ptrdiff_t>(n_variables())};
}

template <class T>
void RanksDual<T>::centre(std::span<double> variables) const {
  if (!fixed()) return;
  double mean = 0;
  for (std::size_t j = 0; j < variables.size(); ++j) mean += data_.site_weights[j] * variables[j];
  for (double& phi : variables) phi -= mean;
}

template <class T>
std::optional<typename RanksDual<T>::Value> RanksDual<T>::evaluate(std::span<const double> variables, double reg,
                                                                   std::size_t stride, Control& control) {
  const std::size_t m = n_sites(), width = m + 2;
  const std::vector<double> phi = potentials(variables);
  std::vector<double> totals(1 + n_measures() * width);  // stop; value, weight and masses of each measure
  std::vector<double> prior(m);
  for (std::size_t k = 0; k < n_measures() && totals[0] == 0; ++k) {
    for (std::size_t j = 0; j < m; ++j) {
      const double weight = fixed() ? data_.site_weights[j] : 1.0 / static_cast<double>(m);
      prior[j] = phi[k * m + j] + (reg > 0 ? reg * std::log(weight) : 0.0);
    }
    const auto sums =
        reg > 0 ? measures_[k]->soft(prior, reg, stride, control) : measures_[k]->hard(prior, stride, control);
    if (!sums) {
      totals[0] = 1;
      break;
    }
    double* mine = totals.data() + 1 + k * width;
    mine[0] = sums->value;
    mine[1] = sums->weight;
    std::copy(sums->mass.begin(), sums->mass.end(), mine + 2);
  }
  sum_over_ranks(link_, totals);
  if (totals[0] > 0) return std::nullopt;
  Value value;
  for (std::size_t j = 0; fixed() && j < m; ++j) value.dual += data_.site_weights[j] * phi[j];
  for (std::size_t k = 0; k < n_measures(); ++k) {
    const double* sums = totals.data() + 1 + k * width;
    const double weight = std::max(sums[1], std::numeric_limits<double>::min());
    value.dual += data_.measure_weights[k] * sums[0] / weight;
    for (std::size_t j = 0; j < m; ++j) value.masses.push_back(sums[2 + j] / weight);
  }
  return value;
}

template <class T>
void RanksDual<T>::gradient(const Value& at, std::span<double> gradient) const {
  const std::size_t m = n_sites();
  const double* last = at.masses.data() + (n_measures() - 1) * m;
  for (std::size_t e = 0; e < gradient.size(); ++e) {
    gradient[e] =
        fixed() ? data_.site_weights[e] - at.masses[e] : data_.measure_weights[e / m] * (last[e % m] - at.masses[e]);
  }
}

template <class T>
std::vector<double> RanksDual<T>::inverse_curvature(double reg) const {
  const std::size_t m = n_sites();
  std::vector<double> inverse(n_variables());
  for (std::size_t e = 0; e < inverse.size(); ++e) {
    if (fixed()) {
      inverse[e] = reg / data_.site_weights[e];
    } else {
      const double share = data_.measure_weights[e / m];
      inverse[e] = reg * static_cast<double>(m) / (share * (1 + share / data_.measure_weights.back()));
    }
  }
  return inverse;
}

template <class T>
std::vector<double> RanksDual<T>::votes(const Value& at) const {
  std::vector<double> votes(n_sites());
  for (std::size_t e = 0; e < at.masses.size(); ++e) {
    votes[e % n_sites()] += data_.measure_weights[e / n_sites()] * at.masses[e];
  }
  return votes;
}

// Half the total variation from the weights that were wanted; where they are free, of each measure from the mean.
template <class T>
double RanksDual<T>::mass_error(const Value& at) const {
  const std::vector<double> mean = votes(at);
  double error = 0;
  for (std::size_t e = 0; e < at.masses.size(); ++e) {
    const double wanted = fixed() ? data_.site_weights[e] : mean[e % n_sites()];
    error += data_.measure_weights[e / n_sites()] * std::abs(at.masses[e] - wanted) / 2;
  }
  return error;
}

// The soft plan's cost is q . phi + its transformed potential - reg KL(plan, independent), where q are its masses, and
// moving the mass that is not where it should be costs at most the largest cost there is. Mapping both arguments of the
// divergence by that move does not increase it, so the bound holds for the regularised problem with fixed weights, too.
template <class T>
double RanksDual<T>::plan_cost(std::span<const double> variables, const Value& soft) const {
  const std::vector<double> phi = potentials(variables);
  double shift = 0;
  for (std::size_t e = 0; e < soft.masses.size(); ++e) {
    const double wanted = fixed() ? data_.site_weights[e] : 0.0;
    shift += data_.measure_weights[e / n_sites()] * phi[e] * (soft.masses[e] - wanted);
  }
  return soft.dual + shift + mass_error(soft) * largest_cost_;
}

template <class T>
std::optional<std::vector<double>> RanksDual<T>::site_gradient(std::span<const double> variables, double reg,
                                                               Control& control) {
  const std::size_t m = n_sites(), d = data_.sites.cols();
  const std::vector<double> phi = potentials(variables);
  std::vector<double> weights(n_measures() + 1);  // of the measures; stop
  std::vector<std::vector<double>> parts(n_measures(), std::vector<double>(m * d));
  for (std::size_t k = 0; k < n_measures(); ++k) {
    std::vector<double> prior(phi.begin() + static_cast<std::ptrdiff_t>(k * m),
                              phi.begin() + static_cast<std::ptrdiff_t>((k + 1) * m));
    for (std::size_t j = 0; reg > 0 && j < m; ++j) {
      prior[j] += reg * std::log(fixed() ? data_.site_weights[j] : 1.0 / static_cast<double>(m));
    }
    if (!measures_[k]->add_gradient(prior, reg, parts[k], control)) weights.back() = 1;
    for (std::size_t i = 0; i < data_.measures[k].x.rows(); ++i) weights[k] += data_.measures[k].weight(i);
  }
  sum_over_ranks(link_, weights);
  if (weights.back() > 0) return std::nullopt;
  std::vector<double> gradient(m * d);
  for (std::size_t k = 0; k < n_measures(); ++k) {
    for (std::size_t e = 0; e < m * d; ++e) gradient[e] += data_.measure_weights[k] * parts[k][e] / weights[k];
  }
  sum_over_ranks(link_, gradient);
  return gradient;
}

template <class T>
double RanksDual<T>::spread_of_costs(std::size_t stride, Control& control) {
  const std::vector<double> flat(n_sites());
  std::vector<double> totals(3);
  for (const auto& measure : measures_) {
    totals[0] += measure->blind_cost(stride);
    if (const auto nearest = measure->hard(flat, stride, control)) {
      totals[1] += nearest->value;
      totals[2] += nearest->weight;
    }
  }
  sum_over_ranks(link_, totals);
  const double spread = totals[2] > 0 ? (totals[0] - totals[1]) / totals[2] : 0;
  if (spread > 0) return spread;
  return largest_cost_ > 0 ? largest_cost_ : 1;
}

template class RanksDual<float>;
template class RanksDual<double>;

}  // namespace steppe
