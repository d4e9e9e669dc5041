// Learns a RoBERTa tokenizer from plain text, and writes its files as published folders have them.
//   train_tokenizer --vocab-size 8192 --output tokenizer shakespeare.txt bible.txt
#include <algorithm>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "eigenformer/tokenizers.hpp"

#include "common.hpp"

namespace ef = eigenformer;
using examples::Program;

namespace {

/// What the text becomes.
struct Count {
  std::uint64_t words = 0;  // different ones
  std::uint64_t characters = 0;
  std::uint64_t tokens = 0;
};

Count count(const ef::BpeTrainer& trainer, const ef::Tokenizer& tokenizer) {
  Count all;
  const ef::EncodeOptions options{.add_special_tokens = false, .details = ef::EncodingDetails::ids};
  trainer.for_each_word([&](std::string_view word, std::uint64_t times) {
    const auto characters =
        word.size() - static_cast<std::size_t>(
                          std::count_if(word.begin(), word.end(), ef::detail::is_continuation));
    ++all.words;
    all.characters += times * characters;
    all.tokens += times * tokenizer.encode(word, options).ids.size();
  });
  return all;
}

}  // namespace

int main(int argc, char** argv) {
  Program program("Learns a RoBERTa tokenizer from plain text.");
  std::vector<std::string> files;
  ef::Index vocab_size = 50265;
  ef::Index min_frequency = 0;
  program.app.get_option("--output")->required()->description("folder for the tokenizer");
  program.app.remove_option(program.app.get_option("text"));
  program.app.remove_option(program.app.get_option("--input"));
  program.app.add_option("file,--input", files, "plain text; each line is a text")->required();
  program.app.add_option("--vocab-size", vocab_size, "tokens, special ones counted")
      ->check(CLI::Range(1, 1 << 20))
      ->capture_default_str();
  program.app.add_option("--min-frequency", min_frequency, "join no pair that occurs less often")
      ->check(CLI::Range(0, 1 << 30))
      ->capture_default_str();
  return program.run(argc, argv, [&] {
    examples::Progress progress("tokens");
    ef::BpeTrainerOptions options = ef::roberta_trainer_options(vocab_size);
    options.min_frequency = min_frequency;
    options.progress = [&](ef::Index done, ef::Index) { progress.reach(done); };
    ef::BpeTrainer trainer(options);
    const ef::Context cx = program.context();
    for (const std::string& file : files) trainer.feed_lines(ef::read_file(file), &cx.threads());
    const ef::TrainedBpe bpe = trainer.train();
    ef::save_roberta_tokenizer(bpe, program.output);
    progress.clear();

    const Count all = count(trainer, ef::roberta_tokenizer(bpe));
    const double ratio = static_cast<double>(all.characters) / static_cast<double>(all.tokens);
    if (program.json) {
      return Program::print({{"vocab_size", bpe.vocabulary.size()},
                             {"merges", bpe.merges.size()},
                             {"words", all.words},
                             {"characters", all.characters},
                             {"tokens", all.tokens},
                             {"characters_per_token", ratio}});
    }
    std::printf("vocabulary  %zu tokens", bpe.vocabulary.size());
    const bool fewer = bpe.vocabulary.size() < static_cast<std::size_t>(vocab_size);
    if (fewer) std::printf(", all that this text gives; %td were asked for", vocab_size);
    std::printf("\nmerges      %zu\n", bpe.merges.size());
    std::printf("text        %ju characters, %ju different words\n", std::uintmax_t{all.characters},
                std::uintmax_t{all.words});
    std::printf("encoded     %ju tokens, %.2f characters per token\n", std::uintmax_t{all.tokens},
                ratio);
  });
}
