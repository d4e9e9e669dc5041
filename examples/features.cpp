// Writes hidden states, and the logits of the checkpoint's head, as arrays.
//   features --output out.safetensors "Hello world!"
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "eigenformer/models/auto_model.hpp"

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

/// What a head computes, by name.
template <class Scalar>
using Outputs = std::vector<std::pair<std::string, ef::Tensor<Scalar>>>;
template <class Scalar>
using Head = std::function<Outputs<Scalar>(ef::Context&, const ef::Batch&,
                                           const ef::Tensor<Scalar>& hidden)>;

/// The outputs for one text, without a batch dimension.
template <class Scalar>
Outputs<Scalar> named(const ef::Tensor<Scalar>& logits, bool of_text) {
  return {{"logits", of_text ? logits.reshape({-1}) : logits}};
}
template <class Scalar>
Outputs<Scalar> named(const ef::QuestionAnsweringOutput<Scalar>& output, bool /*of_text*/) {
  return {{"start_logits", output.start_logits}, {"end_logits", output.end_logits}};
}
template <class Scalar>
Outputs<Scalar> named(const ef::BertForPreTrainingOutput<Scalar>& output, bool /*of_text*/) {
  return {{"prediction_logits", output.prediction_logits},
          {"seq_relationship_logits", output.seq_relationship_logits.reshape({-1})}};
}
template <class Scalar>
Outputs<Scalar> named(const ef::AlbertForPreTrainingOutput<Scalar>& output, bool /*of_text*/) {
  return {{"prediction_logits", output.prediction_logits},
          {"sop_logits", output.sop_logits.reshape({-1})}};
}

template <class Scalar, class Encoder>
void write_features(const Program& program, const ef::Tokenizer& tokenizer, const Encoder& encoder,
                    const Head<Scalar>& head) {
  ef::Context cx = program.context();
  Arrays arrays;
  std::vector<ef::Index> sizes;
  program.for_each_line([&](const Line& line) {
    const ef::Encoding encoding = program.encode(tokenizer, line, encoder.config().max_tokens());
    ef::Batch batch;
    batch.add(encoding.ids, encoding.type_ids);
    const std::size_t i = line.number - 1;
    const ef::EncoderOutput<Scalar> output = encoder.forward(cx, batch);
    arrays.add("input_ids", i, ids_of(encoding));
    arrays.add("last_hidden_state", i, output.last_hidden_state);
    if (output.pooler_output.defined()) {
      arrays.add("pooler_output", i, output.pooler_output.reshape({-1}));
    }
    for (const auto& [name, tensor] : head(cx, batch, output.last_hidden_state)) {
      arrays.add(name, i, tensor);
    }
    sizes.push_back(encoding.size());
  });
  arrays.write(program.output);
  for (std::size_t i = 0; i < sizes.size(); ++i) {
    if (program.json)
      Program::print({{"tokens", sizes[i]}});
    else
      std::printf("%zu: %td tokens\n", i, sizes[i]);
  }
}

}  // namespace

int main(int argc, char** argv) {
  Program program("Writes hidden states and logits as safetensors arrays.");
  program.app.get_option("--output")->required();
  return program.run(argc, argv, [&] {
    program.with_scalar([&]<class Scalar>() {
      const auto tokenizer = ef::Tokenizer::from_pretrained(ef::folder_of(program.model));
      const ef::LoadOptions options{
          .precision = program.precision(), .pack = true, .keep_pooler = true};
      ef::with_model<Scalar>(program.model, options, [&]<class Model>(const Model& model) {
        if constexpr (requires { model.base_model(); }) {
          const auto head = [&](ef::Context& cx, const ef::Batch& batch, const auto& hidden) {
            return named(model.outputs(cx, batch, hidden), Model::reads_first_tokens);
          };
          write_features<Scalar>(program, tokenizer, model.base_model(), head);
        } else {
          write_features<Scalar>(program, tokenizer, model,
                                 [](auto&&...) { return Outputs<Scalar>(); });
        }
      });
    });
  });
}
