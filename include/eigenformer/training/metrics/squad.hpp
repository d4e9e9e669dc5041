// SQuAD's exact match and F1, as the official scripts evaluate-v1.1.py and evaluate-v2.0.py compute
// them (Rajpurkar et al. 2016, 2018), to the last bit: Python's lower(), split() and `\b` included.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <functional>
#include <numeric>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "eigenformer/base/error.hpp"
#include "eigenformer/base/shape.hpp"
#include "eigenformer/tokenizers/unicode.hpp"
#include "eigenformer/tokenizers/unicode_case.hpp"

namespace eigenformer {

/// A question's prediction and its gold answers.
struct SquadExample {
  std::string prediction;            ///< "" says that the text holds no answer
  std::vector<std::string> answers;  ///< none: the question has no answer (2.0)
  /// The model's probability, or any other score, that there is no answer (2.0).
  double no_answer_probability = 0;
};

/// Exact match and F1 in percent, over so many questions; all 0 over none.
struct SquadScores {
  double exact_match = 0;  ///< percent of the questions
  double f1 = 0;           ///< mean over the questions, in percent
  Index total = 0;         ///< how many questions
};

/// What evaluate-v2.0.py reports.
struct Squad2Scores {
  SquadScores all;                        ///< of all questions
  SquadScores has_answer;                 ///< of the questions that have one: HasAns
  SquadScores no_answer;                  ///< of those that have none: NoAns
  double best_exact_match = 0;            ///< that any threshold of no_answer_probability reaches
  double best_exact_match_threshold = 0;  ///< with which the best exact match is reached
  double best_f1 = 0;                     ///< that any threshold reaches
  double best_f1_threshold = 0;           ///< with which the best F1 is reached
};

namespace detail {

/// The words of a text after SQuAD's normalisation: lower case, no ASCII punctuation, no articles.
/// An article goes wherever a regular expression's \b stands on both its sides, which need not be
/// at a space: a combining accent is no word character in Python, so that "a" goes out of
/// "a\u0301".
[[nodiscard]] inline std::vector<std::string> answer_words(std::string_view text) {
  constexpr std::string_view punctuation = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~";
  const UnicodeClasses& classes = UnicodeClasses::instance();
  const std::string lower = to_lower(repair(text).text);
  std::vector<std::string> words;
  std::string word;
  std::size_t run = 0;  // where the word's last run of letters and digits begins
  const auto end_word = [&] {
    if (!word.empty()) words.push_back(std::move(word));
    word.clear();
    run = 0;
  };
  const auto end_run = [&] {
    const std::string_view last = std::string_view(word).substr(run);
    if (last == "a" || last == "an" || last == "the") {
      word.resize(run);
      end_word();
    }
    run = word.size();
  };
  for (std::size_t at = 0; at < lower.size();) {
    const Utf8Char next = decode_utf8(lower.data() + at);
    const std::string_view bytes = std::string_view(lower).substr(at, next.size);
    at += next.size;
    if (next.size == 1 && punctuation.find(bytes[0]) != std::string_view::npos) continue;
    const CharKind kind = classes.kind(next.point);
    const bool in_run = kind == CharKind::letter || kind == CharKind::number;
    if (!in_run) end_run();
    if (is_python_space(next.point)) {
      end_word();
    } else {
      word += bytes;
      if (!in_run) run = word.size();
    }
  }
  end_run();
  end_word();
  return words;
}

/// F1 of the two bags of words, where both hold some.
[[nodiscard]] inline double bag_f1(std::vector<std::string> prediction,
                                   std::vector<std::string> answer) {
  std::sort(prediction.begin(), prediction.end());
  std::sort(answer.begin(), answer.end());
  std::size_t same = 0;
  for (std::size_t i = 0, j = 0; i < prediction.size() && j < answer.size();) {
    const int order = prediction[i].compare(answer[j]);
    same += order == 0 ? 1 : 0;
    i += order <= 0 ? 1 : 0;
    j += order >= 0 ? 1 : 0;
  }
  if (same == 0) return 0;
  const double precision = static_cast<double>(same) / static_cast<double>(prediction.size());
  const double recall = static_cast<double>(same) / static_cast<double>(answer.size());
  return (2 * precision * recall) / (precision + recall);
}

/// Exact match and F1 of one question, each 0 to 1.
struct AnswerScores {
  double exact_match = 0;
  double f1 = 0;
};

/// The two scripts differ over what has no words: 2.0 leaves out such answers, has the empty one
/// where none is left, and lets F1 be 1 where prediction and answer are both empty.
enum class SquadVersion { v1, v2 };

/// The best over the answers.
[[nodiscard]] inline AnswerScores best_scores(const SquadExample& example, SquadVersion version) {
  std::vector<std::vector<std::string>> answers;
  for (const std::string& answer : example.answers) {
    answers.push_back(answer_words(answer));
    if (version == SquadVersion::v2 && answers.back().empty()) answers.pop_back();
  }
  if (version == SquadVersion::v2 && answers.empty()) answers.emplace_back();
  const std::vector<std::string> prediction = answer_words(example.prediction);
  AnswerScores best;
  for (const std::vector<std::string>& answer : answers) {
    const bool same = prediction == answer;
    if (same) best.exact_match = 1;
    if (!prediction.empty() && !answer.empty()) {
      best.f1 = std::max(best.f1, bag_f1(prediction, answer));
    } else if (same && version == SquadVersion::v2) {
      best.f1 = 1;
    }
  }
  return best;
}

/// In percent, over those questions that `counted` says.
template <class Counted>
[[nodiscard]] SquadScores squad_totals(std::span<const AnswerScores> scores, Counted counted) {
  SquadScores sum;
  for (std::size_t i = 0; i < scores.size(); ++i) {
    if (!counted(i)) continue;
    sum.exact_match += scores[i].exact_match;
    sum.f1 += scores[i].f1;
    ++sum.total;
  }
  if (sum.total == 0) return sum;
  const auto total = static_cast<double>(sum.total);
  return {100 * sum.exact_match / total, 100 * sum.f1 / total, sum.total};
}

struct BestThreshold {
  double score = 0;
  double threshold = 0;
};

/// The threshold that gives the best total, and that total in percent. `order` holds the questions
/// by rising probability of no answer: one after the other is taken to be answered.
[[nodiscard]] inline BestThreshold best_threshold(std::span<const SquadExample> examples,
                                                  std::span<const AnswerScores> scores,
                                                  std::span<const std::size_t> order,
                                                  double AnswerScores::*metric) {
  double sum = 0;
  for (const SquadExample& example : examples) sum += example.answers.empty() ? 1 : 0;
  BestThreshold best{sum, 0};
  for (const std::size_t i : order) {
    const SquadExample& example = examples[i];
    sum += !example.answers.empty() ? scores[i].*metric : example.prediction.empty() ? 0 : -1;
    if (sum > best.score) best = {sum, example.no_answer_probability};
  }
  best.score = 100 * best.score / static_cast<double>(examples.size());
  return best;
}

}  // namespace detail

/// SQuAD's normalisation of an answer: lower case, no ASCII punctuation, no articles (a, an, the),
/// one space between words. Invalid UTF-8 becomes U+FFFD.
[[nodiscard]] inline std::string normalize_answer(std::string_view text) {
  std::string joined;
  for (const std::string& word : detail::answer_words(text)) {
    if (!joined.empty()) joined += ' ';
    joined += word;
  }
  return joined;
}

/// The figures of SQuAD 1.1: the best over a question's answers, the mean over the questions. A
/// question without a prediction counts as "". Throws ShapeError for no examples or one without
/// answers.
[[nodiscard]] inline SquadScores squad_scores(std::span<const SquadExample> examples) {
  check<ShapeError>(!examples.empty(), "SQuAD: no examples to score");
  std::vector<detail::AnswerScores> scores;
  for (const SquadExample& example : examples) {
    check<ShapeError>(!example.answers.empty(), "SQuAD 1.1: example ", scores.size(),
                      " has no answers; for unanswerable questions use squad2_scores");
    scores.push_back(detail::best_scores(example, detail::SquadVersion::v1));
  }
  return detail::squad_totals(scores, [](std::size_t) { return true; });
}

/// The figures of SQuAD 2.0. A probability of no answer above `no_answer_threshold` overrules the
/// prediction; the best thresholds are searched regardless of it. Throws ShapeError for no
/// examples, and Error for a probability that is NaN.
[[nodiscard]] inline Squad2Scores squad2_scores(std::span<const SquadExample> examples,
                                                double no_answer_threshold = 1) {
  check<ShapeError>(!examples.empty(), "SQuAD: no examples to score");
  std::vector<detail::AnswerScores> raw;
  for (const SquadExample& example : examples) {
    check(!std::isnan(example.no_answer_probability), "SQuAD 2.0: example ", raw.size(),
          " has a no-answer probability of NaN; it must be a number");
    raw.push_back(detail::best_scores(example, detail::SquadVersion::v2));
  }
  std::vector<detail::AnswerScores> scores = raw;
  for (std::size_t i = 0; i < examples.size(); ++i) {
    if (examples[i].no_answer_probability > no_answer_threshold) {
      scores[i].exact_match = scores[i].f1 = examples[i].answers.empty() ? 1 : 0;
    }
  }
  std::vector<std::size_t> order(examples.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
    return examples[a].no_answer_probability < examples[b].no_answer_probability;
  });
  const auto has_answer = [&](std::size_t i) { return !examples[i].answers.empty(); };
  const detail::BestThreshold exact_match =
      detail::best_threshold(examples, raw, order, &detail::AnswerScores::exact_match);
  const detail::BestThreshold f1 =
      detail::best_threshold(examples, raw, order, &detail::AnswerScores::f1);
  return {.all = detail::squad_totals(scores, [](std::size_t) { return true; }),
          .has_answer = detail::squad_totals(scores, has_answer),
          .no_answer = detail::squad_totals(scores, std::not_fn(has_answer)),
          .best_exact_match = exact_match.score,
          .best_exact_match_threshold = exact_match.threshold,
          .best_f1 = f1.score,
          .best_f1_threshold = f1.threshold};
}

}  // namespace eigenformer
