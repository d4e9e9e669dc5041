// Orders the lines of a text file by how well they answer a query, with a cross-encoder. It reads
// every line with the query: for the best lines of what `search` finds.
//   rerank --model DIR --corpus lines.txt --top 3 "Who made the world?"
#include "eigenformer/pipelines/rerank.hpp"

#include "common.hpp"

namespace ef = eigenformer;
using examples::Line;
using examples::Program;

int main(int argc, char** argv) {
  Program program("Orders the lines of a corpus by how well they answer a query.");
  std::string corpus;
  ef::RerankOptions options{.top_k = 5};
  program.app.add_option("--corpus", corpus, "file with one text per line")->required();
  program.app.add_option("--top", options.top_k, "lines for each query")
      ->check(CLI::Range(1, 1 << 30))
      ->capture_default_str();
  return program.run(argc, argv, [&] {
    options.max_length = program.max_length;
    program.with_scalar([&]<class Scalar>() {
      auto rerank = ef::BasicRerank<Scalar>::from_pretrained(program.model, program.context(),
                                                             program.precision());
      const auto text_of = [](const Line& line) {
        ef::check(!line.pair.has_value(), "has a tab; queries and lines are single texts");
        return line.text;
      };
      std::vector<std::string> lines;
      Program::for_each_line_of(corpus, [&](const Line& line) { lines.push_back(text_of(line)); });
      program.for_each_line([&](const Line& line) {
        const std::string query = text_of(line);
        examples::Progress progress;
        options.progress = [&](ef::Index done, ef::Index) { progress.reach(done); };
        const std::vector<ef::RankedDocument> ranked = rerank(query, lines, options);
        ef::Json hits = ef::Json::array();
        if (!program.json) std::printf("%s\n", query.c_str());
        for (const auto& [document, score] : ranked) {
          const std::string& text = lines[static_cast<std::size_t>(document)];
          if (program.json)
            hits.push_back({{"line", document}, {"score", score}, {"text", text}});
          else
            examples::print_hit(score, document, text);
        }
        if (program.json) Program::print({{"hits", std::move(hits)}});
      });
    });
  });
}
