// Shows what a model folder, or one safetensors file, holds.
//   info --model roberta-base
#include "eigenformer/models/auto_model.hpp"

#include "common.hpp"

namespace ef = eigenformer;
using examples::Program;

namespace {

void print_names(const char* what, const std::vector<std::string>& names) {
  if (names.empty()) return;
  std::printf("%s\n", what);
  for (const std::string& name : names) std::printf("  %s\n", name.c_str());
}

}  // namespace

int main(int argc, char** argv) {
  Program program("Shows what a model folder, or one safetensors file, holds.");
  return program.run(argc, argv, [&] {
    const ef::Checkpoint checkpoint = ef::Checkpoint::open(program.model);
    ef::Json json{{"architecture", nullptr}, {"parameters", 0}, {"tensors", ef::Json::array()}};
    ef::KeyMatch match;
    std::vector<std::string> unknown_config;
    if (ef::is_directory(program.model)) {
      ef::with_model_class<float>(program.model,
                                  [&]<class Model>(std::type_identity<Model>, const auto& config) {
                                    if (!config.architectures.empty())
                                      json["architecture"] = config.architectures.front();
                                    match = Model::match(config, checkpoint);
                                    unknown_config = config.unknown_keys();
                                  });
    }
    ef::Index parameters = 0;  // integers are buffers, not parameters
    for (const std::string& name : checkpoint.names()) {
      const ef::TensorInfo& info = checkpoint.info(name);
      const bool real = info.dtype_name.starts_with('F') || info.dtype_name == "BF16";
      if (real) parameters += info.numel();
      json["tensors"].push_back(
          {{"name", name}, {"dtype", info.dtype_name}, {"shape", info.shape}});
    }
    json["parameters"] = parameters;
    json["missing"] = match.missing;
    json["unexpected"] = match.unexpected;
    if (program.json) return Program::print(json);

    std::printf("%s\n", program.model.c_str());
    if (json["architecture"].is_string()) {
      std::printf("architecture  %s\n", json["architecture"].get<std::string>().c_str());
    }
    std::printf("parameters    %td in %zu tensors\n", parameters, checkpoint.size());
    for (const std::string& name : checkpoint.names()) {
      const ef::TensorInfo& info = checkpoint.info(name);
      std::printf("  %-5s %-16s %s\n", std::string(info.dtype_name).c_str(),
                  ef::detail::shape_text(info.shape).c_str(), name.c_str());
    }
    print_names("missing: the model has these, the file does not", match.missing);
    print_names("unexpected: the file has these, the model does not", match.unexpected);
    print_names("of another shape", match.mismatched);
    print_names("keys of config.json that the model does not know", unknown_config);
  });
}
