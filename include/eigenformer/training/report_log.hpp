// The reports of a training, from which a later look draws its curves.
#pragma once

#include <cerrno>
#include <cstddef>
#include <cstdio>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include "eigenformer/base/error.hpp"
#include "eigenformer/base/shape.hpp"
#include "eigenformer/io/file.hpp"
#include "eigenformer/io/json.hpp"
#include "eigenformer/training/curves.hpp"

namespace eigenformer {

/// The reports of a training, kept as a file with one JSON object a line, in the order of their
/// "step". A line that was cut off by the end of its process does not count.
class ReportLog {
 public:
  /// Goes on with a file after its reports of steps up to `last_step`, the checkpoint's; -1: from
  /// an empty file. What came later is removed. Throws IoError, FormatError.
  ReportLog(std::string path, Index last_step) : path_(std::move(path)) {
    const std::string text = exists(path_) && last_step >= 0 ? read_file(path_) : "";
    std::string kept;
    for (std::size_t begin = 0, end = 0; begin < text.size(); begin = end + 1) {
      end = text.find('\n', begin);
      if (end == std::string::npos) break;
      Json report = parse_json(text.substr(begin, end - begin), path_);
      check<FormatError>(
          report.is_object() && report.contains("step") && report["step"].is_number_integer(),
          path_, ": a line is no report of a step");
      if (report["step"].get<Index>() > last_step) break;
      kept += text.substr(begin, end + 1 - begin);
      reports_.push_back(std::move(report));
    }
    write_file(path_, kept);
  }

  /// Appends a report. Throws IoError.
  void add(const Json& report) {
    const std::string text = report.dump() + "\n";
    std::FILE* file = std::fopen(path_.c_str(), "abe");
    bool done = file != nullptr && std::fwrite(text.data(), 1, text.size(), file) == text.size();
    if (file != nullptr) done = std::fclose(file) == 0 && done;
    check<IoError>(done, path_, ": cannot be written: ", std::strerror(errno));
    reports_.push_back(report);
  }

  /// All reports so far.
  [[nodiscard]] const std::vector<Json>& reports() const noexcept { return reports_; }

  /// The number `key` of those reports that have it, over their steps.
  [[nodiscard]] Curve curve(std::string name, const std::string& key,
                            Best best = Best::none) const {
    Curve curve{std::move(name), {}, best};
    for (const Json& report : reports_) {
      const auto found = report.find(key);
      if (found == report.end() || !found->is_number()) continue;
      curve.points.push_back({report["step"].get<double>(), found->get<double>()});
    }
    return curve;
  }

 private:
  std::string path_;
  std::vector<Json> reports_;
};

}  // namespace eigenformer
