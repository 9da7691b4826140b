#pragma once

#include <memory>
#include <span>
#include <vector>

#include "steppe/models/fit_session.hpp"
#include "steppe/models/linear_model/labelled_rows.hpp"
#include "steppe/models/linear_model/multinomial_logistic_fit.hpp"

namespace steppe {

// solver="softmax": L-BFGS on the exact objective. Rows are in parallel over the ranks and threads; each rank holds W
// whole and adds the gradients of all ranks in rank order, so all ranks take the same steps and predict alone. Sharding
// the classes would save memory but move the n x K scores twice a pass; ds_mlr is the solver for models that do not
// fit. `columns` are those of dense rows; the session keeps them. alpha may be 0.
std::unique_ptr<FitSession> make_softmax_session(const MultinomialLogisticParams& params,
                                                 const LabelledRows<float>& rows, std::vector<std::int32_t> columns,
                                                 std::span<const float> start_weights,
                                                 std::span<const float> start_intercept, Link& link);
std::unique_ptr<FitSession> make_softmax_session(const MultinomialLogisticParams& params,
                                                 const LabelledRows<double>& rows, std::vector<std::int32_t> columns,
                                                 std::span<const double> start_weights,
                                                 std::span<const double> start_intercept, Link& link);

}  // namespace steppe
