// The autograd room: contexts, the tape, and the operations that it records.
#pragma once

#include "eigenformer/autograd/context.hpp"
#include "eigenformer/autograd/gradcheck.hpp"
#include "eigenformer/autograd/ops.hpp"
#include "eigenformer/autograd/tape.hpp"
