// Fine-tuning as a whole, on tasks that a tiny model learns in seconds: each metric rises, the best
// epoch is what is saved, an interrupted training ends in the very same files, nothing of others is
// overwritten.
#include <filesystem>

#include <gtest/gtest.h>

#include "eigenformer/pipelines/text_classification.hpp"
#include "eigenformer/training/fine_tuning_seeds.hpp"
#include "eigenformer/training/tasks/answering.hpp"
#include "eigenformer/training/tasks/classification.hpp"
#include "eigenformer/training/tasks/tagging.hpp"

#include "../kill_points.hpp"
#include "../messages.hpp"
#include "../temporary_folder.hpp"

namespace fine_tuning_test {

namespace ef = eigenformer;
using ef::Index;
using ef::tests::expect_parts;
using ef::tests::message_of;

const std::string examples = EIGENFORMER_EXAMPLES "/model";
constexpr const char* fillers[] = {"and", "the", "of", "that", "to", "unto", "he", "shall"};

/// A tiny masked language model with the tokenizer of the examples, and files beside it.
class FineTuning : public ::testing::Test {
 protected:
  FineTuning() {
    ef::RobertaConfig config = ef::RobertaConfig::from_pretrained(examples);
    config.hidden_size = 16;
    config.num_hidden_layers = 1;
    config.num_attention_heads = 2;
    config.intermediate_size = 32;
    config.max_position_embeddings = 66;
    save(ef::RobertaForMaskedLM<float>(config), "model");
    tokenizer_ = std::make_shared<ef::Tokenizer>(ef::Tokenizer::from_pretrained(model_));
  }

  /// Makes the model that is trained, with the tokenizer beside it.
  template <class Model>
  void save(const Model& model, const char* name) {
    model_ = folder_ / name;
    std::filesystem::create_directory(model_);
    model.save_pretrained(model_);
    for (const char* file : {"tokenizer.json", "tokenizer_config.json"}) {
      std::filesystem::copy_file(examples + "/" + file, model_ + "/" + file);
    }
    config_ = ef::EncoderConfig::from_pretrained(model_);
  }

  /// Some words that say nothing.
  std::string filler(ef::Draws& draws, Index least = 2) {
    std::string text;
    for (Index i = least + draws.below(4); i > 0; --i) {
      text += (text.empty() ? "" : " ") + std::string(fillers[draws.below(8)]);
    }
    return text;
  }

  /// Writes `count` lines that line(draws) gives, under a header.
  template <class MakeLine>
  void write(const std::string& path, const std::string& header, int count, std::uint64_t seed,
             MakeLine&& line) {
    ef::Draws draws(ef::Rng(seed), 0);
    std::string text = header;
    for (int i = 0; i < count; ++i) text += line(draws);
    ef::write_file(path, text);
  }

  /// Texts whose class is told by one word.
  void write_classes() {
    const auto line = [&](ef::Draws& draws) {
      const bool good = draws.below(2) == 1;
      return filler(draws) + (good ? " good " : " evil ") + filler(draws) +
             (good ? "\tpraise\n" : "\tblame\n");
    };
    write(files_.train, "sentence\tlabel\n", 60, 1, line);
    write(files_.dev, "sentence\tlabel\n", 30, 2, line);
  }

  ef::ClassificationTask<float> classes(
      ef::ClassificationKind kind = ef::ClassificationKind::single_label) {
    return {*tokenizer_, config_, kind, files_};
  }

  static ef::FineTuningOptions options(Index epochs = 12) {
    ef::FineTuningOptions how{.epochs = epochs, .batch = 8, .learning_rate = 1e-2};
    how.clip = 1;
    return how;
  }

  template <class Task>
  ef::SeedsResult train(const Task& task, const std::string& output,
                        const ef::FineTuningOptions& how, Index seeds = 1) {
    ef::Context cx(1);
    return ef::fine_tune_seeds(cx, task, *tokenizer_, model_, output, how, seeds);
  }

  ef::tests::TemporaryFolder folder_;
  std::string model_;
  std::string output_ = folder_ / "output";
  ef::TaskOptions files_{.train = folder_ / "train", .dev = folder_ / "dev"};
  std::shared_ptr<const ef::Tokenizer> tokenizer_;
  ef::EncoderConfig config_;
};

/// All files below a folder with their bytes.
std::map<std::string, std::string> contents_of(const std::string& folder) {
  std::map<std::string, std::string> files;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(folder)) {
    const std::string name = std::filesystem::relative(entry.path(), folder).string();
    files[name] = entry.is_directory() ? "" : ef::read_file(entry.path().string());
  }
  return files;
}

void expect_same_files(const std::map<std::string, std::string>& found,
                       const std::map<std::string, std::string>& expected) {
  for (const auto& [name, bytes] : expected) {
    ASSERT_TRUE(found.contains(name)) << name;
    EXPECT_TRUE(found.at(name) == bytes) << name << " differs";
  }
  for (const auto& [name, bytes] : found) EXPECT_TRUE(expected.contains(name)) << name;
}

TEST_F(FineTuning, LearnsClasses) {
  write_classes();
  const auto task = classes();
  std::vector<ef::EpochReport> reports;
  std::vector<std::string> fresh;
  ef::FineTuningOptions how = options();
  how.on_epoch = [&](const ef::EpochReport& report) { reports.push_back(report); };
  how.on_fresh_parameters = [&](const std::vector<std::string>& names) { fresh = names; };
  const ef::SeedsResult result = train(task, output_, how);
  EXPECT_EQ(task.metric_names().front(), "accuracy");
  EXPECT_GE(result.saved.metrics[0], 0.95);
  EXPECT_EQ(fresh.size(), 4u);
  ASSERT_EQ(reports.size(), 12u);
  EXPECT_EQ(reports.back().step, 12 * 8);
  EXPECT_LT(reports.back().train_loss, 0.5 * reports.front().train_loss);
  // The best epoch's figures are those of the saved weights, to the last bit.
  const auto best = std::max_element(reports.begin(), reports.end(), [](auto& a, auto& b) {
    return a.dev.metrics[0] < b.dev.metrics[0];
  });
  EXPECT_EQ(best->dev.metrics, result.saved.metrics);
  EXPECT_EQ(best->dev.loss, result.saved.loss);

  const auto config = ef::RobertaConfig::from_pretrained(output_);
  EXPECT_EQ(config.architectures.front(), "RobertaForSequenceClassification");
  EXPECT_EQ(config.label(0), "blame");
  EXPECT_EQ(config.label2id.at("praise"), 1);
  EXPECT_EQ(config.problem_type, "single_label_classification");
  auto classify = ef::TextClassification::from_pretrained(output_, ef::Context(1));
  EXPECT_EQ(classify("he shall good to the").front().label, "praise");
  EXPECT_EQ(contents_of(output_).size(), 6u);  // nothing but what belongs there

  // What is finished is not trained again, and its reports come again.
  const auto before = contents_of(output_);
  reports.clear();
  EXPECT_EQ(train(task, output_, how).saved.metrics, result.saved.metrics);
  EXPECT_EQ(reports.size(), 12u);
  expect_same_files(contents_of(output_), before);

  // The head goes on with the labels that it has, and only with those.
  const std::string labels = ef::read_file(files_.train);
  config_ = config;
  EXPECT_TRUE(ef::model_for(classes(), output_, 1).load_report().missing.empty());
  ef::write_file(files_.train, labels + "and\tneither\n");
  EXPECT_EQ(ef::model_for(classes(), output_, 1).load_report().missing.size(), 4u);
}

TEST_F(FineTuning, LearnsSeveralClassesOfEachText) {
  const auto line = [&](ef::Draws& draws) {
    constexpr const char* words[][2] = {
        {"stone", ""}, {"water", "drink"}, {"bread", "food"}, {"supper", "drink,food"}};
    const auto& [word, labels] = words[draws.below(4)];
    return std::string("the ") + word + " " + fillers[draws.below(8)] + "\t" + labels + "\n";
  };
  write(files_.train, "text\tlabels\n", 120, 1, line);
  write(files_.dev, "text\tlabels\n", 30, 2, line);
  const auto task = classes(ef::ClassificationKind::multi_label);
  EXPECT_EQ(task.config().problem_type, "multi_label_classification");
  // Both classes go the same way for long before they part.
  const ef::SeedsResult result = train(task, output_, options(60));
  for (const double metric : result.saved.metrics) EXPECT_GE(metric, 0.95);
}

TEST_F(FineTuning, LearnsNumbersOfPairs) {
  const auto line = [&](ef::Draws& draws) {
    constexpr const char* words[] = {"hell", "earth", "heaven"};
    const Index score = draws.below(3);
    return filler(draws) + "\t" + filler(draws) + " " + words[score] + " " + filler(draws) + "\t" +
           std::to_string(score) + ".25\n";
  };
  write(files_.train, "sentence1\tsentence2\tscore\n", 240, 1, line);
  write(files_.dev, "sentence1\tsentence2\tscore\n", 30, 2, line);
  const auto task = classes(ef::ClassificationKind::regression);
  EXPECT_EQ(task.config().num_labels, 1);
  ef::FineTuningOptions how = options(20);
  how.moving_average = 0.9;
  const ef::SeedsResult result = train(task, output_, how);
  EXPECT_EQ(task.metric_names()[result.metric], "pearson_spearman");
  EXPECT_GE(result.saved.metrics[1], 0.9);  // Pearson's; Spearman's is less, for equal labels
  EXPECT_GE(result.saved.metrics[2], 0.8);
  EXPECT_EQ(ef::RobertaConfig::from_pretrained(output_).problem_type, "regression");
}

TEST_F(FineTuning, OfBertKeepsThePooler) {
  ef::EncoderConfig config = config_;
  config.model_type = "bert";
  config.type_vocab_size = 2;
  const ef::BertForPreTraining<float> bert(config);
  save(bert, "bert");
  write_classes();
  const auto task = classes();
  const auto model = ef::model_for(task, model_, 1);
  EXPECT_EQ(model.load_report().missing,
            (std::vector<std::string>{"classifier.weight", "classifier.bias"}));
  const auto pooler = [](const auto& of) {
    Eigen::MatrixXf weight;
    for (const auto& named : ef::named_parameters(of)) {
      if (named.name == "bert.pooler.dense.weight") weight = named.value().matrix();
    }
    return weight;
  };
  EXPECT_EQ(pooler(model), pooler(bert));

  ef::FineTuningOptions how = options();
  how.freeze_encoder = true;
  how.epochs = 1;
  (void)train(task, output_, how);
  EXPECT_EQ(pooler(ef::BertForSequenceClassification<float>::from_pretrained(output_)),
            pooler(bert));

  how = options();
  how.moving_average = 0.5;
  const std::string trained = folder_ / "trained";
  EXPECT_GE(train(task, trained, how).saved.metrics[0], 0.95);
  EXPECT_EQ(ef::EncoderConfig::from_pretrained(trained).architectures.front(),
            "BertForSequenceClassification");
}

TEST_F(FineTuning, LearnsTagsOfWords) {
  const auto line = [&](ef::Draws& draws) {
    std::string lines = draws.below(2) == 1 ? "in\tO\nJerusalem\tB-LOC\n" : "Moses\tB-PER\n";
    for (Index i = draws.below(4); i >= 0; --i) lines += std::string(fillers[i]) + "\tO\n";
    return lines + (draws.below(2) == 1 ? "\xE2\x80\x8B\tO\nSaint\tB-PER\nPaul\tI-PER\n\n" : "\n");
  };
  write(files_.train, "", 60, 1, line);
  write(files_.dev, "", 30, 2, line);
  const ef::TaggingTask<float> task(*tokenizer_, config_, files_);
  EXPECT_EQ(task.config().num_labels, 4);
  const ef::SeedsResult result = train(task, output_, options());
  for (const double metric : result.saved.metrics) EXPECT_GE(metric, 0.95);
  // What truncation takes away counts as not found.
  files_.max_length = 4;
  const ef::TaggingTask<float> cut(*tokenizer_, config_, files_);
  ef::Context cx(1);
  const auto model = ef::RobertaForTokenClassification<float>::from_pretrained(output_);
  EXPECT_LT(cut.evaluate(cx, model).metrics[2], 0.9);
}

TEST_F(FineTuning, LearnsWhereAnswersAre) {
  const auto squad = [&](int count, std::uint64_t seed) {
    ef::Draws draws(ef::Rng(seed), 0);
    ef::Json paragraphs = ef::Json::array();
    for (int i = 0; i < count; ++i) {
      const bool answered = draws.below(4) > 0;
      const std::string before = filler(draws) + " \xC3\xA9t\xC3\xA9 ";
      const std::string context =
          before + (answered ? "gold " : "") + filler(draws, answered ? 2 : 12);
      ef::Json answers = ef::Json::array();
      if (answered) answers.push_back({{"text", "gold"}, {"answer_start", before.size() - 2}});
      paragraphs.push_back({{"context", context},
                            {"qas",
                             {{{"id", std::to_string(i)},
                               {"question", " what?"},
                               {"is_impossible", !answered},
                               {"answers", answers}}}}});
    }
    return ef::Json{{"data", {{{"paragraphs", paragraphs}}}}}.dump();
  };
  ef::write_file(files_.train, squad(60, 1));
  ef::write_file(files_.dev, squad(30, 2));
  files_.max_length = 16;
  files_.stride = 4;
  const ef::AnsweringTask<float> task(tokenizer_, config_, files_);
  EXPECT_GT(task.texts().segments(), 60);  // windows
  const ef::SeedsResult result = train(task, output_, options(20));
  for (const double metric : result.saved.metrics) EXPECT_GE(metric, 90);
}

TEST(AnswerPosition, IsThatOfTheTokensAroundIt) {
  // <s> q </s></s> aa bb cc </s>, the context's bytes 2-4, 5-7, 8-10 in this window.
  ef::Encoding window;
  window.sequence_ids = {-1, 0, -1, -1, 1, 1, 1, -1};
  window.offsets = {{0, 0}, {0, 1}, {0, 0}, {0, 0}, {2, 4}, {5, 7}, {8, 10}, {0, 0}};
  const auto expect = [&](std::size_t begin, std::size_t end, int first, int last) {
    SCOPED_TRACE(begin);
    const ef::AnswerPosition position = ef::answer_position(window, begin, end);
    EXPECT_EQ(position.start, first);
    EXPECT_EQ(position.end, last);
  };
  expect(2, 4, 4, 4);
  expect(5, 10, 5, 6);
  expect(3, 6, 4, 5);
  expect(8, 10, 6, 6);  // the window's last token
  expect(0, 4, 0, 0);   // begins before the window
  expect(8, 12, 0, 0);  // ends after it
  expect(4, 7, 4, 5);   // begins in a gap
}

TEST_F(FineTuning, EndsInTheSameFilesWhereverItIsKilled) {
  write_classes();
  const auto task = classes();
  ef::FineTuningOptions averaged = options(3);
  averaged.moving_average = 0.9;
  ef::FineTuningOptions adapted = options(3);
  adapted.lora_rank = 2;
  for (ef::FineTuningOptions how : {averaged, adapted}) {
    SCOPED_TRACE(how.lora_rank);
    how.save_every = 3;
    how.patience = 2;
    const std::string whole = folder_ / ef::concat("whole", how.lora_rank);
    (void)train(task, whole, how, 2);
    const auto expected = contents_of(whole);
    EXPECT_TRUE(expected.contains("model.safetensors"));
    EXPECT_TRUE(expected.contains("seed-2/finetune.json"));
    EXPECT_FALSE(expected.contains("seed-2/model.safetensors"));
    EXPECT_EQ(expected.contains("adapter/adapter_model.safetensors"), how.lora_rank > 0);
    EXPECT_FALSE(expected.contains("seed-2/adapter"));
    // A process of its own is killed at its n-th change of a folder; another one goes on.
    const int stride = how.lora_rank > 0 ? 173 : 61;
    int deaths = 0;
    for (int n = 0;; n += n < 16 ? 1 : stride, ++deaths) {
      SCOPED_TRACE(n);
      const std::string killed = folder_ / ef::concat("killed", how.lora_rank, "_", n);
      if (!is_killed_at(n, [&] { (void)train(task, killed, how, 2); })) break;
      (void)train(task, killed, how, 2);
      expect_same_files(contents_of(killed), expected);
      std::filesystem::remove_all(killed);
    }
    EXPECT_GT(deaths, 16 + 3);
  }
}

TEST_F(FineTuning, KeepsTheBestOfSeveralSeeds) {
  write_classes();
  const auto task = classes();
  std::map<std::uint64_t, double> best;
  ef::FineTuningOptions how = options(2);
  how.seed = 5;
  how.metric = "f1";
  how.on_epoch = [&](const ef::EpochReport& report) {
    best[report.seed] = std::max(best[report.seed], report.dev.metrics[1]);
  };
  const ef::SeedsResult result = train(task, output_, how, 3);
  ASSERT_EQ(best.size(), 3u);
  const std::vector<double> values{best[5], best[6], best[7]};
  const double mean = (values[0] + values[1] + values[2]) / 3;
  double squares = 0;
  for (const double value : values) squares += (value - mean) * (value - mean);
  EXPECT_EQ(task.metric_names()[result.metric], "f1");
  EXPECT_NEAR(result.mean, mean, 1e-12);
  EXPECT_NEAR(result.deviation, std::sqrt(squares / 2), 1e-12);
  EXPECT_EQ(best[result.seed], *std::max_element(values.begin(), values.end()));
  EXPECT_EQ(result.saved.metrics[1], best[result.seed]);
  const ef::SeedsResult again = train(task, output_, how, 3);
  EXPECT_EQ(again.saved.metrics, result.saved.metrics);
  EXPECT_EQ(again.seed, result.seed);
  // One seed alone is the same training.
  how.seed = result.seed;
  EXPECT_EQ(train(task, folder_ / "one", how).saved.loss, result.saved.loss);
}

TEST_F(FineTuning, OverwritesNothingOfOthers) {
  write_classes();
  const auto task = classes();
  const auto refuse = [&](const std::string& output, const ef::FineTuningOptions& how, Index seeds,
                          const std::vector<std::string>& parts) {
    const auto before = contents_of(output);
    expect_parts(message_of<ef::ConfigError>([&] { (void)train(task, output, how, seeds); }),
                 parts);
    expect_same_files(contents_of(output), before);
  };
  refuse(model_, options(1), 1, {model_, "config.json"});
  refuse(model_, options(1), 2, {model_, "config.json"});
  // An unfinished training, then a finished one.
  ef::FineTuningOptions stopped = options(2);
  stopped.on_update = [](const ef::FineTuningUpdate& update) {
    EXPECT_EQ(update.total, 16);
    EXPECT_GT(update.tokens, 8 * 7);
    if (update.done == 3) throw ef::Error("stop");
  };
  EXPECT_THROW((void)train(task, output_, stopped), ef::Error);
  ef::FineTuningOptions other = options(2);
  other.learning_rate = 2e-2;
  refuse(output_, other, 1, {output_, "learning_rate", "0.01", "0.02"});
  ef::write_file(files_.dev, "sentence\tlabel\ngood\tblame\nevil\tpraise\n");
  const auto others = classes();
  expect_parts(message_of<ef::ConfigError>([&] { (void)train(others, output_, options(2)); }),
               {output_, "digest"});
  (void)train(task, output_, options(2));
  refuse(output_, other, 1, {output_, "learning_rate", "0.01", "0.02"});
  refuse(output_, options(2), 2, {output_, "config.json"});
  ef::write_file(output_ + "/finetune.json", R"({"settings": 1})");
  expect_parts(message_of<ef::FormatError>([&] { (void)train(task, output_, options(2)); }),
               {output_ + "/finetune.json", "not the state"});
}

TEST_F(FineTuning, StopsEarlyOrWhereNumbersAreNotFinite) {
  write_classes();
  const auto task = classes();
  ef::FineTuningOptions how = options(50);
  how.learning_rate = 1e-12;
  how.patience = 2;
  Index epochs = 0;
  how.on_epoch = [&](const ef::EpochReport&) { ++epochs; };
  (void)train(task, output_, how);
  EXPECT_EQ(epochs, 3);

  how = options(2);
  how.learning_rate = 1e30;
  how.clip = 0;
  how.warmup = 0;
  const std::string bad = folder_ / "bad";
  expect_parts(message_of<ef::Error>([&] { (void)train(task, bad, how); }), {"update"});
  EXPECT_TRUE(ef::exists(bad + "/checkpoint/model.safetensors"));

  // Of one update alone, whose loss is that before it: what it led to is seen, and not kept.
  how.epochs = 1;
  how.batch = 60;
  const std::string worse = folder_ / "worse";
  expect_parts(message_of<ef::Error>([&] { (void)train(task, worse, how); }),
               {"after update 1", "parameter"});
  EXPECT_FALSE(ef::exists(worse + "/model.safetensors"));
  using Model = ef::RobertaForSequenceClassification<float>;
  const auto kept = Model::from_pretrained(worse + "/checkpoint");
  for (const auto& named : ef::named_parameters(kept)) {
    EXPECT_LT(named.value().array().abs().maxCoeff(), 1e3) << named.name;
  }
}

TEST_F(FineTuning, FreezesTheEncoder) {
  write_classes();
  ef::FineTuningOptions how = options(1);
  how.freeze_encoder = true;
  (void)train(classes(), output_, how);
  const auto before = ef::SafetensorsFile::open(model_ + "/model.safetensors");
  const auto after = ef::SafetensorsFile::open(output_ + "/model.safetensors");
  std::size_t same = 0;
  for (const ef::TensorInfo& info : after.tensors()) {
    const std::string& name = info.name;
    if (!name.starts_with("roberta.")) continue;
    std::vector<float> a(static_cast<std::size_t>(after.shape(name).numel())), b(a.size());
    before.read<float>(name, b);
    after.read<float>(name, a);
    EXPECT_EQ(a, b) << name;
    ++same;
  }
  EXPECT_GT(same, 10u);
}

/// What is saved is the model with its adapters, which stand beside it, and only query and value of
/// the encoder have changed.
TEST_F(FineTuning, TrainsAdapters) {
  write_classes();
  const auto task = classes();
  ef::FineTuningOptions how = options(20);
  how.lora_rank = 4;
  how.lora_alpha = 64;
  const ef::SeedsResult result = train(task, output_, how);
  EXPECT_GE(result.saved.metrics[0], 0.9);
  using Model = ef::RobertaForSequenceClassification<float>;
  auto base = std::get<Model>(ef::model_for(task, model_, how.seed).model());
  const auto adapters = ef::Lora<float, Model>::from_pretrained(base, output_ + "/adapter");
  EXPECT_EQ(adapters.options().task_type, "SEQ_CLS");
  EXPECT_EQ(adapters.options().modules_to_save, std::vector<std::string>{"classifier"});
  const Model merged = adapters.merged();
  const Model saved = Model::from_pretrained(output_);
  const auto original = ef::named_parameters(base);
  const auto sums = ef::named_parameters(merged);
  const auto found = ef::named_parameters(saved);
  ASSERT_EQ(sums.size(), found.size());
  for (std::size_t i = 0; i < sums.size(); ++i) {
    const std::string& name = sums[i].name;
    EXPECT_EQ(sums[i].value().matrix(), found[i].value().matrix()) << name;
    const bool adapted = name.ends_with("query.weight") || name.ends_with("value.weight");
    if (!name.starts_with("roberta.")) continue;
    EXPECT_EQ(found[i].value().matrix() == original[i].value().matrix(), !adapted) << name;
  }
}

TEST_F(FineTuning, NamesFileAndLineOfWhatIsWrong) {
  write_classes();
  const std::string good = ef::read_file(files_.train);
  const auto refuse = [&](auto&& make, const std::string& train, const std::string& dev,
                          std::vector<std::string> parts) {
    ef::write_file(files_.train, train);
    ef::write_file(files_.dev, dev);
    expect_parts(message_of<ef::Error>([&] { (void)make(); }), parts);
  };
  const auto single = [&] { return classes(); };
  const auto numbers = [&] { return classes(ef::ClassificationKind::regression); };
  const auto tags = [&] { return ef::TaggingTask<float>(*tokenizer_, config_, files_); };
  const auto answers = [&] { return ef::AnsweringTask<float>(tokenizer_, config_, files_); };
  std::string longest = "sentence\tlabel\n";
  for (int i = 0; i < 70; ++i) longest += " the";
  refuse(single, good, "sentence\tlabel\nx\tpraise\ny\tshame\n",
         {files_.dev + " line 3", "'shame'", "blame, praise", files_.train});
  refuse(single, "sentence\tlabel\nx\tpraise\n", good, {files_.train, "1 different", "2"});
  refuse(single, "sentence\tlabel\nx\tpraise\ny\t\n", good, {files_.train + " line 3", "empty"});
  refuse(single, good, longest + "\tblame\n", {files_.dev + " line 2", "64", "max_length"});
  refuse(numbers, "sentence\tscore\nx\tnan\n", good, {files_.train + " line 2", "nan"});
  refuse(tags, "x\tO\ny\tB-A\n", "x\tO\n\nx\tO\ny\tB-C\n", {files_.dev + " line 4", "'B-C'"});
  refuse(tags, "x\tO\ny\tA\n", "x\tO\n", {files_.train + " line 2", "'A'"});
  const auto squad = [](const std::string& answer) {
    return R"({"data":[{"paragraphs":[{"context":"a b c","qas":[{"id":"7","question":"?",)"
           R"("answers":[)" +
           answer + "]}]}]}]}";
  };
  refuse(answers, squad(R"({"text":"b"})"), squad(""), {files_.train, "'7'", "answer_start"});
  refuse(answers, squad(R"({"text":"b","answer_start":1})"), squad(""),
         {files_.train, "'7'", "'b'"});
  refuse(answers, squad(R"({"text":"b","answer_start":-1})"), squad(""),
         {files_.train, "answer_start"});
  const std::string answered = squad(R"({"text":"b","answer_start":2})");
  refuse(answers, answered, squad(""), {files_.dev, "'7'", "no answers"});
  refuse(answers, squad(""), answered, {files_.train, "'7'", "no answers"});
  std::string talkative = answered;
  talkative.insert(talkative.find("?"), std::string(300, '?'));
  refuse(answers, answered, talkative, {files_.dev, "question '7'"});
  refuse(numbers, "sentence\tscore\nx\t1\n", "sentence\tscore\nx\t1\n",
         {files_.dev, "one text", "2"});
  files_.columns.pair = "label";
  refuse(single, good, good, {files_.train, "'label'", "second text"});
  files_.columns.pair.clear();
  refuse(answers, R"({"data":[]})", squad(""), {files_.train, "no questions"});
  files_.max_length = 65;
  refuse(single, good, good, {"max_length", "65", "64"});
}

TEST_F(FineTuning, RefusesOptionsOutOfRange) {
  write_classes();
  const auto task = classes();
  const auto refuse = [&](auto&& change, const std::vector<std::string>& parts) {
    ef::FineTuningOptions how = options();
    change(how);
    expect_parts(message_of<ef::ConfigError>([&] { (void)train(task, output_, how); }), parts);
    EXPECT_FALSE(ef::exists(output_));
  };
  refuse([](auto& how) { how.epochs = 0; }, {"epochs", "0"});
  refuse([](auto& how) { how.batch = 0; }, {"batch"});
  refuse([](auto& how) { how.learning_rate = 0; }, {"learning_rate"});
  refuse([](auto& how) { how.learning_rate = INFINITY; }, {"learning_rate", "inf"});
  refuse([](auto& how) { how.warmup = -1; }, {"warmup"});
  refuse([](auto& how) { how.weight_decay = -1; }, {"weight_decay"});
  refuse([](auto& how) { how.clip = NAN; }, {"clip", "nan"});
  refuse([](auto& how) { how.power = -1; }, {"power"});
  refuse([](auto& how) { how.lora_alpha = NAN; }, {"lora_alpha", "nan"});
  refuse([](auto& how) { how.patience = -1; }, {"patience"});
  refuse([](auto& how) { how.save_every = -1; }, {"save_every"});
  refuse([](auto& how) { how.layer_decay = 0; }, {"layer_decay"});
  refuse([](auto& how) { how.moving_average = 1; }, {"moving_average"});
  refuse([](auto& how) { how.lora_rank = -1; }, {"lora_rank"});
  refuse([](auto& how) { how.lora_rank = 2, how.freeze_encoder = true; }, {"freeze_encoder", "2"});
  refuse([](auto& how) { how.schedule = "triangle"; }, {"triangle", "linear"});
  refuse([](auto& how) { how.metric = "bleu"; }, {"bleu", "accuracy, f1, matthews_correlation"});
}

TEST(EarlyStopping, CountsFromTheBestValue) {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  ef::EarlyStopping stopping(2);
  EXPECT_TRUE(stopping.improves(nan));
  EXPECT_TRUE(stopping.improves(-1));
  EXPECT_FALSE(stopping.improves(-1));
  EXPECT_FALSE(stopping.stops());
  EXPECT_FALSE(stopping.improves(nan));
  EXPECT_TRUE(stopping.stops());
  EXPECT_EQ(stopping.best(), 2);
  EXPECT_TRUE(stopping.improves(0));
  EXPECT_FALSE(stopping.stops());
}

}  // namespace fine_tuning_test
