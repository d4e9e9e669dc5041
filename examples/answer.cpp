// Finds the answer to a question in a text.
//   answer --model DIR --question "Who made the world?" --context "In the beginning God ..."
//   answer --model DIR --squad dev-v2.0.json --output predictions.json
#include "eigenformer/pipelines/question_answering.hpp"
#include "eigenformer/pipelines/squad.hpp"

#include "common.hpp"

namespace ef = eigenformer;
using examples::Line;
using examples::Program;

namespace {

/// The answers, and the context with the best one marked.
void print_readable(const std::string& question, const std::string& context,
                    const std::vector<ef::Answer>& answers) {
  std::printf("%s\n", question.c_str());
  for (const ef::Answer& answer : answers) {
    const auto bar = static_cast<std::size_t>(std::min(answer.score, 1.0) * 40 + 0.5);
    std::printf("  %5.1f %%  %-24s %s\n", 100 * answer.score,
                answer.text.empty() ? "(no answer)" : answer.text.c_str(),
                std::string(bar, '#').c_str());
  }
  const ef::Answer& best = answers.front();
  std::string marked = context;
  if (!best.text.empty()) {
    marked.insert(static_cast<std::size_t>(best.end), "<<<");
    marked.insert(static_cast<std::size_t>(best.start), ">>>");
  }
  std::printf("%s\n", marked.c_str());
}

ef::Json to_json(const ef::Answer& answer) {
  return {{"answer", answer.text},
          {"start", answer.start},
          {"end", answer.end},
          {"score", answer.score}};
}

/// The best answer; where several are asked for, all of them too.
ef::Json to_json(const std::vector<ef::Answer>& answers, ef::Index top_k) {
  ef::Json json = to_json(answers.front());
  if (top_k > 1) {
    ef::Json& list = json["answers"] = ef::Json::array();
    for (const ef::Answer& answer : answers) list.push_back(to_json(answer));
  }
  return json;
}

template <class Scalar>
void answer_squad(ef::BasicQuestionAnswering<Scalar>& answer, const std::string& path,
                  const ef::QuestionAnsweringOptions& options, const std::string& output) {
  const ef::SquadDataset data = ef::SquadDataset::read(path);
  (void)ef::AtomicFile(output);  // what cannot be written fails now, not after hours
  examples::Progress progress;
  const auto show = [&](ef::Index done, ef::Index total) { progress.reach(done, total); };
  const ef::SquadOptions choice{.max_seq_length = options.max_seq_len, .progress = show};
  ef::write_squad_predictions(output, ef::squad_predictions(answer, data, choice));
}

}  // namespace

int main(int argc, char** argv) {
  Program program("Finds the answer to a question in a text, its context.");
  CLI::App& app = program.app;
  std::string question, context, squad;
  ef::QuestionAnsweringOptions options;
  app.get_option("text")->description("question and context, a tab between them");
  app.get_option("--input")->description("file with one such input per line");
  app.get_option("--max-length")->description("tokens of the windows that a context is read in");
  app.get_option("--output")->description("file for the predictions of --squad");
  app.add_option("--question", question, "a question");
  app.add_option("--context", context, "the text that holds the answer");
  app.add_option("--squad", squad, "SQuAD file, 1.1 or 2.0, to answer whole")
      ->excludes("text", "--input", "--question");
  for (const auto& [one, other] : {std::pair("--question", "--context"), {"--squad", "--output"}}) {
    app.get_option(one)->needs(app.get_option(other));
    app.get_option(other)->needs(app.get_option(one));
  }
  app.get_option("--question")->excludes("text", "--input");
  app.add_option("--top", options.top_k, "answers to each question")
      ->check(CLI::Range(1, 1 << 30))
      ->capture_default_str();
  app.add_flag("--impossible", options.handle_impossible_answer, "a context may hold no answer");
  return program.run(argc, argv, [&] {
    if (program.max_length > 0) options.max_seq_len = program.max_length;
    program.with_scalar([&]<class Scalar>() {
      auto answer = ef::BasicQuestionAnswering<Scalar>::from_pretrained(
          program.model, program.context(), program.precision());
      const auto print = [&](const std::string& asked, const std::string& read) {
        const std::vector<ef::Answer> answers = answer(asked, read, options);
        if (program.json)
          Program::print(to_json(answers, options.top_k));
        else
          print_readable(asked, read, answers);
      };
      if (!squad.empty()) return answer_squad(answer, squad, options, program.output);
      if (app.count("--question") > 0) return print(question, context);
      program.for_each_line([&](const Line& line) {
        ef::check(line.pair.has_value(), "has no tab, which separates question and context");
        print(line.text, *line.pair);
      });
    });
  });
}
