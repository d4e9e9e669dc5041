// Says which of a model's labels a text has, or a pair of texts with a tab between them.
//   classify --model DIR "What a delightful book."
#include "eigenformer/pipelines/text_classification.hpp"

#include "common.hpp"

namespace ef = eigenformer;
using examples::Line;
using examples::Program;

namespace {

void print_readable(const Line& line, const std::vector<ef::LabelScore>& labels, bool numbers) {
  std::printf("%s\n", line.input.c_str());
  for (const ef::LabelScore& label : labels) {
    if (numbers)
      std::printf("  %9.4f  %s\n", label.score, label.label.c_str());
    else
      examples::print_probability(label.score, label.label);
  }
}

}  // namespace

int main(int argc, char** argv) {
  Program program("Says which of a model's labels a text, or a pair of texts, has.");
  ef::TextClassificationOptions options{.top_k = 0};
  program.app.add_option("--top", options.top_k, "labels for each text; default: all")
      ->check(CLI::Range(1, 1 << 30));
  return program.run(argc, argv, [&] {
    program.with_scalar([&]<class Scalar>() {
      auto classify = ef::BasicTextClassification<Scalar>::from_pretrained(
          program.model, program.context(), program.precision());
      const auto& config = classify.model().config();
      const bool numbers = classify.function() == ef::ClassificationFunction::none;
      program.for_each_line([&](const Line& line) {
        const ef::Encoding text = program.encode(classify.tokenizer(), line, config.max_tokens());
        ef::Batch batch;
        batch.add(text.ids, text.type_ids);
        const std::vector<ef::LabelScore> labels = classify(batch, options).front();
        if (!program.json)
          print_readable(line, labels, numbers);
        else if (numbers && config.num_labels == 1)  // regression
          Program::print({{"score", labels.front().score}});
        else
          Program::print(examples::labels_to_json(labels));
      });
    });
  });
}
