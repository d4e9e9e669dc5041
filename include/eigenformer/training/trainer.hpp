// The training loop's inside: one update by a batch in parts, and checkpoints from which a training
// goes on with the very same numbers. Several processes may share the work (data_parallel.hpp).
#pragma once

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <concepts>
#include <cstdint>
#include <span>
#include <string>
#include <unordered_map>
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
  bool recompute = false;  ///< layers keep their inputs alone: less memory for a third more time
  std::uint64_t seed = 1;  ///< of dropout
  /// Of the products, with weights and all else in float: full, or bf16 for models of float.
  Precision precision = Precision::full;
  /// Each parameter changes as soon as its gradient is there, whose memory then serves the next
  /// one, in updates of one part without clipping by one process. The numbers are the same, but a
  /// gradient that is not finite leaves a model that has changed in part.
  bool eager = false;
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

/// The processes that train one model, for a training by one: it computes all parts, changes all
/// parameters and has nobody to tell. DataParallel has the same functions for several.
class OneProcess {
 public:
  /// Which process this is, from 0.
  [[nodiscard]] Index rank() const noexcept { return 0; }
  /// How many there are.
  [[nodiscard]] Index size() const noexcept { return 1; }
  /// Makes the models of all the same.
  void start(auto& /*model*/) const noexcept {}
  /// Calls f(), which may throw: then all throw.
  void together(auto&& f) const { f(); }
  /// Throws where a number is not the same everywhere.
  void require_same(const char* /*what*/, Index /*number*/) const noexcept {}
  /// Adds up each number over all processes.
  void sum(std::span<double> /*numbers*/) const noexcept {}
  /// The norm of all numbers, from that of each process's own.
  [[nodiscard]] double norm(double own) const noexcept { return own; }
  /// Sums of gradients over all processes.
  struct GradientSum {
    /// The gradient for a leaf will not change any more.
    void ready(const auto& /*leaf*/) const noexcept {}
    /// Ends the sums, which are right for the share of the process.
    void finish() const noexcept {}
  };
  /// Begins to add up gradients.
  [[nodiscard]] GradientSum sum_gradients(auto& /*model*/, auto& /*gradients*/,
                                          bool /*by_element*/) const noexcept {
    return {};
  }
  /// What the process's optimizer changes: a module.
  template <class Model>
  [[nodiscard]] Model& share(Model& model, bool /*by_element*/) const noexcept {
    return model;
  }
  /// Calls f(whole, mine) for each parameter of the share: all of it, and the rows that belong to
  /// the process.
  void for_each_own(auto& model, bool /*by_element*/, auto&& f) const {
    for (const auto& named : named_parameters(model)) {
      if (!named.tied) f(named, named);
    }
  }
  /// Gives every process the parameters that had gradients as their owners have them.
  void spread(auto& /*model*/, const auto& /*gradients*/, bool /*by_element*/) const noexcept {}
  /// The state of all shares, at rank 0.
  template <class State>
  [[nodiscard]] const State& gather(const auto& /*model*/, const State& state,
                                    bool /*by_element*/) const noexcept {
    return state;
  }
};

/// Changes a model, update by update. `Model` is any module; the optimizer has AdamW's functions.
/// With several processes (`Workers` is DataParallel) all of them call each function alike.
template <class Scalar, class Model, class Optimizer = AdamW<Scalar>, class Workers = OneProcess>
class Trainer {
 public:
  /// The model must outlive it. Throws Error where processes have different models.
  Trainer(Model& model, Optimizer optimizer, TrainerOptions options = {}, Workers workers = {})
      : model_(model),
        optimizer_(std::move(optimizer)),
        options_(options),
        workers_(std::move(workers)) {
    workers_.start(model_);
  }

  /// One update. loss(cx, i) is the PartLoss of part i of the batch; all parts' gradients are added
  /// up before the model changes. Each process computes some of the parts; what is reported is of
  /// all. Throws Error, and leaves the model as it was (unless it is eager), where the loss or a
  /// gradient is not finite, with the name of the first such parameter.
  template <class Loss>
  UpdateReport step(Context& cx, Index parts, Loss&& loss) {
    UpdateReport report{.step = optimizer_.steps(),
                        .learning_rate = options_.schedule(optimizer_.steps())};
    Gradients<Scalar> gradients;
    std::array<double, 2> sums = {};
    double& total = sums[0];
    double& count = sums[1];
    workers_.require_same("update", report.step);
    workers_.require_same("parts of the batch", parts);
    const bool eager =
        options_.eager && std::same_as<Workers, OneProcess> && parts == 1 && options_.clip == 0;
    auto sum = workers_.sum_gradients(model_, gradients, Optimizer::by_element);
    const auto compute = [&] {
      for (Index i = workers_.rank(); i < parts; i += workers_.size()) {
        Tape<Scalar> tape;
        DropoutGenerator dropout(
            Rng(options_.seed)
                .bits(static_cast<std::uint64_t>(report.step), static_cast<std::uint64_t>(i)));
        const PartLoss<Scalar> part = recorded(cx, tape, dropout, [&] { return loss(cx, i); });
        const auto value = static_cast<double>(part.mean.item());
        if (!std::isfinite(value)) {
          fail_not_finite(concat("the loss of update ", report.step + 1, " is ", value), gradients);
        }
        total += value * part.count;
        count += part.count;
        if (eager && count > 0) {
          step_back(cx, tape, part, report);
          continue;
        }
        const bool last = i + workers_.size() >= parts;
        tape.backward(part.mean, static_cast<Scalar>(part.count),
                      [&](const Tensor<Scalar>& leaf, Tensor<Scalar> gradient) {
                        gradients.add(leaf, std::move(gradient));
                        if (last) sum.ready(leaf);
                      });
      }
    };
    workers_.together([&] {
      try {
        compute();
      } catch (...) {
        sum.finish();  // the others wait for it
        throw;
      }
      sum.finish();
    });
    workers_.sum(sums);
    check(count > 0, "training: the batch of update ", report.step + 1,
          " has nothing to learn from");
    report.loss = total / count;
    if (eager) return report;
    auto&& share = workers_.share(model_, Optimizer::by_element);
    report.gradient_norm = workers_.norm(gradient_norm(share, gradients)) / count;
    if (!std::isfinite(report.gradient_norm)) {
      fail_not_finite(concat("the gradients of update ", report.step + 1, " are not finite"),
                      gradients);
    }
    optimizer_.step(cx, share, gradients, report.learning_rate,
                    clip_factor(report.gradient_norm, options_.clip) / count);
    workers_.spread(model_, gradients, Optimizer::by_element);
    return report;
  }

  /// Throws Error where `value`, such as a loss that was measured, or a parameter is not finite,
  /// with the name of the first such parameter.
  void require_finite(const char* what, double value) const {
    if (!std::isfinite(value)) {
      fail_not_finite(concat(what, " after update ", steps(), " is ", value), {});
    }
    require_finite();
  }
  /// The same for the parameters alone.
  void require_finite() const {
    for (const auto& named : named_parameters(std::as_const(model_))) {
      if (!named.parameter.defined() || named.value().array().allFinite()) continue;
      fail_not_finite(concat("the model is not finite after update ", steps()), {});
    }
  }

  /// Writes the model and what the optimizer knows, as part of an update of a folder. Throws Error
  /// for a model that is not finite, so that the last good one stays.
  void save(const FolderUpdate& update) const requires std::same_as<Workers, OneProcess> {
    write(update, optimizer_.state());
  }
  /// The same into a folder, which the first process does for all. Throws IoError, and then the
  /// folder is as it was.
  void save(const std::string& folder) const {
    save(folder, [](const FolderUpdate&) {});
  }
  /// The same with what also(update) writes into the same update, such as a tokenizer.
  template <class Also>
  void save(const std::string& folder, Also&& also) const {
    const auto& state = workers_.gather(model_, optimizer_.state(), Optimizer::by_element);
    workers_.together([&] {
      if (workers_.rank() != 0) return;
      FolderUpdate update(folder);
      write(update, state);
      also(std::as_const(update));
      update.commit();
    });
  }

  /// Whether a folder holds a training that can go on.
  [[nodiscard]] static bool can_resume(const std::string& folder) {
    return exists(current_file(folder, state_file));
  }
  /// Goes on where the training of a folder was saved, with the model loaded from there. Throws
  /// IoError, FormatError.
  void resume(const std::string& folder) {
    workers_.together([&] { read(current_file(folder, state_file)); });
  }

  /// How many updates there were.
  [[nodiscard]] Index steps() const noexcept { return optimizer_.steps(); }

 private:
  static constexpr const char* state_file = "optimizer.safetensors";
  using State = typename Optimizer::State;

  void write(const FolderUpdate& update, const State& state) const {
    require_finite();
    model_.save_pretrained(update);
    std::vector<TensorToWrite> tensors;
    const auto add = [&](const char* what, const std::string& name, const Tensor<Scalar>& numbers) {
      const std::span all(numbers.data(), static_cast<std::size_t>(numbers.numel()));
      tensors.push_back(
          {concat(what, name), dtype_of<Scalar>, numbers.shape(), std::as_bytes(all)});
    };
    for (const auto& [name, moments] : state) {
      add("mean.", name, moments.mean);
      add("square.", name, moments.square);
    }
    write_safetensors(join_path(update.path(), state_file), tensors,
                      {{"steps", std::to_string(optimizer_.steps())}});
  }

  /// Takes from the state's file what belongs to this process.
  void read(const std::string& path) {
    const SafetensorsFile file = SafetensorsFile::open(path);
    const auto found = file.metadata().find("steps");
    Index steps = -1;
    if (found != file.metadata().end()) {
      const std::string& text = found->second;
      std::from_chars(text.data(), text.data() + text.size(), steps);
    }
    check<FormatError>(steps >= 0, path, ": does not say after how many steps it was saved");
    std::size_t known = 0;
    for (const auto& named : named_parameters(model_)) {
      const std::string name(named.name);
      if (named.tied || !file.contains("mean." + name)) continue;
      ++known;
      for (const std::string& key : {"mean." + name, "square." + name}) {
        check<FormatError>(file.shape(key) == named.shape(), path, ": tensor '", key, "' is ",
                           file.shape(key), " but the model's is ", named.shape());
      }
    }
    check<FormatError>(2 * known == file.tensors().size(), path, ": holds ", file.tensors().size(),
                       " tensors but the model has ", known, " of these parameters");
    State state;
    workers_.for_each_own(model_, Optimizer::by_element, [&](const auto& whole, const auto& mine) {
      const std::string name(whole.name);
      if (!file.contains("mean." + name)) return;
      const auto numbers = [&](const std::string& key) {
        Tensor<Scalar> own(mine.shape());
        const Index row = own.numel() / std::max<Index>(1, mine.end - mine.begin);
        file.read_range<Scalar>(key, (mine.begin - whole.begin) * row,
                                {own.data(), static_cast<std::size_t>(own.numel())});
        return own;
      };
      state.emplace(name, Moments<Scalar>{numbers("mean." + name), numbers("square." + name)});
    });
    optimizer_.restore(steps, std::move(state));
  }

  /// What `compute` gives while the context records and drops.
  template <class Compute>
  auto recorded(Context& cx, Tape<Scalar>& tape, DropoutGenerator& dropout, Compute&& compute) {
    struct Restore {
      Context& cx;
      ~Restore() { cx.tape = nullptr, cx.dropout = nullptr, cx.products = Precision::full; }
    } const restore{cx};
    tape.recompute = options_.recompute;
    cx.tape = &tape;
    if (options_.dropout) cx.dropout = &dropout;
    cx.products = options_.precision;
    return compute();
  }

  /// The backward pass and the update of each parameter that it is done with.
  void step_back(Context& cx, Tape<Scalar>& tape, const PartLoss<Scalar>& part,
                 UpdateReport& report) {
    const auto names = named_parameters(model_);
    std::unordered_multimap<const Scalar*, std::size_t> by_memory;
    for (std::size_t i = 0; i < names.size(); ++i) {
      const auto& parameter = std::as_const(names[i].parameter);
      if (parameter.defined()) by_memory.emplace(parameter.value().data(), i);
    }
    double sum_of_squares = 0;
    optimizer_.begin_step();
    const auto update = [&](const auto& named, const Tensor<Scalar>& gradient) {
      sum_of_squares += kernels::sum_of_squares(gradient.data(), gradient.numel());
      check(std::isfinite(sum_of_squares), "training: the gradients of update ", report.step + 1,
            " are not finite; the first is that of ", named.name,
            "; a lower learning rate or clipping may help");
      optimizer_.update(cx, named, gradient, report.learning_rate, 1 / part.count);
    };
    tape.backward(part.mean, static_cast<Scalar>(part.count),
                  [&](const Tensor<Scalar>& leaf, const Tensor<Scalar>& gradient) {
                    const auto [first, last] = by_memory.equal_range(leaf.data());
                    for (auto at = first; at != last; ++at) {
                      with_gradient(names[at->second], gradient, update);
                    }
                  });
    report.gradient_norm = std::sqrt(sum_of_squares) / part.count;
  }

  /// Throws what went bad, with the first parameter that has, or whose gradient has, a number that
  /// is not finite; else with the largest number that a parameter has.
  [[noreturn]] void fail_not_finite(const std::string& problem,
                                    const Gradients<Scalar>& gradients) const {
    std::string bad, largest;
    double most = -1;
    for (const auto& named : named_parameters(std::as_const(model_))) {
      if (!bad.empty() || !named.parameter.defined() || named.value().numel() == 0) continue;
      const auto numbers = named.value().array();
      if (!numbers.allFinite()) bad = concat("parameter ", named.name, " is not finite");
      const auto size = static_cast<double>(numbers.abs().maxCoeff());
      if (size > most) {
        most = size;
        largest = concat("the largest number, ", most, ", is in parameter ", named.name);
      }
    }
    for_each_gradient(std::as_const(model_), gradients, [&](const auto& named, const auto& slope) {
      if (bad.empty() && !slope.array().allFinite()) {
        bad = concat("the first is that of ", named.name);
      }
    });
    fail<Error>("training: ", problem, "; ", bad.empty() ? largest : bad,
                "; a lower learning rate or clipping may help");
  }

  Model& model_;
  Optimizer optimizer_;
  TrainerOptions options_;
  Workers workers_;
};

}  // namespace eigenformer
