// The kernels of the project's own programs, compiled once for all of them.
#define EIGENFORMER_KERNELS_HERE
#include "eigenformer/kernels/isa/kernels.hpp"
