// The tokenizers room: text to ids and back, with offsets, from the published files; new tokenizers
// learned from text.
#pragma once

#include "eigenformer/tokenizers/bpe_trainer.hpp"
#include "eigenformer/tokenizers/encode_cache.hpp"
#include "eigenformer/tokenizers/encoding.hpp"
#include "eigenformer/tokenizers/roberta_tokenizer.hpp"
#include "eigenformer/tokenizers/tokenizer.hpp"
