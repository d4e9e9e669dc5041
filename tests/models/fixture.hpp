// The fixtures of models: a folder as Hugging Face saves it, inputs and float64 outputs beside it,
// and copies of such folders in which a test changes something.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "eigenformer/autograd/tape.hpp"
#include "eigenformer/base/batch.hpp"
#include "eigenformer/io/checkpoint.hpp"
#include "eigenformer/models/auto_model.hpp"
#include "eigenformer/nn/visit.hpp"
#include "eigenformer/tensor/tensor.hpp"

#include "../temporary_folder.hpp"

namespace eigenformer::testing_models {

/// `tests/fixtures/models/<name>`, or `<name>` in the folder that EIGENFORMER_MODEL_FIXTURES names.
inline std::string fixture_folder(const std::string& name) {
  const char* other = std::getenv("EIGENFORMER_MODEL_FIXTURES");
  return (other != nullptr ? std::string(other) : EIGENFORMER_FIXTURES "/models") + "/" + name;
}

/// The names of all fixtures in a folder, such as "" or "bert/", sorted.
inline std::vector<std::string> fixture_names(const std::string& folder = "") {
  std::vector<std::string> names;
  if (!std::filesystem::exists(fixture_folder(folder))) return names;
  for (const auto& entry : std::filesystem::directory_iterator(fixture_folder(folder))) {
    if (std::filesystem::exists(entry.path() / "expected.safetensors")) {
      names.push_back(folder + entry.path().filename().string());
    }
  }
  std::sort(names.begin(), names.end());
  return names;
}

/// The names of the fixtures of every family.
inline std::vector<std::string> all_fixture_names() {
  std::vector<std::string> names = fixture_names();
  for (const char* family : {"bert/", "distilbert/", "electra/", "albert/"}) {
    const std::vector<std::string> more = fixture_names(family);
    names.insert(names.end(), more.begin(), more.end());
  }
  return names;
}

/// A fixture's name as GoogleTest takes it.
inline std::string name_of_instance(const ::testing::TestParamInfo<std::string>& instance) {
  std::string name = instance.param;
  std::replace(name.begin(), name.end(), '/', '_');
  return name;
}

/// Inputs and expected outputs of one fixture.
class Fixture {
 public:
  explicit Fixture(const std::string& name)
      : folder(fixture_folder(name)),
        expected_(SafetensorsFile::open(folder + "/expected.safetensors")),
        rows(size("input_ids", 0)),
        length(size("input_ids", 1)) {
    if (has("attention_mask")) {
      mask.resize(static_cast<std::size_t>(rows * length));
      expected_.read<std::uint8_t>("attention_mask", mask);
    }
    batch =
        Batch::from_padded(ids("input_ids"), rows, length, mask,
                           has("token_type_ids") ? ids("token_type_ids") : std::vector<TokenId>());
  }

  [[nodiscard]] bool has(const std::string& name) const { return expected_.contains(name); }
  [[nodiscard]] Index size(const std::string& name, int axis) const {
    return expected_.shape(name)[axis];
  }
  [[nodiscard]] std::vector<double> values(const std::string& name) const {
    std::vector<double> all(static_cast<std::size_t>(expected_.shape(name).numel()));
    expected_.read<double>(name, all);
    return all;
  }
  [[nodiscard]] std::vector<TokenId> ids(const std::string& name) const {
    std::vector<TokenId> all(static_cast<std::size_t>(expected_.shape(name).numel()));
    expected_.read<TokenId>(name, all);
    return all;
  }
  /// What the fixture's script noted, such as "class" or "mlm_unexpected".
  [[nodiscard]] std::string note(const std::string& key) const {
    const auto found = expected_.metadata().find(key);
    return found == expected_.metadata().end() ? "" : found->second;
  }
  [[nodiscard]] bool masked_lm() const { return note("class").ends_with("ForMaskedLM"); }
  /// Whether an encoder finds all of its tensors: not where the word embeddings have the decoder's
  /// name alone.
  [[nodiscard]] bool has_encoder() const {
    return note("base_missing").find("word_embeddings") == std::string::npos;
  }
  /// Whether it has another head.
  [[nodiscard]] bool other_head() const {
    return !masked_lm() && note("class").find("For") != std::string::npos;
  }

  std::string folder;

 private:
  SafetensorsFile expected_;

 public:
  Index rows;
  Index length;
  std::vector<std::uint8_t> mask;  ///< as given, padded; empty: none
  Batch batch;                     ///< the same packed
};

/// The names of the fixtures of one kind, such as `&Fixture::masked_lm`, sorted.
inline std::vector<std::string> fixture_names(bool (Fixture::*kind)() const) {
  std::vector<std::string> names;
  for (const std::string& name : fixture_names()) {
    if ((Fixture(name).*kind)()) names.push_back(name);
  }
  return names;
}

/// The largest difference divided by the largest expected value; infinite for NaN.
class Difference {
 public:
  void add(double got, double expected) {
    const double difference = std::abs(got - expected);
    if (!(difference <= largest_difference_)) largest_difference_ = difference;
    largest_value_ = std::max(largest_value_, std::abs(expected));
  }
  [[nodiscard]] double relative() const {
    if (std::isnan(largest_difference_)) return HUGE_VAL;
    return largest_value_ == 0 ? largest_difference_ : largest_difference_ / largest_value_;
  }

 private:
  double largest_difference_ = 0;
  double largest_value_ = 0;
};

/// `[tokens, ...]` of a packed batch against the fixture's padded `[rows, length, ...]`.
template <class Scalar>
[[nodiscard]] Difference tokens_difference(const Tensor<Scalar>& got, const Fixture& fixture,
                                           const std::string& name) {
  const std::vector<double> expected = fixture.values(name);
  const Index features =
      static_cast<Index>(expected.size()) / std::max<Index>(1, fixture.rows * fixture.length);
  EXPECT_EQ(got.size(0), fixture.batch.tokens()) << name;
  EXPECT_EQ(got.numel(), fixture.batch.tokens() * features) << name;
  const Tensor<Scalar> flat = got.reshape(Shape{fixture.batch.tokens(), features});
  Difference difference;
  for (Index row = 0; row < fixture.rows; ++row) {
    const RowRange segment = fixture.batch.segment(row);
    for (Index t = 0; t < segment.size(); ++t) {
      for (Index i = 0; i < features; ++i) {
        const Index at = (row * fixture.length + t) * features + i;
        difference.add(static_cast<double>(flat(segment.begin + t, i)),
                       expected[static_cast<std::size_t>(at)]);
      }
    }
  }
  return difference;
}

/// One layer's `[heads, n, n]` per segment against the padded `[rows, heads, length, length]`.
template <class Scalar>
[[nodiscard]] Difference attention_difference(const std::vector<Tensor<Scalar>>& got,
                                              const Fixture& fixture, const std::string& name) {
  const std::vector<double> expected = fixture.values(name);
  const Index heads = fixture.size(name, 1);
  const Index length = fixture.length;
  EXPECT_EQ(static_cast<Index>(got.size()), fixture.rows) << name;
  Difference difference;
  for (std::size_t row = 0; row < got.size(); ++row) {
    const Index n = fixture.batch.segment(static_cast<Index>(row)).size();
    EXPECT_EQ(got[row].shape(), Shape({heads, n, n})) << name;
    for (Index head = 0; head < heads; ++head) {
      for (Index query = 0; query < n; ++query) {
        for (Index key = 0; key < length; ++key) {  // a key that was dropped must have weighed 0
          const Index at =
              ((static_cast<Index>(row) * heads + head) * length + query) * length + key;
          difference.add(key < n ? static_cast<double>(got[row](head, query, key)) : 0.0,
                         expected[static_cast<std::size_t>(at)]);
        }
      }
    }
  }
  return difference;
}

/// The same numbers in the same order.
template <class Scalar, class Expected>
[[nodiscard]] Difference difference(const Tensor<Scalar>& got,
                                    const std::vector<Expected>& expected) {
  EXPECT_EQ(got.numel(), static_cast<Index>(expected.size()));
  const Tensor<Scalar> flat = got.clone();
  Difference result;
  for (std::size_t i = 0; i < expected.size(); ++i) {
    result.add(static_cast<double>(flat.data()[i]), expected[i]);
  }
  return result;
}

/// A fixture's labels or positions, `[rows, length]`, packed.
inline std::vector<TokenId> packed_ids(const Fixture& fixture, const std::string& name) {
  const std::vector<TokenId> padded = fixture.ids(name);
  std::vector<TokenId> packed;
  for (Index row = 0; row < fixture.rows; ++row) {
    const auto begin = padded.begin() + row * fixture.length;
    packed.insert(packed.end(), begin, begin + fixture.batch.segment(row).size());
  }
  return packed;
}

/// The gradient of every parameter against the fixture's, relative to the largest.
template <class Scalar, class Model>
void expect_gradients(const Model& model, const Gradients<Scalar>& gradients,
                      const Fixture& fixture, double tolerance) {
  for (const auto& named : named_parameters(model)) {
    if (named.tied) continue;
    const std::string name = "gradients." + std::string(named.name);
    const Tensor<Scalar>* whole = gradients.find(named.parameter.value());
    ASSERT_EQ(whole != nullptr, fixture.has(name)) << name;
    if (whole == nullptr) continue;
    Tensor<Scalar> gradient = named.whole() ? *whole : whole->rows(named.begin, named.end);
    if (named.transposed) gradient = Tensor<Scalar>(whole->matrix().transpose());
    EXPECT_EQ(gradient.shape(), named.file_shape()) << name;
    // A bias that shifts all logits of a softmax alike has no gradient but rounding errors.
    const std::vector<double> expected = fixture.values(name);
    const bool shift = std::ranges::all_of(expected, [](double x) { return std::abs(x) < 1e-13; });
    if (shift)
      EXPECT_LE(gradient.array().abs().maxCoeff(), 1e-2 * tolerance) << name;
    else
      EXPECT_LE(difference(gradient, expected).relative(), tolerance) << name;
  }
}

/// Whether two tensors hold the same bits.
template <class Scalar>
[[nodiscard]] bool same_bits(const Tensor<Scalar>& a, const Tensor<Scalar>& b) {
  if (a.shape() != b.shape()) return false;
  const Tensor<Scalar> x = a.clone();
  const Tensor<Scalar> y = b.clone();
  return std::memcmp(x.data(), y.data(), static_cast<std::size_t>(x.numel()) * sizeof(Scalar)) == 0;
}

/// All that a model computes, under the fixtures' names.
template <class Scalar>
using Outputs = std::map<std::string, Tensor<Scalar>>;
template <class Scalar>
Outputs<Scalar> named(const Tensor<Scalar>& logits) {
  return {{"logits", logits}};
}
template <class Scalar>
Outputs<Scalar> named(const EncoderOutput<Scalar>& output) {
  Outputs<Scalar> outputs = {{"last_hidden_state", output.last_hidden_state}};
  if (output.pooler_output.defined()) outputs["pooler_output"] = output.pooler_output;
  return outputs;
}
template <class Scalar>
Outputs<Scalar> named(const QuestionAnsweringOutput<Scalar>& output) {
  return {{"start_logits", output.start_logits}, {"end_logits", output.end_logits}};
}
template <class Scalar>
Outputs<Scalar> named(const BertForPreTrainingOutput<Scalar>& output) {
  return {{"prediction_logits", output.prediction_logits},
          {"seq_relationship_logits", output.seq_relationship_logits}};
}
template <class Scalar>
Outputs<Scalar> named(const AlbertForPreTrainingOutput<Scalar>& output) {
  return {{"prediction_logits", output.prediction_logits}, {"sop_logits", output.sop_logits}};
}

/// The outputs of a batch.
auto outputs_of(Context& cx, const auto& model, const Batch& batch) {
  if constexpr (requires { model.forward(cx, batch); })
    return named(model.forward(cx, batch));
  else
    return named(model(cx, batch));
}

/// The same outputs to the bit.
template <class Scalar>
void expect_same(const Outputs<Scalar>& got, const Outputs<Scalar>& expected) {
  EXPECT_EQ(got.size(), expected.size());
  for (const auto& [name, value] : expected) EXPECT_TRUE(same_bits(got.at(name), value)) << name;
}

using tests::TemporaryFolder;

/// A tensor in memory.
struct StoredTensor {
  DType dtype = DType::f32;
  std::vector<Index> shape;
  std::vector<std::byte> bytes;
};
using StoredTensors = std::map<std::string, StoredTensor>;

/// A copy of a fixture in which tensors and configuration may be changed before it is written.
class ChangedFixture {
 public:
  ChangedFixture(const std::string& name,
                 const std::function<void(Json& config, StoredTensors& tensors)>& change) {
    const std::string source = fixture_folder(name);
    Json config = read_json(source + "/config.json");
    StoredTensors tensors;
    const Checkpoint checkpoint = Checkpoint::open(source);
    for (const std::string& key : checkpoint.names()) {
      const TensorInfo& info = checkpoint.info(key);
      const auto bytes = checkpoint.bytes(key);
      tensors[key] = {*info.dtype, info.shape, {bytes.begin(), bytes.end()}};
    }
    change(config, tensors);
    std::vector<TensorToWrite> written;
    for (const auto& [key, tensor] : tensors) {
      written.push_back({key, tensor.dtype, Shape(std::span(tensor.shape)), tensor.bytes});
    }
    write_safetensors(path() + "/model.safetensors", written, {{"format", "pt"}});
    write_file(path() + "/config.json", config.dump());
  }
  [[nodiscard]] const std::string& path() const noexcept { return folder_.path(); }

 private:
  TemporaryFolder folder_;
};

}  // namespace eigenformer::testing_models
