// Data-parallel training over MPI: each process computes some parts of every batch, and each owns a
// share of the parameters, whose moments it alone keeps (ZeRO stage 1: Rajbhandari et al.,
// arXiv:1910.02054). An update sends each gradient to its owners while the backward pass goes on;
// they add up those of all processes in the order of their ranks, clip by the norm over all, and
// change their shares; then they send the new numbers to all. No sum depends on timing, so the same
// processes with the same batches make the same bits.
// Needs MPI, and is in no umbrella header: link MPI::MPI_CXX, and start with mpirun.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <exception>
#include <functional>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <type_traits>
#include <unordered_map>
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
template <class Scalar, class Model>
class GradientSum;

/// The processes of a communicator that train one model together: the `Workers` of a Trainer. Part
/// i of a batch is computed by rank i modulo the number of processes. Errors of one process are
/// thrown by all; those of MPI itself end them all, as MPI does by default.
///
/// Each parameter is cut between rows into a piece for each process, so that shares are of about
/// equal size. They depend on the model and the number of processes alone, not on what is frozen. A
/// Lamb's are cut between parameters.
///
/// What overlaps: gradients go from the last of a process's parts on their way as soon as they and
/// all after them in the model are there, while the backward pass goes on to the layers below; it
/// lets MPI go on with each gradient that it gives, since most MPI libraries send only while they
/// are called. An exchange goes in chunks, and while one is under way the one before is added up,
/// or copied to its place.
///
/// What an update costs beside its computing, for B bytes of parameters and n processes, each of
/// which sends and receives b bytes a second at once and needs l seconds for an empty message:
///   2 B (n - 1) / (n b) + 2 R (n - 1) l  seconds,  R = B / 4 MiB exchanges,
/// the first half of each term for the gradients, which need less where a backward pass goes on
/// meanwhile. roberta-base in float has B = 499 MB, R = 119, and each process keeps 2 B / n of
/// moments. Measured on 2026-11-26 by bench_data_parallel, two processes on one machine whose two
/// processors were busy with other programs too: b = 0.27 and 0.31 GB/s (gradients, parameters)
/// through shared memory, 0.19 and 0.21 GB/s through TCP, and 9.4 us for the sum of one number.
/// With those of TCP, and 9.4 us as l, 256 processes would take 5.0 + 0.6 s for an update beside
/// what its texts take (bench_training), however many those are.
class DataParallel {
 public:
  /// Of all processes that mpirun started; an MpiSession must be there.
  DataParallel() : DataParallel(MPI_COMM_WORLD) {}
  /// Of those of a communicator, which must outlive it. `chunk` numbers, those of all processes
  /// together, are exchanged at a time.
  explicit DataParallel(MPI_Comm communicator, Index chunk = Index{1} << 20)
      : communicator_(communicator), chunk_(chunk) {
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
    Index first = 0;  // the parameter's first number among all
    for (const auto& whole : named_parameters(model)) {
      const Index numbers = whole.shape().numel();
      if (whole.tied || numbers == 0) continue;
      const Index only = first * size_ / total;  // the owner of what is not cut
      const Index rows = std::max<Index>(whole.end - whole.begin, 1);
      for (Index owner = 0; owner < size_; ++owner) {
        const Index begin = by_element ? rows * owner / size_ : owner == only ? 0 : rows;
        const Index end = by_element ? rows * (owner + 1) / size_ : rows;
        if (begin == end) continue;
        auto piece = whole;
        piece.begin = whole.begin + begin;
        piece.end = std::min(whole.begin + end, whole.end);
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

  /// Begins to add up gradients over all processes.
  template <class Scalar, class Model>
  [[nodiscard]] GradientSum<Scalar, Model> sum_gradients(Model& model, Gradients<Scalar>& gradients,
                                                         bool by_element) const {
    return {*this, model, gradients, by_element};
  }

  /// Gives every process the parameters that have gradients as their owners have them.
  template <class Scalar, class Model>
  void spread(Model& model, const Gradients<Scalar>& gradients, bool by_element) const {
    Shares<Scalar> shares(static_cast<std::size_t>(size_));
    std::vector<Index> sizes(shares.size());
    for_each_piece(model, by_element, [&](const auto&, Index owner, const auto& piece) {
      if (gradients.find(std::as_const(piece.parameter).value()) == nullptr) return;
      auto numbers = piece.value();
      shares[static_cast<std::size_t>(owner)].append(numbers.data(), numbers.numel());
      sizes[static_cast<std::size_t>(owner)] += numbers.numel();
    });
    const MPI_Datatype type = detail::mpi_type<Scalar>();
    Exchange<Scalar> exchange(
        shares, sizes, chunk_,
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
    exchange.finish();
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
  template <class Scalar, class Model>
  friend class GradientSum;
  template <class Scalar>
  using Shares = std::vector<detail::Runs<Scalar>>;  // by owner

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

  /// Walks through all shares at once, chunk by chunk: begin(chunk) starts to exchange one,
  /// end(chunk) takes its result, while the next one is under way.
  template <class Scalar>
  class Exchange {
   public:
    using Step = std::function<void(Chunk<Scalar>&)>;

    /// `shares` will have `sizes` numbers in the end; they must outlive it.
    Exchange(const Shares<Scalar>& shares, std::vector<Index> sizes, Index chunk, Step begin,
             Step end)
        : shares_(shares),
          sizes_(std::move(sizes)),
          begin_(std::move(begin)),
          end_(std::move(end)) {
      const auto owners = static_cast<Index>(sizes_.size());
      length_ = std::max<Index>(1, chunk / owners);
      const Index longest = *std::max_element(sizes_.begin(), sizes_.end());
      count_ = (longest + length_ - 1) / length_;
      for (auto& buffer : chunks_) {
        buffer.counts.resize(sizes_.size());
        for (Index owner = 0; owner < owners; ++owner) {
          buffer.places.push_back(static_cast<int>(owner * length_));
        }
        buffer.sent.resize(static_cast<std::size_t>(owners * length_));
        buffer.received.resize(buffer.sent.size());
      }
    }

    /// Begins and ends what can be without waiting.
    void advance() { advance(false); }
    /// All of it.
    void finish() { advance(true); }
    /// How many chunks are under way or done, and how many there are.
    [[nodiscard]] std::pair<Index, Index> begun() const noexcept { return {begun_, count_}; }

   private:
    void advance(bool waits) {
      for (;;) {
        if (begun_ < count_ && begun_ - ended_ < std::ssize(chunks_) && is_there()) {
          begin_next();
          continue;
        }
        if (ended_ == begun_) return;
        Chunk<Scalar>& oldest = chunks_[static_cast<std::size_t>(ended_) % chunks_.size()];
        int done = 1;
        if (waits)
          MPI_Wait(&oldest.request, MPI_STATUS_IGNORE);
        else
          MPI_Test(&oldest.request, &done, MPI_STATUS_IGNORE);
        if (done == 0) return;
        end_(oldest);
        ++ended_;
      }
    }

    /// Whether the shares have the numbers of the next chunk.
    [[nodiscard]] bool is_there() const {
      for (std::size_t owner = 0; owner < sizes_.size(); ++owner) {
        if (shares_[owner].size() < std::min(sizes_[owner], (begun_ + 1) * length_)) return false;
      }
      return true;
    }

    void begin_next() {
      Chunk<Scalar>& chunk = chunks_[static_cast<std::size_t>(begun_) % chunks_.size()];
      chunk.first = begun_ * length_;
      for (std::size_t owner = 0; owner < sizes_.size(); ++owner) {
        chunk.counts[owner] =
            static_cast<int>(std::clamp<Index>(sizes_[owner] - chunk.first, 0, length_));
      }
      begin_(chunk);
      ++begun_;
    }

    const Shares<Scalar>& shares_;
    std::vector<Index> sizes_;
    Step begin_, end_;
    Index length_ = 0;  // numbers of a share in a chunk
    Index count_ = 0, begun_ = 0, ended_ = 0;
    std::array<Chunk<Scalar>, 2> chunks_;
  };

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
  Index chunk_;
  int rank_ = 0;
  int size_ = 1;
};

/// Sums of gradients over all processes, on their way while a backward pass goes on: from the
/// model's last parameter to the first, the order in which it gives most of them.
template <class Scalar, class Model>
class GradientSum {
 public:
  /// Of the model's parameters that are trained, of which `gradients` get those of this process.
  /// All of it must stay where it is.
  GradientSum(const DataParallel& workers, Model& model, Gradients<Scalar>& gradients,
              bool by_element)
      : workers_(workers),
        gradients_(gradients),
        shares_(static_cast<std::size_t>(workers.size())) {
    std::vector<Index> sizes(shares_.size());
    workers.for_each_piece(model, by_element, [&](const auto&, Index owner, const Piece& piece) {
      const auto& parameter = std::as_const(piece.parameter);
      if (!parameter.trainable || !parameter.defined()) return;
      const auto [found, added] =
          numbers_.try_emplace(parameter.value().data(), parameters_.size());
      if (added) parameters_.push_back({parameter.value(), {}});
      parameters_[found->second].pieces.emplace_back(owner, piece);
      sizes[static_cast<std::size_t>(owner)] += piece.shape().numel();
    });
    const MPI_Datatype type = detail::mpi_type<Scalar>();
    const std::size_t own = workers.own();
    exchange_.emplace(
        shares_, std::move(sizes), workers.chunk_,
        [this, type, own](Chunk& chunk) {
          for (std::size_t owner = 0; owner < shares_.size(); ++owner) {
            shares_[owner].read(chunk.first, chunk.counts[owner],
                                chunk.sent.data() + chunk.places[owner]);
          }
          chunk.own_counts.assign(shares_.size(), chunk.counts[own]);
          MPI_Ialltoallv(chunk.sent.data(), chunk.counts.data(), chunk.places.data(), type,
                         chunk.received.data(), chunk.own_counts.data(), chunk.places.data(), type,
                         workers_.communicator_, &chunk.request);
        },
        [this, own](Chunk& chunk) {
          const Index count = chunk.counts[own];
          using Numbers = Eigen::Array<Scalar, Eigen::Dynamic, 1>;
          Eigen::Map<Numbers> sum(chunk.received.data(), count);  // from rank 0
          for (std::size_t rank = 1; rank < shares_.size(); ++rank) {
            sum += Eigen::Map<Numbers>(chunk.received.data() + chunk.places[rank], count);
          }
          shares_[own].write(chunk.first, count, sum.data());
        });
  }
  GradientSum(const GradientSum&) = delete;
  GradientSum& operator=(const GradientSum&) = delete;

  /// The gradient for a leaf will not change any more.
  void ready(const Tensor<Scalar>& leaf) {
    const auto found = numbers_.find(leaf.data());
    if (found != numbers_.end()) parameters_.at(found->second).ready = true;
    while (!parameters_.empty() && parameters_.back().ready) send_last();
    exchange_->advance();
  }

  /// Ends the sums: afterwards those of the process's share are right, and all processes have
  /// gradients for the same parameters.
  void finish() {
    while (!parameters_.empty()) send_last();
    exchange_->finish();
    MPI_Allreduce(MPI_IN_PLACE, has_.data(), static_cast<int>(has_.size()), MPI_INT, MPI_MAX,
                  workers_.communicator_);
    for (std::size_t i = 0; i < has_.size(); ++i) {
      if (has_[i] == 0) gradients_.drop(sent_[i]);
    }
  }

  /// How many of the sums' chunks are on their way or done, and how many there are.
  [[nodiscard]] std::pair<Index, Index> begun() const noexcept { return exchange_->begun(); }

 private:
  using Piece = typename decltype(named_parameters(std::declval<Model&>()))::value_type;
  using Chunk = DataParallel::Chunk<Scalar>;

  struct Summed {
    Tensor<Scalar> value;
    std::vector<std::pair<Index, Piece>> pieces;  // with their owners
    bool ready = false;
  };

  /// Appends the last parameter's gradient to the shares; zeros where there is none.
  void send_last() {
    const Summed& parameter = parameters_.back();
    has_.push_back(gradients_.find(parameter.value) == nullptr ? 0 : 1);
    sent_.push_back(parameter.value);
    const Tensor<Scalar>& gradient = gradients_.at(parameter.value);
    for (const auto& [owner, piece] : parameter.pieces) {
      Tensor<Scalar> rows = DataParallel::rows(gradient, piece);
      shares_[static_cast<std::size_t>(owner)].append(rows.data(), rows.numel());
    }
    parameters_.pop_back();
  }

  DataParallel workers_;
  Gradients<Scalar>& gradients_;
  std::vector<Summed> parameters_;                          // not sent yet
  std::unordered_map<const Scalar*, std::size_t> numbers_;  // in parameters_, by storage
  std::vector<Tensor<Scalar>> sent_;                        // in the order of sending
  std::vector<int> has_;                                    // whether there was a gradient
  DataParallel::Shares<Scalar> shares_;
  std::optional<DataParallel::Exchange<Scalar>> exchange_;
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
