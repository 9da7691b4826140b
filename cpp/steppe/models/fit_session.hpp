#pragma once

#include <cstdint>

#include "steppe/core/array_map.hpp"
#include "steppe/runtime/control.hpp"

namespace steppe {

struct Progress {
  std::uint64_t updates = 0;
  double loss = 0;       // running loss, from parameters that move: show it, never stop on it
  bool stopped = false;  // a stop was asked for; the parameters are whole and usable, but not resumable
};

// One fit in progress, whatever the model, the solver and the schedule. All but restore() are collective over the
// ranks.
class FitSession {
 public:
  virtual ~FitSession() = default;

  virtual Progress advance(std::uint32_t rounds, Control& control) = 0;
  // The exact objective of the estimator's docstring, equal on every rank.
  virtual double objective(Control& control) = 0;
  virtual std::uint32_t rounds_done() const = 0;
  // Whether a tolerance of the model's own is met, equal on every rank; false where the objective's change is the test.
  virtual bool converged() const { return false; }
  virtual ArrayMap state() const = 0;  // all that a resume needs, this rank's part
  virtual void restore(const ArrayMap& state) = 0;
  // What result() takes long to make, made beforehand; false if a stop was asked for.
  virtual bool prepare_result(Control&) { return true; }
  virtual ArrayMap result() = 0;  // fitted parameters by name; none before there are any
};

}  // namespace steppe
