// Fine-tuning for extractive question answering on SQuAD, 1.1 and 2.0. Mirrors transformers'
// run_qa.py: contexts are read in windows that overlap, and where a window does not hold the whole
// answer, its first token stands for none.
#pragma once

#include <algorithm>
#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "eigenformer/models/auto_model.hpp"
#include "eigenformer/pipelines/squad.hpp"
#include "eigenformer/tokenizers/tokenizer.hpp"
#include "eigenformer/tokenizers/unicode.hpp"
#include "eigenformer/training/metrics/squad.hpp"
#include "eigenformer/training/tasks/task.hpp"

namespace eigenformer {

/// Where an answer is among a window's tokens; both 0: nowhere.
struct AnswerPosition {
  TokenId start = 0;  ///< its first token
  TokenId end = 0;    ///< its last one
};

/// The tokens of bytes `begin` to `end` of the context in a window of it. Unlike run_qa.py, which
/// takes the separator for the start of an answer that starts with the window's last token, this
/// takes that token.
[[nodiscard]] inline AnswerPosition answer_position(const Encoding& window, std::size_t begin,
                                                    std::size_t end) {
  const auto is_context = [](std::int32_t sequence) { return sequence == 1; };
  const auto& sequences = window.sequence_ids;
  const auto first_found = std::find_if(sequences.begin(), sequences.end(), is_context);
  if (first_found == sequences.end()) return {};
  auto first = static_cast<std::size_t>(first_found - sequences.begin());
  std::size_t last = first;
  while (last + 1 < sequences.size() && is_context(sequences[last + 1])) ++last;
  if (window.offsets[first].begin > begin || window.offsets[last].end < end) return {};
  const std::size_t low = first, high = last;
  while (first < high && window.offsets[first + 1].begin <= begin) ++first;
  while (last > low && window.offsets[last - 1].end >= end) --last;
  return {static_cast<TokenId>(first), static_cast<TokenId>(last)};
}

/// Questions and the contexts that hold their answers or not, from SQuAD's files.
template <class ScalarType>
class AnsweringTask {
 public:
  using Scalar = ScalarType;                            ///< the model's arithmetic
  using Model = AutoModelForQuestionAnswering<Scalar>;  ///< the head

  /// Reads both files and encodes the windows. Throws as reading them, and for an answer that is
  /// not where the file says, and a question that leaves no room for its context, naming file and
  /// question.
  AnsweringTask(std::shared_ptr<const Tokenizer> tokenizer, const EncoderConfig& config,
                const TaskOptions& options, ThreadPool* pool = nullptr)
      : tokenizer_(std::move(tokenizer)), config_(config) {
    detail::check_max_length(options.max_length, config.max_tokens());
    config_.num_labels = 2;
    config_.id2label.clear();
    config_.label2id.clear();
    config_.problem_type.reset();
    if (options.max_length > 0) squad_.max_seq_length = options.max_length;
    if (options.stride >= 0) squad_.doc_stride = options.stride;
    dev_data_ = SquadDataset::read(options.dev);
    train_ = encoded(options.train, SquadDataset::read(options.train), pool);
    dev_ = encoded(options.dev, dev_data_, pool);
  }

  /// The model's, with two labels.
  [[nodiscard]] const EncoderConfig& config() const noexcept { return config_; }
  /// The windows that are learned from.
  [[nodiscard]] const Batch& texts() const noexcept { return train_.batch; }

  /// A number that other texts and labels, in either file, hardly give.
  [[nodiscard]] std::uint64_t digest() const {
    Digest digest;
    for (const Windows* windows : {&train_, &dev_}) {
      detail::add_to(digest, windows->batch);
      digest.add_all(windows->starts);
      digest.add_all(windows->ends);
    }
    for (const SquadQuestion& question : dev_data_.questions) {
      for (const std::string& answer : question.answers) digest.add_all(answer);
    }
    return digest.value();
  }

  /// The mean over windows.
  [[nodiscard]] PartLoss<Scalar> loss(Context& cx, const Model& model,
                                      std::span<const Index> which) const {
    return loss_of(cx, model, train_, which);
  }

  /// In percent, as SQuAD's official scripts give them.
  [[nodiscard]] std::vector<std::string> metric_names() const { return {"f1", "exact_match"}; }

  /// On the second file: the loss over its windows, the metrics over its questions.
  [[nodiscard]] Evaluation evaluate(Context& cx, const Model& model) const {
    MeanLoss loss;
    detail::for_each_picked(dev_.batch, [&](std::span<const Index> which, const Batch&) {
      loss.add(loss_of(cx, model, dev_, which));
    });
    const std::shared_ptr<const Model> borrowed(std::shared_ptr<const Model>(), &model);
    BasicQuestionAnswering<Scalar> answer(tokenizer_, borrowed, cx);
    std::vector<SquadExample> examples;
    const auto predictions = squad_predictions(answer, dev_data_, squad_);
    for (std::size_t i = 0; i < predictions.size(); ++i) {
      examples.push_back({predictions[i].text, dev_data_.questions[i].answers});
    }
    const SquadScores scores =
        dev_data_.version_2_with_negative ? squad2_scores(examples).all : squad_scores(examples);
    return {loss.value(), {scores.f1, scores.exact_match}};
  }

 private:
  struct Windows {
    Batch batch;
    std::vector<TokenId> starts;  // [windows]
    std::vector<TokenId> ends;
  };

  /// As BasicQuestionAnswering has them where the options do not say.
  [[nodiscard]] EncodeOptions encode_options() const {
    const Index length = squad_.max_seq_length.value_or(std::min<Index>(384, config_.max_tokens()));
    return {.max_length = length,
            .stride = squad_.doc_stride.value_or(std::min<Index>(128, length / 2)),
            .strategy = TruncationStrategy::only_second};
  }

  Windows encoded(const std::string& path, const SquadDataset& data, ThreadPool* pool) const {
    check<FormatError>(!data.questions.empty(), path, ": holds no questions");
    constexpr std::size_t most = 256;  // questions whose windows are held at once
    Windows windows;
    for (std::size_t first = 0; first < data.questions.size(); first += most) {
      const auto some = std::span(data.questions)
                            .subspan(first)
                            .first(std::min(most, data.questions.size() - first));
      std::vector<TextPair> pairs;
      for (const SquadQuestion& question : some) {
        check<FormatError>(data.version_2_with_negative || !question.answers.empty(), path,
                           ": question '", detail::Printable{question.id},
                           "' has no answers; where it cannot be answered, SQuAD 2.0 has "
                           "is_impossible");
        pairs.emplace_back(detail::without_leading_space(question.question),
                           data.contexts[question.context]);
      }
      std::vector<Encoding> encodings;
      try {
        encodings =
            tokenizer_->encode_each(std::span<const TextPair>(pairs), encode_options(), pool);
      } catch (const ConfigError&) {
        name_too_long(path, some, pairs);
        throw;
      }
      for (std::size_t i = 0; i < some.size(); ++i) add(path, data, some[i], encodings[i], windows);
    }
    return windows;
  }

  /// Throws for the first question that cannot be encoded.
  void name_too_long(const std::string& path, std::span<const SquadQuestion> questions,
                     std::span<const TextPair> pairs) const {
    for (std::size_t i = 0; i < pairs.size(); ++i) {
      try {
        (void)tokenizer_->encode_each(pairs.subspan(i, 1), encode_options());
      } catch (const ConfigError& problem) {
        fail<ConfigError>(path, ": question '", detail::Printable{questions[i].id},
                          "': ", std::string_view(problem.what()));
      }
    }
  }

  void add(const std::string& path, const SquadDataset& data, const SquadQuestion& question,
           const Encoding& encoding, Windows& windows) const {
    std::size_t begin = 0, end = 0;
    if (!question.answers.empty()) {
      begin = answer_begin(path, data.contexts[question.context], question);
      end = begin + question.answers.front().size();
    }
    const auto add_window = [&](const Encoding& window) {
      const AnswerPosition position =
          question.answers.empty() ? AnswerPosition() : answer_position(window, begin, end);
      windows.batch.add(window.ids, tokenizer_->model_types(window));
      windows.starts.push_back(position.start);
      windows.ends.push_back(position.end);
    };
    add_window(encoding);
    for (const Encoding& window : encoding.overflowing) add_window(window);
  }

  /// The first answer's first byte.
  static std::size_t answer_begin(const std::string& path, std::string_view context,
                                  const SquadQuestion& question) {
    const std::string& answer = question.answers.front();
    const Index characters = question.answer_starts.front();
    check<FormatError>(characters >= 0, path, ": question '", detail::Printable{question.id},
                       "' has an answer without answer_start, which is needed to learn from it");
    std::size_t begin = 0;
    for (Index i = 0; i < characters && begin < context.size(); ++i) {
      begin += detail::decode_utf8(context.data() + begin).size;
    }
    check<FormatError>(context.substr(begin, answer.size()) == answer, path, ": question '",
                       detail::Printable{question.id}, "': the context has '",
                       detail::Printable{context.substr(begin, answer.size())},
                       "' at answer_start ", characters, ", not '", detail::Printable{answer}, "'");
    return begin;
  }

  static PartLoss<Scalar> loss_of(Context& cx, const Model& model, const Windows& windows,
                                  std::span<const Index> which) {
    std::vector<TokenId> starts, ends;
    for (const Index i : which) {
      starts.push_back(windows.starts[static_cast<std::size_t>(i)]);
      ends.push_back(windows.ends[static_cast<std::size_t>(i)]);
    }
    const Batch batch = detail::picked(windows.batch, which);
    return {model.loss(cx, model(cx, batch), batch, starts, ends),
            static_cast<double>(which.size())};
  }

  std::shared_ptr<const Tokenizer> tokenizer_;
  EncoderConfig config_;
  SquadOptions squad_;
  SquadDataset dev_data_;
  Windows train_;
  Windows dev_;
};

}  // namespace eigenformer
