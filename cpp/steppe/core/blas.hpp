#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "steppe/core/views.hpp"

namespace steppe {

// Fortran's calling convention: column-major, everything by pointer, 32-bit integers, no hidden lengths of characters.
template <class T>
struct BlasFunctions {
  void (*gemm)(char* transpose_a, char* transpose_b, int* m, int* n, int* k, T* alpha, T* a, int* lda, T* b, int* ldb,
               T* beta, T* c, int* ldc) = nullptr;
  void (*trsm)(char* side, char* triangle, char* transpose, char* diagonal, int* m, int* n, T* alpha, T* a, int* lda,
               T* b, int* ldb) = nullptr;
};

// What is needed in double precision only.
struct LapackFunctions {
  void (*potrf)(char* triangle, int* n, double* a, int* lda, int* info) = nullptr;
  void (*pstrf)(char* triangle, int* n, double* a, int* lda, int* pivots, int* rank, double* tolerance, double* work,
                int* info) = nullptr;
  void (*syevd)(char* job, char* triangle, int* n, double* a, int* lda, double* values, double* work, int* lwork,
                int* iwork, int* liwork, int* info) = nullptr;
};

// The one BLAS of the process. steppe links none: Python fills the table from scipy, so that threadpoolctl governs it;
// C++ programs fill it from the system's. To be called once, before anything below: that throws InvalidArgument, which
// names the routine, where one is missing.
struct BlasTable {
  BlasFunctions<float> single;
  BlasFunctions<double> real;
  LapackFunctions lapack;
};
void set_blas(const BlasTable& table);

// All matrices below are row-major.
enum class Op : char { none = 'N', transpose = 'T' };
enum class Side : char { left = 'L', right = 'R' };

// C = alpha op(A) op(B) + beta C.
template <class T>
void gemm(Op op_a, Op op_b, T alpha, MatrixView<const T> a, MatrixView<const T> b, T beta, MatrixView<T> c);

// B = op(L)^-1 B (left) or B op(L)^-1 (right), where L is the lower triangle of `lower`.
template <class T>
void solve_lower(Side side, Op op, MatrixView<const T> lower, MatrixView<T> b);

// B = B U^-1, where U is the strict upper triangle of `upper` with ones on the diagonal.
template <class T>
void solve_unit_upper(MatrixView<const T> upper, MatrixView<T> b);

// A = L L', L in the lower triangle; the upper one keeps what it held. False if A is not positive definite.
bool cholesky(MatrixView<double> a);

// A[p][:, p] = L L' with the pivots p, L of shape (n, rank) in the lower trapezoid, the largest remaining diagonal
// element first; ends where that falls below `tolerance`. Returns the rank.
std::size_t pivoted_cholesky(MatrixView<double> a, std::span<int> pivots, double tolerance);

// The rows of A become its orthonormal eigenvectors, by ascending eigenvalue. Reads the lower triangle.
void symmetric_eigen(MatrixView<double> a, std::span<double> values);

}  // namespace steppe
