// Search against a plain double loop, with ties; saved, mapped, damaged.
#include "eigenformer/pipelines/search.hpp"

#include <cmath>
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "eigenformer/base/rng.hpp"

#include "../messages.hpp"
#include "../temporary_folder.hpp"

namespace search_test {

namespace ef = eigenformer;
using ef::Index;
using ef::tests::expect_parts;
using ef::tests::message_of;
using ef::tests::TemporaryFolder;

using Hits = std::vector<std::vector<ef::SearchHit>>;

/// Random rows; every third one repeats an earlier one, so that scores are equal.
ef::Tensor<float> corpus(Index lines, Index hidden, std::uint64_t seed = 1) {
  const ef::Rng rng(seed);
  ef::Tensor<float> rows(ef::Shape{lines, hidden});
  for (Index i = 0; i < lines; ++i) {
    for (Index j = 0; j < hidden; ++j) {
      const auto at = static_cast<std::uint64_t>(i * hidden + j);
      rows(i, j) = i % 3 == 2 ? rows(i / 2, j) : static_cast<float>(rng.normal(1, at));
    }
  }
  return rows;
}

double cosine(const ef::Tensor<float>& a, Index i, const ef::Tensor<float>& b, Index j) {
  double product = 0, squares_a = 0, squares_b = 0;
  for (Index k = 0; k < a.cols(); ++k) {
    const double x = static_cast<double>(a(i, k));
    const double y = static_cast<double>(b(j, k));
    product += x * y;
    squares_a += x * x;
    squares_b += y * y;
  }
  return squares_a > 0 && squares_b > 0 ? product / std::sqrt(squares_a * squares_b) : 0;
}

bool same_row(const ef::Tensor<float>& rows, Index a, Index b) {
  return rows.matrix().row(a) == rows.matrix().row(b);
}

/// Scores are cosines, in order, equal ones by line; no line that is left out is better.
void expect_nearest(const ef::Tensor<float>& rows, const ef::Tensor<float>& queries, Index top_k,
                    const Hits& hits) {
  constexpr double rounding = 1e-6;
  ASSERT_EQ(static_cast<Index>(hits.size()), queries.size(0));
  for (Index q = 0; q < queries.size(0); ++q) {
    const auto& of_query = hits[static_cast<std::size_t>(q)];
    ASSERT_EQ(static_cast<Index>(of_query.size()), std::min(top_k, rows.size(0)));
    std::vector<bool> found(static_cast<std::size_t>(rows.size(0)), false);
    for (std::size_t i = 0; i < of_query.size(); ++i) {
      const ef::SearchHit& hit = of_query[i];
      EXPECT_FALSE(found[static_cast<std::size_t>(hit.line)]) << "line " << hit.line << " twice";
      found[static_cast<std::size_t>(hit.line)] = true;
      EXPECT_NEAR(static_cast<double>(hit.score), cosine(rows, hit.line, queries, q), rounding);
      if (i == 0) continue;
      const ef::SearchHit& better = of_query[i - 1];
      EXPECT_TRUE(better.score > hit.score ||
                  (better.score == hit.score && better.line < hit.line));
    }
    const ef::SearchHit& last = of_query.back();
    for (Index line = 0; line < rows.size(0); ++line) {
      if (found[static_cast<std::size_t>(line)]) continue;
      const double left_out = cosine(rows, line, queries, q);
      EXPECT_LE(left_out, static_cast<double>(last.score) + rounding) << "line " << line;
      // One that is equal to the last hit was left out for its line alone.
      EXPECT_TRUE(!same_row(rows, line, last.line) || line > last.line);
    }
  }
}

bool same_hits(const Hits& a, const Hits& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](const auto& x, const auto& y) {
    return std::equal(x.begin(), x.end(), y.begin(), y.end(), [](const auto& p, const auto& q) {
      return p.line == q.line && p.score == q.score && p.text == q.text;
    });
  });
}

constexpr float not_a_number = std::numeric_limits<float>::quiet_NaN();
constexpr float infinity = std::numeric_limits<float>::infinity();

TEST(Search, IsAPlainDoubleLoop) {
  ef::Context cx(2);
  struct Sizes {
    Index lines, hidden, queries, top_k;
  };
  for (const Sizes& sizes : {Sizes{1, 1, 1, 1},
                             {5, 3, 2, 9},
                             {959, 16, 3, 10},
                             {960, 7, 65, 5},
                             {961, 33, 130, 3},
                             {5000, 48, 4, 700},
                             {4000, 384, 3, 4000}}) {
    const ef::Tensor<float> rows = corpus(sizes.lines, sizes.hidden);
    const ef::Tensor<float> queries = corpus(sizes.queries, sizes.hidden, 2);
    expect_nearest(rows, queries, sizes.top_k, ef::Search(rows)(cx, queries, sizes.top_k));
  }
}

TEST(Search, ManyTasksAndAnyThreadsGiveTheSameHits) {
  const ef::Tensor<float> rows = corpus(130000, 5);
  const ef::Tensor<float> queries = corpus(3, 5, 2);
  const ef::Search search(rows);
  ef::Context one(1);
  const Hits expected = search(one, queries, 50);
  expect_nearest(rows, queries, 50, expected);
  for (const int threads : {2, 3, 8}) {
    ef::Context cx(threads);
    EXPECT_TRUE(same_hits(search(cx, queries, 50), expected)) << threads;
  }
  // A query's hits do not depend on the others.
  EXPECT_TRUE(same_hits(search(one, queries.rows(1, 2), 50), {expected[1]}));
}

TEST(Search, EqualLinesComeInOrder) {
  ef::Context cx(2);
  ef::Tensor<float> rows(ef::Shape{3000, 20});
  const ef::Tensor<float> kinds = corpus(2, 20);
  for (Index i = 0; i < rows.size(0); ++i) {
    // The same direction with another length is another row, but for powers of two.
    rows.rows(i, i + 1).matrix() = kinds.matrix().row(i % 7 == 3 ? 1 : 0) * (i % 2 == 0 ? 1 : 4);
  }
  const Hits hits = ef::Search(rows)(cx, kinds.rows(1, 2), 430);
  for (std::size_t i = 0; i < 429; ++i) {  // 3, 10, 17, ...
    EXPECT_EQ(hits[0][i].line, static_cast<Index>(3 + 7 * i));
    EXPECT_EQ(hits[0][i].score, hits[0][0].score);
  }
  EXPECT_EQ(hits[0][429].line, 0);
}

TEST(Search, ZerosScoreZero) {
  ef::Context cx(1);
  ef::Tensor<float> rows = corpus(10, 4);
  rows.rows(3, 4).fill(0);
  const ef::Tensor<float> query = rows.rows(5, 6).clone();
  const Hits hits = ef::Search(rows)(cx, query, 10);
  for (const ef::SearchHit& hit : hits[0]) {
    EXPECT_TRUE(hit.line != 3 || hit.score == 0.0f);
  }
  const Hits none = ef::Search(rows)(cx, ef::Tensor<float>::zeros({1, 4}), 4);
  for (std::size_t i = 0; i < 4; ++i) {
    EXPECT_EQ(none[0][i].line, static_cast<Index>(i));
    EXPECT_EQ(none[0][i].score, 0.0f);
  }
}

TEST(Search, LargeAndSmallNumbersKeepTheirDirection) {
  ef::Context cx(1);
  ef::Tensor<float> rows(ef::Shape{2, 3});
  rows.rows(0, 1).fill(3e38f);
  rows.rows(1, 2).fill(-1e-9f);
  const Hits hits = ef::Search(rows)(cx, ef::Tensor<double>::full({1, 3}, 1e100), 2);
  EXPECT_NEAR(hits[0][0].score, 1, 1e-6);
  EXPECT_NEAR(hits[0][1].score, -1, 1e-6);
}

TEST(Search, RefusesByName) {
  ef::Context cx(1);
  const ef::Tensor<float> rows = corpus(10, 4);
  const ef::Search search(rows);
  for (const float wrong : {not_a_number, infinity, -infinity}) {
    ef::Tensor<float> bad = rows.clone();
    bad(7, 2) = wrong;
    expect_parts(message_of<ef::Error>([&] { ef::Search made(bad); }), {"row 7 of the embeddings"});
    expect_parts(message_of<ef::Error>([&] { (void)search(cx, bad, 1); }),
                 {"row 7 of the queries"});
  }
  expect_parts(message_of<ef::Error>([&] { (void)search(cx, rows, 0); }), {"top_k is 0"});
  expect_parts(message_of<ef::Error>([&] { (void)search(cx, rows, -3); }), {"top_k is -3"});
  expect_parts(message_of<ef::Error>([&] { (void)search(cx, corpus(2, 5), 1); }), {"[2, 5]"});
  expect_parts(message_of<ef::Error>([&] { ef::Search made(rows, std::vector<std::string>(2)); }),
               {"2 texts for 10"});
  expect_parts(message_of<ef::Error>([&] { ef::Search made(ef::Tensor<float>::zeros({4})); }),
               {"[4]"});
  expect_parts(message_of<ef::Error>([&] {
                 ef::Search made(ef::Tensor<float>::zeros({4, 0}));
               }),
               {"[4, 0]"});
  expect_parts(message_of<ef::Error>([&] { (void)search.text(0); }), {"no text of line 0"});
}

TEST(Search, NoLinesAndNoQueries) {
  ef::Context cx(1);
  const TemporaryFolder folder;
  const ef::Search empty(ef::Tensor<float>::zeros({0, 4}));
  EXPECT_EQ(empty.size(), 0);
  const Hits hits = empty(cx, corpus(2, 4), 3);
  ASSERT_EQ(hits.size(), 2u);
  EXPECT_TRUE(hits[0].empty() && hits[1].empty());
  empty.save(folder / "empty");
  const ef::Search opened = ef::Search::open(folder / "empty");
  EXPECT_EQ(opened.hidden(), 4);
  EXPECT_EQ(opened(cx, corpus(2, 4), 3).size(), 2u);
  EXPECT_TRUE(ef::Search(corpus(3, 4))(cx, ef::Tensor<float>::zeros({0, 4}), 3).empty());
}

TEST(Search, SavedAndMapped) {
  ef::Context cx(2);
  const TemporaryFolder folder;
  const ef::Tensor<float> rows = corpus(2000, 31);
  const ef::Tensor<float> queries = corpus(3, 31, 2);
  std::vector<std::string> texts;
  for (int i = 0; i < 2000; ++i) texts.push_back(i % 5 == 0 ? "" : "Zeile " + std::to_string(i));
  texts[1] = std::string("nul \0 and \xff\xfe", 12);
  const ef::Search search(rows, texts);
  search.save(folder / "index");
  search.save(folder / "index");  // over itself
  const ef::Search mapped = ef::Search::open(folder / "index");
  EXPECT_EQ(folder.entries(), std::vector<std::string>{"index"});
  ASSERT_EQ(mapped.size(), 2000);
  for (Index i = 0; i < 2000; ++i) EXPECT_EQ(mapped.text(i), texts[static_cast<std::size_t>(i)]);
  EXPECT_TRUE(same_hits(mapped(cx, queries, 20), search(cx, queries, 20)));
  const auto file = ef::SafetensorsFile::open_shared(folder / "index");
  EXPECT_EQ(mapped.embeddings().data(), file.view<float>("embeddings")) << "copied";
  mapped.save(folder / "again");
  EXPECT_EQ(ef::read_file(folder / "again"), ef::read_file(folder / "index"));

  ef::Search(rows).save(folder / "lines");
  const ef::Search lines = ef::Search::open(folder / "lines");
  EXPECT_FALSE(lines.has_texts());
  EXPECT_EQ(lines(cx, queries, 1)[0][0].text, "");
  EXPECT_THROW(search.save(folder / "no/folder"), ef::IoError);
}

TEST(Search, RefusesHostileFiles) {
  ef::Context cx(1);
  const TemporaryFolder folder;
  const std::string path = folder / "index";
  const std::vector<float> numbers = {1, 0, 0, 1, 0.6f, 0.8f};
  const std::vector<std::int64_t> ends = {1, 2, 3};
  const auto embeddings = [&](std::span<const float> values, const ef::Shape& shape) {
    return ef::TensorToWrite{"embeddings", ef::DType::f32, shape, std::as_bytes(values)};
  };
  const auto texts = [&](std::span<const std::int64_t> values) {
    return std::vector<ef::TensorToWrite>{
        embeddings(numbers, {3, 2}),
        {"text_ends", ef::DType::i64, {static_cast<Index>(values.size())}, std::as_bytes(values)},
        {"texts", ef::DType::u8, {3}, std::as_bytes(std::span("abc", 3))}};
  };
  const auto write = [&](const std::vector<ef::TensorToWrite>& tensors) {
    ef::write_safetensors(path, tensors, {{"format", "eigenformer.search"}});
  };
  const auto opening = [&] { return message_of<ef::Error>([&] { (void)ef::Search::open(path); }); };
  const ef::Tensor<float> query = ef::Tensor<float>::full({1, 2}, 1);

  write(texts(ends));
  EXPECT_EQ(ef::Search::open(path)(cx, query, 3)[0][0].text, "c");
  const std::string whole = ef::read_file(path);
  for (const std::size_t size :
       {std::size_t{0}, std::size_t{7}, std::size_t{60}, whole.size() - 1}) {
    ef::write_file(path, whole.substr(0, size));
    expect_parts(opening(), {path});
  }
  ef::write_file(path, whole + "x");
  expect_parts(opening(), {path});

  ef::write_safetensors(path, texts(ends), {{"format", "pt"}});
  expect_parts(opening(), {"not an index"});
  write({embeddings(numbers, {6})});
  expect_parts(opening(), {"'embeddings' is F32 [6]"});
  write({embeddings({}, {3, 0})});
  expect_parts(opening(), {"no columns"});
  const std::vector<double> wide(6, 0.5);
  write({{"embeddings", ef::DType::f64, {3, 2}, std::as_bytes(std::span(wide))}});
  expect_parts(opening(), {"'embeddings' is F64"});
  write({{"vectors", ef::DType::f32, {3, 2}, std::as_bytes(std::span(numbers))}});
  expect_parts(opening(), {"no tensor 'embeddings'"});
  write(texts(std::vector<std::int64_t>{1, 2}));
  expect_parts(opening(), {"2 texts for 3"});
  write({texts(ends)[0], texts(ends)[2]});
  expect_parts(opening(), {"'text_ends'"});
  write({texts(ends)[0], texts(ends)[1]});
  expect_parts(opening(), {"2 tensors"});

  for (const auto& wrong : {std::vector<std::int64_t>{1, 2, 4},
                            {2, 1, 0},
                            {-1, -1, -1},
                            {1, 2, INT64_MAX},
                            {INT64_MIN, 2, 3}}) {
    write(texts(wrong));
    const ef::Search search = ef::Search::open(path);
    expect_parts(message_of<ef::Error>([&] { (void)search(cx, query, 3); }), {"the text of line"});
  }
  for (const float wrong : {not_a_number, infinity, -infinity, 7.0f}) {
    const std::vector<float> bad = {1, 0, 0, wrong, 0.6f, 0.8f};
    write({embeddings(bad, {3, 2})});
    const ef::Search search = ef::Search::open(path);
    expect_parts(message_of<ef::Error>([&] { (void)search(cx, query, 3); }), {"line 1"});
    expect_parts(message_of<ef::Error>([&] { (void)search(cx, query, 3); }), {path});
  }
}

}  // namespace search_test
