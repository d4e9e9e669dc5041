// What all examples share: the common options, input lines, errors as exit codes, progress.
#pragma once

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <CLI/CLI.hpp>

#include "eigenformer/autograd/context.hpp"
#include "eigenformer/base/precision.hpp"
#include "eigenformer/io/file.hpp"
#include "eigenformer/io/json.hpp"
#include "eigenformer/tokenizers/tokenizer.hpp"
#ifdef EIGENFORMER_HAS_SENTENCEPIECE
#include "eigenformer/tokenizers/sentencepiece.hpp"
#endif

namespace examples {

namespace ef = eigenformer;

/// One input: a text, or two with a tab between them.
struct Line {
  std::size_t number = 1;  ///< from 1
  std::string input;       ///< as it was given
  std::string text;
  std::optional<std::string> pair;
};

/// Lines, and their tokens as a model for sentence embeddings takes them.
struct Texts {
  std::vector<std::string> lines;
  ef::Batch tokens;

  template <class SentenceEmbedding>
  void add(const SentenceEmbedding& embed, const Line& line, ef::Index max_length) {
    const ef::Encoding encoding = embed.encode(line.text, line.pair, max_length);
    tokens.add(encoding.ids, encoding.type_ids);
    lines.push_back(line.input);
  }
};

/// A share from 0 to 1 as a bar of at most `width` characters; none below 0.
inline std::string bar(double share, int width) {
  const double length = std::clamp(share, 0.0, 1.0) * width + 0.5;
  return std::string(static_cast<std::size_t>(length), '#');
}

/// A line of a corpus that answers a query, as a line to read.
inline void print_hit(double score, ef::Index line, const std::string& text) {
  std::printf("  %6.3f %-20s %6td  %s\n", score, bar(score, 20).c_str(), line, text.c_str());
}

/// Something with its probability, as a line to read.
inline void print_probability(double probability, const std::string& text) {
  std::printf("  %5.1f %%  %-16s %s\n", 100 * probability, text.c_str(),
              bar(probability, 40).c_str());
}

/// `{"labels":[{"label":..,"score":..},..]}` of what classifiers give.
template <class LabelScore>
ef::Json labels_to_json(const std::vector<LabelScore>& labels) {
  ef::Json list = ef::Json::array();
  for (const LabelScore& label : labels) {
    list.push_back({{"label", label.label}, {"score", label.score}});
  }
  return {{"labels", std::move(list)}};
}

/// Copies a tokenizer's files from folder to folder.
inline void copy_tokenizer(const std::string& from, const std::string& to) {
  for (const char* name :
       {"tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json",
        "vocab.json", "merges.txt", "vocab.txt", "spiece.model"}) {
    const std::string file = ef::join_path(from, name);
    if (ef::exists(file)) ef::write_file(ef::join_path(to, name), ef::read_file(file));
  }
}

/// "1:05:09", or "5:09" below an hour.
inline std::string clock_time(double seconds) {
  const auto whole = static_cast<long>(std::max(seconds, 0.0));
  char text[32];
  if (whole < 3600)
    std::snprintf(text, sizeof(text), "%ld:%02ld", whole / 60, whole % 60);
  else
    std::snprintf(text, sizeof(text), "%ld:%02ld:%02ld", whole / 3600, whole / 60 % 60, whole % 60);
  return text;
}

/// Progress on standard error when that is a terminal: how much is done, and per second; with a
/// total, the time left.
class Progress {
 public:
  /// `what` is counted.
  explicit Progress(const char* what = "inputs", bool shows = true)
      : what_(what), terminal_(shows && ::isatty(STDERR_FILENO) != 0) {}
  ~Progress() { clear(); }
  /// Takes the progress off the terminal.
  void clear() {
    if (shown_) std::fputs("\r\033[K", stderr);
    shown_ = false;
  }
  void step() { reach(done_ + 1); }
  /// So many of those that reach() counts took no time here.
  void skip(ef::Index count) { skipped_ += count; }
  /// `more` is shown beside it.
  void reach(ef::Index done, ef::Index total = 0, const std::string& more = "") {
    done_ = done;
    const auto now = std::chrono::steady_clock::now();
    if (!terminal_ || now - last_ < std::chrono::milliseconds(200)) return;
    last_ = now;
    const double seconds = std::chrono::duration<double>(now - start_).count();
    const double speed = static_cast<double>(done_ - skipped_) / seconds;
    std::fprintf(stderr, "\r\033[K%td %s, %.1f per second%s", done_, what_, speed, more.c_str());
    if (total > 0 && speed > 0) {
      std::fprintf(stderr, ", %s left of %td",
                   clock_time(static_cast<double>(total - done_) / speed).c_str(), total);
    }
    shown_ = true;
  }

 private:
  const char* what_;
  bool terminal_;
  bool shown_ = false;
  ef::Index done_ = 0;
  ef::Index skipped_ = 0;
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
  std::chrono::steady_clock::time_point last_ = start_;
};

/// What a training does between two reports.
struct Pace {
  ef::Index updates = 0;
  ef::Index tokens = 0;
  double seconds = 0;  ///< of updates alone
  double loss = 0;     ///< the sum over the updates

  void add(ef::Index of_tokens, double of_loss, double in_seconds) {
    ++updates;
    tokens += of_tokens;
    loss += of_loss;
    seconds += in_seconds;
  }
  [[nodiscard]] double mean_loss() const { return loss / static_cast<double>(updates); }
  [[nodiscard]] double tokens_per_second() const { return static_cast<double>(tokens) / seconds; }
  /// Of so many updates that are left.
  [[nodiscard]] double seconds_of(ef::Index left) const {
    return seconds / static_cast<double>(updates) * static_cast<double>(left);
  }
  /// For Progress.
  [[nodiscard]] std::string shown(double learning_rate) const {
    char text[96];
    std::snprintf(text, sizeof(text), ", loss %.4f, rate %.2e, %.0f tokens/s", mean_loss(),
                  learning_rate, tokens_per_second());
    return text;
  }
};

/// Whether mpirun, or a scheduler in its place, started this process.
inline bool started_by_mpirun() {
  for (const char* name : {"OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "PMIX_RANK"}) {
    if (std::getenv(name) != nullptr) return true;
  }
  return false;
}

/// A command line with the options that all examples have.
class Program {
 public:
  explicit Program(const std::string& description) : app(description) {
    app.add_option("--model", model,
                   "folder with config.json, model.safetensors and tokenizer, or a file in it that "
                   "convert wrote")
        ->default_str("the small model that ships with the examples");
    app.add_option("text", texts_, "input; a tab separates the two texts of a pair");
    app.add_option("--input", input_, "file with one input per line; default: standard input");
    app.add_flag("--json", json, "one JSON object per input");
    app.add_option("--output", output, "file for arrays, as safetensors");
    app.add_option("--precision", precision_, "arithmetic, and how weights are kept")
        ->check(CLI::IsMember({"float", "double", "bf16", "int8"}))
        ->default_str("float, or as the file has them");
    app.add_option("--threads", threads_, "default: the physical cores that may be used")
        ->check(CLI::Range(1, 4096));
    std::vector<std::string> sets;
    for (const ef::Isa isa : ef::every_isa) sets.emplace_back(ef::name_of(isa));
    app.add_option("--isa", isa_, "instruction set; default: the best that the machine has")
        ->check(CLI::IsMember(sets));
    app.add_option("--max-length", max_length, "truncate to this many tokens, special ones counted")
        ->check(CLI::Range(1, 1 << 30));
  }

  CLI::App app;
  std::string model = EIGENFORMER_EXAMPLE_MODEL;
  std::string output;
  bool json = false;
  ef::Index max_length = 0;

  /// Parses the command line and runs `body`; gives the exit code: 2 for a wrong command line, 1
  /// for bad input, with one line on standard error.
  template <class Body>
  int run(int argc, char** argv, Body&& body) {
    try {
      app.parse(argc, argv);
      if (!texts_.empty() && !input_.empty()) {
        throw CLI::ValidationError("--input", "cannot be given together with texts");
      }
    } catch (const CLI::Success& request) {  // --help
      return app.exit(request);
    } catch (const CLI::ParseError& problem) {
      std::fprintf(stderr, "%s\n%s", problem.what(), app.help().c_str());
      return 2;
    }
    try {
      if (!isa_.empty()) ::setenv("EIGENFORMER_ISA", isa_.c_str(), /*overwrite=*/1);
      body();
      ef::check<ef::IoError>(std::fflush(stdout) == 0, "standard output: cannot be written");
      return 0;
    } catch (const std::exception& problem) {
      std::fflush(stdout);
      std::string message = problem.what();
      std::replace(message.begin(), message.end(), '\n', ' ');
      std::fprintf(stderr, "error: %s\n", message.c_str());
      return 1;
    }
  }

  /// Makes these the only choices of --precision.
  void restrict_precision(const std::vector<std::string>& names, const std::string& description) {
    app.remove_option(app.get_option("--precision"));
    app.add_option("--precision", precision_, description)
        ->check(CLI::IsMember(names))
        ->default_str("float");
  }

  /// What --precision says about the weights of models of float, if it is given.
  [[nodiscard]] std::optional<ef::Precision> precision() const {
    if (precision_.empty()) return std::nullopt;
    return precision_ == "bf16"   ? ef::Precision::bf16
           : precision_ == "int8" ? ef::Precision::int8
                                  : ef::Precision::full;
  }

  /// Calls body.operator()<Scalar>() with the scalar that --precision names.
  template <class Body>
  void with_scalar(Body&& body) const {
    if (precision_ == "double")
      body.template operator()<double>();
    else
      body.template operator()<float>();
  }

  [[nodiscard]] ef::Context context() const {
    return threads_ > 0 ? ef::Context(threads_) : ef::Context();
  }

  /// The tokens of a line. Throws where it has more than the `most` that the model takes.
  [[nodiscard]] ef::Encoding encode(const ef::Tokenizer& tokenizer, const Line& line,
                                    ef::Index most) const {
    const ef::EncodeOptions options{.max_length = max_length, .return_overflow = false};
    ef::Encoding encoding = line.pair ? tokenizer.encode(line.text, *line.pair, options)
                                      : tokenizer.encode(line.text, options);
    ef::check<ef::ShapeError>(encoding.size() <= most, "has ", encoding.size(),
                              " tokens but the model takes ", most, "; --max-length ", most,
                              " truncates");
    return encoding;
  }

  /// Calls body(line) for every input in order; an error names the line. Only '\n' ends a line.
  template <class Body>
  void for_each_line(Body&& body) const {
    if (texts_.empty()) return for_each_line_of(input_, body);
    Progress progress;
    for (std::size_t i = 0; i < texts_.size(); ++i) {
      handle("input ", i + 1, texts_[i], body);
      progress.step();
    }
  }

  /// The same for the lines of a file, or of standard input where `path` is empty.
  template <class Body>
  static void for_each_line_of(const std::string& path, Body&& body) {
    Progress progress;
    std::ifstream file;
    if (!path.empty()) {
      file.open(path, std::ios::binary);
      ef::check<ef::IoError>(file.is_open() && !ef::is_directory(path), path, ": cannot be read");
    }
    std::istream& stream = path.empty() ? std::cin : file;
    std::string line;
    for (std::size_t number = 1; std::getline(stream, line); ++number) {
      handle((path.empty() ? "standard input" : path) + " line ", number, std::move(line), body);
      progress.step();
    }
  }

  /// One JSON object on a line of its own; bytes that are not UTF-8 become U+FFFD.
  static void print(const ef::Json& object) {
    std::puts(object.dump(-1, ' ', false, ef::Json::error_handler_t::replace).c_str());
  }

 private:
  template <class Body>
  static void handle(const std::string& source, std::size_t number, std::string input,
                     Body&& body) {
    try {
      body(split(number, std::move(input)));
    } catch (const ef::Error& problem) {
      throw ef::Error(ef::concat(source, number, ": ", std::string_view(problem.what())));
    }
  }

  static Line split(std::size_t number, std::string input) {
    const std::size_t tab = input.find('\t');
    if (tab == std::string::npos) return {number, input, input, std::nullopt};
    ef::check(input.find('\t', tab + 1) == std::string::npos,
              "has more than one tab; one separates the two texts of a pair");
    Line line{number, input, input.substr(0, tab), input.substr(tab + 1)};
    return line;
  }

  std::vector<std::string> texts_;
  std::string input_;
  std::string precision_;
  std::string isa_;
  int threads_ = 0;
};

}  // namespace examples
