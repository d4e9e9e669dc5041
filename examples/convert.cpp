// Packs a model's weights into one file, which every other program takes as --model: it is mapped
// and used where it lies, at once. The tokenizer is looked for beside it.
//   convert --model roberta-base --precision int8 --output roberta-base/int8.packed
#include "eigenformer/models/auto_model.hpp"

#include "common.hpp"

namespace ef = eigenformer;
using examples::Program;

int main(int argc, char** argv) {
  Program program("Packs a model's weights into one file that needs no loading.");
  program.app.get_option("--output")->required()->description("the file");
  program.app.get_option("--precision")->check(CLI::IsMember({"float", "bf16", "int8"}));
  return program.run(argc, argv, [&] {
    const ef::LoadOptions options{.precision = program.precision(), .pack = true};
    ef::with_model<float>(program.model, options,
                          [&](const auto& model) { model.save_packed(program.output); });
  });
}
