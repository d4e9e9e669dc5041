#include <cmath>
#include <vector>

#include <gtest/gtest.h>

#include "eigenformer/base/batch.hpp"
#include "eigenformer/base/dtype.hpp"
#include "eigenformer/base/error.hpp"
#include "eigenformer/base/shape.hpp"

#include "../messages.hpp"

namespace base_test {

namespace ef = eigenformer;

TEST(Error, MessageJoinsItsParts) {
  EXPECT_EQ(ef::tests::message_of<ef::ShapeError>([] {
              ef::check<ef::ShapeError>(false, "a ", 3, ' ', ef::Shape{2, 3}, ' ', 0.5, ' ', true);
            }),
            "a 3 [2, 3] 0.5 true");
}

TEST(Shape, AxesCountFromBothEnds) {
  const ef::Shape shape{2, 3, 4};
  EXPECT_EQ(shape[0], 2);
  EXPECT_EQ(shape[-1], 4);
  EXPECT_EQ(shape.numel(), 24);
  EXPECT_EQ(ef::Shape{}.numel(), 1);
  EXPECT_EQ(shape.with(-1, 7), (ef::Shape{2, 3, 7}));
  EXPECT_NE(shape, (ef::Shape{2, 3}));
}

TEST(Shape, RefusesWhatItCannotHold) {
  EXPECT_THROW((ef::Shape{1, -1}), ef::ShapeError);
  EXPECT_THROW((ef::Shape{1, 1, 1, 1, 1, 1, 1, 1, 1}), ef::ShapeError);
  EXPECT_THROW((void)(ef::Shape{2})[1], ef::ShapeError);
  const ef::Index huge = ef::Index{1} << 40;
  EXPECT_THROW((void)(ef::Shape{huge, huge}).numel(), ef::ShapeError);
}

TEST(DType, HalfConvertsEveryValueExactly) {
  EXPECT_EQ(static_cast<float>(ef::Half{0x3c00}), 1.0f);
  EXPECT_EQ(static_cast<float>(ef::Half{0xc000}), -2.0f);
  EXPECT_EQ(static_cast<float>(ef::Half{0x0001}), 0x1p-24f);
  EXPECT_EQ(static_cast<float>(ef::Half{0x03ff}), 1023 * 0x1p-24f);
  EXPECT_EQ(static_cast<float>(ef::Half{0x7bff}), 65504.0f);
  EXPECT_TRUE(std::isinf(static_cast<float>(ef::Half{0x7c00})));
  EXPECT_TRUE(std::isnan(static_cast<float>(ef::Half{0x7e00})));
  EXPECT_TRUE(std::signbit(static_cast<float>(ef::Half{0x8000})));
}

TEST(DType, BFloat16RoundsToNearestEven) {
  EXPECT_EQ(ef::BFloat16(1.0f).bits, 0x3f80);
  EXPECT_EQ(ef::BFloat16(1.00390625f).bits, 0x3f80);  // halfway: to the even one below
  EXPECT_EQ(ef::BFloat16(1.01171875f).bits, 0x3f82);  // halfway: to the even one above
  EXPECT_EQ(static_cast<float>(ef::BFloat16(-3.5f)), -3.5f);
  EXPECT_TRUE(std::isnan(static_cast<float>(ef::BFloat16(std::nanf("")))));
  EXPECT_TRUE(std::isinf(static_cast<float>(ef::BFloat16(3.4e38f))));
}

TEST(Batch, PacksTextsOneAfterTheOther) {
  ef::Batch batch;
  batch.add(std::vector<ef::TokenId>{0, 5, 2});
  batch.add(std::vector<ef::TokenId>{0, 6}, std::vector<ef::TokenId>{0, 1});
  EXPECT_EQ(batch.tokens(), 5);
  EXPECT_EQ(batch.segments(), 2);
  EXPECT_EQ(batch.longest(), 3);
  EXPECT_EQ(batch.segment(1).begin, 3);
  EXPECT_EQ(batch.type_ids, (std::vector<ef::TokenId>{0, 0, 0, 0, 1}));
  EXPECT_THROW((void)batch.segment(2), ef::ShapeError);
}

TEST(Batch, ComesInPartsOfWholeTexts) {
  ef::Batch batch;
  for (const int size : {2, 1, 9, 0, 3}) {
    const std::vector<ef::TokenId> ids(static_cast<std::size_t>(size), size);
    batch.add(ids, ids);
  }
  batch.mask.assign(15, 1);
  ef::Batch again;
  std::vector<ef::Index> firsts;
  ef::for_each_part(batch, 4, [&](const ef::Batch& part, ef::Index first) {
    part.validate();
    firsts.push_back(first);
    for (ef::Index i = 0; i < part.segments(); ++i) {
      const ef::Batch one = part.part(i, i + 1);
      again.add(one.ids, one.type_ids);
      EXPECT_EQ(one.mask.size(), one.ids.size());
    }
  });
  EXPECT_EQ(firsts, (std::vector<ef::Index>{0, 2, 3}));
  EXPECT_EQ(again.ids, batch.ids);
  EXPECT_EQ(again.type_ids, batch.type_ids);
  EXPECT_EQ(again.offsets, batch.offsets);
  EXPECT_THROW((void)batch.part(2, 6), ef::ShapeError);
  EXPECT_THROW((void)batch.part(2, 1), ef::ShapeError);
}

TEST(Batch, DropsOnlyTrailingPadding) {
  const std::vector<ef::TokenId> ids{0, 5, 1, 1, 0, 6, 7, 1};
  const std::vector<std::uint8_t> mask{1, 1, 0, 0, 1, 0, 1, 0};
  const ef::Batch batch = ef::Batch::from_padded(ids, 2, 4, mask);
  EXPECT_EQ(batch.ids, (std::vector<ef::TokenId>{0, 5, 0, 6, 7}));
  EXPECT_EQ(batch.offsets, (std::vector<ef::Index>{0, 2, 5}));
  EXPECT_EQ(batch.mask, (std::vector<std::uint8_t>{1, 1, 1, 0, 1}));
  batch.validate();
}

TEST(Batch, KeepsAFullyMaskedRowWhole) {
  const std::vector<ef::TokenId> ids{0, 5, 0, 6};
  const std::vector<std::uint8_t> mask{0, 0, 1, 0};
  const ef::Batch batch = ef::Batch::from_padded(ids, 2, 2, mask);
  EXPECT_EQ(batch.offsets, (std::vector<ef::Index>{0, 2, 3}));
  EXPECT_EQ(batch.mask, (std::vector<std::uint8_t>{0, 0, 1}));
}

TEST(Batch, RefusesPartsThatDisagree) {
  const std::vector<ef::TokenId> ids{0, 5, 0};
  EXPECT_THROW((void)ef::Batch::from_padded(ids, 2, 2), ef::ShapeError);
  ef::Batch batch;
  EXPECT_THROW(batch.add(ids, std::vector<ef::TokenId>{0}), ef::ShapeError);
}

}  // namespace base_test
