#include "eigenformer/tensor/tensor.hpp"

#include <string>

#include <gtest/gtest.h>

#include "../messages.hpp"

namespace tensor_test {

namespace ef = eigenformer;
using Matrix = Eigen::MatrixXd;

ef::Tensor<double> counting(const ef::Shape& shape) {
  ef::Tensor<double> tensor(shape);
  for (ef::Index i = 0; i < tensor.numel(); ++i) tensor.data()[i] = static_cast<double>(i);
  return tensor;
}

TEST(Tensor, IsMadeFromAnyEigenExpression) {
  const Matrix a = Matrix::Random(3, 4);
  const Matrix b = Matrix::Random(4, 2);
  const ef::Tensor<double> product = a * b;
  EXPECT_EQ(product.shape(), (ef::Shape{3, 2}));
  EXPECT_TRUE(product.matrix().isApprox(a * b));
  const ef::Tensor<double> array = a.array().square() + 1.0;
  EXPECT_DOUBLE_EQ(array(2, 1), a(2, 1) * a(2, 1) + 1.0);
  const Eigen::VectorXd v = Eigen::VectorXd::LinSpaced(5, 0, 4);
  const ef::Tensor<double> vector = 2.0 * v;
  EXPECT_EQ(vector.shape(), (ef::Shape{5}));
  EXPECT_TRUE(vector.vector().isApprox(2.0 * v));
}

TEST(Tensor, MapsShareTheStorage) {
  ef::Tensor<double> tensor = ef::Tensor<double>::zeros({2, 3});
  const ef::Tensor<double> handle = tensor;
  tensor.matrix()(1, 2) = 5;
  tensor.array() += 1.0;
  EXPECT_EQ(handle(1, 2), 6);
  EXPECT_EQ(handle(0, 0), 1);
  const ef::Tensor<double> copy = tensor.clone();
  tensor.fill(0);
  EXPECT_EQ(copy(1, 2), 6);
}

TEST(Tensor, ViewsOfEveryAxis) {
  const auto tensor = counting({2, 3, 4});
  EXPECT_EQ(tensor.rows(1, 2)(0, 2, 3), 23);
  const auto middle = tensor.slice(1, 1, 3);
  EXPECT_EQ(middle.shape(), (ef::Shape{2, 2, 4}));
  EXPECT_EQ(middle(1, 0, 2), 18);
  const auto last = tensor.slice(-1, 1, 3);
  EXPECT_EQ(last.matrix().rows(), 6);
  EXPECT_EQ(last.matrix()(5, 1), 22);
  EXPECT_EQ(last.clone().vector()(11), 22);
  EXPECT_FALSE(last.contiguous());
  EXPECT_THROW((void)middle.matrix(), ef::ShapeError);
  EXPECT_THROW((void)last.vector(), ef::ShapeError);
  EXPECT_EQ(tensor.slice(0, 1, 2).slice(1, 2, 3)(0, 0, 1), 21);
}

TEST(Tensor, ReshapeSharesAndInfers) {
  const auto tensor = counting({2, 6});
  EXPECT_EQ(tensor.reshape({3, -1})(2, 1), 9);
  EXPECT_EQ(tensor.reshape({12}).vector().sum(), 66);
  EXPECT_EQ(tensor.reshape({-1, 1, 2}).shape(), (ef::Shape{6, 1, 2}));
  EXPECT_THROW((void)tensor.reshape({5, -1}), ef::ShapeError);
  EXPECT_THROW((void)tensor.reshape({-1, -1}), ef::ShapeError);
  EXPECT_THROW((void)tensor.slice(1, 0, 3).reshape({6}), ef::ShapeError);
}

TEST(Tensor, RanksZeroAndEight) {
  const auto number = ef::Tensor<float>::full({}, 3.0f);
  EXPECT_EQ(number.item(), 3.0f);
  EXPECT_EQ(number.matrix().size(), 1);
  const auto eight = counting({1, 2, 1, 2, 1, 2, 1, 2});
  EXPECT_EQ(eight(0, 1, 0, 1, 0, 1, 0, 1), 15);
  EXPECT_EQ(eight.matrix().rows(), 8);
  EXPECT_THROW((void)eight.item(), ef::ShapeError);
}

TEST(Tensor, EmptySizesAreTensorsToo) {
  const ef::Tensor<double> empty(ef::Shape{0, 4});
  EXPECT_TRUE(empty.defined());
  EXPECT_EQ(empty.matrix().rows(), 0);
  EXPECT_EQ(empty.numel(), 0);
  EXPECT_FALSE(ef::Tensor<double>().defined());
}

TEST(Tensor, ErrorsNameWhatDisagrees) {
  const auto tensor = counting({2, 3});
  EXPECT_TRUE(ef::tests::contains(ef::tests::message_of<ef::ShapeError>([&] {
                                    (void)tensor.reshape({4, 2});
                                  }),
                                  "[2, 3] holds 6 numbers but [4, 2] asks for 8"));
  EXPECT_THROW((void)tensor(2, 0), ef::ShapeError);
  EXPECT_THROW((void)tensor(0), ef::ShapeError);
  EXPECT_THROW((void)tensor.rows(1, 3), ef::ShapeError);
  EXPECT_THROW(tensor.clone().copy_from(counting({3, 2})), ef::ShapeError);
}

TEST(MemoryPool, GivesTheSameBlockAgain) {
  ef::MemoryPool pool;
  const double* first = nullptr;
  {
    const ef::Tensor<double> tensor(pool, {100, 7});
    first = tensor.data();
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(first) % 64, 0u);
  }
  const ef::Tensor<double> again(pool, {100, 7});
  EXPECT_EQ(again.data(), first);
}

TEST(MemoryPool, NumbersThatAreKeptTakeNoBlockThatIsTooLarge) {
  ef::MemoryPool pool;
  const void* block = pool.allocate(4000).data();
  EXPECT_NE(pool.allocate(2000, /*closely=*/true).data(), block);
  EXPECT_EQ(pool.allocate(3900, /*closely=*/true).data(), block);
  EXPECT_EQ(pool.allocate(3000).data(), block);  // the smallest that is large enough
}

TEST(MemoryPool, TensorsOutliveIt) {
  ef::Tensor<double> tensor;
  {
    ef::MemoryPool pool;
    tensor = ef::Tensor<double>(pool, {3});
    tensor.fill(2);
  }
  EXPECT_EQ(tensor(1), 2);
}

TEST(MemoryPool, EveryClassHoldsItsSizes) {
  using ef::detail::PoolState;
  for (std::size_t bytes = 0; bytes < 100000; bytes += 13) {
    const int size_class = PoolState::class_of(bytes);
    EXPECT_GE(PoolState::class_bytes(size_class), bytes);
    EXPECT_EQ(PoolState::class_of(PoolState::class_bytes(size_class)), size_class);
  }
}

}  // namespace tensor_test
