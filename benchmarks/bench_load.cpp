// Loading a model whose file is in the page cache: bench_load [--model DIR] [benchmark options].
// Without --model, a folder of roberta-base's size with random numbers is written first. Rows are
//   bench_load/touch_mapped_file             what reading the weights costs at least: one byte of
//                                            each page of model.safetensors
//   bench_load/load/PRECISION/CLASS          from_pretrained of the folder, packed on all threads
//   bench_load/load_packed/PRECISION/CLASS   from_pretrained of a packed file
//   bench_load/first_result_packed/PRECISION/CLASS/THREADS   the same with a forward pass of 16
//                                            tokens, pages of the file mapped anew each time
// CLASS is encoder (RobertaModel) or lm (RobertaForMaskedLM). Counters are the MiB that a process
// of its own holds after a pass of 512 tokens: `resident`, of which the system cannot take back
// `anonymous` ones.
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <benchmark/benchmark.h>

#include "eigenformer/models.hpp"

namespace ef = eigenformer;

namespace {

using Encoder = ef::RobertaModel<float>;
using MaskedLm = ef::RobertaForMaskedLM<float>;

/// Writes a folder of roberta-base's size. The numbers repeat: drawing 125 million takes long.
void write_folder(const std::string& folder) {
  ef::RobertaConfig config;
  config.vocab_size = 50265;
  config.max_position_embeddings = 514;
  config.type_vocab_size = 1;
  config.layer_norm_eps = 1e-5;
  MaskedLm model(config, ef::Initializer::none());
  const ef::Rng rng(1);
  std::vector<float> pattern(4093);
  for (std::size_t i = 0; i < pattern.size(); ++i) {
    pattern[i] = 0.02f * static_cast<float>(rng.normal(0, i));
  }
  for (const auto& named : ef::named_parameters(model)) {
    if (named.tied) continue;
    named.parameter.allocate();
    ef::Tensor<float> numbers = named.value();
    for (ef::Index i = 0; i < numbers.numel(); ++i) {
      numbers.data()[i] = pattern[static_cast<std::size_t>(i) % pattern.size()];
    }
  }
  model.save_pretrained(folder);
}

ef::Batch text_of(ef::Index length) {
  ef::Batch batch;
  std::vector<ef::TokenId> ids(static_cast<std::size_t>(length));
  for (std::size_t t = 0; t < ids.size(); ++t) ids[t] = static_cast<ef::TokenId>(2 + 31 * t);
  batch.add(ids);
  return batch;
}

void touch(benchmark::State& state, const std::string& path) {
  for (auto _ : state) {
    const auto file = ef::MappedFile::open(path);
    int sum = 0;
    for (std::size_t i = 0; i < file->size(); i += 4096) sum += static_cast<int>(file->data()[i]);
    benchmark::DoNotOptimize(sum);
  }
  state.SetBytesProcessed(static_cast<std::int64_t>(std::filesystem::file_size(path)) *
                          state.iterations());
}

/// MiB of a process of its own after a pass of 512 tokens: what main() prints for --resident.
void count_memory(benchmark::State& state, const std::string& type, const std::string& path,
                  std::string_view precision) {
  const std::string self = std::filesystem::read_symlink("/proc/self/exe");
  const std::string command =
      ef::concat("'", self, "' --resident ", type, " '", path, "' ", precision);
  std::FILE* const answer = ::popen(command.c_str(), "r");
  long resident = 0;
  long anonymous = 0;
  if (std::fscanf(answer, "%ld %ld", &resident, &anonymous) != 2) state.SkipWithError("no answer");
  ::pclose(answer);
  state.counters["resident"] = static_cast<double>(resident) / 1024;
  state.counters["anonymous"] = static_cast<double>(anonymous) / 1024;
}

template <class Model>
void print_memory(const std::string& path, const ef::LoadOptions& options) {
  {
    const Model model = Model::from_pretrained(path, options);
    ef::Context cx;
    benchmark::DoNotOptimize(
        model(cx, text_of(std::min<ef::Index>(512, model.config().max_tokens()))));
    std::ifstream status("/proc/self/status");
    std::map<std::string, long> kib;
    for (std::string word; status >> word;) {
      if (word == "VmRSS:" || word == "RssAnon:") status >> kib[word];
    }
    std::printf("%ld %ld\n", kib["VmRSS:"], kib["RssAnon:"]);
  }
}

template <class Model>
void load(benchmark::State& state, const std::string& path, const ef::LoadOptions& options) {
  for (auto _ : state) {
    std::optional<Model> model = Model::from_pretrained(path, options);
    state.PauseTiming();
    model.reset();
    state.ResumeTiming();
  }
}

template <class Model>
void first_result(benchmark::State& state, const std::string& path, int threads) {
  ef::Context cx(threads);
  const ef::Batch batch = text_of(16);
  for (auto _ : state) {
    std::optional<Model> model = Model::from_pretrained(path);
    benchmark::DoNotOptimize((*model)(cx, batch));
    state.PauseTiming();
    model.reset();
    state.ResumeTiming();
  }
}

template <class Model>
void add_rows(const std::string& type, const std::string& folder, const std::string& scratch) {
  const auto row = [](const std::string& name, const std::function<void(benchmark::State&)>& body) {
    benchmark::RegisterBenchmark(("bench_load/" + name).c_str(), body)
        ->Unit(benchmark::kMillisecond);
  };
  for (const ef::Precision precision :
       {ef::Precision::full, ef::Precision::bf16, ef::Precision::int8}) {
    const ef::LoadOptions options{.precision = precision, .pack = true};
    const std::string word(name_of(precision));
    const std::string file = ef::concat(scratch, "/", word, ".", type);
    const auto packed = [=] {  // written when it is first needed
      if (!ef::exists(file)) Model::from_pretrained(folder, options).save_packed(file);
      return file;
    };
    row("load/" + word + "/" + type, [=](auto& state) {
      load<Model>(state, folder, options);
      count_memory(state, type, folder, word);
    });
    row("load_packed/" + word + "/" + type, [=](auto& state) {
      load<Model>(state, packed(), {});
      count_memory(state, type, file, word);
    });
    for (const int threads : {1, 2}) {
      row("first_result_packed/" + word + "/" + type + "/" + std::to_string(threads),
          [=](auto& state) { first_result<Model>(state, packed(), threads); });
    }
  }
}

/// A folder that goes when the program ends.
struct TemporaryFolder {
  TemporaryFolder() : path(std::filesystem::temp_directory_path() / "bench_load.XXXXXX") {
    ef::check<ef::IoError>(::mkdtemp(path.data()) != nullptr, path, ": cannot be made");
  }
  ~TemporaryFolder() { std::filesystem::remove_all(path); }
  std::string path;
};

int run(std::vector<char*> arguments) {
  std::vector<std::string> words(arguments.begin() + 1, arguments.end());
  if (words.size() == 4 && words[0] == "--resident") {
    ef::LoadOptions options{.pack = true};
    for (const auto each : {ef::Precision::full, ef::Precision::bf16, ef::Precision::int8}) {
      if (words[3] == name_of(each)) options.precision = each;
    }
    if (words[1] == "lm")
      print_memory<MaskedLm>(words[2], options);
    else
      print_memory<Encoder>(words[2], options);
    return 0;
  }
  const TemporaryFolder scratch;
  std::string folder;
  if (words.size() > 1 && words[0] == "--model") {
    folder = words[1];
    arguments.erase(arguments.begin() + 1, arguments.begin() + 3);
  }
  int count = static_cast<int>(arguments.size());
  benchmark::Initialize(&count, arguments.data());
  if (benchmark::ReportUnrecognizedArguments(count, arguments.data())) return 2;
  if (folder.empty()) write_folder(folder = scratch.path + "/model");
  benchmark::RegisterBenchmark("bench_load/touch_mapped_file", touch, folder + "/model.safetensors")
      ->Unit(benchmark::kMillisecond);
  add_rows<Encoder>("encoder", folder, scratch.path);
  add_rows<MaskedLm>("lm", folder, scratch.path);
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return run({argv, argv + argc});
  } catch (const std::exception& problem) {
    std::fprintf(stderr, "error: %s\n", problem.what());
    return 1;
  }
}
