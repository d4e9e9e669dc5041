// Files of labelled texts: tab-separated columns with GLUE's header line, and sentences of tagged
// words in CoNLL's columns. Nothing is quoted. Errors name file and line.
#pragma once

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "eigenformer/io/file.hpp"
#include "eigenformer/io/json.hpp"
#include "eigenformer/tokenizers/encoding.hpp"

namespace eigenformer {

/// A text, or a pair of texts, with what the file says of it.
struct LabelledText {
  std::string text;                 ///< the only one, or the first of a pair
  std::optional<std::string> pair;  ///< the second, if there is one
  std::string label;                ///< as it is written
  std::size_t line = 0;             ///< from 1

  /// What a tokenizer takes; a view.
  [[nodiscard]] TextInput input() const { return {text, pair}; }
};

/// The columns to read, by their names in the header; empty: those of GLUE's tasks.
struct LabelledColumns {
  std::string text = {};   ///< the text, or the first of a pair
  std::string pair = {};   ///< the second of a pair, for which `text` is given; empty: no pairs
  std::string label = {};  ///< class, classes or number
};

/// A sentence of tagged words.
struct TaggedSentence {
  std::vector<std::string> words;  ///< no white space in them
  std::vector<std::string> tags;   ///< one for each word
  std::size_t line = 0;            ///< of its first word, from 1
};

namespace detail {

/// Calls f(line, number) for the lines of a file, without the byte order mark, "\n" and "\r\n" that
/// programs of other systems leave.
template <class Function>
void for_each_data_line(const std::string& path, Function&& f) {
  const std::string bytes = read_file(path);
  std::string_view rest = bytes;
  if (rest.starts_with("\xEF\xBB\xBF")) rest.remove_prefix(3);
  for (std::size_t number = 1; !rest.empty(); ++number) {
    const std::size_t end = std::min(rest.find('\n'), rest.size());
    std::string_view line = rest.substr(0, end);
    if (line.ends_with('\r')) line.remove_suffix(1);
    f(line, number);
    rest.remove_prefix(std::min(end + 1, rest.size()));
  }
}

[[nodiscard]] inline std::vector<std::string> split_columns(std::string_view line, char separator) {
  std::vector<std::string> columns;
  for (std::size_t begin = 0; begin <= line.size();) {
    const std::size_t end = std::min(line.find(separator, begin), line.size());
    columns.emplace_back(line.substr(begin, end - begin));
    begin = end + 1;
  }
  return columns;
}

/// Where the header has what is asked for.
class ColumnFinder {
 public:
  ColumnFinder(std::string path, std::vector<std::string> header)
      : path_(std::move(path)), header_(std::move(header)) {}

  /// The place of a column, if it is there.
  [[nodiscard]] std::optional<std::size_t> find(std::string_view name) const {
    const auto found = std::find(header_.begin(), header_.end(), name);
    if (found == header_.end()) return std::nullopt;
    return static_cast<std::size_t>(found - header_.begin());
  }
  /// The place of a column that must be there.
  [[nodiscard]] std::size_t at(std::string_view name) const {
    const std::optional<std::size_t> found = find(name);
    if (!found) refuse(concat("no column '", name, "'"));
    return *found;
  }

  /// The places of the text and, if there are pairs, of the second one.
  [[nodiscard]] std::pair<std::size_t, std::optional<std::size_t>> texts(
      const LabelledColumns& columns) const {
    using Name = const char*;
    constexpr std::pair<Name, Name> pairs[] = {
        {"sentence1", "sentence2"}, {"question1", "question2"}, {"question", "sentence"},
        {"premise", "hypothesis"},  {"text_a", "text_b"},       {"#1 String", "#2 String"}};
    check<ConfigError>(columns.pair.empty() || !columns.text.empty(), path_, ": the column '",
                       Printable{columns.pair},
                       "' is asked for as the second text of a pair, but none for the first");
    if (!columns.text.empty()) {
      if (columns.pair.empty()) return {at(columns.text), std::nullopt};
      return {at(columns.text), at(columns.pair)};
    }
    for (const auto& [first, second] : pairs) {
      if (find(first) && find(second)) return {*find(first), find(second)};
    }
    for (const Name name : {"sentence", "text"}) {
      if (find(name)) return {*find(name), std::nullopt};
    }
    refuse("no column of texts, such as sentence, or sentence1 and sentence2");
  }

  [[nodiscard]] std::size_t label(const LabelledColumns& columns) const {
    if (!columns.label.empty()) return at(columns.label);
    for (const char* name : {"label", "score", "gold_label", "is_duplicate", "Quality", "labels"}) {
      if (find(name)) return *find(name);
    }
    refuse("no column of labels, such as label or score");
  }

 private:
  [[noreturn]] void refuse(const std::string& problem) const {
    std::string names;
    for (const std::string& name : header_) names += (names.empty() ? "" : ", ") + name;
    fail<FormatError>(path_, " line 1: ", problem, " among ", Printable{names},
                      "; the first line must name the columns, or say which ones to read");
  }

  std::string path_;
  std::vector<std::string> header_;
};

/// Without spaces at its ends.
[[nodiscard]] inline std::string trimmed(std::string_view text) {
  const std::size_t begin = std::min(text.find_first_not_of(' '), text.size());
  return std::string(text.substr(begin, text.find_last_not_of(' ') + 1 - begin));
}

/// Whether a line of CoNLL's separates sentences: white space, and a byte order mark that published
/// files have in odd places.
[[nodiscard]] inline bool is_blank(std::string_view line) {
  if (line.starts_with("\xEF\xBB\xBF")) line.remove_prefix(3);
  return line.find_first_not_of(" \t\r") == std::string_view::npos;
}

}  // namespace detail

/// Reads tab-separated columns under a header line; quotes are ordinary. Throws IoError, or
/// FormatError for a column that is not there, a line with more or fewer columns, and no lines.
[[nodiscard]] inline std::vector<LabelledText> read_labelled_texts(
    const std::string& path, const LabelledColumns& columns = {}) {
  std::vector<LabelledText> texts;
  std::size_t width = 0, text = 0, label = 0;
  std::optional<std::size_t> pair;
  detail::for_each_data_line(path, [&](std::string_view line, std::size_t number) {
    std::vector<std::string> row = detail::split_columns(line, '\t');
    if (number == 1) {
      width = row.size();
      const detail::ColumnFinder header(path, std::move(row));
      std::tie(text, pair) = header.texts(columns);
      label = header.label(columns);
      return;
    }
    check<FormatError>(row.size() == width, path, " line ", number, ": has ", row.size(),
                       " columns but the header has ", width);
    LabelledText& read = texts.emplace_back();
    read.line = number;
    read.label = row[label];
    if (pair) read.pair = row[*pair];
    read.text = std::move(row[text]);
  });
  check<FormatError>(!texts.empty(), path, ": holds no texts; a header line and at least one line ",
                     "must be there");
  return texts;
}

/// Reads sentences of CoNLL: a word with its tag on each line, the word first and the tag last,
/// columns apart by tabs, or else by spaces, and an empty line between sentences. "-DOCSTART-" is
/// left out. Throws IoError, or FormatError for a line without a word or tag, and no sentences.
[[nodiscard]] inline std::vector<TaggedSentence> read_tagged_sentences(const std::string& path) {
  std::vector<TaggedSentence> sentences;
  bool inside = false;
  detail::for_each_data_line(path, [&](std::string_view line, std::size_t number) {
    const bool blank = detail::is_blank(line);
    if (blank || line.starts_with("-DOCSTART-")) {
      inside = false;
      return;
    }
    const bool tabs = line.find('\t') != std::string_view::npos;
    std::vector<std::string> columns = detail::split_columns(line, tabs ? '\t' : ' ');
    while (!tabs && columns.back().empty()) columns.pop_back();
    check<FormatError>(columns.size() >= 2 && !columns.front().empty() && !columns.back().empty(),
                       path, " line ", number, ": '", detail::Printable{line},
                       "' is not CoNLL's word with its tag, a tab or space between them");
    if (!std::exchange(inside, true)) sentences.emplace_back().line = number;
    sentences.back().words.push_back(std::move(columns.front()));
    sentences.back().tags.push_back(std::move(columns.back()));
  });
  check<FormatError>(!sentences.empty(), path, ": holds no sentences");
  return sentences;
}

/// The number that a label is. Throws FormatError, naming `path` and the line, for what is none, or
/// not finite.
[[nodiscard]] inline double label_as_number(const std::string& path, const LabelledText& text) {
  double value = 0;
  const char* const end = text.label.data() + text.label.size();
  const auto [parsed, problem] = std::from_chars(text.label.data(), end, value);
  check<FormatError>(problem == std::errc() && parsed == end && std::isfinite(value), path,
                     " line ", text.line, ": score '", detail::Printable{text.label},
                     "' is not a finite number");
  return value;
}

/// The labels of a file, each once: in the order of their numbers where all are whole numbers, else
/// of their bytes. Mirrors the order of transformers' run_glue.py and run_ner.py.
[[nodiscard]] inline std::vector<std::string> sorted_labels(std::vector<std::string> labels) {
  const auto number = [](const std::string& label) {
    std::optional<long long> value(0);
    const char* const end = label.data() + label.size();
    const auto [parsed, problem] = std::from_chars(label.data(), end, *value);
    if (problem != std::errc() || parsed != end) value.reset();
    return value;
  };
  std::sort(labels.begin(), labels.end());
  labels.erase(std::unique(labels.begin(), labels.end()), labels.end());
  if (std::all_of(labels.begin(), labels.end(), number)) {
    std::stable_sort(labels.begin(), labels.end(), [&](const std::string& a, const std::string& b) {
      return number(a) < number(b);
    });
  }
  return labels;
}

}  // namespace eigenformer
