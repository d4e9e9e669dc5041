// Residual connection (arXiv:1512.03385): y = x + f(x).
#pragma once

#include <type_traits>
#include <utility>

#include "eigenformer/autograd/ops/pointwise.hpp"

namespace eigenformer {

/// Adds a module's output to its input. `Residual(module)` refers to a module that has a name of
/// its own, and holds one that has none.
template <class Module>
class Residual {
 public:
  /// Around `module`, which may be any function of (cx, x, rest...) to a tensor shaped as x.
  explicit Residual(Module&& module) : module_(std::forward<Module>(module)) {}

  /// x + module(x, rest...).
  template <class Input, class... Rest>
  [[nodiscard]] auto operator()(Context& cx, const Input& x, Rest&&... rest) const {
    const auto change = module_(cx, x, std::forward<Rest>(rest)...);
    return add(cx, std::remove_cvref_t<decltype(change)>(x), change);
  }

 private:
  Module module_;
};

/// A reference for a module that has a name, the module itself for one that has none.
template <class Module>
Residual(Module&&) -> Residual<Module>;

}  // namespace eigenformer
