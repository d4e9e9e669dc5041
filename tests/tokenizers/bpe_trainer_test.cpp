// The trainer of byte-level BPE against that of Hugging Face tokenizers 0.22.2, token by token and
// merge by merge (tests/oracle/bpe_trainer_fixtures.py), and the files of a RoBERTa tokenizer.
#include "eigenformer/tokenizers/bpe_trainer.hpp"

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "eigenformer/io/file.hpp"
#include "eigenformer/io/json.hpp"
#include "eigenformer/threading/thread_pool.hpp"
#include "eigenformer/tokenizers/roberta_tokenizer.hpp"

#include "../fnv.hpp"
#include "../messages.hpp"
#include "../temporary_folder.hpp"
#include "oracle_cases.hpp"

namespace eigenformer::bpe_trainer_test {
using tests::TemporaryFolder;

using Texts = std::vector<std::string>;

const Json& fixture() {
  static const Json read = read_json(EIGENFORMER_FIXTURES "/tokenizers/bpe_trainer.json");
  return read;
}

const std::string& verses() {
  static const std::string text = read_file(EIGENFORMER_FIXTURES "/text/verses.txt");
  return text;
}

Texts lines_of(const std::string& text) {
  Texts lines;
  for (std::size_t begin = 0; begin < text.size();) {
    const std::size_t end = std::min(text.find('\n', begin), text.size());
    lines.push_back(text.substr(begin, end - begin));
    begin = end + 1;
  }
  return lines;
}

/// Options as HF has them, where no character is a token unless the text has it.
BpeTrainerOptions options_of(const Json& json) {
  BpeTrainerOptions options;
  options.vocab_size = json["vocab_size"];
  options.min_frequency = json.value("min_frequency", 0);
  options.special_tokens = json.value("special_tokens", Texts());
  options.initial_alphabet = json.value("initial_alphabet", "");
  if (json.contains("limit_alphabet")) options.limit_alphabet = json["limit_alphabet"];
  if (json.contains("max_token_length")) options.max_token_length = json["max_token_length"];
  return options;
}

TrainedBpe train(const Texts& texts, const BpeTrainerOptions& options, ThreadPool* pool = nullptr) {
  BpeTrainer trainer(options);
  trainer.feed(texts, pool);
  return trainer.train();
}

std::string digest(const TrainedBpe& bpe) {
  tests::Fnv fnv;
  for (const std::string& token : bpe.vocabulary) fnv.bytes(token + "\n");
  for (const auto& [left, right] : bpe.merges) fnv.bytes(left + "\n" + right + "\n");
  return fnv.hex();
}

TEST(BpeTrainer, EveryCaseAsTheReference) {
  ASSERT_EQ(fixture()["cases"].size(), 138U);
  for (const Json& expected : fixture()["cases"]) {
    const std::string name = expected["name"];
    const Json& given = fixture()["texts"][name];
    const Texts texts = given.is_null() ? lines_of(verses()) : given.get<Texts>();
    const BpeTrainerOptions options = options_of(expected["options"]);
    SCOPED_TRACE(name + ", " + expected["options"].dump());
    const TrainedBpe bpe = train(texts, options);
    EXPECT_EQ(Json(bpe.vocabulary.size()), expected["tokens"]);
    if (expected.contains("merges")) {
      EXPECT_EQ(Json(bpe.vocabulary), expected["vocabulary"]);
      EXPECT_EQ(Json(bpe.merges), expected["merges"]);
    }
    EXPECT_EQ(digest(bpe), expected["digest"]);
  }
}

TEST(BpeTrainer, RandomTextsAsTheReference) {
  const Json words = read_json(EIGENFORMER_FIXTURES "/tokenizers/digests.json");
  const Json& expected = fixture()["random"];
  ASSERT_EQ(expected.size(), 150U);
  for (std::size_t number = 0; number < expected.size(); ++number) {
    oracle::Random random(1000 + number, words);
    BpeTrainerOptions options;
    options.initial_alphabet = "";
    options.vocab_size = static_cast<Index>(250 + random.below(1500));
    options.min_frequency = static_cast<Index>(random.below(4));
    if (random.below(3) == 0) options.max_token_length = static_cast<Index>(2 + random.below(10));
    if (random.below(2) == 0) options.special_tokens = {"<s>", "<pad>", "</s>", "<unk>"};
    Texts texts(1 + random.below(120));
    for (std::string& text : texts) text = random.text();
    EXPECT_EQ(digest(train(texts, options)), expected[number]) << "case " << number;
  }
  Texts broken;
  for (std::size_t number = 0; number < 200; ++number) {
    broken.push_back(oracle::Random(number, words).broken_bytes());
  }
  const BpeTrainerOptions options{.vocab_size = 1000, .initial_alphabet = ""};
  EXPECT_EQ(digest(train(broken, options)), fixture()["broken"]);
}

TEST(BpeTrainer, ThreadsAndOrderChangeNothing) {
  std::string text;  // more than one part for the threads
  while (text.size() < 3U << 20U) text += verses() + std::to_string(text.size()) + "\n";
  Texts lines = lines_of(text);
  for (std::string& line : lines) line += '\n';
  const std::string alone = digest(train(lines, {.vocab_size = 3000}));
  std::reverse(lines.begin(), lines.end());
  EXPECT_EQ(digest(train(lines, {.vocab_size = 3000})), alone);
  for (const int threads : {1, 2, 5}) {
    ThreadPool pool(threads);
    EXPECT_EQ(digest(train(lines, {.vocab_size = 3000}, &pool)), alone) << threads << " threads";
    BpeTrainer trainer({.vocab_size = 3000});
    trainer.feed_lines(text, &pool);
    EXPECT_EQ(digest(trainer.train()), alone) << threads << " threads, lines";
  }
}

TEST(BpeTrainer, TextsFedInSeveralCallsCountTogether) {
  BpeTrainer trainer({.vocab_size = 300});
  trainer.feed_lines("low lower\nlowest");
  trainer.feed({"low", "", " low"});
  std::vector<std::pair<std::string, std::uint64_t>> words;
  trainer.for_each_word(
      [&](std::string_view word, std::uint64_t n) { words.emplace_back(word, n); });
  std::sort(words.begin(), words.end());
  const decltype(words) expected = {
      {"\n", 1}, {" low", 1}, {" lower", 1}, {"low", 2}, {"lowest", 1}};
  EXPECT_EQ(words, expected);
  EXPECT_EQ(trainer.train().merges.front(), std::make_pair(std::string("l"), std::string("o")));
}

TEST(BpeTrainer, ReportsProgress) {
  std::vector<Index> reports;
  BpeTrainerOptions options = roberta_trainer_options(270);
  options.progress = [&](Index done, Index total) {
    EXPECT_EQ(total, 270);
    reports.push_back(done);
  };
  EXPECT_EQ(train({verses()}, options).vocabulary.size(), 270U);
  EXPECT_EQ(reports, (std::vector<Index>{262, 263, 264, 265, 266, 267, 268, 269, 270}));
}

void expect_refusal(const BpeTrainerOptions& options, const std::string& part,
                    const Texts& texts = {"some text"}) {
  const auto message = tests::message_of<ConfigError>([&] { return train(texts, options); });
  EXPECT_TRUE(tests::contains(message, part));
}

TEST(BpeTrainer, RefusesWhatCannotBe) {
  expect_refusal({}, "no text", {});
  expect_refusal({}, "no text", {"", ""});
  expect_refusal(
      roberta_trainer_options(260),
      "vocab_size 260 must be at least the number of special tokens and characters, 261");
  EXPECT_EQ(train({"text"}, roberta_trainer_options(261)).vocabulary.size(), 261U);
  expect_refusal({.special_tokens = {"<s>", "<s>"}}, "'<s>' is given twice");
  expect_refusal({.special_tokens = {"<s>"}, .last_special_tokens = {"<s>"}},
                 "'<s>' is given twice");
  expect_refusal({.last_special_tokens = {"text"}}, "'text' cannot come last", {"text text"});
  expect_refusal({.last_special_tokens = {"x"}}, "'x' cannot come last");
  expect_refusal({.special_tokens = {""}}, "not empty");
  expect_refusal({.special_tokens = {"\xFF"}}, "valid UTF-8");
  expect_refusal({.initial_alphabet = "a\xC3"}, "valid UTF-8 at byte 1");
  expect_refusal({.vocab_size = -1}, "vocab_size -1");
  expect_refusal({.vocab_size = Index{1} << 40}, "must be at most 1048576");
  expect_refusal({.min_frequency = -1}, "min_frequency -1");
  expect_refusal({.limit_alphabet = -1}, "limit_alphabet -1");
  expect_refusal({.max_token_length = -1}, "max_token_length -1");
}

TEST(RobertaTokenizer, FilesAsTheReferenceSavesThem) {
  const TrainedBpe bpe = train(lines_of(verses()), roberta_trainer_options(700));
  const TemporaryFolder folder;
  save_roberta_tokenizer(bpe, folder.path());
  tests::Fnv fnv;
  fnv.bytes(read_file(folder / "tokenizer.json"));
  EXPECT_EQ(fnv.hex(), fixture()["roberta"]);

  const Tokenizer tokenizer = Tokenizer::from_pretrained(folder.path());
  EXPECT_EQ(tokenizer.vocab_size(), 700);
  EXPECT_EQ(tokenizer.cls_token_id(), 0);
  EXPECT_EQ(tokenizer.pad_token_id(), 1);
  EXPECT_EQ(tokenizer.sep_token_id(), 2);
  EXPECT_EQ(tokenizer.unk_token_id(), 3);
  EXPECT_EQ(tokenizer.mask_token_id(), 699);
  const std::string text = "And Naomi <mask> \u00E9\u65E5\n" + verses();
  const Encoding encoding = tokenizer.encode(text);
  EXPECT_EQ(oracle::to_json(roberta_tokenizer(bpe).encode(text)), oracle::to_json(encoding));
  EXPECT_EQ(tokenizer.decode(encoding.ids), "And Naomi \u00E9\u65E5\n" + verses());

  const TemporaryFolder two_files;
  for (const char* name : {"vocab.json", "merges.txt", "tokenizer_config.json"}) {
    write_file(two_files / name, read_file(folder / name));
  }
  const Tokenizer alone = Tokenizer::from_pretrained(two_files.path());
  EXPECT_EQ(oracle::to_json(alone.encode(text)), oracle::to_json(encoding));
}

TEST(RobertaTokenizer, PairsAsBertHasThem) {
  const TrainedBpe bpe = train(lines_of(verses()), roberta_trainer_options(700));
  const TemporaryFolder folder;
  save_roberta_tokenizer(bpe, folder.path(), 64, PairForm::bert);
  const Tokenizer tokenizer = Tokenizer::from_pretrained(folder.path());
  const Tokenizer usual = roberta_tokenizer(bpe);
  const Encoding pair = tokenizer.encode("And Naomi", " \u00E9");
  std::vector<TokenId> ids = usual.encode("And Naomi").ids;
  std::vector<TokenId> types(ids.size(), 0);
  const std::vector<TokenId> second = usual.encode(" \u00E9").ids;
  ids.insert(ids.end(), second.begin() + 1, second.end());
  types.resize(ids.size(), 1);
  EXPECT_EQ(pair.ids, ids);
  EXPECT_EQ(pair.type_ids, types);
  const std::string text = "And Naomi <mask> \u00E9\u65E5\n";
  EXPECT_EQ(oracle::to_json(tokenizer.encode(text)), oracle::to_json(usual.encode(text)));
}

TEST(RobertaTokenizer, RefusesAnotherNumbering) {
  EXPECT_THROW((void)roberta_tokenizer({}), ConfigError);
  EXPECT_THROW((void)roberta_tokenizer(train({"text"}, {.vocab_size = 300})), ConfigError);
  TrainedBpe bpe = train({"text"}, roberta_trainer_options(300));
  bpe.merges.emplace_back("nowhere", "to be found");
  EXPECT_THROW((void)roberta_tokenizer(bpe), FormatError);
}

TEST(BpeTrainer, SharedTextsAsTheReference) {
  const std::string data = EIGENFORMER_SHARED_DATA;
  if (!is_directory(data)) {
    GTEST_SKIP() << "SKIPPED: no shared data at " << data << "; no real texts were trained on";
  }
  const Json expected = read_json(EIGENFORMER_FIXTURES "/tokenizers/bpe_trainer_shared.json");
  ASSERT_EQ(expected.size(), 4U);
  ThreadPool pool;
  for (const auto& [name, sizes] : expected.items()) {
    ASSERT_EQ(sizes.size(), 3U);
    for (const auto& [size, wanted] : sizes.items()) {
      BpeTrainer trainer({.vocab_size = std::stol(size),
                          .special_tokens = {"<s>", "<pad>", "</s>", "<unk>"},
                          .initial_alphabet = ""});
      trainer.feed_lines(read_file(data + "/" + name), &pool);
      EXPECT_EQ(digest(trainer.train()), wanted) << name << ", " << size << " tokens";
    }
  }
}

}  // namespace eigenformer::bpe_trainer_test
