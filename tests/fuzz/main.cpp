// What libFuzzer calls: the target that the environment's FUZZ_TARGET names.
#include <cstdint>

#include "fuzz.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace eigenformer::fuzz;
  static const Target::Run run = [] {
    const char* name = std::getenv("FUZZ_TARGET");
    const auto found = Target::all().find(name == nullptr ? "" : name);
    expect(found != Target::all().end(), "FUZZ_TARGET names a target of this program");
    return found->second;
  }();
  run({reinterpret_cast<const char*>(data), size});
  return 0;
}
