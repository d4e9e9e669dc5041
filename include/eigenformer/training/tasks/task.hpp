// What the tasks of fine-tuning have in common. A task knows the texts of its two files and how
// they are labelled; it has
//   Scalar, Model: a head on the encoder;
//   config(): that of the model, with the task's labels;
//   texts(): what is learned from, one text or window after the other;
//   digest(): a number that other files, texts or labels, hardly give;
//   loss(cx, model, which): the PartLoss of these texts;
//   metric_names(), the official one first;
//   evaluate(cx, model): loss and metrics, in that order, of the other file's texts.
#pragma once

#include <algorithm>
#include <cstddef>
#include <map>
#include <numeric>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "eigenformer/base/batch.hpp"
#include "eigenformer/base/digest.hpp"
#include "eigenformer/models/encoder_config.hpp"
#include "eigenformer/training/labelled_files.hpp"
#include "eigenformer/training/trainer.hpp"

namespace eigenformer {

/// How a model does on texts that it does not learn from.
struct Evaluation {
  double loss = 0;              ///< the mean
  std::vector<double> metrics;  ///< in the order of the task's metric_names()
};

/// The two files of a task and how their texts become tokens.
struct TaskOptions {
  std::string train;             ///< what is learned from
  std::string dev;               ///< what the metric is measured on
  LabelledColumns columns = {};  ///< of tab-separated files
  /// Truncate to this many tokens, or for question answering, cut into windows of so many; 0: a
  /// text too long is an error, and windows are as QuestionAnsweringOptions has them.
  Index max_length = 0;
  Index stride = -1;  ///< tokens that windows share; below 0: as QuestionAnsweringOptions has it
};

/// Parts of at most so many tokens go through a model together.
inline constexpr Index part_tokens = 4096;

/// The mean of losses that are means over different numbers of labels.
class MeanLoss {
 public:
  /// Adds a part.
  template <class Scalar>
  void add(const PartLoss<Scalar>& part) {
    sum_ += part.count * static_cast<double>(part.mean.item());
    count_ += part.count;
  }
  /// 0 over nothing.
  [[nodiscard]] double value() const noexcept { return count_ > 0 ? sum_ / count_ : 0; }

 private:
  double sum_ = 0;
  double count_ = 0;
};

namespace detail {

/// Some texts of a batch as one of their own.
[[nodiscard]] inline Batch picked(const Batch& all, std::span<const Index> which) {
  Batch batch;
  for (const Index i : which) {
    const RowRange rows = all.segment(i);
    const auto of = [&](const std::vector<TokenId>& values) {
      return values.empty() ? std::span<const TokenId>()
                            : std::span(values).subspan(static_cast<std::size_t>(rows.begin),
                                                        static_cast<std::size_t>(rows.size()));
    };
    batch.add(of(all.ids), of(all.type_ids));
  }
  return batch;
}

/// Calls f(which, batch) for consecutive texts that go through a model together.
template <class Function>
void for_each_picked(const Batch& all, Function&& f) {
  for_each_part(all, part_tokens, [&](const Batch& part, Index first) {
    std::vector<Index> which(static_cast<std::size_t>(part.segments()));
    std::iota(which.begin(), which.end(), first);
    f(std::span<const Index>(which), part);
  });
}

/// Appends where texts begin and their tokens.
inline void add_to(Digest& digest, const Batch& batch) {
  digest.add_all(batch.offsets);
  digest.add_all(batch.ids);
}

/// Throws ConfigError where texts may become longer than the model takes.
inline void check_max_length(Index max_length, Index most) {
  check<ConfigError>(max_length >= 0 && max_length <= most, "fine-tuning: max_length is ",
                     max_length, " but the model takes ", most);
}

inline void check_length(const std::string& path, std::size_t line, Index size, Index most) {
  check<ShapeError>(size <= most, path, " line ", line, ": has ", size,
                    " tokens but the model takes ", most, "; a max_length of ", most,
                    " truncates it");
}

/// Numbers for labels: those of `config` where it has the same ones, else their sorted order.
class LabelNumbers {
 public:
  LabelNumbers(std::string source, std::vector<std::string> labels, const EncoderConfig& config)
      : source_(std::move(source)), names_(sorted_labels(std::move(labels))) {
    std::vector<std::string> known;
    for (const auto& [id, name] : config.id2label) known.push_back(name);
    if (sorted_labels(known) == names_ && known.size() == names_.size()) names_ = known;
    for (std::size_t i = 0; i < names_.size(); ++i) ids_[names_[i]] = static_cast<TokenId>(i);
  }

  /// The number of a label in a line of a file. Throws FormatError for one that is not known.
  [[nodiscard]] TokenId operator()(const std::string& path, std::size_t line,
                                   const std::string& label) const {
    const auto found = ids_.find(label);
    if (found != ids_.end()) return found->second;
    constexpr std::size_t most = 20;
    std::string known;
    for (std::size_t i = 0; i < std::min(most, names_.size()); ++i) {
      known += (i > 0 ? ", " : "") + names_[i];
    }
    fail<FormatError>(path, " line ", line, ": label '", Printable{label}, "' is not among the ",
                      names_.size(), " of ", source_, ": ", Printable{known});
  }
  [[nodiscard]] const std::vector<std::string>& names() const noexcept { return names_; }

  /// The configuration with these labels.
  [[nodiscard]] EncoderConfig with_labels(EncoderConfig config) const {
    config.num_labels = static_cast<Index>(names_.size());
    config.id2label.clear();
    config.label2id.clear();
    for (std::size_t i = 0; i < names_.size(); ++i) {
      config.id2label[static_cast<Index>(i)] = names_[i];
      config.label2id[names_[i]] = static_cast<Index>(i);
    }
    return config;
  }

 private:
  std::string source_;
  std::vector<std::string> names_;
  std::map<std::string, TokenId, std::less<>> ids_;
};

}  // namespace detail
}  // namespace eigenformer
