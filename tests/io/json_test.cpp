#include "eigenformer/io/json.hpp"

#include <chrono>
#include <cmath>
#include <string>

#include <gtest/gtest.h>

#include "../messages.hpp"
#include "../temporary_folder.hpp"

namespace eigenformer::json_test {
using tests::contains;
using tests::message_of;
using tests::TemporaryFolder;

std::string refused(std::string_view text) {
  return message_of<FormatError>([&] { (void)parse_json(text, "some/config.json"); });
}

TEST(Json, ReadsEveryKindOfValue) {
  const Json json = parse_json(
      R"( {"a": [1, -2, 2.5, true, false, null, "x\u00e9\ud83d\ude00"], "b": {"c": {}, "d": []}} )",
      "test");
  EXPECT_EQ(json["a"][0].get<int>(), 1);
  EXPECT_EQ(json["a"][1].get<int>(), -2);
  EXPECT_EQ(json["a"][2].get<double>(), 2.5);
  EXPECT_TRUE(json["a"][3].get<bool>());
  EXPECT_FALSE(json["a"][4].get<bool>());
  EXPECT_TRUE(json["a"][5].is_null());
  EXPECT_EQ(json["a"][6].get<std::string>(), "x\xc3\xa9\xf0\x9f\x98\x80");
  EXPECT_TRUE(json["b"]["c"].is_object());
  EXPECT_TRUE(json["b"]["c"].empty());
  EXPECT_TRUE(json["b"]["d"].is_array());
}

TEST(Json, ReadsWhatItsOwnParserReads) {
  for (const char* text :
       {"1", "-1", "1.5e3", "\"\"", "null", "true", "[]", "{}", "[[],[[]],{}]",
        R"({"b":[{"a":1},{"a":{"a":[2,{"z":3}]}}],"a":{"b":{"c":{"d":[]}}}})",
        "18446744073709551615", "-9223372036854775808", "18446744073709551616"}) {
    EXPECT_EQ(parse_json(text, "test"), Json::parse(text)) << text;
  }
}

TEST(Json, KeepsIntegersExact) {
  EXPECT_EQ(parse_json("18446744073709551615", "t").get<std::uint64_t>(), UINT64_MAX);
  EXPECT_EQ(parse_json("-9223372036854775808", "t").get<std::int64_t>(), INT64_MIN);
  EXPECT_EQ(parse_json("0.1", "t").get<double>(), 0.1);
}

TEST(Json, RefusesKeyTwice) {
  const std::string message = refused(R"({"vocab": {"a": 1, "b": 2, "a": 3}})");
  EXPECT_TRUE(contains(message, "some/config.json"));
  EXPECT_TRUE(contains(message, "'a' appears twice"));
  EXPECT_TRUE(contains(refused(R"({"a": 1, "\u0061": 1})"), "'a' appears twice"));
  EXPECT_NO_THROW((void)parse_json(R"([{"a": 1}, {"a": {"a": 1}}])", "t"));
}

TEST(Json, RefusesDeepNesting) {
  const auto nested = [](int depth) {
    return std::string(static_cast<std::size_t>(depth), '[') +
           std::string(static_cast<std::size_t>(depth), ']');
  };
  EXPECT_NO_THROW((void)parse_json(nested(max_json_depth), "t"));
  const std::string message = refused(nested(max_json_depth + 1));
  EXPECT_TRUE(contains(message, "some/config.json"));
  EXPECT_TRUE(contains(message, "deeper than 128"));
  EXPECT_TRUE(contains(refused(std::string(5'000'000, '[')), "deeper than 128"));
  std::string objects;
  for (int i = 0; i < 200; ++i) objects += R"({"a":)";
  EXPECT_TRUE(contains(refused(objects), "deeper than 128"));
}

TEST(Json, RefusesWhatIsNotJson) {
  for (const std::string text : {"",
                                 " ",
                                 "{",
                                 "[1,]",
                                 "{\"a\":1,}",
                                 "{\"a\" 1}",
                                 "{a:1}",
                                 "'a'",
                                 "[1 2]",
                                 "01",
                                 "1.",
                                 ".5",
                                 "+1",
                                 "NaN",
                                 "Infinity",
                                 "tru",
                                 "{}x",
                                 "{}{}",
                                 "// comment\n1",
                                 "\"a\nb\"",
                                 "\"\\x\"",
                                 "\"\\ud800\"",
                                 "\"\\udc00\"",
                                 "\"\\ud800\\u0041\"",
                                 "]"}) {
    const std::string message = refused(text);
    EXPECT_TRUE(contains(message, "some/config.json: invalid JSON")) << text;
    EXPECT_FALSE(contains(message, "json.exception")) << message;
  }
}

TEST(Json, RefusesNumbersBeyondDouble) {
  EXPECT_TRUE(contains(refused(R"({"eps": 1e999})"), "1e999"));
  EXPECT_TRUE(contains(refused("-1e999"), "some/config.json"));
  EXPECT_EQ(parse_json("1e-999", "t").get<double>(), 0.0);
}

TEST(Json, RefusesInvalidUtf8) {
  for (const std::string bytes :
       {"\xff", "\xc3", "\xc0\xaf", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\x80", "\xe2\x82"}) {
    EXPECT_TRUE(contains(refused("\"" + bytes + "\""), "UTF-8")) << bytes;
    EXPECT_TRUE(contains(refused(bytes), "invalid JSON")) << bytes;
  }
}

TEST(Json, RefusesNulAndByteOrderMark) {
  EXPECT_TRUE(contains(refused(std::string_view("{}\0{", 4)), "NUL byte at offset 2"));
  EXPECT_TRUE(contains(refused(std::string_view("\"\0\"", 3)), "NUL byte"));
  EXPECT_TRUE(contains(refused("\xEF\xBB\xBF{}"), "byte order mark"));
}

TEST(Json, ErrorsDoNotRepeatLongInput) {
  EXPECT_LT(refused("\"" + std::string(1'000'000, 'x') + "\n").size(), 1000u);
}

TEST(Json, FilesAreNamedInErrors) {
  const TemporaryFolder folder;
  const std::string path = folder / "config.json";
  EXPECT_TRUE(contains(message_of<IoError>([&] { (void)read_json(path); }), path));
  EXPECT_TRUE(
      contains(message_of<IoError>([&] { (void)read_json(folder.path()); }), folder.path()));
  write_file(path, "{\"a\": 1, \"a\": 2}");
  EXPECT_TRUE(contains(message_of<FormatError>([&] { (void)read_json(path); }), path));
  write_file(path, "{\"a\": 1}");
  EXPECT_EQ(read_json(path)["a"].get<int>(), 1);
}

TEST(Json, ReadsAPublishedVocabulary) {
  const std::string path = EIGENFORMER_SHARED_DATA "/roberta-base/vocab.json";
  if (!exists(path)) GTEST_SKIP() << path << " is not there";
  const std::string text = read_file(path);
  const auto begin = std::chrono::steady_clock::now();
  const Json json = parse_json(text, path);
  const auto spent = std::chrono::steady_clock::now() - begin;
  EXPECT_EQ(json.size(), 50265u);
  EXPECT_EQ(json["<mask>"].get<int>(), 50264);
  EXPECT_EQ(json, Json::parse(text));
  EXPECT_LT(std::chrono::duration<double>(spent).count(), 2.0);
  RecordProperty("milliseconds",
                 static_cast<int>(std::chrono::duration<double, std::milli>(spent).count()));
}

TEST(Json, LargeObjectsAreNotQuadratic) {
  std::string text = "{";
  for (int i = 0; i < 200'000; ++i) {
    text += concat(i == 0 ? "" : ",", "\"token", (i * 7919) % 200'000, "\":", i);
  }
  text += "}";
  const auto begin = std::chrono::steady_clock::now();
  const Json json = parse_json(text, "vocab.json");
  for (int i = 0; i < 200'000; ++i) ASSERT_TRUE(json.contains(concat("token", i)));
  const auto spent = std::chrono::steady_clock::now() - begin;
  EXPECT_EQ(json.size(), 200'000u);
  EXPECT_LT(std::chrono::duration<double>(spent).count(), 10.0);  // quadratic: minutes
}

}  // namespace eigenformer::json_test
