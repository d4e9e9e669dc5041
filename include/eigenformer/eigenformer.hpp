// eigenformer: tensors and Transformers on Eigen. Everything, room by room.
#pragma once

#include "eigenformer/autograd.hpp"
#include "eigenformer/io.hpp"
#include "eigenformer/models.hpp"
#include "eigenformer/nn.hpp"
#include "eigenformer/pipelines.hpp"
#include "eigenformer/tokenizers.hpp"
#include "eigenformer/training.hpp"
