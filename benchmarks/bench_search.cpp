// Exact search over a million embeddings, on one thread: rows are named search/HIDDEN/QUERIES.
// `GB/s` counts each line once, `GFLOP/s` each product; `share` is how much of the time the bound
// takes: reading all lines from memory or multiplying them at the peak, as probed in the same run,
// whichever is longer.
//
// Ten million lines take ten times as long. Their index has 15 GB at hidden size 384 and 31 GB at
// 768: mapped, it must fit into memory to be searched faster than it is read from disk, and making
// it takes twice as much, since Search keeps a copy.
#include <algorithm>
#include <memory>
#include <string>

#include <benchmark/benchmark.h>

#include "eigenformer/base/rng.hpp"
#include "eigenformer/pipelines/search.hpp"

#include "peak.hpp"

namespace ef = eigenformer;
using ef::Index;

namespace {

constexpr Index lines = 1000000;

ef::Tensor<float> embeddings(Index rows, Index hidden, std::uint64_t seed) {
  const ef::Rng rng(seed);
  ef::Tensor<float> numbers(ef::Shape{rows, hidden});
  constexpr Index drawn = 1 << 20;  // and repeated: drawing takes long
  for (Index i = 0; i < numbers.numel(); ++i) {
    numbers.data()[i] = i < drawn ? static_cast<float>(rng.normal(1, static_cast<std::uint64_t>(i)))
                                  : numbers.data()[i - drawn + 1];
  }
  return numbers;
}

/// One index is kept: the last that was asked for.
const ef::Search& index_of(Index hidden) {
  static std::unique_ptr<ef::Search> kept;
  if (kept == nullptr || kept->hidden() != hidden) {
    kept.reset();
    kept = std::make_unique<ef::Search>(embeddings(lines, hidden, 1));
  }
  return *kept;
}

void search(benchmark::State& state, Index hidden, Index queries) {
  const ef::Search& index = index_of(hidden);
  const ef::Tensor<float> asked = embeddings(queries, hidden, 2);
  ef::Context cx(1);
  double least = 1e9;
  ef::benchmarks::Limits limits;
  for ([[maybe_unused]] auto _ : state) {  // in turns with the probes: the best of each
    state.PauseTiming();
    limits.probe(ef::Precision::full);
    state.ResumeTiming();
    least = std::min(
        least, ef::benchmarks::seconds([&] { benchmark::DoNotOptimize(index(cx, asked, 10)); }));
  }
  const double bytes = static_cast<double>(lines * hidden) * sizeof(float);
  const double operations = 2.0 * static_cast<double>(lines * hidden * queries);
  state.counters["GB/s"] = bytes / least * 1e-9;
  state.counters["GFLOP/s"] = operations / least * 1e-9;
  state.counters["share"] = limits.share(operations, bytes, least);
}

}  // namespace

int main(int argc, char** argv) {
  for (const Index hidden : {384, 768}) {
    for (const Index queries : {1, 64}) {
      benchmark::RegisterBenchmark(
          ("search/" + std::to_string(hidden) + "/" + std::to_string(queries)).c_str(),
          [=](auto& state) { search(state, hidden, queries); })
          ->Iterations(7)
          ->Unit(benchmark::kMillisecond);
    }
  }
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
  return 0;
}
