// Entities in tagged tokens, and their precision, recall and F1: CoNLL's metric as seqeval computes
// it. An entity counts as found where its first token, its last and its type are all right.
#pragma once

#include <algorithm>
#include <cstddef>
#include <iterator>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <tuple>
#include <vector>

#include "eigenformer/base/error.hpp"
#include "eigenformer/base/shape.hpp"
#include "eigenformer/training/metrics/precision_recall.hpp"

namespace eigenformer {

/// Tokens `begin` to `end` (excluded) and what they name, such as "PER".
struct EntitySpan {
  Index begin = 0;   ///< the first token
  Index end = 0;     ///< one past the last token
  std::string type;  ///< a tag without its prefix; "_" for a bare prefix
  /// Equal in all three.
  friend bool operator==(const EntitySpan&, const EntitySpan&) = default;
  /// In the order of begin, then end, then type.
  friend bool operator<(const EntitySpan& a, const EntitySpan& b) {
    return std::tie(a.begin, a.end, a.type) < std::tie(b.begin, b.end, b.type);
  }
};

/// How tags are read.
enum class TagScheme {
  conll,  ///< any scheme, forgivingly, as conlleval.pl and seqeval's default mode
  iob2,   ///< strictly: B I*
  iobes,  ///< strictly: B I* E, or S
  bilou,  ///< strictly: B I* L, or U
};

/// The scores by type; `micro.f1` is CoNLL's figure.
using EntityScores = ClassScores<std::string>;

namespace detail {

/// A tag in its two parts: "B-PER" is B and "PER"; "O" has the type "_", as has a bare "B".
struct Tag {
  char prefix = 'O';
  std::string_view type = "_";
};

/// Throws FormatError for what is neither "O" nor one of the prefixes with a type.
[[nodiscard]] inline Tag parse_tag(std::string_view tag, std::string_view prefixes) {
  if (tag == "O") return {};
  check<FormatError>(!tag.empty() && prefixes.find(tag[0]) != std::string_view::npos &&
                         (tag.size() == 1 || tag[1] == '-'),
                     "entities: tag '", tag, "' is neither O nor a type after one of ", prefixes,
                     " and a hyphen, such as ", prefixes.substr(0, 1), "-PER");
  return {tag[0], tag.size() > 2 ? tag.substr(2) : "_"};
}

/// As conlleval.pl: an entity ends before and begins at whatever says so, or where the type
/// changes.
[[nodiscard]] inline std::vector<EntitySpan> lenient_spans(std::span<const Tag> tags) {
  const auto is = [](const Tag& tag, std::string_view prefixes) {
    return prefixes.find(tag.prefix) != std::string_view::npos;
  };
  std::vector<EntitySpan> spans;
  Tag last;
  Index begin = 0;
  for (std::size_t i = 0; i <= tags.size(); ++i) {
    const Tag tag = i < tags.size() ? tags[i] : Tag();
    const bool other_type = tag.type != last.type;
    if (is(last, "ES") || (is(last, "BI") && is(tag, "BSO")) || (!is(last, "O") && other_type)) {
      spans.push_back({begin, static_cast<Index>(i), std::string(last.type)});
    }
    if (is(tag, "BS") || (is(last, "ESO") && is(tag, "EI")) || (!is(tag, "O") && other_type)) {
      begin = static_cast<Index>(i);
    }
    last = tag;
  }
  return spans;
}

/// B I* and, unless it is 0, `close`; or `single` alone. All else is no entity.
[[nodiscard]] inline std::vector<EntitySpan> strict_spans(std::span<const Tag> tags, char close,
                                                          char single) {
  std::vector<EntitySpan> spans;
  for (std::size_t i = 0; i < tags.size();) {
    const Tag first = tags[i];
    const std::size_t begin = i++;
    if (first.prefix != 'B' && first.prefix != single) continue;
    bool whole = true;
    if (first.prefix == 'B') {
      const auto goes_on = [&](char prefix) {
        return i < tags.size() && tags[i].prefix == prefix && tags[i].type == first.type;
      };
      while (goes_on('I')) ++i;
      if (close != 0) {
        whole = goes_on(close);
        if (whole) ++i;
      }
    }
    if (whole) {
      spans.push_back({static_cast<Index>(begin), static_cast<Index>(i), std::string(first.type)});
    }
  }
  return spans;
}

}  // namespace detail

/// The entities of one sentence, from left to right. Throws FormatError for a tag that the scheme
/// does not have; conll has those of IOB1, IOB2, IOE, IOBES and BILOU.
[[nodiscard]] inline std::vector<EntitySpan> entity_spans(std::span<const std::string> tags,
                                                          TagScheme scheme = TagScheme::conll) {
  const std::string_view prefixes = scheme == TagScheme::iob2    ? "BI"
                                    : scheme == TagScheme::iobes ? "BIES"
                                    : scheme == TagScheme::bilou ? "BILU"
                                                                 : "BIESLU";
  std::vector<detail::Tag> parsed;
  parsed.reserve(tags.size());
  for (const std::string& tag : tags) parsed.push_back(detail::parse_tag(tag, prefixes));
  switch (scheme) {
    case TagScheme::iob2: return detail::strict_spans(parsed, 0, 0);
    case TagScheme::iobes: return detail::strict_spans(parsed, 'E', 'S');
    case TagScheme::bilou: return detail::strict_spans(parsed, 'L', 'U');
    case TagScheme::conll: break;
  }
  return detail::lenient_spans(parsed);
}

/// Precision, recall and F1 of the entities in `predictions`, one vector of tags for each sentence.
/// Throws ShapeError for different numbers of sentences or tags, or none, and FormatError for a tag
/// that the scheme does not have.
[[nodiscard]] inline EntityScores entity_scores(
    std::span<const std::vector<std::string>> predictions,
    std::span<const std::vector<std::string>> labels, TagScheme scheme = TagScheme::conll) {
  check<ShapeError>(predictions.size() == labels.size(), "entities: ", predictions.size(),
                    " predicted sentences but ", labels.size(), " labelled; each needs both");
  check<ShapeError>(!labels.empty(), "entities: no sentences to score");
  std::map<std::string, detail::ClassCounts> counts;
  for (std::size_t i = 0; i < labels.size(); ++i) {
    check<ShapeError>(predictions[i].size() == labels[i].size(), "entities: sentence ", i, " has ",
                      predictions[i].size(), " predicted tags but ", labels[i].size(), " labels");
    const std::vector<EntitySpan> predicted = entity_spans(predictions[i], scheme);
    const std::vector<EntitySpan> labelled = entity_spans(labels[i], scheme);
    std::vector<EntitySpan> correct;
    std::set_intersection(predicted.begin(), predicted.end(), labelled.begin(), labelled.end(),
                          std::back_inserter(correct));
    for (const EntitySpan& span : predicted) ++counts[span.type].predicted;
    for (const EntitySpan& span : labelled) ++counts[span.type].labelled;
    for (const EntitySpan& span : correct) ++counts[span.type].correct;
  }
  return detail::class_scores(counts);
}

}  // namespace eigenformer
