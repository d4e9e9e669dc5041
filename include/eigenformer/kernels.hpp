// The kernels room: loops over plain memory. Their reference twins, which tests alone need, are in
// kernels/reference.
#pragma once

#include "eigenformer/kernels/activation.hpp"
#include "eigenformer/kernels/attention.hpp"
#include "eigenformer/kernels/dropout.hpp"
#include "eigenformer/kernels/embedding.hpp"
#include "eigenformer/kernels/gemm.hpp"
#include "eigenformer/kernels/loss.hpp"
#include "eigenformer/kernels/matrix_view.hpp"
#include "eigenformer/kernels/norm.hpp"
#include "eigenformer/kernels/rounding.hpp"
#include "eigenformer/kernels/softmax.hpp"
