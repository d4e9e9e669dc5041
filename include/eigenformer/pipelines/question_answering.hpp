// Extractive question answering: a question and a context go in, the part of the context that
// answers it comes out. A context longer than the model takes is read in windows that overlap.
// Mirrors QuestionAnsweringPipeline of transformers 4, with byte offsets.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <functional>
#include <limits>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "eigenformer/models/auto_model.hpp"
#include "eigenformer/pipelines/text_pipeline.hpp"
#include "eigenformer/tokenizers/tokenizer.hpp"
#include "eigenformer/tokenizers/unicode_case.hpp"

namespace eigenformer {

/// A part of the context.
struct Answer {
  std::string text;  ///< "" may stand for: the context holds no answer
  Index start = 0;   ///< its first byte in the context
  Index end = 0;     ///< one past its last byte
  /// The probability of its start times that of its end, summed over the places and windows that
  /// read the same but for case; so it may exceed 1.
  double score = 0;
};

/// What question answering can be told.
struct QuestionAnsweringOptions {
  Index top_k = 1;  ///< answers; fewer come where the context does not hold as many
  /// Tokens that a window shares with the one before it. Default: 128, or half of max_seq_len where
  /// that is less.
  std::optional<Index> doc_stride = {};
  Index max_answer_len = 15;  ///< tokens of the longest answer
  /// Tokens of a window, question and special ones counted. Default: 384, or what the model takes
  /// where that is less.
  std::optional<Index> max_seq_len = {};
  /// Cuts a question to so many tokens; 0: does not, like transformers, which says 64 but cuts only
  /// with tokenizers written in Python.
  Index max_question_len = 0;
  bool handle_impossible_answer = false;  ///< one answer is "", for none
  bool align_to_words = true;             ///< widens answers to whole words
  /// Windows go through the model together up to this many tokens; a longer one goes alone.
  Index batch_tokens = 4096;
  /// Called after each batch with the number of questions that are done, and of all.
  std::function<void(Index done, Index total)> progress = {};
};

/// A question with a part of its context, and how well an answer starts and ends at each token.
template <class Scalar>
struct AnswerWindow {
  Encoding encoding;                 ///< its tokens
  std::vector<Scalar> start_logits;  ///< `[tokens]`
  std::vector<Scalar> end_logits;    ///< `[tokens]`

  /// Whether a token belongs to the context.
  [[nodiscard]] bool in_context(std::size_t token) const noexcept {
    return encoding.sequence_ids[token] == 1;
  }
};

namespace detail {

/// Tokens `first` to `last`, which is included.
struct TokenSpan {
  std::size_t first = 0;
  std::size_t last = 0;
  double score = 0;
};

/// softmax over the logits of the tokens that `counted` marks; the others get 0. In double,
/// so that no answer's score vanishes.
template <class Scalar>
[[nodiscard]] std::vector<double> softmax_over(const std::vector<Scalar>& logits,
                                               const std::vector<bool>& counted) {
  double most = -std::numeric_limits<double>::infinity();
  for (std::size_t i = 0; i < logits.size(); ++i) {
    if (counted[i]) most = std::max(most, static_cast<double>(logits[i]));
  }
  std::vector<double> probabilities(logits.size());
  double sum = 0;
  for (std::size_t i = 0; i < logits.size(); ++i) {
    if (!counted[i]) continue;
    probabilities[i] = std::exp(static_cast<double>(logits[i]) - most);
    sum += probabilities[i];
  }
  if (sum > 0) {
    for (double& probability : probabilities) probability /= sum;
  }
  return probabilities;
}

/// The tokens of the words that a span's ends lie in, as far as the window has them.
[[nodiscard]] inline TokenSpan aligned_to_words(const Encoding& encoding, TokenSpan span) {
  const auto same_word = [&](std::size_t a, std::size_t b) {
    return encoding.word_ids[a] == encoding.word_ids[b] &&
           encoding.sequence_ids[a] == encoding.sequence_ids[b];
  };
  while (span.first > 0 && same_word(span.first - 1, span.first)) --span.first;
  while (span.last + 1 < encoding.ids.size() && same_word(span.last + 1, span.last)) ++span.last;
  return span;
}

/// The answers of all windows of one question.
class AnswerList {
 public:
  AnswerList(std::string_view context, TokenId cls, const QuestionAnsweringOptions& options)
      : context_(context), cls_(cls), options_(options) {}

  template <class Scalar>
  void add(const AnswerWindow<Scalar>& window) {
    const Encoding& encoding = window.encoding;
    std::vector<bool> counted(encoding.ids.size());
    // As in transformers, a <s> that stands in the question counts too; but it is no answer here.
    for (std::size_t i = 0; i < counted.size(); ++i) {
      counted[i] = window.in_context(i) || encoding.ids[i] == cls_;
    }
    const std::vector<double> starts = softmax_over(window.start_logits, counted);
    const std::vector<double> ends = softmax_over(window.end_logits, counted);
    null_score_ = std::min(null_score_, starts[0] * ends[0]);  // the first token stands for none
    for (TokenSpan& span : best_spans(window, starts, ends)) {
      if (options_.align_to_words) span = aligned_to_words(encoding, span);
      add(encoding.offsets[span.first].begin, encoding.offsets[span.last].end, span.score);
    }
  }

  /// The best ones, best first, and at least one.
  [[nodiscard]] std::vector<Answer> take() {
    if (options_.handle_impossible_answer || answers_.empty()) {
      answers_.push_back({"", 0, 0, options_.handle_impossible_answer ? null_score_ : 0});
    }
    std::stable_sort(answers_.begin(), answers_.end(),
                     [](const Answer& a, const Answer& b) { return a.score > b.score; });
    if (static_cast<Index>(answers_.size()) > options_.top_k) {
      answers_.resize(static_cast<std::size_t>(options_.top_k));
    }
    return std::move(answers_);
  }

 private:
  /// The likeliest spans of a window, best first: more than are asked for, since some may turn out
  /// to read the same.
  template <class Scalar>
  [[nodiscard]] std::vector<TokenSpan> best_spans(const AnswerWindow<Scalar>& window,
                                                  const std::vector<double>& starts,
                                                  const std::vector<double>& ends) const {
    const std::size_t size = starts.size();
    const auto longest = static_cast<std::size_t>(options_.max_answer_len);
    std::vector<TokenSpan> spans;
    for (std::size_t first = 1; first < size; ++first) {
      if (!window.in_context(first)) continue;
      for (std::size_t last = first; last < size && last - first < longest; ++last) {
        const double score = starts[first] * ends[last];
        if (window.in_context(last) && score > 0) spans.push_back({first, last, score});
      }
    }
    const auto top_k = static_cast<std::size_t>(options_.top_k);
    std::size_t kept = spans.size();
    if (top_k < kept) kept = std::min(kept, options_.align_to_words ? 2 * top_k + 10 : top_k);
    std::partial_sort(spans.begin(), spans.begin() + static_cast<std::ptrdiff_t>(kept), spans.end(),
                      [](const TokenSpan& a, const TokenSpan& b) {
                        if (a.score != b.score) return a.score > b.score;
                        return a.first != b.first ? a.first < b.first : a.last < b.last;
                      });
    spans.resize(kept);
    return spans;
  }

  /// Adds an answer, or its score to that of one that reads the same but for case.
  void add(std::size_t start, std::size_t end, double score) {
    const std::string_view text = context_.substr(start, end - start);
    const auto [found, is_new] = places_.try_emplace(to_lower(repair(text).text), answers_.size());
    if (is_new) {
      answers_.push_back(
          {std::string(text), static_cast<Index>(start), static_cast<Index>(end), score});
    } else {
      answers_[found->second].score += score;
    }
  }

  std::string_view context_;
  TokenId cls_;
  const QuestionAnsweringOptions& options_;
  double null_score_ = std::numeric_limits<double>::infinity();
  std::vector<Answer> answers_;
  std::unordered_map<std::string, std::size_t> places_;  // in answers_, by lower case
};

}  // namespace detail

/// A tokenizer and a question answering model. Use one per thread; copies share the model.
/// `Answering<Scalar>` is any model that has `from_pretrained(path, LoadOptions)`,
/// `operator()(cx, batch)` to QuestionAnsweringOutput, and a `config()` with `max_tokens()`.
template <class Scalar, template <class> class Answering = AutoModelForQuestionAnswering>
class BasicQuestionAnswering
    : public TextPipeline<Answering<Scalar>, BasicQuestionAnswering<Scalar, Answering>> {
  using Base = typename BasicQuestionAnswering::TextPipeline;

 public:
  /// Throws ConfigError where the tokenizer adds no special tokens, or has no cls_token.
  BasicQuestionAnswering(std::shared_ptr<const Tokenizer> tokenizer,
                         std::shared_ptr<const typename Base::Model> model,
                         Context context = Context())
      : Base(std::move(tokenizer), std::move(model), std::move(context)),
        cls_(tokenizer_->cls_token_id()) {
    check<ConfigError>(tokenizer_->added_special_tokens(true) > 0,
                       "question answering: the tokenizer adds no special tokens to a pair; the "
                       "first of them stands for no answer");
  }

  /// The answers to a question, best first: at least one, which is "" with score 0 where the
  /// context has no tokens. Throws Error for a question or context of no characters, and as
  /// for_each_question.
  [[nodiscard]] std::vector<Answer> operator()(std::string_view question, std::string_view context,
                                               const QuestionAnsweringOptions& options = {}) {
    const TextPair pair(question, context);
    return std::move((*this)(std::span(&pair, 1), options).front());
  }

  /// The same for many questions, each with its context.
  [[nodiscard]] std::vector<std::vector<Answer>> operator()(
      std::span<const TextPair> questions, const QuestionAnsweringOptions& options = {}) {
    check(options.top_k >= 1 && options.max_answer_len >= 1, "question answering: top_k is ",
          options.top_k, " and max_answer_len ", options.max_answer_len,
          "; they must be 1 or more");
    for (std::size_t i = 0; i < questions.size(); ++i) {
      check(!questions[i].first.empty() && !questions[i].second.empty(), "question answering: ",
            questions[i].first.empty() ? "question " : "the context of question ", i, " is empty");
    }
    std::vector<std::vector<Answer>> answers;
    answers.reserve(questions.size());
    for_each_question(questions, options,
                      [&](std::size_t i, std::span<const AnswerWindow<Scalar>> windows) {
                        detail::AnswerList list(questions[i].second, cls_, options);
                        for (const AnswerWindow<Scalar>& window : windows) list.add(window);
                        answers.push_back(list.take());
                      });
    return answers;
  }

  /// Calls f(i, windows) for each question in order, with the windows of its context: what any
  /// choice of answers starts from. Of the options, those count that are about tokens and batches.
  /// Throws ConfigError, naming the question, where it leaves no room for its context.
  template <class Function>
  void for_each_question(std::span<const TextPair> questions,
                         const QuestionAnsweringOptions& options, Function&& f) {
    constexpr std::size_t most = 256;  // questions whose windows are held at once
    EncodeCache cache;
    EncodeOptions limits = encode_options(options);
    limits.cache = &cache;
    const auto total = static_cast<Index>(questions.size());
    for (std::size_t first = 0; first < questions.size(); first += most) {
      const std::size_t count = std::min(most, questions.size() - first);
      std::vector<AnswerWindow<Scalar>> windows;
      std::vector<std::size_t> offsets = {0};  // question i has windows offsets[i]..offsets[i+1]
      Batch batch;
      for (std::size_t i = first; i < first + count; ++i) {
        add_windows(i, questions[i], limits, options.max_question_len, windows);
        offsets.push_back(windows.size());
      }
      for (const AnswerWindow<Scalar>& window : windows) {
        batch.add(window.encoding.ids, tokenizer_->model_types(window.encoding));
      }
      std::size_t done = 0;
      for_each_part(batch, options.batch_tokens, [&](const Batch& part, Index begin) {
        const std::span all(windows);
        const auto next = static_cast<std::size_t>(begin);
        const auto end = static_cast<std::size_t>(begin + part.segments());
        add_logits(part, all.subspan(next, end - next));
        for (; done < count && offsets[done + 1] <= end; ++done) {
          f(first + done, std::span<const AnswerWindow<Scalar>>(
                              all.subspan(offsets[done], offsets[done + 1] - offsets[done])));
        }
        if (options.progress) options.progress(static_cast<Index>(first + done), total);
      });
    }
  }

 private:
  using Base::context_;
  using Base::model_;
  using Base::tokenizer_;

  [[nodiscard]] EncodeOptions encode_options(const QuestionAnsweringOptions& options) const {
    const Index most = model_->config().max_tokens();
    const Index length = options.max_seq_len.value_or(std::min<Index>(384, most));
    check<ConfigError>(length >= 1 && length <= most, "question answering: max_seq_len is ", length,
                       "; it must be from 1 to what the model takes, ", most);
    return {.max_length = length,
            .stride = options.doc_stride.value_or(std::min<Index>(128, length / 2)),
            .strategy = TruncationStrategy::only_second};
  }

  /// Appends the windows of question `i`, without logits.
  void add_windows(std::size_t i, const TextPair& question, const EncodeOptions& limits,
                   Index max_question_len, std::vector<AnswerWindow<Scalar>>& windows) const {
    Encoding encoding;
    try {
      encoding = tokenizer_->encode(cut(question.first, max_question_len), question.second, limits);
    } catch (const ConfigError& problem) {
      fail<ConfigError>("question answering: question ", i, ": ", std::string_view(problem.what()));
    }
    std::vector<Encoding> others = std::move(encoding.overflowing);
    windows.push_back({std::move(encoding), {}, {}});
    for (Encoding& other : others) windows.push_back({std::move(other), {}, {}});
  }

  /// The first `most` tokens of a question, all where that is 0.
  [[nodiscard]] std::string_view cut(std::string_view question, Index most) const {
    if (most <= 0) return question;
    const Encoding tokens = tokenizer_->encode(
        question, {.add_special_tokens = false, .details = EncodingDetails::offsets});
    if (tokens.size() <= most) return question;
    return question.substr(0, tokens.offsets[static_cast<std::size_t>(most) - 1].end);
  }

  /// Gives the windows, which `batch` packs, their logits.
  void add_logits(const Batch& batch, std::span<AnswerWindow<Scalar>> windows) {
    const QuestionAnsweringOutput<Scalar> outputs = (*model_)(context_, batch);
    const auto finite = [](const Tensor<Scalar>& logits) {
      return logits.array().isFinite().all();
    };
    check(finite(outputs.start_logits) && finite(outputs.end_logits),
          "question answering: the model's logits are not all finite; its weights are damaged, or "
          "too large for this precision");
    for (std::size_t i = 0; i < windows.size(); ++i) {
      const RowRange rows = batch.segment(static_cast<Index>(i));
      const auto copy = [&](const Tensor<Scalar>& logits) {
        return std::vector<Scalar>(logits.data() + rows.begin, logits.data() + rows.end);
      };
      windows[i].start_logits = copy(outputs.start_logits);
      windows[i].end_logits = copy(outputs.end_logits);
    }
  }

  TokenId cls_;
};

/// Question answering in float, as most programs use it.
using QuestionAnswering = BasicQuestionAnswering<float>;

}  // namespace eigenformer
