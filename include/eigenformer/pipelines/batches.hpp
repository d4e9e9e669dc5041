// Batches: any number of texts, encoded and handed to a model a part at a time.
#pragma once

#include <algorithm>
#include <cstddef>
#include <optional>
#include <span>

#include "eigenformer/base/batch.hpp"
#include "eigenformer/tokenizers/tokenizer.hpp"

namespace eigenformer {

/// To how many tokens texts are cut: to those `asked` for, or `stated` by a folder where that is 0;
/// never to more than the `most` that a model takes.
[[nodiscard]] inline Index length_limit(Index asked, std::optional<Index> stated, Index most) {
  return std::min(asked > 0 ? asked : stated.value_or(most), most);
}

/// Encodes `texts` over the threads of `pool` and calls f(batch, first) for batches of them in
/// order, whose first text is number `first`: as many as have at most `batch_tokens` tokens
/// together; a longer one goes alone. Throws as Tokenizer::encode_batch.
template <class Text, class Function>
void for_each_batch(const Tokenizer& tokenizer, std::span<const Text> texts,
                    const EncodeOptions& options, Index batch_tokens, ThreadPool& pool,
                    Function&& f) {
  constexpr std::size_t most = 1024;  // texts whose tokens are held at once
  for (std::size_t first = 0; first < texts.size(); first += most) {
    const auto some = texts.subspan(first, std::min(most, texts.size() - first));
    for_each_part(tokenizer.encode_batch(some, options, &pool), batch_tokens,
                  [&](const Batch& batch, Index i) { f(batch, static_cast<Index>(first) + i); });
  }
}

}  // namespace eigenformer
