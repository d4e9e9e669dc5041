// Files of labelled texts: GLUE's and CoNLL's forms, and what is wrong with others, by line.
#include "eigenformer/training/labelled_files.hpp"

#include <gtest/gtest.h>

#include "../messages.hpp"
#include "../temporary_folder.hpp"

namespace labelled_files_test {

namespace ef = eigenformer;
using ef::tests::expect_parts;
using ef::tests::message_of;

class LabelledFiles : public ::testing::Test {
 protected:
  std::string file(const std::string& contents) {
    ef::write_file(path_, contents);
    return path_;
  }
  void expect_refused(const std::string& contents, std::vector<std::string> parts,
                      const ef::LabelledColumns& columns = {}) {
    SCOPED_TRACE(contents);
    parts.push_back(path_);
    (void)file(contents);
    expect_parts(
        message_of<ef::FormatError>([&] { (void)ef::read_labelled_texts(path_, columns); }), parts);
  }
  void expect_untagged(const std::string& contents, std::vector<std::string> parts) {
    SCOPED_TRACE(contents);
    parts.push_back(path_);
    (void)file(contents);
    expect_parts(message_of<ef::FormatError>([&] { (void)ef::read_tagged_sentences(path_); }),
                 parts);
  }

  ef::tests::TemporaryFolder folder_;
  std::string path_ = folder_ / "file";
};

TEST_F(LabelledFiles, ColumnsAreFoundByTheirNames) {
  const auto single = ef::read_labelled_texts(file("sentence\tlabel\nit 's \"fine\t1\n\t0\n"));
  ASSERT_EQ(single.size(), 2u);
  EXPECT_EQ(single[0].text, "it 's \"fine");
  EXPECT_FALSE(single[0].pair.has_value());
  EXPECT_EQ(single[0].label, "1");
  EXPECT_EQ(single[0].line, 2u);
  EXPECT_EQ(single[1].text, "");
  const char* const pairs[] = {"index\tsentence1\tsentence2\tscore\n0\ta\tb\t5.0",
                               "\xEF\xBB\xBFindex\tquestion\tsentence\tlabel\r\n0\ta\tb\t5.0\r\n",
                               "id\tqid1\tquestion1\tquestion2\tis_duplicate\n0\t0\ta\tb\t5.0\n",
                               "Quality\t#1 ID\t#1 String\t#2 String\n5.0\t0\ta\tb\n",
                               "label1\tpremise\thypothesis\tgold_label\nx\ta\tb\t5.0\n"};
  for (const char* contents : pairs) {
    SCOPED_TRACE(contents);
    const auto texts = ef::read_labelled_texts(file(contents));
    ASSERT_EQ(texts.size(), 1u);
    EXPECT_EQ(texts[0].text, "a");
    EXPECT_EQ(texts[0].pair, "b");
    EXPECT_EQ(ef::label_as_number(path_, texts[0]), 5);
  }
  const auto asked =
      ef::read_labelled_texts(file("x\ty\tz\na\tb\tc\n"), {.text = "z", .pair = "y", .label = "x"});
  EXPECT_EQ(asked[0].text, "c");
  EXPECT_EQ(asked[0].pair, "b");
  EXPECT_EQ(asked[0].label, "a");
}

TEST_F(LabelledFiles, WhatIsWrongIsNamed) {
  expect_refused("", {"no texts"});
  expect_refused("sentence\tlabel\n", {"no texts"});
  expect_refused("sentence\tlabel\na\t1\nb\n", {"line 3", "1 columns", "2"});
  expect_refused("sentence\tlabel\na\t1\n\nb\t1\n", {"line 3"});
  expect_refused("sentence\tlabel\na\t1\tx\n", {"line 2", "3 columns"});
  expect_refused("a\tb\n", {"line 1", "texts", "a, b"});
  expect_refused("sentence\tclass\n", {"line 1", "labels", "sentence, class"});
  expect_refused("sentence\tlabel\n", {"line 1", "'text'"}, {.text = "text"});
  for (const char* score : {"", "nan", "inf", "1e999", "1.5x", " 1", "0x10"}) {
    const ef::LabelledText text{"a", {}, score, 7};
    expect_parts(message_of<ef::FormatError>([&] { (void)ef::label_as_number("f", text); }),
                 {"f line 7", "number"});
  }
  EXPECT_THROW((void)ef::read_labelled_texts(folder_ / "absent"), ef::IoError);
}

TEST_F(LabelledFiles, SentencesAreReadFromCoNLLsColumns) {
  const std::string contents[] = {
      "-DOCSTART- -X- -X- O\n\nEU NNP B-NP B-ORG\nrejects VBZ B-VP O\n"
      "\n\nPeter NNP B-NP B-PER \n",
      "EU\tB-ORG\r\nrejects\tO\r\n\t\r\nPeter\tB-PER\r\n\xEF\xBB\xBF"};
  for (const std::string& one : contents) {
    SCOPED_TRACE(one);
    const auto sentences = ef::read_tagged_sentences(file(one));
    ASSERT_EQ(sentences.size(), 2u);
    EXPECT_EQ(sentences[0].words, (std::vector<std::string>{"EU", "rejects"}));
    EXPECT_EQ(sentences[0].tags, (std::vector<std::string>{"B-ORG", "O"}));
    EXPECT_EQ(sentences[1].words, (std::vector<std::string>{"Peter"}));
    EXPECT_EQ(sentences[1].line, one == contents[0] ? 7u : 4u);
  }
  expect_untagged("", {"no sentences"});
  expect_untagged("\n \n", {"no sentences"});
  expect_untagged("EU\tO\nrejects\n", {"line 2", "rejects"});
  expect_untagged("EU\tO\n\tO\n", {"line 2"});
  expect_untagged("EU\tO\nrejects\t\n", {"line 2"});
}

TEST(SortedLabels, AreInTheOrderOfNumbersOrBytes) {
  using Labels = std::vector<std::string>;
  EXPECT_EQ(ef::sorted_labels({"10", "9", "-1", "9"}), (Labels{"-1", "9", "10"}));
  EXPECT_EQ(ef::sorted_labels({"not_entailment", "entailment", "10", "9"}),
            (Labels{"10", "9", "entailment", "not_entailment"}));
}

}  // namespace labelled_files_test
