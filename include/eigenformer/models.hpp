// The models room: configurations, models and heads under Hugging Face's names.
#pragma once

#include "eigenformer/models/albert.hpp"
#include "eigenformer/models/auto_model.hpp"
#include "eigenformer/models/bert.hpp"
#include "eigenformer/models/bert_heads.hpp"
#include "eigenformer/models/distilbert.hpp"
#include "eigenformer/models/electra.hpp"
#include "eigenformer/models/gpt2.hpp"
#include "eigenformer/models/roberta.hpp"
#include "eigenformer/models/roberta_heads.hpp"
#include "eigenformer/models/spanbert.hpp"
