// Packs a model's weights into one file, which every other program takes as --model: it is mapped
// and used where it lies, at once. The tokenizer is looked for beside it.
//   convert --model roberta-base --precision int8 --output roberta-base/int8.packed
// Or writes the folder again with half the bytes, for any program that reads such folders.
//   convert --model roberta-base --dtype bfloat16 --output roberta-half
#include "eigenformer/models/auto_model.hpp"

#include "common.hpp"

namespace ef = eigenformer;
using examples::Program;

int main(int argc, char** argv) {
  Program program("Packs a model's weights into one file that needs no loading.");
  std::string dtype;
  program.app.get_option("--output")->required()->description("the file, or folder with --dtype");
  CLI::Option* precision = program.app.get_option("--precision");
  precision->check(CLI::IsMember({"float", "bf16", "int8"}));
  program.app.add_option("--dtype", dtype, "write a folder whose weights are float32 or bfloat16")
      ->check(CLI::IsMember({"float32", "bfloat16"}))
      ->excludes(precision);
  return program.run(argc, argv, [&] {
    if (dtype.empty()) {
      const ef::LoadOptions options{.precision = program.precision(), .pack = true};
      return ef::with_model<float>(program.model, options,
                                   [&](const auto& model) { model.save_packed(program.output); });
    }
    ef::with_model<float>(program.model, {.keep_pooler = true}, [&](const auto& model) {
      ef::FolderUpdate update(program.output);
      if (dtype == "bfloat16")
        model.template save_pretrained<ef::BFloat16>(update);
      else
        model.save_pretrained(update);
      examples::copy_tokenizer(program.model, update.path());
      update.commit();
    });
  });
}
