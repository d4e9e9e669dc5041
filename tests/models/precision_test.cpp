// Reduced precision against the model in double: how far hidden states turn away, also where some
// channels are a hundred times as large as the others.
#include <cmath>
#include <string>

#include <gtest/gtest.h>

#include "eigenformer/models/roberta.hpp"

namespace precision_test {

namespace ef = eigenformer;
using ef::Index;
using ef::Precision;

ef::RobertaConfig small_config() {
  ef::RobertaConfig config;
  config.vocab_size = 500;
  config.hidden_size = 192;
  config.num_hidden_layers = 4;
  config.num_attention_heads = 3;
  config.intermediate_size = 768;
  config.max_position_embeddings = 310;
  config.initializer_range = 0.05;
  return config;
}

ef::Batch some_texts() {
  ef::Batch batch;
  for (const int length : {128, 9, 50, 1}) {
    std::vector<ef::TokenId> ids(static_cast<std::size_t>(length));
    for (std::size_t t = 0; t < ids.size(); ++t) {
      ids[t] = static_cast<ef::TokenId>(2 + (37 * t + 11 * ids.size()) % 490);
    }
    batch.add(ids);
  }
  return batch;
}

/// The same numbers as float: norms vary by channel, and those of `outliers` channels in every norm
/// are `factor` times as large, while the weights that read them are as much smaller if
/// `compensated`.
template <class To, class From>
void copy_numbers(ef::RobertaModel<To>& to, const ef::RobertaModel<From>& from) {
  std::vector<ef::Tensor<From>> values;
  for (const auto& named : ef::named_parameters(from)) values.push_back(named.value());
  std::size_t i = 0;
  for (const auto& named : ef::named_parameters(to)) {
    auto target = named.value();
    target.matrix() = values[i++].matrix().template cast<To>();
  }
}

void inject_outliers(ef::RobertaModel<double>& model, double factor, bool compensated) {
  const ef::Rng rng(3);
  std::uint64_t stream = 0;
  for (const auto& named : ef::named_parameters(model)) {
    const std::string name(named.name);
    auto numbers = named.value().matrix();
    const bool norm = name.find("LayerNorm") != std::string::npos;
    if (norm && name.ends_with("weight")) {
      for (Index j = 0; j < numbers.cols(); ++j) {
        numbers(0, j) = std::exp(0.4 * rng.normal(stream, static_cast<std::uint64_t>(j)));
      }
      ++stream;
    }
    const bool reads_norm = name.find("self.") != std::string::npos ||
                            name.find("intermediate.dense") != std::string::npos;
    for (const Index channel : {5, 77, 150}) {
      if (norm && numbers.cols() > channel) numbers(0, channel) *= factor;
      if (compensated && reads_norm && name.ends_with("weight")) {
        numbers.col(channel) /= factor;
      }
    }
  }
}

double cosine(const ef::Tensor<double>& a, const ef::Tensor<float>& b) {
  const auto x = a.matrix();
  const Eigen::MatrixXd y = b.matrix().cast<double>();
  return (x.array() * y.array()).sum() / (x.norm() * y.norm());
}

/// The same without the outlier channels, which else decide alone.
double cosine_of_others(const ef::Tensor<double>& a, const ef::Tensor<float>& b) {
  Eigen::MatrixXd x = a.matrix();
  Eigen::MatrixXd y = b.matrix().cast<double>();
  for (const Index channel : {5, 77, 150}) {
    x.col(channel).setZero();
    y.col(channel).setZero();
  }
  return (x.array() * y.array()).sum() / (x.norm() * y.norm());
}

struct Case {
  const char* name;
  double factor;
  bool compensated;
};
constexpr Case cases[] = {
    {"plain", 1, false}, {"outliers", 100, false}, {"compensated", 100, true}};

TEST(ReducedPrecision, HiddenStatesKeepTheirDirection) {
  for (const Case& test : cases) {
    ef::RobertaModel<double> exact(small_config(), /*pooler=*/false);
    inject_outliers(exact, test.factor, test.compensated);
    ef::Context cx(1);
    const ef::Batch batch = some_texts();
    const ef::Tensor<double> expected = exact(cx, batch);
    for (const auto& [precision, least] : {std::pair{Precision::full, 0.999999999},
                                           {Precision::bf16, 0.9995},
                                           {Precision::int8, 0.999}}) {
      ef::RobertaModel<float> model(small_config(), /*pooler=*/false);
      copy_numbers(model, exact);
      model.pack(cx.threads(), precision);
      const ef::Tensor<float> found = model(cx, batch);
      std::printf("%s %s: cosine 1 - %.2e, without outliers 1 - %.2e\n", test.name,
                  std::string(name_of(precision)).c_str(), 1 - cosine(expected, found),
                  1 - cosine_of_others(expected, found));
      EXPECT_GE(cosine(expected, found), least) << test.name << ' ' << name_of(precision);
      EXPECT_GE(cosine_of_others(expected, found), least) << test.name << ' ' << name_of(precision);
    }
  }
}

TEST(ReducedPrecision, DoesNotDependOnThreadsOrOtherTexts) {
  ef::RobertaModel<float> model(small_config(), /*pooler=*/false);
  ef::Batch batch = some_texts();
  batch.add(std::vector<ef::TokenId>(300, 7));  // more than a layer works on at a time
  batch.mask.assign(batch.ids.size(), 1);
  for (const std::size_t masked : {0u, 60u, 130u, 250u, 480u}) batch.mask[masked] = 0;
  ef::Context one(1);
  ef::Context three(3);
  for (const Precision precision : {Precision::full, Precision::bf16, Precision::int8}) {
    ef::RobertaModel<float> packed = model;
    packed.pack(one.threads(), precision);
    const ef::Tensor<float> expected = packed(one, batch);
    EXPECT_TRUE((expected.array() == packed(three, batch).array()).all()) << name_of(precision);
    for (Index i = 0; i < batch.segments(); ++i) {
      const ef::RowRange rows = batch.segment(i);
      const auto of_text = [&](const auto& values) {
        return std::vector(values.begin() + rows.begin, values.begin() + rows.end);
      };
      const ef::Batch alone{of_text(batch.ids), {}, of_text(batch.mask), {0, rows.size()}};
      EXPECT_TRUE((packed(one, alone).array() == expected.rows(rows).array()).all())
          << name_of(precision) << " text " << i;
    }
  }
}

TEST(ReducedPrecision, PackedModelsHaveNoNumbersToTrainOrSave) {
  ef::RobertaModel<float> model(small_config());
  ef::Context cx(1);
  model.pack(cx.threads(), Precision::int8);
  const ef::RobertaModel<float> copy = model;  // shares the packs
  EXPECT_TRUE((copy(cx, some_texts()).array() == model(cx, some_texts()).array()).all());
  ef::Tape<float> tape;
  cx.tape = &tape;
  EXPECT_THROW((void)model(cx, some_texts()), ef::Error);
  EXPECT_THROW(ef::RobertaModel<double>(small_config()).pack(cx.threads(), Precision::bf16),
               ef::ConfigError);
}

TEST(LastLayer, RowsAskedForAreThoseOfAllRows) {
  ef::Context cx(2);
  const ef::Batch batch = some_texts();
  const std::vector<Index> rows{0, 3, 127, 128, 140, 187};  // of texts 0, 1, 2 and 3
  const ef::RobertaModel<float> model(small_config(), /*pooler=*/false);
  const ef::Tensor<float> all = model(cx, batch);
  const ef::Tensor<float> some = model(cx, batch, rows);
  ASSERT_EQ(some.shape(), ef::Shape({6, 192}));
  for (std::size_t i = 0; i < rows.size(); ++i) {
    EXPECT_TRUE(
        (some.matrix().row(static_cast<Index>(i)).array() == all.matrix().row(rows[i]).array())
            .all());
  }
  EXPECT_EQ(model(cx, batch, std::vector<Index>{}).size(0), 0);
  EXPECT_THROW((void)model(cx, batch, std::vector<Index>{188}), ef::ShapeError);
  EXPECT_THROW((void)model(cx, batch, std::vector<Index>{-1}), ef::ShapeError);
}

}  // namespace precision_test
