// What an update costs beside its computing when several processes train a model of roberta-base's
// size: the sum of the gradients and the spreading of the parameters. Run by mpirun, without
// arguments; --mca btl self,tcp in place of shared memory. Prints the least times of rank 0.
#include <algorithm>
#include <chrono>
#include <cstdio>

#include "eigenformer/models/roberta.hpp"
#include "eigenformer/training/data_parallel.hpp"

namespace ef = eigenformer;

namespace {

/// The least seconds that f() takes.
template <class Function>
double seconds(int repeats, Function&& f) {
  double least = 1e9;
  for (int i = 0; i < repeats; ++i) {
    MPI_Barrier(MPI_COMM_WORLD);
    const auto start = std::chrono::steady_clock::now();
    f();
    const std::chrono::duration<double> taken = std::chrono::steady_clock::now() - start;
    least = std::min(least, taken.count());
  }
  return least;
}

}  // namespace

int main(int argc, char** argv) {
  const ef::MpiSession session(argc, argv);
  ef::RobertaConfig config;
  config.max_position_embeddings = 514;
  config.type_vocab_size = 1;
  ef::RobertaForMaskedLM<float> model(config);
  const ef::DataParallel workers;
  ef::Gradients<float> gradients;
  for (const auto& named : ef::named_parameters(model)) {
    (void)gradients.at(std::as_const(named.parameter).value());
  }
  const double sum = seconds(5, [&] { workers.sum_gradients(model, gradients, true).finish(); });
  const double spread = seconds(5, [&] { workers.spread(model, gradients, true); });
  const int calls = 10;
  const double small = seconds(101, [&] {
    for (int i = 0; i < calls; ++i) workers.require_same("updates", 1);
  });
  if (workers.rank() != 0) return 0;
  const auto n = static_cast<double>(workers.size());
  const double bytes = 4.0 * static_cast<double>(ef::parameter_count(model)) * (n - 1) / n;
  std::printf("%.0f processes; %.0f MB sent by each for the gradients, as much for parameters\n", n,
              1e-6 * bytes);
  std::printf("gradients  %7.1f ms  %6.2f GB/s\n", 1e3 * sum, 1e-9 * bytes / sum);
  std::printf("parameters %7.1f ms  %6.2f GB/s\n", 1e3 * spread, 1e-9 * bytes / spread);
  std::printf("one number %7.1f us\n", 1e6 * small / calls);
  return 0;
}
