// Pre-training a masked language model: blocks of text, in an order drawn anew for each epoch, are
// put together as batches, some of their tokens are hidden, and the model changes so that it
// guesses them better. Everything that is drawn follows from the seed and the number of the update,
// so that a training goes on from a checkpoint with the very same numbers.
// Liu et al., arXiv:1907.11692; the losses of a batch are averaged as fairseq does it.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "eigenformer/autograd/ops/loss.hpp"
#include "eigenformer/models/roberta.hpp"
#include "eigenformer/training/corpus.hpp"
#include "eigenformer/training/masking.hpp"
#include "eigenformer/training/trainer.hpp"

namespace eigenformer {

/// How a model is pre-trained. The optimizer's numbers are RoBERTa's.
struct PretrainingOptions {
  Index length = 128;        ///< most tokens of a block, special ones counted
  Index batch = 16;          ///< blocks of an update
  Index parts = 1;           ///< that a batch is computed in, to save memory; each drops on its own
  bool documents = false;    ///< blocks end with their document, as BlockMode::doc_sentences
  bool whole_words = false;  ///< whole words are hidden instead of single tokens
  bool dropout = true;       ///< as the model's configuration has it
  double clip = 0;           ///< the gradients' norm is scaled down to this; 0: as it is
  std::uint64_t seed = 1;    ///< of orders, masks and dropout
  Precision precision = Precision::full;  ///< of products: bf16 is faster
  Schedule schedule = {};                 ///< the learning rate of each update
  /// What AdamW multiplies with.
  AdamWOptions optimizer = {.beta1 = 0.9, .beta2 = 0.98, .eps = 1e-6};
  /// What else has to agree where a training goes on, as an object: by resume().
  Json settings = Json::object();
};

/// Which tokens of a tokenizer's vocabulary begin words, as MaskingOptions::word_starts: those with
/// a space before them, and the special ones. Mirrors fairseq's mask_whole_words.
[[nodiscard]] inline std::vector<std::uint8_t> word_starts(const Tokenizer& tokenizer) {
  std::vector<std::uint8_t> starts(static_cast<std::size_t>(tokenizer.vocab_size()));
  const std::string_view inside = tokenizer.continuing_subword_prefix();
  for (TokenId id = 0; id < tokenizer.vocab_size(); ++id) {
    const std::string_view token = tokenizer.id_to_token(id);
    const bool begins = inside.empty() ? token.starts_with("Ġ") : !token.starts_with(inside);
    starts[static_cast<std::size_t>(id)] = begins || tokenizer.is_special(id);
  }
  return starts;
}

/// Copies the first `learned` positions of a model to those after them, again and again: a start
/// for longer blocks than it has seen, as Longformer's from RoBERTa (Beltagy et al.,
/// arXiv:2004.05150). Throws ConfigError where it has fewer positions.
template <class Model>
void repeat_positions(Model& model, Index learned) {
  const Index most = model.config().max_tokens();
  check<ConfigError>(learned >= 1 && learned <= most, "repeat_positions: ", learned,
                     " positions are to be repeated, but the model has 1 to ", most);
  for (const auto& named : named_parameters(model)) {
    if (!named.name.ends_with("position_embeddings.weight")) continue;
    auto table = named.value();  // [positions, hidden]
    auto rows = table.matrix();
    for (Index row = model.config().first_position() + learned; row < rows.rows(); ++row) {
      rows.row(row) = rows.row(row - learned);
    }
  }
}

/// How well a model guesses hidden tokens.
struct MaskedLmScore {
  double loss = 0;      ///< mean cross entropy, in nats a token
  double accuracy = 0;  ///< share that is right at the first guess

  /// As many tokens, all equally likely, would be as hard to guess.
  [[nodiscard]] double perplexity() const noexcept { return std::exp(loss); }
};

/// A masked language model, its corpus, and the loop between them. With several processes
/// (`Workers` is DataParallel) all of them call each function alike, with the same corpus; a batch
/// in as many parts as there are processes gives each of them one.
template <class Scalar, class Model = RobertaForMaskedLM<Scalar>, class Workers = OneProcess>
class Pretraining {
 public:
  /// The model must outlive it. Throws ConfigError where model, tokenizer and options do not fit
  /// each other, and for a corpus of fewer blocks than a batch; FormatError for a corpus with a
  /// mask token in it; Error where processes have different models.
  Pretraining(Model& model, const Tokenizer& tokenizer, const Corpus& corpus,
              PretrainingOptions options, Workers workers = {})
      : model_(model),
        options_(std::move(options)),
        workers_(workers),
        masking_(masking_options(model, tokenizer, options_), derived_seed(0)),
        held_out_masking_(masking_.options(), 0),
        trainer_(model, AdamW<Scalar>(options_.optimizer),
                 {.schedule = options_.schedule,
                  .clip = options_.clip,
                  .dropout = options_.dropout,
                  .seed = derived_seed(1),
                  .precision = options_.precision},
                 std::move(workers)),
        blocks_(blocks_of(corpus)),
        text_(concat(corpus.tokens(), " tokens with digest ", corpus.digest())) {
    const auto count = static_cast<Index>(blocks_.size());
    check<ConfigError>(options_.batch >= 1, source, "a batch of ", options_.batch, " blocks");
    check<ConfigError>(options_.parts >= 1 && options_.parts <= options_.batch, source,
                       "a batch of ", options_.batch, " blocks cannot be computed in ",
                       options_.parts, " parts");
    check<ConfigError>(count > 0, source, "the corpus has no text");
    check<ConfigError>(count >= options_.batch, source, "the corpus gives ", count, " blocks of ",
                       options_.length, " tokens, but a batch takes ", options_.batch,
                       "; a smaller batch, shorter blocks or more text would do");
  }

  /// One update by the next blocks. Throws as Trainer::step.
  UpdateReport step(Context& cx) {
    const MaskedBatch masked = next_batch();
    tokens_ += masked.batch.tokens();
    std::vector<MaskedBatch> parts;
    for (Index part = 0; part < options_.parts; ++part) {
      MaskedBatch cut = part_of(masked, options_.batch * part / options_.parts,
                                options_.batch * (part + 1) / options_.parts);
      if (!cut.labels.empty()) parts.push_back(std::move(cut));
    }
    const auto loss = [&](Context& context, Index i) -> PartLoss<Scalar> {
      const MaskedBatch& part = parts[static_cast<std::size_t>(i)];
      const Tensor<Scalar> logits = model_(context, part.batch, part.positions);  // [labels, vocab]
      return {cross_entropy(context, logits, part.labels), static_cast<double>(part.labels.size())};
    };
    return trainer_.step(cx, static_cast<Index>(parts.size()), loss);
  }

  /// The loss on other text, with masks that are always the same. Throws ConfigError for a corpus
  /// without text, FormatError for one with a mask token in it.
  [[nodiscard]] MaskedLmScore score(Context& cx, const Corpus& held_out) const {
    constexpr Index most_tokens = 4096;  // at once
    MaskedBatch all;
    for (const std::vector<TokenId>& block : blocks_of(held_out)) {
      held_out_masking_.add(all, block, 0, static_cast<std::uint64_t>(all.batch.segments()));
    }
    check<ConfigError>(!all.labels.empty(), source, "the held-out text is empty");
    std::array<double, 2> sums = {};  // of losses, and of right guesses
    workers_.together([&] {
      Index number = 0;
      for_each_part(all.batch, most_tokens, [&](const Batch& batch, Index first) {
        if (number++ % workers_.size() != workers_.rank()) return;
        const MaskedBatch part = part_of(all, first, first + batch.segments());
        if (part.labels.empty()) return;
        const Tensor<Scalar> logits = model_(cx, part.batch, part.positions);  // [labels, vocab]
        sums[0] += static_cast<double>(cross_entropy(cx, logits, part.labels).item()) *
                   static_cast<double>(part.labels.size());
        for (Index i = 0; i < logits.size(0); ++i) {
          Index best = 0;
          logits.matrix().row(i).maxCoeff(&best);
          sums[1] += best == part.labels[static_cast<std::size_t>(i)];
        }
      });
    });
    workers_.sum(sums);
    const auto count = static_cast<double>(all.labels.size());
    return {sums[0] / count, sums[1] / count};
  }

  /// How many updates there were.
  [[nodiscard]] Index steps() const noexcept { return trainer_.steps(); }
  /// How many times the corpus was gone through.
  [[nodiscard]] double epochs() const noexcept {
    return static_cast<double>(steps()) * static_cast<double>(options_.batch) /
           static_cast<double>(blocks_.size());
  }
  /// How many blocks the corpus gives.
  [[nodiscard]] Index blocks() const noexcept { return static_cast<Index>(blocks_.size()); }
  /// How many tokens there were in these updates, since this object was made.
  [[nodiscard]] Index tokens() const noexcept { return tokens_; }

  /// Writes the model and what a training needs to go on into a folder, and in the same update what
  /// also(update) writes. With several processes the first one does it. Throws IoError, and then
  /// the folder is as it was.
  template <class Also>
  void save(const std::string& folder, Also&& also) const {
    trainer_.save(folder, [&](const FolderUpdate& update) {
      write_file(join_path(update.path(), settings_file), settings().dump(2) + "\n");
      also(update);
    });
  }
  /// The same without more.
  void save(const std::string& folder) const {
    save(folder, [](const FolderUpdate&) {});
  }
  /// Whether a folder holds a training that can go on.
  [[nodiscard]] static bool can_resume(const std::string& folder) {
    return exists(current_file(folder, settings_file)) && ThisTrainer::can_resume(folder);
  }
  /// Goes on where the training of a folder was saved, with the model loaded from there. Throws
  /// ConfigError where that had other options or another corpus, naming the first that differs;
  /// IoError, FormatError.
  void resume(const std::string& folder) {
    const Json before = read_json(current_file(folder, settings_file));
    const Json wanted = settings();
    for (const auto& [name, now] : wanted.items()) {
      const auto found = before.find(name);
      const std::string old = found == before.end() ? "unknown" : found->dump();
      check<ConfigError>(old == now.dump(), folder, ": holds a training whose ", name, " is ", old,
                         ", not ", now.dump(), "; go on with the same, or begin in another folder");
    }
    trainer_.resume(folder);
  }

 private:
  using ThisTrainer = Trainer<Scalar, Model, AdamW<Scalar>, Workers>;
  static constexpr std::string_view source = "pretraining: ";
  static constexpr const char* settings_file = "pretraining.json";

  static MaskingOptions masking_options(const Model& model, const Tokenizer& tokenizer,
                                        const PretrainingOptions& options) {
    const RobertaConfig& config = model.config();
    check<ConfigError>(options.length <= config.max_tokens(), source, "blocks of ", options.length,
                       " tokens, but the model takes ", config.max_tokens());
    check<ConfigError>(tokenizer.vocab_size() <= config.vocab_size, source, "the tokenizer has ",
                       tokenizer.vocab_size(), " tokens, the model ", config.vocab_size);
    check<ConfigError>(tokenizer.pad_token_id() == config.padding_id(), source,
                       "the tokenizer's pad token is ", tokenizer.pad_token_id(), ", the model's ",
                       config.padding_id());
    return {
        .mask_token = tokenizer.mask_token_id(),
        .vocab_size = static_cast<TokenId>(tokenizer.vocab_size()),
        .word_starts = options.whole_words ? word_starts(tokenizer) : std::vector<std::uint8_t>()};
  }

  /// Seeds of different things that have nothing to do with each other, nor with `seed` itself,
  /// which the model's weights may be drawn with.
  [[nodiscard]] std::uint64_t derived_seed(std::uint64_t what) const noexcept {
    return Rng(options_.seed).bits(~std::uint64_t{0}, what);
  }

  [[nodiscard]] std::vector<std::vector<TokenId>> blocks_of(const Corpus& corpus) const {
    auto blocks = corpus.blocks(
        options_.length, options_.documents ? BlockMode::doc_sentences : BlockMode::full_sentences);
    for (const std::vector<TokenId>& block : blocks) {
      const TokenId mask = masking_.options().mask_token;
      check<FormatError>(std::find(block.begin(), block.end(), mask) == block.end(), source,
                         "the text has the mask token ", mask, " in it; it must be taken out");
    }
    return blocks;
  }

  /// The blocks of the next update. They follow each other through all epochs, so that a batch may
  /// have the last blocks of one and the first of the next.
  MaskedBatch next_batch() {
    MaskedBatch masked;
    for (Index i = 0; i < options_.batch; ++i) {
      const Index number = steps() * options_.batch + i;
      const auto epoch = static_cast<std::uint64_t>(number / blocks());
      if (order_.empty() || epoch != epoch_) {
        order_ = shuffled(blocks(), derived_seed(2), epoch);
        epoch_ = epoch;
      }
      const Index block = order_[static_cast<std::size_t>(number % blocks())];
      masking_.add(masked, blocks_[static_cast<std::size_t>(block)], epoch,
                   static_cast<std::uint64_t>(block));
    }
    return masked;
  }

  /// Segments `first` to `last` (excluded).
  static MaskedBatch part_of(const MaskedBatch& all, Index first, Index last) {
    MaskedBatch part{all.batch.part(first, last), {}, {}};
    const Index begin = all.batch.offsets[static_cast<std::size_t>(first)];
    const auto row = [&](Index segment) {
      const Index at = all.batch.offsets[static_cast<std::size_t>(segment)];
      return std::lower_bound(all.positions.begin(), all.positions.end(), at) -
             all.positions.begin();
    };
    part.labels.assign(all.labels.begin() + row(first), all.labels.begin() + row(last));
    for (Index i = row(first); i < row(last); ++i) {
      part.positions.push_back(all.positions[static_cast<std::size_t>(i)] - begin);
    }
    return part;
  }

  /// What has to agree for a training to go on with the same numbers.
  [[nodiscard]] Json settings() const {
    constexpr const char* decays[] = {"constant", "linear", "cosine", "polynomial"};
    const Schedule& schedule = options_.schedule;
    Json all = options_.settings;
    all.update({{"length", options_.length},
                {"batch", options_.batch},
                {"accumulate", options_.parts},
                {"doc-sentences", options_.documents},
                {"whole-words", options_.whole_words},
                {"dropout", options_.dropout ? model_.config().hidden_dropout_prob : 0.0},
                {"clip", options_.clip},
                {"seed", options_.seed},
                {"precision", name_of(options_.precision)},
                {"schedule", decays[static_cast<int>(schedule.decay)]},
                {"lr", schedule.peak},
                {"warmup", schedule.warmup_steps},
                {"steps", schedule.total_steps},
                {"beta1", options_.optimizer.beta1},
                {"beta2", options_.optimizer.beta2},
                {"eps", options_.optimizer.eps},
                {"weight-decay", options_.optimizer.weight_decay},
                {"corpus", text_}});
    return all;
  }

  Model& model_;
  PretrainingOptions options_;
  Workers workers_;
  Masking masking_;
  Masking held_out_masking_;
  ThisTrainer trainer_;
  std::vector<std::vector<TokenId>> blocks_;
  std::string text_;          // which corpus it is
  std::vector<Index> order_;  // of the blocks in epoch_
  std::uint64_t epoch_ = 0;
  Index tokens_ = 0;
};

}  // namespace eigenformer
