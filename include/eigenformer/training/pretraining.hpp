// Pre-training a masked language model: blocks of text, in an order drawn anew for each epoch, are
// put together as batches, some of their tokens are hidden, and the model changes so that it
// guesses them better. Blocks may be pairs of segments, and then a model may learn too whether the
// second follows the first; of hidden spans, it may learn from their boundaries alone. Everything
// that is drawn follows from the seed and the number of the update, so that a training goes on from
// a checkpoint with the very same numbers. Devlin et al., arXiv:1810.04805; Liu et al.,
// arXiv:1907.11692; Joshi et al., arXiv:1907.10529; the losses of a batch are averaged as fairseq
// does it.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "eigenformer/autograd/ops/loss.hpp"
#include "eigenformer/autograd/ops/pointwise.hpp"
#include "eigenformer/models/roberta.hpp"
#include "eigenformer/training/corpus.hpp"
#include "eigenformer/training/masking.hpp"
#include "eigenformer/training/trainer.hpp"

namespace eigenformer {

/// How a model is pre-trained. Fresh, it is RoBERTa's recipe; bert_pretraining_options() and
/// spanbert_pretraining_options() have others.
struct PretrainingOptions {
  Index length = 128;      ///< most tokens of a block, special ones counted
  Index batch = 16;        ///< blocks of an update
  Index parts = 1;         ///< that a batch is computed in, to save memory; each drops on its own
  bool documents = false;  ///< blocks end with their document, as BlockMode::doc_sentences
  bool segment_pairs = false;  ///< blocks are those of Corpus::segment_pairs
  bool whole_words = false;    ///< whole words are hidden instead of single tokens
  /// By BERT's and by spans, `[CLS]` and `[SEP]` are never hidden. Spans are of whole words anyway,
  /// and random tokens are drawn then as often as they are in the corpus.
  MaskingLaw masking = MaskingLaw::roberta;
  /// Masks, and pairs, are drawn for so many copies of the text, which epochs go through in turn:
  /// static masking. 0: they are drawn anew in each epoch, dynamic masking.
  Index duplicates = 0;
  bool dropout = true;     ///< as the model's configuration has it
  double clip = 0;         ///< the gradients' norm is scaled down to this; 0: as it is
  std::uint64_t seed = 1;  ///< of orders, masks and dropout
  Precision precision = Precision::full;  ///< of products: bf16 is faster
  Schedule schedule = {};                 ///< the learning rate of each update
  /// What AdamW multiplies with.
  AdamWOptions optimizer = {.beta1 = 0.9, .beta2 = 0.98, .eps = 1e-6};
  /// What else has to agree where a training goes on, as an object: by resume().
  Json settings = Json::object();
};

/// BERT's recipe: pairs of segments and static masks, Adam without bias correction, clipping; all
/// else is as in `options`. For a model without labels of pairs, `segment_pairs` may be false.
[[nodiscard]] inline PretrainingOptions bert_pretraining_options(PretrainingOptions options = {}) {
  options.segment_pairs = true;
  options.masking = MaskingLaw::bert;
  options.duplicates = 10;
  options.clip = 1;
  options.optimizer = {.eps = 1e-6, .correct_bias = false};
  return options;
}

/// SpanBERT's recipe: blocks that are no pairs, hidden spans that are always new, clipping, AdamW
/// as PyTorch has it; all else is as in `options`.
[[nodiscard]] inline PretrainingOptions spanbert_pretraining_options(
    PretrainingOptions options = {}) {
  options.segment_pairs = false;
  options.masking = MaskingLaw::span;
  options.duplicates = 0;
  options.clip = 1;
  options.optimizer = {};
  return options;
}

/// A model that is pre-trained on pairs of texts too, as ForPreTraining is: its Output are logits
/// of tokens and of pairs.
template <class Model>
concept LabelsPairs = requires {
  typename Model::Output;
};

/// A model that learns from the boundaries of hidden spans too, as SpanBertForPreTraining does.
template <class Model>
concept LearnsBoundaries = requires {
  typename Model::SpanOutput;
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
    if (!named.name.ends_with("embeddings.position_embeddings.weight")) continue;
    auto table = named.value();  // [positions, hidden]
    auto rows = table.matrix();
    for (Index row = model.config().first_position() + learned; row < rows.rows(); ++row) {
      rows.row(row) = rows.row(row - learned);
    }
  }
}

/// How well a model guesses hidden tokens, also by the boundaries of their spans alone, and whether
/// segments follow each other.
struct MaskedLmScore {
  double loss = 0;           ///< mean cross entropy, in nats a token
  double accuracy = 0;       ///< share that is right at the first guess
  double pair_loss = 0;      ///< mean cross entropy of pairs; 0 for a model without labels of them
  double pair_accuracy = 0;  ///< share of them that is right
  double sbo_loss = 0;       ///< mean cross entropy of the boundary objective; 0 without one
  double sbo_accuracy = 0;   ///< share of its tokens that is right

  /// As many tokens, all equally likely, would be as hard to guess.
  [[nodiscard]] double perplexity() const noexcept { return std::exp(loss); }
};

/// A masked language model, its corpus, and the loop between them. With several processes
/// (`Workers` is DataParallel) all of them call each function alike, with the same corpus; a batch
/// in as many parts as there are processes gives each of them one.
template <class Scalar, class Model = RobertaForMaskedLM<Scalar>, class Workers = OneProcess>
class Pretraining {
 public:
  static constexpr bool labels_pairs = LabelsPairs<Model>;  ///< whether score() has pairs
  /// Whether score() has the boundary objective.
  static constexpr bool learns_boundaries = LearnsBoundaries<Model>;

  /// The model and the corpus must outlive it. Throws ConfigError where model, tokenizer and
  /// options do not fit each other, and for a corpus of fewer blocks than a batch; FormatError for
  /// a corpus with a mask token in it; Error where processes have different models.
  Pretraining(Model& model, const Tokenizer& tokenizer, const Corpus& corpus,
              PretrainingOptions options, Workers workers = {})
      : model_(model),
        options_(std::move(options)),
        workers_(workers),
        masking_(masking_options(model, tokenizer, corpus, options_), derived_seed(0)),
        held_out_masking_(masking_.options(), 0),
        trainer_(model, AdamW<Scalar>(options_.optimizer),
                 {.schedule = options_.schedule,
                  .clip = options_.clip,
                  .dropout = options_.dropout,
                  .seed = derived_seed(1),
                  .precision = options_.precision,
                  .eager = true},
                 std::move(workers)),
        corpus_(corpus),
        blocks_(blocks_of(corpus, derived_seed(3), 0)),
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
    // Parts are weighted by their hidden tokens; what else is learned of them has to weigh as all
    // of it in the batch does.
    double others = 0;
    for (const MaskedBatch& part : parts) others += static_cast<double>(other_labels(part).size());
    const double others_per_label = others / static_cast<double>(masked.labels.size());
    const auto loss = [&](Context& context, Index i) -> PartLoss<Scalar> {
      const MaskedBatch& part = parts[static_cast<std::size_t>(i)];
      const auto [of_tokens, of_others] = logits(context, part);
      const auto labels = static_cast<double>(part.labels.size());
      Tensor<Scalar> mean = cross_entropy(context, of_tokens, part.labels);
      const std::vector<TokenId> more = other_labels(part);
      if (!more.empty()) {
        const double weight = static_cast<double>(more.size()) / (others_per_label * labels);
        mean = add(
            context, mean,
            scale(context, cross_entropy(context, of_others, more), static_cast<Scalar>(weight)));
      }
      return {mean, labels};
    };
    return trainer_.step(cx, static_cast<Index>(parts.size()), loss);
  }

  /// Other text for score(), with masks that are always the same. Throws ConfigError for a corpus
  /// without text, FormatError for one with a mask token in it.
  [[nodiscard]] MaskedBatch held_out(const Corpus& corpus) const {
    MaskedBatch all;
    for (const SegmentPair& block : blocks_of(corpus, 0, 0)) {
      add_block(all, held_out_masking_, block, 0, all.batch.segments());
    }
    check<ConfigError>(!all.labels.empty(), source, "the held-out text is empty");
    return all;
  }

  /// The loss on other text; throws as held_out().
  [[nodiscard]] MaskedLmScore score(Context& cx, const Corpus& corpus) const {
    return score(cx, held_out(corpus));
  }
  /// The same on what held_out() gave. Throws Error where the loss or the model is not finite.
  [[nodiscard]] MaskedLmScore score(Context& cx, const MaskedBatch& all) const {
    constexpr Index most_tokens = 4096;  // at once
    std::array<double, 6> sums = {};  // of losses, of right guesses, of labels; the same of others
    const auto count_in = [&](const Tensor<Scalar>& logits, std::span<const TokenId> labels,
                              std::size_t at) {
      if (labels.empty()) return;
      sums[at] += static_cast<double>(cross_entropy(cx, logits, labels).item()) *
                  static_cast<double>(labels.size());
      for (Index i = 0; i < logits.size(0); ++i) {
        Index best = 0;
        logits.matrix().row(i).maxCoeff(&best);
        sums[at + 1] += best == labels[static_cast<std::size_t>(i)];
      }
      sums[at + 2] += static_cast<double>(labels.size());
    };
    workers_.together([&] {
      Index number = 0;
      for_each_part(all.batch, most_tokens, [&](const Batch& batch, Index first) {
        if (number++ % workers_.size() != workers_.rank()) return;
        const MaskedBatch part = part_of(all, first, first + batch.segments());
        if (part.labels.empty()) return;
        const auto [of_tokens, of_others] = logits(cx, part);
        count_in(of_tokens, part.labels, 0);
        count_in(of_others, other_labels(part), 3);
      });
    });
    workers_.sum(sums);
    trainer_.require_finite("the loss on other text", sums[0] + sums[3]);
    MaskedLmScore score{sums[0] / sums[2], sums[1] / sums[2]};
    (learns_boundaries ? score.sbo_loss : score.pair_loss) = sums[3] / std::max(1.0, sums[5]);
    (learns_boundaries ? score.sbo_accuracy : score.pair_accuracy) =
        sums[4] / std::max(1.0, sums[5]);
    return score;
  }

  /// How many updates there were.
  [[nodiscard]] Index steps() const noexcept { return trainer_.steps(); }
  /// How many times the corpus was gone through.
  [[nodiscard]] double epochs() const noexcept {
    return static_cast<double>(epoch_) +
           static_cast<double>(steps() * options_.batch - epoch_begin_) /
               static_cast<double>(blocks());
  }
  /// How many blocks the corpus gives; of pairs, how many there are in this epoch.
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
    if (workers_.rank() == 0) finish_update(folder);  // there may be nothing left to train
    go_to(steps() * options_.batch);
  }

 private:
  using ThisTrainer = Trainer<Scalar, Model, AdamW<Scalar>, Workers>;
  static constexpr std::string_view source = "pretraining: ";
  static constexpr const char* settings_file = "pretraining.json";

  static MaskingOptions masking_options(const Model& model, const Tokenizer& tokenizer,
                                        const Corpus& corpus, const PretrainingOptions& options) {
    const RobertaConfig& config = model.config();
    check<ConfigError>(options.length <= config.max_tokens(), source, "blocks of ", options.length,
                       " tokens, but the model takes ", config.max_tokens());
    check<ConfigError>(tokenizer.vocab_size() <= config.vocab_size, source, "the tokenizer has ",
                       tokenizer.vocab_size(), " tokens, the model ", config.vocab_size);
    check<ConfigError>(tokenizer.pad_token_id() == config.padding_id(), source,
                       "the tokenizer's pad token is ", tokenizer.pad_token_id(), ", the model's ",
                       config.padding_id());
    check<ConfigError>(!labels_pairs || options.segment_pairs, source,
                       "the model learns labels of pairs, which need segment_pairs");
    check<ConfigError>(!(options.segment_pairs && options.documents), source,
                       "segment_pairs are no blocks that end with their document, as documents; "
                       "one of them must be false");
    check<ConfigError>(!options.segment_pairs || config.type_vocab_size >= 2, source,
                       "pairs have 2 types of tokens, but the model's type_vocab_size is ",
                       config.type_vocab_size);
    check<ConfigError>(options.duplicates >= 0, source, options.duplicates,
                       " duplicates of the text; 0 stands for masks that are always new");
    const bool spans = options.masking == MaskingLaw::span;
    check<ConfigError>(!learns_boundaries || spans, source,
                       "the model learns from boundaries of spans, which MaskingLaw::span hides");
    MaskingOptions masking{.mask_token = tokenizer.mask_token_id(),
                           .vocab_size = static_cast<TokenId>(tokenizer.vocab_size()),
                           .law = options.masking};
    if (spans || options.masking == MaskingLaw::bert) {
      masking.first_random = 0;
      masking.kept = {tokenizer.cls_token_id(), tokenizer.sep_token_id()};
    }
    if (spans || options.whole_words) masking.word_starts = word_starts(tokenizer);
    if (spans && corpus.sentences() > 0) {
      masking.random_counts = corpus.token_counts(masking.vocab_size);
    }
    return masking;
  }

  /// Seeds of different things that have nothing to do with each other, nor with `seed` itself,
  /// which the model's weights may be drawn with.
  [[nodiscard]] std::uint64_t derived_seed(std::uint64_t what) const noexcept {
    return Rng(options_.seed).bits(~std::uint64_t{0}, what);
  }

  /// A copy of the text; blocks that are no pairs are the same in each.
  [[nodiscard]] std::vector<SegmentPair> blocks_of(const Corpus& corpus, std::uint64_t seed,
                                                   std::uint64_t copy) const {
    std::vector<SegmentPair> blocks;
    if (options_.segment_pairs) {
      blocks = corpus.segment_pairs(options_.length, seed, copy);
    } else {
      for (std::vector<TokenId>& ids :
           corpus.blocks(options_.length, options_.documents ? BlockMode::doc_sentences
                                                             : BlockMode::full_sentences)) {
        const Index size = std::ssize(ids);
        blocks.push_back({std::move(ids), size});
      }
    }
    for (const auto& [ids, first, random] : blocks) {
      const TokenId mask = masking_.options().mask_token;
      check<FormatError>(std::find(ids.begin(), ids.end(), mask) == ids.end(), source,
                         "the text has the mask token ", mask, " in it; it must be taken out");
    }
    return blocks;
  }

  /// Which copy of the text an epoch shows.
  [[nodiscard]] std::uint64_t copy_of(std::uint64_t epoch) const noexcept {
    return options_.duplicates == 0 ? epoch
                                    : epoch % static_cast<std::uint64_t>(options_.duplicates);
  }

  /// Appends block `number` of a copy of the text to a batch.
  void add_block(MaskedBatch& batch, const Masking& masking, const SegmentPair& block,
                 std::uint64_t copy, Index number) const {
    std::vector<TokenId> types;
    if (options_.segment_pairs) {
      types.resize(block.ids.size(), 1);
      std::fill_n(types.begin(), block.first, 0);
      batch.pair_labels.push_back(block.random);
    }
    masking.add(batch, block.ids, copy, static_cast<std::uint64_t>(number), types);
  }

  /// Makes ready the epoch of block `number`, as counted through all epochs.
  void go_to(Index number) {
    const auto begin_epoch = [&](std::uint64_t epoch, Index begin) {
      epoch_ = epoch;
      epoch_begin_ = begin;
      order_.clear();
      if (options_.segment_pairs) blocks_ = blocks_of(corpus_, derived_seed(3), copy_of(epoch));
    };
    if (number < epoch_begin_) begin_epoch(0, 0);
    while (number >= epoch_begin_ + blocks()) begin_epoch(epoch_ + 1, epoch_begin_ + blocks());
    if (order_.empty()) order_ = shuffled(blocks(), derived_seed(2), epoch_);
  }

  /// The blocks of the next update. They follow each other through all epochs, so that a batch may
  /// have the last blocks of one and the first of the next.
  MaskedBatch next_batch() {
    MaskedBatch masked;
    for (Index i = 0; i < options_.batch; ++i) {
      const Index number = steps() * options_.batch + i;
      go_to(number);
      const Index block = order_[static_cast<std::size_t>(number - epoch_begin_)];
      add_block(masked, masking_, blocks_[static_cast<std::size_t>(block)], copy_of(epoch_), block);
    }
    return masked;
  }

  /// Logits of hidden tokens, `[labels, vocab]`, and of what else the model learns, with a row for
  /// each of other_labels(part).
  [[nodiscard]] std::pair<Tensor<Scalar>, Tensor<Scalar>> logits(Context& cx,
                                                                 const MaskedBatch& part) const {
    if constexpr (learns_boundaries) {
      auto outputs = model_(cx, part.batch, part.positions, part.spans);
      return {std::move(outputs.prediction_logits), std::move(outputs.boundary_logits)};
    } else if constexpr (labels_pairs) {
      auto [of_tokens, of_pairs] = model_(cx, part.batch, part.positions);
      return {std::move(of_tokens), std::move(of_pairs)};
    } else {
      return {model_(cx, part.batch, part.positions), Tensor<Scalar>()};
    }
  }

  /// The labels of pairs, or of the hidden tokens that the boundary objective asks for.
  [[nodiscard]] std::vector<TokenId> other_labels(const MaskedBatch& part) const {
    std::vector<TokenId> labels;
    if constexpr (learns_boundaries) {
      for (const Index i : model_.boundaries(part.batch, part.positions, part.spans).targets) {
        labels.push_back(part.labels[static_cast<std::size_t>(i)]);
      }
    } else if constexpr (labels_pairs) {
      labels = part.pair_labels;
    }
    return labels;
  }

  /// Segments `first` to `last` (excluded).
  static MaskedBatch part_of(const MaskedBatch& all, Index first, Index last) {
    MaskedBatch part;
    part.batch = all.batch.part(first, last);
    if (!all.pair_labels.empty()) {
      part.pair_labels.assign(all.pair_labels.begin() + first, all.pair_labels.begin() + last);
    }
    const Index begin = all.batch.offsets[static_cast<std::size_t>(first)];
    const auto row = [&](Index segment) {
      const Index at = all.batch.offsets[static_cast<std::size_t>(segment)];
      return std::lower_bound(all.positions.begin(), all.positions.end(), at) -
             all.positions.begin();
    };
    part.labels.assign(all.labels.begin() + row(first), all.labels.begin() + row(last));
    for (Index i = row(first); i < row(last); ++i) {
      part.positions.push_back(all.positions[static_cast<std::size_t>(i)] - begin);
      if (all.spans.empty()) continue;
      const RowRange span = all.spans[static_cast<std::size_t>(i)];
      part.spans.push_back({span.begin - begin, span.end - begin});
    }
    return part;
  }

  /// What has to agree for a training to go on with the same numbers.
  [[nodiscard]] Json settings() const {
    constexpr const char* maskings[] = {"roberta", "bert", "span"};
    constexpr const char* decays[] = {"constant", "linear", "cosine", "polynomial"};
    const Schedule& schedule = options_.schedule;
    Json all = options_.settings;
    all.update({{"length", options_.length},
                {"batch", options_.batch},
                {"accumulate", options_.parts},
                {"doc-sentences", options_.documents},
                {"segment-pairs", options_.segment_pairs},
                {"masking", maskings[static_cast<int>(options_.masking)]},
                {"duplicates", options_.duplicates},
                {"whole-words", options_.whole_words},
                {"dropout", options_.dropout ? model_.config().hidden_dropout_prob : 0.0},
                {"clip", options_.clip},
                {"seed", options_.seed},
                {"precision", name_of(options_.precision)},
                {"schedule", decays[static_cast<int>(schedule.decay)]},
                {"power", schedule.power},
                {"end", schedule.end},
                {"lr", schedule.peak},
                {"warmup", schedule.warmup_steps},
                {"steps", schedule.total_steps},
                {"beta1", options_.optimizer.beta1},
                {"beta2", options_.optimizer.beta2},
                {"eps", options_.optimizer.eps},
                {"weight-decay", options_.optimizer.weight_decay},
                {"correct-bias", options_.optimizer.correct_bias},
                {"corpus", text_}});
    return all;
  }

  Model& model_;
  PretrainingOptions options_;
  Workers workers_;
  Masking masking_;
  Masking held_out_masking_;
  ThisTrainer trainer_;
  const Corpus& corpus_;
  std::vector<SegmentPair> blocks_;  // of epoch_
  std::string text_;                 // which corpus it is
  std::vector<Index> order_;         // of the blocks
  std::uint64_t epoch_ = 0;
  Index epoch_begin_ = 0;  // how many blocks there were before it
  Index tokens_ = 0;
};

}  // namespace eigenformer
