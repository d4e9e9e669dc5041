// Single modules on Eigen matrices, in a second translation unit with the same headers.
#include <eigenformer/eigenformer.hpp>

namespace ef = eigenformer;

bool modules_agree();

bool modules_agree() {
  using Matrix = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
  ef::Context cx;
  const Matrix x = Matrix::Random(7, 24);

  const ef::LayerNorm<double> norm(24);
  const Matrix normed = norm(cx, x).matrix();
  const bool centred = normed.rowwise().mean().cwiseAbs().maxCoeff() < 1e-9;

  const ef::MultiHeadAttention<double> attention({.hidden = 24, .heads = 4});
  const auto y = ef::Residual(attention)(cx, x);

  const Matrix q = Matrix::Random(7, 24);
  const Matrix k = Matrix::Random(7, 24);
  const auto z = ef::scaled_dot_product_attention(cx, q, k, x, {.heads = 4, .causal = false});

  return centred && y.matrix().rows() == 7 && z.matrix().cols() == 24;
}
