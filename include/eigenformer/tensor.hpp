// The tensor room: tensors and the memory that they use.
#pragma once

#include "eigenformer/tensor/memory_pool.hpp"
#include "eigenformer/tensor/tensor.hpp"
