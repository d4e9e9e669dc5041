// The files of every model: saved as transformers saves them, packed, and with every tensor needed.
#include <algorithm>
#include <map>
#include <string>
#include <type_traits>
#include <variant>
#include <vector>

#include <gtest/gtest.h>

#include "eigenformer/models/auto_model.hpp"

#include "../messages.hpp"
#include "fixture.hpp"

namespace files_test {

using namespace eigenformer;
using namespace testing_models;
using tests::expect_parts;
using tests::message_of;

/// The names of a fixture's tensors as transformers saves them now.
std::vector<std::string> saved_names(const std::string& fixture) {
  static const std::map<std::string, std::string> other = {
      // with other prefixes or decoders: a fixture that has the usual ones
      {"base_with_prefix", "base_pooler"},
      {"decoder_names_only", "camembert"},
      {"module_prefix", "camembert"},
      {"no_prefix", "camembert"},
      {"old_converter", "camembert"},
      {"bert/masked_lm_holes_relu", "bert/masked_row"},
      {"bert/no_prefix", "bert/masked_lm"},
      {"distilbert/masked_lm_holes", "distilbert/masked_row"},
      {"distilbert/no_prefix", "distilbert/masked_lm"},
      {"electra/masked_lm_holes", "electra/masked_row"},
      {"electra/no_prefix", "electra/masked_lm"},
      {"albert/masked_lm_holes", "albert/masked_lm"},
      {"albert/no_prefix", "albert/masked_lm"},
  };
  const auto found = other.find(fixture);
  std::vector<std::string> names;
  for (std::string name :
       Checkpoint::open(fixture_folder(found == other.end() ? fixture : found->second)).names()) {
    if (name.ends_with("_ids")) continue;  // a buffer
    if (name.ends_with(".gamma")) name.replace(name.size() - 5, 5, "weight");
    if (name.ends_with(".beta")) name.replace(name.size() - 4, 4, "bias");
    names.push_back(name);
  }
  std::sort(names.begin(), names.end());
  return names;
}

/// A configuration, but for what saving changes.
Json kept(const std::string& folder) {
  Json config = EncoderConfig::from_pretrained(folder).to_json();
  for (const char* key : {"dtype", "architectures", "transformers_version"}) config.erase(key);
  return config;
}

template <class Scalar>
void check_round_trip(const std::string& name) {
  const Fixture fixture(name);
  Context cx(1);
  with_model<Scalar>(fixture.folder, {}, [&]<class Model>(const Model& model) {
    const TemporaryFolder folder;
    model.save_pretrained(folder.path());
    const Checkpoint saved = Checkpoint::open(folder.path());
    std::vector<std::string> names = saved.names();
    std::sort(names.begin(), names.end());
    EXPECT_EQ(names, saved_names(name));
    for (const std::string& key : names) EXPECT_EQ(saved.info(key).dtype, dtype_of<Scalar>) << key;
    EXPECT_EQ(EncoderConfig::from_pretrained(folder.path()).architectures,
              std::vector{fixture.note("class")});
    EXPECT_EQ(kept(folder.path()), kept(fixture.folder));
    const Model again = Model::from_pretrained(folder.path());
    EXPECT_TRUE(again.load_report().missing.empty() && again.load_report().unexpected.empty());
    expect_same(outputs_of(cx, again, fixture.batch), outputs_of(cx, model, fixture.batch));
  });
}

TEST(Files, AreSavedInBfloat16) {
  const Fixture fixture("mlm_gelu");
  const auto model = RobertaForMaskedLM<float>::from_pretrained(fixture.folder);
  const TemporaryFolder folder;
  model.save_pretrained<BFloat16>(folder.path());
  EXPECT_EQ(EncoderConfig::from_pretrained(folder.path()).dtype, "bfloat16");
  const Checkpoint saved = Checkpoint::open(folder.path());
  for (const auto& named : named_parameters(model)) {
    if (named.tied) continue;
    ASSERT_EQ(saved.info(named.name).dtype, DType::bf16) << named.name;
    const Tensor<float> value = named.value();
    std::vector<BFloat16> stored(static_cast<std::size_t>(value.numel()));
    saved.read<BFloat16>(named.name, stored);
    for (std::size_t i = 0; i < stored.size(); ++i) {
      ASSERT_EQ(stored[i].bits, BFloat16(value.data()[i]).bits) << named.name << " " << i;
    }
  }
}

class FilesParity : public ::testing::TestWithParam<std::string> {};

TEST_P(FilesParity, AreSavedAsTransformersSavesThem) {
  check_round_trip<double>(GetParam());
  check_round_trip<float>(GetParam());
}

/// The encoder of a packed model, as one of its own.
void expect_encoder(const std::string& path, Context& cx, const auto& encoder,
                    const Fixture& fixture) {
  const auto opened = AutoModel<float>::from_pretrained(path);
  std::visit(
      [&](const auto& model) {
        expect_same(outputs_of(cx, model, fixture.batch), outputs_of(cx, encoder, fixture.batch));
      },
      opened.model());
}

TEST_P(FilesParity, PackedGiveTheSameBits) {
  const Fixture fixture(GetParam());
  Context cx(1);
  for (const Precision precision : {Precision::full, Precision::bf16, Precision::int8}) {
    SCOPED_TRACE(name_of(precision));
    const LoadOptions options{.precision = precision, .pack = true};
    with_model<float>(fixture.folder, options, [&]<class Model>(const Model& model) {
      const TemporaryFolder folder;
      const std::string path = folder / "model.packed";
      model.save_packed(path);
      bool opened = false;
      with_model<float>(path, {}, [&]<class Found>(const Found& found) {
        opened = std::is_same_v<Found, Model>;
        if constexpr (std::is_same_v<Found, Model>) {
          expect_same(outputs_of(cx, found, fixture.batch), outputs_of(cx, model, fixture.batch));
        }
      });
      EXPECT_TRUE(opened);
      if constexpr (requires { model.base_model(); })
        expect_encoder(path, cx, model.base_model(), fixture);
      else
        expect_encoder(path, cx, model, fixture);
      if (fixture.masked_lm()) return;
      expect_parts(message_of<FormatError>(
                       [&] { (void)AutoModelForMaskedLM<float>::from_pretrained(path); }),
                   {path, "holds " + fixture.note("class"), "ForMaskedLM"});
    });
  }
}

INSTANTIATE_TEST_SUITE_P(Fixtures, FilesParity, ::testing::ValuesIn(all_fixture_names()),
                         name_of_instance);

/// Every tensor of the file, left out on its own, is missed by name.
TEST(ModelFiles, EveryTensorIsNeeded) {
  for (const std::string name : {"mlm_gelu",
                                 "sequence_single_label",
                                 "token_holes",
                                 "question_answering",
                                 "multiple_choice",
                                 "causal",
                                 "bert/pretraining",
                                 "bert/next_sentence",
                                 "bert/sequence",
                                 "bert/masked_lm_untied",
                                 "bert/choice",
                                 "distilbert/masked_lm",
                                 "distilbert/masked_lm_untied",
                                 "distilbert/sequence",
                                 "distilbert/token",
                                 "distilbert/question",
                                 "distilbert/choice",
                                 "electra/masked_lm",
                                 "electra/masked_lm_untied",
                                 "electra/pretraining",
                                 "electra/sequence",
                                 "electra/choice",
                                 "albert/masked_lm",
                                 "albert/masked_lm_untied",
                                 "albert/pretraining",
                                 "albert/sequence",
                                 "albert/choice"}) {
    for (const std::string& tensor : Checkpoint::open(fixture_folder(name)).names()) {
      if (name.ends_with("bert/masked_lm_untied") && tensor.ends_with("predictions.bias")) continue;
      const ChangedFixture changed(name,
                                   [&](Json&, StoredTensors& tensors) { tensors.erase(tensor); });
      expect_parts(message_of<FormatError>(
                       [&] { with_model<double>(changed.path(), {}, [](const auto&) {}); }),
                   {changed.path(), "missing", tensor});
    }
  }
}

}  // namespace files_test
