// Pre-training learns, depends neither on threads nor on where it was interrupted, and refuses to
// go on as another training.
#include "eigenformer/training/pretraining.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>

#include <gtest/gtest.h>

#include "eigenformer/tokenizers/roberta_tokenizer.hpp"

#include "../messages.hpp"
#include "../temporary_folder.hpp"

namespace pretraining_test {

namespace ef = eigenformer;
using ef::Index;
using ef::tests::expect_parts;
using ef::tests::message_of;
using ef::tests::TemporaryFolder;

constexpr const char* verses = EIGENFORMER_FIXTURES "/text/verses.txt";

const ef::Tokenizer& tokenizer() {
  static const ef::Tokenizer made = [] {
    ef::BpeTrainer trainer(ef::roberta_trainer_options(400));
    trainer.feed_lines(ef::read_file(verses));
    return ef::roberta_tokenizer(trainer.train());
  }();
  return made;
}

ef::Corpus corpus_of(const std::string& text) {
  ef::Corpus corpus(tokenizer().bos_token_id(), tokenizer().eos_token_id());
  corpus.add_text(tokenizer(), text);
  return corpus;
}
const ef::Corpus& corpus() {
  static const ef::Corpus read = corpus_of(ef::read_file(verses));
  return read;
}

ef::RobertaConfig small() {
  ef::RobertaConfig config;
  config.vocab_size = tokenizer().vocab_size();
  config.hidden_size = 24;
  config.num_hidden_layers = 2;
  config.num_attention_heads = 3;
  config.intermediate_size = 40;
  config.max_position_embeddings = 66;
  config.type_vocab_size = 1;
  return config;
}

ef::PretrainingOptions options() {
  ef::PretrainingOptions options;
  options.length = 32;
  options.batch = 6;
  options.clip = 1;
  options.seed = 5;
  options.schedule = {.peak = 1e-2, .warmup_steps = 4, .total_steps = 80};
  return options;
}

template <class Scalar>
std::vector<double> train(ef::Pretraining<Scalar>& training, Index until, int threads = 1) {
  ef::Context cx(threads);
  std::vector<double> losses;
  while (training.steps() < until) losses.push_back(training.step(cx).loss);
  return losses;
}

/// The losses of a training that is begun anew.
template <class Scalar = float>
std::vector<double> losses(const ef::PretrainingOptions& options, Index until, int threads = 1) {
  ef::RobertaForMaskedLM<Scalar> model(small());
  ef::Pretraining<Scalar> training(model, tokenizer(), corpus(), options);
  return train(training, until, threads);
}

using Model = ef::RobertaForMaskedLM<float>;
using Pretraining = ef::Pretraining<float>;

/// A model that keeps what it is shown.
struct Recording : Model {
  using Model::Model;
  ef::Tensor<float> operator()(ef::Context& cx, const ef::Batch& batch,
                               std::span<const Index> rows) const {
    for (Index i = 0; i < batch.segments(); ++i) {
      const ef::RowRange range = batch.segment(i);
      shown.emplace_back(batch.ids.begin() + range.begin, batch.ids.begin() + range.end);
    }
    return Model::operator()(cx, batch, rows);
  }
  mutable std::vector<std::vector<ef::TokenId>> shown;
};

TEST(Pretraining, Learns) {
  Model model(small());
  Pretraining training(model, tokenizer(), corpus(), options());
  ef::Context cx(2);
  const ef::MaskedLmScore before = training.score(cx, corpus());
  EXPECT_NEAR(before.loss, std::log(400), 0.2);
  const std::vector<double> all = train(training, 80, 2);
  const ef::MaskedLmScore after = training.score(cx, corpus());
  EXPECT_LT(after.loss, before.loss - 0.8);
  EXPECT_GT(after.accuracy, before.accuracy + 0.05);
  EXPECT_NEAR(after.perplexity(), std::exp(after.loss), 1e-9);
  EXPECT_LT(all.back(), all.front() - 0.5);
  EXPECT_NEAR(training.epochs() * static_cast<double>(training.blocks()), 80 * 6, 1e-9);
}

TEST(Pretraining, GoesOnWithTheSameNumbers) {
  const std::vector<double> expected = losses(options(), 20);
  EXPECT_EQ(losses(options(), 20, 3), expected) << "depends on threads";
  ef::PretrainingOptions other = options();
  other.seed = 6;
  EXPECT_NE(losses(other, 1), std::vector<double>(1, expected[0]));

  const TemporaryFolder whole, interrupted;
  {
    Model model(small());
    Pretraining training(model, tokenizer(), corpus(), options());
    EXPECT_EQ(train(training, 20), expected);
    training.save(whole.path());
  }
  EXPECT_FALSE(Pretraining::can_resume(interrupted.path()));
  std::vector<double> found;
  for (const Index until : {0, 7, 13, 20}) {
    const bool goes_on = Pretraining::can_resume(interrupted.path());
    EXPECT_EQ(goes_on, until > 0);
    Model model = goes_on ? Model::from_pretrained(interrupted.path()) : Model(small());
    Pretraining training(model, tokenizer(), corpus(), options());
    if (goes_on) training.resume(interrupted.path());
    const std::vector<double> part = train(training, until);
    found.insert(found.end(), part.begin(), part.end());
    training.save(interrupted.path());
  }
  EXPECT_EQ(found, expected);
  ASSERT_EQ(interrupted.entries(), whole.entries());
  ASSERT_EQ(whole.entries().size(), 4u);
  for (const std::string& file : whole.entries()) {
    EXPECT_TRUE(ef::read_file(whole / file) == ef::read_file(interrupted / file)) << file;
  }
}

TEST(Pretraining, PartsChangeNothingButRounding) {
  ef::PretrainingOptions whole = options();
  whole.dropout = false;
  const std::vector<double> expected = losses<double>(whole, 6);
  for (const Index parts : {2, 4, 6}) {
    ef::PretrainingOptions cut = whole;
    cut.parts = parts;
    const std::vector<double> found = losses<double>(cut, 6);
    for (std::size_t i = 0; i < 6; ++i) EXPECT_NEAR(found[i], expected[i], 1e-9) << parts;
  }
}

/// Blocks are documents of different lengths, by which they are known.
TEST(Pretraining, EachEpochHasAllBlocksInAnOrderOfItsOwn) {
  ef::Corpus documents(tokenizer().bos_token_id(), tokenizer().eos_token_id());
  for (Index size = 8; size < 18; ++size) {
    documents.add_sentence(std::vector<ef::TokenId>(static_cast<std::size_t>(size), 40));
    documents.end_document();
  }
  ef::PretrainingOptions short_batches = options();
  short_batches.batch = 3;
  short_batches.documents = true;
  Recording model(small());
  ef::Pretraining<float, Recording> training(model, tokenizer(), documents, short_batches);
  ef::Context cx(1);
  for (int i = 0; i < 10; ++i) (void)training.step(cx);
  EXPECT_DOUBLE_EQ(training.epochs(), 3);
  ASSERT_EQ(model.shown.size(), 30u);
  std::vector<std::vector<std::size_t>> orders;
  std::vector<std::vector<ef::TokenId>> longest;  // as each epoch shows it
  for (std::size_t epoch = 0; epoch < 3; ++epoch) {
    std::vector<std::size_t>& order = orders.emplace_back();
    for (std::size_t i = 0; i < 10; ++i) {
      order.push_back(model.shown[10 * epoch + i].size());
      if (order.back() == 19) longest.push_back(model.shown[10 * epoch + i]);
    }
    std::vector<std::size_t> sorted = order, all(10);
    std::sort(sorted.begin(), sorted.end());
    std::iota(all.begin(), all.end(), 10);
    EXPECT_EQ(sorted, all);
  }
  EXPECT_NE(orders[0], orders[1]);
  EXPECT_NE(orders[1], orders[2]);
  ASSERT_EQ(longest.size(), 3u);
  EXPECT_NE(longest[0], longest[1]);
  EXPECT_NE(longest[1], longest[2]);
}

TEST(Pretraining, ScoreIsThatOfFixedMasks) {
  Model model(small(), ef::Initializer(0, 0.0));  // all tokens are equally likely
  Pretraining training(model, tokenizer(), corpus(), options());
  ef::Context one(1), three(3);
  const ef::MaskedLmScore score = training.score(one, corpus());
  EXPECT_NEAR(score.loss, std::log(400), 1e-5);
  EXPECT_NEAR(score.perplexity(), 400, 1e-2);

  Model drawn(small());
  ef::PretrainingOptions other = options();
  other.seed = 77;
  Pretraining first(drawn, tokenizer(), corpus(), options());
  Pretraining second(drawn, tokenizer(), corpus(), other);
  EXPECT_EQ(first.score(one, corpus()).loss, second.score(three, corpus()).loss);
}

TEST(Pretraining, RefusesToGoOnAsAnother) {
  const TemporaryFolder folder;
  Model model(small());
  ef::PretrainingOptions with_name = options();
  with_name.settings = ef::Json::object({{"hidden", 24}});
  {
    Pretraining training(model, tokenizer(), corpus(), with_name);
    training.save(folder.path());
  }
  const auto refused = [&](auto&& change, const std::vector<std::string>& parts) {
    ef::PretrainingOptions other = with_name;
    change(other);
    Pretraining training(model, tokenizer(), corpus(), other);
    std::vector<std::string> all = parts;
    all.push_back(folder.path());
    expect_parts(message_of<ef::ConfigError>([&] { training.resume(folder.path()); }), all);
  };
  refused([](auto& o) { o.batch = 7; }, {"batch", "6", "7"});
  refused([](auto& o) { o.seed = 6; }, {"seed", "5", "6"});
  refused([](auto& o) { o.length = 20; }, {"length", "32", "20"});
  refused([](auto& o) { o.whole_words = true; }, {"whole-words"});
  refused([](auto& o) { o.schedule.total_steps = 90; }, {"steps", "80", "90"});
  refused([](auto& o) { o.schedule.decay = ef::Decay::cosine; }, {"schedule", "linear", "cosine"});
  refused([](auto& o) { o.optimizer.beta2 = 0.999; }, {"beta2", "0.98", "0.999"});
  refused([](auto& o) { o.settings["hidden"] = 32; }, {"hidden", "24", "32"});
  const ef::Corpus other = corpus_of(ef::read_file(verses) + "And one more line.\n");
  Pretraining training(model, tokenizer(), other, with_name);
  expect_parts(message_of<ef::ConfigError>([&] { training.resume(folder.path()); }),
               {"corpus", "tokens with digest"});
}

TEST(Pretraining, ErrorsNameWhatDoesNotFit) {
  const auto message = [](const ef::Corpus& text, auto&& change) {
    ef::PretrainingOptions other = options();
    ef::RobertaConfig config = small();
    change(other, config);
    Model model(config);
    return message_of<ef::Error>([&] { Pretraining(model, tokenizer(), text, other); });
  };
  const auto nothing = [](auto&, auto&) {};
  expect_parts(message(corpus_of(""), nothing), {"no text"});
  expect_parts(message(corpus_of("And God said"), nothing), {"1 blocks", "batch takes 6"});
  expect_parts(message(corpus_of("In <mask> beginning"), nothing), {"mask token 399"});
  expect_parts(message(corpus(), [](auto& o, auto&) { o.length = 65; }), {"65", "64"});
  expect_parts(message(corpus(), [](auto& o, auto&) { o.parts = 7; }), {"6 blocks", "7 parts"});
  expect_parts(message(corpus(), [](auto&, auto& c) { c.vocab_size = 399; }), {"400", "399"});
  Model model(small());
  const Pretraining training(model, tokenizer(), corpus(), options());
  ef::Context cx(1);
  expect_parts(message_of<ef::ConfigError>([&] { (void)training.score(cx, corpus_of("\n")); }),
               {"held-out text is empty"});
  ef::Corpus strict(0, 2, tokenizer().mask_token_id());
  const std::string text = "In the beginning\n\nGod <mask> heaven\n";
  expect_parts(message_of<ef::FormatError>([&] { strict.add_text(tokenizer(), text); }),
               {"the text line 3", "mask token"});
}

TEST(Pretraining, PositionsAreRepeated) {
  const Model before(small());
  Model model(small());  // the same weights
  ef::repeat_positions(model, 7);
  const auto old = ef::named_parameters(before);
  const auto now = ef::named_parameters(model);
  int tables = 0;
  for (std::size_t i = 0; i < now.size(); ++i) {
    const ef::Tensor<float> was = old[i].value(), is = now[i].value();
    if (now[i].name != "roberta.embeddings.position_embeddings.weight") {
      EXPECT_EQ(is.matrix(), was.matrix()) << now[i].name;
      continue;
    }
    ++tables;
    for (Index row = 0; row < is.matrix().rows(); ++row) {
      const Index from = row < 2 ? row : 2 + (row - 2) % 7;  // the first position is row 2
      EXPECT_EQ(is.matrix().row(row), was.matrix().row(from)) << row;
    }
  }
  EXPECT_EQ(tables, 1);
  ef::repeat_positions(model, 64);  // all: changes nothing
  expect_parts(message_of<ef::ConfigError>([&] { ef::repeat_positions(model, 65); }),
               {"65 positions", "1 to 64"});
  expect_parts(message_of<ef::ConfigError>([&] { ef::repeat_positions(model, 0); }), {"0 pos"});
}

TEST(Pretraining, WordsBeginWithASpace) {
  const std::vector<std::uint8_t> starts = ef::word_starts(tokenizer());
  const auto starts_word = [&](const char* token) {
    return starts[static_cast<std::size_t>(tokenizer().token_to_id(token).value())] != 0;
  };
  for (const char* token : {"<s>", "</s>", "<mask>", "Ġthe", "Ġ"}) EXPECT_TRUE(starts_word(token));
  for (const char* token : {"e", "h", "."}) EXPECT_FALSE(starts_word(token));
}

}  // namespace pretraining_test
