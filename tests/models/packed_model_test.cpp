// Packed files of models: the same bits as the model packed in memory, shared by all who open one,
// and strict about what is in them.
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "eigenformer/models/roberta.hpp"

#include "../messages.hpp"
#include "fixture.hpp"

namespace eigenformer::packed_model_test {
using testing_models::Fixture;
using testing_models::fixture_folder;
using testing_models::fixture_names;
using testing_models::same_bits;
using testing_models::StoredTensor;
using testing_models::StoredTensors;
using testing_models::TemporaryFolder;
using tests::expect_parts;
using tests::message_of;

using MaskedLm = RobertaForMaskedLM<float>;
using Encoder = RobertaModel<float>;

constexpr Precision every_precision[] = {Precision::full, Precision::bf16, Precision::int8};

/// A fixture's model as a packed file.
template <class Model>
std::string packed_fixture(const TemporaryFolder& folder, const std::string& name,
                           Precision precision) {
  const std::string path = folder / "model.packed";
  Model::from_pretrained(fixture_folder(name), {.precision = precision, .pack = true})
      .save_packed(path);
  return path;
}

void expect_same(const RobertaOutput<float>& a, const RobertaOutput<float>& b) {
  EXPECT_TRUE(same_bits(a.last_hidden_state, b.last_hidden_state));
  ASSERT_EQ(a.pooler_output.defined(), b.pooler_output.defined());
  if (a.pooler_output.defined()) {
    EXPECT_TRUE(same_bits(a.pooler_output, b.pooler_output));
  }
}

TEST(PackedModel, GivesTheSameBitsAsOnePackedInMemory) {
  Context cx(2);
  for (const std::string& name : fixture_names()) {
    const Fixture fixture(name);
    for (const Precision precision : every_precision) {
      SCOPED_TRACE(concat(name, " ", name_of(precision)));
      const LoadOptions options{.precision = precision, .pack = true};
      const TemporaryFolder folder;
      const std::string path = folder / "model.packed";
      std::optional<Encoder> encoder;
      if (fixture.has_encoder()) {
        encoder = Encoder::from_pretrained(fixture.folder, options);
        encoder->save_packed(path);
        const Encoder opened = Encoder::from_pretrained(path);
        expect_same(opened.forward(cx, fixture.batch), encoder->forward(cx, fixture.batch));
        EXPECT_EQ(opened.config().to_json(), encoder->config().saved_as("Model", "float32"));
      }
      if (!fixture.masked_lm()) continue;
      const MaskedLm model = MaskedLm::from_pretrained(fixture.folder, options);
      model.save_packed(path);
      const MaskedLm opened = MaskedLm::from_pretrained(path, options);
      EXPECT_TRUE(same_bits(opened(cx, fixture.batch), model(cx, fixture.batch)));
      EXPECT_EQ(parameter_count(opened), parameter_count(model));
      EXPECT_TRUE(opened.load_report().missing.empty() && opened.load_report().unexpected.empty());
      if (!encoder) continue;
      const Encoder base = Encoder::from_pretrained(path);  // passes over the head
      EXPECT_TRUE(same_bits(base(cx, fixture.batch), (*encoder)(cx, fixture.batch)));
      EXPECT_EQ(parameter_count(base), parameter_count(opened.roberta()));
    }
  }
}

TEST(PackedModel, IsRefusedWhereItCannotServe) {
  const TemporaryFolder folder;
  const std::string path = packed_fixture<Encoder>(folder, "base_pooler", Precision::int8);
  expect_parts(message_of<FormatError>([&] { (void)MaskedLm::from_pretrained(path); }),
               {path, "holds RobertaModel, not RobertaForMaskedLM"});
  expect_parts(message_of<ConfigError>([&] { (void)RobertaModel<double>::from_pretrained(path); }),
               {path, "float"});
  for (const Precision precision : {Precision::full, Precision::bf16}) {
    expect_parts(message_of<ConfigError>(
                     [&] { (void)Encoder::from_pretrained(path, {.precision = precision}); }),
                 {path, "int8", std::string(name_of(precision)) + " is asked for"});
  }
  EXPECT_NO_THROW((void)Encoder::from_pretrained(path, {.precision = Precision::int8}));
  EXPECT_EQ(RobertaConfig::from_pretrained(path).hidden_size,
            RobertaConfig::from_pretrained(fixture_folder("base_pooler")).hidden_size);

  const std::string weights = fixture_folder("base_pooler") + "/model.safetensors";
  expect_parts(message_of<FormatError>([&] { (void)Encoder::from_pretrained(weights); }),
               {weights, "'pt'", "eigenformer.packed", "folder"});
}

TEST(PackedModel, OnlyPackedModelsAreWritten) {
  const TemporaryFolder folder;
  const std::string path = folder / "model.packed";
  const std::string from = fixture_folder("mlm_gelu");
  expect_parts(message_of<ConfigError>([&] { MaskedLm::from_pretrained(from).save_packed(path); }),
               {path, "must be packed first"});
  EXPECT_THROW(RobertaForMaskedLM<double>::from_pretrained(from).save_packed(path), ConfigError);
  EXPECT_TRUE(folder.entries().empty());
}

TEST(PackedModel, HasNoNumbersToSaveOrTrain) {
  const TemporaryFolder folder;
  const std::string path = packed_fixture<MaskedLm>(folder, "mlm_gelu", Precision::full);
  MaskedLm model = MaskedLm::from_pretrained(path);
  const Fixture fixture("mlm_gelu");
  Context cx(1);
  const Tensor<float> before = model(cx, fixture.batch);
  EXPECT_EQ(parameter_count(model), parameter_count(MaskedLm::from_pretrained(fixture.folder)));
  const auto expect_reason = [](const std::function<void()>& action) {
    expect_parts(message_of<Error>(action), {"packed for inference", "load the model unpacked"});
  };
  expect_reason([&] { model.save_pretrained(folder / "saved"); });
  EXPECT_FALSE(exists(folder / "saved/model.safetensors"));
  Tape<float> tape;
  Context training(1);
  training.tape = &tape;
  expect_reason([&] { (void)model(training, fixture.batch); });
  int without = 0;
  for (const auto& named : named_parameters(model)) {
    if (named.parameter.defined()) continue;
    ++without;
    expect_reason([&] { (void)named.value(); });
    expect_reason([&] { (void)named.parameter.value(); });
  }
  EXPECT_GT(without, 0);
  EXPECT_TRUE(same_bits(before, model(cx, fixture.batch)));  // nothing of it lost its pack
}

/// What the file holds in numbers is copied before it changes.
TEST(PackedModel, ChangesReachNeitherTheFileNorOthers) {
  const TemporaryFolder folder;
  const std::string path = packed_fixture<MaskedLm>(folder, "mlm_gelu", Precision::int8);
  const std::string bytes = read_file(path);
  const Fixture fixture("mlm_gelu");
  Context cx(1);
  const MaskedLm other = MaskedLm::from_pretrained(path);
  const Tensor<float> before = other(cx, fixture.batch);
  MaskedLm model = MaskedLm::from_pretrained(path);
  const MaskedLm copy = model;
  for (const auto& named : named_parameters(model)) {
    if (named.parameter.defined() && !named.tied) named.value().fill(1);
  }
  EXPECT_FALSE(same_bits(before, model(cx, fixture.batch)));
  EXPECT_TRUE(same_bits(before, other(cx, fixture.batch)));
  EXPECT_TRUE(same_bits(before, copy(cx, fixture.batch)));
  EXPECT_TRUE(same_bits(before, MaskedLm::from_pretrained(path)(cx, fixture.batch)));
  EXPECT_EQ(read_file(path), bytes);
}

TEST(PackedModel, CopiesKeepThePrecision) {
  const MaskedLm model =
      MaskedLm::from_pretrained(fixture_folder("mlm_gelu"), {.precision = Precision::int8});
  const MaskedLm copy = model;
  const Fixture fixture("mlm_gelu");
  Context cx(1);
  EXPECT_TRUE(same_bits(model(cx, fixture.batch), copy(cx, fixture.batch)));
}

/// Bytes of memory that this process holds.
Index resident() {
  std::ifstream file("/proc/self/statm");
  Index pages = 0;
  file >> pages >> pages;
  return pages * ::sysconf(_SC_PAGESIZE);
}

/// A table of 39 MiB, and layers.
RobertaConfig large_config() {
  RobertaConfig config;
  config.vocab_size = 20000;
  config.hidden_size = 512;
  config.num_hidden_layers = 4;
  config.num_attention_heads = 8;
  config.intermediate_size = 2048;
  config.max_position_embeddings = 130;
  return config;
}

/// 128 tokens from everywhere in that table.
Batch spread_batch(TokenId first) {
  Batch batch;
  std::vector<TokenId> ids(128);
  for (std::size_t t = 0; t < ids.size(); ++t) ids[t] = first + static_cast<TokenId>(131 * t);
  batch.add(ids);
  return batch;
}

TEST(PackedModel, RowsOfTablesLeaveTheirPagesOutOfMemory) {
  const TemporaryFolder folder;
  const std::string path = folder / "model.packed";
  const Encoder trained(large_config());
  trained.save_pretrained(folder / "model");
  Encoder::from_pretrained(folder / "model", {.pack = true}).save_packed(path);
  Context cx(2);
  for (const std::string& from : {folder / "model", path}) {
    const Encoder model = Encoder::from_pretrained(from, {.pack = true});
    (void)model(cx, spread_batch(2));
    const Batch other = spread_batch(60);
    const Index before = resident();
    const Tensor<float> found = model(cx, other);
    EXPECT_LT(resident() - before, Index{2} << 20) << from;
    EXPECT_TRUE(same_bits(found, trained(cx, other)));
  }
}

TEST(PackedModel, ASecondModelSharesTheMemory) {
  const TemporaryFolder folder;
  const std::string path = folder / "model.packed";
  const RobertaConfig config = large_config();
  Context cx(2);
  {
    MaskedLm model(config);
    model.pack(cx.threads(), Precision::full);
    model.save_packed(path);
  }
  const Batch batch = spread_batch(2);
  const auto addresses = [](const MaskedLm& model) {
    std::vector<const void*> all;
    for (const auto& named : named_parameters(model)) {
      const auto& pack = named.parameter.kept_pack();
      if (pack != nullptr) all.push_back(pack->words());
      if (named.parameter.defined() && named.whole()) all.push_back(named.parameter.value().data());
    }
    return all;
  };
  const MaskedLm one = MaskedLm::from_pretrained(path);
  const std::vector<Index> rows{0, 64};
  const Tensor<float> first = one(cx, batch, rows);
  const Index before = resident();
  const MaskedLm other = MaskedLm::from_pretrained(path);
  EXPECT_TRUE(same_bits(first, other(cx, batch, rows)));
  EXPECT_LT(resident() - before, Index{8} << 20);
  EXPECT_EQ(addresses(one), addresses(other));
}

// ---- What may be in a file ----

/// The tensors of a packed file, and its configuration, for a test to change.
struct Unpacked {
  explicit Unpacked(const std::string& path) {
    const PackedFile file = PackedFile::open(path);
    precision = file.precision();
    config = parse_json(file.config(), path);
    for (const TensorInfo& info : file.tensors().tensors()) {
      const auto bytes = file.tensors().bytes(info.name);
      tensors[info.name] = {*info.dtype, info.shape, {bytes.begin(), bytes.end()}};
    }
  }
  void write(const std::string& path) const {
    std::vector<TensorToWrite> written;
    for (const auto& [key, tensor] : tensors) {
      written.push_back({key, tensor.dtype, Shape(std::span(tensor.shape)), tensor.bytes});
    }
    std::remove(path.c_str());
    write_packed_file(path, written, precision, config.dump());
  }

  Precision precision = Precision::full;
  Json config;
  StoredTensors tensors;
};

/// The error of opening `changed`.
std::string refused(const TemporaryFolder& folder, const Unpacked& changed) {
  const std::string path = folder / "changed.packed";
  changed.write(path);
  const std::string message =
      message_of<FormatError>([&] { (void)MaskedLm::from_pretrained(path); });
  expect_parts(message, {path});
  return message;
}

TEST(PackedModel, EveryTensorIsNeededInItsSize) {
  const TemporaryFolder folder;
  for (const Precision precision : every_precision) {
    const Unpacked right(packed_fixture<MaskedLm>(folder, "mlm_gelu", precision));
    for (const auto& entry : right.tensors) {
      const std::string& name = entry.first;
      Unpacked changed = right;
      changed.tensors.erase(name);
      expect_parts(refused(folder, changed), {"missing: " + name});

      changed = right;
      StoredTensor& tensor = changed.tensors.at(name);
      tensor.shape.front() += 48;  // 16 to 32 might be the multipliers of inputs
      const std::size_t row = tensor.bytes.size() / static_cast<std::size_t>(entry.second.shape[0]);
      tensor.bytes.resize(tensor.bytes.size() + 48 * row);
      expect_parts(refused(folder, changed), {"of another type or size: " + name});

      changed = right;
      changed.tensors.at(name).dtype = DType::i32;
      expect_parts(refused(folder, changed), {name + " is I32", "should be"});
    }
  }
}

TEST(PackedModel, ProblemsAreNamedTogether) {
  const TemporaryFolder folder;
  Unpacked changed(packed_fixture<MaskedLm>(folder, "mlm_gelu", Precision::bf16));
  changed.tensors.erase("lm_head.dense.weight.packed");
  changed.tensors["classifier.bias"] = changed.tensors.at("lm_head.bias");
  changed.tensors.at("lm_head.dense.bias").shape = {3, 4};
  expect_parts(refused(folder, changed),
               {"missing: lm_head.dense.weight.packed", "lm_head.dense.bias is F32 [3, 4]", "[12]",
                "not in the model: classifier.bias", "convert the model's folder again"});
}

TEST(PackedModel, TheConfigurationMustFit) {
  const TemporaryFolder folder;
  const Unpacked right(packed_fixture<MaskedLm>(folder, "mlm_gelu", Precision::int8));
  const std::vector<std::pair<std::string, Json>> changes = {
      {"vocab_size", 57},         {"max_position_embeddings", 17},
      {"type_vocab_size", 2},     {"intermediate_size", 33},
      {"hidden_size", 15},        {"num_hidden_layers", 4},
      {"num_hidden_layers", 0},   {"tie_word_embeddings", false},
      {"architectures", nullptr}, {"vocab_size", 2147483647}};
  for (const auto& change : changes) {
    Unpacked changed = right;
    changed.config[change.first] = change.second;
    (void)refused(folder, changed);
  }
  Unpacked changed = right;
  changed.precision = Precision::bf16;
  expect_parts(refused(folder, changed), {"of another type or size", "query.weight.packed"});
  changed = right;
  changed.config["hidden_act"] = "foo";
  changed.write(folder / "changed.packed");
  expect_parts(
      message_of<ConfigError>([&] { (void)MaskedLm::from_pretrained(folder / "changed.packed"); }),
      {folder / "changed.packed", "hidden_act"});
}

/// A pack that does not begin at a multiple of 64 bytes is refused, whatever the checksum says.
TEST(PackedModel, PacksMustBeAligned) {
  const TemporaryFolder folder;
  Unpacked changed(packed_fixture<MaskedLm>(folder, "mlm_gelu", Precision::full));
  changed.tensors["!"] = {DType::u32, {1}, std::vector<std::byte>(4)};
  expect_parts(refused(folder, changed),
               {"query.weight.packed is U32", "multiple of 64", "not in the model: !"});
}

/// Damage is refused, or where it is in the numbers, changes no more than them.
TEST(PackedModel, DamageIsRefusedOrHarmless) {
  const TemporaryFolder folder;
  const std::string bytes =
      read_file(packed_fixture<MaskedLm>(folder, "no_layers", Precision::int8));
  std::uint64_t length = 0;
  std::memcpy(&length, bytes.data(), sizeof(length));
  const std::size_t data = sizeof(length) + length;
  const std::string path = folder / "damaged.packed";
  const auto put = [&](const std::string& damaged) {
    std::remove(path.c_str());
    std::ofstream(path, std::ios::binary) << damaged;
  };
  for (std::size_t size = 1; size < bytes.size(); size += size < data ? 1 : 97) {
    put(bytes.substr(0, size));
    EXPECT_THROW((void)MaskedLm::from_pretrained(path), FormatError) << size;
  }
  const Fixture fixture("no_layers");
  Context cx(1);
  for (std::size_t i = 0; i < bytes.size(); i += i < data ? 1 : 89) {
    std::string damaged = bytes;
    damaged[i] = static_cast<char>(damaged[i] ^ (1 << (i % 8)));
    put(damaged);
    if (i < data) {
      EXPECT_THROW((void)MaskedLm::from_pretrained(path), FormatError) << i;
    } else {
      EXPECT_EQ(MaskedLm::from_pretrained(path)(cx, fixture.batch).size(0), fixture.batch.tokens());
    }
  }
}

}  // namespace eigenformer::packed_model_test
