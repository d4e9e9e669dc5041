// Names once: every module has one static `visit(self, f)` that calls f("name", part) for each
// parameter and sub-module, with Hugging Face's names. Joined with dots on the way down, these
// give loading, saving, counting, freezing and key lists from a single place.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "eigenformer/nn/parameter.hpp"

namespace eigenformer {

/// One entry of a model's key list: a parameter, or some of its rows, under its full name.
/// Freezing acts on the whole parameter: where whole() is false, other names share its fate, as
/// query, key and value do.
template <class P>
struct NamedParameter {
  std::string name;         ///< such as "encoder.layer.0.attention.self.query.weight"
  P& parameter;             ///< the whole parameter
  Index begin = 0;          ///< first row of the parameter that the name stands for
  Index end = 0;            ///< one past the last row
  bool tied = false;        ///< another name stands for the same parameter
  bool transposed = false;  ///< files have the matrix transposed

  /// Whether the name stands for all of the parameter.
  [[nodiscard]] bool whole() const {
    return begin == 0 && (parameter.shape().rank() == 0 || end == parameter.shape()[0]);
  }
  /// The shape of what the name stands for.
  [[nodiscard]] Shape shape() const {
    return whole() ? parameter.shape() : parameter.shape().with(0, end - begin);
  }
  /// The same as files have it.
  [[nodiscard]] Shape file_shape() const {
    return transposed ? Shape{shape()[1], shape()[0]} : shape();
  }
  /// The numbers that the name stands for; shares the parameter's storage. Throws Error while there
  /// are none.
  [[nodiscard]] auto value() const {
    parameter.require_value();
    return whole() ? parameter.value() : parameter.value().rows(begin, end);
  }
};

/// The names of a module and what they stand for.
template <class P>
using NamedParameters = std::vector<NamedParameter<P>>;

namespace detail {

template <class Part>
inline constexpr bool is_parameter = false;
template <class Scalar>
inline constexpr bool is_parameter<Parameter<Scalar>> = true;

template <class Part>
inline constexpr bool is_rows = false;
template <class P>
inline constexpr bool is_rows<ParameterRows<P>> = true;

template <class Part>
inline constexpr bool is_transposed = false;
template <class P>
inline constexpr bool is_transposed<TransposedParameter<P>> = true;

template <class Part>
inline constexpr bool is_vector = false;
template <class Module>
inline constexpr bool is_vector<std::vector<Module>> = true;

template <class Part>
inline constexpr bool is_optional = false;
template <class Module>
inline constexpr bool is_optional<std::optional<Module>> = true;

/// The arithmetic of a module: its `Scalar`, else the first argument of its template, or that
/// one's.
template <class Module>
struct ScalarOf {};
template <class Module>
requires requires { typename Module::Scalar; }
struct ScalarOf<Module> {
  using type = typename Module::Scalar;
};
template <template <class...> class Template, class First, class... Rest>
requires(!requires {
  typename Template<First, Rest...>::Scalar;
}) struct ScalarOf<Template<First, Rest...>> : ScalarOf<First> {
};
template <>
struct ScalarOf<float> {
  using type = float;
};
template <>
struct ScalarOf<double> {
  using type = double;
};

/// Walks down a module, joining names. One type for all that is done with parameters: compilers
/// spend their time on every visit() for every type of visitor.
template <class P>
class Visitor {
 public:
  template <class Part>
  void operator()(std::string_view name, Part&& part) {
    using Plain = std::remove_cvref_t<Part>;
    if constexpr (is_optional<Plain>) {
      if (part.has_value()) (*this)(name, *part);
    } else {
      const std::size_t length = enter(name);
      if constexpr (is_parameter<Plain>) {
        add(part, 0, rows(part));
      } else if constexpr (is_rows<Plain>) {
        add(*part.parameter, part.begin, part.end);
      } else if constexpr (is_transposed<Plain>) {
        add(*part.parameter, 0, rows(*part.parameter));
        found_.back().transposed = true;
      } else if constexpr (is_vector<Plain>) {
        std::size_t i = 0;
        for (auto& module : part) (*this)(std::to_string(i++), module);
      } else {
        Plain::visit(part, *this);
      }
      path_.resize(length);
    }
  }

  /// A second name of a parameter that has been visited under its own.
  void tied(std::string_view name, P& parameter) {
    const std::size_t length = enter(name);
    add(parameter, 0, rows(parameter));
    found_.back().tied = true;
    path_.resize(length);
  }

  [[nodiscard]] NamedParameters<P>& found() noexcept { return found_; }

 private:
  static Index rows(const P& parameter) {
    return parameter.shape().rank() == 0 ? 0 : parameter.shape()[0];
  }
  /// Adds a name to the path, and gives the path's length before.
  std::size_t enter(std::string_view name) {
    const std::size_t length = path_.size();
    if (length > 0) path_ += '.';
    path_ += name;
    return length;
  }
  void add(P& parameter, Index begin, Index end) {
    found_.push_back(NamedParameter<P>{path_, parameter, begin, end});
  }

  std::string path_;
  NamedParameters<P> found_;
};

}  // namespace detail

/// Every name of a module, in the order of its visit(). The entries refer to the module. Its
/// arithmetic is the first argument of its template, or is called `Scalar` there.
template <class Module>
[[nodiscard]] auto named_parameters(Module& module) {
  using Mutable = std::remove_const_t<Module>;
  using P = Parameter<typename detail::ScalarOf<Mutable>::type>;
  detail::Visitor<P> visitor;
  Mutable::visit(const_cast<Mutable&>(module), visitor);  // visits for const ones change nothing
  if constexpr (std::is_const_v<Module>) {
    NamedParameters<const P> found;
    for (NamedParameter<P>& named : visitor.found()) {
      found.push_back({std::move(named.name), named.parameter, named.begin, named.end, named.tied,
                       named.transposed});
    }
    return found;
  } else {
    return std::move(visitor.found());
  }
}

/// How many numbers a module holds; tied parameters count once.
template <class Module>
[[nodiscard]] Index parameter_count(const Module& module) {
  Index count = 0;
  for (const auto& named : named_parameters(module)) {
    if (!named.tied) count += named.shape().numel();
  }
  return count;
}

}  // namespace eigenformer
