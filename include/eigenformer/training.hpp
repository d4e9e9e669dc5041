// The training room: corpora, masking, optimizers, schedules, the published metrics.
#pragma once

#include "eigenformer/training/corpus.hpp"
#include "eigenformer/training/curves.hpp"
#include "eigenformer/training/gradients.hpp"
#include "eigenformer/training/masking.hpp"
#include "eigenformer/training/metrics/entities.hpp"
#include "eigenformer/training/metrics/glue.hpp"
#include "eigenformer/training/metrics/squad.hpp"
#include "eigenformer/training/optimizer.hpp"
#include "eigenformer/training/report_log.hpp"
#include "eigenformer/training/schedule.hpp"
#include "eigenformer/training/trainer.hpp"
