// The fixtures of classification: what each case says, and a folder of its model.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "eigenformer/io/json.hpp"
#include "eigenformer/io/safetensors.hpp"
#include "eigenformer/pipelines/text_classification.hpp"

#include "../temporary_folder.hpp"

namespace eigenformer::testing_classification {

inline const std::string fixtures = EIGENFORMER_FIXTURES "/classification/";
inline const std::string encoder = EIGENFORMER_FIXTURES "/sentences/encoder/";

/// The cases of a kind, `text`, `zero_shot` or `rerank`, by name.
inline const Json& cases(const std::string& kind) {
  static const Json json = read_json(fixtures + "cases.json");
  return json.at(kind);
}
inline const Json& texts_json() {
  static const Json json = read_json(fixtures + "texts.json");
  return json;
}
inline std::vector<std::string> texts(const std::string& name = "texts") {
  return texts_json().at(name).get<std::vector<std::string>>();
}

/// The encoder's folder with the head, the configuration and the files of a case in it.
class CaseFolder {
 public:
  CaseFolder(const std::string& kind, const std::string& name)
      : CaseFolder(kind, name, cases(kind).at(name)) {}
  /// The same with other configuration and files than the fixture's.
  CaseFolder(const std::string& kind, const std::string& name, const Json& json) {
    for (const char* file : {"tokenizer.json", "tokenizer_config.json"}) {
      std::filesystem::copy(encoder + file, folder_ / file);
    }
    Json config = read_json(encoder + "config.json");
    config["architectures"] = {"RobertaForSequenceClassification"};
    config.update(json.at("config"));
    write_file(folder_ / "config.json", config.dump());
    for (const auto& [path, content] : json.at("files").items()) {
      write_file(folder_ / path, content.dump());
    }
    const auto base = SafetensorsFile::open(encoder + "model.safetensors");
    const auto heads = SafetensorsFile::open(fixtures + "heads.safetensors");
    std::vector<TensorToWrite> tensors;
    const auto add = [&](const SafetensorsFile& file, const std::string& key,
                         const std::string& own) {
      tensors.push_back({own, DType::f32, file.shape(key), file.bytes(key)});
    };
    for (const TensorInfo& info : base.tensors()) add(base, info.name, "roberta." + info.name);
    const std::string start = kind + "." + name + ".";
    for (const TensorInfo& info : heads.tensors()) {
      if (!info.name.starts_with(start)) continue;
      add(heads, info.name, "classifier." + info.name.substr(start.size()));
    }
    write_safetensors(folder_ / "model.safetensors", tensors, {{"format", "pt"}});
  }
  [[nodiscard]] const std::string& path() const { return folder_.path(); }
  [[nodiscard]] std::string operator/(const std::string& name) const { return folder_ / name; }

 private:
  tests::TemporaryFolder folder_;
};

/// Expects the labels in order, and scores within `tolerance`, relative above 1.
inline void expect_labels(const std::vector<LabelScore>& got, const Json& expected,
                          double tolerance, const std::string& what) {
  ASSERT_EQ(got.size(), expected.size()) << what;
  for (std::size_t i = 0; i < got.size(); ++i) {
    const double score = expected[i][1].get<double>();
    EXPECT_EQ(got[i].label, expected[i][0].get<std::string>()) << what << ", place " << i;
    EXPECT_NEAR(got[i].score, score, tolerance * std::max(1.0, std::abs(score)))
        << what << ", place " << i;
  }
}

/// Whether two results are the same, bit for bit.
inline bool same(const std::vector<LabelScore>& a, const std::vector<LabelScore>& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [](const LabelScore& x, const LabelScore& y) {
                      return x.label == y.label && x.id == y.id && x.score == y.score;
                    });
}

}  // namespace eigenformer::testing_classification
