// The kernels one by one, on one thread: products with cold weights (all matrices of roberta-base's
// twelve layers in turn, as in a forward pass), attention, and work on rows. `share` is the larger
// of the times that computing at the peak and reading the weights from memory would take, both
// probed in the same run, over the time that was taken.
#include <map>
#include <memory>
#include <string>
#include <vector>

#include <benchmark/benchmark.h>

#include "eigenformer/kernels.hpp"

#include "peak.hpp"

namespace ef = eigenformer;
namespace kernels = ef::kernels;
using ef::Index;
using ef::Precision;

namespace {

std::vector<float> numbers(Index n, std::uint64_t stream) {
  const ef::Rng rng(1);
  std::vector<float> out(static_cast<std::size_t>(n));
  for (std::size_t i = 0; i < out.size(); ++i) {  // a repeated pattern: drawing takes long
    out[i] = i < 4096 ? static_cast<float>(rng.normal(stream, i)) : out[i % 4096];
  }
  return out;
}

/// Iterations alternate with the probes; the best of each makes the share. `bytes` come from
/// memory.
template <class Function>
void measure(benchmark::State& state, Precision precision, double operations, double bytes,
             Function&& function) {
  ef::benchmarks::Limits limits;
  double least = 1e9;
  for ([[maybe_unused]] auto _ : state) {
    state.PauseTiming();
    limits.probe(precision);
    state.ResumeTiming();
    least = std::min(least, ef::benchmarks::seconds(function));
  }
  state.counters["GFLOP/s"] = operations / least * 1e-9;
  state.counters["share"] = limits.share(operations, bytes, least);
}

void gemm(benchmark::State& state, Precision precision, Index rows) {
  ef::ThreadPool threads(1);
  static std::map<Precision, std::vector<kernels::PackedWeight>> packs;
  std::vector<kernels::PackedWeight>& weights = packs[precision];
  if (weights.empty()) {
    for (int layer = 0; layer < 12; ++layer) {
      for (const auto& [out, in] : {std::pair{2304, 768}, {768, 768}, {3072, 768}, {768, 3072}}) {
        const auto weight = numbers(out * in, 3);
        weights.emplace_back(threads, precision,
                             ef::MatrixView<const float>{weight.data(), out, in, in});
      }
    }
  }
  const auto x = numbers(rows * 3072, 4);
  std::vector<float> y(static_cast<std::size_t>(rows * 3072));
  double size = 0;  // numbers in all weights
  for (const auto& weight : weights) size += static_cast<double>(weight.out() * weight.in());
  const double operations = 2 * size * static_cast<double>(rows);
  measure(state, precision, operations, size * ef::benchmarks::bytes_of(precision), [&] {
    for (const auto& weight : weights) {
      kernels::packed_linear(threads, weight, {x.data(), rows, weight.in(), weight.in()}, {},
                             {y.data(), rows, weight.out(), weight.out()});
    }
  });
}

void attention(benchmark::State& state, Precision precision, Index length) {
  ef::ThreadPool threads(1);
  const auto projected = numbers(length * 3 * 768, 5);
  std::vector<float> out(static_cast<std::size_t>(length * 768));
  const Index offsets[] = {0, length};
  kernels::Attention<float> attention;
  const auto part = [&](Index i) {
    return ef::MatrixView<const float>{projected.data() + i * 768, length, 768, 3 * 768};
  };
  attention.query = part(0);
  attention.key = part(1);
  attention.value = part(2);
  attention.query_offsets = attention.key_offsets = offsets;
  attention.heads = 12;
  attention.scale = 0.125f;
  attention.precision = precision;
  measure(state, precision == Precision::full ? precision : Precision::bf16,
          4.0 * static_cast<double>(length * length * 768), 0, [&] {
            kernels::attention_forward<float>(threads, attention, {out.data(), length, 768, 768},
                                              nullptr);
          });
}

/// Work on rows of 768 or 3072 numbers; reports nanoseconds for each number.
template <class Function>
void rows(benchmark::State& state, Index size, Function&& function) {
  auto x = numbers(64 * size, 6);
  std::vector<float> y(x.size());
  for ([[maybe_unused]] auto _ : state) {
    for (Index i = 0; i < 64; ++i) function(x.data() + i * size, y.data() + i * size);
    benchmark::DoNotOptimize(y.data());
  }
  state.counters["numbers/s"] = benchmark::Counter(static_cast<double>(64 * size),
                                                   benchmark::Counter::kIsIterationInvariantRate);
}

}  // namespace

int main(int argc, char** argv) {
  for (const Precision precision : {Precision::full, Precision::bf16, Precision::int8}) {
    for (const Index m : {1, 8, 16, 32, 64, 128, 512}) {
      benchmark::RegisterBenchmark(
          ("gemm/" + std::string(name_of(precision)) + "/" + std::to_string(m)).c_str(),
          [=](auto& state) { gemm(state, precision, m); })
          ->Unit(benchmark::kMillisecond);
    }
  }
  for (const Precision precision : {Precision::full, Precision::bf16}) {
    for (const Index length : {16, 128, 512}) {
      benchmark::RegisterBenchmark(
          ("attention/" + std::string(name_of(precision)) + "/" + std::to_string(length)).c_str(),
          [=](auto& state) { attention(state, precision, length); })
          ->Unit(benchmark::kMicrosecond);
    }
  }
  static const auto gamma = numbers(3072, 7);
  const kernels::Kernels& k = kernels::active_kernels();
  benchmark::RegisterBenchmark("norm/768", [&k](auto& state) {
    rows(state, 768, [&k](const float* x, float* y) {
      k.norm_row(x, x, gamma.data(), gamma.data(), 1e-5f, y, nullptr, 768);
    });
  });
  benchmark::RegisterBenchmark("softmax/512", [&k](auto& state) {
    rows(state, 512, [&k](const float* x, float* y) {
      float top = 0;
      benchmark::DoNotOptimize(k.softmax_row(x, y, 512, &top));
    });
  });
  for (const auto& [name, function] : {std::pair{"gelu/3072", k.gelu},
                                       {"gelu_approx/3072", k.gelu_approx},
                                       {"tanh/3072", k.tanh}}) {
    benchmark::RegisterBenchmark(name, [function = function](auto& state) {
      rows(state, 3072, [function](const float* x, float* y) { function(x, y, 3072); });
    });
  }
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  benchmark::AddCustomContext("memory, GB/s", std::to_string(ef::benchmarks::memory_rate() * 1e-9));
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
  return 0;
}
