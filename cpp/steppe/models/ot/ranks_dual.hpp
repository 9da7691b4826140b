#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "steppe/comm/link.hpp"
#include "steppe/models/ot/semi_discrete_session.hpp"
#include "steppe/models/ot/transport_dual.hpp"

namespace steppe {

// The dual over the rows of all ranks, as a function of free variables: the potential itself where weights are fixed,
// else the potentials of all measures but the last, which balances them.
template <class T>
class RanksDual {
 public:
  struct Value {
    double dual = 0;
    std::vector<double> masses;  // measures x sites, each measure's sum to 1
  };

  RanksDual(const SemiDiscreteParams& params, const SemiDiscreteData<T>& data, Link& link, Team& team);

  std::size_t n_sites() const noexcept { return data_.sites.rows(); }
  std::size_t n_measures() const noexcept { return measures_.size(); }
  bool fixed() const noexcept { return !data_.site_weights.empty(); }
  std::size_t n_variables() const noexcept { return (fixed() ? 1 : n_measures() - 1) * n_sites(); }
  std::uint64_t n_rows() const noexcept { return n_rows_; }  // of all ranks
  std::uint64_t work(std::size_t stride) const;              // pairs of point and site of this rank

  // Collective, and nothing if some rank was asked to stop. reg = 0 is the exact dual.
  std::optional<Value> evaluate(std::span<const double> variables, double reg, std::size_t stride, Control& control);
  // d dual / d variables, and the inverse of what its curvature is about.
  void gradient(const Value& at, std::span<double> gradient) const;
  std::vector<double> inverse_curvature(double reg) const;

  std::vector<double> potentials(std::span<const double> variables) const;  // measures x sites
  std::vector<double> variables(std::span<const double> potentials) const;
  // Adds the constant that changes nothing and makes p . phi zero.
  void centre(std::span<double> variables) const;
  std::vector<double> votes(const Value& at) const;  // sites
  double mass_error(const Value& at) const;
  // What a plan that meets all weights costs at most, seen from the soft assignment `soft` at these variables.
  double plan_cost(std::span<const double> variables, const Value& soft) const;

  // d dual / d sites.
  std::optional<std::vector<double>> site_gradient(std::span<const double> variables, double reg, Control& control);
  // How much a point gains by choosing its site, on average.
  double spread_of_costs(std::size_t stride, Control& control);

 private:
  SemiDiscreteData<T> data_;
  bool squared_;
  Link& link_;
  std::vector<std::unique_ptr<TransportDual<T>>> measures_;
  std::uint64_t n_rows_ = 0;
  double largest_cost_ = 0;
};

extern template class RanksDual<float>;
extern template class RanksDual<double>;

}  // namespace steppe
