// The tokenizer's own promises: batches, threads, memory, errors that name the entry, long words.
#include "eigenformer/tokenizers/tokenizer.hpp"

#include <ctime>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "eigenformer/threading/thread_pool.hpp"

#include "../messages.hpp"
#include "../temporary_folder.hpp"
#include "oracle_cases.hpp"

namespace eigenformer::tokenizer_test {
using tests::TemporaryFolder;

using Ids = std::vector<TokenId>;

const Tokenizer& model() {
  static const Tokenizer tokenizer = Tokenizer::from_pretrained(EIGENFORMER_EXAMPLES "/model");
  return tokenizer;
}

/// A tokenizer small enough to be changed key by key.
Json toy_document() {
  return parse_json(R"({
    "version": "1.0",
    "added_tokens": [{"id": 0, "content": "<s>", "special": true},
                     {"id": 1, "content": "</s>", "special": true}],
    "normalizer": null,
    "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true},
    "post_processor": {"type": "RobertaProcessing", "sep": ["</s>", 1], "cls": ["<s>", 0],
                       "trim_offsets": true, "add_prefix_space": false},
    "decoder": {"type": "ByteLevel"},
    "model": {"type": "BPE", "vocab": {"<s>": 0, "</s>": 1, "l": 2, "o": 3, "w": 4, "lo": 5,
                                       "low": 6}, "merges": ["l o", "lo w"]}
  })",
                    "toy");
}

Tokenizer toy(const Json& document) { return Tokenizer::from_json(document.dump(), "toy"); }

/// What reading the document says.
template <class Exception>
std::string refusal(const Json& document) {
  return tests::message_of<Exception>([&] { (void)toy(document); });
}

TEST(Tokenizer, RoundTrip) {
  const std::string text = "Hello world! c\u00E9c\u00E9 \U0001F600\n  two  spaces ";
  const Encoding encoding = model().encode(text);
  EXPECT_EQ(encoding.ids.front(), model().cls_token_id());
  EXPECT_EQ(encoding.ids.back(), model().sep_token_id());
  EXPECT_EQ(model().decode(encoding.ids), text);
  for (const TokenId id : encoding.ids) EXPECT_EQ(model().token_to_id(model().id_to_token(id)), id);
}

TEST(Tokenizer, DetailsAreFilledAsAsked) {
  EncodeOptions options;
  const Encoding all = model().encode("Hello there <mask>", options);
  options.details = EncodingDetails::offsets;
  const Encoding offsets = model().encode("Hello there <mask>", options);
  options.details = EncodingDetails::ids;
  const Encoding ids = model().encode("Hello there <mask>", options);
  EXPECT_EQ(all.ids, offsets.ids);
  EXPECT_EQ(all.ids, ids.ids);
  EXPECT_EQ(all.offsets, offsets.offsets);
  EXPECT_EQ(all.word_ids.size(), all.ids.size());
  EXPECT_TRUE(offsets.word_ids.empty() && offsets.type_ids.empty());
  EXPECT_TRUE(ids.offsets.empty());
}

TEST(Tokenizer, BatchFromBracedTexts) {
  const Batch batch = model().encode_batch({"Hello <mask>!", "A longer second text."});
  ASSERT_EQ(batch.segments(), 2);
  batch.validate();
  EXPECT_TRUE(batch.type_ids.empty());
  const RowRange first = batch.segment(0);
  EXPECT_EQ(Ids(batch.ids.begin() + first.begin, batch.ids.begin() + first.end),
            model().encode("Hello <mask>!").ids);
  EXPECT_EQ(model().encode_batch(std::vector<std::string>{}).segments(), 0);
  const Batch pairs = model().encode_batch({TextPair("a", "b"), TextPair("c", "d e")});
  EXPECT_EQ(pairs.segments(), 2);
  EXPECT_EQ(Ids(pairs.ids.begin(), pairs.ids.begin() + pairs.offsets[1]),
            model().encode("a", "b").ids);
}

TEST(Tokenizer, BatchesDoNotDependOnThreads) {
  const Json fixture = read_json(EIGENFORMER_FIXTURES "/tokenizers/digests.json");
  std::vector<std::string> texts;
  for (std::uint64_t seed = 0; seed < 1500; ++seed) {
    texts.push_back(oracle::Random(seed, fixture).text());
  }
  std::vector<TextPair> pairs;
  for (std::size_t i = 0; i + 1 < texts.size(); ++i) pairs.emplace_back(texts[i], texts[i + 1]);
  EncodeOptions options;
  options.max_length = 12;
  options.stride = 1;
  Json types = toy_document();
  types["post_processor"]["type"] = "BertProcessing";
  const Tokenizer bert = toy(types);
  for (const int threads : {1, 2, 5}) {
    ThreadPool pool(threads);
    const Batch batch = model().encode_batch(texts, options, &pool);
    const Batch typed = bert.encode_batch(pairs, options, &pool);
    const std::vector<Encoding> encodings = model().encode_each(texts, options, &pool);
    const std::vector<Encoding> pair_encodings = bert.encode_each(pairs, options, &pool);
    batch.validate();
    typed.validate();
    ASSERT_EQ(batch.segments(), static_cast<Index>(texts.size()));
    ASSERT_EQ(typed.segments(), static_cast<Index>(pairs.size()));
    for (std::size_t i = 0; i < texts.size(); ++i) {
      const Encoding alone = model().encode(texts[i], options);
      const RowRange rows = batch.segment(static_cast<Index>(i));
      ASSERT_EQ(Ids(batch.ids.begin() + rows.begin, batch.ids.begin() + rows.end), alone.ids);
      ASSERT_EQ(oracle::to_json(encodings[i]), oracle::to_json(alone));
      ASSERT_EQ(encodings[i].overflowing.size(), alone.overflowing.size());
    }
    for (std::size_t i = 0; i < pairs.size(); ++i) {
      const Encoding alone = bert.encode(pairs[i].first, pairs[i].second, options);
      const RowRange rows = typed.segment(static_cast<Index>(i));
      ASSERT_EQ(Ids(typed.ids.begin() + rows.begin, typed.ids.begin() + rows.end), alone.ids);
      ASSERT_EQ(Ids(typed.type_ids.begin() + rows.begin, typed.type_ids.begin() + rows.end),
                alone.type_ids);
      ASSERT_EQ(pair_encodings[i].type_ids, alone.type_ids);
    }
  }
}

TEST(Tokenizer, TextsAndPairsMixedPackAsOneByOne) {
  Json types = toy_document();
  types["post_processor"]["type"] = "BertProcessing";  // pairs alone have types other than 0
  const Tokenizer bert = toy(types);
  std::vector<TextInput> inputs;
  for (const std::string_view pattern : {"tttptt", "ptt", "tp", "p", "t"}) {
    for (int i = 0; i < 20; ++i) {
      for (const char kind : pattern) {
        inputs.push_back(kind == 'p' ? TextInput("low", "lo") : TextInput("wlow"));
      }
    }
    std::vector<Encoding> alone;
    for (const TextInput& input : inputs) {
      alone.push_back(input.pair ? bert.encode(input.text, *input.pair) : bert.encode(input.text));
    }
    ThreadPool pool(2);
    for (ThreadPool* threads : {static_cast<ThreadPool*>(nullptr), &pool}) {
      const Batch batch = bert.encode_batch(inputs, {}, threads);
      batch.validate();
      ASSERT_EQ(batch.segments(), static_cast<Index>(inputs.size()));
      for (std::size_t i = 0; i < inputs.size(); ++i) {
        const RowRange rows = batch.segment(static_cast<Index>(i));
        ASSERT_EQ(Ids(batch.ids.begin() + rows.begin, batch.ids.begin() + rows.end), alone[i].ids);
        ASSERT_EQ(Ids(batch.type_ids.begin() + rows.begin, batch.type_ids.begin() + rows.end),
                  alone[i].type_ids);
      }
    }
  }
  EXPECT_TRUE(bert.encode_batch(std::vector<TextInput>(3, "low")).type_ids.empty());
}

TEST(Tokenizer, ModelMaxLengthIsTheConfigurations) {
  EXPECT_EQ(toy(toy_document()).model_max_length(), std::nullopt);
  TemporaryFolder folder;
  toy(toy_document()).save_pretrained(folder.path());
  const auto length = [&](const char* config) {
    write_file(folder / "tokenizer_config.json", config);
    return Tokenizer::from_pretrained(folder.path()).model_max_length();
  };
  EXPECT_EQ(length(R"({"model_max_length": 512})"), 512);
  EXPECT_EQ(length(R"({"model_max_length": 1000000000000000019884624838656})"), std::nullopt);
  EXPECT_EQ(length(R"({"model_max_length": null})"), std::nullopt);
  EXPECT_EQ(length(R"({"model_max_length": -1})"), std::nullopt);
  EXPECT_EQ(length("{}"), std::nullopt);
  EXPECT_THROW((void)length(R"({"model_max_length": "512"})"), FormatError);
}

/// Seconds of this thread's processor.
double thread_seconds() {
  timespec time{};
  ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

TEST(Tokenizer, AWordOfAMegabyteTakesLinearTime) {
  const Json fixture = read_json(EIGENFORMER_FIXTURES "/tokenizers/digests.json");
  oracle::Random random(1, fixture);
  const std::size_t size = 1'000'000;
  std::string letters(size, 'a');
  for (char& letter : letters) letter = static_cast<char>('a' + random.below(26));
  const std::string kinds[] = {std::string(size, 'a'),  letters,
                               std::string(size, ' '),  std::string(size, '\n') + "x",
                               std::string(size, '\''), std::string(size, '<')};
  for (const std::string& text : kinds) {
    const double begin = thread_seconds();
    const Encoding encoding = model().encode(text);
    const double seconds = thread_seconds() - begin;
    EXPECT_EQ(model().decode(encoding.ids), text);
    EXPECT_EQ(encoding.offsets[encoding.offsets.size() - 2].end, text.size());
#if defined(NDEBUG) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
    EXPECT_LT(seconds, 1.0) << "of " << text.substr(0, 10) << "...";
#else
    EXPECT_LT(seconds, 20.0) << "of " << text.substr(0, 10) << "...";
#endif
  }
}

/// Scanning and the heap must agree: the same letters in a short word and inside a long one.
TEST(Tokenizer, LongWordsMergeAsShortOnes) {
  const Json fixture = read_json(EIGENFORMER_FIXTURES "/tokenizers/digests.json");
  detail::Vocabulary vocabulary;
  for (std::size_t byte = 0; byte < 256; ++byte) {
    vocabulary.add(detail::byte_spelling(byte), static_cast<std::int64_t>(byte), "test");
  }
  const std::string letters = "abc";
  detail::Merges merges;
  oracle::Random random(7, fixture);
  std::vector<std::string> tokens = {"a", "b", "c"};
  while (tokens.size() < 60) {
    const std::string left = tokens[random.below(tokens.size())];
    const std::string right = tokens[random.below(tokens.size())];
    if (vocabulary.find(left + right)) continue;
    vocabulary.add(left + right, static_cast<std::int64_t>(vocabulary.size()), "test");
    merges.emplace_back(left, right);
    tokens.push_back(left + right);
  }
  const detail::Bpe bpe(std::move(vocabulary), merges, {}, "test");
  detail::ModelScratch scratch;
  std::vector<detail::Piece> scanned;
  std::vector<detail::Piece> merged;
  for (int i = 0; i < 3000; ++i) {
    std::string word;
    const std::uint64_t size = 1 + random.below(48);
    for (std::uint64_t k = 0; k < size; ++k) word += letters[random.below(3)];
    bpe.encode(word, scratch, scanned);
    bpe.encode(word + "!" + std::string(60, '?'), scratch, merged);  // "!" and "?" never merge
    ASSERT_GE(merged.size(), scanned.size());
    for (std::size_t k = 0; k < scanned.size(); ++k) {
      ASSERT_EQ(scanned[k].id, merged[k].id) << word;
      ASSERT_EQ(scanned[k].begin, merged[k].begin);
      ASSERT_EQ(scanned[k].end, merged[k].end);
    }
  }
}

TEST(Tokenizer, DecodesIdsThatAreNoText) {
  EXPECT_EQ(model().decode({}), "");
  EXPECT_EQ(model().decode({8'000'000}), "");
  EXPECT_THROW((void)model().decode({-1}), ShapeError);
  EXPECT_THROW((void)model().id_to_token(-1), ShapeError);
  EXPECT_THROW((void)model().id_to_token(8'000'000), ShapeError);
  EXPECT_EQ(model().token_to_id("no such token"), std::nullopt);
  // Half a character becomes U+FFFD.
  const Encoding emoji = model().encode("\U0001FAE8", {.add_special_tokens = false});
  ASSERT_GT(emoji.ids.size(), 1U);
  EXPECT_EQ(model().decode(std::span(emoji.ids).first(1)), "\uFFFD");
}

TEST(Tokenizer, TruncationThatCannotBeDone) {
  const auto encode = [](const EncodeOptions& options) {
    (void)model().encode("a b c d", options);
  };
  EXPECT_THROW(encode({.max_length = 1}), ConfigError);
  EXPECT_THROW(encode({.max_length = -1}), ConfigError);
  EXPECT_THROW(encode({.max_length = 5, .stride = -1}), ConfigError);
  EXPECT_THROW(encode({.max_length = 4, .stride = 2}), ConfigError);
  EXPECT_THROW(encode({.max_length = 4, .strategy = TruncationStrategy::only_second}), ConfigError);
  EXPECT_THROW((void)model().encode("a b c d", "e f g h",
                                    {.max_length = 7, .strategy = TruncationStrategy::only_first}),
               ConfigError);
  const Encoding nothing = model().encode("a b c d", {.max_length = 2});
  EXPECT_EQ(nothing.ids, (Ids{model().cls_token_id(), model().sep_token_id()}));
}

TEST(Tokenizer, RefusesStagesByName) {
  const std::pair<const char*, const char*> stages[] = {
      {"normalizer", R"({"type": "NFKC"})"},
      {"normalizer", R"({"type": "Sequence", "normalizers": [{"type": "NFD"}]})"},
      {"normalizer", R"({"type": "Replace", "pattern": {"Regex": "\\s+"}, "content": " "})"},
      {"normalizer", R"({"type": "Replace", "pattern": {"String": ""}, "content": " "})"},
      {"pre_tokenizer", R"({"type": "Split", "pattern": {"Regex": "x"}})"},
      {"pre_tokenizer", R"({"type": "Sequence", "pretokenizers": [{"type": "Whitespace"}]})"},
      {"post_processor", R"({"type": "SomeProcessing"})"},
      {"pre_tokenizer", R"({"type": "Sequence", "pretokenizers": [{"type": "BertPreTokenizer"},
                                                                   {"type": "ByteLevel"}]})"},
      {"pre_tokenizer", R"({"type": "Metaspace", "replacement": "_", "prepend_scheme": "last"})"},
      {"pre_tokenizer", R"({"type": "Sequence", "pretokenizers": [
                             {"type": "Metaspace", "replacement": "_"}, {"type": "WhitespaceSplit"}]})"},
      {"decoder", R"({"type": "CTC"})"},
      {"model", R"({"type": "WordLevel", "vocab": {}})"},
      {"model", R"({"vocab": {}})"},
      {"model", R"({"type": "BPE", "vocab": {}, "merges": [], "dropout": 0.1})"},
      {"version", R"("2.0")"},
  };
  for (const auto& [key, stage] : stages) {
    Json document = toy_document();
    document[key] = parse_json(stage, "stage");
    const std::string message = refusal<ConfigError>(document);
    EXPECT_EQ(message.substr(0, 5), "toy: ") << key << " " << stage;
  }
  Json document = toy_document();
  document["normalizer"] = {{"type", "Prepend"}};
  EXPECT_NE(refusal<ConfigError>(document).find("Prepend"), std::string::npos);
}

TEST(Unigram, RefusesWhatItCannotUse) {
  const auto refused = [](auto error, const char* key, const char* stage) {
    Json document = toy_document();
    document["model"] = parse_json(R"({"type": "Unigram", "unk_id": 0, "vocab": [["u", 0]]})", "");
    document["added_tokens"] = Json::array();
    document[key] = parse_json(stage, "stage");
    return refusal<decltype(error)>(document);
  };
  const auto model = [&](const char* stage) { return refused(FormatError(""), "model", stage); };
  EXPECT_NE(model(R"({"type": "Unigram", "unk_id": 0, "vocab": {"a": 0}})").find("scores"),
            std::string::npos);
  EXPECT_NE(model(R"({"type": "Unigram", "unk_id": 1, "vocab": [["a", 0]]})").find("unk_id 1"),
            std::string::npos);
  EXPECT_NE(model(R"({"type": "Unigram", "unk_id": 0, "vocab": []})").find("unk_id 0"),
            std::string::npos);
  for (const char* piece : {R"(["a"])", R"([0, "a"])", R"(["b", 0, 1])", R"(["b", "c"])", "[]",
                            R"("b")", "1", R"({"b": 0})", R"(["b", null])"}) {
    const std::string vocab = R"([["a", -1.5], )" + std::string(piece) + "]";
    const std::string stage = R"({"type": "Unigram", "unk_id": 0, "vocab": )" + vocab + "}";
    EXPECT_NE(model(stage.c_str()).find("piece 1 "), std::string::npos) << piece;
  }
  EXPECT_NE(model(R"({"type": "Unigram", "unk_id": 0, "vocab": [["a", 0], ["a", 1]]})")
                .find("'a' appears twice"),
            std::string::npos);
  EXPECT_NE(refused(ConfigError(""), "model", R"({"type": "Unigram", "vocab": [["a", 0]]})")
                .find("unk_id"),
            std::string::npos);
  const auto precompiled = [&](const std::string& map) {
    const std::string stage = R"({"type": "Precompiled", "precompiled_charsmap": ")" + map + "\"}";
    return refused(FormatError(""), "normalizer", stage.c_str());
  };
  for (const char* map : {"", "A", "!!!!", "AAAA", "BAAAAA==", "BAAAAAAAAAD/"}) {
    EXPECT_NE(precompiled(map).find("precompiled_charsmap"), std::string::npos) << map;
  }
  for (const char* stage :
       {R"({"type": "Metaspace"})", R"({"type": "Metaspace", "replacement": "__"})",
        R"({"type": "Metaspace", "replacement": "_", "add_prefix_space": false,
                                "prepend_scheme": "always"})"}) {
    EXPECT_NE(refused(FormatError(""), "pre_tokenizer", stage).find("Metaspace"),
              std::string::npos);
    EXPECT_NE(refused(FormatError(""), "decoder", stage).find("Metaspace"), std::string::npos);
  }
}

/// The scores that Tokenizer.from_str(...).to_str() of tokenizers 0.22.2 gives; nearest would be
/// one unit in the last place away, but for the last three.
TEST(Unigram, ReadsScoresAsTheReference) {
  for (const auto& [text, score] :
       {std::pair("-14.32769849386749427822", -0x1.ca7c818d437fbp+3),
        std::pair("-3e-36", -0x1.fe6c6dcc3c5abp-119),
        std::pair("7.39823e+139", 0x1.8d9a67697a862p+464),
        std::pair("9.92033631021112391933446e-121", 0x1.47e516a08fce0p-399),
        std::pair("296512914761147321096918871", 0x1.ea8a1aa2a9dedp+87),
        std::pair("-3.5752392614115186e-305", -0x1.91b2ede0d0fc4p-1012),
        std::pair("-1.582690928808602e-10", -0x1.5c0994164d839p-33),
        std::pair("-1e-99999999999", -0.0), std::pair("0e99999", 0.0)}) {
    const std::string document = R"({"model": {"vocab": [["a", )" + std::string(text) + "]]}}";
    EXPECT_EQ(detail::parse_tokenizer_json(document, "text").scores, std::vector{score}) << text;
  }
}

TEST(WordPiece, RefusesWhatItCannotUse) {
  Json document = toy_document();
  const auto refused = [&](const char* model) {
    document["model"] = parse_json(model, "model");
    return refusal<FormatError>(document);
  };
  EXPECT_NE(refused(R"({"type": "WordPiece", "vocab": {"a": 0}})").find("[UNK]"),
            std::string::npos);
  EXPECT_NE(refused(R"({"type": "WordPiece"})").find("vocab"), std::string::npos);
  EXPECT_NE(refused(R"({"type": "WordPiece", "vocab": {"[UNK]": 0},
                        "max_input_chars_per_word": -1})")
                .find("max_input_chars_per_word"),
            std::string::npos);
}

/// The vectors of HF's tests for BERT (tests/models/bert/test_tokenization_bert.py).
TEST(WordPiece, VocabularyOfLines) {
  const tests::TemporaryFolder folder;
  const std::string path = folder.path() + "/vocab.txt";
  write_file(path,
             "[UNK]\n[CLS]\n[SEP]\nwant\r\n##want\n##ed\nwa\nun\nrunn\n##ing\n,\nlow\nlowest\n");
  const Tokenizer tokenizer = Tokenizer::from_pretrained(folder.path());
  EXPECT_EQ(tokenizer.encode("UNwant\u00E9d,running", {.add_special_tokens = false}).ids,
            (Ids{7, 4, 5, 10, 8, 9}));
  EXPECT_EQ(tokenizer.encode("unwantedX running", {.add_special_tokens = false}).ids,
            (Ids{0, 8, 9}));
  EXPECT_TRUE(tokenizer.encode("\u00AD", {.add_special_tokens = false}).ids.empty());
  const Encoding pair = tokenizer.encode("low", "lowest");
  EXPECT_EQ(pair.ids, (Ids{1, 11, 2, 12, 2}));
  EXPECT_EQ(pair.type_ids, (Ids{0, 0, 0, 1, 1}));
  EXPECT_EQ(tokenizer.decode({7, 4, 5, 10, 8, 9}), "unwanted, running");
  EXPECT_EQ(tokenizer.cls_token_id(), 1);
  EXPECT_EQ(tokenizer.unk_token_id(), 0);

  const std::string config = folder.path() + "/tokenizer_config.json";
  write_file(config, R"({"do_lower_case": false})");
  EXPECT_EQ(Tokenizer::from_pretrained(folder.path()).encode("Low low").ids, (Ids{1, 0, 11, 2}));
  write_file(config, R"({"do_basic_tokenize": false})");
  EXPECT_THROW((void)Tokenizer::from_pretrained(folder.path()), ConfigError);
  write_file(config, "{}");
  write_file(path, "[UNK]\n[CLS]\n[SEP]\na\na\n");
  try {
    (void)Tokenizer::from_pretrained(folder.path());
    FAIL() << "a token that appears twice was taken";
  } catch (const FormatError& problem) {
    EXPECT_NE(std::string(problem.what()).find("line 5"), std::string::npos) << problem.what();
  }
}

TEST(Tokenizer, RefusesBrokenEntries) {
  const std::pair<const char*, const char*> entries[] = {
      {"/model/vocab/l", "-2"},
      {"/model/vocab/l", "2.5"},
      {"/model/vocab/l", "\"2\""},
      {"/model/vocab/l", "3"},
      {"/model/vocab/l", "16777216"},
      {"/model/vocab/l", "18446744073709551615"},
      {"/model/vocab", "[]"},
      {"/model/merges/1", "\"lo\""},
      {"/model/merges/1", "\"lo w x\""},
      {"/model/merges/1", "\"lo x\""},
      {"/model/merges/1", "\"o w\""},
      {"/model/merges/1", "[\"lo\"]"},
      {"/model/merges/1", "[\"lo\", 3]"},
      {"/model/merges/1", "7"},
      {"/model/merges", "{}"},
      {"/model/unk_token", "5"},
      {"/model/fuse_unk", "\"yes\""},
      {"/model", "null"},
      {"/added_tokens", "{}"},
      {"/added_tokens/0", "{\"id\": 0}"},
      {"/added_tokens/0/id", "-1"},
      {"/added_tokens/0/id", "1"},
      {"/added_tokens/0/id", "0.5"},
      {"/added_tokens/0/content", "\"</s>\""},
      {"/added_tokens/0/special", "1"},
      {"/pre_tokenizer", "\"ByteLevel\""},
      {"/pre_tokenizer", "{}"},
      {"/pre_tokenizer/add_prefix_space", "1"},
      {"/post_processor/cls", "[\"<s>\"]"},
      {"/post_processor/cls", "[\"<s>\", -1]"},
      {"/post_processor/cls", "[\"<s>\", 99]"},
      {"/post_processor", R"({"type": "TemplateProcessing"})"},
      {"/post_processor",
       R"({"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "<x>"}}], "pair": []})"},
  };
  for (const auto& [pointer, value] : entries) {
    Json document = toy_document();
    document[Json::json_pointer(pointer)] = parse_json(value, "entry");
    const std::string message = refusal<FormatError>(document);
    EXPECT_EQ(message.substr(0, 5), "toy: ") << pointer << " = " << value << ": " << message;
  }
  Json document = toy_document();
  EXPECT_NO_THROW((void)toy(document));
  document["model"]["merges"][1] = "o w";
  EXPECT_EQ(refusal<FormatError>(document),
            "toy: merge 2 ('o' and 'w'): 'ow' is not in the vocabulary");
  document["model"]["unk_token"] = "<unk>";
  document["model"]["merges"] = Json::array();
  EXPECT_EQ(refusal<ConfigError>(document), "toy: unk_token '<unk>' is not in the vocabulary");
}

TEST(Tokenizer, RefusesBrokenFolders) {
  const TemporaryFolder folder;
  const auto refused = [&] {
    std::string message =
        tests::message_of<Error>([&] { (void)Tokenizer::from_pretrained(folder.path()); });
    const std::size_t at = message.find(folder.path());
    if (at != std::string::npos) message.replace(at, folder.path().size(), "DIR");
    return message;
  };
  EXPECT_EQ(
      refused(),
      "DIR: has neither tokenizer.json, vocab.json with merges.txt, vocab.txt, nor spiece.model");
  const std::string vocabulary = R"({"<s>": 0, "</s>": 1, "a": 2, "b": 3, "ab": 4, "<mask>": 5})";
  write_file(folder.path() + "/vocab.json", vocabulary);
  EXPECT_NE(refused().find("DIR/merges.txt: cannot be opened"), std::string::npos);
  write_file(folder.path() + "/merges.txt", "#version: 0.2\na b\na\n");
  EXPECT_EQ(refused(),
            "DIR/merges.txt: line 3 is 'a', which does not have two parts with one space between");
  write_file(folder.path() + "/merges.txt", "#version: 0.2\r\na b\r\n");
  const Tokenizer read = Tokenizer::from_pretrained(folder.path());
  EXPECT_EQ(read.encode("ab <mask>").ids, (Ids{0, 4, 5, 1}));
  write_file(folder.path() + "/merges.txt", "b a\n");
  EXPECT_NE(refused().find("merge 1 ('b' and 'a'): 'ba' is not in the vocabulary"),
            std::string::npos);
  write_file(folder.path() + "/vocab.json", "{\"a\": 0, \"a\": 1}");
  EXPECT_EQ(refused(), "DIR/vocab.json: key 'a' appears twice in one object");
  write_file(folder.path() + "/tokenizer.json", "{\"version\": \"1.0\"");
  EXPECT_EQ(refused().substr(0, 33), "DIR/tokenizer.json: invalid JSON:");
}

TEST(Tokenizer, CompanionFilesNameTheSpecialTokens) {
  const TemporaryFolder folder;
  write_file(folder.path() + "/vocab.json", R"({"<s>": 0, "</s>": 1, "a": 2, "Ġ": 3, "Ġa": 4})");
  write_file(folder.path() + "/merges.txt", "Ġ a\n");
  write_file(folder.path() + "/tokenizer_config.json",
             R"({"add_prefix_space": true, "mask_token": {"content": "<m>", "lstrip": true}})");
  write_file(folder.path() + "/special_tokens_map.json", R"({"pad_token": "</s>"})");
  write_file(folder.path() + "/added_tokens.json", R"({"<m>": 5})");
  const Tokenizer read = Tokenizer::from_pretrained(folder.path());
  EXPECT_EQ(read.mask_token_id(), 5);
  EXPECT_EQ(read.pad_token_id(), 1);
  EXPECT_EQ(read.vocab_size(), 6);
  EXPECT_EQ(read.encode("a <m>a").ids, (Ids{0, 4, 5, 4, 1}));
  EXPECT_THROW((void)read.unk_token_id(), ConfigError);
  // A token that only special_tokens_map.json knows comes after all others.
  write_file(folder.path() + "/special_tokens_map.json", R"({"pad_token": "[PAD]"})");
  EXPECT_EQ(Tokenizer::from_pretrained(folder.path()).pad_token_id(), 6);
  // GPT-2's template adds nothing, even where there is a token <s>.
  write_file(folder.path() + "/tokenizer_config.json", R"({"tokenizer_class": "GPT2Tokenizer"})");
  EXPECT_EQ(Tokenizer::from_pretrained(folder.path()).encode("a").ids, (Ids{2}));
}

}  // namespace eigenformer::tokenizer_test
