// Sentence embeddings against sentence-transformers in float64, for every pooling and kind of
// folder; and against themselves: batches of any size, any number of threads.
#include "eigenformer/pipelines/sentence_embedding.hpp"

#include <filesystem>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "../messages.hpp"
#include "../models/fixture.hpp"

namespace sentence_embedding_test {

namespace ef = eigenformer;
using ef::testing_models::Difference;
using ef::testing_models::same_bits;
using ef::tests::TemporaryFolder;

const std::string fixtures = EIGENFORMER_FIXTURES "/sentences/";

const ef::Json& cases() {
  static const ef::Json json = ef::read_json(fixtures + "cases.json");
  return json;
}
const ef::Json& inputs() {
  static const ef::Json json = ef::read_json(fixtures + "texts.json");
  return json;
}
std::vector<std::string> texts() { return inputs()["texts"].get<std::vector<std::string>>(); }

/// The encoder's folder with the files of a case in it.
class CaseFolder {
 public:
  explicit CaseFolder(const ef::Json& files) {
    bool inside = false;
    for (const auto& [path, content] : files.items()) inside |= path.starts_with("0_");
    std::filesystem::copy(fixtures + "encoder",
                          inside ? folder_ / "0_Transformer" : folder_.path());
    for (const auto& [path, content] : files.items()) {
      std::filesystem::create_directories((std::filesystem::path(folder_ / path)).parent_path());
      ef::write_file(folder_ / path, content.dump());
      if (path.find("Dense/") != std::string::npos) write_dense(path, content);
    }
  }
  [[nodiscard]] const std::string& path() const { return folder_.path(); }
  [[nodiscard]] std::string operator/(const std::string& name) const { return folder_ / name; }

 private:
  /// The upper left corner of the fixture's weights.
  void write_dense(const std::string& path, const ef::Json& content) {
    const auto file = ef::SafetensorsFile::open(fixtures + "dense.safetensors");
    const ef::Index columns = file.shape("weight")[1];
    const ef::Index out = content["out_features"].get<ef::Index>();
    const ef::Index in = content["in_features"].get<ef::Index>();
    const float* numbers = file.view<float>("weight");
    std::vector<float> weight;
    for (ef::Index i = 0; i < out; ++i) {
      weight.insert(weight.end(), numbers + i * columns, numbers + i * columns + in);
    }
    std::vector<ef::TensorToWrite> tensors = {
        {"linear.weight", ef::DType::f32, {out, in}, std::as_bytes(std::span(weight))}};
    if (content["bias"].get<bool>()) {
      tensors.push_back({"linear.bias",
                         ef::DType::f32,
                         {out},
                         file.bytes("bias").first(static_cast<std::size_t>(out) * sizeof(float))});
    }
    const std::string folder = path.substr(0, path.rfind('/'));
    ef::write_safetensors(folder_ / (folder + "/model.safetensors"), tensors);
  }

  TemporaryFolder folder_;
};

template <class Scalar>
ef::Tensor<Scalar> embed_case(ef::BasicSentenceEmbedding<Scalar>& embed, const std::string& name) {
  if (name != "pairs") return embed(texts());
  ef::Batch batch;
  for (const ef::Json& pair : inputs()["pairs"]) {
    const auto encoding = embed.encode(pair[0].get<std::string>(), pair[1].get<std::string>());
    batch.add(encoding.ids, encoding.type_ids);
  }
  return embed(batch);
}

template <class Scalar>
void expect_parity(double tolerance) {
  const auto expected = ef::SafetensorsFile::open(fixtures + "expected.safetensors");
  double worst = 0;
  for (const auto& [name, files] : cases().items()) {
    const CaseFolder folder(files);
    auto embed = ef::BasicSentenceEmbedding<Scalar>::from_pretrained(folder.path(), ef::Context(2));
    const ef::Tensor<Scalar> got = embed_case(embed, name);
    ASSERT_EQ(got.shape(), expected.shape(name)) << name;
    ASSERT_EQ(got.size(1), embed.size()) << name;
    const double* truth = expected.view<double>(name);
    ASSERT_NE(truth, nullptr);
    for (ef::Index i = 0; i < got.size(0); ++i) {
      Difference difference;
      for (ef::Index j = 0; j < got.size(1); ++j) {
        difference.add(static_cast<double>(got(i, j)), truth[i * got.size(1) + j]);
      }
      EXPECT_LE(difference.relative(), tolerance) << name << ", text " << i;
      worst = std::max(worst, difference.relative());
    }
  }
  std::printf("%zu cases, %zu texts, largest relative error %.2g\n", cases().size(), texts().size(),
              worst);
}

ef::SentenceEmbedding example(int threads = 2) {
  return ef::SentenceEmbedding::from_pretrained(EIGENFORMER_EXAMPLES "/model",
                                                ef::Context(threads));
}

TEST(SentenceEmbedding, DoubleIsSentenceTransformers) { expect_parity<double>(1e-10); }
TEST(SentenceEmbedding, FloatIsSentenceTransformers) { expect_parity<float>(1e-5); }

TEST(SentenceEmbedding, ThreadsDoNotChangeABit) {
  const ef::Tensor<float> all = example(2)(texts());
  for (const int threads : {1, 3}) EXPECT_TRUE(same_bits(example(threads)(texts()), all));
}

TEST(SentenceEmbedding, BatchesDoNotChangeABit) {
  std::vector<std::string> many = texts();
  for (int i = 0; i < 2000; ++i) many.push_back("verse " + std::to_string(i % 700));
  const CaseFolder folder(cases()["short_normalized"]);
  auto embed = ef::SentenceEmbedding::from_pretrained(folder.path(), ef::Context(2));
  const ef::Tensor<float> all = embed(many);
  ASSERT_EQ(all.shape(), ef::Shape({static_cast<ef::Index>(many.size()), 12}));
  for (const ef::Index batch_tokens : {1, 100, 1 << 20}) {
    EXPECT_TRUE(same_bits(embed(many, {.batch_tokens = batch_tokens}), all)) << batch_tokens;
  }
  for (const std::size_t i : {std::size_t{0}, std::size_t{20}, many.size() - 1}) {
    const auto row = static_cast<ef::Index>(i);
    EXPECT_TRUE(same_bits(embed({many[i]}), all.rows(row, row + 1))) << i;
  }
  ef::Batch batch;
  for (const std::string& text : many) {
    const ef::Encoding encoding = embed.encode(text);
    batch.add(encoding.ids, encoding.type_ids);
  }
  EXPECT_TRUE(same_bits(embed(batch), all));
}

TEST(SentenceEmbedding, ReportsProgress) {
  ef::SentenceEmbedding embed = example();
  const std::vector<std::string> many(1500, "In the beginning");
  std::vector<ef::Index> done;
  const auto note = [&](ef::Index now, ef::Index total) {
    EXPECT_EQ(total, 1500);
    done.push_back(now);
  };
  (void)embed(many, {.batch_tokens = 1000, .progress = note});
  ASSERT_GT(done.size(), 3u);
  EXPECT_EQ(done.back(), 1500);
  for (std::size_t i = 1; i < done.size(); ++i) EXPECT_GT(done[i], done[i - 1]);
}

TEST(SentenceEmbedding, NoTextsAndNoTokens) {
  ef::SentenceEmbedding embed = example();
  EXPECT_EQ(embed(std::vector<std::string>{}).shape(), ef::Shape({0, 256}));
  ef::Batch batch;
  batch.add(std::vector<ef::TokenId>{});
  batch.add(std::vector<ef::TokenId>{0, 2});
  const ef::Tensor<float> rows = embed(batch);
  EXPECT_EQ(rows.matrix().row(0).norm(), 0.0f);
  EXPECT_TRUE(same_bits(rows.rows(1, 2), embed({""})));
}

TEST(SentenceEmbedding, MaxLengthReplacesTheFoldersUpToTheEncoders) {
  ef::SentenceEmbedding embed = example();
  const std::string text = "In the beginning God created the heaven and the earth.";
  EXPECT_EQ(embed.encode(text, {}, 5).size(), 5);
  const ef::Tensor<float> cut = embed({text}, {.max_length = 5});
  EXPECT_TRUE(same_bits(cut, embed({"In the beginning"})));
  EXPECT_FALSE(same_bits(cut, embed({text})));
  std::string long_text;
  for (int i = 0; i < 2000; ++i) long_text += "word ";
  EXPECT_EQ(embed.encode(long_text).size(), 512);
  EXPECT_EQ(embed.encode(long_text, "pair", 100000).size(), 512);
  ef::Batch too_long;
  too_long.add(std::vector<ef::TokenId>(513, 5));
  EXPECT_THROW((void)embed(too_long), ef::ShapeError);
  EXPECT_THROW((void)embed({"a"}, {.max_length = 1}), ef::ConfigError);
}

TEST(SentenceEmbedding, PackedFilesAndReducedPrecision) {
  const CaseFolder folder(cases()["short_normalized"]);
  auto embed = ef::SentenceEmbedding::from_pretrained(folder.path());
  const ef::Tensor<float> all = embed(texts());
  embed.model().save_packed(folder / "model.packed");
  auto mapped = ef::SentenceEmbedding::from_pretrained(folder / "model.packed");
  EXPECT_TRUE(same_bits(mapped(texts()), all));
  auto narrow =
      ef::SentenceEmbedding::from_pretrained(folder.path(), ef::Context(), ef::Precision::bf16);
  const ef::Tensor<float> rows = narrow(texts());
  for (ef::Index i = 0; i < rows.size(0); ++i) {
    EXPECT_GT(rows.matrix().row(i).dot(all.matrix().row(i)), 0.99f) << i;
  }
}

TEST(SentenceEmbedding, RefusesByName) {
  struct Refusal {
    const char* file;
    const char* key;  // JSON pointer of what is changed in the case "dense_tanh"
    const char* value;
    const char* named;  // in the error
  };
  const Refusal refusals[] = {
      {"modules.json", "/1/type", R"("sentence_transformers.models.WeightedLayerPooling")",
       "WeightedLayerPooling"},
      {"modules.json", "/3/type", R"("sentence_transformers.models.Dropout")", "Dropout"},
      {"modules.json", "/3/type", R"("sentence_transformers.models.Pooling")", "module 3"},
      {"modules.json", "/0/type", R"("mine.Transformer")", "mine.Transformer"},
      {"modules.json", "/0/type", "7", "type"},
      {"modules.json", "/1/path", R"("../1_Pooling")", "../1_Pooling"},
      {"modules.json", "/1/path", R"("/1_Pooling")", "/1_Pooling"},
      {"modules.json", "/1/path", R"("nowhere")", "nowhere"},
      {"modules.json", "", "[]", "modules.json"},
      {"modules.json", "", "{}", "modules.json"},
      {"1_Pooling/config.json", "/word_embedding_dimension", "13", "13"},
      {"1_Pooling/config.json", "/pooling_mode", R"("median")", "median"},
      {"1_Pooling/config.json", "/pooling_mode_median_tokens", "true", "median"},
      {"1_Pooling/config.json", "/pooling_mode_max_tokens", "1", "pooling_mode_max_tokens"},
      {"2_Dense/config.json", "/in_features", "23", "23"},
      {"2_Dense/config.json", "/in_features", "-1", "in_features"},
      {"2_Dense/config.json", "/out_features", "6", "linear.weight"},
      {"2_Dense/config.json", "/out_features", "9223372036854775807", "out_features"},
      {"2_Dense/config.json", "/bias", "false", "tensors"},
      {"2_Dense/config.json", "/use_residual", "true", "use_residual"},
      {"2_Dense/config.json", "/activation_function", R"("torch.nn.Softplus")", "Softplus"},
      {"2_Dense/config.json", "/module_input_name", R"("token_embeddings")", "module_input_name"},
      {"3_Normalize/config.json", "", R"({"module_output_name":"x"})", "module_output_name"},
      {"sentence_bert_config.json", "", R"({"max_seq_length":0})", "max_seq_length"},
      {"sentence_bert_config.json", "", R"({"max_seq_length":"9"})", "max_seq_length"},
      {"sentence_bert_config.json", "", R"({"do_lower_case":true})", "do_lower_case"},
      {"sentence_bert_config.json", "", R"({"transformer_task":"fill-mask"})", "transformer_task"},
      {"sentence_bert_config.json", "", R"({"module_output_name":"x"})", "module_output_name"},
      {"sentence_bert_config.json", "", R"({"processing_kwargs":{"text":{}}})",
       "processing_kwargs"},
      {"config_sentence_transformers.json", "", R"({"default_prompt_name":"query"})", "query"},
      {"config_sentence_transformers.json", "", R"({"default_prompt_name":"q","prompts":{"q":1}})",
       "default_prompt_name"},
  };
  for (const Refusal& refusal : refusals) {
    ef::Json files = cases()["dense_tanh"];
    files[refusal.file][ef::Json::json_pointer(refusal.key)] = ef::Json::parse(refusal.value);
    CaseFolder folder(cases()["dense_tanh"]);
    std::filesystem::create_directories(std::filesystem::path(folder / refusal.file).parent_path());
    ef::write_file(folder / refusal.file, files[refusal.file].dump());
    const std::string message = ef::tests::message_of<ef::Error>(
        [&] { (void)ef::SentenceEmbedding::from_pretrained(folder.path()); });
    EXPECT_TRUE(ef::tests::contains(message, refusal.named))
        << refusal.file << refusal.key << " " << refusal.value;
  }
  ef::Json files = cases()["prompt"];
  files["1_Pooling/config.json"]["include_prompt"] = false;
  EXPECT_THROW((void)ef::SentenceConfig::from_pretrained(CaseFolder(files).path()),
               ef::ConfigError);
  EXPECT_THROW((void)ef::SentenceEmbedding::from_pretrained("no/such/folder"), ef::IoError);
  ef::SentenceEmbedding embed = example();
  ef::Batch masked = embed.tokenizer().encode_batch({"a"});
  masked.mask.assign(masked.ids.size(), 1);
  EXPECT_THROW((void)embed(masked), ef::ShapeError);
}

TEST(SentenceEmbedding, NoStatedLengthIsTheEncoders) {
  CaseFolder folder(ef::Json::object());
  for (const char* config : {"{}", R"({"model_max_length":1000000000000000019884624838656})",
                             R"({"model_max_length":44})"}) {
    ef::write_file(folder / "tokenizer_config.json", config);
    auto embed = ef::SentenceEmbedding::from_pretrained(folder.path());
    EXPECT_EQ(embed.encode(texts()[31]).size(), 43) << config;
  }
}

TEST(Pooling, SegmentsByHand) {
  using ef::PoolingMode;
  ef::Context cx(1);
  Eigen::MatrixXd hidden(3, 2);
  hidden << 1, -5, 4, -1, 7, -3;
  const std::vector<ef::Index> segments = {0, 2, 2, 3};
  const std::vector<PoolingMode> modes = {PoolingMode::lasttoken, PoolingMode::max,
                                          PoolingMode::weightedmean};
  const ef::Tensor<double> pooled = ef::pool_segments<double>(cx, hidden, segments, modes);
  Eigen::MatrixXd expected(3, 6);
  expected << 4, -1, 4, -1, 3, -7. / 3, 0, 0, 0, 0, 0, 0, 7, -3, 7, -3, 7, -3;
  EXPECT_TRUE(pooled.matrix().isApprox(expected, 1e-15));
  for (const std::vector<ef::Index>& wrong :
       {std::vector<ef::Index>{}, {0, 2}, {1, 3}, {0, 3, 2, 3}}) {
    EXPECT_THROW((void)ef::pool_segments<double>(cx, hidden, wrong, modes), ef::ShapeError);
  }
}

}  // namespace sentence_embedding_test
