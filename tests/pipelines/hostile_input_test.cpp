// Files that nobody trusts: every kind that a model's folder may hold, damaged in every way that
// follows. Each is refused by an error that names it, or does no harm, and costs no more memory
// than a small multiple of its size. And texts that nobody expects, through the pipelines.
#include <algorithm>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <limits>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "eigenformer/pipelines/fill_mask.hpp"
#include "eigenformer/pipelines/search.hpp"
#include "eigenformer/pipelines/sentence_embedding.hpp"

#include "../allocation_counter.hpp"
#include "../temporary_folder.hpp"

namespace eigenformer::hostile_input_test {
using tests::TemporaryFolder;

const std::string fixtures = EIGENFORMER_FIXTURES;
const std::string encoder = fixtures + "/sentences/encoder";

/// The bytes that `action` asks for, in all; none where they are not counted.
std::size_t bytes_of(const std::function<void()>& action) {
  counting = true;
  allocated_bytes = 0;
  try {
    action();
  } catch (const Error&) {
  }
  counting = false;
  return allocated_bytes;
}

/// A file of a folder, and what reads it.
struct Subject {
  std::string folder;
  std::string name;
  std::function<void()> load;
  std::size_t usual = bytes_of(load);  ///< what the undamaged folder takes

  [[nodiscard]] std::string path() const { return folder + "/" + name; }
};

/// Puts `bytes` into the file as a new one, so that no mapping of the old one is shared.
void put(const std::string& path, const std::string& bytes) {
  std::filesystem::remove_all(path);
  std::ofstream(path, std::ios::binary) << bytes;
}

/// Loads; the message of the error, or "" where there is none. Two files that disagree are refused
/// by the name of their folder.
std::string outcome(const Subject& subject, std::size_t size, const std::string& damage) {
  std::string message;
  const std::size_t bytes = bytes_of([&] {
    try {
      subject.load();
    } catch (const Error& problem) {
      message = problem.what();
      throw;
    } catch (const std::exception& problem) {
      ADD_FAILURE() << subject.name << ", " << damage << ": another exception: " << problem.what();
    }
  });
  if (message.empty()) return message;  // the memory is that of a model
  EXPECT_NE(message.find(subject.folder), std::string::npos) << damage << ": " << message;
  EXPECT_LT(message.size(), 4000u) << damage;
  EXPECT_LT(bytes, subject.usual + 64 * size + (4u << 20)) << subject.name << ", " << damage;
  return message;
}

void expect_refused(const Subject& subject, const std::string& bytes, const std::string& damage) {
  put(subject.path(), bytes);
  const std::string message = outcome(subject, bytes.size(), damage);
  EXPECT_NE(message.find(subject.name), std::string::npos)
      << subject.name << ", " << damage << ": " << message;
}

std::string random_bytes(std::size_t size, unsigned seed) {
  std::minstd_rand random(seed);
  std::string bytes(size, '\0');
  for (char& byte : bytes) byte = static_cast<char>(random() >> 8);
  return bytes;
}

/// Damage that no file survives.
void damage_any(const Subject& subject, const std::string& bytes) {
  expect_refused(subject, "", "empty");
  const std::size_t step = std::max<std::size_t>(1, bytes.size() / 60);
  for (std::size_t size = 1; size < bytes.size(); size += step) {
    expect_refused(subject, bytes.substr(0, size), concat("cut short at ", size));
  }
  for (unsigned seed = 0; seed < 5; ++seed) {
    expect_refused(subject, random_bytes(bytes.size(), seed), "random bytes");
  }
  std::filesystem::remove(subject.path());
  std::filesystem::create_directory(subject.path());
  EXPECT_NE(outcome(subject, 0, "a folder"), "") << subject.name << ", a folder in its place";
  put(subject.path(), bytes);
}

/// Damage that no JSON survives: in front of `bytes`, which is an object or a list of objects.
void damage_json(const Subject& subject, const std::string& bytes) {
  const std::size_t first = bytes.find('{') + 1;
  const auto with = [&](const std::string& entry) {
    const std::string comma = bytes[bytes.find_first_not_of(" \n", first)] == '}' ? "" : ",";
    return bytes.substr(0, first) + entry + comma + bytes.substr(first);
  };
  const std::string deep(100'000, '[');
  expect_refused(subject, deep, "deep");
  expect_refused(subject, with("\"x\":" + deep + std::string(100'000, ']')), "deep inside");
  expect_refused(subject, with(R"("x":1,"x":2)"), "a key twice");
  for (const char* number : {"NaN", "Infinity", "-Infinity", "1e999", "-1e999", "01", "+1", "0x1",
                             "1.", ".5", "--1", "1e"}) {
    expect_refused(subject, with(concat(R"("x":)", number)), number);
  }
  expect_refused(subject, "\xEF\xBB\xBF" + bytes, "byte order mark");
  expect_refused(subject, bytes + std::string(1, '\0'), "NUL behind");
  expect_refused(subject, bytes + "{}", "a second document");
  expect_refused(subject, with("\"\xFF\":1"), "invalid UTF-8");
  for (const char* other : {"null", "7", "\"text\"", "true", "[[]]"}) {
    expect_refused(subject, other, other);
  }
  put(subject.path(), bytes);
}

/// Calls f(pointer) for each number in the tree, and some of the rest.
void for_each_leaf(const Json& json, const Json::json_pointer& at,
                   const std::function<void(const Json::json_pointer&)>& f) {
  if (!json.is_structured()) return f(at);
  std::size_t count = 0;
  for (const auto& item : json.items()) {
    if (count == 8 && json.size() > 60) return;  // of a vocabulary, the first few
    for_each_leaf(item.value(), json.is_array() ? at / count : at / item.key(), f);
    ++count;
  }
}

/// Every value replaced by every odd one: refused by name, or harmless.
void damage_values(const Subject& subject, const std::string& bytes) {
  const Json right = Json::parse(bytes);
  const Json values[] = {-1,
                         0,
                         0.5,
                         -0.0,
                         1e300,
                         nullptr,
                         true,
                         "",
                         "text",
                         Json::array(),
                         Json::object(),
                         std::numeric_limits<std::int64_t>::max(),
                         std::numeric_limits<std::int64_t>::min(),
                         std::numeric_limits<std::uint64_t>::max(),
                         2147483648,
                         1000000};
  int refused = 0;
  for_each_leaf(right, Json::json_pointer(), [&](const Json::json_pointer& at) {
    for (const Json& value : values) {
      Json wrong = right;
      wrong[at] = value;
      put(subject.path(), wrong.dump());
      refused += !outcome(subject, bytes.size(), at.to_string() + " = " + value.dump()).empty();
    }
  });
  EXPECT_GT(refused, 0) << subject.name;
  put(subject.path(), bytes);
}

void damage_json_file(const Subject& subject) {
  SCOPED_TRACE(subject.name);
  const std::string bytes = Json::parse(read_file(subject.path())).dump();
  put(subject.path(), bytes);
  ASSERT_NO_THROW(subject.load());
  damage_any(subject, bytes);
  damage_json(subject, bytes);
  damage_values(subject, bytes);
  ASSERT_NO_THROW(subject.load());
}

/// Lengths of the header that lie, and sizes inside it.
void damage_safetensors_file(const Subject& subject) {
  SCOPED_TRACE(subject.name);
  const std::string bytes = read_file(subject.path());
  ASSERT_NO_THROW(subject.load());
  damage_any(subject, bytes);
  for (const std::uint64_t length :
       {std::uint64_t{0}, std::uint64_t{1}, std::uint64_t{99'999'999}, std::uint64_t{bytes.size()},
        std::uint64_t{1} << 63, std::numeric_limits<std::uint64_t>::max()}) {
    std::string wrong = bytes;
    std::memcpy(wrong.data(), &length, sizeof(length));
    expect_refused(subject, wrong, concat("header of ", length));
  }
  for (std::size_t i = 8; i < bytes.size(); ++i) {
    if (bytes[i] < '0' || bytes[i] > '9' || bytes[i - 1] == 'F' || bytes[i - 1] == 'U') continue;
    if (bytes.find(R"("data_offsets")", i) == std::string::npos) break;
    std::string wrong = bytes;
    wrong[i] = "-.e9"[i % 4];
    put(subject.path(), wrong);
    (void)outcome(subject, bytes.size(), concat("byte ", i, " is ", wrong[i]));
  }
  expect_refused(subject, bytes + "x", "a byte too many");
  put(subject.path(), bytes);
  ASSERT_NO_THROW(subject.load());
}

/// A folder of sentence-transformers with every file that is read from it.
class HostileFolder : public ::testing::Test {
 protected:
  void SetUp() override {
    std::filesystem::copy(encoder, folder.path());
    for (const char* sub : {"1_Pooling", "2_Dense"}) {
      std::filesystem::create_directory(folder / sub);
    }
    const std::string type = R"("type":"sentence_transformers.models.)";
    write_file(folder / "modules.json",
               concat("[{", type, R"(Transformer","path":""},{)", type,
                      R"(Pooling","path":"1_Pooling"},{)", type, R"(Dense","path":"2_Dense"}])"));
    write_file(folder / "1_Pooling/config.json",
               R"({"word_embedding_dimension":12,"pooling_mode_mean_tokens":true})");
    write_file(folder / "2_Dense/config.json",
               R"({"in_features":12,"out_features":2,"bias":true,)"
               R"("activation_function":"torch.nn.modules.activation.Tanh"})");
    const std::vector<float> numbers(24, 0.5f);
    const auto some = std::as_bytes(std::span(numbers));
    write_safetensors(folder / "2_Dense/model.safetensors",
                      std::vector<TensorToWrite>{{"linear.weight", DType::f32, {2, 12}, some},
                                                 {"linear.bias", DType::f32, {2}, some.first(8)}});
    write_file(folder / "sentence_bert_config.json", R"({"max_seq_length":30})");
    write_file(folder / "config_sentence_transformers.json",
               R"({"prompts":{"q":"query: "},"default_prompt_name":"q"})");
    write_file(folder / "special_tokens_map.json",
               R"({"mask_token":{"content":"<mask>"},"cls_token":"<s>"})");
  }

  [[nodiscard]] Subject subject(const std::string& name) const {
    return {folder.path(), name,
            [this] { (void)SentenceEmbedding::from_pretrained(folder.path(), Context(1)); }};
  }

  const TemporaryFolder folder;
};

TEST_F(HostileFolder, ConfigJson) { damage_json_file(subject("config.json")); }
TEST_F(HostileFolder, TokenizerJson) { damage_json_file(subject("tokenizer.json")); }
TEST_F(HostileFolder, TokenizerConfig) {
  std::filesystem::remove(folder / "sentence_bert_config.json");  // which has a length too
  damage_json_file(subject("tokenizer_config.json"));
}
TEST_F(HostileFolder, Modules) { damage_json_file(subject("modules.json")); }
TEST_F(HostileFolder, Pooling) { damage_json_file(subject("1_Pooling/config.json")); }
TEST_F(HostileFolder, Dense) { damage_json_file(subject("2_Dense/config.json")); }
TEST_F(HostileFolder, Length) { damage_json_file(subject("sentence_bert_config.json")); }
TEST_F(HostileFolder, Prompts) { damage_json_file(subject("config_sentence_transformers.json")); }
TEST_F(HostileFolder, Weights) { damage_safetensors_file(subject("model.safetensors")); }
TEST_F(HostileFolder, DenseWeights) {
  damage_safetensors_file(subject("2_Dense/model.safetensors"));
}

TEST_F(HostileFolder, SpecialTokensMap) {
  const Subject map = subject("special_tokens_map.json");
  const std::string bytes = read_file(map.path());
  damage_any(map, bytes);
  damage_json(map, bytes);
}

TEST_F(HostileFolder, PackedFileBesideIt) {
  RobertaModel<float>::from_pretrained(encoder, {.precision = Precision::int8})
      .save_packed(folder / "int8.packed");
  damage_safetensors_file(
      {folder.path(), "int8.packed",
       [&] { (void)SentenceEmbedding::from_pretrained(folder / "int8.packed", Context(1)); }});
}

TEST(HostileFiles, VocabularyAndMerges) {
  const TemporaryFolder folder;
  write_file(folder / "vocab.json",
             R"({"<s>":0,"<pad>":1,"</s>":2,"<unk>":3,"a":4,"b":5,"ab":6,"<mask>":7})");
  write_file(folder / "merges.txt", "#version: 0.2\na b\n");
  write_file(folder / "added_tokens.json", R"({"<new>":8})");
  const auto subject = [&](const std::string& name) {
    return Subject{folder.path(), name, [&] { (void)Tokenizer::from_pretrained(folder.path()); }};
  };
  damage_json_file(subject("vocab.json"));
  damage_json_file(subject("added_tokens.json"));
  const Subject merges = subject("merges.txt");
  for (const std::string& wrong :
       {std::string("a\n"), std::string("a b c\n"), std::string("a x\n"), std::string("\n\n"),
        std::string("a \xFF\n"), std::string("a b\n\na b\n"), random_bytes(1000, 1)}) {
    expect_refused(merges, wrong, wrong.substr(0, 20));
  }
  std::filesystem::remove(merges.path());
  EXPECT_NE(outcome(merges, 0, "missing"), "");
}

TEST(HostileFiles, IndexAndShards) {
  const TemporaryFolder folder;
  std::filesystem::copy(fixtures + "/models/shards", folder.path());
  const auto subject = [&](const std::string& name) {
    return Subject{folder.path(), name,
                   [&] { (void)RobertaForMaskedLM<float>::from_pretrained(folder.path()); }};
  };
  damage_json_file(subject("model.safetensors.index.json"));
  damage_safetensors_file(subject("model-00003-of-00005.safetensors"));
}

TEST(HostileFiles, SearchIndex) {
  const TemporaryFolder folder;
  const std::vector<std::string> texts = {"one", "two", "three"};
  Search(Tensor<float>::full({3, 4}, 0.5f), texts).save(folder / "lines.index");
  damage_safetensors_file({folder.path(), "lines.index", [&] {
                             const Search search = Search::open(folder / "lines.index");
                             Context cx(1);
                             (void)search(cx, Tensor<float>::full({1, 4}, 1), 3);
                           }});
}

/// A tiny file asks for no table of its largest id.
TEST(HostileFiles, HugeIdsCostNothing) {
  const TemporaryFolder folder;
  for (const char* id : {"1048576", "16777215", "2147483647", "9223372036854775807"}) {
    const Subject vocabulary{folder.path(), "vocab.json",
                             [&] { (void)Tokenizer::from_pretrained(folder.path()); }};
    write_file(folder / "merges.txt", "");
    expect_refused(vocabulary, concat(R"({"a":)", id, "}"), id);
  }
}

// ---- texts ----

const std::string& ten_megabytes() {
  static const std::string text = [] {
    std::string made;
    while (made.size() < 10'000'000) made += "In the beginning God created the heaven. ";
    return made;
  }();
  return text;
}

template <class Action>
std::string message_of(Action&& action) {
  try {
    action();
  } catch (const Error& problem) {
    return problem.what();
  }
  ADD_FAILURE() << "nothing was thrown";
  return "";
}

class HostileText : public ::testing::Test {
 protected:
  static FillMask& fill() {
    static FillMask made(std::make_shared<Tokenizer>(Tokenizer::from_pretrained(encoder)),
                         std::make_shared<FillMask::Model>(FillMask::Model::from_pretrained(
                             encoder, {.initialize_missing_head = true})),
                         Context(1));
    return made;
  }
  static SentenceEmbedding& embedding() {
    static auto made = SentenceEmbedding::from_pretrained(encoder, Context(1));
    return made;
  }
};

/// The error tells how long the text is and how long it may be.
TEST_F(HostileText, TenMegabytes) {
  const std::string text = "<mask> " + ten_megabytes();
  const Index tokens = fill().tokenizer().encode(text).size();
  ASSERT_GT(tokens, 1'000'000);
  const std::string message = message_of([&] { (void)fill()(text); });
  EXPECT_NE(message.find(std::to_string(tokens)), std::string::npos) << message;
  EXPECT_NE(message.find("43"), std::string::npos) << message;
  EXPECT_EQ(fill()(text, {.max_length = 43}).size(), 5u);
  const Tensor<float> cut = embedding()({text});
  EXPECT_TRUE((cut.array() == embedding()({text.substr(0, 1000)}).array()).all());
}

TEST_F(HostileText, OneTokenTooMany) {
  std::vector<TokenId> ids(44, 5);
  ids[3] = fill().tokenizer().mask_token_id();
  Encoding encoding;
  encoding.ids = ids;
  const std::string message = message_of([&] { (void)fill().all(encoding); });
  EXPECT_NE(message.find("44"), std::string::npos) << message;
  EXPECT_NE(message.find("43"), std::string::npos) << message;
  encoding.ids.pop_back();
  EXPECT_EQ(fill().all(encoding).size(), 1u);
}

TEST_F(HostileText, IdsOutsideTheVocabulary) {
  for (const TokenId id :
       {-1, 330, std::numeric_limits<TokenId>::max(), std::numeric_limits<TokenId>::min()}) {
    Batch batch;
    batch.add(std::vector<TokenId>{0, id, 2});
    const std::string message = message_of([&] { (void)embedding()(batch); });
    EXPECT_NE(message.find(std::to_string(id)), std::string::npos) << message;
    EXPECT_NE(message.find("330"), std::string::npos) << message;
  }
}

/// Bytes that are not UTF-8 are read as U+FFFD, as Python's errors="replace" gives them to HF.
TEST_F(HostileText, InvalidUtf8) {
  const std::string broken = "light\xFF and \xE2\x82 <mask>\xC3";
  const std::string repaired = "light\uFFFD and \uFFFD <mask>\uFFFD";
  const auto guesses = fill()(broken);
  const auto expected = fill()(repaired);
  for (std::size_t i = 0; i < guesses.size(); ++i) {
    EXPECT_EQ(guesses[i].sequence, expected[i].sequence);
    EXPECT_EQ(guesses[i].score, expected[i].score);
  }
  EXPECT_TRUE((embedding()({broken}).array() == embedding()({repaired}).array()).all());
}

TEST_F(HostileText, Empty) {
  EXPECT_NE(message_of([&] { (void)fill()(""); }).find("<mask>"), std::string::npos);
  EXPECT_TRUE(embedding()({""}).array().isFinite().all());
  EXPECT_EQ(embedding()(std::vector<std::string>{}).size(0), 0);
}

}  // namespace eigenformer::hostile_input_test
