// Fine-tuning: a task's loss goes down epoch by epoch, the weights of the best epoch are kept, and
// a training that was interrupted goes on with the very same numbers. Of the output folder,
//   the model's and tokenizer's files and curves.svg are those of the best epoch so far;
//   adapter/ has what was added to the weights, where adapters were trained, as PEFT loads it;
//   checkpoint/ holds what a training needs to go on, until it is finished;
//   finetune.json says, when it is finished, with which settings and reports.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <functional>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "eigenformer/io/folder.hpp"
#include "eigenformer/io/json.hpp"
#include "eigenformer/models/loading.hpp"
#include "eigenformer/training/corpus.hpp"
#include "eigenformer/training/curves.hpp"
#include "eigenformer/training/ema.hpp"
#include "eigenformer/training/lora.hpp"
#include "eigenformer/training/tasks/task.hpp"
#include "eigenformer/training/trainer.hpp"

namespace eigenformer {

/// What an epoch gave.
struct EpochReport {
  std::uint64_t seed = 0;  ///< of the training
  Index epoch = 0;         ///< from 1
  Index step = 0;          ///< updates so far
  double train_loss = 0;   ///< the mean over the epoch's texts, while the weights changed
  Evaluation dev;          ///< of the weights in the end
};

/// What an update did, of how many.
struct FineTuningUpdate {
  Index done = 0;            ///< updates so far, of trainings that were finished before too
  Index total = 0;           ///< updates of all trainings, if none stops early
  Index tokens = 0;          ///< of this one's texts
  double loss = 0;           ///< the mean over them
  double learning_rate = 0;  ///< of this update
};

/// How to fine-tune; the defaults are those of RoBERTa on GLUE (Liu et al., arXiv:1907.11692).
struct FineTuningOptions {
  Index epochs = 10;                ///< passes over the texts
  Index batch = 16;                 ///< texts, or windows, of an update
  double learning_rate = 2e-5;      ///< at its peak
  double warmup = 0.06;             ///< updates until then; below 1: share of all updates
  double weight_decay = 0.1;        ///< of weight matrices
  std::string schedule = "linear";  ///< after the warm-up: a name of decay_from_name
  double power = 1;                 ///< of a polynomial schedule
  double clip = 0;                  ///< as TrainerOptions::clip
  double layer_decay = 1;           ///< as layerwise_rate
  bool freeze_encoder = false;      ///< the head alone is trained
  Index lora_rank = 0;              ///< above 0: adapters (lora.hpp) of that rank are, and the head
  double lora_alpha = 16;           ///< as LoraOptions::lora_alpha
  double moving_average = 0;        ///< above 0: its weights are evaluated and saved
  Index patience = 0;    ///< stop after so many epochs without a better metric; 0: do not
  Index save_every = 0;  ///< updates after which to save, beside each epoch's end; 0: none
  Precision precision = Precision::full;  ///< as TrainerOptions::precision
  std::uint64_t seed = 1;                 ///< of the head, the order of the texts and dropout
  std::string metric = {};         ///< which one is to be high; empty: the task's official one
  Json settings = Json::object();  ///< what else must be the same for a training to go on
  std::function<void(const FineTuningUpdate&)> on_update = {};  ///< called after each update
  /// Called before the first update with the names of the parameters that the folder lacked.
  std::function<void(const std::vector<std::string>&)> on_fresh_parameters = {};
  /// Called after each epoch, and again for those that are done where a training goes on.
  std::function<void(const EpochReport&)> on_epoch = {};
};

/// The best value so far, the highest. NaN is worse than any.
class EarlyStopping {
 public:
  /// Stops after `patience` values that are no better; 0: never.
  explicit EarlyStopping(Index patience) : patience_(patience) {}

  /// Whether the next value is the best one; the first is.
  bool improves(double value) {
    ++count_;
    const bool better = best_ == 0 || value > value_ || (std::isnan(value_) && !std::isnan(value));
    if (!better) return false;
    value_ = value;
    best_ = count_;
    return true;
  }
  /// Whether no better one has come for too long.
  [[nodiscard]] bool stops() const noexcept { return patience_ > 0 && count_ - best_ >= patience_; }
  /// Which value was the best, from 1; 0: there is none.
  [[nodiscard]] Index best() const noexcept { return best_; }

 private:
  Index patience_;
  Index count_ = 0;
  Index best_ = 0;
  double value_ = 0;
};

/// A report as people and programs read it; a metric that is NaN is null.
[[nodiscard]] inline Json to_json(const EpochReport& report,
                                  const std::vector<std::string>& metric_names) {
  Json json = {{"seed", report.seed},
               {"epoch", report.epoch},
               {"step", report.step},
               {"train_loss", report.train_loss},
               {"dev_loss", report.dev.loss}};
  for (std::size_t i = 0; i < metric_names.size(); ++i) {
    json[metric_names[i]] = report.dev.metrics[i];
  }
  return json;
}

/// The losses, and the metrics, over the epochs.
[[nodiscard]] inline std::string epoch_curves(std::span<const EpochReport> reports,
                                              const std::vector<std::string>& metric_names) {
  const auto curve = [&](std::string name, Best best, auto value) {
    Curve line{std::move(name), {}, best};
    for (const EpochReport& report : reports) {
      const double y = value(report);
      if (std::isfinite(y)) line.points.push_back({static_cast<double>(report.epoch), y});
    }
    return line;
  };
  std::vector<Panel> panels = {
      {"Loss",
       "epoch",
       {curve("training", Best::none, [](const EpochReport& r) { return r.train_loss; }),
        curve("dev", Best::lowest, [](const EpochReport& r) { return r.dev.loss; })}},
      {"Metrics", "epoch", {}}};
  for (std::size_t i = 0; i < metric_names.size(); ++i) {
    panels.back().curves.push_back(curve(metric_names[i], Best::highest,
                                         [i](const EpochReport& r) { return r.dev.metrics[i]; }));
  }
  return draw_curves(panels);
}

namespace detail {

/// Throws ConfigError where a training would overwrite what it did not make.
inline void check_holds_no_model(const std::string& folder) {
  for (const char* file : {"config.json", "model.safetensors", "tokenizer.json"}) {
    check<ConfigError>(!exists(current_file(folder, file)), folder, ": holds a ", file,
                       " that is not of this training; choose another folder");
  }
}

}  // namespace detail

/// The model of a folder with the task's head: the folder's own where it has the same labels, else
/// a fresh one. Its load_report() says which parameters are fresh. Throws as from_pretrained.
template <class Task>
[[nodiscard]] typename Task::Model model_for(const Task& task, const std::string& folder,
                                             std::uint64_t seed) {
  using Model = typename Task::Model;
  const EncoderConfig held = EncoderConfig::from_pretrained(folder);
  const EncoderConfig& wanted = task.config();
  bool same = !held.architectures.empty() &&
              held.architectures.front() == held.class_name(Model::suffix) &&
              held.num_labels == wanted.num_labels;
  for (Index i = 0; same && i < held.num_labels; ++i) same = held.label(i) == wanted.label(i);
  return Model::from_pretrained(
      folder, wanted, {.initialize_missing_head = true, .replace_head = !same, .seed = seed});
}

/// Adapters for query and value of a model, whose head, and what else is fresh, is trained whole.
/// `pretrained` is the folder that it came from.
template <class Model>
[[nodiscard]] LoraOptions adapters_for(const Model& model, const std::string& pretrained,
                                       const FineTuningOptions& options) {
  constexpr std::pair<std::string_view, const char*> tasks[] = {
      {"ForSequenceClassification", "SEQ_CLS"},
      {"ForTokenClassification", "TOKEN_CLS"},
      {"ForQuestionAnswering", "QUESTION_ANS"}};
  LoraOptions lora{.r = options.lora_rank,
                   .lora_alpha = options.lora_alpha,
                   .base_model_name_or_path = pretrained};
  for (const auto& [suffix, type] : tasks) {
    if (Model::suffix == suffix) lora.task_type = type;
  }
  const auto add_once = [](std::vector<std::string>& names, std::string_view name) {
    if (std::find(names.begin(), names.end(), name) == names.end()) names.emplace_back(name);
  };
  const std::string encoder = concat(model.config().family().base, ".");
  const std::vector<std::string>& fresh = model.load_report().missing;
  for (const auto& named : named_parameters(model)) {
    const std::string_view name = named.name;
    if (name.ends_with(".q_lin.weight")) lora.target_modules = {"q_lin", "v_lin"};
    if (!name.starts_with(encoder))
      add_once(lora.modules_to_save, name.substr(0, name.find('.')));
    else if (std::find(fresh.begin(), fresh.end(), name) != fresh.end())
      add_once(lora.modules_to_save, name.substr(0, name.rfind('.')));
  }
  return lora;
}

/// What a training changes: a model, or adapters to it. It stays where it is.
template <class Scalar, class Model>
struct Trainee {
  Model model;                              ///< what the task computes with
  std::optional<Lora<Scalar, Model>> lora;  ///< none: the model itself is trained

  /// Writes what changes, as part of an update of a folder.
  void save_pretrained(const FolderUpdate& update) const {
    if (lora)
      lora->save_pretrained(update);
    else
      model.save_pretrained(update);
  }
  /// Visits what changes.
  static void visit(auto& self, auto&& f) {
    if (self.lora)
      Lora<Scalar, Model>::visit(*self.lora, f);
    else
      Model::visit(self.model, f);
  }
};

/// One training of a task into a folder. `Task` has what tasks/task.hpp says.
template <class Task>
class FineTuning {
 public:
  using Scalar = typename Task::Scalar;  ///< the model's arithmetic
  using Model = typename Task::Model;    ///< the head

  /// Begins with the model of `pretrained`, or goes on where `output` was left. Both the task and
  /// the tokenizer must outlive it. Throws ConfigError for options out of range, and where `output`
  /// holds a training of other settings or a model of other origin.
  FineTuning(const Task& task, const Tokenizer& tokenizer, const std::string& pretrained,
             std::string output, FineTuningOptions options)
      : task_(task),
        tokenizer_(tokenizer),
        pretrained_(pretrained),
        output_(std::move(output)),
        checkpoint_(join_path(output_, "checkpoint")),
        options_(std::move(options)),
        metric_names_(task.metric_names()),
        best_(options_.patience) {
    validate();
    settings_ = all_settings();
    (void)FolderUpdate(output_);  // what cannot be written fails now
    finish_update(output_);
    if (const std::string done = join_path(output_, state_file); exists(done)) {
      restore(read_json(done), done);
      finished_ = true;
    } else if (const std::string at = current_file(checkpoint_, state_file); exists(at)) {
      restore(read_json(at), at);
    } else {
      detail::check_holds_no_model(output_);
    }
  }

  /// Trains what is left. Gives the report of the best epoch, whose weights are saved.
  const EpochReport& run(Context& cx) {
    for (const EpochReport& report : reports_) {
      if (options_.on_epoch) options_.on_epoch(report);
    }
    if (!finished_) train(cx);
    finished_ = true;
    detail::remove_folder(checkpoint_);
    return reports_[static_cast<std::size_t>(best_.best() - 1)];
  }

  /// Which of the task's metrics is to be high.
  [[nodiscard]] std::size_t metric() const noexcept { return metric_; }

  static constexpr const char* adapter_folder = "adapter";  ///< in the output folder

 private:
  using ThisTrainee = Trainee<Scalar, Model>;
  using ThisTrainer = Trainer<Scalar, ThisTrainee>;
  static constexpr const char* state_file = "finetune.json";

  void validate() {
    const auto require = [](bool holds, const char* name, const auto& value, const char* range) {
      check<ConfigError>(holds, "fine-tuning: ", name, " is ", value, "; it must be ", range);
    };
    require(options_.epochs >= 1, "epochs", options_.epochs, "1 or more");
    require(options_.batch >= 1, "batch", options_.batch, "1 or more");
    const auto from_0 = [](double number) { return number >= 0 && std::isfinite(number); };
    require(options_.learning_rate > 0 && std::isfinite(options_.learning_rate), "learning_rate",
            options_.learning_rate, "above 0");
    require(from_0(options_.warmup), "warmup", options_.warmup, "0 or more");
    require(from_0(options_.weight_decay), "weight_decay", options_.weight_decay, "0 or more");
    require(from_0(options_.power), "power", options_.power, "0 or more");
    require(std::isfinite(options_.lora_alpha), "lora_alpha", options_.lora_alpha, "finite");
    require(from_0(options_.clip), "clip", options_.clip, "0 or more");
    require(options_.patience >= 0, "patience", options_.patience, "0 or more");
    require(options_.save_every >= 0, "save_every", options_.save_every, "0 or more");
    require(options_.layer_decay > 0 && std::isfinite(options_.layer_decay), "layer_decay",
            options_.layer_decay, "above 0");
    require(options_.moving_average >= 0 && options_.moving_average < 1, "moving_average",
            options_.moving_average, "in [0, 1)");
    require(options_.lora_rank >= 0, "lora_rank", options_.lora_rank, "0 or more");
    check<ConfigError>(
        options_.lora_rank == 0 || (!options_.freeze_encoder && options_.moving_average == 0),
        "fine-tuning: adapters (lora_rank ", options_.lora_rank,
        ") go neither with freeze_encoder nor with moving_average");
    (void)decay_from_name(options_.schedule);
    if (options_.metric.empty()) return;
    const auto found = std::find(metric_names_.begin(), metric_names_.end(), options_.metric);
    std::string known;
    for (const std::string& name : metric_names_) known += (known.empty() ? "" : ", ") + name;
    require(found != metric_names_.end(), "metric", options_.metric, known.c_str());
    metric_ = static_cast<std::size_t>(found - metric_names_.begin());
  }

  [[nodiscard]] Json all_settings() const {
    Json settings = options_.settings;
    settings.update({{"dtype", saved_dtype<Scalar>},
                     {"precision", name_of(options_.precision)},
                     {"epochs", options_.epochs},
                     {"batch", options_.batch},
                     {"learning_rate", options_.learning_rate},
                     {"warmup", options_.warmup},
                     {"weight_decay", options_.weight_decay},
                     {"schedule", options_.schedule},
                     {"power", options_.power},
                     {"clip", options_.clip},
                     {"layer_decay", options_.layer_decay},
                     {"freeze_encoder", options_.freeze_encoder},
                     {"lora_rank", options_.lora_rank},
                     {"lora_alpha", options_.lora_alpha},
                     {"moving_average", options_.moving_average},
                     {"patience", options_.patience},
                     {"seed", options_.seed},
                     {"metric", metric_names_[metric_]},
                     {"texts", task_.texts().segments()},
                     {"tokens", task_.texts().tokens()},
                     {"digest", task_.digest()}});
    return settings;
  }

  /// Takes the reports of a training that was saved. Throws where it is of other settings.
  void restore(const Json& state, const std::string& path) {
    try {
      restore(state);
    } catch (const Json::exception& problem) {
      fail<FormatError>(path,
                        ": is not the state of a training: ", detail::json_reason(problem.what()));
    }
  }
  void restore(const Json& state) {
    for (const auto& [key, value] : settings_.items()) {
      const Json saved = state.at("settings").value(key, Json());
      check<ConfigError>(saved == value, output_, ": is of a training whose ", key, " is ",
                         saved.dump(), ", not ", value.dump(),
                         "; use the same settings to go on, or another folder");
    }
    const auto number = [](const Json& json) {
      return json.is_null() ? std::numeric_limits<double>::quiet_NaN() : json.get<double>();
    };
    for (const Json& json : state.at("reports")) {
      EpochReport report{json.at("seed"),
                         json.at("epoch"),
                         json.at("step"),
                         number(json.at("train_loss")),
                         {number(json.at("dev_loss")), {}}};
      for (const std::string& name : metric_names_) {
        report.dev.metrics.push_back(number(json.at(name)));
      }
      (void)best_.improves(report.dev.metrics[metric_]);
      reports_.push_back(std::move(report));
    }
    epoch_loss_ = state.value("epoch_loss", 0.0);
  }

  [[nodiscard]] Json state() const {
    Json reports = Json::array();
    for (const EpochReport& report : reports_) reports.push_back(to_json(report, metric_names_));
    return {{"settings", settings_}, {"reports", reports}};
  }

  void train(Context& cx) {
    const bool resumes = exists(current_file(checkpoint_, state_file));
    const Index texts = task_.texts().segments();
    const Index epoch_steps = (texts + options_.batch - 1) / options_.batch;
    const Index steps = options_.epochs * epoch_steps;
    ThisTrainee trainee{first_model(resumes), {}};
    const Model& model = trainee.model;
    if (options_.lora_rank > 0) {
      using Adapters = Lora<Scalar, Model>;
      const LoraOptions lora = adapters_for(model, pretrained_, options_);
      trainee.lora = resumes ? Adapters::from_pretrained(trainee.model, checkpoint_)
                             : Adapters(trainee.model, lora, options_.seed);
    }
    ThisTrainer trainer(trainee, optimizer(model), trainer_options(steps));
    std::optional<MovingAverage<Scalar, Model>> average;
    if (resumes) trainer.resume(checkpoint_);
    if (options_.moving_average > 0) {
      average.emplace(resumes ? saved_average() : model, options_.moving_average);
    }
    save_checkpoint(trainer, average);  // where it resumes too: what was interrupted is settled
    while (trainer.steps() < steps && !best_.stops()) {
      const auto epoch = static_cast<std::uint64_t>(trainer.steps() / epoch_steps);
      const std::vector<Index> order = shuffled(texts, options_.seed, epoch);
      for (Index i = trainer.steps() % epoch_steps; i < epoch_steps; ++i) {
        const auto begin = static_cast<std::size_t>(i * options_.batch);
        const auto size = std::min(static_cast<std::size_t>(options_.batch), order.size() - begin);
        const auto batch = std::span(order).subspan(begin, size);
        const UpdateReport report = update(cx, trainer, trainee, batch);
        if (average) average->update(model, trainer.steps() - 1);
        if (options_.on_update) {
          Index tokens = 0;
          for (const Index text : batch) tokens += task_.texts().segment(text).size();
          options_.on_update({trainer.steps(), steps, tokens, report.loss, report.learning_rate});
        }
        const bool due = options_.save_every > 0 && trainer.steps() % options_.save_every == 0;
        if (due && i + 1 < epoch_steps) save_checkpoint(trainer, average);
      }
      if (trainee.lora)
        end_epoch(cx, trainer, trainee.lora->merged(), &*trainee.lora);
      else
        end_epoch(cx, trainer, average ? average->model() : model, nullptr);
      save_checkpoint(trainer, average);
      if (options_.on_epoch) options_.on_epoch(reports_.back());
    }
    FolderUpdate finished(output_);
    write_file(join_path(finished.path(), state_file), state().dump(1) + "\n");
    finished.commit();
  }

  /// The model to begin or go on with.
  [[nodiscard]] Model first_model(bool resumes) const {
    const bool whole = resumes && options_.lora_rank == 0;  // in the checkpoint
    Model model =
        whole ? Model::from_pretrained(checkpoint_) : model_for(task_, pretrained_, options_.seed);
    if (!resumes && options_.on_fresh_parameters) {
      options_.on_fresh_parameters(model.load_report().missing);
    }
    const std::string encoder = concat(model.config().family().base, ".");
    for (const auto& named : named_parameters(model)) {
      if (options_.freeze_encoder && named.name.starts_with(encoder)) {
        named.parameter.trainable = false;
      }
    }
    return model;
  }

  [[nodiscard]] AdamW<Scalar> optimizer(const Model& model) const {
    AdamWOptions options{.beta2 = 0.98, .eps = 1e-6, .weight_decay = options_.weight_decay};
    if (options_.layer_decay != 1) {
      options.rate_factor = layerwise_rate(model.config().num_hidden_layers, options_.layer_decay);
    }
    return AdamW<Scalar>(options);
  }

  [[nodiscard]] TrainerOptions trainer_options(Index steps) const {
    const double warmup =
        options_.warmup < 1 ? options_.warmup * static_cast<double>(steps) : options_.warmup;
    return {.schedule = {.decay = decay_from_name(options_.schedule),
                         .peak = options_.learning_rate,
                         .warmup_steps = static_cast<Index>(std::ceil(warmup)),
                         .total_steps = steps,
                         .power = options_.power},
            .clip = options_.clip,
            .seed = options_.seed,
            .precision = options_.precision,
            .eager = true};
  }

  /// One update by these texts, a part of them at a time.
  UpdateReport update(Context& cx, ThisTrainer& trainer, const ThisTrainee& trainee,
                      std::span<const Index> texts) {
    std::vector<std::span<const Index>> parts;
    for (std::size_t begin = 0, end = 0; begin < texts.size(); begin = end) {
      Index tokens = task_.texts().segment(texts[end++]).size();
      while (end < texts.size() &&
             (tokens += task_.texts().segment(texts[end]).size()) <= part_tokens) {
        ++end;
      }
      parts.push_back(texts.subspan(begin, end - begin));
    }
    const UpdateReport report =
        trainer.step(cx, static_cast<Index>(parts.size()), [&](Context& part_cx, Index part) {
          if (trainee.lora) trainee.lora->adapt(part_cx);
          return task_.loss(part_cx, trainee.model, parts[static_cast<std::size_t>(part)]);
        });
    epoch_loss_ += report.loss * static_cast<double>(texts.size());
    return report;
  }

  /// Evaluates, and saves what is better than before; `adapters` to the model beside it, or none.
  void end_epoch(Context& cx, const ThisTrainer& trainer, const Model& model,
                 const Lora<Scalar, Model>* adapters) {
    const double train_loss =
        std::exchange(epoch_loss_, 0) / static_cast<double>(task_.texts().segments());
    reports_.push_back({options_.seed, static_cast<Index>(reports_.size()) + 1, trainer.steps(),
                        train_loss, task_.evaluate(cx, model)});
    trainer.require_finite("the loss on the dev file", reports_.back().dev.loss);
    FolderUpdate update(output_);
    if (best_.improves(reports_.back().dev.metrics[metric_])) {
      if (adapters != nullptr) adapters->save_pretrained(join_path(output_, adapter_folder));
      model.save_pretrained(update);
      save_tokenizer(update.path());
    }
    write_file(join_path(update.path(), "curves.svg"), epoch_curves(reports_, metric_names_));
    update.commit();
  }

  /// tokenizer.json, and what transformers reads beside it.
  void save_tokenizer(const std::string& folder) const {
    tokenizer_.save_pretrained(folder);
    for (const char* name : {"tokenizer_config.json", "special_tokens_map.json"}) {
      const std::string from = join_path(pretrained_, name);
      if (exists(from)) write_file(join_path(folder, name), read_file(from));
    }
  }

  void save_checkpoint(const ThisTrainer& trainer,
                       const std::optional<MovingAverage<Scalar, Model>>& average) const {
    FolderUpdate update(checkpoint_);
    trainer.save(update);
    if (average)
      save_parameters<Scalar>(named_parameters(average->model()),
                              join_path(update.path(), average_file));
    Json saved = state();
    saved["epoch_loss"] = epoch_loss_;
    write_file(join_path(update.path(), state_file), saved.dump(1) + "\n");
    update.commit();
  }

  [[nodiscard]] Model saved_average() const {
    const Checkpoint file = Checkpoint::open(current_file(checkpoint_, average_file));
    Model model(task_.config(), Initializer::none());
    (void)load_parameters(named_parameters(model),
                          CheckpointKeys(file, task_.config().family().base), {}, 0);
    return model;
  }

  static constexpr const char* average_file = "average.safetensors";

  const Task& task_;
  const Tokenizer& tokenizer_;
  std::string pretrained_;
  std::string output_;
  std::string checkpoint_;
  FineTuningOptions options_;
  std::vector<std::string> metric_names_;
  std::size_t metric_ = 0;
  Json settings_;
  std::vector<EpochReport> reports_;
  EarlyStopping best_;
  double epoch_loss_ = 0;  // of the epoch under way, the sum over its texts
  bool finished_ = false;
};

}  // namespace eigenformer
