// RobertaConfig: the configuration of a RoBERTa, XLM-RoBERTa or CamemBERT model. Liu et al. 2019,
// arXiv:1907.11692.
#pragma once

#include "eigenformer/models/encoder_config.hpp"

namespace eigenformer {

/// Fresh, it has the class defaults of transformers 5; the published models state other values.
using RobertaConfig = EncoderConfig;

}  // namespace eigenformer
