// Says which of any labels fits a text best, by a model for natural language inference.
//   zero_shot --model DIR --label politics --label sports "Who are you voting for?"
#include "eigenformer/pipelines/zero_shot_classification.hpp"

#include "common.hpp"

namespace ef = eigenformer;
using examples::Line;
using examples::Program;

int main(int argc, char** argv) {
  Program program("Says which of any labels fits a text best. A text too long loses its end.");
  std::vector<std::string> labels;
  ef::ZeroShotOptions options;
  program.app.add_option("--label", labels, "a label (repeatable)")
      ->required()
      ->allow_extra_args(false);
  program.app
      .add_option("--template", options.hypothesis_template, "sentence in which {} is the label")
      ->capture_default_str();
  program.app.add_flag("--multi-label", options.multi_label, "judge each label for itself");
  return program.run(argc, argv, [&] {
    options.max_length = program.max_length;
    program.with_scalar([&]<class Scalar>() {
      auto classify = ef::BasicZeroShotClassification<Scalar>::from_pretrained(
          program.model, program.context(), program.precision());
      if (!classify.entailment_id()) {
        const auto& config = classify.model().config();
        std::fprintf(stderr,
                     "warning: no label of the model means entailment; %s is taken for it\n",
                     config.label(config.num_labels - 1).c_str());
      }
      program.for_each_line([&](const Line& line) {
        ef::check(!line.pair.has_value(), "has a tab; labels are for one text, not for a pair");
        const std::vector<ef::LabelScore> scores = classify(line.text, labels, options);
        if (program.json) return Program::print(examples::labels_to_json(scores));
        std::printf("%s\n", line.input.c_str());
        for (const ef::LabelScore& label : scores) {
          examples::print_probability(label.score, label.label);
        }
      });
    });
  });
}
