// Fine-tuning for labels of words, such as the kinds of names. Mirrors transformers' run_ner.py: a
// word's first token has its label, the others do not count.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "eigenformer/models/auto_model.hpp"
#include "eigenformer/tokenizers/tokenizer.hpp"
#include "eigenformer/training/metrics/entities.hpp"
#include "eigenformer/training/tasks/task.hpp"

namespace eigenformer {

/// Sentences of tagged words, from CoNLL's files. The tokenizer reads a sentence as the pipeline
/// reads a plain text: its words with one space between them.
template <class ScalarType>
class TaggingTask {
 public:
  using Scalar = ScalarType;                              ///< the model's arithmetic
  using Model = AutoModelForTokenClassification<Scalar>;  ///< the head

  /// Reads both files and encodes their sentences. Throws as reading them, and for a tag that the
  /// first file does not have or that CoNLL's metric does not know, and a sentence too long, naming
  /// file and line.
  TaggingTask(const Tokenizer& tokenizer, const EncoderConfig& config, const TaskOptions& options,
              ThreadPool* pool = nullptr)
      : config_(config) {
    detail::check_max_length(options.max_length, config.max_tokens());
    const auto train = read_tagged_sentences(options.train);
    const auto dev = read_tagged_sentences(options.dev);
    std::vector<std::string> labels;
    for (const TaggedSentence& sentence : train) {
      labels.insert(labels.end(), sentence.tags.begin(), sentence.tags.end());
    }
    const detail::LabelNumbers numbers(options.train, std::move(labels), config);
    config_ = numbers.with_labels(config);
    config_.problem_type.reset();
    train_ = encoded(tokenizer, options.train, train, numbers, options.max_length, pool);
    check<FormatError>(train_.batch.segments() > 0, options.train, ": no word has a token");
    dev_ = encoded(tokenizer, options.dev, dev, numbers, options.max_length, pool);
    check<FormatError>(dev_.batch.segments() > 0, options.dev, ": no word has a token");
    for (const TaggedSentence& sentence : dev) dev_tags_.push_back(sentence.tags);
  }

  /// The model's, with the tags of the first file.
  [[nodiscard]] const EncoderConfig& config() const noexcept { return config_; }
  /// What is learned from.
  [[nodiscard]] const Batch& texts() const noexcept { return train_.batch; }

  /// A number that other texts and labels, in either file, hardly give.
  [[nodiscard]] std::uint64_t digest() const {
    Digest digest;
    for (const Sentences* sentences : {&train_, &dev_}) {
      detail::add_to(digest, sentences->batch);
      digest.add_all(sentences->labels);
    }
    for (const auto& tags : dev_tags_) {
      for (const std::string& tag : tags) digest.add_all(tag);
    }
    return digest.value();
  }

  /// The mean over the words that have a token.
  [[nodiscard]] PartLoss<Scalar> loss(Context& cx, const Model& model,
                                      std::span<const Index> which) const {
    return loss_of(cx, model, model(cx, detail::picked(train_.batch, which)), train_, which);
  }

  /// CoNLL's figure first.
  [[nodiscard]] std::vector<std::string> metric_names() const {
    return {"f1", "precision", "recall"};
  }

  /// On the second file. A word that has no token, such as one that was cut off, is predicted to be
  /// no part of a name.
  [[nodiscard]] Evaluation evaluate(Context& cx, const Model& model) const {
    MeanLoss loss;
    std::vector<std::vector<std::string>> predicted;
    for (const auto& tags : dev_tags_) predicted.emplace_back(tags.size(), "O");
    detail::for_each_picked(dev_.batch, [&](std::span<const Index> which, const Batch& batch) {
      const Tensor<Scalar> logits = model(cx, batch);  // [tokens, labels]
      loss.add(loss_of(cx, model, logits, dev_, which));
      Index row = 0;
      for (const Index i : which) {
        const Sentence& sentence = dev_.sentences[static_cast<std::size_t>(i)];
        for (const auto& [token, word] : sentence.words) {
          Index best = 0;
          logits.matrix().row(row + token).maxCoeff(&best);
          predicted[sentence.number][word] = config_.label(best);
        }
        row += dev_.batch.segment(i).size();
      }
    });
    const PrecisionRecall scores = entity_scores(predicted, dev_tags_).micro;
    return {loss.value(), {scores.f1, scores.precision, scores.recall}};
  }

 private:
  /// A sentence that has words with tokens.
  struct Sentence {
    std::size_t number = 0;                            // in the file
    std::vector<std::pair<Index, std::size_t>> words;  // first token, number
  };
  struct Sentences {
    Batch batch;
    std::vector<TokenId> labels;      // [tokens], -100: does not count
    std::vector<Sentence> sentences;  // of the batch
  };

  Sentences encoded(const Tokenizer& tokenizer, const std::string& path,
                    const std::vector<TaggedSentence>& sentences,
                    const detail::LabelNumbers& numbers, Index max_length, ThreadPool* pool) const {
    std::vector<std::string> texts;
    for (const TaggedSentence& sentence : sentences) {
      std::string& text = texts.emplace_back();
      for (const std::string& word : sentence.words) text += (text.empty() ? "" : " ") + word;
    }
    const std::vector<Encoding> encodings =
        tokenizer.encode_each(std::span<const std::string>(texts),
                              {.max_length = max_length, .return_overflow = false}, pool);
    Sentences data;
    for (std::size_t i = 0; i < sentences.size(); ++i) {
      const TaggedSentence& read = sentences[i];
      detail::check_length(path, read.line, encodings[i].size(), config_.max_tokens());
      std::vector<TokenId> ids;
      for (std::size_t word = 0; word < read.tags.size(); ++word) {
        ids.push_back(numbers(path, read.line + word, read.tags[word]));
        check_tag(path, read.line + word, read.tags[word]);
      }
      Sentence sentence{i, first_tokens_of(encodings[i], read.words)};
      if (sentence.words.empty()) continue;
      data.batch.add(encodings[i].ids, encodings[i].type_ids);
      data.labels.resize(data.batch.ids.size(), -100);
      const Index begin = data.batch.segment(data.batch.segments() - 1).begin;
      for (const auto& [token, word] : sentence.words) {
        data.labels[static_cast<std::size_t>(begin + token)] = ids[word];
      }
      data.sentences.push_back(std::move(sentence));
    }
    return data;
  }

  static void check_tag(const std::string& path, std::size_t line, const std::string& tag) {
    try {
      (void)entity_spans(std::span(&tag, 1));
    } catch (const FormatError& problem) {
      fail<FormatError>(path, " line ", line, ": ", std::string_view(problem.what()));
    }
  }

  /// The first token of each word that has one, with the word's number. Tokens of no bytes, such as
  /// the space before a word, belong to none.
  static std::vector<std::pair<Index, std::size_t>> first_tokens_of(
      const Encoding& encoding, const std::vector<std::string>& words) {
    std::vector<std::pair<Index, std::size_t>> found;
    std::size_t token = 0, begin = 0;
    for (std::size_t word = 0; word < words.size(); ++word) {
      const std::size_t end = begin + words[word].size();
      const auto outside = [&](std::size_t i) {
        const ByteSpan span = encoding.offsets[i];
        return encoding.special_tokens_mask[i] != 0 || span.size() == 0 || span.begin < begin;
      };
      while (token < encoding.ids.size() && outside(token)) ++token;
      if (token < encoding.ids.size() && encoding.offsets[token].begin < end) {
        found.emplace_back(static_cast<Index>(token), word);
      }
      begin = end + 1;
    }
    return found;
  }

  PartLoss<Scalar> loss_of(Context& cx, const Model& model, const Tensor<Scalar>& logits,
                           const Sentences& data, std::span<const Index> which) const {
    std::vector<TokenId> labels;
    for (const Index i : which) {
      const RowRange rows = data.batch.segment(i);
      labels.insert(labels.end(), data.labels.begin() + rows.begin, data.labels.begin() + rows.end);
    }
    const auto ignored = std::count(labels.begin(), labels.end(), -100);
    return {model.loss(cx, logits, labels),
            static_cast<double>(static_cast<Index>(labels.size()) - ignored)};
  }

  EncoderConfig config_;
  Sentences train_;
  Sentences dev_;
  std::vector<std::vector<std::string>> dev_tags_;
};

}  // namespace eigenformer
