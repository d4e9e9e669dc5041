// Finds the lines of a text file that mean most nearly what a query says.
//   search --corpus lines.txt --top 3 "Who made the world?"
#include "eigenformer/pipelines/search.hpp"

#include "eigenformer/pipelines/sentence_embedding.hpp"

#include "common.hpp"

namespace ef = eigenformer;
using examples::Line;
using examples::Program;
using examples::Texts;

namespace {

void print_readable(const std::string& query, const std::vector<ef::SearchHit>& hits) {
  std::printf("%s\n", query.c_str());
  for (const ef::SearchHit& hit : hits) {
    examples::print_hit(static_cast<double>(hit.score), hit.line, hit.text);
  }
}

ef::Json to_json(const std::vector<ef::SearchHit>& hits) {
  ef::Json list = ef::Json::array();
  for (const ef::SearchHit& hit : hits) {
    list.push_back({{"line", hit.line}, {"score", hit.score}, {"text", hit.text}});
  }
  return {{"hits", std::move(list)}};
}

}  // namespace

int main(int argc, char** argv) {
  Program program("Finds the lines of a corpus that are nearest to a query.");
  std::string corpus, index;
  ef::Index top_k = 5;
  CLI::Option_group* source = program.app.add_option_group("corpus");
  source->add_option("--corpus", corpus, "file with one text per line");
  source->add_option("--index", index, "file that --output wrote for a corpus, instead of that");
  source->require_option(1);
  program.app.get_option("--output")
      ->description("file for the index of the corpus")
      ->needs(source->get_option("--corpus"));
  program.app.add_option("--top", top_k, "hits for each query")
      ->check(CLI::Range(1, 1 << 30))
      ->capture_default_str();
  return program.run(argc, argv, [&] {
    program.with_scalar([&]<class Scalar>() {
      ef::Context cx = program.context();
      auto embed = ef::BasicSentenceEmbedding<Scalar>::from_pretrained(program.model, cx,
                                                                       program.precision());
      const ef::Search search = [&] {
        if (!index.empty()) return ef::Search::open(index);
        Texts texts;
        Program::for_each_line_of(
            corpus, [&](const Line& line) { texts.add(embed, line, program.max_length); });
        examples::Progress progress;
        const auto show = [&](ef::Index done, ef::Index) { progress.reach(done); };
        return ef::Search(embed(texts.tokens, {.progress = show}), texts.lines);
      }();
      ef::check<ef::ShapeError>(search.hidden() == embed.size(), index, ": has embeddings of size ",
                                search.hidden(), " but the model makes ", embed.size());
      if (!program.output.empty()) search.save(program.output);
      Texts queries;
      const auto answer = [&] {
        const auto hits = search(cx, embed(queries.tokens), top_k);
        for (std::size_t i = 0; i < hits.size(); ++i) {
          if (program.json)
            Program::print(to_json(hits[i]));
          else
            print_readable(queries.lines[i], hits[i]);
        }
        queries = {};
      };
      // Queries go together, unless somebody types them and waits.
      const std::size_t most = ::isatty(STDIN_FILENO) != 0 ? 1 : 64;
      program.for_each_line([&](const Line& line) {
        queries.add(embed, line, program.max_length);
        if (queries.lines.size() == most) answer();
      });
      answer();
    });
  });
}
