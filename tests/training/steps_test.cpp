// Twenty updates of small models with each head, loss and optimizer, against PyTorch in float64
// (tests/oracle/training_fixtures.py): losses, gradient norms and the parameters in the end.
#include <filesystem>
#include <numeric>

#include <gtest/gtest.h>

#include "eigenformer/io/json.hpp"
#include "eigenformer/models/auto_model.hpp"
#include "eigenformer/training/optimizer.hpp"
#include "eigenformer/training/schedule.hpp"

namespace steps_test {

namespace ef = eigenformer;
using ef::Index;
using ef::Tensor;
using ef::TokenId;

const std::string fixtures = EIGENFORMER_FIXTURES "/training";
constexpr Index steps = 20;

/// One part of a batch with its labels.
struct Part {
  ef::Batch batch;
  std::vector<TokenId> labels;  // padded as the ids are
  std::vector<double> numbers;
  std::vector<std::size_t> kept;  // the padded place of each token
};

class Expected {
 public:
  explicit Expected(const std::string& name)
      : folder(fixtures + "/" + name),
        file_(ef::SafetensorsFile::open(folder + "/expected.safetensors")),
        options(ef::Json::parse(file_.metadata().at("options"))) {}

  template <class T>
  [[nodiscard]] std::vector<T> read(const std::string& name) const {
    std::vector<T> all(static_cast<std::size_t>(file_.shape(name).numel()));
    file_.read<T>(name, all);
    return all;
  }
  [[nodiscard]] Part part(Index step, Index number) const {
    const std::string at = "." + std::to_string(step) + "." + std::to_string(number);
    const ef::Shape shape = file_.shape("input_ids" + at);
    const auto mask = read<std::uint8_t>("attention_mask" + at);
    Part part;
    part.batch = ef::Batch::from_padded(read<TokenId>("input_ids" + at), shape[0], shape[1], mask);
    if (file_.info("labels" + at).dtype == ef::DType::f64)
      part.numbers = read<double>("labels" + at);
    else
      part.labels = read<TokenId>("labels" + at);
    for (std::size_t i = 0; i < mask.size(); ++i) {
      if (mask[i] != 0) part.kept.push_back(i);
    }
    return part;
  }

  std::string folder;

 private:
  ef::SafetensorsFile file_;

 public:
  ef::Json options;
};

ef::CrossEntropyOptions cross_entropy_options(const ef::Json& options) {
  return {.label_smoothing = options.at("smoothing"),
          .class_weights = options.at("class_weights").get<std::vector<double>>()};
}

/// The loss of a part, and over how many labels it is the mean.
template <class Scalar>
std::pair<Tensor<Scalar>, Index> loss_of(ef::Context& cx,
                                         const ef::RobertaForMaskedLM<Scalar>& model,
                                         const Part& part, const ef::Json&) {
  std::vector<Index> positions;
  std::vector<TokenId> labels;
  for (std::size_t i = 0; i < part.kept.size(); ++i) {
    if (part.labels[part.kept[i]] == -100) continue;
    positions.push_back(static_cast<Index>(i));
    labels.push_back(part.labels[part.kept[i]]);
  }
  return {ef::cross_entropy(cx, model(cx, part.batch, positions), labels), labels.size()};
}

template <class Scalar>
std::pair<Tensor<Scalar>, Index> loss_of(ef::Context& cx,
                                         const ef::RobertaForTokenClassification<Scalar>& model,
                                         const Part& part, const ef::Json&) {
  std::vector<TokenId> labels;
  for (const std::size_t at : part.kept) labels.push_back(part.labels[at]);
  return {model.loss(cx, model(cx, part.batch), labels), labels.size()};
}

template <class Scalar>
std::pair<Tensor<Scalar>, Index> loss_of(ef::Context& cx,
                                         const ef::RobertaForQuestionAnswering<Scalar>& model,
                                         const Part& part, const ef::Json&) {
  const auto texts = static_cast<std::size_t>(part.batch.segments());
  const std::span<const TokenId> labels(part.labels);
  return {
      model.loss(cx, model(cx, part.batch), part.batch, labels.first(texts), labels.subspan(texts)),
      1};
}

template <class Scalar>
std::pair<Tensor<Scalar>, Index> loss_of(ef::Context& cx,
                                         const ef::RobertaForMultipleChoice<Scalar>& model,
                                         const Part& part, const ef::Json&) {
  return {model.loss(cx, model(cx, part.batch, 3), part.labels), 1};
}

template <class Scalar>
std::pair<Tensor<Scalar>, Index> loss_of(ef::Context& cx,
                                         const ef::RobertaForSequenceClassification<Scalar>& model,
                                         const Part& part, const ef::Json& options) {
  const Tensor<Scalar> logits = model(cx, part.batch);
  if (part.numbers.empty()) {
    return {ef::cross_entropy(cx, logits, part.labels, cross_entropy_options(options)), 1};
  }
  Tensor<Scalar> numbers(logits.shape());
  std::copy(part.numbers.begin(), part.numbers.end(), numbers.data());
  return {model.loss(cx, logits, numbers), 1};
}

template <class Scalar, template <class> class Optimizer, class Model>
void expect_training(const Expected& expected, Model model, double tolerance) {
  const ef::Json& o = expected.options;
  const std::string frozen = o.at("frozen");
  for (const auto& named : ef::named_parameters(model)) {
    if (!frozen.empty() && named.name.find(frozen) != named.name.npos) {
      named.parameter.trainable = false;
    }
  }
  Optimizer<Scalar> optimizer(
      {.beta1 = o.at("betas").at(0),
       .beta2 = o.at("betas").at(1),
       .eps = o.at("eps"),
       .weight_decay = o.at("weight_decay"),
       .correct_bias = o.at("optimizer") != "bert",
       .rate_factor = ef::layerwise_rate(model.config().num_hidden_layers, o.at("layer_decay"))});
  const double peak = o.at("lr");
  const ef::Schedule schedule{.decay = ef::decay_from_name(o.at("schedule").get<std::string>()),
                              .peak = peak,
                              .warmup_steps = o.at("warmup"),
                              .total_steps = steps,
                              .end = 0.1 * peak,
                              .power = 2};
  const auto losses = expected.read<double>("losses");
  const auto norms = expected.read<double>("norms");
  ef::Context cx(2);
  for (Index step = 0; step < steps; ++step) {
    ef::Gradients<Scalar> gradients;
    double sum = 0;
    Index total = 0;
    for (Index number = 0; number < o.at("parts").get<Index>(); ++number) {
      ef::Tape<Scalar> tape;
      cx.tape = &tape;
      const auto [loss, count] = loss_of(cx, model, expected.part(step, number), o);
      cx.tape = nullptr;
      gradients.add(tape.backward(loss, static_cast<Scalar>(count)));
      sum += static_cast<double>(loss.item()) * static_cast<double>(count);
      total += count;
    }
    const double share = 1 / static_cast<double>(total);
    const double norm = ef::gradient_norm(model, gradients) * share;
    const auto at = static_cast<std::size_t>(step);
    ASSERT_NEAR(sum * share, losses[at], tolerance * losses[at]) << "update " << step;
    ASSERT_NEAR(norm, norms[at], tolerance * norms[at]) << "update " << step;
    optimizer.step(cx, model, gradients, schedule(step),
                   share * ef::clip_factor(norm, o.at("clip")));
  }
  EXPECT_EQ(optimizer.steps(), steps);
  // Adam makes whole steps of gradients that are nothing but rounding, such as those of key biases:
  // in float such parameters drift apart, without effect on the loss.
  if (std::is_same_v<Scalar, float>) return;
  for (const auto& named : ef::named_parameters(model)) {
    if (named.tied) continue;
    const auto truth = expected.read<double>("final." + std::string(named.name));
    const auto found = named.value();
    double largest = 0, difference = 0;
    for (std::size_t i = 0; i < truth.size(); ++i) {
      largest = std::max(largest, std::abs(truth[i]));
      difference = std::max(difference, std::abs(static_cast<double>(found.data()[i]) - truth[i]));
    }
    EXPECT_LE(difference, 10 * tolerance * largest) << named.name;
  }
}

class Training : public ::testing::TestWithParam<std::string> {
 protected:
  template <class Scalar>
  static void expect_training(double tolerance) {
    const Expected expected(GetParam());
    ef::with_model<Scalar>(expected.folder, {}, [&]<class Model>(Model model) {
      constexpr bool headed = requires { model.roberta(); };
      if constexpr (headed && !std::is_same_v<Model, ef::RobertaForCausalLM<Scalar>>) {
        if (expected.options.at("optimizer") == "lamb")
          steps_test::expect_training<Scalar, ef::Lamb>(expected, std::move(model), tolerance);
        else
          steps_test::expect_training<Scalar, ef::AdamW>(expected, std::move(model), tolerance);
      } else {
        FAIL() << "no fixture has this class";
      }
    });
  }
};

std::vector<std::string> names() {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(fixtures)) {
    names.push_back(entry.path().filename());
  }
  std::sort(names.begin(), names.end());
  return names;
}

TEST_P(Training, InDouble) { expect_training<double>(1e-9); }
TEST_P(Training, InFloat) { expect_training<float>(1e-3); }
INSTANTIATE_TEST_SUITE_P(Steps, Training, ::testing::ValuesIn(names()),
                         [](const auto& test) { return test.param; });

}  // namespace steps_test
