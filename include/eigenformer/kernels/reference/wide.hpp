// The reference twins: for each kernel the shortest loops that are plainly the formula, one number
// at a time, computed in a wider type and rounded once at the end. No Eigen products, no threads,
// no blocks. Kernels are tested against them; nothing else uses them.
#pragma once

#include <type_traits>

namespace eigenformer::kernels::reference {

/// What a twin computes in.
template <class Scalar>
using Wide =
    std::conditional_t<std::is_same_v<std::remove_const_t<Scalar>, float>, double, long double>;

}  // namespace eigenformer::kernels::reference
