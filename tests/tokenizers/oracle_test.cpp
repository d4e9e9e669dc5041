// The tokenizer against Hugging Face tokenizers 0.22.2, through the fixtures that
// tests/oracle/tokenizers_fixtures.py made. A failing digest is shown in full by
//   tests/oracle/tokenizers_fixtures.py --show NAME NUMBER
#include <map>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "eigenformer/io/file.hpp"
#include "eigenformer/io/json.hpp"
#include "eigenformer/tokenizers/tokenizer.hpp"

#include "oracle_cases.hpp"

namespace eigenformer::oracle_test {
using oracle::Case;

const std::string fixtures = EIGENFORMER_FIXTURES "/tokenizers/";
const std::string model_folder = EIGENFORMER_EXAMPLES "/model";

const Json& digests() {
  static const Json read = read_json(fixtures + "digests.json");
  return read;
}

const Tokenizer& model() {
  static const Tokenizer tokenizer = Tokenizer::from_pretrained(model_folder);
  return tokenizer;
}

TEST(TokenizerOracle, FixturesAreOfThisModel) {
  tests::Fnv fnv;
  fnv.bytes(read_file(model_folder + "/tokenizer.json"));
  EXPECT_EQ(digests()["model_file"], fnv.hex())
      << "examples/model/tokenizer.json has changed: run tests/oracle/tokenizers_fixtures.py";
}

Case read_case(const Json& json) {
  Case made;
  made.text = json["text"];
  if (json.contains("pair")) made.pair = json["pair"].get<std::string>();
  made.options.add_special_tokens = json.value("add_special_tokens", true);
  made.options.encode_special_tokens = json.value("encode_special_tokens", false);
  made.options.max_length = json.value("max_length", Index{0});
  made.options.stride = json.value("stride", Index{0});
  const std::string strategy = json.value("strategy", "longest_first");
  made.options.strategy = strategy == "longest_first" ? TruncationStrategy::longest_first
                          : strategy == "only_first"  ? TruncationStrategy::only_first
                                                      : TruncationStrategy::only_second;
  if (json.value("direction", "right") == "left") {
    made.options.direction = TruncationDirection::left;
  }
  return made;
}

TEST(TokenizerOracle, CasesInFull) {
  const Json cases = read_json(fixtures + "cases.json");
  ASSERT_GT(cases.size(), 100U);
  for (const Json& entry : cases) {
    EXPECT_EQ(oracle::result(model(), read_case(entry["case"])), entry["result"])
        << "case " << entry["case"].dump();
  }
}

/// Compares the random cases of one tokenizer; shows the first few that differ.
void compare_random(const Tokenizer& tokenizer, const std::string& name, EncodeCache* cache) {
  const Json& expected = digests()["random"][name];
  int shown = 0;
  for (std::size_t i = 0; i < expected.size() && shown < 5; ++i) {
    Case made = oracle::Random(i, digests()).make_case();
    made.options.cache = cache;
    if (oracle::digest(tokenizer, made) == expected[i].get_ref<const std::string&>()) continue;
    ++shown;
    ADD_FAILURE() << "tokenizer " << name << ", case " << i << " (" << Json(made.text).dump()
                  << "): got " << oracle::result(tokenizer, made).dump() << "; expected digest "
                  << expected[i] << ", see --show " << name << " " << i;
  }
}

TEST(TokenizerOracle, RandomTexts) {
  ASSERT_GE(digests()["random"]["model"].size(), 3000U);
  compare_random(model(), "model", nullptr);
}

TEST(TokenizerOracle, RandomTextsWithMemory) {
  EncodeCache cache;
  compare_random(model(), "model", &cache);
  compare_random(model(), "model", &cache);
}

TEST(TokenizerOracle, RandomToyTokenizers) {
  const Json toys = read_json(fixtures + "toys.json");
  ASSERT_GE(toys.size(), 30U);
  EncodeCache cache;  // one for all: words of one tokenizer must not turn up in another
  for (const auto& [name, document] : toys.items()) {
    const Tokenizer tokenizer = Tokenizer::from_json(document.dump(), name);
    compare_random(tokenizer, name, nullptr);
    compare_random(tokenizer, name, &cache);
  }
}

TEST(TokenizerOracle, BytesThatAreNotUtf8) {
  const Json& expected = digests()["invalid"];
  ASSERT_GE(expected.size(), 600U);
  for (std::size_t i = 0; i < expected.size(); ++i) {
    const Case made{oracle::Random(i, digests()).broken_bytes(), std::nullopt, {}};
    EXPECT_EQ(oracle::digest(model(), made), expected[i].get_ref<const std::string&>())
        << "case " << i << ": " << oracle::result(model(), made).dump();
  }
}

/// All code points but surrogates.
std::vector<char32_t> code_points() {
  std::vector<char32_t> points;
  for (char32_t point = 0; point < 0x110000; ++point) {
    if (point < 0xD800 || point >= 0xE000) points.push_back(point);
  }
  return points;
}

/// The fixture counts offsets in characters here.
void add_in_characters(tests::Fnv& fnv, const std::string& text, const Encoding& encoding) {
  std::vector<std::uint32_t> character_at(text.size() + 1);
  std::uint32_t count = 0;
  for (std::size_t i = 0; i < text.size(); ++i) {
    character_at[i] = count;
    if (i + 1 == text.size() || !detail::is_continuation(text[i + 1])) ++count;
  }
  character_at[text.size()] = count;
  fnv.numbers(encoding.ids);
  fnv.add(2 * encoding.offsets.size());
  for (const ByteSpan span : encoding.offsets) {
    fnv.add(character_at[span.begin]);
    fnv.add(character_at[span.end]);
  }
}

void compare_code_points(const Tokenizer& tokenizer, const Json& expected) {
  const std::vector<char32_t> points = code_points();
  const std::size_t per_text = 64;
  const std::size_t per_digest = 64 * per_text;
  ASSERT_EQ(expected.size(), (points.size() + per_digest - 1) / per_digest);
  EncodeCache cache;
  EncodeOptions options;
  options.cache = &cache;
  for (std::size_t i = 0; i < expected.size(); ++i) {
    tests::Fnv fnv;
    const std::size_t end = std::min(points.size(), (i + 1) * per_digest);
    for (std::size_t begin = i * per_digest; begin < end; begin += per_text) {
      std::string text;
      for (std::size_t at = begin; at < std::min(begin + per_text, end); ++at) {
        std::string point;
        detail::append_utf8(point, points[at]);
        text += "x" + point + "x1" + point + "1 " + point + point + " ";
      }
      add_in_characters(fnv, text, tokenizer.encode(text, options));
    }
    EXPECT_EQ(fnv.hex(), expected[i].get_ref<const std::string&>())
        << "code points " << std::hex << static_cast<unsigned>(points[i * per_digest]) << " to "
        << static_cast<unsigned>(points[end - 1]);
  }
}

TEST(TokenizerOracle, EveryCodePointInWords) {
  const Json toys = read_json(fixtures + "toys.json");
  ASSERT_EQ(digests()["unicode"].size(), 6U);
  for (const auto& [name, expected] : digests()["unicode"].items()) {
    SCOPED_TRACE(name);
    if (name == "model")
      compare_code_points(model(), expected);
    else
      compare_code_points(Tokenizer::from_json(toys[name].dump(), name), expected);
  }
}

TEST(TokenizerOracle, EveryCodePointBesideAddedTokens) {
  const Tokenizer tokenizer = Tokenizer::from_json(R"({"version": "1.0",
    "added_tokens": [
      {"id": 1, "content": "<W>", "single_word": true, "lstrip": false, "rstrip": false,
       "normalized": false, "special": false},
      {"id": 2, "content": "<S>", "single_word": false, "lstrip": true, "rstrip": true,
       "normalized": false, "special": false}],
    "model": {"type": "BPE", "vocab": {"a": 0}, "merges": []}})");
  const Json& expected = digests()["strip"];
  const std::vector<char32_t> points = code_points();
  const std::size_t per_digest = 4096;
  ASSERT_EQ(expected.size(), (points.size() + per_digest - 1) / per_digest);
  for (std::size_t i = 0; i < expected.size(); ++i) {
    tests::Fnv fnv;
    const std::size_t end = std::min(points.size(), (i + 1) * per_digest);
    for (std::size_t at = i * per_digest; at < end; ++at) {
      std::string point;
      detail::append_utf8(point, points[at]);
      const std::string text = point + "<W>" + point + "<S>" + point;
      add_in_characters(fnv, text, tokenizer.encode(text));
    }
    EXPECT_EQ(fnv.hex(), expected[i].get_ref<const std::string&>())
        << "code points " << std::hex << static_cast<unsigned>(points[i * per_digest]) << " to "
        << static_cast<unsigned>(points[end - 1]);
  }
}

}  // namespace eigenformer::oracle_test
