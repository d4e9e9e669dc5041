// Generation of one text by a model of gpt2's size with random weights, or by --model DIR: one
// token after another that the cache has CONTEXT tokens before. Rows are named
// bench_generation/PRECISION/CONTEXT/THREADS. A token reads all weights and the cache: `memory` is
// the share of what one thread can read from memory in that time.
#include <chrono>
#include <cstring>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include <benchmark/benchmark.h>

#include "eigenformer/models/gpt2.hpp"

#include "peak.hpp"

namespace ef = eigenformer;

namespace {

std::string model_folder;  // empty: random weights

using Model = ef::GPT2LMHeadModel<float>;

/// The model that is measured; made once for each precision, when its first row runs.
const Model& model(ef::Precision precision) {
  static std::map<ef::Precision, std::unique_ptr<const Model>> made;
  auto& kept = made[precision];
  if (kept != nullptr) return *kept;
  if (!model_folder.empty()) {
    const ef::LoadOptions options{.precision = precision, .pack = true};
    kept = std::make_unique<const Model>(Model::from_pretrained(model_folder, options));
    return *kept;
  }
  auto fresh = std::make_unique<Model>(ef::GPT2Config());
  ef::ThreadPool threads;
  fresh->pack(threads, precision);
  kept = std::move(fresh);
  return *kept;
}

/// Bytes of weights and cache that one token needs; those of a row of each table count for nothing.
double bytes_read(const ef::GPT2Config& config, ef::Precision precision, double context) {
  const auto hidden = static_cast<double>(config.n_embd);
  const auto inner = static_cast<double>(config.inner_size());
  const auto layers = static_cast<double>(config.n_layer);
  const double weights = layers * (4 * hidden * hidden + 2 * hidden * inner) +
                         hidden * static_cast<double>(config.vocab_size);
  return weights * ef::benchmarks::bytes_of(precision) + layers * context * 2 * hidden * 4;
}

void run(benchmark::State& state, ef::Precision precision, ef::Index context, int threads) {
  const Model& decoder = model(precision);
  const ef::GPT2Config& config = decoder.config();
  ef::Context cx(threads);
  const auto batch_of = [&](ef::Index tokens) {
    std::vector<ef::TokenId> ids(static_cast<std::size_t>(tokens));
    for (std::size_t t = 0; t < ids.size(); ++t) {
      ids[t] = static_cast<ef::TokenId>(static_cast<ef::Index>(31 * t) % config.vocab_size);
    }
    ef::Batch batch;
    batch.add(ids);
    return batch;
  };
  const ef::Batch prompt = batch_of(context);
  const ef::Batch one = batch_of(1);
  constexpr ef::Index at_once = 32;  // tokens after which the text begins anew
  ef::Index added = at_once;
  ef::DecoderCache<float> cache = decoder.base_model().cache(1);
  const double rate = ef::benchmarks::memory_rate();
  double elapsed = 0;
  for ([[maybe_unused]] auto _ : state) {
    if (added == at_once) {
      state.PauseTiming();
      cache = decoder.base_model().cache(1);
      benchmark::DoNotOptimize(decoder.base_model()(cx, prompt, cache).data());
      added = 0;
      state.ResumeTiming();
    }
    elapsed +=
        ef::benchmarks::seconds([&] { benchmark::DoNotOptimize(decoder(cx, one, cache).data()); });
    ++added;
  }
  const double tokens = static_cast<double>(state.iterations()) / elapsed;
  state.counters["tokens/s"] = tokens;
  state.counters["memory"] =
      tokens * bytes_read(config, precision, static_cast<double>(context + at_once / 2)) / rate;
}

}  // namespace

int main(int argc, char** argv) {
  std::vector<char*> rest;
  for (int i = 0; i < argc; ++i) {
    if (std::strcmp(argv[i], "--model") == 0 && i + 1 < argc)
      model_folder = argv[++i];
    else
      rest.push_back(argv[i]);
  }
  int count = static_cast<int>(rest.size());
  benchmark::Initialize(&count, rest.data());
  if (benchmark::ReportUnrecognizedArguments(count, rest.data())) return 2;
  for (const auto& [name, precision] :
       std::vector<std::pair<std::string, ef::Precision>>{{"float", ef::Precision::full},
                                                          {"bf16", ef::Precision::bf16},
                                                          {"int8", ef::Precision::int8}}) {
    for (const ef::Index context : {16, 128, 900}) {
      for (const int threads : {1, 2}) {
        const std::string row = ef::concat("bench_generation/", name, "/", context, "/", threads);
        benchmark::RegisterBenchmark(row.c_str(), [=, precision = precision](auto& state) {
          run(state, precision, context, threads);
        })->Unit(benchmark::kMillisecond);
      }
    }
  }
  try {
    benchmark::RunSpecifiedBenchmarks();
  } catch (const ef::Error& problem) {
    std::fprintf(stderr, "error: %s\n", problem.what());
    return 1;
  }
  benchmark::Shutdown();
  return 0;
}
