// Any text and options through the pipelines of a small model.
#include <memory>
#include <string>
#include <vector>

#include "eigenformer/pipelines/fill_mask.hpp"
#include "eigenformer/pipelines/sentence_embedding.hpp"

#include "fuzz.hpp"

namespace eigenformer::fuzz {
namespace {

const std::string encoder = EIGENFORMER_FIXTURES "/sentences/encoder";

FillMask& fill_mask() {
  static FillMask made(std::make_shared<Tokenizer>(Tokenizer::from_pretrained(encoder)),
                       std::make_shared<FillMask::Model>(FillMask::Model::from_pretrained(
                           encoder, {.initialize_missing_head = true})),
                       Context(1));
  return made;
}
SentenceEmbedding& embedding() {
  static SentenceEmbedding made = SentenceEmbedding::from_pretrained(encoder, Context(1));
  return made;
}

const Target target_pipelines("pipelines", [](std::string_view input) {
  Numbers numbers(input);
  FillMaskOptions options{.top_k = numbers.below(256) - 1, .max_length = numbers.below(64) - 1};
  const Index batch_tokens = numbers.below(64) - 1;
  const auto parts = split(numbers.rest());
  options.targets.assign(parts.begin() + 1, parts.end());
  passes([&] {
    const auto all = fill_mask().all(parts[0], options);
    expect(!all.empty(), "there is a mask");
    for (const auto& guesses : all) {
      expect(!guesses.empty() && static_cast<Index>(guesses.size()) <= options.top_k,
             "there are at most as many guesses as are asked for");
      for (const MaskGuess& guess : guesses) {
        expect(guess.score >= 0 && guess.score <= 1.0001, "scores are probabilities");
        expect(detail::valid_prefix(guess.sequence) == guess.sequence.size(), "text is UTF-8");
      }
    }
  });
  passes([&] {
    const Tensor<float> rows =
        embedding()(parts, {.max_length = options.max_length, .batch_tokens = batch_tokens});
    expect(rows.size(0) == static_cast<Index>(parts.size()), "each text has an embedding");
    expect(rows.array().isFinite().all(), "embeddings are finite");
  });
});

}  // namespace
}  // namespace eigenformer::fuzz
