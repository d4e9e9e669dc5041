// Tags and answers, in lines: the metrics that read text.
#include <sstream>
#include <string>
#include <vector>

#include "eigenformer/training/metrics/entities.hpp"
#include "eigenformer/training/metrics/squad.hpp"

#include "fuzz.hpp"

namespace eigenformer::fuzz {
namespace {

const Target target_metrics("metrics", [](std::string_view input) {
  std::vector<std::string> lines;
  std::istringstream text{std::string(input)};
  for (std::string line; std::getline(text, line);) lines.push_back(line);

  for (const TagScheme scheme :
       {TagScheme::conll, TagScheme::iob2, TagScheme::iobes, TagScheme::bilou}) {
    passes([&] {
      Index end = 0;
      for (const EntitySpan& span : entity_spans(lines, scheme)) {
        expect(span.begin < span.end && span.end <= static_cast<Index>(lines.size()),
               "entities lie in the sentence");
        // As seqeval's: after E or S, those that L or U end begin where the one before did.
        expect(end <= span.begin || scheme == TagScheme::conll, "entities follow each other");
        end = span.end;
      }
      const std::vector<std::vector<std::string>> sentences = {lines};
      const EntityScores scores = entity_scores(sentences, sentences, scheme);
      expect(scores.micro.f1 >= 0 && scores.micro.f1 <= 1, "F1 is a fraction");
    });
  }

  std::vector<SquadExample> examples;
  for (std::size_t i = 0; i + 1 < lines.size(); i += 2) {
    examples.push_back({lines[i], {lines[i + 1], lines[0]}, static_cast<double>(i % 3) / 2});
    const std::string once = normalize_answer(lines[i]);
    expect(detail::valid_prefix(once) == once.size(), "a normalised answer is UTF-8");
  }
  passes([&] {
    const SquadScores scores = squad_scores(examples);
    for (const double score : {scores.exact_match, scores.f1}) {
      expect(score >= 0 && score <= 100.0001, "scores are percents");
    }
  });
  passes([&] { (void)squad2_scores(examples); });
});

}  // namespace
}  // namespace eigenformer::fuzz
