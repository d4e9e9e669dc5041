// One update of a masked language model of roberta-base's size with random weights: forward,
// backward, AdamW. 15 % of the tokens are guessed, dropout is 0.1. Rows are named
// bench_training/PRECISION/BATCH/LENGTH/THREADS, and ragged/32 for 32 texts of 9 to 164 tokens.
// `share` is useful operations over the peak of the instruction set, `update_share` the bytes that
// AdamW moves over the rate at which one thread reads memory, both probed in the same run; `MiB` is
// the most memory that was resident. race_training sets these rows beside PyTorch's.
#include <sys/resource.h>

#include <chrono>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include <benchmark/benchmark.h>

#include "eigenformer/models.hpp"
#include "eigenformer/training/masking.hpp"
#include "eigenformer/training/trainer.hpp"

#include "peak.hpp"

namespace ef = eigenformer;

namespace {

using Model = ef::RobertaForMaskedLM<float>;

Model& model() {
  static const auto made = [] {
    ef::RobertaConfig config;
    config.max_position_embeddings = 514;
    config.type_vocab_size = 1;
    return std::make_unique<Model>(config);
  }();
  return *made;
}

/// One for all rows of as many threads: its memory is there already, as in a long training.
ef::Context& context(int threads) {
  static std::map<int, ef::Context> made;
  return made.try_emplace(threads, threads).first->second;
}

/// Texts of these lengths, masked.
ef::MaskedBatch texts(const std::vector<int>& lengths) {
  const ef::TokenId vocabulary = 50265;
  const ef::Masking masking({.mask_token = vocabulary - 1, .vocab_size = vocabulary}, 1);
  ef::MaskedBatch batch;
  ef::Draws draws(ef::Rng(2), 0);
  for (std::size_t i = 0; i < lengths.size(); ++i) {
    std::vector<ef::TokenId> text;
    for (int t = 0; t < lengths[i]; ++t) {
      text.push_back(4 + static_cast<ef::TokenId>(draws.below(vocabulary - 5)));
    }
    masking.add(batch, text, 0, i);
  }
  return batch;
}

/// Useful operations of one update: the products of the forward pass, and twice as many backward.
double operations(const ef::RobertaConfig& config, const ef::MaskedBatch& masked) {
  const auto hidden = static_cast<double>(config.hidden_size);
  const double linear =
      8 * hidden * hidden + 4 * hidden * static_cast<double>(config.intermediate_size);
  double sum = static_cast<double>(masked.positions.size()) * 2 * hidden *
               (hidden + static_cast<double>(config.vocab_size));
  for (ef::Index i = 0; i < masked.batch.segments(); ++i) {
    const auto n = static_cast<double>(masked.batch.segment(i).size());
    sum += static_cast<double>(config.num_hidden_layers) * n * (linear + 4 * n * hidden);
  }
  return 3 * sum;
}

using Clock = std::chrono::steady_clock;

/// Adds the time that it takes to what it was made with.
class TimedAdamW : public ef::AdamW<float> {
 public:
  explicit TimedAdamW(std::chrono::duration<double>& time) : time_(time) {}
  void update(auto&&... arguments) {
    const auto start = Clock::now();
    ef::AdamW<float>::update(arguments...);
    time_ += Clock::now() - start;
  }

 private:
  std::chrono::duration<double>& time_;
};

void run(benchmark::State& state, ef::Precision precision, const std::vector<int>& lengths,
         int threads) {
  const ef::MaskedBatch masked = texts(lengths);
  ef::Context& cx = context(threads);
  std::chrono::duration<double> update{0};
  ef::Trainer<float, Model, TimedAdamW> trainer(
      model(), TimedAdamW(update),
      {.schedule = {.decay = ef::Decay::constant, .peak = 1e-5},
       .precision = precision,
       .eager = true});
  const auto step = [&] {
    (void)trainer.step(cx, 1, [&](ef::Context& on, ef::Index) {
      const ef::Tensor<float> logits = model()(on, masked.batch, masked.positions);
      return ef::PartLoss<float>{ef::cross_entropy(on, logits, masked.labels)};
    });
  };
  step();
  update = update.zero();
  const double before = ef::benchmarks::peak(precision);
  const auto start = Clock::now();
  for ([[maybe_unused]] auto _ : state) step();
  const std::chrono::duration<double> elapsed = Clock::now() - start;
  const double peak = (before + ef::benchmarks::peak(precision)) / 2;
  const double steps = static_cast<double>(state.iterations()) / elapsed.count();
  const double rate = steps * operations(model().config(), masked);
  state.counters["tokens/s"] = steps * static_cast<double>(masked.batch.tokens());
  state.counters["GFLOP/s"] = rate * 1e-9;
  if (peak > 0) state.counters["share"] = rate / peak;
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);  // before the probe of the memory's rate takes some itself
  state.counters["MiB"] = static_cast<double>(usage.ru_maxrss) / 1024;
  const double seconds = update.count() / static_cast<double>(state.iterations());
  const double bytes = 7 * sizeof(float) * static_cast<double>(ef::parameter_count(model()));
  state.counters["update_ms"] = 1e3 * seconds;
  state.counters["update_share"] = bytes / seconds / ef::benchmarks::memory_rate();
}

void add(ef::Precision precision, const char* texts, const std::vector<int>& lengths, int threads) {
  const std::string name = ef::concat("bench_training/", ef::name_of(precision), texts, threads);
  benchmark::RegisterBenchmark(name.c_str(), [=](auto& state) {
    run(state, precision, lengths, threads);
  })->Unit(benchmark::kMillisecond);
}

}  // namespace

int main(int argc, char** argv) {
  const std::vector<int> ragged{16, 63, 82, 61, 101, 37, 14, 35, 51, 49, 24,  9,  159, 37,  51, 23,
                                21, 57, 71, 19, 25,  22, 17, 20, 34, 11, 164, 13, 28,  127, 27, 38};
  for (const int threads : {1, 2}) {
    for (const ef::Precision precision : {ef::Precision::full, ef::Precision::bf16}) {
      add(precision, "/8/128/", std::vector<int>(8, 128), threads);
      add(precision, "/ragged/32/", ragged, threads);
    }
  }
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
  return 0;
}
