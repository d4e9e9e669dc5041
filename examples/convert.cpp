// Packs a model's weights into one file, which every other program takes as --model: it is mapped
// and used where it lies, at once. The tokenizer is looked for beside it.
//   convert --model roberta-base --precision int8 --output roberta-base/int8.packed
#include "eigenformer/models.hpp"

#include "common.hpp"

namespace ef = eigenformer;
using examples::Program;

namespace {

template <class Model>
void convert(const Program& program) {
  const auto model =
      Model::from_pretrained(program.model, {.precision = program.precision(), .pack = true});
  model.save_packed(program.output);
}

}  // namespace

int main(int argc, char** argv) {
  Program program("Packs a model's weights into one file that needs no loading.");
  program.app.get_option("--output")->required()->description("the file");
  program.app.get_option("--precision")->check(CLI::IsMember({"float", "bf16", "int8"}));
  return program.run(argc, argv, [&] {
    if (examples::is_masked_lm(ef::RobertaConfig::from_pretrained(program.model)))
      convert<ef::RobertaForMaskedLM<float>>(program);
    else
      convert<ef::RobertaModel<float>>(program);
  });
}
