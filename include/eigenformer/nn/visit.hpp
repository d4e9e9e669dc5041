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
  std::string_view name;    ///< such as "encoder.layer.0.attention.self.query.weight"
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

/// Walks down a module, joining names.
template <class Function>
class Visitor {
 public:
  explicit Visitor(Function& function) : function_(function) {}

  template <class Part>
  void operator()(std::string_view name, Part&& part) {
    using Plain = std::remove_cvref_t<Part>;
    if constexpr (is_optional<Plain>) {
      if (part.has_value()) (*this)(name, *part);
      return;
    } else {
      const std::size_t length = path_.size();
      if (length > 0) path_ += '.';
      path_ += name;
      if constexpr (is_parameter<Plain>) {
        emit(part, 0, rows(part), false);
      } else if constexpr (is_rows<Plain>) {
        emit(*part.parameter, part.begin, part.end, false);
      } else if constexpr (is_transposed<Plain>) {
        emit(*part.parameter, 0, rows(*part.parameter), false, /*is_transposed=*/true);
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
  template <class P>
  void tied(std::string_view name, P& parameter) {
    const std::size_t length = path_.size();
    if (length > 0) path_ += '.';
    path_ += name;
    emit(parameter, 0, rows(parameter), true);
    path_.resize(length);
  }

 private:
  template <class P>
  static Index rows(const P& parameter) {
    return parameter.shape().rank() == 0 ? 0 : parameter.shape()[0];
  }
  template <class P>
  void emit(P& parameter, Index begin, Index end, bool is_tied, bool is_transposed = false) {
    function_(NamedParameter<P>{path_, parameter, begin, end, is_tied, is_transposed});
  }

  Function& function_;
  std::string path_;
};

}  // namespace detail

/// Calls function(NamedParameter) for every name of a module, in the order of its visit().
template <class Module, class Function>
void for_each_parameter(Module& module, Function&& function) {
  detail::Visitor<std::remove_reference_t<Function>> visitor(function);
  std::remove_cv_t<Module>::visit(module, visitor);
}

/// How many numbers a module holds; tied parameters count once.
template <class Module>
[[nodiscard]] Index parameter_count(const Module& module) {
  Index count = 0;
  for_each_parameter(module, [&](const auto& named) {
    if (!named.tied) count += named.shape().numel();
  });
  return count;
}

}  // namespace eigenformer
