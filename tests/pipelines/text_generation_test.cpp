// Generation against transformers: what processors make of logits, and texts of 200 tokens; drawing
// against the probabilities; what ends a text; and text that comes in whole characters.
#include "eigenformer/pipelines/text_generation.hpp"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <limits>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <gtest/gtest.h>

#include "../messages.hpp"
#include "../temporary_folder.hpp"

namespace text_generation_test {

namespace ef = eigenformer;
using ef::Index;
using ef::TokenId;
using ef::tests::expect_parts;
using ef::tests::message_of;

const std::string folder = EIGENFORMER_FIXTURES "/generation";
constexpr int prompts = 4;

const ef::SafetensorsFile& expected() {
  static const auto file = ef::SafetensorsFile::open(folder + "/expected.safetensors");
  return file;
}
std::vector<TokenId> ids(const std::string& name) {
  std::vector<TokenId> all(static_cast<std::size_t>(expected().shape(name).numel()));
  expected().read<TokenId>(name, all);
  return all;
}
std::vector<double> values(const std::string& name) {
  std::vector<double> all(static_cast<std::size_t>(expected().shape(name).numel()));
  expected().read<double>(name, all);
  return all;
}

// ---- Logits ----

/// Row i of a table of 8, or of its last 7.
std::span<double> row(std::vector<double>& table, std::size_t i) {
  return std::span(table).subspan(i * 60, 60);
}

template <class Process>
void expect_processed(const std::string& name, std::size_t first, Process&& process) {
  std::vector<double> logits = values("logits");
  std::vector<double> wanted = values(name);
  const std::vector<TokenId> seen = ids("ids");
  for (std::size_t i = first; i < 8; ++i) {
    const std::span<double> got = row(logits, i);
    process(got, std::span(seen).subspan(i * 15, 15));
    for (std::size_t j = 0; j < 60; ++j) {
      const double want = row(wanted, i - first)[j];
      if (std::isinf(want))
        EXPECT_EQ(got[j], want) << name << " " << i << " " << j;
      else
        EXPECT_NEAR(got[j], want, 1e-12) << name << " " << i << " " << j;
    }
  }
}

TEST(Sampling, ProcessorsAreThoseOfTransformers) {
  expect_processed("penalized", 0, [](std::span<double> logits, std::span<const TokenId> seen) {
    ef::penalize_repetition(logits, seen, 1.7);
  });
  expect_processed("top_k", 0, [](std::span<double> logits, auto) { ef::keep_top_k(logits, 7); });
  expect_processed("top_p", 1, [](std::span<double> logits, auto) { ef::keep_top_p(logits, 0.8); });
  expect_processed("all", 1, [](std::span<double> logits, std::span<const TokenId> seen) {
    (void)ef::next_token(logits, seen,
                         {.temperature = 0.7, .top_k = 20, .top_p = 0.9, .repetition_penalty = 1.7},
                         0.5);
  });
}

TEST(Sampling, DrawsByProbability) {
  const std::vector<double> given{std::log(0.5), std::log(0.2),
                                  -std::numeric_limits<double>::infinity(), std::log(0.3)};
  const auto draw = [&](double uniform) {
    std::vector<double> logits = given;
    return ef::next_token<double>(logits, {}, {.temperature = 1}, uniform);
  };
  EXPECT_EQ(draw(0), 0);
  EXPECT_EQ(draw(0.499), 0);
  EXPECT_EQ(draw(0.501), 1);
  EXPECT_EQ(draw(0.699), 1);
  EXPECT_EQ(draw(0.701), 3);
  EXPECT_EQ(draw(std::nextafter(1.0, 0.0)), 3);
}

TEST(Sampling, GreedyTakesTheFirstOfTheMostLikely) {
  std::vector<float> logits{1, 5, 2, 5};
  EXPECT_EQ(ef::next_token<float>(logits, {}, {.top_k = 1, .top_p = 0.1}, 0.9), 1);
  EXPECT_EQ(logits, (std::vector<float>{1, 5, 2, 5}));
}

TEST(Sampling, RefusesWhatMakesNoSense) {
  const float infinity = std::numeric_limits<float>::infinity();
  for (std::vector<float> logits :
       {std::vector<float>{}, std::vector<float>{1, NAN, 2}, std::vector<float>{NAN, 1},
        std::vector<float>{1, infinity}, std::vector<float>{-infinity, -infinity}}) {
    expect_parts(message_of<ef::Error>([&] { (void)ef::next_token<float>(logits, {}, {}, 0); }),
                 {"logits"});
  }
  std::vector<float> logits{1, 2};
  const std::vector<TokenId> outside{2};
  EXPECT_THROW(ef::penalize_repetition<float>(logits, outside, 2), ef::ShapeError);
  EXPECT_THROW(ef::keep_top_k<float>(logits, 0), ef::Error);
  const auto refused = [](const ef::SamplingOptions& options, const std::string& part) {
    expect_parts(message_of<ef::Error>([&] { options.validate(); }), {part});
  };
  refused({.temperature = -1}, "temperature is -1");
  refused({.temperature = NAN}, "temperature");
  refused({.top_k = -1}, "top_k is -1");
  refused({.top_p = 0}, "top_p is 0");
  refused({.top_p = 1.5}, "top_p is 1.5");
  refused({.repetition_penalty = 0}, "repetition_penalty is 0");
}

// ---- Tokens ----

const ef::GenerationOptions endless{.max_new_tokens = 200, .eos_token_id = std::vector<TokenId>{}};

ef::Batch all_prompts() {
  ef::Batch batch;
  for (int i = 0; i < prompts; ++i) batch.add(ids("prompt." + std::to_string(i)));
  return batch;
}

template <class Scalar>
const ef::GPT2LMHeadModel<Scalar>& model() {
  static const auto made = ef::GPT2LMHeadModel<Scalar>::from_pretrained(folder);
  return made;
}

template <class Scalar>
void check_greedy() {
  ef::Context cx(2);
  ef::GenerationOptions penalized = endless;
  penalized.sampling.repetition_penalty = 1.3;
  const auto greedy = ef::generate(cx, model<Scalar>(), all_prompts(), endless);
  const auto other = ef::generate(cx, model<Scalar>(), all_prompts(), penalized);
  ASSERT_EQ(greedy.size(), 4u);
  for (std::size_t i = 0; i < greedy.size(); ++i) {
    EXPECT_EQ(greedy[i].ids, ids("greedy." + std::to_string(i)));
    EXPECT_EQ(other[i].ids, ids("penalized." + std::to_string(i)));
    EXPECT_EQ(greedy[i].finished, ef::FinishReason::length);
    EXPECT_EQ(greedy[i].ids.size(), static_cast<std::size_t>(greedy[i].prompt) + 200);
  }
}

TEST(Generate, GreedyIsTransformersInDouble) { check_greedy<double>(); }
TEST(Generate, GreedyIsTransformersInFloat) { check_greedy<float>(); }

TEST(Generate, EndsWithAToken) {
  ef::Context cx(1);
  ef::GenerationOptions options = endless;
  std::vector<std::size_t> sizes;
  const TokenId end = ids("greedy.0")[ids("prompt.0").size() + 30];
  options.eos_token_id = {299, end};
  std::vector<int> told(prompts);
  const auto texts =
      ef::generate(cx, model<double>(), all_prompts(), options, [&](Index text, TokenId) {
        ++told[static_cast<std::size_t>(text)];
        return true;
      });
  for (std::size_t i = 0; i < texts.size(); ++i) {
    std::vector<TokenId> whole = ids("greedy." + std::to_string(i));
    const auto found = std::find(whole.begin() + texts[i].prompt, whole.end(), end);
    const bool ends = found != whole.end();
    if (ends) whole.erase(found + 1, whole.end());
    EXPECT_EQ(texts[i].ids, whole);
    EXPECT_EQ(texts[i].finished, ends ? ef::FinishReason::eos : ef::FinishReason::length);
    EXPECT_EQ(static_cast<Index>(whole.size()) - texts[i].prompt, told[i]);
    sizes.push_back(whole.size());
  }
  EXPECT_EQ(texts[0].finished, ef::FinishReason::eos);
  EXPECT_GT(std::set<std::size_t>(sizes.begin(), sizes.end()).size(), 1u);  // one by one
}

TEST(Generate, EndsWhereTheCallerAsks) {
  ef::Context cx(1);
  int left = 3;
  ef::Batch one;
  one.add(ids("prompt.0"));
  const auto texts =
      ef::generate(cx, model<double>(), one, endless, [&](Index, TokenId) { return --left > 0; });
  EXPECT_EQ(texts[0].finished, ef::FinishReason::stop);
  EXPECT_EQ(texts[0].ids.size(), ids("prompt.0").size() + 3);
}

TEST(Generate, EndsWhereTheModelIsFull) {
  ef::Context cx(1);
  ef::GenerationOptions options = endless;
  options.max_new_tokens = 1000;
  const auto texts = ef::generate(cx, model<double>(), all_prompts(), options);
  for (const auto& text : texts) {
    EXPECT_EQ(text.ids.size(), 220u);
    EXPECT_EQ(text.finished, ef::FinishReason::full);
  }
  const auto of_size = [&](std::size_t size) {
    ef::Batch batch;
    batch.add(std::vector<TokenId>(size, 7));
    batch.add(std::vector<TokenId>{7});
    options.max_new_tokens = 1;
    return ef::generate(cx, model<double>(), batch, options);
  };
  EXPECT_EQ(of_size(219)[0].ids.size(), 220u);
  EXPECT_EQ(of_size(220)[0].ids.size(), 220u);
  EXPECT_EQ(of_size(220)[0].finished, ef::FinishReason::full);
  EXPECT_EQ(of_size(220)[1].ids.size(), 2u);
  expect_parts(message_of<ef::ShapeError>([&] { (void)of_size(221); }), {"prompt 0", "221", "220"});
  expect_parts(message_of<ef::ShapeError>([&] { (void)of_size(0); }), {"prompt 0", "empty"});
}

TEST(Generate, RefusesOptionsOutOfRange) {
  ef::Context cx(1);
  EXPECT_THROW((void)ef::generate(cx, model<double>(), all_prompts(), {.max_new_tokens = -1}),
               ef::Error);
  EXPECT_THROW((void)ef::generate(cx, model<double>(), all_prompts(), {.sampling = {.top_p = 2}}),
               ef::Error);
  for (const auto& text : ef::generate(cx, model<double>(), all_prompts(), {.max_new_tokens = 0})) {
    EXPECT_EQ(static_cast<Index>(text.ids.size()), text.prompt);
  }
  EXPECT_TRUE(ef::generate(cx, model<double>(), ef::Batch()).empty());
}

/// What is drawn depends on the seed and the number of the text, not on the company or on threads.
TEST(Generate, DrawsTheSameForASeed) {
  ef::GenerationOptions options = endless;
  options.sampling = {.temperature = 1.2, .top_k = 50, .top_p = 0.95, .seed = 4};
  options.max_new_tokens = 40;
  const auto run = [&](const ef::Batch& batch, int threads) {
    ef::Context cx(threads);
    return ef::generate(cx, model<double>(), batch, options);
  };
  const auto texts = run(all_prompts(), 1);
  const auto again = run(all_prompts(), 3);
  for (std::size_t i = 0; i < texts.size(); ++i) EXPECT_EQ(texts[i].ids, again[i].ids);
  EXPECT_EQ(run(all_prompts().part(0, 2), 1)[1].ids, texts[1].ids);
  ef::Batch full;  // a text that cannot go on is none of those that the model works on
  full.add(std::vector<TokenId>(220, 7));
  full.add(ids("prompt.1"));
  EXPECT_EQ(run(full, 1)[1].ids, texts[1].ids);
  options.sampling.seed = 5;
  EXPECT_NE(run(all_prompts(), 1)[0].ids, texts[0].ids);
  ef::Batch twice;
  twice.add(ids("prompt.0"));
  twice.add(ids("prompt.0"));
  const auto two = run(twice, 1);
  EXPECT_NE(two[0].ids, two[1].ids);
}

// ---- Text ----

ef::TextGeneration& generation() {
  static auto made = ef::TextGeneration::from_pretrained(folder);
  return made;
}

/// From tokenizer.json, and from vocab.json with merges.txt alone.
TEST(TextGeneration, TokensAreThoseOfTransformers) {
  const ef::tests::TemporaryFolder files;
  for (const std::string name : {"vocab.json", "merges.txt"}) {
    std::filesystem::copy_file(folder + "/" + name, files / name);
  }
  const auto document = ef::read_json(folder + "/text.json");
  for (const std::string& from : {folder, files.path()}) {
    const auto tokenizer = ef::Tokenizer::from_pretrained(from);
    for (const auto& [_, entry] : document["texts"].items()) {
      const auto text = entry["text"].get<std::string>();
      EXPECT_EQ(tokenizer.encode(text).ids, entry["ids"].get<std::vector<TokenId>>()) << text;
    }
  }
}

TEST(TextGeneration, TextIsThatOfTransformersInWholeCharacters) {
  const auto document = ef::read_json(folder + "/text.json");
  for (std::size_t i = 0; i < prompts; ++i) {
    const auto& wanted = document["decoded"][i];
    const auto all = wanted["ids"].get<std::vector<TokenId>>();
    const std::string name = "prompt." + std::to_string(i);
    const std::string prompt = generation().tokenizer().decode(ids(name));
    std::string pieces;
    std::size_t calls = 0;
    const ef::TextGenerationOptions options{.generation = endless};
    const auto made = generation()(prompt, options, [&](std::string_view piece) {
      EXPECT_EQ(ef::detail::valid_prefix(piece), piece.size());
      EXPECT_FALSE(piece.empty());
      pieces += piece;
      ++calls;
    });
    EXPECT_EQ(made.ids, all);
    EXPECT_EQ(made.text, wanted["text"].get<std::string>());
    EXPECT_EQ(made.added, pieces);
    EXPECT_EQ(prompt + pieces, made.text);
    EXPECT_GT(calls, 50u);
  }
}

TEST(TextGeneration, CharactersWaitUntilTheyAreWhole) {
  const ef::Tokenizer& tokenizer = generation().tokenizer();
  const std::string text = "a雪🙂b";
  ef::TextStream stream(tokenizer);
  std::vector<std::string> pieces;
  for (const TokenId id : tokenizer.encode(text).ids) {
    if (std::string piece = stream.add(id); !piece.empty()) pieces.push_back(piece);
  }
  EXPECT_EQ(pieces, (std::vector<std::string>{"a", "雪", "🙂", "b"}));
  EXPECT_EQ(stream.finish(), "");
  const auto snow = tokenizer.encode("雪").ids;
  ASSERT_EQ(snow.size(), 3u);
  EXPECT_EQ(stream.add(snow[0]), "");
  EXPECT_EQ(stream.finish(), "\uFFFD");
  EXPECT_EQ(stream.add(snow[0]), "");
  EXPECT_EQ(stream.add(tokenizer.encode("a").ids[0]), "\uFFFDa");
}

TEST(TextGeneration, StopStringsEndIt) {
  ef::TextGenerationOptions options{.generation = endless};
  const auto whole = generation()("And God said", options);
  // Characters that come from several tokens, and a string that is not there.
  const std::string stop = whole.added.substr(whole.added.size() / 2, 4);
  const std::size_t first = whole.added.find(stop);
  options.stop_strings = {"not there at all", "", stop};
  const auto cut = generation()("And God said", options);
  EXPECT_EQ(cut.finished, ef::FinishReason::stop);
  EXPECT_TRUE(whole.added.starts_with(cut.added));
  EXPECT_GE(cut.added.size(), first + stop.size());
  EXPECT_LT(cut.added.size(), whole.added.size());
  options.stop_strings = {"God said"};  // in the prompt alone
  EXPECT_EQ(generation()("And God said", options).ids, whole.ids);
}

TEST(TextGeneration, AnEmptyPromptBeginsWithTheStartOfAText) {
  const auto made = generation()("", {.generation = {.max_new_tokens = 3, .eos_token_id = {{}}}});
  ASSERT_EQ(made.ids.size(), 4u);
  EXPECT_EQ(made.ids[0], generation().tokenizer().bos_token_id());
  EXPECT_EQ(made.text, made.added);
}

}  // namespace text_generation_test
