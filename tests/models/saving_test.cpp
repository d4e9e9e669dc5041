// Saving over a model that is there: the folder or file holds the old model or the new one, whole,
// whether the disk is full, the process is killed or others save at the same time.
#include <sys/resource.h>

#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include "eigenformer/models/roberta.hpp"
#include "eigenformer/tokenizers/tokenizer.hpp"

#include "../kill_points.hpp"
#include "fixture.hpp"

namespace eigenformer::saving_test {
using namespace testing_models;
using MaskedLm = RobertaForMaskedLM<float>;

/// A small model whose numbers and configuration follow from `version`.
MaskedLm model_of(int version) {
  RobertaConfig config;
  config.vocab_size = 20;
  config.hidden_size = 8;
  config.num_hidden_layers = 1;
  config.num_attention_heads = 2;
  config.intermediate_size = 40;
  config.max_position_embeddings = 12;
  config.extra["version"] = version;
  return MaskedLm(config, Initializer(static_cast<std::uint64_t>(version), 0.5));
}

/// The version of a loaded model; fails the test where numbers and configuration differ in it.
int version_of(const MaskedLm& model) {
  const int version = model.config().extra["version"].get<int>();
  EXPECT_TRUE(same_bits(model.roberta().word_embeddings().weight().value(),
                        model_of(version).roberta().word_embeddings().weight().value()))
      << "the numbers are not those of version " << version;
  return version;
}
int version_in(const std::string& path) { return version_of(MaskedLm::from_pretrained(path)); }

void save_folder(const std::string& path, int version) { model_of(version).save_pretrained(path); }
void save_file(const std::string& path, int version) {
  MaskedLm model = model_of(version);
  ThreadPool threads(1);
  model.pack(threads, Precision::full);
  model.save_packed(path);
}

struct Way {
  const char* name;
  void (*save)(const std::string&, int);
};
const Way ways[] = {{"folder", save_folder}, {"file", save_file}};

TEST(Saving, FullDiskLeavesTheOldModel) {
  for (const Way& way : ways) {
    SCOPED_TRACE(way.name);
    const TemporaryFolder folder;
    const std::string path = folder / "model";
    way.save(path, 1);
    const auto handler = ::signal(SIGXFSZ, SIG_IGN);
    rlimit before{};
    ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
    for (const rlim_t size : std::initializer_list<rlim_t>{0, 1, 500, 4096, 6000}) {
      rlimit small = before;
      small.rlim_cur = size;
      ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &small), 0);
      try {
        way.save(path, 2);
        ADD_FAILURE() << size << " bytes are enough";
      } catch (const IoError& problem) {
        EXPECT_NE(std::string(problem.what()).find(path), std::string::npos) << problem.what();
      }
      ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &before), 0);
      EXPECT_EQ(version_in(path), 1);
    }
    ::signal(SIGXFSZ, handler);
    EXPECT_EQ(folder.entries().size(), 1u);
    way.save(path, 2);
    EXPECT_EQ(version_in(path), 2);
  }
}

/// Every call that changes the folder is the last one, once.
TEST(Saving, KilledAtEachCallLeavesOneModel) {
  for (const Way& way : ways) {
    SCOPED_TRACE(way.name);
    const TemporaryFolder folder;
    const std::string path = folder / "model";
    way.save(path, 1);
    int calls = 0;
    bool is_new = false;
    while (is_killed_at(calls, [&] { way.save(path, 2); })) {
      const int version = version_in(path);
      EXPECT_TRUE(version == 2 || !is_new) << "call " << calls << " brings the old model back";
      is_new = version == 2;
      ++calls;
    }
    EXPECT_GT(calls, 2);
    EXPECT_EQ(version_in(path), 2);
    std::printf("%s: killed at %d calls\n", way.name, calls);
  }
}

TEST(Saving, KilledAtAnyMomentLeavesOneModel) {
  for (const Way& way : ways) {
    SCOPED_TRACE(way.name);
    const TemporaryFolder folder;
    const std::string path = folder / "model";
    const auto begin = std::chrono::steady_clock::now();
    way.save(path, 0);
    const std::chrono::duration<double, std::micro> one = std::chrono::steady_clock::now() - begin;
    std::uniform_real_distribution<double> moment(0, 3 * one.count());
    std::minstd_rand random(7);
    for (int round = 1; round <= 40; ++round) {
      const pid_t child = ::fork();
      ASSERT_GE(child, 0);
      if (child == 0) {
        for (int i = 0;; ++i) way.save(path, 1000 * round + i);
      }
      ::usleep(static_cast<useconds_t>(moment(random)));
      ::kill(child, SIGKILL);
      int status = 0;
      ASSERT_EQ(::waitpid(child, &status, 0), child);
      const int version = version_in(path);
      EXPECT_LE(version / 1000, round);
      ASSERT_FALSE(::testing::Test::HasFailure()) << "round " << round;
    }
  }
}

TEST(Saving, ManyAtOnceAndReadersBetweenThem) {
  for (const Way& way : ways) {
    SCOPED_TRACE(way.name);
    const TemporaryFolder folder;
    const std::string path = folder / "model";
    way.save(path, 0);
    std::vector<std::jthread> threads;
    std::atomic<int> writing = 2;
    for (int writer = 1; writer <= 2; ++writer) {
      threads.emplace_back([&, writer] {
        for (int i = 1; i <= 30; ++i) way.save(path, 1000 * writer + i);
        --writing;
      });
    }
    while (writing > 0) (void)version_in(path);
    threads.clear();
    EXPECT_EQ(version_in(path) % 1000, 30);
    EXPECT_EQ(folder.entries().size(), 1u);
  }
}

/// The files of one update are a model and its tokenizer.
TEST(Saving, ModelAndTokenizerAtOnce) {
  const TemporaryFolder folder;
  const auto tokenizer = Tokenizer::from_pretrained(EIGENFORMER_FIXTURES "/sentences/encoder");
  {
    FolderUpdate update(folder.path());
    model_of(3).save_pretrained(update);
    tokenizer.save_pretrained(update.path());
    EXPECT_EQ(folder.entries().size(), 1u);
    update.commit();
  }
  EXPECT_EQ(folder.entries(),
            (std::vector<std::string>{"config.json", "model.safetensors", "tokenizer.json"}));
  EXPECT_EQ(version_in(folder.path()), 3);
  EXPECT_EQ(Tokenizer::from_pretrained(folder.path()).vocab_size(), tokenizer.vocab_size());
}

}  // namespace eigenformer::saving_test
