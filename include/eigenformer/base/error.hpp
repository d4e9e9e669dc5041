// Errors: one hierarchy of exceptions, and check(), which builds its message on the cold path only.
// A message names the thing, the two values that disagree and, where there is one, the fix.
#pragma once

#include <charconv>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <initializer_list>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>

namespace eigenformer {

/// The base of everything that this library throws.
class Error : public std::runtime_error {
 public:
  /// `message` is what what() returns.
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

/// One piece of a message, type-erased: every message goes through the same few functions, so that
/// a check costs the compiler next to nothing.
class MessagePart {
 public:
  MessagePart(std::string_view text) noexcept  // NOLINT: made from whatever a message holds
      : object_(text.data()),
        size_(text.size()),
        append_([](std::string& out, const MessagePart& part) {
          out.append(static_cast<const char*>(part.object_), part.size_);
        }) {}
  MessagePart(const char* text) noexcept : MessagePart(std::string_view(text)) {}  // NOLINT
  MessagePart(const std::string& text) noexcept                                    // NOLINT
      : MessagePart(std::string_view(text)) {}
  MessagePart(const char& part) noexcept : MessagePart(std::string_view(&part, 1)) {}  // NOLINT
  MessagePart(bool part) noexcept : MessagePart(part ? "true" : "false") {}            // NOLINT

  template <std::integral Integer>
  MessagePart(Integer part) noexcept  // NOLINT
      : integer_(static_cast<std::uint64_t>(part)),
        append_(std::is_signed_v<Integer> ? append_signed : append_unsigned) {}

  template <std::floating_point Real>
  MessagePart(Real part) noexcept  // NOLINT
      : real_(static_cast<double>(part)), append_(append_real) {}

  /// Anything else says itself how it is written, by `to_string()`.
  template <class Part>
  requires requires(const Part& part) {
    { part.to_string() } -> std::convertible_to<std::string>;
  }
  MessagePart(const Part& part) noexcept  // NOLINT
      : object_(&part), append_([](std::string& out, const MessagePart& erased) {
          out += static_cast<const Part*>(erased.object_)->to_string();
        }) {}

  void append_to(std::string& out) const { append_(out, *this); }

 private:
  static void append_signed(std::string& out, const MessagePart& part) {
    append_number(out, static_cast<std::int64_t>(part.integer_));
  }
  static void append_unsigned(std::string& out, const MessagePart& part) {
    append_number(out, part.integer_);
  }
  template <class Integer>
  static void append_number(std::string& out, Integer number) {
    char buffer[24];
    out.append(buffer, std::to_chars(buffer, buffer + sizeof(buffer), number).ptr);
  }
  static void append_real(std::string& out, const MessagePart& part) {
    char buffer[40];
    const int length = std::snprintf(buffer, sizeof(buffer), "%.9g", part.real_);
    out.append(buffer, static_cast<std::size_t>(length));
  }

  union {
    const void* object_ = nullptr;
    std::uint64_t integer_;
    double real_;
  };
  std::size_t size_ = 0;
  void (*append_)(std::string&, const MessagePart&);
};

[[nodiscard, gnu::cold, gnu::noinline]] inline std::string join(
    std::initializer_list<MessagePart> parts) {
  std::string out;
  for (const MessagePart& part : parts) part.append_to(out);
  return out;
}

template <class Exception>
[[noreturn, gnu::cold, gnu::noinline]] void raise(std::initializer_list<MessagePart> parts) {
  throw Exception(join(parts));
}

}  // namespace detail

/// The parts written one after the other; numbers in decimal.
template <class... Parts>
[[nodiscard, gnu::always_inline]] inline std::string concat(const Parts&... parts) {
  return detail::join({detail::MessagePart(parts)...});
}

/// Throws `Exception` with the joined parts as its message.
template <class Exception = Error, class... Parts>
[[noreturn, gnu::always_inline]] inline void fail(const Parts&... parts) {
  detail::raise<Exception>({detail::MessagePart(parts)...});
}

/// Throws `Exception` with the joined parts as its message unless `condition` holds.
template <class Exception = Error, class... Parts>
[[gnu::always_inline]] inline void check(bool condition, const Parts&... parts) {
  if (!condition) [[unlikely]]
    detail::raise<Exception>({detail::MessagePart(parts)...});
}

}  // namespace eigenformer
