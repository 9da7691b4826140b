#pragma once

#include "steppe/kernels/sgd_pair.hpp"

namespace steppe::kernels {

template <class T>
using SgdKernel = double (*)(const UserRows<T>&, const ItemRow<T>&, const ItemRatings<T>&, const SgdStep<T>&);

// sgd_visit for rows that fit into this machine's registers: two ratings at a time. Null if there is none for that
// stride. Clips nothing.
template <class T>
SgdKernel<T> sgd_pair_kernel(std::size_t stride);

// squared_error for any stride, four ratings at a time; null where vectors are narrow.
template <class T>
using ErrorKernel = double (*)(const UserRows<T>&, const ItemRow<const T>&, const ItemRatings<T>&, T mean);
template <class T>
ErrorKernel<T> squared_error_kernel();

}  // namespace steppe::kernels
