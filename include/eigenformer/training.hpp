// The training room: the published metrics.
#pragma once

#include "eigenformer/training/metrics/entities.hpp"
#include "eigenformer/training/metrics/glue.hpp"
#include "eigenformer/training/metrics/squad.hpp"
