// Several processes train as one does: run by mpirun with any number of them.
//   data_parallel                runs the tests
//   data_parallel --exception    one process fails outside of an update: all must end
#include "eigenformer/training/data_parallel.hpp"

#include <cstdio>
#include <cstring>
#include <limits>
#include <stdexcept>

#include <gtest/gtest.h>

#include "eigenformer/models/auto_model.hpp"
#include "eigenformer/training/masking.hpp"
#include "eigenformer/training/trainer.hpp"

#include "../messages.hpp"
#include "../temporary_folder.hpp"

namespace ef = eigenformer;
using ef::Index;

namespace {

template <class Scalar>
using Model = ef::RobertaForMaskedLM<Scalar>;
template <class Scalar, template <class> class Optimizer>
using Alone = ef::Trainer<Scalar, Model<Scalar>, Optimizer<Scalar>>;
template <class Scalar, template <class> class Optimizer>
using Together = ef::Trainer<Scalar, Model<Scalar>, Optimizer<Scalar>, ef::DataParallel>;

constexpr ef::TokenId vocabulary = 50;
constexpr Index parts = 6;  // 4 processes compute 1 or 2 each

ef::RobertaConfig small() {
  ef::RobertaConfig config;
  config.vocab_size = vocabulary;
  config.hidden_size = 12;
  config.num_hidden_layers = 2;
  config.num_attention_heads = 3;
  config.intermediate_size = 20;
  config.max_position_embeddings = 40;
  config.type_vocab_size = 1;
  return config;
}

/// Part `part` of the batch of an update, of its own size.
ef::MaskedBatch part_of(Index step, Index part) {
  const ef::Masking masking({.mask_token = vocabulary - 1, .vocab_size = vocabulary}, 5);
  ef::Draws draws(ef::Rng(6), static_cast<std::uint64_t>(step * 10 + part));
  ef::MaskedBatch batch;
  for (Index i = 0; i <= part; ++i) {
    std::vector<ef::TokenId> text(static_cast<std::size_t>(8 + draws.below(9)));
    for (auto& id : text) id = static_cast<ef::TokenId>(4 + draws.below(vocabulary - 5));
    masking.add(batch, text, 0, static_cast<std::uint64_t>(step));
  }
  return batch;
}

ef::TrainerOptions options() {
  return {.schedule = {.peak = 1e-2, .warmup_steps = 2, .total_steps = 30}, .clip = 0.5, .seed = 9};
}

template <class Scalar, class Trainer>
std::vector<ef::UpdateReport> train(Trainer& trainer, const Model<Scalar>& model, Index until,
                                    Index count = parts) {
  ef::Context cx(1);
  std::vector<ef::UpdateReport> all;
  while (trainer.steps() < until) {
    all.push_back(
        trainer.step(cx, count, [&](ef::Context& context, Index part) -> ef::PartLoss<Scalar> {
          const ef::MaskedBatch masked = part_of(trainer.steps(), part);
          return {ef::cross_entropy(context, model(context, masked.batch, masked.positions),
                                    masked.labels),
                  static_cast<double>(masked.labels.size())};
        }));
  }
  return all;
}

template <class Scalar>
void expect_same(const std::vector<ef::UpdateReport>& found,
                 const std::vector<ef::UpdateReport>& expected, double tolerance) {
  ASSERT_EQ(found.size(), expected.size());
  for (std::size_t i = 0; i < found.size(); ++i) {
    EXPECT_EQ(found[i].step, expected[i].step);
    EXPECT_EQ(found[i].learning_rate, expected[i].learning_rate);
    EXPECT_NEAR(found[i].loss, expected[i].loss, tolerance * expected[i].loss);
    EXPECT_NEAR(found[i].gradient_norm, expected[i].gradient_norm,
                tolerance * expected[i].gradient_norm);
    EXPECT_GT(found[i].gradient_norm, options().clip);  // it is clipped
  }
}

/// The largest difference between two models' numbers, over the largest number of each parameter.
template <class Scalar>
double difference(const Model<Scalar>& a, const Model<Scalar>& b) {
  std::vector<ef::Tensor<Scalar>> values;
  for (const auto& named : ef::named_parameters(a)) values.push_back(named.value());
  double worst = 0;
  auto other = values.begin();
  for (const auto& named : ef::named_parameters(b)) {
    const ef::Tensor<Scalar>& value = *other++;
    // Adam makes whole steps of key biases' gradients, which are nothing but rounding.
    if (named.name.ends_with("key.bias")) continue;
    const double largest = static_cast<double>(value.array().abs().maxCoeff());
    const auto apart = (named.value().array() - value.array()).abs().maxCoeff();
    worst = std::max(worst, static_cast<double>(apart) / largest);
  }
  return worst;
}

template <class Scalar>
bool same_bits(const Model<Scalar>& a, const Model<Scalar>& b) {
  std::vector<ef::Tensor<Scalar>> values;
  for (const auto& named : ef::named_parameters(a)) values.push_back(named.value());
  bool same = true;
  auto other = values.begin();
  for (const auto& named : ef::named_parameters(b)) {
    const ef::Tensor<Scalar>& value = *other++;
    same &= std::memcmp(named.value().data(), value.data(),
                        static_cast<std::size_t>(value.numel()) * sizeof(Scalar)) == 0;
  }
  return same;
}

/// Whether all processes have the numbers of rank 0.
template <class Scalar>
bool same_everywhere(const Model<Scalar>& model) {
  Model<Scalar> first = model;
  ef::DataParallel().start(first);
  return same_bits(first, model);
}

/// A folder that all processes know, made by rank 0.
class SharedFolder {
 public:
  SharedFolder() {
    if (ef::DataParallel().rank() == 0) folder_.emplace();
    char path[1024] = {};
    if (folder_.has_value()) folder_->path().copy(path, sizeof(path) - 1);
    MPI_Bcast(path, sizeof(path), MPI_CHAR, 0, MPI_COMM_WORLD);
    path_ = path;
  }
  SharedFolder(const SharedFolder&) = delete;
  SharedFolder& operator=(const SharedFolder&) = delete;
  ~SharedFolder() { MPI_Barrier(MPI_COMM_WORLD); }
  [[nodiscard]] const std::string& path() const noexcept { return path_; }

 private:
  std::optional<ef::tests::TemporaryFolder> folder_;
  std::string path_;
};

/// The first `size` processes as a communicator of their own; null for the others.
class Group {
 public:
  explicit Group(int size) {
    const int rank = static_cast<int>(ef::DataParallel().rank());
    MPI_Comm_split(MPI_COMM_WORLD, rank < size ? 0 : MPI_UNDEFINED, rank, &communicator);
  }
  Group(const Group&) = delete;
  Group& operator=(const Group&) = delete;
  ~Group() {
    if (communicator != MPI_COMM_NULL) MPI_Comm_free(&communicator);
  }
  MPI_Comm communicator = MPI_COMM_NULL;
};

template <class Scalar, template <class> class Optimizer>
void expect_as_one(double tolerance) {
  Model<Scalar> alone(small());
  Model<Scalar> together = alone;
  Alone<Scalar, Optimizer> one(alone, Optimizer<Scalar>(), options());
  const auto expected = train<Scalar>(one, alone, 10);
  Together<Scalar, Optimizer> several(together, Optimizer<Scalar>(), options());
  expect_same<Scalar>(train<Scalar>(several, together, 10), expected, tolerance);
  EXPECT_LE(difference(together, alone), tolerance);
  EXPECT_TRUE(same_everywhere(together));
}

}  // namespace

TEST(DataParallel, AdamWIsThatOfOneProcess) { expect_as_one<double, ef::AdamW>(1e-12); }
TEST(DataParallel, LambIsThatOfOneProcess) { expect_as_one<double, ef::Lamb>(1e-12); }
TEST(DataParallel, FloatIsThatOfOneProcess) { expect_as_one<float, ef::AdamW>(2e-3); }

TEST(DataParallel, MakesTheSameBitsAgain) {
  Model<float> first(small());
  Model<float> second = first;
  Together<float, ef::AdamW> one(first, ef::AdamW<float>(), options());
  Together<float, ef::AdamW> two(second, ef::AdamW<float>(), options());
  train<float>(one, first, 10);
  train<float>(two, second, 10);
  EXPECT_TRUE(same_bits(first, second));
}

TEST(DataParallel, BeginsWithTheNumbersOfRank0) {
  const Index rank = ef::DataParallel().rank();
  Model<double> model(small(), ef::Initializer(static_cast<std::uint64_t>(rank), 0.02));
  EXPECT_EQ(same_everywhere(model), rank == 0);
  const Together<double, ef::AdamW> trainer(model, ef::AdamW<double>(), options());
  EXPECT_TRUE(same_everywhere(model));
}

// Fewer parts than processes, frozen parameters: some processes have no gradients.
TEST(DataParallel, TrainsWithOnePart) {
  Model<double> alone(small());
  for (const auto& named : ef::named_parameters(alone)) {
    if (named.name.find("embeddings.") != named.name.npos) named.parameter.trainable = false;
  }
  Model<double> together = alone;
  Alone<double, ef::AdamW> one(alone, ef::AdamW<double>(), options());
  Together<double, ef::AdamW> several(together, ef::AdamW<double>(), options());
  const auto expected = train<double>(one, alone, 5, 1);
  expect_same<double>(train<double>(several, together, 5, 1), expected, 1e-12);
  EXPECT_LE(difference(together, alone), 1e-12);
}

// Gradients are on their way as soon as they and all after them are there.
TEST(DataParallel, SumsBeginBeforeTheBackwardPassEnds) {
  Model<double> model(small());
  const ef::DataParallel workers(MPI_COMM_WORLD, 64);
  ef::Gradients<double> gradients;
  auto sum = workers.sum_gradients(model, gradients, true);
  EXPECT_EQ(sum.begun().first, 0);
  EXPECT_GT(sum.begun().second, 20);
  std::vector<ef::Tensor<double>> leaves;
  for (const auto& named : ef::named_parameters(std::as_const(model))) {
    if (!named.tied && named.whole()) leaves.push_back(named.value());
  }
  const auto give = [&](const ef::Tensor<double>& leaf) {
    gradients.add(leaf,
                  ef::Tensor<double>::full(leaf.shape(), static_cast<double>(1 + workers.rank())));
    sum.ready(leaf);
  };
  give(leaves.front());
  EXPECT_EQ(sum.begun().first, 0);  // those after it are not there
  for (std::size_t i = leaves.size(); i-- > leaves.size() / 2;) give(leaves[i]);
  EXPECT_GT(sum.begun().first, 0);
  sum.finish();
  EXPECT_EQ(sum.begun().first, sum.begun().second);
  const auto size = static_cast<double>(workers.size());
  workers.for_each_own(model, true, [&](const auto& whole, const auto& mine) {
    const auto* found = gradients.find(std::as_const(whole.parameter).value());
    if (found == nullptr) return;
    const auto rows = found->rank() == 0 ? *found : found->rows(mine.begin, mine.end);
    EXPECT_TRUE((rows.array() == size * (size + 1) / 2).all()) << whole.name;
  });
  EXPECT_LT(gradients.size(), leaves.size());  // what nobody has is dropped
}

TEST(DataParallel, SmallChunksMakeTheSameNumbers) {
  Model<double> alone(small());
  Model<double> together = alone;
  Alone<double, ef::AdamW> one(alone, ef::AdamW<double>(), options());
  Together<double, ef::AdamW> several(together, ef::AdamW<double>(), options(),
                                      ef::DataParallel(MPI_COMM_WORLD, 40));
  const auto expected = train<double>(one, alone, 5);
  expect_same<double>(train<double>(several, together, 5), expected, 1e-12);
  EXPECT_LE(difference(together, alone), 1e-12);
}

TEST(DataParallel, SharesCoverTheModelOnce) {
  Model<double> model(small());
  for (const bool by_element : {true, false}) {
    const ef::DataParallel workers;
    const auto share = workers.share(model, by_element);
    std::vector<double> sizes(static_cast<std::size_t>(workers.size()));
    sizes[static_cast<std::size_t>(workers.rank())] =
        static_cast<double>(ef::parameter_count(share));
    workers.sum(sizes);
    double total = 0;
    for (const double size : sizes) total += size;
    EXPECT_EQ(total, static_cast<double>(ef::parameter_count(model)));
    if (!by_element) continue;
    const double even = total / static_cast<double>(sizes.size());
    for (const double size : sizes) EXPECT_NEAR(size, even, 40);  // rows have 20 numbers at most
  }
}

TEST(DataParallel, AnyNumberGoesOnWithACheckpoint) {
  Model<double> whole(small());
  Model<double> first = whole;
  Alone<double, ef::AdamW> one(whole, ef::AdamW<double>(), options());
  auto expected = train<double>(one, whole, 10);
  expected.erase(expected.begin(), expected.begin() + 5);
  const SharedFolder folder;
  Together<double, ef::AdamW> before(first, ef::AdamW<double>(), options());
  train<double>(before, first, 5);
  int written = 0;
  before.save(folder.path(), [&](const ef::FolderUpdate& update) {
    ++written;
    ef::write_file(update.path() + "/note.txt", "with the rest");
  });
  EXPECT_EQ(written, before.steps() == 5 && ef::DataParallel().rank() == 0 ? 1 : 0);
  EXPECT_EQ(ef::read_file(folder.path() + "/note.txt"), "with the rest");

  Model<double> loaded = Model<double>::from_pretrained(folder.path());
  Alone<double, ef::AdamW> after(loaded, ef::AdamW<double>(), options());
  after.resume(folder.path());
  expect_same<double>(train<double>(after, loaded, 10), expected, 1e-12);
  EXPECT_LE(difference(loaded, whole), 1e-12);

  for (int size = 1; size <= ef::DataParallel().size(); ++size) {
    const Group group(size);
    if (group.communicator == MPI_COMM_NULL) continue;
    Model<double> model = Model<double>::from_pretrained(folder.path());
    Together<double, ef::AdamW> trainer(model, ef::AdamW<double>(), options(),
                                        ef::DataParallel(group.communicator));
    trainer.resume(folder.path());
    ASSERT_EQ(trainer.steps(), 5);
    expect_same<double>(train<double>(trainer, model, 10), expected, 1e-12);
    EXPECT_LE(difference(model, whole), 1e-12);
  }
}

TEST(DataParallel, GoesOnWithWhatOneProcessSaved) {
  Model<float> model(small());
  const SharedFolder folder;
  {
    Alone<float, ef::Lamb> trainer(model, ef::Lamb<float>(), options());
    train<float>(trainer, model, 5);
    if (ef::DataParallel().rank() == 0) trainer.save(folder.path());
  }
  MPI_Barrier(MPI_COMM_WORLD);
  Together<float, ef::Lamb> several(model, ef::Lamb<float>(), options());
  several.resume(folder.path());
  const SharedFolder again;
  several.save(again.path());
  EXPECT_EQ(ef::read_file(folder.path() + "/optimizer.safetensors"),
            ef::read_file(again.path() + "/optimizer.safetensors"));
  EXPECT_EQ(ef::read_file(folder.path() + "/model.safetensors"),
            ef::read_file(again.path() + "/model.safetensors"));
}

TEST(DataParallel, AllSayWhatOneFoundWrong) {
  const ef::DataParallel workers;
  const Index last = workers.size() - 1;
  Model<float> model(small());
  Together<float, ef::AdamW> trainer(model, ef::AdamW<float>(), options());
  ef::Context cx(1);
  const auto step_with = [&](auto&& bad) {
    (void)trainer.step(cx, parts, [&](ef::Context& context, Index part) -> ef::PartLoss<float> {
      const ef::MaskedBatch masked = part_of(0, part);
      auto loss =
          ef::cross_entropy(context, model(context, masked.batch, masked.positions), masked.labels);
      if (part % workers.size() == last) bad(loss);
      return {loss};
    });
  };
  const std::string process = workers.rank() == last ? "" : ef::concat("process ", last, " of ");
  ef::tests::expect_parts(
      ef::tests::message_of<ef::Error>([&] { step_with([](auto& loss) { loss.fill(NAN); }); }),
      {process, "the loss of update 1 is nan"});
  ef::tests::expect_parts(ef::tests::message_of<ef::Error>(
                              [&] { step_with([](auto&) { throw ef::IoError("no such text"); }); }),
                          {process, "no such text"});
  if (workers.size() > 1) {
    ef::tests::expect_parts(ef::tests::message_of<ef::Error>(
                                [&] { train<float>(trainer, model, 1, parts + workers.rank()); }),
                            {"parts of the batch", "6 in one", "in another"});
    ef::RobertaConfig config = small();
    config.intermediate_size += workers.rank();
    Model<float> other(config);
    using Trainer = Together<float, ef::AdamW>;
    ef::tests::expect_parts(ef::tests::message_of<ef::Error>([&] {
                              const Trainer refused(other, ef::AdamW<float>(), options());
                            }),
                            {"numbers in the model"});
  }
  EXPECT_THROW(trainer.save("/dev/null/folder"), ef::Error);
  EXPECT_THROW(trainer.resume("/dev/null/folder"), ef::Error);
  EXPECT_EQ(trainer.steps(), 0);
  train<float>(trainer, model, 1);  // nothing is left of all that
  EXPECT_EQ(trainer.steps(), 1);
}

int main(int argc, char** argv) {
  try {
    const ef::MpiSession session(argc, argv);
    if (argc > 1 && std::string(argv[1]) == "--exception") {
      const ef::DataParallel workers;
      if (workers.rank() == workers.size() - 1) throw std::runtime_error("no text on this machine");
      workers.together([] {});
      return 0;
    }
    ::testing::InitGoogleTest(&argc, argv);
    return RUN_ALL_TESTS();
  } catch (const std::exception& problem) {
    std::fprintf(stderr, "error: %s\n", problem.what());
    return 1;
  }
}
