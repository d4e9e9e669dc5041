// Finds the names and other entities in texts, with a model for token classification.
//   tag --model bert-ner "Moses went up to Mount Sinai."
#include <unistd.h>

#include <cstdlib>
#include <map>
#include <string>
#include <vector>

#include "eigenformer/pipelines/token_classification.hpp"

#include "common.hpp"

namespace ef = eigenformer;
using examples::Line;
using examples::Program;

namespace {

const std::map<std::string, ef::AggregationStrategy> strategies = {
    {"none", ef::AggregationStrategy::none},
    {"simple", ef::AggregationStrategy::simple},
    {"first", ef::AggregationStrategy::first},
    {"average", ef::AggregationStrategy::average},
    {"max", ef::AggregationStrategy::max}};

/// The text with each entity in brackets behind its type, on a terminal in a colour of the type;
/// then the entities one by one.
class Printer {
 public:
  void operator()(const std::string& text, const std::vector<ef::Entity>& entities) {
    std::string marked;
    std::size_t at = 0;
    for (const ef::Entity& entity : entities) {
      if (entity.start < at || entity.text.empty()) continue;  // overlaps the one before
      marked += text.substr(at, entity.start - at);
      marked += painted(entity, "[" + entity.type + " " + entity.text + "]");
      at = entity.end;
    }
    std::printf("%s\n", (marked + text.substr(at)).c_str());
    for (const ef::Entity& entity : entities) {
      std::printf("  %5.1f %%  %s\n", 100 * entity.score,
                  painted(entity, ef::concat(entity.type, "  ", entity.text)).c_str());
    }
  }

 private:
  std::string painted(const ef::Entity& entity, const std::string& text) {
    if (!colours_) return text;
    const std::size_t number = numbers_.emplace(entity.type, numbers_.size()).first->second;
    return ef::concat("\033[1;", 31 + number % 6, "m", text, "\033[0m");
  }

  bool colours_ = ::isatty(STDOUT_FILENO) != 0 && std::getenv("NO_COLOR") == nullptr;
  std::map<std::string, std::size_t> numbers_;  // of the types, in the order in which they came
};

ef::Json to_json(const std::vector<ef::Entity>& entities) {
  ef::Json list = ef::Json::array();
  for (const ef::Entity& entity : entities) {
    list.push_back({{"type", entity.type},
                    {"start", entity.start},
                    {"end", entity.end},
                    {"text", entity.text},
                    {"score", entity.score}});
  }
  return {{"entities", std::move(list)}};
}

}  // namespace

int main(int argc, char** argv) {
  Program program("Finds the names and other entities in texts.");
  ef::TokenClassificationOptions options;
  program.app.add_option("--aggregation", options.aggregation, "how tokens become entities")
      ->transform(
          CLI::CheckedTransformer(strategies).description("{none,simple,first,average,max}"))
      ->default_str("simple");
  program.app.add_option("--stride", options.stride,
                         "read longer texts in windows that share this many tokens");
  program.app.add_option("--ignore", options.ignore_labels, "leave out this type (repeatable)")
      ->allow_extra_args(false)
      ->default_str("O");
  return program.run(argc, argv, [&] {
    options.max_length = program.max_length;
    program.with_scalar([&]<class Scalar>() {
      auto tag = ef::BasicTokenClassification<Scalar>::from_pretrained(
          program.model, program.context(), program.precision());
      Printer print;
      program.for_each_line([&](const Line& line) {
        ef::check(!line.pair, "has a tab; tag takes one text, not a pair");
        const std::vector<ef::Entity> entities = tag(line.text, options);
        if (program.json)
          Program::print(to_json(entities));
        else
          print(line.text, entities);
      });
    });
  });
}
