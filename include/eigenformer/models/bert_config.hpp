// BertConfig: the configuration of a BERT model. Devlin et al. 2018, arXiv:1810.04805.
#pragma once

#include <string_view>

#include "eigenformer/models/encoder_config.hpp"

namespace eigenformer {

/// What BERT's configurations say that they are.
struct BertFamily {
  static constexpr std::string_view model_type = "bert";  ///< as config.json has it
};

/// Fresh, it has the class defaults of transformers 5, which are those of bert-base-uncased.
using BertConfig = FamilyConfig<BertFamily>;

}  // namespace eigenformer
