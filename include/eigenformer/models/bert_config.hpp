// BertConfig: the configuration of a BERT model. Devlin et al. 2018, arXiv:1810.04805.
#pragma once

#include <string>
#include <utility>

#include "eigenformer/models/encoder_config.hpp"

namespace eigenformer {

/// Fresh, it has the class defaults of transformers 5, which are those of bert-base-uncased.
struct BertConfig : EncoderConfig {
  /// BERT's defaults.
  BertConfig() : BertConfig(of_family("bert")) {}
  /// Takes over a configuration. Throws ConfigError where its model_type is not BERT's.
  explicit BertConfig(EncoderConfig config) : EncoderConfig(std::move(config)) {
    require_base("bert");
  }

  /// As EncoderConfig's functions of these names, for a file that may lack a model_type.
  [[nodiscard]] static BertConfig from_pretrained(const std::string& path) {
    return BertConfig(EncoderConfig::from_pretrained(path, "bert"));
  }
  /// From a parsed config.json.
  [[nodiscard]] static BertConfig from_json(const Json& json, const std::string& source) {
    return BertConfig(EncoderConfig::from_json(json, source, "bert"));
  }
};

}  // namespace eigenformer
