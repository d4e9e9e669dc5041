// The nn room: parameters and modules.
#pragma once

#include "eigenformer/nn/attention.hpp"
#include "eigenformer/nn/embedding.hpp"
#include "eigenformer/nn/encoder_layer.hpp"
#include "eigenformer/nn/feed_forward.hpp"
#include "eigenformer/nn/initializer.hpp"
#include "eigenformer/nn/key_value_cache.hpp"
#include "eigenformer/nn/layer_norm.hpp"
#include "eigenformer/nn/linear.hpp"
#include "eigenformer/nn/parameter.hpp"
#include "eigenformer/nn/pre_norm_layer.hpp"
#include "eigenformer/nn/residual.hpp"
#include "eigenformer/nn/visit.hpp"
