// The pipelines room: text in, answer out.
#pragma once

#include "eigenformer/pipelines/batches.hpp"
#include "eigenformer/pipelines/fill_mask.hpp"
#include "eigenformer/pipelines/pooling.hpp"
#include "eigenformer/pipelines/question_answering.hpp"
#include "eigenformer/pipelines/ranking.hpp"
#include "eigenformer/pipelines/rerank.hpp"
#include "eigenformer/pipelines/sampling.hpp"
#include "eigenformer/pipelines/search.hpp"
#include "eigenformer/pipelines/sentence_config.hpp"
#include "eigenformer/pipelines/sentence_embedding.hpp"
#include "eigenformer/pipelines/squad.hpp"
#include "eigenformer/pipelines/text_classification.hpp"
#include "eigenformer/pipelines/text_generation.hpp"
#include "eigenformer/pipelines/text_pipeline.hpp"
#include "eigenformer/pipelines/token_classification.hpp"
#include "eigenformer/pipelines/zero_shot_classification.hpp"
