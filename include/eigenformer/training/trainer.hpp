// The training loop's inside: one update by a batch in parts, and checkpoints from which a training
// goes on with the very same numbers.
#pragma once

#include <charconv>
#include <cmath>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "eigenformer/io/checkpoint.hpp"
#include "eigenformer/io/folder.hpp"
#include "eigenformer/training/gradients.hpp"
#include "eigenformer/training/optimizer.hpp"
#include "eigenformer/training/schedule.hpp"

namespace eigenformer {

/// How a Trainer trains.
struct TrainerOptions {
  Schedule schedule = {};  ///< the learning rate of each update
  double clip = 0;         ///< the gradients' norm is scaled down to this; 0: as it is
  bool dropout = true;     ///< as the model's configuration has it
  std::uint64_t seed = 1;  ///< of dropout
  /// Of the products, with weights and all else in float: full, or bf16 for models of float.
  Precision precision = Precision::full;
};

/// What one update did.
struct UpdateReport {
  Index step = 0;            ///< which update it was, from 0
  double loss = 0;           ///< the mean over the batch
  double gradient_norm = 0;  ///< before it was clipped
  double learning_rate = 0;  ///< of this update
};

/// The loss of a part of a batch: the mean over `count` labels, so that parts are weighted by what
/// they hold and the batch may be cut anywhere. (As fairseq sums over its workers.)
template <class Scalar>
struct PartLoss {
  Tensor<Scalar> mean;  ///< over these labels
  double count = 1;     ///< how many labels
};

/// Changes a model, update by update. `Model` is any module; the optimizer has AdamW's functions.
template <class Scalar, class Model, class Optimizer = AdamW<Scalar>>
class Trainer {
 public:
  /// The model must outlive it.
  Trainer(Model& model, Optimizer optimizer, TrainerOptions options = {})
      : model_(model), optimizer_(std::move(optimizer)), options_(options) {}

  /// One update. loss(cx, i) is the PartLoss of part i of the batch; all parts' gradients are added
  /// up before the model changes. Throws Error, and leaves the model as it was, where the loss or a
  /// gradient is not finite, with the name of the first such parameter.
  template <class Loss>
  UpdateReport step(Context& cx, Index parts, Loss&& loss) {
    UpdateReport report{.step = optimizer_.steps(),
                        .learning_rate = options_.schedule(optimizer_.steps())};
    Gradients<Scalar> gradients;
    double count = 0;
    for (Index i = 0; i < parts; ++i) {
      Tape<Scalar> tape;
      DropoutGenerator dropout(
          Rng(options_.seed)
              .bits(static_cast<std::uint64_t>(report.step), static_cast<std::uint64_t>(i)));
      const PartLoss<Scalar> part = recorded(cx, tape, dropout, [&] { return loss(cx, i); });
      const auto value = static_cast<double>(part.mean.item());
      check(std::isfinite(value), "training: the loss of update ", report.step, " is ", value,
            first_not_finite(gradients), "; a lower learning rate or clipping may help");
      gradients.add(tape.backward(part.mean, static_cast<Scalar>(part.count)));
      report.loss += value * part.count;
      count += part.count;
    }
    check(count > 0, "training: the batch of update ", report.step, " has nothing to learn from");
    report.loss /= count;
    report.gradient_norm = gradient_norm(model_, gradients) / count;
    check(std::isfinite(report.gradient_norm), "training: the gradients of update ", report.step,
          " are not finite", first_not_finite(gradients),
          "; a lower learning rate or clipping may help");
    optimizer_.step(cx, model_, gradients, report.learning_rate,
                    clip_factor(report.gradient_norm, options_.clip) / count);
    return report;
  }

  /// Writes the model and what the optimizer knows, as part of an update of a folder.
  void save(const FolderUpdate& update) const {
    model_.save_pretrained(update);
    std::vector<TensorToWrite> tensors;
    const auto add = [&](const char* what, const std::string& name, const Tensor<Scalar>& numbers) {
      const std::span all(numbers.data(), static_cast<std::size_t>(numbers.numel()));
      tensors.push_back(
          {concat(what, name), dtype_of<Scalar>, numbers.shape(), std::as_bytes(all)});
    };
    for (const auto& [name, moments] : optimizer_.state()) {
      add("mean.", name, moments.mean);
      add("square.", name, moments.square);
    }
    write_safetensors(join_path(update.path(), state_file), tensors,
                      {{"steps", std::to_string(optimizer_.steps())}});
  }
  /// The same into a folder. Throws IoError, and then the folder is as it was.
  void save(const std::string& folder) const {
    FolderUpdate update(folder);
    save(update);
    update.commit();
  }

  /// Whether a folder holds a training that can go on.
  [[nodiscard]] static bool can_resume(const std::string& folder) {
    return exists(current_file(folder, state_file));
  }
  /// Goes on where the training of a folder was saved, with the model loaded from there. Throws
  /// IoError, FormatError.
  void resume(const std::string& folder) {
    const std::string path = current_file(folder, state_file);
    const SafetensorsFile file = SafetensorsFile::open(path);
    const auto found = file.metadata().find("steps");
    Index steps = -1;
    if (found != file.metadata().end()) {
      const std::string& text = found->second;
      std::from_chars(text.data(), text.data() + text.size(), steps);
    }
    check<FormatError>(steps >= 0, path, ": does not say after how many steps it was saved");
    typename Optimizer::State state;
    for_each_parameter(model_, [&](const auto& named) {
      const std::string name(named.name);
      if (named.tied || !file.contains("mean." + name)) return;
      const auto read = [&](const std::string& key) {
        check<FormatError>(file.shape(key) == named.shape(), path, ": tensor '", key, "' is ",
                           file.shape(key), " but the model's is ", named.shape());
        Tensor<Scalar> numbers(named.shape());
        file.read<Scalar>(key, {numbers.data(), static_cast<std::size_t>(numbers.numel())});
        return numbers;
      };
      state.emplace(name, Moments<Scalar>{read("mean." + name), read("square." + name)});
    });
    check<FormatError>(2 * state.size() == file.tensors().size(), path, ": holds ",
                       file.tensors().size(), " tensors but the model has ", state.size(),
                       " of these parameters");
    optimizer_.restore(steps, std::move(state));
  }

  /// How many updates there were.
  [[nodiscard]] Index steps() const noexcept { return optimizer_.steps(); }

 private:
  static constexpr const char* state_file = "optimizer.safetensors";

  /// What `compute` gives while the context records and drops.
  template <class Compute>
  auto recorded(Context& cx, Tape<Scalar>& tape, DropoutGenerator& dropout, Compute&& compute) {
    struct Restore {
      Context& cx;
      ~Restore() { cx.tape = nullptr, cx.dropout = nullptr, cx.products = Precision::full; }
    } const restore{cx};
    cx.tape = &tape;
    if (options_.dropout) cx.dropout = &dropout;
    cx.products = options_.precision;
    return compute();
  }

  /// The first parameter that has, or whose gradient has, a number that is not finite.
  [[nodiscard]] std::string first_not_finite(const Gradients<Scalar>& gradients) const {
    std::string text;
    for_each_parameter(std::as_const(model_), [&](const auto& named) {
      if (!text.empty() || !named.parameter.defined()) return;
      if (!named.value().array().allFinite()) text = concat("; parameter ", named.name, " is not");
    });
    for_each_gradient(std::as_const(model_), gradients, [&](const auto& named, const auto& slope) {
      if (text.empty() && !slope.array().allFinite()) {
        text = concat("; the first is that of ", named.name);
      }
    });
    return text;
  }

  Model& model_;
  Optimizer optimizer_;
  TrainerOptions options_;
};

}  // namespace eigenformer
