#pragma once

#include <cstdint>
#include <memory>
#include <span>

#include "steppe/core/views.hpp"
#include "steppe/kernels/cells.hpp"
#include "steppe/runtime/device.hpp"

namespace steppe::cuda {

// What inner products are computed in. tf32 rounds rows and sites, moved to the sites' centre, to 11 significant bits
// before multiplying and adds in float32: a squared cost is off by at most 2^-9 (1 + d 2^-14) |x - centre||y - centre|,
// so sites whose costs differ by less may be taken for one another. It is for float and squared costs alone.
enum class Precision { full, tf32 };

// Device pointers: x and labels. Host pointers: the sites. labels[i] = the site of the smallest score, the lowest among
// equals; never n x m in memory. Returns when the labels are there.
template <class T>
void assign_cells(MatrixView<const T> x, const kernels::SitesView<T>& sites, Precision precision, std::int32_t* labels);

// costs[i] = c(x_i, y_label) - potential[label], summed in double. All pointers are the device's.
template <class T>
void costs_of_cells(MatrixView<const T> x, MatrixView<const T> sites, const double* potential, bool squared,
                    const std::int32_t* labels, T* costs);

// taken[i] = x[labels[i]]; taken's rows lie one after the other. All pointers are the device's.
template <class T>
void take_rows(MatrixView<const T> x, const std::int32_t* labels, MatrixView<T> taken);

// Whether no element of the device's matrix is NaN or infinite.
template <class T>
bool all_finite(MatrixView<const T> x);

// Copies rows and weights (null: ones) of the host to the device.
template <class T>
std::unique_ptr<DeviceRows<T>> upload_rows(MatrixView<const T> x, const T* weights);

}  // namespace steppe::cuda
