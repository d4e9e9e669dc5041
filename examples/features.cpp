// Writes hidden states, and the logits of the checkpoint's head, as arrays.
//   features --output out.safetensors "Hello world!"
#include "eigenformer/models.hpp"

#include "common.hpp"

namespace ef = eigenformer;
using examples::Line;
using examples::Program;

namespace {

/// Arrays of all inputs, kept until they are written in one go.
class Arrays {
 public:
  template <class Scalar>
  void add(const std::string& name, std::size_t input, ef::Tensor<Scalar> tensor) {
    const auto kept =
        std::make_shared<ef::Tensor<Scalar>>(tensor.contiguous() ? tensor : tensor.clone());
    const std::span<const Scalar> numbers(kept->data(), static_cast<std::size_t>(kept->numel()));
    tensors_.push_back({name + "." + std::to_string(input), ef::dtype_of<Scalar>, kept->shape(),
                        std::as_bytes(numbers)});
    owners_.push_back(kept);
  }
  void write(const std::string& path) const { ef::write_safetensors(path, tensors_); }

 private:
  std::vector<ef::TensorToWrite> tensors_;
  std::vector<std::shared_ptr<const void>> owners_;
};

ef::Tensor<std::int64_t> ids_of(const ef::Encoding& encoding) {
  ef::Tensor<std::int64_t> ids(ef::Shape{encoding.size()});
  std::copy(encoding.ids.begin(), encoding.ids.end(), ids.data());
  return ids;
}

/// Whether a pooler is among what the masked language model had no place for.
bool has_pooler(const ef::LoadReport& report) {
  return std::any_of(report.unexpected.begin(), report.unexpected.end(),
                     [](const auto& name) { return name.find("pooler.") != std::string::npos; });
}

}  // namespace

int main(int argc, char** argv) {
  Program program("Writes hidden states and logits as safetensors arrays.");
  program.app.get_option("--output")->required();
  return program.run(argc, argv, [&] {
    program.with_scalar([&]<class Scalar>() {
      const auto tokenizer = ef::Tokenizer::from_pretrained(ef::folder_of(program.model));
      const ef::LoadOptions options{.precision = program.precision(), .pack = true};
      const auto config = ef::RobertaConfig::from_pretrained(program.model);
      std::optional<ef::RobertaForMaskedLM<Scalar>> masked_lm;
      std::optional<ef::RobertaModel<Scalar>> with_pooler;
      if (examples::is_masked_lm(config)) {
        masked_lm = ef::RobertaForMaskedLM<Scalar>::from_pretrained(program.model, options);
      }
      if (!masked_lm || has_pooler(masked_lm->load_report())) {
        with_pooler = ef::RobertaModel<Scalar>::from_pretrained(program.model, options);
      }
      const ef::RobertaModel<Scalar>& encoder = with_pooler ? *with_pooler : masked_lm->roberta();
      ef::Context cx = program.context();
      Arrays arrays;
      std::vector<ef::Index> sizes;
      program.for_each_line([&](const Line& line) {
        const ef::Encoding encoding =
            program.encode(tokenizer, line, encoder.config().max_tokens());
        ef::Batch batch;
        batch.add(encoding.ids, encoding.type_ids);
        const std::size_t i = line.number - 1;
        const ef::RobertaOutput<Scalar> output = encoder.forward(cx, batch);
        arrays.add("input_ids", i, ids_of(encoding));
        arrays.add("last_hidden_state", i, output.last_hidden_state);
        if (output.pooler_output.defined()) {
          arrays.add("pooler_output", i, output.pooler_output.reshape({-1}));
        }
        if (masked_lm) arrays.add("logits", i, masked_lm->head(cx, output.last_hidden_state));
        sizes.push_back(encoding.size());
      });
      arrays.write(program.output);
      for (std::size_t i = 0; i < sizes.size(); ++i) {
        if (program.json)
          Program::print({{"tokens", sizes[i]}});
        else
          std::printf("%zu: %td tokens\n", i, sizes[i]);
      }
    });
  });
}
