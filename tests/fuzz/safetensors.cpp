// A safetensors file, or where the input begins with '{', a header to which length and data are
// added: every tensor is read in every way, and what was read is written and read again.
#include "eigenformer/io/safetensors.hpp"

#include <limits>
#include <string>
#include <vector>

#include "fuzz.hpp"

namespace eigenformer::fuzz {
namespace {

const Folder& folder() {
  static const Folder made;
  return made;
}

template <class Scalar>
void read(const SafetensorsFile& file, const TensorInfo& info) {
  passes([&] {
    std::vector<Scalar> numbers(static_cast<std::size_t>(info.numel()));
    file.read<Scalar>(info.name, numbers);
    file.read_range<Scalar>(info.name, info.numel() / 2, std::span(numbers).first(0));
  });
  passes([&] {
    std::vector<Scalar> one(1);
    file.read_rows<Scalar>(info.name, 0, 1, one);
  });
  (void)file.view<Scalar>(info.name);
}

void read_all(const std::string& bytes) {
  const std::string path = folder().write("in", bytes);
  const SafetensorsFile file = SafetensorsFile::open(path);
  std::vector<TensorToWrite> tensors;
  for (const TensorInfo& info : file.tensors()) {
    expect(file.contains(info.name), "a listed tensor is found");
    expect(info.begin <= info.end && info.end <= bytes.size(), "data lie in the file");
    const auto place = file.bytes(info.name);
    expect(place.empty() || place.data() != nullptr, "data are mapped");
    read<float>(file, info);
    read<double>(file, info);
    read<std::int64_t>(file, info);
    read<std::uint8_t>(file, info);
    read<BFloat16>(file, info);
    Shape shape;
    const bool can_write = info.dtype.has_value() && passes([&] { shape = file.shape(info.name); });
    if (can_write) tensors.push_back({info.name, *info.dtype, shape, place});
  }
  if (tensors.size() != file.tensors().size()) return;
  write_safetensors(folder() / "out", tensors, file.metadata());
  const SafetensorsFile again = SafetensorsFile::open(folder() / "out");
  expect(again.metadata() == file.metadata(), "metadata are kept");
  for (const TensorToWrite& tensor : tensors) {
    expect(std::ranges::equal(again.bytes(tensor.name), tensor.bytes), "numbers are kept");
    expect(again.shape(tensor.name) == tensor.shape, "shapes are kept");
  }
}

const Target target_safetensors("safetensors", [](std::string_view input) {
  if (!input.starts_with("{")) {
    passes([&] { read_all(std::string(input)); });
    return;
  }
  std::string bytes(sizeof(std::uint64_t), '\0');
  const std::uint64_t length = input.size();
  std::memcpy(bytes.data(), &length, sizeof(length));
  for (const std::size_t data_size : {0u, 4u, 24u}) {
    passes([&] { read_all(bytes + std::string(input) + std::string(data_size, '\x3f')); });
  }
});

}  // namespace
}  // namespace eigenformer::fuzz
