// Turns a model into a classifier, a regressor, a tagger or a question answerer, and says after
// every epoch how well it does on texts that it does not learn from.
//   finetune --task classification --train train.tsv --dev dev.tsv --output sentiment
//   finetune --task ner --train train.conll --dev dev.conll --model roberta-base --output names
#include <chrono>
#include <cmath>
#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "eigenformer/training/fine_tuning_seeds.hpp"
#include "eigenformer/training/tasks/answering.hpp"
#include "eigenformer/training/tasks/classification.hpp"
#include "eigenformer/training/tasks/tagging.hpp"

#include "common.hpp"

namespace ef = eigenformer;
using examples::Program;

namespace {

/// Shows how a training goes, and prints its epochs.
class Reports {
 public:
  Reports(std::vector<std::string> metrics, bool json)
      : metrics_(std::move(metrics)), json_(json) {}

  void show(const ef::FineTuningUpdate& update) {
    const auto now = Clock::now();
    pace_.add(update.tokens, update.loss, std::chrono::duration<double>(now - begin_).count());
    begin_ = now;
    progress_.skip(update.done - last_.done - 1);
    progress_.reach(update.done, update.total, pace_.shown(update.learning_rate));
    last_ = update;
  }

  /// Losses and metrics, and where the epoch was not trained before, its pace.
  void print(const ef::EpochReport& report) {
    progress_.clear();
    if (json_)
      print_json(report);
    else
      print_readable(report);
    std::fflush(stdout);
    pace_ = {};
    begin_ = Clock::now();
  }

 private:
  using Clock = std::chrono::steady_clock;

  void print_json(const ef::EpochReport& report) const {
    ef::Json json = ef::to_json(report, metrics_);
    if (pace_.updates > 0) {
      json["learning_rate"] = last_.learning_rate;
      json["tokens_per_second"] = std::round(pace_.tokens_per_second());
      json["seconds_left"] = std::round(seconds_left());
    }
    Program::print(json);
  }

  void print_readable(const ef::EpochReport& report) const {
    std::printf("seed %ju  epoch %3td  loss %.4f  dev %.4f", std::uintmax_t{report.seed},
                report.epoch, report.train_loss, report.dev.loss);
    for (std::size_t i = 0; i < metrics_.size(); ++i) {
      std::printf("  %s %.4f", metrics_[i].c_str(), report.dev.metrics[i]);
    }
    if (pace_.updates > 0) {
      std::printf("  rate %.2e  %.0f tokens/s  %s left", last_.learning_rate,
                  pace_.tokens_per_second(), examples::clock_time(seconds_left()).c_str());
    }
    std::printf("\n");
  }

  [[nodiscard]] double seconds_left() const { return pace_.seconds_of(last_.total - last_.done); }

  std::vector<std::string> metrics_;
  bool json_;
  examples::Progress progress_{"updates"};
  examples::Pace pace_;  // of the epoch
  ef::FineTuningUpdate last_;
  Clock::time_point begin_ = Clock::now();
};

struct FineTune {
  const Program& program;
  ef::FineTuningOptions options;
  ef::TaskOptions files;
  ef::Index seeds = 1;

  /// Trains a task, prints its reports, and in the end what the saved weights reach.
  template <class Task>
  void operator()(ef::Context& cx, const ef::Tokenizer& tokenizer, const Task& task) {
    const std::vector<std::string> names = task.metric_names();
    Reports reports(names, program.json);
    options.on_update = [&](const ef::FineTuningUpdate& update) { reports.show(update); };
    options.on_epoch = [&](const ef::EpochReport& report) { reports.print(report); };
    options.on_fresh_parameters = [&](const std::vector<std::string>& parameters) {
      if (program.json) return;
      for (const std::string& name : parameters) std::printf("new: %s\n", name.c_str());
    };
    const ef::SeedsResult result =
        ef::fine_tune_seeds(cx, task, tokenizer, program.model, program.output, options, seeds);
    const double value = result.saved.metrics[result.metric];
    const std::string& name = names[result.metric];
    if (program.json) {
      ef::Json last = {{"metric", name}, {"value", value}};
      if (seeds > 1) {
        last.update(
            {{"mean", result.mean}, {"deviation", result.deviation}, {"seed", result.seed}});
      }
      return Program::print(last);
    }
    if (seeds > 1) {
      std::printf(
          "%s over %td seeds: %.4f, standard deviation %.4f; the best is that of seed %ju\n",
          name.c_str(), seeds, result.mean, result.deviation, std::uintmax_t{result.seed});
    }
    std::printf("%s: %s %.4f\n", program.output.c_str(), name.c_str(), value);
  }
};

}  // namespace

int main(int argc, char** argv) {
  Program program("Turns a model into a classifier, a regressor, a tagger or a question answerer.");
  CLI::App& app = program.app;
  FineTune tune{program, {}, {}};
  ef::FineTuningOptions& options = tune.options;
  std::string task;
  bool multi_label = false;
  app.remove_option(app.get_option("text"));
  app.remove_option(app.get_option("--input"));
  app.get_option("--output")->required()->description("folder for the model");
  program.restrict_precision({"float", "double", "bf16"},
                             "of products; weights are float or double");
  app.add_option("--task", task, "what to learn")
      ->required()
      ->check(CLI::IsMember({"classification", "regression", "ner", "qa"}));
  const auto add = [&](const char* name, auto& value, const char* text) {
    return app.add_option(name, value, text)->capture_default_str();
  };
  add("--train", tune.files.train, "TSV with GLUE's header, CoNLL or SQuAD file to learn from")
      ->required();
  add("--dev", tune.files.dev, "file of the same kind to measure on")->required();
  const CLI::Range count(1, 1 << 30);
  add("--epochs", options.epochs, "passes over the texts")->check(count);
  add("--batch", options.batch, "texts of an update")->check(count);
  add("--lr", options.learning_rate, "learning rate at its peak");
  add("--warmup", options.warmup, "updates until the peak, or below 1, share of all updates");
  add("--schedule", options.schedule, "of the rate after the warm-up")
      ->check(CLI::IsMember({"constant", "linear", "cosine", "polynomial"}));
  add("--power", options.power, "of a polynomial schedule");
  add("--weight-decay", options.weight_decay, "of weight matrices");
  add("--clip", options.clip, "limit of the gradients' norm; 0: none");
  add("--layer-decay", options.layer_decay, "factor of the rate from each layer to the one below");
  add("--ema", options.moving_average, "decay of averaged weights, such as 0.999; 0: none");
  add("--seed", options.seed, "of the head, the order of the texts and dropout")
      ->check(CLI::NonNegativeNumber);
  add("--seeds", tune.seeds, "trainings with this and the next seeds; the best is kept")
      ->check(count);
  add("--patience", options.patience, "stop after so many epochs that are no better; 0: do not");
  add("--metric", options.metric, "what is to be high; default: the task's official metric");
  add("--save-every", options.save_every, "updates after which to save beside each epoch's end");
  app.add_option("--stride", tune.files.stride, "qa: tokens that windows share")
      ->check(CLI::Range(0, 1 << 30))
      ->default_str("128");
  add("--text-column", tune.files.columns.text, "TSV: the text, where the header does not tell");
  add("--pair-column", tune.files.columns.pair, "TSV: the second text of a pair");
  add("--label-column", tune.files.columns.label, "TSV: the label");
  app.add_flag("--multi-label", multi_label, "classification: labels with commas between them");
  app.add_flag("--freeze-encoder", options.freeze_encoder, "train the head alone");
  add("--lora", options.lora_rank,
      "train the head, and adapters of that rank in place of the other weights; 0: none")
      ->check(CLI::Range(0, 1 << 20));
  add("--lora-alpha", options.lora_alpha, "over the rank, the factor of what adapters add")
      ->needs("--lora");
  return program.run(argc, argv, [&] {
    ef::check(!multi_label || task == "classification", "--multi-label is for classification");
    ef::check(tune.files.stride < 0 || task == "qa", "--stride is for qa");
    const bool tables = task == "classification" || task == "regression";
    for (const char* name : {"--text-column", "--pair-column", "--label-column"}) {
      ef::check(tables || app.get_option(name)->count() == 0, name, " is for tab-separated files");
    }
    ef::check(!examples::started_by_mpirun(), "finetune runs in one process, without mpirun");
    const auto tokenizer =
        std::make_shared<ef::Tokenizer>(ef::Tokenizer::from_pretrained(program.model));
    const auto config = ef::EncoderConfig::from_pretrained(program.model);
    ef::Context cx = program.context();
    ef::ThreadPool* const pool = &cx.threads();
    ef::TaskOptions& files = tune.files;
    const ef::LabelledColumns& columns = files.columns;
    files.max_length = program.max_length;
    options.precision = program.precision().value_or(ef::Precision::full);
    options.settings = ef::Json::object({{"task", multi_label ? "multi-label " + task : task},
                                         {"model", program.model},
                                         {"train", files.train},
                                         {"dev", files.dev},
                                         {"columns", {columns.text, columns.pair, columns.label}},
                                         {"max_length", files.max_length},
                                         {"stride", files.stride}});
    const auto kind = task == "regression" ? ef::ClassificationKind::regression
                      : multi_label        ? ef::ClassificationKind::multi_label
                                           : ef::ClassificationKind::single_label;
    program.with_scalar([&]<class Scalar>() {
      if (task == "ner")
        tune(cx, *tokenizer, ef::TaggingTask<Scalar>(*tokenizer, config, files, pool));
      else if (task == "qa")
        tune(cx, *tokenizer, ef::AnsweringTask<Scalar>(tokenizer, config, files, pool));
      else
        tune(cx, *tokenizer, ef::ClassificationTask<Scalar>(*tokenizer, config, kind, files, pool));
    });
  });
}
