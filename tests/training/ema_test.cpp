// Averaged weights against those of torch.optim.swa_utils.AveragedModel(multi_avg_fn =
// get_ema_multi_avg_fn(0.9)).
#include "eigenformer/training/ema.hpp"

#include <gtest/gtest.h>

#include "eigenformer/nn/linear.hpp"

#include "../messages.hpp"

namespace ema_test {

namespace ef = eigenformer;

using Linear = ef::Linear<double>;

void set(Linear& layer, double weight, double bias) {
  for (const auto& named : ef::named_parameters(layer)) {
    named.value().fill(named.name == "weight" ? weight : bias);
  }
}

std::vector<double> numbers_of(const Linear& layer) {
  std::vector<double> numbers;
  for (const auto& named : ef::named_parameters(layer))
    numbers.push_back(std::as_const(named).value().data()[0]);
  return numbers;
}

TEST(MovingAverage, FollowsAsInPyTorch) {
  Linear layer(2, 1);
  set(layer, 100, 100);
  ef::MovingAverage<double, Linear> average(layer, 0.9);
  const double weights[] = {1, 0.5, 3}, biases[] = {-2, 0.25, 1.5};
  const std::vector<double> expected[] = {{1, -2}, {0.95, -1.775}, {1.155, -1.4475}};
  for (std::size_t i = 0; i < 3; ++i) {
    set(layer, weights[i], biases[i]);
    average.update(layer, static_cast<ef::Index>(i));
    const std::vector<double> found = numbers_of(average.model());
    ASSERT_EQ(found.size(), 2u);
    for (std::size_t k = 0; k < 2; ++k) EXPECT_NEAR(found[k], expected[i][k], 1e-15);
  }
  EXPECT_EQ(numbers_of(layer), (std::vector<double>{3, 1.5}));  // which is not changed
}

TEST(MovingAverage, RefusesADecayOutOfRange) {
  const Linear layer(2, 1);
  for (const double decay : {-0.1, 1.0}) {
    ef::tests::expect_parts(ef::tests::message_of<ef::ConfigError>(
                                [&] { (void)ef::MovingAverage<double, Linear>(layer, decay); }),
                            {"decay", "[0, 1)"});
  }
}

}  // namespace ema_test
