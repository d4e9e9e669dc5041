// SQuAD's files, 1.1 and 2.0 (Rajpurkar et al. 2016, 2018): the questions are read, their answers
// chosen as run_qa.py of transformers' examples does it, and written for the official scripts.
#pragma once

#include <algorithm>
#include <cstddef>
#include <functional>
#include <numeric>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_set>
#include <utility>
#include <vector>

#include "eigenformer/io/file.hpp"
#include "eigenformer/io/json.hpp"
#include "eigenformer/pipelines/question_answering.hpp"

namespace eigenformer {

/// A question about one of the contexts.
struct SquadQuestion {
  std::string id;                    ///< its key in the predictions
  std::string question;              ///< its text
  std::size_t context = 0;           ///< which of SquadDataset::contexts
  std::vector<std::string> answers;  ///< none: there is no answer (2.0), or it is not told
  /// How many characters of the context are before each answer; -1 where the file does not tell.
  std::vector<Index> answer_starts = {};
};

/// What a file of SQuAD holds.
struct SquadDataset {
  std::vector<std::string> contexts;     ///< the paragraphs
  std::vector<SquadQuestion> questions;  ///< in the file's order
  /// SQuAD 2.0: a question may have no answer. Read as true where one has `is_impossible`.
  bool version_2_with_negative = false;

  /// Reads a JSON file of SQuAD 1.1 or 2.0; answers may be missing. Throws IoError, or FormatError
  /// naming file and place.
  [[nodiscard]] static SquadDataset read(const std::string& path) {
    SquadDataset dataset;
    const Json file = json_of(path);
    std::unordered_set<std::string_view> ids;
    for_each(file, "data", path, [&](const Json& article, const std::string& article_place) {
      for_each(article, "paragraphs", article_place,
               [&](const Json& paragraph, const std::string& place) {
                 dataset.contexts.push_back(text(paragraph, "context", place));
                 for_each(paragraph, "qas", place,
                          [&](const Json& qa, const std::string& qa_place) {
                            const std::string& id = text(qa, "id", qa_place);
                            check<FormatError>(ids.insert(id).second, qa_place, ": the id '",
                                               detail::Printable{id}, "' appears twice");
                            dataset.add(qa, qa_place);
                          });
               });
    });
    return dataset;
  }

 private:
  static Json json_of(const std::string& path) {
    try {
      return read_json(path);
    } catch (const FormatError& problem) {
      fail<FormatError>(problem.what(), "; questions are read from JSON files as SQuAD's");
    }
  }

  void add(const Json& qa, const std::string& place) {
    SquadQuestion question{
        text(qa, "id", place), text(qa, "question", place), contexts.size() - 1, {}, {}};
    if (qa.contains("answers")) {
      for_each(qa, "answers", place, [&](const Json& answer, const std::string& answer_place) {
        question.answers.push_back(text(answer, "text", answer_place));
        question.answer_starts.push_back(answer_start(answer, answer_place));
      });
    }
    version_2_with_negative = version_2_with_negative || qa.contains("is_impossible");
    questions.push_back(std::move(question));
  }

  static Index answer_start(const Json& answer, const std::string& place) {
    const auto found = answer.find("answer_start");
    if (found == answer.end()) return -1;
    check<FormatError>(found->is_number_unsigned(), place, ": 'answer_start' is ", found->dump(),
                       "; it must be a number of characters");
    return found->get<Index>();
  }

  /// Calls f(element, its place) for the array that `object` has at `key`.
  template <class Function>
  static void for_each(const Json& object, const char* key, const std::string& place,
                       Function&& f) {
    const Json& array = member(object, key, Json::value_t::array, place);
    for (std::size_t i = 0; i < array.size(); ++i)
      f(array[i], concat(place, " ", key, "[", i, "]"));
  }

  static const std::string& text(const Json& object, const char* key, const std::string& place) {
    return member(object, key, Json::value_t::string, place).get_ref<const std::string&>();
  }

  static const Json& member(const Json& object, const char* key, Json::value_t type,
                            const std::string& place) {
    check<FormatError>(object.is_object(), place, ": must be an object, not ",
                       std::string_view(object.type_name()));
    const auto found = object.find(key);
    check<FormatError>(found != object.end(), place, ": has no '", key, "'");
    check<FormatError>(found->type() == type, place, ": '", key, "' must be of type ",
                       std::string_view(Json(type).type_name()), ", not ",
                       std::string_view(found->type_name()));
    return *found;
  }
};

/// How answers are chosen; names and defaults are run_qa.py's.
struct SquadOptions {
  Index n_best_size = 20;        ///< starts and ends of each window, and spans of each question
  Index max_answer_length = 30;  ///< in tokens
  /// 2.0: a question has no answer where the score of none is above the best one's by more.
  double null_score_diff_threshold = 0;
  std::optional<Index> max_seq_length = {};         ///< as QuestionAnsweringOptions::max_seq_len
  std::optional<Index> doc_stride = {};             ///< as in QuestionAnsweringOptions
  Index batch_tokens = 4096;                        ///< as in QuestionAnsweringOptions
  std::function<void(Index, Index)> progress = {};  ///< as in QuestionAnsweringOptions
};

/// The answer to one question.
struct SquadPrediction {
  std::string id;    ///< of the question
  std::string text;  ///< "": there is no answer (2.0)
  /// 2.0: the score of no answer minus that of the best one. evaluate-v2.0.py takes it as the
  /// probability of no answer.
  double null_score_diff = 0;
};

namespace detail {

/// The positions of the `count` greatest logits, greatest first. Of equal ones the later comes
/// first, as from the end of a stable sort.
template <class Scalar>
[[nodiscard]] std::vector<std::size_t> greatest(const std::vector<Scalar>& logits, Index count) {
  std::vector<std::size_t> positions(logits.size());
  std::iota(positions.begin(), positions.end(), std::size_t{0});
  const Index kept = std::min(count, static_cast<Index>(positions.size()));
  std::partial_sort(positions.begin(), positions.begin() + kept, positions.end(),
                    [&](std::size_t a, std::size_t b) {
                      return logits[a] != logits[b] ? logits[a] > logits[b] : a > b;
                    });
  positions.resize(static_cast<std::size_t>(kept));
  return positions;
}

/// A part of the context with the sum of its logits.
template <class Scalar>
struct SquadSpan {
  std::string_view text;
  Scalar start_logit;
  Scalar end_logit;
  Scalar score = start_logit + end_logit;
};

/// postprocess_qa_predictions() of transformers' examples for one question, in the precision of its
/// logits. Where no span can be an answer, the text is "empty", with logits of 0.
template <class Scalar>
[[nodiscard]] SquadPrediction squad_prediction(std::string_view context,
                                               std::span<const AnswerWindow<Scalar>> windows,
                                               bool with_negative, const SquadOptions& options) {
  using Span = SquadSpan<Scalar>;
  std::optional<Span> null;  // the least of the windows: all must agree that there is no answer
  std::vector<Span> spans;
  for (const AnswerWindow<Scalar>& window : windows) {
    const Span none{"", window.start_logits[0], window.end_logits[0]};
    if (!null || none.score < null->score) null = none;
    const std::vector<std::size_t> ends = greatest(window.end_logits, options.n_best_size);
    for (const std::size_t first : greatest(window.start_logits, options.n_best_size)) {
      for (const std::size_t last : ends) {
        if (!window.in_context(first) || !window.in_context(last) || last < first) continue;
        if (static_cast<Index>(last - first) >= options.max_answer_length) continue;
        const std::size_t begin = window.encoding.offsets[first].begin;
        const std::size_t end = window.encoding.offsets[last].end;
        spans.push_back({context.substr(begin, end - begin), window.start_logits[first],
                         window.end_logits[last]});
      }
    }
  }
  if (with_negative) spans.push_back(*null);
  std::stable_sort(spans.begin(), spans.end(),
                   [](const Span& a, const Span& b) { return a.score > b.score; });
  if (static_cast<Index>(spans.size()) > options.n_best_size) {
    spans.resize(static_cast<std::size_t>(options.n_best_size), spans.front());
  }
  if (spans.empty() || (spans.size() == 1 && spans.front().text.empty())) {
    spans.insert(spans.begin(), {"empty", 0, 0});
  }
  if (!with_negative) return {"", std::string(spans.front().text), 0};
  const auto best =
      std::find_if(spans.begin(), spans.end(), [](const Span& span) { return !span.text.empty(); });
  if (best == spans.end()) return {};  // where the script fails
  const Scalar difference = null->score - best->start_logit - best->end_logit;
  const bool none = difference > options.null_score_diff_threshold;
  return {"", std::string(none ? "" : best->text), static_cast<double>(difference)};
}

/// A text without the white space in front of it.
[[nodiscard]] inline std::string_view without_leading_space(std::string_view text) {
  while (!text.empty() && scan_utf8(text, 0).valid) {
    const Utf8Char first = decode_utf8(text.data());
    if (!is_python_space(first.point)) break;
    text.remove_prefix(first.size);
  }
  return text;
}

}  // namespace detail

/// A prediction for each question of the data, as run_qa.py chooses it where it does not pad.
/// Throws as BasicQuestionAnswering::for_each_question.
template <class Scalar, template <class> class Answering>
[[nodiscard]] std::vector<SquadPrediction> squad_predictions(
    BasicQuestionAnswering<Scalar, Answering>& answer, const SquadDataset& data,
    const SquadOptions& options = {}) {
  check(options.n_best_size >= 1 && options.max_answer_length >= 1, "SQuAD: n_best_size is ",
        options.n_best_size, " and max_answer_length ", options.max_answer_length,
        "; they must be 1 or more");
  std::vector<TextPair> questions;
  for (const SquadQuestion& question : data.questions) {
    check<ShapeError>(question.context < data.contexts.size(), "SQuAD: question '", question.id,
                      "' has context ", question.context, " of ", data.contexts.size());
    questions.emplace_back(detail::without_leading_space(question.question),
                           data.contexts[question.context]);
  }
  std::vector<SquadPrediction> predictions;
  answer.for_each_question(
      questions,
      {.doc_stride = options.doc_stride,
       .max_seq_len = options.max_seq_length,
       .batch_tokens = options.batch_tokens,
       .progress = options.progress},
      [&](std::size_t i, std::span<const AnswerWindow<Scalar>> windows) {
        predictions.push_back(detail::squad_prediction(questions[i].second, windows,
                                                       data.version_2_with_negative, options));
        predictions.back().id = data.questions[i].id;
      });
  return predictions;
}

/// Writes `{"id": "text", ...}`, which SQuAD's official scripts read. Throws IoError.
inline void write_squad_predictions(const std::string& path,
                                    std::span<const SquadPrediction> predictions) {
  Json object = Json::object();
  for (const SquadPrediction& prediction : predictions) object[prediction.id] = prediction.text;
  write_file(path, object.dump(1, ' ', false, Json::error_handler_t::replace) + "\n");
}

}  // namespace eigenformer
