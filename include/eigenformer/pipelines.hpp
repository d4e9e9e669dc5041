// The pipelines room: text in, answer out.
#pragma once

#include "eigenformer/pipelines/fill_mask.hpp"
