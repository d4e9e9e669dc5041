// Turns texts into vectors that are near each other where the texts mean the same.
//   embed --output embeddings.safetensors "In the beginning" "At the start"
#include "eigenformer/pipelines/sentence_embedding.hpp"

#include "common.hpp"

namespace ef = eigenformer;
using examples::Line;
using examples::Program;

namespace {

/// Writes all embeddings `[lines, size]` as F32.
template <class Scalar>
void write(const std::string& path, const ef::Tensor<Scalar>& embeddings) {
  const ef::Tensor<float> rows(embeddings.matrix().template cast<float>());
  const std::span<const float> numbers(rows.data(), static_cast<std::size_t>(rows.numel()));
  const ef::TensorToWrite tensor{"embeddings", ef::DType::f32, rows.shape(),
                                 std::as_bytes(numbers)};
  ef::write_safetensors(path, {&tensor, 1});
}

/// A text with the first numbers of its embedding.
template <class Scalar>
void print_readable(const std::string& text, std::span<const Scalar> embedding) {
  std::printf("%s\n ", text.c_str());
  for (const Scalar number : embedding.first(std::min<std::size_t>(embedding.size(), 8))) {
    std::printf(" %7.4f", static_cast<double>(number));
  }
  std::printf(embedding.size() > 8 ? " ... (%zu)\n" : "\n", embedding.size());
}

}  // namespace

int main(int argc, char** argv) {
  Program program("Turns texts into vectors.");
  return program.run(argc, argv, [&] {
    program.with_scalar([&]<class Scalar>() {
      auto embed = ef::BasicSentenceEmbedding<Scalar>::from_pretrained(
          program.model, program.context(), program.precision());
      examples::Texts texts;
      program.for_each_line([&](const Line& line) { texts.add(embed, line, program.max_length); });
      examples::Progress progress;
      const auto show = [&](ef::Index done, ef::Index) { progress.reach(done); };
      const ef::Tensor<Scalar> embeddings = embed(texts.tokens, {.progress = show});
      if (!program.output.empty()) write(program.output, embeddings);
      for (std::size_t i = 0; i < texts.lines.size(); ++i) {
        const std::span<const Scalar> row(embeddings.view().row(static_cast<ef::Index>(i)),
                                          static_cast<std::size_t>(embed.size()));
        if (program.json)
          Program::print({{"embedding", std::vector<Scalar>(row.begin(), row.end())}});
        else
          print_readable(texts.lines[i], row);
      }
    });
  });
}
