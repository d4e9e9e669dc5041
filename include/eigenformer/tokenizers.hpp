// The tokenizers room: text to ids and back, with offsets, from the published files.
#pragma once

#include "eigenformer/tokenizers/encode_cache.hpp"
#include "eigenformer/tokenizers/encoding.hpp"
#include "eigenformer/tokenizers/tokenizer.hpp"
