// The tokenizer on the small model of the examples and on the published vectors of roberta-base.
#include "eigenformer/tokenizers/tokenizer.hpp"

#include <string>
#include <vector>

#include <gtest/gtest.h>

namespace eigenformer {
namespace {

using Ids = std::vector<TokenId>;

const Tokenizer& small() {
  static const Tokenizer tokenizer = Tokenizer::from_pretrained(EIGENFORMER_EXAMPLES "/model");
  return tokenizer;
}

TEST(Tokenizer, RoundTrip) {
  const std::string text = "Hello world! c\u00E9c\u00E9 \U0001F600\n  two  spaces ";
  const Encoding encoding = small().encode(text);
  EXPECT_EQ(encoding.ids.front(), small().cls_token_id());
  EXPECT_EQ(encoding.ids.back(), small().sep_token_id());
  EXPECT_EQ(small().decode(encoding.ids), text);
}

TEST(Tokenizer, BatchFromBracedTexts) {
  const Batch batch = small().encode_batch({"Hello <mask>!", "A longer second text."});
  ASSERT_EQ(batch.segments(), 2);
  batch.validate();
  const RowRange first = batch.segment(0);
  EXPECT_EQ(Ids(batch.ids.begin() + first.begin, batch.ids.begin() + first.end),
            small().encode("Hello <mask>!").ids);
}

}  // namespace
}  // namespace eigenformer
