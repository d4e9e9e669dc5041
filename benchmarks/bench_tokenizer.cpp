// Speed of the tokenizer in bytes of text per second, on one thread and on all:
//   bench_tokenizer [--model DIR] [--text FILE]... [benchmark options]
// Rows are bench_tokenizer/WHAT/FILE/THREADS, over the lines of FILE. WHAT is
//   first     ids and offsets; no word remembered from before, as in a fresh process
//   again     ids and offsets; the words of the same text remembered
//   batch     the packed ids that a model takes
//   train     learning a vocabulary of 30,000 tokens
//   load      reading the tokenizer, whatever the file and the threads
// benchmarks/bench_tokenizer_hf.py measures Hugging Face tokenizers on the same lines.
#include <algorithm>
#include <string>
#include <string_view>
#include <vector>

#include <benchmark/benchmark.h>

#include "eigenformer/io/file.hpp"
#include "eigenformer/threading/thread_pool.hpp"
#include "eigenformer/tokenizers.hpp"

namespace ef = eigenformer;

namespace {

struct Text {
  std::string name;
  std::vector<std::string> lines;
  std::size_t bytes = 0;
};

Text read_lines(const std::string& path) {
  Text text;
  text.name = path.substr(path.rfind('/') + 1);
  const std::string contents = ef::read_file(path);
  for (std::size_t begin = 0; begin < contents.size();) {
    const std::size_t end = std::min(contents.find('\n', begin), contents.size());
    text.lines.push_back(contents.substr(begin, end - begin));
    text.bytes += end - begin;
    begin = end + 1;
  }
  return text;
}

void count(benchmark::State& state, const Text& text, std::size_t tokens) {
  state.SetBytesProcessed(static_cast<std::int64_t>(text.bytes) * state.iterations());
  state.counters["tokens"] = static_cast<double>(tokens);
}

std::size_t tokens_of(const std::vector<ef::Encoding>& encodings) {
  std::size_t tokens = 0;
  for (const ef::Encoding& encoding : encodings) tokens += encoding.ids.size();
  return tokens;
}

const ef::EncodeOptions ids_and_offsets = {.add_special_tokens = false,
                                           .details = ef::EncodingDetails::offsets};

void first(benchmark::State& state, const ef::Tokenizer& tokenizer, const Text& text,
           ef::ThreadPool* pool) {
  std::size_t tokens = 0;
  for (auto _ : state) {
    tokens = tokens_of(tokenizer.encode_each(text.lines, ids_and_offsets, pool));
  }
  count(state, text, tokens);
}

void again(benchmark::State& state, const ef::Tokenizer& tokenizer, const Text& text) {
  ef::EncodeCache cache;
  ef::EncodeOptions options = ids_and_offsets;
  options.cache = &cache;
  std::size_t tokens = tokens_of(tokenizer.encode_each(text.lines, options));
  for (auto _ : state) tokens = tokens_of(tokenizer.encode_each(text.lines, options));
  count(state, text, tokens);
}

void batch(benchmark::State& state, const ef::Tokenizer& tokenizer, const Text& text,
           ef::ThreadPool* pool) {
  ef::Index tokens = 0;
  for (auto _ : state) {
    tokens = tokenizer.encode_batch(text.lines, {.add_special_tokens = false}, pool).tokens();
  }
  count(state, text, static_cast<std::size_t>(tokens));
}

void train(benchmark::State& state, const Text& text, ef::ThreadPool* pool) {
  std::size_t tokens = 0;
  for (auto _ : state) {
    ef::BpeTrainer trainer({.vocab_size = 30000});
    trainer.feed(text.lines, pool);
    tokens = trainer.train().vocabulary.size();
  }
  count(state, text, tokens);
}

}  // namespace

int main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  const std::string data = EIGENFORMER_SHARED_DATA;
  std::string model = ef::is_directory(data) ? data + "/roberta-base" : EIGENFORMER_EXAMPLE_MODEL;
  std::vector<Text> texts;
  for (int i = 1; i + 1 < argc; i += 2) {
    const std::string_view option = argv[i];
    if (option == "--model") model = argv[i + 1];
    if (option == "--text") texts.push_back(read_lines(argv[i + 1]));
  }
  if (texts.empty() && ef::is_directory(data)) {
    for (const char* name : {"/text/wikitext-2-valid.txt", "/sst2/train.tsv"}) {
      texts.push_back(read_lines(data + name));
    }
  }
  if (texts.empty())
    texts.push_back(read_lines(std::string(EIGENFORMER_EXAMPLE_MODEL) + "/README.md"));

  const ef::Tokenizer tokenizer = ef::Tokenizer::from_pretrained(model);
  ef::ThreadPool pool;
  const std::string all = "/" + std::to_string(pool.threads());
  for (const Text& text : texts) {
    const auto name = [&](const char* what) {
      return std::string("bench_tokenizer/") + what + "/" + text.name;
    };
    benchmark::RegisterBenchmark((name("first") + "/1").c_str(), first, tokenizer, text, nullptr);
    benchmark::RegisterBenchmark((name("first") + all).c_str(), first, tokenizer, text, &pool)
        ->UseRealTime();
    benchmark::RegisterBenchmark((name("again") + "/1").c_str(), again, tokenizer, text);
    benchmark::RegisterBenchmark((name("batch") + "/1").c_str(), batch, tokenizer, text, nullptr);
    benchmark::RegisterBenchmark((name("batch") + all).c_str(), batch, tokenizer, text, &pool)
        ->UseRealTime();
    benchmark::RegisterBenchmark((name("train") + "/1").c_str(), train, text, nullptr);
    benchmark::RegisterBenchmark((name("train") + all).c_str(), train, text, &pool)->UseRealTime();
  }
  benchmark::RegisterBenchmark("bench_tokenizer/load", [&](benchmark::State& state) {
    for (auto _ : state) benchmark::DoNotOptimize(ef::Tokenizer::from_pretrained(model));
  })->Unit(benchmark::kMillisecond);
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}
