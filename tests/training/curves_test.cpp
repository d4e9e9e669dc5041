// Curves as a picture, and the log that they come from.
#include "eigenformer/training/curves.hpp"

#include <cmath>
#include <limits>

#include <gtest/gtest.h>

#include "eigenformer/training/report_log.hpp"

#include "../messages.hpp"
#include "../temporary_folder.hpp"

namespace curves_test {

namespace ef = eigenformer;
using ef::tests::TemporaryFolder;

constexpr double infinity = std::numeric_limits<double>::infinity();

std::string draw(const ef::Panel& panel) { return ef::draw_curves({&panel, 1}); }

int count(const std::string& text, const std::string& part) {
  int times = 0;
  for (std::size_t at = 0; (at = text.find(part, at)) != std::string::npos; ++at) ++times;
  return times;
}

TEST(Curves, PointsLieWhereTheAxesSay) {
  // The plot reaches from (64, 44) to (604, 264).
  const std::string svg = draw({"loss", "update", {{"dev", {{0, 4}, {50, 1}, {100, 2}}}}});
  ef::tests::expect_parts(svg, {">loss</text>", ">update</text>", ">dev</text>",
                                "d=\"M64.0 44.0L334.0 264.0L604.0 190.7\"", ">3</text>",
                                "y=\"268.0\" font-size=\"12\" text-anchor=\"end\">1</text>",
                                "x=\"604.0\" y=\"282.0\" font-size=\"12\" text-anchor=\"middle\">"
                                "100</text>"});
  EXPECT_EQ(svg.find("circle"), svg.npos);
}

TEST(Curves, TheBestPointIsMarked) {
  const std::vector<ef::CurvePoint> points = {{0, 4}, {50, 1}, {100, 2}};
  ef::tests::expect_parts(draw({"", "", {{"dev", points, ef::Best::lowest}}}),
                          {"cx=\"334.0\" cy=\"264.0\"", ">best 1 at 50</text>"});
  ef::tests::expect_parts(draw({"", "", {{"dev", points, ef::Best::highest}}}),
                          {"cx=\"64.0\" cy=\"44.0\"", ">best 4 at 0</text>"});
  // Of equals the first, whose weights are kept.
  const std::vector<ef::CurvePoint> ties = {{1, 1}, {2, 2}, {3, 2}, {4, 1}};
  ef::tests::expect_parts(draw({"", "", {{"dev", ties, ef::Best::lowest}}}), {">best 1 at 1<"});
  ef::tests::expect_parts(draw({"", "", {{"dev", ties, ef::Best::highest}}}), {">best 2 at 2<"});
}

TEST(Curves, WhatIsNotFiniteIsLeftOut) {
  const ef::Panel whole{"a", "b", {{"c", {{1, 2}, {3, 4}}, ef::Best::lowest}}};
  ef::Panel broken = whole;
  broken.curves[0].points = {{0, std::nan("")}, {1, 2},        {2, infinity}, {3, 4},
                             {infinity, 1},     {4, -infinity}};
  EXPECT_EQ(draw(broken), draw(whole));
  broken.curves[0].points = {{0, std::nan("")}};
  EXPECT_EQ(draw(broken).find("nan"), std::string::npos);
}

TEST(Curves, AnyNumbersAndNamesGiveAPicture) {
  constexpr double most = std::numeric_limits<double>::max();
  for (const std::vector<ef::CurvePoint>& points :
       std::vector<std::vector<ef::CurvePoint>>{{},
                                                {{0, 0}},
                                                {{7, 1e-300}},
                                                {{1, -most}, {2, most}},
                                                {{1, -1e300}, {2, 1e300}},
                                                {{1e15, 5}, {1e15 + 1, 5}},
                                                {{0, 5e-324}, {1, 0}}}) {
    const std::string svg = draw({"", "", {{"", points, ef::Best::highest}}});
    EXPECT_LT(svg.size(), 6000u);
    EXPECT_EQ(svg.find("nan"), svg.npos);
    EXPECT_EQ(svg.find("inf"), svg.npos);
  }
  const std::string svg = draw({"<&\"\x01\xff\xEF\xBF\xBF", "", {}});
  ef::tests::expect_parts(svg, {">&#60;&#38;&#34;␁\xEF\xBF\xBD\xEF\xBF\xBD</text>"});
  const std::vector<ef::Panel> panels(3, {"title", "", {{"one", {}}, {"two", {}}}});
  EXPECT_EQ(count(ef::draw_curves(panels), ">title</text>"), 3);
  EXPECT_EQ(count(ef::draw_curves(panels), "#d55e00"), 3);
  EXPECT_EQ(count(ef::draw_curves({}), "<svg"), 1);
}

TEST(ReportLog, GoesOnAfterTheCheckpoint) {
  const TemporaryFolder folder;
  const std::string path = folder / "log.jsonl";
  const auto report = [](int step, double loss) {
    return ef::Json{{"step", step}, {"loss", loss}};
  };
  {
    ef::ReportLog log(path, -1);
    for (int step = 10; step <= 40; step += 10) log.add(report(step, 100.0 / step));
    log.add({{"step", 40}, {"dev_loss", 3}});
    EXPECT_EQ(log.reports().size(), 5u);
  }
  const std::string whole = ef::read_file(path);
  EXPECT_EQ(count(whole, "\n"), 5);
  ef::write_file(path, whole + R"({"step":50,"lo)");  // its process was killed
  {
    ef::ReportLog log(path, 30);
    EXPECT_EQ(log.reports().size(), 3u);
    log.add(report(40, 100.0 / 40));
    log.add({{"step", 40}, {"dev_loss", 3}});
    const ef::Curve loss = log.curve("train", "loss", ef::Best::lowest);
    EXPECT_EQ(loss.name, "train");
    EXPECT_EQ(loss.best, ef::Best::lowest);
    ASSERT_EQ(loss.points.size(), 4u);
    EXPECT_EQ(loss.points[1].x, 20);
    EXPECT_EQ(loss.points[1].y, 5);
    ASSERT_EQ(log.curve("dev", "dev_loss").points.size(), 1u);
  }
  EXPECT_EQ(ef::read_file(path), whole);
  const ef::ReportLog fresh(path, -1);
  EXPECT_TRUE(fresh.reports().empty());
  EXPECT_EQ(ef::read_file(path), "");
}

TEST(ReportLog, ErrorsNameTheFile) {
  const TemporaryFolder folder;
  const std::string path = folder / "log.jsonl";
  ef::write_file(path, "{\"loss\":1}\n");
  ef::tests::expect_parts(
      ef::tests::message_of<ef::FormatError>([&] { return ef::ReportLog(path, 3); }),
      {path, "no report"});
  ef::tests::expect_parts(ef::tests::message_of<ef::IoError>(
                              [&] { return ef::ReportLog(folder / "no/log.jsonl", -1); }),
                          {folder / "no/log.jsonl"});
}

}  // namespace curves_test
