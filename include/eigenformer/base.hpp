// The base room: errors, shapes, number formats, random numbers, packed batches.
#pragma once

#include "eigenformer/base/activation.hpp"
#include "eigenformer/base/batch.hpp"
#include "eigenformer/base/digest.hpp"
#include "eigenformer/base/dtype.hpp"
#include "eigenformer/base/error.hpp"
#include "eigenformer/base/function_ref.hpp"
#include "eigenformer/base/large_memory.hpp"
#include "eigenformer/base/rng.hpp"
#include "eigenformer/base/shape.hpp"
