// All fused operations.
#pragma once

#include "eigenformer/autograd/ops/attention.hpp"
#include "eigenformer/autograd/ops/checkpoint.hpp"
#include "eigenformer/autograd/ops/embedding.hpp"
#include "eigenformer/autograd/ops/linear.hpp"
#include "eigenformer/autograd/ops/loss.hpp"
#include "eigenformer/autograd/ops/low_rank.hpp"
#include "eigenformer/autograd/ops/norm.hpp"
#include "eigenformer/autograd/ops/pointwise.hpp"
#include "eigenformer/autograd/ops/rearrange.hpp"
#include "eigenformer/autograd/ops/reduce.hpp"
