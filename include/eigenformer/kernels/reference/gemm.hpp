// Reference of the matrix products: c[i, j] = sum over k of a[i, k] b[k, j].
#pragma once

#include "eigenformer/kernels/gemm.hpp"
#include "eigenformer/kernels/reference/activation.hpp"

/// Plain twins of the kernels, written for reading, which tests compare them with.
namespace eigenformer::kernels::reference {

/// c = a b, or c += a b with `accumulate`.
template <class Scalar>
void gemm(Layout layout, MatrixView<const Scalar> a, MatrixView<const Scalar> b,
          MatrixView<Scalar> c, bool accumulate = false) {
  const Index inner = layout == Layout::a_transposed ? a.rows : a.cols;
  for (Index i = 0; i < c.rows; ++i) {
    for (Index j = 0; j < c.cols; ++j) {
      Wide<Scalar> sum = accumulate ? c.row(i)[j] : Scalar(0);
      for (Index k = 0; k < inner; ++k) {
        const Wide<Scalar> left = layout == Layout::a_transposed ? a.row(k)[i] : a.row(i)[k];
        const Wide<Scalar> right = layout == Layout::b_transposed ? b.row(j)[k] : b.row(k)[j];
        sum += left * right;
      }
      c.row(i)[j] = static_cast<Scalar>(sum);
    }
  }
}

/// y = activation(x w^T + bias); the sum itself goes into `pre_activation`, unless empty.
template <class Scalar>
void linear(MatrixView<const Scalar> x, MatrixView<const Scalar> weight,
            const Epilogue<Scalar>& epilogue, MatrixView<Scalar> y) {
  for (Index i = 0; i < y.rows; ++i) {
    for (Index j = 0; j < y.cols; ++j) {
      Wide<Scalar> sum = epilogue.bias == nullptr ? Scalar(0) : epilogue.bias[j];
      for (Index k = 0; k < x.cols; ++k) {
        sum += Wide<Scalar>(x.row(i)[k]) * Wide<Scalar>(weight.row(j)[k]);
      }
      if (epilogue.pre_activation.data != nullptr) {
        epilogue.pre_activation.row(i)[j] = static_cast<Scalar>(sum);
      }
      y.row(i)[j] = static_cast<Scalar>(activation_value(epilogue.activation, sum));
    }
  }
}

/// sums[j] += sum over i of x[i, j].
template <class Scalar>
void add_column_sums(MatrixView<const Scalar> x, Scalar* sums) {
  for (Index j = 0; j < x.cols; ++j) {
    Wide<Scalar> sum = sums[j];
    for (Index i = 0; i < x.rows; ++i) sum += x.row(i)[j];
    sums[j] = static_cast<Scalar>(sum);
  }
}

}  // namespace eigenformer::kernels::reference
