#pragma once

#include "steppe/core/blas.hpp"

// Fills steppe's table of BLAS functions from the system's OpenBLAS, on one thread: for tests and benchmarks.
extern "C" {
void sgemm_(char*, char*, int*, int*, int*, float*, float*, int*, float*, int*, float*, float*, int*);
void dgemm_(char*, char*, int*, int*, int*, double*, double*, int*, double*, int*, double*, double*, int*);
void strsm_(char*, char*, char*, char*, int*, int*, float*, float*, int*, float*, int*);
void dtrsm_(char*, char*, char*, char*, int*, int*, double*, double*, int*, double*, int*);
void dpotrf_(char*, int*, double*, int*, int*);
void dpstrf_(char*, int*, double*, int*, int*, int*, double*, double*, int*);
void dsyevd_(char*, char*, int*, double*, int*, double*, double*, int*, int*, int*, int*);
void openblas_set_num_threads(int);
}

inline bool use_system_blas() {
  steppe::set_blas({{sgemm_, strsm_}, {dgemm_, dtrsm_}, {dpotrf_, dpstrf_, dsyevd_}});
  openblas_set_num_threads(1);
  return true;
}
