// A whole model's forward pass. Rows are named bench_model/PRECISION/BATCH/LENGTH/THREADS; all
// texts of a batch have the same length. `share` is the larger of the times that computing at the
// peak and reading the weights from memory would take, both probed in the same run, over the time
// that was taken, of one thread. --model DIR measures a published folder (with the logits
// of all tokens, unless its architecture is RobertaModel); without it, an encoder of roberta-base's
// size with random weights.
#include <chrono>
#include <cstring>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include <benchmark/benchmark.h>

#include "eigenformer/models.hpp"

#include "peak.hpp"

namespace ef = eigenformer;

namespace {

std::string model_folder;  // empty: random weights

ef::RobertaConfig config_of_model() {
  if (!model_folder.empty()) return ef::RobertaConfig::from_pretrained(model_folder);
  ef::RobertaConfig config;
  config.max_position_embeddings = 514;
  config.type_vocab_size = 1;
  config.layer_norm_eps = 1e-5;
  config.architectures = {"RobertaModel"};
  return config;
}

bool is_masked_lm(const ef::RobertaConfig& config) {
  return !config.architectures.empty() && config.architectures[0].ends_with("ForMaskedLM");
}

using Forward = std::function<void(ef::Context&, const ef::Batch&)>;

/// The forward pass that is measured; made once for each precision, when its first row runs.
template <class Scalar>
const Forward& forward(ef::Precision precision) {
  static std::map<ef::Precision, Forward> made;
  Forward& kept = made[precision];
  if (kept) return kept;
  kept = [&]() -> Forward {
    const auto hold = [](auto model) {
      return [model = std::make_shared<decltype(model)>(std::move(model))](ef::Context& cx,
                                                                           const ef::Batch& batch) {
        benchmark::DoNotOptimize((*model)(cx, batch).data());
      };
    };
    const ef::RobertaConfig config = config_of_model();
    const ef::LoadOptions options{.precision = precision, .pack = true};
    if (model_folder.empty()) {
      ef::RobertaModel<Scalar> model(config, /*pooler=*/false);
      ef::ThreadPool threads;
      model.pack(threads, precision);
      return hold(std::move(model));
    }
    if (!is_masked_lm(config)) {
      return hold(ef::RobertaModel<Scalar>::from_pretrained(model_folder, options));
    }
    return hold(ef::RobertaForMaskedLM<Scalar>::from_pretrained(model_folder, options));
  }();
  return kept;
}

/// How many numbers the weights of all products have.
double weights(const ef::RobertaConfig& config) {
  const auto hidden = static_cast<double>(config.hidden_size);
  const auto intermediate = static_cast<double>(config.intermediate_size);
  const double layer = 4 * hidden * hidden + 2 * hidden * intermediate;
  const double head =
      is_masked_lm(config) ? hidden * (hidden + static_cast<double>(config.vocab_size)) : 0;
  return static_cast<double>(config.num_hidden_layers) * layer + head;
}

/// Useful floating-point operations of one forward pass over `batch`.
double operations(const ef::RobertaConfig& config, const ef::Batch& batch) {
  const auto tokens = static_cast<double>(batch.tokens());
  const double attention = 4 * static_cast<double>(batch.longest()) *
                           static_cast<double>(config.num_hidden_layers * config.hidden_size);
  return tokens * (2 * weights(config) + attention);
}

template <class Scalar>
void run(benchmark::State& state, ef::Precision precision, int texts, int length, int threads) {
  const ef::RobertaConfig config = config_of_model();
  ef::Batch batch;
  for (int i = 0; i < texts; ++i) {
    std::vector<ef::TokenId> ids(static_cast<std::size_t>(length));
    for (std::size_t t = 0; t < ids.size(); ++t) {  // any ids but the padding
      const auto id = static_cast<ef::Index>(31 * t + static_cast<std::size_t>(7 * i));
      ids[t] = static_cast<ef::TokenId>(2 + id % (config.vocab_size - 2));
    }
    batch.add(ids);
  }
  ef::Context cx(threads);
  const Forward& pass = forward<Scalar>(precision);
  pass(cx, batch);
  const bool bounded = threads == 1 && std::is_same_v<Scalar, float>;
  ef::benchmarks::Limits limits;
  if (bounded) limits.probe(precision);
  // Rates by the wall clock: with several threads the caller's CPU time is not the cost, and
  // UseRealTime() would change the row's name.
  const auto start = std::chrono::steady_clock::now();
  for ([[maybe_unused]] auto _ : state) pass(cx, batch);
  const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - start;
  const double passes = static_cast<double>(state.iterations()) / elapsed.count();
  state.counters["tokens/s"] = passes * static_cast<double>(batch.tokens());
  state.counters["GFLOP/s"] = passes * operations(config, batch) * 1e-9;
  if (!bounded) return;
  limits.probe(precision);
  state.counters["share"] = limits.share(
      operations(config, batch), weights(config) * ef::benchmarks::bytes_of(precision), 1 / passes);
}

template <class Scalar>
void add_rows(const std::string& precision, ef::Precision packed) {
  const auto most = static_cast<int>(config_of_model().max_tokens());
  for (const int threads : {1, 2}) {
    for (const auto& [texts, length] :
         std::vector<std::pair<int, int>>{{1, 16}, {1, 128}, {1, 512}, {8, 128}}) {
      if (length > most) continue;
      const std::string name = "bench_model/" + precision + "/" + std::to_string(texts) + "/" +
                               std::to_string(length) + "/" + std::to_string(threads);
      benchmark::RegisterBenchmark(name.c_str(), [=, texts = texts, length = length](auto& state) {
        run<Scalar>(state, packed, texts, length, threads);
      })->Unit(benchmark::kMillisecond);
    }
  }
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
  try {
    add_rows<float>("float", ef::Precision::full);
    add_rows<float>("bf16", ef::Precision::bf16);
    add_rows<float>("int8", ef::Precision::int8);
    add_rows<double>("double", ef::Precision::full);
    benchmark::Initialize(&count, rest.data());
    if (benchmark::ReportUnrecognizedArguments(count, rest.data())) return 2;
    benchmark::RunSpecifiedBenchmarks();
  } catch (const ef::Error& problem) {
    std::fprintf(stderr, "error: %s\n", problem.what());
    return 1;
  }
  benchmark::Shutdown();
  return 0;
}
