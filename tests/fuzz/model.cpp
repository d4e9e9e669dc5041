// A packed file, or a folder's config.json and model.safetensors where the input begins with '{':
// a model that is taken answers.
#include <string>

#include "eigenformer/models/auto_model.hpp"

#include "fuzz.hpp"

namespace eigenformer::fuzz {
namespace {

/// The packed file with the right checksum, which no fuzzer guesses.
std::string sealed(std::string bytes) {
  std::uint64_t length = 0;
  if (bytes.size() < sizeof(length)) return bytes;
  std::memcpy(&length, bytes.data(), sizeof(length));
  if (length > bytes.size() - sizeof(length)) return bytes;
  std::string header = bytes.substr(sizeof(length), length);
  const std::size_t key = header.find(detail::checksum_key);
  if (key == std::string::npos ||
      header.size() - key < detail::checksum_key.size() + detail::checksum_digits) {
    return bytes;
  }
  detail::seal_header(header);
  return bytes.replace(sizeof(length), header.size(), header);
}

const Target target_model("model", [](std::string_view input) {
  static const Folder folder;
  static Context cx(1);
  const auto answer = [](const auto& model) {
    Batch batch;
    batch.add(std::vector<TokenId>{0, 3, 2});
    passes([&] {
      const Tensor<float> logits = model(cx, batch);
      expect(logits.size(0) == 3, "each token has an answer");
    });
  };
  if (input.starts_with("{")) {
    const auto parts = split(input);
    folder.write("config.json", parts[0]);
    if (parts.size() > 1) folder.write("model.safetensors", parts[1]);
    passes([&] { answer(AutoModelForMaskedLM<float>::from_pretrained(folder.path())); });
    passes([&] { answer(AutoModel<float>::from_pretrained(folder.path())); });
  } else {
    folder.write("packed", input);
    passes([&] { (void)PackedFile::open(folder / "packed"); });
    folder.remove("packed");
    folder.write("packed", sealed(std::string(input)));
    passes([&] { answer(AutoModelForMaskedLM<float>::from_pretrained(folder / "packed")); });
    passes([&] { answer(AutoModel<float>::from_pretrained(folder / "packed")); });
    folder.remove("packed");
  }
});

}  // namespace
}  // namespace eigenformer::fuzz
