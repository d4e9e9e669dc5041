// Errors: one hierarchy of exceptions, and check(), which builds its message on the cold path only.
// A message names the thing, the two values that disagree and, where there is one, the fix.
#pragma once

#include <charconv>
#include <concepts>
#include <cstddef>
#include <cstdio>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>

namespace eigenformer {

/// The base of everything that this library throws.
class Error : public std::runtime_error {
 public:
  explicit Error(const std::string& message) : std::runtime_error(message) {}
};
/// Sizes that do not fit each other, or an index outside its range.
class ShapeError : public Error {
 public:
  using Error::Error;
};
/// A configuration that is missing a key, contradicts itself or asks for something unknown.
class ConfigError : public Error {
 public:
  using Error::Error;
};
/// A file whose contents break the rules of its format.
class FormatError : public Error {
 public:
  using Error::Error;
};
/// A file that cannot be opened, read, mapped or written.
class IoError : public Error {
 public:
  using Error::Error;
};
/// A gradient was asked for where none is defined.
class NotDifferentiable : public Error {
 public:
  using Error::Error;
};

namespace detail {

inline void append(std::string& out, std::string_view part) { out += part; }
template <std::integral Integer>
void append(std::string& out, Integer part) {
  if constexpr (std::same_as<Integer, bool>) {
    out += part ? "true" : "false";
  } else if constexpr (std::same_as<Integer, char>) {
    out += part;
  } else {
    char buffer[24];
    out.append(buffer, std::to_chars(buffer, buffer + sizeof(buffer), part).ptr);
  }
}

template <std::floating_point Real>
void append(std::string& out, Real part) {
  char buffer[40];
  const int length = std::snprintf(buffer, sizeof(buffer), "%.9g", static_cast<double>(part));
  out.append(buffer, static_cast<std::size_t>(length));
}

/// Anything else says itself how it is written, by `to_string()`.
template <class Part>
requires requires(const Part& part) {
  { part.to_string() } -> std::convertible_to<std::string>;
}
void append(std::string& out, const Part& part) { out += part.to_string(); }

}  // namespace detail

/// The parts written one after the other; numbers in decimal.
template <class... Parts>
[[nodiscard]] std::string concat(const Parts&... parts) {
  std::string out;
  (detail::append(out, parts), ...);
  return out;
}

/// Throws `Exception` with the joined parts as its message.
template <class Exception = Error, class... Parts>
[[noreturn, gnu::cold, gnu::noinline]] void fail(const Parts&... parts) {
  throw Exception(concat(parts...));
}

/// Throws `Exception` with the joined parts as its message unless `condition` holds.
template <class Exception = Error, class... Parts>
void check(bool condition, const Parts&... parts) {
  if (!condition) [[unlikely]] {
    fail<Exception>(parts...);
  }
}

}  // namespace eigenformer
