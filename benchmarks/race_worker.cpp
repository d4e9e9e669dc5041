// This library's side of the script race: a process that holds one model and does what it is told
// on standard input, one command per line. It answers each with one line of JSON.
//   race_worker peak              what one thread can do, in G operations per second
//   race_worker FOLDER float|bf16|int8 encoder|lm IDS    IDS/SHAPE: one text of token ids per line
//   load                          reads the model
//   run CALLS SHAPE [PERCENT]     lm: logits for PERCENT of the positions alone
//   memory                        resident MiB
#include <chrono>
#include <cstdio>
#include <ctime>
#include <fstream>
#include <functional>
#include <iostream>
#include <memory>
#include <sstream>
#include <string>
#include <vector>

#include "eigenformer/io/json.hpp"
#include "eigenformer/models.hpp"

#include "peak.hpp"

namespace ef = eigenformer;

namespace {

using Positions = std::vector<ef::Index>;
using Forward = std::function<void(ef::Context&, const ef::Batch&, const Positions&)>;

/// Packed while loading: for inference the numbers themselves are not needed.
ef::LoadOptions load_options(const std::string& word) {
  for (const auto precision : {ef::Precision::full, ef::Precision::bf16, ef::Precision::int8}) {
    if (word == name_of(precision)) return {.precision = precision, .pack = true};
  }
  ef::fail<ef::ConfigError>("precision ", word, " is none of float, bf16 and int8");
}

Forward load(const std::string& folder, const std::string& precision, const std::string& task) {
  const ef::LoadOptions options = load_options(precision);
  if (task == "encoder") {
    using Model = ef::AutoModel<float>;
    const auto model = std::make_shared<Model>(Model::from_pretrained(folder, options));
    return [model](ef::Context& cx, const ef::Batch& batch, const Positions&) {
      (void)(*model)(cx, batch);
    };
  }
  using Model = ef::AutoModelForMaskedLM<float>;
  const auto model = std::make_shared<Model>(Model::from_pretrained(folder, options));
  return [model](ef::Context& cx, const ef::Batch& batch, const Positions& positions) {
    (void)(positions.empty() ? (*model)(cx, batch) : (*model)(cx, batch, positions));
  };
}

ef::Batch read_batch(const std::string& path) {
  std::ifstream file(path);
  ef::check<ef::IoError>(file.is_open(), path, ": cannot be read");
  ef::Batch batch;
  for (std::string line; std::getline(file, line);) {
    std::istringstream words(line);
    std::vector<ef::TokenId> text;
    for (ef::TokenId id = 0; words >> id;) text.push_back(id);
    batch.add(text);
  }
  return batch;
}

/// `percent` of the rows of `batch`, evenly spread.
Positions spread(const ef::Batch& batch, ef::Index percent) {
  Positions positions(static_cast<std::size_t>(batch.tokens() * percent / 100));
  for (std::size_t i = 0; i < positions.size(); ++i) {
    positions[i] = static_cast<ef::Index>(i) * batch.tokens() / std::ssize(positions);
  }
  return positions;
}

double milliseconds(const std::function<void()>& work) {
  const auto begin = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - begin)
      .count();
}

ef::Json run(const Forward& forward, ef::Context& cx, const ef::Batch& batch,
             const Positions& positions, int calls) {
  std::vector<double> times;
  const std::clock_t begin = std::clock();
  const double wall = milliseconds([&] {
    for (int i = 0; i < calls; ++i) {
      times.push_back(milliseconds([&] { forward(cx, batch, positions); }));
    }
  });
  const double busy = 1e3 * static_cast<double>(std::clock() - begin) / CLOCKS_PER_SEC;
  return {{"ms", times}, {"cpu", busy / wall}};
}

ef::Json memory() {
  std::ifstream status("/proc/self/status");
  std::string word;
  while (status >> word && word != "VmRSS:") {
  }
  long kib = 0;
  status >> kib;
  return {{"mib", kib / 1024}};
}

/// Of each precision, with the best instructions that the machine has.
ef::Json peak() {
  const auto rate = [](ef::Precision precision) { return ef::benchmarks::peak(precision) * 1e-9; };
  return {{"fp32", rate(ef::Precision::full)},
          {"bf16", rate(ef::Precision::bf16)},
          {"int8", rate(ef::Precision::int8)}};
}

void serve(const std::string& folder, const std::string& precision, const std::string& task,
           const std::string& ids) {
  const auto answer = [](const ef::Json& json) { std::cout << json.dump() << std::endl; };
  (void)load_options(precision);
  ef::Context cx(1);
  Forward forward;
  answer({{"ready", true}});
  for (std::string line; std::getline(std::cin, line);) {
    std::istringstream words(line);
    std::string command, shape;
    words >> command;
    if (command == "load") {
      const double ms = milliseconds([&] { forward = load(folder, precision, task); });
      answer({{"ms", ms}});
    } else if (command == "run" && forward) {
      int calls = 0;
      ef::Index percent = 0;
      words >> calls >> shape >> percent;
      const ef::Batch batch = read_batch(ids + '/' + shape);
      answer(run(forward, cx, batch, spread(batch, percent), calls));
    } else if (command == "memory") {
      answer(memory());
    } else {
      ef::fail("cannot do this now: ", line);
    }
  }
}

}  // namespace

int main(int argc, char** argv) {
  const std::vector<std::string> words(argv + 1, argv + argc);
  if (words == std::vector<std::string>{"peak"}) {
    std::cout << peak().dump() << std::endl;
    return 0;
  }
  if (words.size() != 4 || (words[2] != "encoder" && words[2] != "lm")) {
    std::fprintf(stderr,
                 "usage: race_worker peak | race_worker FOLDER float|bf16|int8 encoder|lm IDS\n");
    return 2;
  }
  try {
    serve(words[0], words[1], words[2], words[3]);
  } catch (const std::exception& problem) {
    std::fprintf(stderr, "error: %s\n", problem.what());
    return 1;
  }
  return 0;
}
