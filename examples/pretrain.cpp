// Pre-trains a RoBERTa, a BERT or a SpanBERT from plain text: one sentence a line, an empty line
// between documents. The same command goes on where it was interrupted, with the very same numbers.
//   pretrain --corpus shakespeare.txt --corpus bible.txt --dev held_out.txt --output model
//     --steps 10000 --vocab-size 8192 --hidden 256 --layers 4 --heads 4
// With `mpirun -n 4` before it, four processes share the work, on one machine or on several that
// see the same files.
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <optional>
#include <string>
#include <vector>

#include "eigenformer/models/spanbert.hpp"
#include "eigenformer/tokenizers.hpp"
#include "eigenformer/training.hpp"
#ifdef EIGENFORMER_EXAMPLES_MPI
#include "eigenformer/training/data_parallel.hpp"
#endif

#include "common.hpp"

namespace ef = eigenformer;
using examples::Program;

namespace {

/// What the command line says beside ef::PretrainingOptions and the model's configuration.
struct Options {
  std::vector<std::string> corpus;
  std::string dev;
  std::string tokenizer;
  std::string recipe = "roberta";
  bool no_nsp = false;
  std::string schedule = "linear";
  std::optional<ef::Index> warmup, intermediate, parts, repeated;
  std::optional<double> dropout;
  ef::Index save_every = 500, report_every = 50;
};

/// The family that a recipe's models are of.
std::string family_of(const std::string& recipe) {
  return recipe == "roberta" ? "roberta" : "bert";
}

/// A small model of a family.
ef::EncoderConfig small_config(const std::string& family) {
  auto config = ef::EncoderConfig::of_family(family);
  config.vocab_size = 8192;
  config.hidden_size = 256;
  config.num_hidden_layers = config.num_attention_heads = 4;
  if (family == "roberta") {
    config.max_position_embeddings = 514;
    config.type_vocab_size = 1;
    config.layer_norm_eps = 1e-5;
  }
  return config;
}

void add_options(CLI::App& app, Options& options, ef::PretrainingOptions& training,
                 ef::EncoderConfig& config) {
  const CLI::Range count(1, 1 << 30);
  const CLI::Validator number(
      [](const std::string& text) {
        double value = -1;
        return CLI::detail::lexical_cast(text, value) && value >= 0 && value <= 1e9
                   ? ""
                   : text + " is no number from 0 to 1e9";
      },
      "NUMBER");
  app.add_option("--corpus", options.corpus,
                 "plain text: a sentence a line, an empty line between "
                 "documents; may be given several times")
      ->required();
  // Before all others, whose defaults it changes.
  app.add_option_function<std::string>(
         "--recipe",
         [&](const std::string& name) {
           options.recipe = name;
           if (name == "bert") training = ef::bert_pretraining_options(training);
           if (name == "spanbert") training = ef::spanbert_pretraining_options(training);
           config = small_config(family_of(name));
         },
         "bert: pairs of segments with next sentence prediction, its masks, Adam without bias "
         "correction, --duplicates 10 --clip 1 --beta2 0.999 --positions 512; spanbert: a BERT "
         "whose spans of words are hidden, and told from the tokens beside them too, --clip 1 "
         "--beta2 0.999 --eps 1e-8 --positions 512; heads that --model lacks begin afresh")
      ->check(CLI::IsMember({"roberta", "bert", "spanbert"}))
      ->default_str(options.recipe)
      ->trigger_on_parse();
  app.add_flag("--no-nsp", options.no_nsp,
               "blocks of whole sentences, and no next sentence prediction, for bert too");
  app.add_option("--duplicates", training.duplicates,
                 "copies of the text whose masks are drawn once; 0: drawn anew in each epoch")
      ->check(CLI::Range(0, 1 << 20))
      ->capture_default_str();
  app.add_option("--dev", options.dev, "held-out text, whose loss is measured at each checkpoint");
  app.get_option("--json")->description("one JSON object per report");
  app.get_option("--output")->required()->description("folder for the model");
  app.get_option("--model")->default_str("none")->description(
      "folder of a model to go on from, with its tokenizer");
  app.add_option("--tokenizer", options.tokenizer,
                 "folder of a tokenizer; else learned from the corpus")
      ->excludes("--model");
  const auto model = [&](const char* name, ef::Index& value, const char* what) {
    app.add_option(name, value, what)->check(count)->capture_default_str()->excludes("--model");
  };
  model("--vocab-size", config.vocab_size, "tokens of a tokenizer that is learned");
  app.get_option("--vocab-size")->excludes("--tokenizer");
  model("--hidden", config.hidden_size, "features");
  model("--layers", config.num_hidden_layers, "encoder layers");
  model("--heads", config.num_attention_heads, "attention heads");
  app.add_option("--intermediate", options.intermediate, "features inside feed-forward networks")
      ->check(count)
      ->default_str("4 times --hidden")
      ->excludes("--model");
  model("--positions", config.max_position_embeddings,
        "two more than the longest text; of bert, the longest text");
  app.add_option("--initializer-range", config.initializer_range,
                 "standard deviation of fresh weights")
      ->check(number)
      ->capture_default_str()
      ->excludes("--model");
  const auto add = [&](const char* name, auto& value, const char* what,
                       const CLI::Validator& range) {
    app.add_option(name, value, what)->check(range)->capture_default_str();
  };
  app.add_option("--steps", training.schedule.total_steps, "updates")->check(count)->required();
  add("--batch", training.batch, "blocks of an update", count);
  add("--length", training.length, "most tokens of a block", CLI::Range(3, 1 << 30));
  app.add_option("--repeat-positions", options.repeated,
                 "positions that --model has learned; those after them begin as their copies")
      ->check(count)
      ->needs("--model");
  app.add_option("--accumulate", options.parts,
                 "parts that a batch is computed in, to save memory; dropout draws differ")
      ->check(count)
      ->default_str("one for each process");
  add("--lr", training.schedule.peak, "highest learning rate", number);
  app.add_option("--warmup", options.warmup, "updates until it is reached")
      ->check(CLI::Range(0, 1 << 30))
      ->default_str("6 % of --steps");
  add("--schedule", options.schedule, "what follows",
      CLI::IsMember({"constant", "linear", "cosine", "polynomial"}));
  add("--power", training.schedule.power, "of a polynomial schedule", number);
  add("--weight-decay", training.optimizer.weight_decay, "of AdamW", number);
  add("--beta2", training.optimizer.beta2, "of AdamW; beta1 is 0.9", CLI::Range(0.0, 1.0));
  add("--eps", training.optimizer.eps, "of AdamW", CLI::Range(0.0, 1.0));
  add("--clip", training.clip, "highest norm of gradients; 0: any", number);
  app.add_option("--dropout", options.dropout, "0: none, and config.json keeps 0.1 for fine-tuning")
      ->check(CLI::Range(0.0, 0.99))
      ->default_str("0");
  app.add_flag("--whole-words", training.whole_words, "hide whole words, not single tokens");
  app.add_flag("--doc-sentences", training.documents, "blocks end with their document");
  app.add_option("--seed", training.seed, "of weights, orders and masks")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  add("--save-every", options.save_every, "updates from checkpoint to checkpoint", count);
  add("--report-every", options.report_every, "updates from report to report", count);
}

ef::TrainedBpe learn_tokenizer(const Options& options, ef::Index vocab_size, ef::Context& cx) {
  ef::BpeTrainer trainer(ef::roberta_trainer_options(vocab_size));
  for (const std::string& file : options.corpus) {
    const std::string text = ef::read_file(file);
    const bool empty = text.find_first_not_of(" \t\r\n") == text.npos;
    ef::check<ef::FormatError>(!empty, file, ": holds no text");
    trainer.feed_lines(text, &cx.threads());
  }
  return trainer.train();
}

ef::Corpus read_corpus(const ef::Tokenizer& tokenizer, const std::vector<std::string>& files,
                       ef::Context& cx) {
  ef::Corpus corpus(tokenizer.cls_token_id(), tokenizer.sep_token_id(), tokenizer.mask_token_id());
  for (const std::string& file : files) corpus.add_file(tokenizer, file, &cx.threads());
  return corpus;
}

/// The model, what the training needs to go on, and its curves: all at once.
template <class Pretraining>
void save(const Pretraining& training, const std::optional<ef::ReportLog>& log,
          const std::string& output) {
  training.save(output, [&](const ef::FolderUpdate& update) {
    std::vector<ef::Panel> panels = {
        {"loss",
         "update",
         {log->curve("train", "loss"), log->curve("held out", "dev_loss", ef::Best::lowest)}},
        {"right, held out", "update", {}},
        {"learning rate", "update", {log->curve("rate", "learning_rate")}}};
    for (const auto& [name, key] : {std::pair{"tokens", "dev_accuracy"},
                                    {"next sentences", "dev_nsp_accuracy"},
                                    {"by boundaries", "dev_sbo_accuracy"}}) {
      ef::Curve curve = log->curve(name, key, ef::Best::highest);
      if (!curve.points.empty()) panels[1].curves.push_back(std::move(curve));
    }
    if (panels[1].curves.empty()) panels.erase(panels.begin() + 1);
    ef::write_file(ef::join_path(update.path(), "curves.svg"), ef::draw_curves(panels));
  });
}

void print(const ef::Json& report, double tokens_per_second, double seconds_left, bool json) {
  if (json) {
    ef::Json all = report;
    all["tokens_per_second"] = std::round(tokens_per_second);
    all["seconds_left"] = std::round(seconds_left);
    Program::print(all);
  } else {
    std::printf("step %6td  loss %.4f", report["step"].get<ef::Index>(),
                report["loss"].get<double>());
    if (report.contains("dev_loss")) {
      std::printf("  held out %.4f, perplexity %.2f, %.1f %% right",
                  report["dev_loss"].get<double>(), report["perplexity"].get<double>(),
                  100 * report["dev_accuracy"].get<double>());
    }
    if (report.contains("dev_nsp_accuracy")) {
      std::printf(", next sentences %.1f %%", 100 * report["dev_nsp_accuracy"].get<double>());
    }
    if (report.contains("dev_sbo_accuracy")) {
      std::printf(", by boundaries %.1f %%", 100 * report["dev_sbo_accuracy"].get<double>());
    }
    std::printf("  rate %.2e  %.0f tokens/s  %s left\n", report["learning_rate"].get<double>(),
                tokens_per_second, examples::clock_time(seconds_left).c_str());
  }
  std::fflush(stdout);
}

/// Trains to the end, with reports and checkpoints. The process with the log reports.
template <class Pretraining>
void train(Pretraining& training, std::optional<ef::ReportLog>& log, const Options& options,
           const ef::MaskedBatch* dev, const Program& program, ef::Index steps, ef::Context& cx) {
  using Clock = std::chrono::steady_clock;
  examples::Progress progress("updates", log.has_value());
  progress.skip(training.steps());
  examples::Pace pace;  // since the last report
  while (training.steps() < steps) {
    const auto begin = Clock::now();
    const ef::Index before = training.tokens();
    const ef::UpdateReport update = training.step(cx);
    pace.add(training.tokens() - before, update.loss,
             std::chrono::duration<double>(Clock::now() - begin).count());
    const ef::Index step = training.steps();
    progress.reach(step, steps, pace.shown(update.learning_rate));
    const bool saves = step % options.save_every == 0 || step == steps;
    if (!saves && step % options.report_every != 0) continue;
    ef::Json report = {
        {"step", step}, {"loss", pace.mean_loss()}, {"learning_rate", update.learning_rate}};
    if (saves && dev != nullptr) {
      const ef::MaskedLmScore score = training.score(cx, *dev);
      report.update({{"dev_loss", score.loss},
                     {"dev_accuracy", score.accuracy},
                     {"perplexity", score.perplexity()}});
      if (training.labels_pairs) {
        report.update(
            {{"dev_nsp_loss", score.pair_loss}, {"dev_nsp_accuracy", score.pair_accuracy}});
      }
      if (training.learns_boundaries) {
        report.update({{"dev_sbo_loss", score.sbo_loss}, {"dev_sbo_accuracy", score.sbo_accuracy}});
      }
    }
    progress.clear();
    if (log) {
      print(report, pace.tokens_per_second(), pace.seconds_of(steps - step), program.json);
      log->add(report);
    }
    if (saves) save(training, log, program.output);
    pace = {};
  }
}

/// Prepares tokenizer, corpus and model, and trains. Each of the processes does the same, but the
/// first alone writes.
template <class Model, class Workers>
void pretrain_model(const Program& program, const Options& options,
                    ef::PretrainingOptions pretraining, ef::EncoderConfig config,
                    const Workers& workers) {
  using Pretraining = ef::Pretraining<float, Model, Workers>;
  ef::Context cx = program.context();
  const std::string& output = program.output;
  const bool given_model = program.app.get_option("--model")->count() > 0;
  const std::string start = given_model ? program.model : options.tokenizer;
  const bool goes_on = Pretraining::can_resume(output);
  ef::check(goes_on || !ef::exists(ef::join_path(output, "config.json")), output,
            ": holds a model that was not trained here; choose another folder");

  // The tokenizer, and the corpus as its tokens.
  std::optional<ef::TrainedBpe> bpe;
  if (!goes_on && start.empty()) bpe = learn_tokenizer(options, config.vocab_size, cx);
  const auto form = pretraining.segment_pairs ? ef::PairForm::bert : ef::PairForm::roberta;
  const ef::Tokenizer tokenizer = bpe ? ef::roberta_tokenizer(*bpe, form)
                                      : ef::Tokenizer::from_pretrained(goes_on ? output : start);
  const ef::Corpus corpus = read_corpus(tokenizer, options.corpus, cx);
  std::optional<ef::Corpus> dev;
  if (!options.dev.empty()) dev = read_corpus(tokenizer, {options.dev}, cx);

  // The model.
  config.intermediate_size = options.intermediate.value_or(4 * config.hidden_size);
  pretraining.settings = ef::Json::object({{"recipe", options.recipe},
                                           {"no-nsp", options.no_nsp},
                                           {"model", start},
                                           {"vocab-size", config.vocab_size},
                                           {"hidden", config.hidden_size},
                                           {"layers", config.num_hidden_layers},
                                           {"heads", config.num_attention_heads},
                                           {"intermediate", config.intermediate_size},
                                           {"positions", config.max_position_embeddings},
                                           {"initializer-range", config.initializer_range},
                                           {"repeat-positions", options.repeated.value_or(0)}});
  config.vocab_size = tokenizer.vocab_size();
  config.pad_token_id = tokenizer.pad_token_id();
  if (goes_on || given_model)
    config = ef::EncoderConfig::from_pretrained(goes_on ? output : program.model,
                                                family_of(options.recipe));
  pretraining.dropout = options.dropout.value_or(0) > 0;
  if (pretraining.dropout) {
    config.hidden_dropout_prob = config.attention_probs_dropout_prob = *options.dropout;
  }
  ef::LoadOptions loading;
  loading.initialize_missing_head = Pretraining::learns_boundaries && !goes_on;
  loading.seed = pretraining.seed;
  Model model = goes_on || given_model
                    ? Model::from_pretrained(goes_on ? output : program.model, config, loading)
                    : Model(config, ef::Initializer(pretraining.seed, config.initializer_range));

  if (!goes_on && options.repeated) ef::repeat_positions(model, *options.repeated);

  // The training, from its beginning or from the last checkpoint.
  ef::Schedule& schedule = pretraining.schedule;
  schedule.decay = ef::decay_from_name(options.schedule);
  schedule.warmup_steps = options.warmup.value_or(schedule.total_steps * 6 / 100);
  pretraining.precision = program.precision().value_or(ef::Precision::full);
  pretraining.parts = options.parts.value_or(workers.size());
  Pretraining training(model, tokenizer, corpus, pretraining, workers);
  std::optional<ef::MaskedBatch> held_out;
  if (dev) held_out = training.held_out(*dev);
  std::optional<ef::ReportLog> log;
  if (goes_on) training.resume(output);
  if (workers.rank() == 0) {
    if (!goes_on && bpe) ef::save_roberta_tokenizer(*bpe, output, config.max_tokens(), form);
    if (!goes_on && !bpe) {
      ef::FolderUpdate update(output);
      examples::copy_tokenizer(start, update.path());
      tokenizer.save_pretrained(update.path());
      update.commit();
    }
    log.emplace(ef::join_path(output, "log.jsonl"), goes_on ? training.steps() : -1);
  }
  if (!goes_on) save(training, log, output);
  train(training, log, options, held_out ? &*held_out : nullptr, program, schedule.total_steps, cx);
}

/// The same with the model of the recipe.
template <class Workers>
void pretrain(const Program& program, const Options& options, ef::PretrainingOptions pretraining,
              const ef::EncoderConfig& config, const Workers& workers) {
  pretraining.segment_pairs = pretraining.segment_pairs && !options.no_nsp;
  if (options.recipe == "roberta")
    pretrain_model<ef::RobertaForMaskedLM<float>>(program, options, pretraining, config, workers);
  else if (options.recipe == "spanbert")
    pretrain_model<ef::SpanBertForPreTraining<float>>(program, options, pretraining, config,
                                                      workers);
  else if (options.no_nsp)
    pretrain_model<ef::BertForMaskedLM<float>>(program, options, pretraining, config, workers);
  else
    pretrain_model<ef::BertForPreTraining<float>>(program, options, pretraining, config, workers);
}

}  // namespace

int main(int argc, char** argv) {
  Program program("Pre-trains a RoBERTa, a BERT or a SpanBERT from plain text.");
  for (const char* name : {"text", "--input", "--max-length"}) {
    program.app.remove_option(program.app.get_option(name));
  }
  program.restrict_precision({"float", "bf16"},
                             "of products; weights, gradients and sums are float");
  Options options;
  ef::PretrainingOptions pretraining;
  pretraining.batch = 32;
  pretraining.schedule.peak = 1e-3;
  ef::EncoderConfig config = small_config("roberta");
  add_options(program.app, options, pretraining, config);
  return program.run(argc, argv, [&] {
    if (!examples::started_by_mpirun()) {
      return pretrain(program, options, pretraining, config, ef::OneProcess());
    }
#ifdef EIGENFORMER_EXAMPLES_MPI
    const ef::MpiSession mpi(argc, argv);
    pretrain(program, options, pretraining, config, ef::DataParallel());
#else
    ef::fail<ef::Error>("several processes: this program was built without MPI; install Debian's ",
                        "libopenmpi-dev and openmpi-bin, and build again");
#endif
  });
}
