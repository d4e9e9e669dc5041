// Data-parallel training over MPI: each process computes some parts of every batch, and each owns a
// share of the parameters, whose moments it alone keeps (ZeRO stage 1: Rajbhandari et al.,
// arXiv:1910.02054). An update sends each gradient to its owner, which adds up those of all
// processes in the order of their ranks, clips by the norm over all, and changes its share; then
// the owners send the new numbers to all. No sum depends on timing, so the same processes with the
// same batches make the same bits.
// Needs MPI, and is in no umbrella header: link MPI::MPI_CXX, and start with mpirun.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <exception>
#include <functional>
#include <map>
#include <span>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#define OMPI_SKIP_MPICXX 1  // the C functions alone
#define MPICH_SKIP_MPICXX 1
#include "eigenformer/training/gradients.hpp"
#include "eigenformer/training/optimizer.hpp"

#include <mpi.h>

namespace eigenformer {

/// MPI for as long as it lives; made first in main(). It is not finalized where an exception ends
/// the program: then mpirun ends the other processes too, which could else wait forever.
class MpiSession {
 public:
  /// Throws Error where MPI cannot be called from a program with threads.
  MpiSession(int& argc, char**& argv) {
    int provided = 0;
    MPI_Init_thread(&argc, &argv, MPI_THREAD_FUNNELED, &provided);
    check(provided >= MPI_THREAD_FUNNELED, "MPI: this one does not work with threads");
  }
  MpiSession(const MpiSession&) = delete;
  MpiSession& operator=(const MpiSession&) = delete;
  ~MpiSession() {
    if (std::uncaught_exceptions() == 0) MPI_Finalize();
  }
};

namespace detail {

template <class Number>
[[nodiscard]] MPI_Datatype mpi_type() noexcept {
  if constexpr (std::is_same_v<Number, float>)
    return MPI_FLOAT;
  else if constexpr (std::is_same_v<Number, double>)
    return MPI_DOUBLE;
  else
    return MPI_INT;
}

/// Numbers that lie in several places, as if one after the other.
template <class Scalar>
class Runs {
 public:
  void append(Scalar* begin, Index count) {
    runs_.push_back({begin, size_});
    size_ += count;
  }
  [[nodiscard]] Index size() const noexcept { return size_; }

  void read(Index first, Index count, Scalar* out) const {
    for_each(first, count, [&](const Scalar* run, Index n) { out = std::copy_n(run, n, out); });
  }
  void write(Index first, Index count, const Scalar* in) const {
    for_each(first, count, [&](Scalar* run, Index n) {
      std::copy_n(in, n, run);
      in += n;
    });
  }

 private:
  struct Run {
    Scalar* begin;
    Index first;  // the number of its first number
  };

  template <class Function>
  void for_each(Index first, Index count, Function&& f) const {
    auto run = std::upper_bound(runs_.begin(), runs_.end(), first,
                                [](Index number, const Run& r) { return number < r.first; });
    for (; count > 0; ++run) {
      const Index end = run == runs_.end() ? size_ : run->first;
      const Index n = std::min(count, end - first);
      const Run& here = run[-1];
      f(here.begin + (first - here.first), n);
      first += n;
      count -= n;
    }
  }

  std::vector<Run> runs_;
  Index size_ = 0;
};

}  // namespace detail

template <class Model>
class ModelShare;

/// The processes of a communicator that train one model together: the `Workers` of a Trainer. Part
/// i of a batch is computed by rank i modulo the number of processes. Errors of one process are
/// thrown by all; those of MPI itself end them all, as MPI does by default.
///
/// Shares are of about equal size, and cut between rows. They depend on the model and the number of
/// processes alone, not on what is frozen. A Lamb's are cut between parameters.
///
/// What overlaps: an exchange goes in chunks, and while one is under way the one before is added
/// up, or copied to its place. Computing overlaps with nothing: the tape gives its gradients when
/// its backward pass ends, most MPI libraries send only while they are called, and sending the
/// gradients of each part while the next one computes would send them as often as there are parts.
///
/// What an update costs beside its computing, for B bytes of parameters and n processes, each of
/// which sends and receives b bytes a second at once and needs l seconds for an empty message:
///   2 B (n - 1) / (n b) + 2 R (n - 1) l  seconds,  R = B / 4 MiB exchanges,
/// the first half of each term for the gradients. roberta-base in float has B = 499 MB, R = 119,
/// and each process keeps 2 B / n of moments. Measured on 2026-11-26 by bench_data_parallel, two
/// processes on one machine whose two processors were busy with other programs too: b = 0.27 and
/// 0.31 GB/s (gradients, parameters) through shared memory, 0.19 and 0.21 GB/s through TCP, and
/// 9.4 us for the sum of one number. With those of TCP, and 9.4 us as l, 256 processes would take
/// 5.0 + 0.6 s for an update beside what its texts take (bench_training), however many those are.
class DataParallel {
 public:
  /// Of all processes that mpirun started; an MpiSession must be there.
  DataParallel() : DataParallel(MPI_COMM_WORLD) {}
  /// Of those of a communicator, which must outlive it.
  explicit DataParallel(MPI_Comm communicator) : communicator_(communicator) {
    MPI_Comm_rank(communicator_, &rank_);
    MPI_Comm_size(communicator_, &size_);
  }

  /// Which process this is, from 0.
  [[nodiscard]] Index rank() const noexcept { return rank_; }
  /// How many there are.
  [[nodiscard]] Index size() const noexcept { return size_; }

  /// Gives all processes the numbers of rank 0. Throws Error where the models have other shapes.
  template <class Model>
  void start(Model& model) const {
    require_same("numbers in the model", parameter_count(model));
    require_same("names in the model", static_cast<Index>(named_parameters(model).size()));
    for (const auto& named : named_parameters(model)) {
      if (named.tied) continue;
      auto value = named.value();
      for_each_message(value.data(), value.numel(), [&](auto* numbers, int n, MPI_Datatype type) {
        MPI_Bcast(numbers, n, type, 0, communicator_);
      });
    }
  }

  /// Calls f(), which may throw: then all processes throw, the others Error with the first one's
  /// message.
  template <class Function>
  void together(Function&& f) const {
    std::exception_ptr problem;
    std::string message;
    try {
      f();
    } catch (const std::exception& thrown) {
      problem = std::current_exception();
      message = thrown.what();
    } catch (...) {
      problem = std::current_exception();
      message = "an exception that is not a std::exception";
    }
    int first = problem == nullptr ? size_ : rank_;
    MPI_Allreduce(MPI_IN_PLACE, &first, 1, MPI_INT, MPI_MIN, communicator_);
    if (first == size_) return;
    auto length = static_cast<unsigned long>(message.size());
    MPI_Bcast(&length, 1, MPI_UNSIGNED_LONG, first, communicator_);
    message.resize(length);
    MPI_Bcast(message.data(), static_cast<int>(length), MPI_CHAR, first, communicator_);
    if (problem != nullptr) std::rethrow_exception(problem);
    fail<Error>("process ", first, " of ", size_, ": ", message);
  }

  /// Throws Error, in all processes, where a number is not the same in all.
  void require_same(const char* what, Index number) const {
    std::array<long long, 2> ends = {number, -static_cast<long long>(number)};
    MPI_Allreduce(MPI_IN_PLACE, ends.data(), 2, MPI_LONG_LONG, MPI_MAX, communicator_);
    check(ends[0] == -ends[1], "data parallel: ", what, ": ", -ends[1], " in one process, ",
          ends[0], " in another; all must train the same model on the same batches");
  }

  /// Adds up each number over all processes, in the order of their ranks.
  void sum(std::span<double> numbers) const {
    const std::size_t n = numbers.size();
    std::vector<double> all(n * static_cast<std::size_t>(size_));
    MPI_Allgather(numbers.data(), static_cast<int>(n), MPI_DOUBLE, all.data(), static_cast<int>(n),
                  MPI_DOUBLE, communicator_);
    std::fill(numbers.begin(), numbers.end(), 0.0);
    for (std::size_t i = 0; i < all.size(); ++i) numbers[i % n] += all[i];
  }
  /// The norm of all numbers, from that of each process's own.
  [[nodiscard]] double norm(double own) const {
    std::array<double, 1> square = {own * own};
    sum(square);
    return std::sqrt(square[0]);
  }

  /// Calls f(whole, owner, piece) for each parameter, tied ones once, and each process that owns
  /// rows of it: the rows, as a NamedParameter.
  template <class Model, class Function>
  void for_each_piece(Model& model, bool by_element, Function&& f) const {
    const Index total = parameter_count(model);
    const auto bound = [&](Index rank) {  // the first number that belongs to `rank`
      return total / size_ * rank + total % size_ * rank / size_;
    };
    Index first = 0;  // the parameter's first number among all
    for (const auto& whole : named_parameters(model)) {
      const Index numbers = whole.shape().numel();
      if (whole.tied || numbers == 0) continue;
      const Index rows = whole.end - whole.begin;
      const Index units = by_element ? std::max<Index>(rows, 1) : 1;  // which have one owner each
      const Index unit = numbers / units;
      const auto unit_from = [&](Index number) {
        return std::min(units, (std::max<Index>(0, number - first) + unit - 1) / unit);
      };
      for (Index owner = 0; owner < size_; ++owner) {
        const Index begin = unit_from(bound(owner));
        const Index end = unit_from(bound(owner + 1));
        if (begin == end) continue;
        auto piece = whole;
        piece.begin = whole.begin + rows * begin / units;
        piece.end = whole.begin + rows * end / units;
        f(whole, owner, piece);
      }
      first += numbers;
    }
  }
  /// The same for what this process owns: f(whole, mine).
  template <class Model, class Function>
  void for_each_own(Model& model, bool by_element, Function&& f) const {
    for_each_piece(model, by_element, [&](const auto& whole, Index owner, const auto& piece) {
      if (owner == rank_) f(whole, piece);
    });
  }
  /// What this process's optimizer changes.
  template <class Model>
  [[nodiscard]] ModelShare<Model> share(Model& model, bool by_element) const {
    return {*this, model, by_element};
  }

  /// Adds up gradients over all processes: afterwards those of the process's share are right, and
  /// all processes have gradients for the same parameters.
  template <class Scalar, class Model>
  void sum_gradients(Model& model, Gradients<Scalar>& gradients, bool by_element) const {
    std::vector<int> has;  // whether any process has a gradient, by name
    for (const auto& named : named_parameters(model)) {
      has.push_back(gradients.find(std::as_const(named.parameter).value()) == nullptr ? 0 : 1);
    }
    MPI_Allreduce(MPI_IN_PLACE, has.data(), static_cast<int>(has.size()), MPI_INT, MPI_MAX,
                  communicator_);
    auto found = has.begin();
    for (const auto& named : named_parameters(model)) {
      if (*found++ != 0) (void)gradients.at(std::as_const(named.parameter).value());
    }
    const auto shares = runs<Scalar>(model, gradients, by_element, [&](const auto& piece) {
      return rows(gradients.at(std::as_const(piece.parameter).value()), piece);
    });
    const MPI_Datatype type = detail::mpi_type<Scalar>();
    exchange<Scalar>(
        shares,
        [&](Chunk<Scalar>& chunk) {
          for (std::size_t owner = 0; owner < shares.size(); ++owner) {
            shares[owner].read(chunk.first, chunk.counts[owner],
                               chunk.sent.data() + chunk.places[owner]);
          }
          chunk.own_counts.assign(shares.size(), chunk.counts[own()]);
          MPI_Ialltoallv(chunk.sent.data(), chunk.counts.data(), chunk.places.data(), type,
                         chunk.received.data(), chunk.own_counts.data(), chunk.places.data(), type,
                         communicator_, &chunk.request);
        },
        [&](Chunk<Scalar>& chunk) {
          const Index count = chunk.counts[own()];
          using Numbers = Eigen::Array<Scalar, Eigen::Dynamic, 1>;
          Eigen::Map<Numbers> sum(chunk.received.data(), count);  // from rank 0
          for (std::size_t rank = 1; rank < shares.size(); ++rank) {
            sum += Eigen::Map<Numbers>(chunk.received.data() + chunk.places[rank], count);
          }
          shares[own()].write(chunk.first, count, sum.data());
        });
  }

  /// Gives every process the parameters that have gradients as their owners have them.
  template <class Scalar, class Model>
  void spread(Model& model, const Gradients<Scalar>& gradients, bool by_element) const {
    const auto shares =
        runs<Scalar>(model, gradients, by_element, [](const auto& piece) { return piece.value(); });
    const MPI_Datatype type = detail::mpi_type<Scalar>();
    exchange<Scalar>(
        shares,
        [&](Chunk<Scalar>& chunk) {
          shares[own()].read(chunk.first, chunk.counts[own()], chunk.sent.data());
          MPI_Iallgatherv(chunk.sent.data(), chunk.counts[own()], type, chunk.received.data(),
                          chunk.counts.data(), chunk.places.data(), type, communicator_,
                          &chunk.request);
        },
        [&](Chunk<Scalar>& chunk) {
          for (std::size_t owner = 0; owner < shares.size(); ++owner) {
            if (owner == own()) continue;
            shares[owner].write(chunk.first, chunk.counts[owner],
                                chunk.received.data() + chunk.places[owner]);
          }
        });
  }

  /// The state of all shares, at rank 0; elsewhere it is empty.
  template <class Model, class Scalar>
  [[nodiscard]] auto gather(Model& model,
                            const std::map<std::string, Moments<Scalar>, std::less<>>& state,
                            bool by_element) const {
    std::remove_cvref_t<decltype(state)> all;
    for_each_piece(model, by_element, [&](const auto& whole, Index owner, const auto& piece) {
      if (owner != rank_ && rank_ != 0) return;
      const auto mine = owner == rank_ ? state.find(whole.name) : state.end();
      int known = mine == state.end() ? 0 : 1;
      const int from = static_cast<int>(owner);
      if (owner != 0) pass_on(&known, 1, from);
      if (known == 0) return;
      if (rank_ != 0) {
        Moments<Scalar> moments = mine->second;
        pass_on(moments.mean.data(), moments.mean.numel(), from);
        pass_on(moments.square.data(), moments.square.numel(), from);
        return;
      }
      auto [place, added] = all.try_emplace(std::string(whole.name));
      if (added) {
        place->second = {Tensor<Scalar>::zeros(whole.shape()),
                         Tensor<Scalar>::zeros(whole.shape())};
      }
      auto in_whole = piece;
      in_whole.begin -= whole.begin;
      in_whole.end -= whole.begin;
      Tensor<Scalar> mean = rows(place->second.mean, in_whole);
      Tensor<Scalar> square = rows(place->second.square, in_whole);
      if (owner == 0) {
        mean.copy_from(mine->second.mean);
        square.copy_from(mine->second.square);
      } else {
        pass_on(mean.data(), mean.numel(), from);
        pass_on(square.data(), square.numel(), from);
      }
    });
    return all;
  }

 private:
  /// Numbers that are exchanged at a time, those of all processes together.
  static constexpr Index chunk_numbers = Index{1} << 20;

  /// An exchange under way: some numbers of each share.
  template <class Scalar>
  struct Chunk {
    Index first = 0;              // in each share
    std::vector<int> counts;      // by owner
    std::vector<int> places;      // by owner or sender, in `sent` and `received`
    std::vector<int> own_counts;  // by sender
    std::vector<Scalar> sent;
    std::vector<Scalar> received;
    MPI_Request request = MPI_REQUEST_NULL;
  };

  [[nodiscard]] std::size_t own() const noexcept { return static_cast<std::size_t>(rank_); }

  /// The rows of `numbers` that a piece stands for, where it is the whole parameter's.
  template <class Scalar, class Piece>
  static Tensor<Scalar> rows(const Tensor<Scalar>& numbers, const Piece& piece) {
    return numbers.rank() == 0 ? numbers : numbers.rows(piece.begin, piece.end);
  }

  /// What tensor_of(piece) gives for the pieces with gradients, by owner.
  template <class Scalar, class Model, class Function>
  [[nodiscard]] std::vector<detail::Runs<Scalar>> runs(Model& model,
                                                       const Gradients<Scalar>& gradients,
                                                       bool by_element,
                                                       Function&& tensor_of) const {
    std::vector<detail::Runs<Scalar>> shares(static_cast<std::size_t>(size_));
    for_each_piece(model, by_element, [&](const auto&, Index owner, const auto& piece) {
      if (gradients.find(std::as_const(piece.parameter).value()) == nullptr) return;
      Tensor<Scalar> tensor = tensor_of(piece);
      shares[static_cast<std::size_t>(owner)].append(tensor.data(), tensor.numel());
    });
    return shares;
  }

  /// Walks through all shares at once: begin(chunk) starts an exchange, end(chunk) takes its
  /// result, while the next one is under way.
  template <class Scalar, class Begin, class End>
  void exchange(const std::vector<detail::Runs<Scalar>>& shares, Begin&& begin, End&& end) const {
    const Index length = std::max<Index>(1, chunk_numbers / size_);
    Index longest = 0;
    for (const auto& share : shares) longest = std::max(longest, share.size());
    std::array<Chunk<Scalar>, 2> chunks;
    for (auto& chunk : chunks) {
      chunk.counts.resize(shares.size());
      for (int owner = 0; owner < size_; ++owner) {
        chunk.places.push_back(owner * static_cast<int>(length));
      }
      chunk.sent.resize(shares.size() * static_cast<std::size_t>(length));
      chunk.received.resize(chunk.sent.size());
    }
    const auto finish = [&](Chunk<Scalar>& chunk) {
      MPI_Wait(&chunk.request, MPI_STATUS_IGNORE);
      end(chunk);
    };
    std::size_t number = 0;
    for (Index first = 0; first < longest; first += length, ++number) {
      Chunk<Scalar>& chunk = chunks[number % 2];
      chunk.first = first;
      for (std::size_t owner = 0; owner < shares.size(); ++owner) {
        chunk.counts[owner] =
            static_cast<int>(std::clamp<Index>(shares[owner].size() - first, 0, length));
      }
      begin(chunk);
      if (number > 0) finish(chunks[(number + 1) % 2]);
    }
    if (number > 0) finish(chunks[(number + 1) % 2]);
  }

  /// Calls f(numbers, n, type) for messages that MPI can count.
  template <class Number, class Function>
  static void for_each_message(Number* numbers, Index count, Function&& f) {
    constexpr Index most = Index{1} << 28;
    for (Index first = 0; first < count; first += most) {
      f(numbers + first, static_cast<int>(std::min(most, count - first)),
        detail::mpi_type<Number>());
    }
  }

  /// Numbers from a process to rank 0, which call it alike.
  template <class Number>
  void pass_on(Number* numbers, Index count, int from) const {
    for_each_message(numbers, count, [&](Number* part, int n, MPI_Datatype type) {
      if (rank_ == 0)
        MPI_Recv(part, n, type, from, 0, communicator_, MPI_STATUS_IGNORE);
      else
        MPI_Send(part, n, type, 0, 0, communicator_);
    });
  }

  MPI_Comm communicator_;
  int rank_ = 0;
  int size_ = 1;
};

/// The rows of a model that one process owns: a module of them alone.
template <class Model>
class ModelShare {
 public:
  /// Refers to the model.
  ModelShare(const DataParallel& workers, Model& model, bool by_element)
      : workers_(workers), model_(model), by_element_(by_element) {}

  /// Visits the rows under the model's names.
  static void visit(auto& self, auto&& f) {
    self.workers_.for_each_own(self.model_, self.by_element_, [&](const auto&, const auto& mine) {
      f(mine.name, rows_of(mine.parameter, mine.begin, mine.end));
    });
  }

 private:
  DataParallel workers_;
  Model& model_;
  bool by_element_;
};

}  // namespace eigenformer
