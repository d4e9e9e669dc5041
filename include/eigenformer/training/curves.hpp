// Losses and metrics over the course of a training, as a picture.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "eigenformer/io/svg.hpp"
#include "eigenformer/tokenizers/unicode.hpp"

namespace eigenformer {

/// A number at a moment, such as a loss at an update.
struct CurvePoint {
  double x = 0;  ///< when, such as the number of the update
  double y = 0;  ///< the number
};

/// Which point of a curve is marked.
enum class Best : std::uint8_t {
  none,    ///< none
  lowest,  ///< as of a loss; of equals the first
  highest  ///< as of an accuracy; of equals the first
};

/// A line through points.
struct Curve {
  std::string name;                ///< in the legend
  std::vector<CurvePoint> points;  ///< in the order of x
  Best best = Best::none;          ///< gets a dotted mark, and its value beside the name
};

/// One picture of curves over a common axis.
struct Panel {
  std::string title;          ///< above it
  std::string x_label;        ///< below its axis
  std::vector<Curve> curves;  ///< over each other
};

namespace detail {

/// Numbers from low to high on one axis, with about `count` round ones among them.
struct Axis {
  double low = 0;
  double high = 1;
  double step = 0.2;

  Axis(std::span<const double> values, int count) {
    if (!values.empty()) {
      const auto [least, most] = std::minmax_element(values.begin(), values.end());
      low = *least, high = *most;
    }
    const double magnitude = std::max(std::fabs(low), std::fabs(high));
    if (high - low <= std::max(1e-9 * magnitude, tiny)) {
      const double room = magnitude > tiny ? 0.05 * magnitude : 1;
      low -= room, high += room;
    }
    const double rough = (high - low) / count;
    const double power = std::pow(10.0, std::floor(std::log10(rough)));
    step = power * (rough <= 2 * power ? 2 : rough <= 5 * power ? 5 : 10);
  }

  void widen_to_steps() {
    low = std::floor(low / step) * step;
    high = std::ceil(high / step) * step;
  }
  [[nodiscard]] double share(double value) const { return (value - low) / (high - low); }

  static constexpr double tiny = 1e-290;  // steps stay normal numbers

  template <class Function>
  void for_each_step(Function&& f) const {
    const double least = std::ceil(low / step - 1e-6), most = std::floor(high / step + 1e-6);
    for (double i = 0; least + i <= most; ++i) f((least + i) * step + 0.0);  // no minus zero
  }
};

/// Panels one above the other.
class CurvePicture {
 public:
  [[nodiscard]] std::string draw(std::span<const Panel> panels) {
    const double height = std::max(panel_height * static_cast<double>(panels.size()), 1.0);
    body_ = printed("<rect width=\"%.0f\" height=\"%.0f\" fill=\"#fff\"/>\n", width, height);
    for (std::size_t i = 0; i < panels.size(); ++i) {
      draw(panels[i], panel_height * static_cast<double>(i) + 44);
    }
    return printed(
               "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%.0f\" height=\"%.0f\" "
               "viewBox=\"0 0 %.0f %.0f\" font-family=\"sans-serif\" fill=\"#222\">\n",
               width, height, width, height) +
           body_ + "</svg>\n";
  }

 private:
  static constexpr double width = 800, panel_height = 320;
  static constexpr double left = 64, plot_width = 540, plot_height = 220;

  void put(double x, double y, double size, const char* anchor, std::string_view text,
           const char* more = "") {
    body_ += printed("<text x=\"%.1f\" y=\"%.1f\" font-size=\"%.0f\" text-anchor=\"%s\"%s>", x, y,
                     size, anchor, more) +
             xml_text(valid_utf8(text)) + "</text>\n";
  }
  void line(const std::string& path, const char* colour, const char* more = "") {
    body_ +=
        printed("<path d=\"%s\" fill=\"none\" stroke=\"%s\"%s/>\n", path.c_str(), colour, more);
  }
  static std::string number(double value) { return printed("%.10g", value); }

  void draw(const Panel& panel, double top) {
    std::vector<Curve> curves = panel.curves;
    std::vector<double> xs, ys;
    for (Curve& curve : curves) {
      // So that no difference overflows.
      const auto is_drawn = [](double value) { return std::fabs(value) <= 1e300; };
      std::erase_if(curve.points,
                    [&](const CurvePoint& p) { return !is_drawn(p.x) || !is_drawn(p.y); });
      for (const CurvePoint& p : curve.points) xs.push_back(p.x), ys.push_back(p.y);
    }
    const Axis x_axis(xs, 8);
    Axis y_axis(ys, 5);
    y_axis.widen_to_steps();
    const auto at_x = [&](double x) { return left + plot_width * x_axis.share(x); };
    const auto at_y = [&](double y) { return top + plot_height * (1 - y_axis.share(y)); };

    const double bottom = top + plot_height;
    put(left, top - 16, 15, "start", panel.title, " font-weight=\"bold\"");
    put(left + plot_width / 2, bottom + 36, 12, "middle", panel.x_label);
    y_axis.for_each_step([&](double y) {
      line(printed("M%.1f %.1fh%.0f", left, at_y(y), plot_width), "#ddd");
      put(left - 8, at_y(y) + 4, 12, "end", number(y));
    });
    x_axis.for_each_step([&](double x) {
      line(printed("M%.1f %.1fv5", at_x(x), bottom), "#666");
      put(at_x(x), bottom + 18, 12, "middle", number(x));
    });
    line(printed("M%.1f %.1fv%.0fh%.0f", left, top, plot_height, plot_width), "#666");

    constexpr double legend = left + plot_width + 16;
    double legend_y = top + 8;
    for (std::size_t i = 0; i < curves.size(); ++i) {
      // Colours that the colour-blind can tell apart (Okabe and Ito).
      constexpr std::array<const char*, 6> colours = {"#0072b2", "#d55e00", "#009e73",
                                                      "#cc79a7", "#e69f00", "#56b4e9"};
      const char* colour = colours[i % colours.size()];
      constexpr const char* thick = " stroke-width=\"2\" stroke-linejoin=\"round\"";
      const Curve& curve = curves[i];
      line(printed("M%.1f %.1fh20", legend, legend_y), colour, thick);
      put(legend + 28, legend_y + 4, 12, "start", curve.name);
      legend_y += 18;
      if (curve.points.empty()) continue;
      std::string path, dots;
      for (const CurvePoint& p : curve.points) {
        path += printed("%c%.1f %.1f", path.empty() ? 'M' : 'L', at_x(p.x), at_y(p.y));
        dots += printed("M%.1f %.1fh0", at_x(p.x), at_y(p.y));
      }
      line(path, colour, thick);
      constexpr std::size_t few = 40;
      if (curve.points.size() <= few)
        line(dots, colour, " stroke-width=\"5\" stroke-linecap=\"round\"");
      if (curve.best == Best::none) continue;
      const auto lower = [](const CurvePoint& a, const CurvePoint& b) { return a.y < b.y; };
      const CurvePoint best =
          curve.best == Best::lowest
              ? *std::min_element(curve.points.begin(), curve.points.end(), lower)
              : *std::max_element(curve.points.begin(), curve.points.end(), lower);
      line(printed("M%.1f %.1fV%.1fH%.1f", at_x(best.x), bottom, at_y(best.y), left), colour,
           " stroke-dasharray=\"2 4\"");
      body_ += printed("<circle cx=\"%.1f\" cy=\"%.1f\" r=\"4.5\" fill=\"%s\"/>\n", at_x(best.x),
                       at_y(best.y), colour);
      put(legend + 28, legend_y + 4, 12, "start", printed("best %.4g at %.10g", best.y, best.x));
      legend_y += 18;
    }
  }

  std::string body_;
};

}  // namespace detail

/// An SVG file of panels one above the other. Points with a number that is not finite are left out.
[[nodiscard]] inline std::string draw_curves(std::span<const Panel> panels) {
  return detail::CurvePicture().draw(panels);
}

}  // namespace eigenformer
