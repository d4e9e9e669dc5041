// FunctionRef: a borrowed callable of fixed signature; two pointers, no allocation.
#pragma once

#include <memory>
#include <type_traits>
#include <utility>

namespace eigenformer {

template <class Signature>
class FunctionRef;

/// Refers to a callable that must outlive the reference: use it for parameters only.
template <class Result, class... Arguments>
class FunctionRef<Result(Arguments...)> {
 public:
  /// Refers to `callable`, which takes the arguments and gives the result of the signature.
  template <class Callable>
  requires(!std::is_same_v<std::remove_cvref_t<Callable>, FunctionRef>)
      FunctionRef(Callable&& callable)
  noexcept  // NOLINT: implicit, as a parameter type
      : object_(const_cast<void*>(static_cast<const void*>(std::addressof(callable)))),
        call_([](void* object, Arguments... arguments) -> Result {
          return (*static_cast<std::remove_reference_t<Callable>*>(object))(
              std::forward<Arguments>(arguments)...);
        }) {}

  /// Calls what it refers to.
  Result operator()(Arguments... arguments) const {
    return call_(object_, std::forward<Arguments>(arguments)...);
  }

 private:
  void* object_;
  Result (*call_)(void*, Arguments...);
};

}  // namespace eigenformer
