#include "steppe/core/blas.hpp"

#include <algorithm>
#include <string>
#include <type_traits>
#include <vector>

#include "steppe/core/errors.hpp"

namespace steppe {
namespace {

constinit BlasTable the_table;  // empty before any initialiser of another file may fill it

template <class T>
const BlasFunctions<T>& functions() {
  if constexpr (std::is_same_v<T, float>) {
    return the_table.single;
  } else {
    return the_table.real;
  }
}

template <class Routine>
Routine* given(Routine* routine, const char* name) {
  if (routine == nullptr) {
    throw InvalidArgument(std::string("the BLAS routine ") + name + " is missing; call set_blas() with all of them");
  }
  return routine;
}

int to_int(std::size_t n) {
  invariant(n <= 0x7fffffff, "a matrix is too large for BLAS");
  return static_cast<int>(n);
}

template <class T>
int leading(MatrixView<T> a) {
  return to_int(std::max<std::size_t>(a.stride(), 1));
}

template <class T>
void solve(Side side, char triangle, Op op, char diagonal, MatrixView<const T> a, MatrixView<T> b) {
  if (b.rows() == 0 || b.cols() == 0) return;
  // Row-major B = op(A)^-1 B is column-major B' = B' op(A)'^-1; the triangle's name changes with the order.
  char flipped_side = side == Side::left ? 'R' : 'L';
  char flipped_triangle = triangle == 'L' ? 'U' : 'L';
  char transpose = static_cast<char>(op);
  int m = to_int(b.cols()), n = to_int(b.rows()), lda = leading(a), ldb = leading(b);
  T one = 1;
  given(functions<T>().trsm, "trsm")(&flipped_side, &flipped_triangle, &transpose, &diagonal, &m, &n, &one,
                                     const_cast<T*>(a.data()), &lda, b.data(), &ldb);
}

}  // namespace

void set_blas(const BlasTable& table) { the_table = table; }

template <class T>
void gemm(Op op_a, Op op_b, T alpha, MatrixView<const T> a, MatrixView<const T> b, T beta, MatrixView<T> c) {
  if (c.rows() == 0 || c.cols() == 0) return;
  char first = static_cast<char>(op_b), second = static_cast<char>(op_a);  // C' = op(B)' op(A)'
  int m = to_int(c.cols()), n = to_int(c.rows()), k = to_int(op_a == Op::none ? a.cols() : a.rows());
  int lda = leading(a), ldb = leading(b), ldc = leading(c);
  given(functions<T>().gemm, "gemm")(&first, &second, &m, &n, &k, &alpha, const_cast<T*>(b.data()), &ldb,
                                     const_cast<T*>(a.data()), &lda, &beta, c.data(), &ldc);
}

template <class T>
void solve_lower(Side side, Op op, MatrixView<const T> lower, MatrixView<T> b) {
  solve(side, 'L', op, 'N', lower, b);
}

template <class T>
void solve_unit_upper(MatrixView<const T> upper, MatrixView<T> b) {
  solve(Side::right, 'U', Op::none, 'U', upper, b);
}

bool cholesky(MatrixView<double> a) {
  if (a.rows() == 0) return true;
  char triangle = 'U';  // of the column-major view: the lower triangle of ours
  int n = to_int(a.rows()), lda = leading(a), info = 0;
  given(the_table.lapack.potrf, "potrf")(&triangle, &n, a.data(), &lda, &info);
  invariant(info >= 0, "potrf met a bad argument");
  return info == 0;
}

std::size_t pivoted_cholesky(MatrixView<double> a, std::span<int> pivots, double tolerance) {
  if (a.rows() == 0) return 0;
  char triangle = 'U';
  int n = to_int(a.rows()), lda = leading(a), rank = 0, info = 0;
  std::vector<double> work(2 * a.rows());
  given(the_table.lapack.pstrf, "pstrf")(&triangle, &n, a.data(), &lda, pivots.data(), &rank, &tolerance, work.data(),
                                         &info);
  invariant(info >= 0, "pstrf met a bad argument");
  for (int& pivot : pivots) --pivot;
  return static_cast<std::size_t>(rank);
}

void symmetric_eigen(MatrixView<double> a, std::span<double> values) {
  if (a.rows() == 0) return;
  char job = 'V', triangle = 'U';
  int n = to_int(a.rows()), lda = leading(a), info = 0, lwork = -1, liwork = -1, iwork_size = 0;
  double work_size = 0;
  auto* const syevd = given(the_table.lapack.syevd, "syevd");
  const auto call = [&](double* work, int* iwork) {
    syevd(&job, &triangle, &n, a.data(), &lda, values.data(), work, &lwork, iwork, &liwork, &info);
  };
  call(&work_size, &iwork_size);
  lwork = static_cast<int>(work_size);
  liwork = iwork_size;
  std::vector<double> work(static_cast<std::size_t>(lwork));
  std::vector<int> iwork(static_cast<std::size_t>(liwork));
  call(work.data(), iwork.data());
  if (info != 0) throw InvalidArgument("the eigenvalues of a matrix did not converge; scale the features");
}

template void gemm(Op, Op, float, MatrixView<const float>, MatrixView<const float>, float, MatrixView<float>);
template void solve_lower(Side, Op, MatrixView<const float>, MatrixView<float>);
template void solve_unit_upper(MatrixView<const float>, MatrixView<float>);
template void gemm(Op, Op, double, MatrixView<const double>, MatrixView<const double>, double, MatrixView<double>);
template void solve_lower(Side, Op, MatrixView<const double>, MatrixView<double>);
template void solve_unit_upper(MatrixView<const double>, MatrixView<double>);

}  // namespace steppe
