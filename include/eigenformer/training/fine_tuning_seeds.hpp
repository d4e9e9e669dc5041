// Fine-tuning with several seeds: how much of a metric is luck, and the best of the models.
#pragma once

#include <unistd.h>

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <numeric>
#include <string>
#include <string_view>
#include <vector>

#include "eigenformer/training/fine_tuning.hpp"

namespace eigenformer {

/// What trainings with different seeds gave.
struct SeedsResult {
  std::size_t metric = 0;  ///< which of the task's metrics was to be high
  Evaluation saved;        ///< measured on the weights that were saved
  std::uint64_t seed = 0;  ///< theirs
  double mean = 0;         ///< of each training's best value of the metric
  double deviation = 0;    ///< theirs, of the sample; 0 of one
};

namespace detail {

/// Copies the best model, and its adapters in the folder of that name, to `output`, and removes
/// those of all seeds; their reports stay.
inline void keep_best(const std::string& best, const std::string& output,
                      const std::vector<std::string>& folders, const std::string& adapters) {
  constexpr std::string_view reports = "finetune.json", curves = "curves.svg";
  const auto copy = [&](const std::string& from, const std::string& to) {
    FolderUpdate update(to);
    for (const std::string& name : entries_of(from)) {
      if (name.starts_with(reports)) continue;  // also what a killed process left of it
      if (name == adapters) continue;
      write_file(join_path(update.path(), name), read_file(join_path(from, name)));
    }
    update.commit();
  };
  if (exists(join_path(best, "model.safetensors"))) {
    const std::string beside = join_path(best, adapters);
    if (exists(beside)) copy(beside, join_path(output, adapters));
    copy(best, output);
  }
  for (const std::string& folder : folders) {
    remove_folder(join_path(folder, adapters));
    for (const std::string& name : entries_of(folder)) {
      if (name != reports && name != curves) ::unlink(join_path(folder, name).c_str());
    }
  }
}

}  // namespace detail

/// Trains with `options.seed` and the `seeds` - 1 after it, each in a folder `seed-N` of `output`,
/// which gets the best model; a single one in `output` itself. Throws as FineTuning.
template <class Task>
[[nodiscard]] SeedsResult fine_tune_seeds(Context& cx, const Task& task, const Tokenizer& tokenizer,
                                          const std::string& pretrained, const std::string& output,
                                          FineTuningOptions options, Index seeds) {
  check<ConfigError>(seeds >= 1, "fine-tuning: seeds is ", seeds, "; it must be 1 or more");
  const auto folder_of = [&](std::uint64_t seed) {
    return seeds == 1 ? output : join_path(output, concat("seed-", seed));
  };
  options.settings["seeds"] = seeds;
  if (seeds > 1) {
    if (!exists(folder_of(options.seed))) detail::check_holds_no_model(output);
    (void)FolderUpdate(output);  // makes it
  }
  SeedsResult result;
  std::vector<std::string> folders;
  std::vector<double> values;
  EarlyStopping best(0);
  const auto on_update = options.on_update;
  for (Index i = 0; i < seeds; ++i, ++options.seed) {
    if (on_update) {
      options.on_update = [&, i](FineTuningUpdate update) {
        update.done += i * update.total;
        update.total *= seeds;
        on_update(update);
      };
    }
    folders.push_back(folder_of(options.seed));
    FineTuning<Task> training(task, tokenizer, pretrained, folders.back(), options);
    result.metric = training.metric();
    values.push_back(training.run(cx).dev.metrics[result.metric]);
    if (best.improves(values.back())) result.seed = options.seed;
  }
  if (seeds > 1) {
    detail::keep_best(folder_of(result.seed), output, folders, FineTuning<Task>::adapter_folder);
  }
  result.saved = task.evaluate(cx, Task::Model::from_pretrained(output));
  const auto count = static_cast<double>(seeds);
  result.mean = std::accumulate(values.begin(), values.end(), 0.0) / count;
  double squares = 0;
  for (const double value : values) squares += (value - result.mean) * (value - result.mean);
  if (seeds > 1) result.deviation = std::sqrt(squares / (count - 1));
  return result;
}

}  // namespace eigenformer
