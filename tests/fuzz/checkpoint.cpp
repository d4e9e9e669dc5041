// model.safetensors.index.json and the shards "a" to "d" that it may name.
#include "eigenformer/io/checkpoint.hpp"

#include <string>
#include <vector>

#include "fuzz.hpp"

namespace eigenformer::fuzz {
namespace {

const Target target_checkpoint("checkpoint", [](std::string_view input) {
  static const Folder folder;
  const auto parts = split(input);
  folder.write("model.safetensors.index.json", parts[0]);
  for (std::size_t i = 1; i < 5; ++i) {
    const std::string shard(1, static_cast<char>('a' + i - 1));
    if (i < parts.size())
      folder.write(shard, parts[i]);
    else
      folder.remove(shard);
  }
  passes([&] {
    const Checkpoint checkpoint = Checkpoint::open(folder.path());
    expect(checkpoint.size() == checkpoint.names().size(), "each tensor has a name");
    for (const std::string& name : checkpoint.names()) {
      expect(checkpoint.contains(name), "a listed tensor is found");
      passes([&] {
        std::vector<float> numbers(static_cast<std::size_t>(checkpoint.shape(name).numel()));
        checkpoint.read<float>(name, numbers);
      });
    }
  });
});

}  // namespace
}  // namespace eigenformer::fuzz
