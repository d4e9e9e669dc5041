// Tokenizers made of spiece.model: random cases against AlbertTokenizer of transformers 5.15.1
// (tests/oracle/tokenizers_fixtures.py), and files that are refused. What needs the sentencepiece
// library is skipped where this program was built without it.
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <utility>

#include <gtest/gtest.h>

#ifdef EIGENFORMER_HAS_SENTENCEPIECE
#include "eigenformer/tokenizers/sentencepiece.hpp"
#endif
#include "eigenformer/io/file.hpp"
#include "eigenformer/io/json.hpp"
#include "eigenformer/tokenizers/tokenizer.hpp"

#include "../temporary_folder.hpp"
#include "oracle_cases.hpp"

namespace eigenformer::sentencepiece_test {
using tests::TemporaryFolder;

const std::string fixtures = EIGENFORMER_FIXTURES "/tokenizers";

/// What a folder with `model` as spiece.model and `files` is refused with, or "accepted".
std::string refusal(std::string_view model, const Json& files = Json::object()) {
  const TemporaryFolder folder;
  write_file(folder / "spiece.model", model);
  for (const auto& [name, content] : files.items()) write_file(folder / name, content.dump());
  try {
    (void)Tokenizer::from_pretrained(folder.path());
  } catch (const Error& problem) {
    return problem.what();
  }
  return "accepted";
}

void expect_refused(std::string_view named, std::string_view model,
                    const Json& files = Json::object()) {
  const std::string message = refusal(model, files);
  EXPECT_NE(message.find(named), std::string::npos) << message << "\n  does not say " << named;
}

TEST(SentencePiece, SaysWhatIsMissingWithoutTheLibrary) {
  const auto reader = std::exchange(detail::sentencepiece_reader, nullptr);
  expect_refused("libsentencepiece-dev", "any");
  expect_refused("tokenizer.json", "any");
  detail::sentencepiece_reader = reader;
}

class SentencePieceFolders : public testing::Test {
 protected:
  void SetUp() override {
    if (detail::sentencepiece_reader == nullptr) {
      GTEST_SKIP() << "SKIPPED: built without the sentencepiece library (Debian: "
                      "libsentencepiece-dev); no spiece.model was read";
    }
  }

  const std::string model_ = read_file(fixtures + "/sentencepiece/spiece.model");
};

TEST_F(SentencePieceFolders, AreReadAsByTransformers) {
  const Json pieces = read_json(fixtures + "/digests.json");
  const Json folders = read_json(fixtures + "/sentencepiece/cases.json");
  ASSERT_EQ(folders.size(), 4U);
  for (const auto& [name, expected] : folders.items()) {
    const TemporaryFolder folder;
    write_file(folder / "spiece.model", model_);
    for (const auto& [file, content] : expected["files"].items()) {
      write_file(folder / file, content.dump());
    }
    const Tokenizer tokenizer = Tokenizer::from_pretrained(folder.path());
    const TemporaryFolder saved;
    tokenizer.save_pretrained(saved.path());
    const Tokenizer again = Tokenizer::from_pretrained(saved.path());
    const Json& digests = expected["digests"];
    ASSERT_EQ(digests.size(), 200U);
    for (std::size_t i = 0; i < digests.size(); ++i) {
      const oracle::Case made = oracle::Random(i, pieces).make_case();
      EXPECT_EQ(oracle::digest(tokenizer, made), digests[i].get_ref<const std::string&>())
          << name << ", case " << i << ": " << oracle::result(tokenizer, made).dump();
      EXPECT_EQ(oracle::digest(again, made), digests[i].get_ref<const std::string&>())
          << name << ", saved, case " << i;
    }
  }
}

TEST_F(SentencePieceFolders, HaveAlbertsSpecialTokens) {
  const TemporaryFolder folder;
  write_file(folder / "spiece.model", model_);
  write_file(folder / "tokenizer_config.json", R"({"model_max_length": 512})");
  const Tokenizer tokenizer = Tokenizer::from_pretrained(folder.path());
  EXPECT_EQ(tokenizer.vocab_size(), 500);
  EXPECT_EQ(tokenizer.pad_token_id(), 0);
  EXPECT_EQ(tokenizer.unk_token_id(), 1);
  EXPECT_EQ(tokenizer.bos_token_id(), 2);
  EXPECT_EQ(tokenizer.cls_token_id(), 2);
  EXPECT_EQ(tokenizer.eos_token_id(), 3);
  EXPECT_EQ(tokenizer.sep_token_id(), 3);
  EXPECT_EQ(tokenizer.mask_token_id(), 4);
  EXPECT_EQ(tokenizer.model_max_length(), 512);
  EXPECT_EQ(tokenizer.encode("a", "b").type_ids.back(), 1);
}

TEST_F(SentencePieceFolders, OfOtherTokenizersAreRefusedByName) {
  expect_refused("type 'bpe' is not supported", read_file(fixtures + "/sentencepiece/bpe.model"));
  expect_refused("byte_fallback", read_file(fixtures + "/sentencepiece/bytes.model"));
  const auto config = [](const char* text) {
    return Json{{"tokenizer_config.json", parse_json(text, "")}};
  };
  expect_refused("'T5Tokenizer'", model_, config(R"({"tokenizer_class": "T5Tokenizer"})"));
  expect_refused("model_type 'xlnet'", model_, Json{{"config.json", {{"model_type", "xlnet"}}}});
  expect_refused("extra_special_tokens", model_, config(R"({"extra_special_tokens": ["<x>"]})"));
  expect_refused("no piece '<cls>'", model_, config(R"({"cls_token": "<cls>"})"));
  expect_refused("'do_lower_case' must be", model_, config(R"({"do_lower_case": 1})"));
  EXPECT_EQ(refusal(model_, config(R"({"tokenizer_class": "AlbertTokenizerFast"})")), "accepted");
}

/// A field of a message in the wire format of Protocol Buffers.
std::string field(int number, std::string_view bytes) {
  std::string made(1, static_cast<char>(number << 3 | 2));
  for (std::size_t size = bytes.size();; size >>= 7) {
    made += static_cast<char>(size < 0x80 ? size : (size & 0x7F) | 0x80);
    if (size < 0x80) break;
  }
  return made.append(bytes);
}

TEST_F(SentencePieceFolders, DamagedFilesAreRefused) {
  expect_refused("spiece.model: ", "");
  expect_refused("spiece.model: ", "{}");
  expect_refused("spiece.model: ", std::string(100, '\0'));
  expect_refused("spiece.model: ", std::string(100, '\xFF'));
  expect_refused("damaged", model_ + field(1, "ab").substr(0, 3));
  expect_refused("self_test_data", model_ + field(4, ""));
  expect_refused("type '9'", model_ + field(2, "\x18\x09"));
  expect_refused("rule is broken", model_ + field(3, field(2, std::string(4, '\xFF'))));
  const auto piece = [](std::string_view text, std::string_view score) {
    return field(1, field(1, text) + "\x15" + std::string(score));
  };
  const std::string_view one("\0\0\x80\x3F", 4);
  EXPECT_EQ(refusal(model_ + piece("new", one)), "accepted");
  expect_refused("piece 500 is not valid UTF-8", model_ + piece("\xFF", one));
  expect_refused("finite score", model_ + piece("new", std::string_view("\0\0\xC0\x7F", 4)));
  expect_refused("already defined", model_ + piece("a", one));
  expect_refused("sentencepiece: ", model_ + piece("", one));
  expect_refused("must be number 1", field(1, field(1, "<unk>") + "\x18\x02") + piece("a", one));
  // Cut off, or with a byte of another value, a file is refused or still makes a tokenizer.
  std::size_t refused = 0;
  for (std::size_t at = 0; at < model_.size(); at += 37) {
    refused += refusal(std::string_view(model_).substr(0, at)) != "accepted";
    std::string damaged = model_;
    damaged[at] = static_cast<char>(damaged[at] ^ 0x55);
    (void)refusal(damaged);
  }
  EXPECT_GT(refused, 100U);
}

TEST_F(SentencePieceFolders, HugeFilesAreNotRead) {
  const TemporaryFolder folder;
  write_file(folder / "spiece.model", "");
  std::filesystem::resize_file(folder / "spiece.model", std::uintmax_t{1} << 40);  // a hole
  try {
    (void)Tokenizer::from_pretrained(folder.path());
    FAIL() << "was read";
  } catch (const FormatError& problem) {
    EXPECT_NE(std::string(problem.what()).find("1099511627776 bytes"), std::string::npos);
  }
}

}  // namespace eigenformer::sentencepiece_test
