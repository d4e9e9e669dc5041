// The pipelines room: text in, answer out.
#pragma once

#include "eigenformer/pipelines/fill_mask.hpp"
#include "eigenformer/pipelines/pooling.hpp"
#include "eigenformer/pipelines/question_answering.hpp"
#include "eigenformer/pipelines/search.hpp"
#include "eigenformer/pipelines/sentence_config.hpp"
#include "eigenformer/pipelines/sentence_embedding.hpp"
#include "eigenformer/pipelines/squad.hpp"
