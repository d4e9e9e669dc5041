// Draws which tokens attend to which, as SVG: small maps of all layers and heads, or large ones
// with the tokens beside them.
//   attention_map --output map.svg "In the beginning God created the heaven and the earth."
//   attention_map --output head.svg --layer 2 --head 0 "In the beginning God created the heaven."
#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "eigenformer/io/svg.hpp"
#include "eigenformer/models/auto_model.hpp"
#include "eigenformer/tokenizers/unicode.hpp"

#include "common.hpp"

namespace ef = eigenformer;
using ef::printed;
using examples::Line;
using examples::Program;

namespace {

/// One head's probabilities: row i is how token i attends to all.
struct Map {
  ef::Index layer = 0;
  ef::Index head = 0;
  std::vector<std::vector<double>> rows;
};

/// How wide a character with this first byte is, in letters: Chinese and pictures take two.
std::size_t columns(char first) {
  const auto code = static_cast<unsigned char>(first);
  return code >= 0x80 && code < 0xC0 ? 0 : code >= 0xE3 ? 2 : 1;
}
std::size_t columns(std::string_view text) {
  std::size_t sum = 0;
  for (const char c : text) sum += columns(c);
  return sum;
}

/// The beginning of a text that has at most so many columns.
std::string clipped(const std::string& text, std::size_t most) {
  if (columns(text) <= most) return text;
  std::size_t width = 1, end = 0;
  while (width + columns(text[end]) <= most) width += columns(text[end++]);
  return text.substr(0, end) + "…";
}

/// A token as a reader knows it: its part of the text, or how the vocabulary spells it.
std::string label_of(const ef::Tokenizer& tokenizer, const ef::Encoding& encoding, std::size_t i,
                     const Line& line) {
  if (encoding.special_tokens_mask[i] != 0) {
    return std::string(tokenizer.id_to_token(encoding.ids[i]));
  }
  const std::string& text = encoding.sequence_ids[i] == 1 ? *line.pair : line.text;
  const std::string part = text.substr(encoding.offsets[i].begin, encoding.offsets[i].size());
  const std::size_t letter = part.find_first_not_of(' ');
  if (letter != std::string::npos) return ef::valid_utf8(part.substr(letter));
  std::string blanks;
  for (const char c : tokenizer.decode({encoding.ids[i]}, false)) {
    blanks += c == ' ' ? "␣" : std::string(1, c);
  }
  return blanks;
}

/// Light for 0 to dark for 1. Steps are those of the root, so that small numbers differ too.
constexpr int steps = 24;
int step_of(double p) {
  return p > 0 ? static_cast<int>(std::lround(std::sqrt(std::min(p, 1.0)) * steps)) : 0;
}
std::string colour(int step) {
  constexpr std::array<std::array<double, 3>, 5> stops = {
      {{255, 255, 255}, {198, 219, 239}, {107, 174, 214}, {33, 113, 181}, {8, 48, 107}}};
  const double place = 4.0 * step / steps;
  const auto low = std::min<std::size_t>(static_cast<std::size_t>(place), 3);
  const auto mix = [&](std::size_t i) {
    const double share = place - static_cast<double>(low);
    return static_cast<int>(std::lround(stops[low][i] * (1 - share) + stops[low + 1][i] * share));
  };
  return printed("#%02x%02x%02x", mix(0), mix(1), mix(2));
}

/// The picture of some maps in a grid of so many columns, under the text that they are of.
class Picture {
 public:
  Picture(std::vector<std::string> labels, bool overview, std::size_t maps)
      : labels_(std::move(labels)), overview_(overview) {
    const auto count = static_cast<double>(labels_.size());
    cell_ = overview    ? 120 / count
            : maps == 1 ? std::clamp(720 / count, 13.0, 48.0)
                        : std::clamp(360 / count, 11.0, 36.0);
    side_ = cell_ * count;
    font_ = std::min(13.0, cell_);
    std::size_t longest = 0;
    for (std::string& label : labels_) {
      label = clipped(label, 14);
      longest = std::max(longest, columns(label));
    }
    upright_ = cell_ * 0.7 < font_;
    margin_ = overview ? 0 : 0.62 * font_ * static_cast<double>(longest) + 8;
    top_ = upright_ ? margin_ : margin_ * 0.75;
  }

  std::string draw(const std::string& text, const std::vector<Map>& maps, std::size_t across) {
    const double left = overview_ ? 70 : 20;
    const double top = overview_ ? 150 : 130;
    const double step_x = overview_ ? side_ + 10 : side_ + margin_ + top_ + 20;
    const double step_y = overview_ ? side_ + 10 : side_ + top_ + 50;
    const auto rows = (maps.size() + across - 1) / across;
    const double width = std::max(left + step_x * static_cast<double>(across) + 10, 640.0);
    const double height = top + step_y * static_cast<double>(rows) + 10;
    body_ = printed("<rect width=\"%.0f\" height=\"%.0f\" fill=\"#fff\"/>\n", width, height);
    header(text, static_cast<std::size_t>((width - 40) / 10.5));
    for (std::size_t i = 0; i < maps.size(); ++i) {
      const auto column = i % across, row = i / across;
      const double x = left + step_x * static_cast<double>(column);
      const double y = top + step_y * static_cast<double>(row);
      if (overview_) {
        if (row == 0) put(x + side_ / 2, y - 8, 12, "middle", printed("head %td", maps[i].head));
        if (column == 0)
          put(x - 8, y + side_ / 2 + 4, 12, "end", printed("layer %td", maps[i].layer));
        map(maps[i], x, y);
      } else {
        put(x, y, 14, "start", name_of(maps[i]));
        map(maps[i], x + margin_, y + top_ + 16);
      }
    }
    return printed(
               "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%.0f\" height=\"%.0f\" "
               "viewBox=\"0 0 %.0f %.0f\" font-family=\"sans-serif\" fill=\"#222\">\n",
               width, height, width, height) +
           body_ + "</svg>\n";
  }

 private:
  static std::string name_of(const Map& map) {
    return printed("layer %td, head %td", map.layer, map.head);
  }

  void put(double x, double y, double size, const char* anchor, const std::string& text,
           const std::string& more = "") {
    body_ += printed("<text x=\"%.1f\" y=\"%.1f\" font-size=\"%.1f\" text-anchor=\"%s\"%s>", x, y,
                     size, anchor, more.c_str()) +
             ef::xml_text(ef::valid_utf8(text)) + "</text>\n";
  }

  /// The text, how to read the maps, and the scale of colours.
  void header(const std::string& text, std::size_t most) {
    put(20, 34, 18, "start", clipped(text, most), " font-weight=\"bold\"");
    put(20, 56, 13, "start",
        "Attention: each row is a token, each column a token that it attends to; rows sum to 1.");
    for (int step = 0; step <= steps; ++step) {
      body_ += printed("<rect x=\"%d\" y=\"70\" width=\"10\" height=\"12\" fill=\"%s\"/>\n",
                       20 + 10 * step, colour(step).c_str());
    }
    body_ += printed(
        "<rect x=\"20\" y=\"70\" width=\"%d\" height=\"12\" fill=\"none\" "
        "stroke=\"#999\"/>\n",
        10 * (steps + 1));
    for (const double p : {0.0, 0.02, 0.1, 0.25, 0.5, 1.0}) {
      put(25 + 10 * steps * std::sqrt(p), 96, 11, "middle", printed("%g", p));
    }
  }

  void map(const Map& map, double x, double y) {
    body_ += "<g><title>" + name_of(map) + "</title>\n";
    // All cells of a colour are one path of horizontal strokes, a little too large, so that no
    // light comes through between them.
    std::array<std::string, steps + 1> paths;
    for (std::size_t row = 0; row < map.rows.size(); ++row) {
      const std::vector<double>& p = map.rows[row];
      for (std::size_t begin = 0, end = 0; begin < p.size(); begin = end) {
        const int step = step_of(p[begin]);
        for (end = begin + 1; end < p.size() && step_of(p[end]) == step; ++end) {
        }
        paths[static_cast<std::size_t>(step)] += printed("M%zu %zu.5h%zu", begin, row, end - begin);
      }
    }
    for (int step = 1; step <= steps; ++step) {
      const std::string& path = paths[static_cast<std::size_t>(step)];
      if (path.empty()) continue;
      body_ += printed(
                   "<path transform=\"translate(%.1f %.1f) scale(%.4f)\" stroke=\"%s\" "
                   "stroke-width=\"1.03\" d=\"",
                   x, y, cell_, colour(step).c_str()) +
               path + "\"/>\n";
    }
    if (!overview_) label(map, x, y);
    body_ += printed(
        "<rect x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\" fill=\"none\" "
        "stroke=\"#999\"/></g>\n",
        x, y, side_, side_);
  }

  /// The tokens on both axes, lines between them, and numbers in cells that have room for them.
  void label(const Map& map, double x, double y) {
    std::string lines;
    for (std::size_t i = 1; i < labels_.size(); ++i) {
      lines += printed("M%zu 0v%zuM0 %zuh%zu", i, labels_.size(), i, labels_.size());
    }
    body_ += printed(
                 "<path transform=\"translate(%.1f %.1f) scale(%.4f)\" stroke=\"#fff\" "
                 "stroke-width=\"0.04\" d=\"",
                 x, y, cell_) +
             lines + "\"/>\n";
    constexpr const char* mono = " font-family=\"monospace\"";
    for (std::size_t i = 0; i < labels_.size(); ++i) {
      const double middle = cell_ * (static_cast<double>(i) + 0.5);
      put(x - 5, y + middle + font_ * 0.35, font_, "end", labels_[i], mono);
      put(0, 0, font_, "start", labels_[i],
          printed("%s transform=\"translate(%.1f %.1f) rotate(%d)\"", mono,
                  x + middle + font_ * 0.3, y - 5, upright_ ? -90 : -45));
      if (cell_ < 30) continue;
      for (std::size_t j = 0; j < labels_.size(); ++j) {
        const double p = map.rows[i][j];
        put(x + cell_ * (static_cast<double>(j) + 0.5), y + middle + cell_ * 0.1, cell_ * 0.3,
            "middle", printed("%.2f", p), p > 0.35 ? " fill=\"#fff\"" : "");
      }
    }
  }

  std::vector<std::string> labels_;
  bool overview_;
  double cell_ = 0;       // of one probability
  double side_ = 0;       // of a map
  double font_ = 0;       // of the labels
  bool upright_ = false;  // the labels of columns
  double margin_ = 0;     // left of a map
  double top_ = 0;
  std::string body_;
};

/// An encoder, or GPT-2's decoder.
template <class Scalar>
struct Attentive {
  std::function<ef::EncoderOutput<Scalar>(ef::Context&, const ef::Batch&)> forward;
  ef::Index layers, heads, most_tokens;
};

template <class Scalar>
Attentive<Scalar> load(const std::string& path, const ef::LoadOptions& options) {
  const auto hold = [](auto loaded, ef::Index layers, ef::Index heads) -> Attentive<Scalar> {
    const auto model = std::make_shared<const decltype(loaded)>(std::move(loaded));
    const auto forward = [model](ef::Context& cx, const ef::Batch& batch) {
      return model->forward(cx, batch, ef::EncoderOutputOptions{.attentions = true});
    };
    return {forward, layers, heads, model->config().max_tokens()};
  };
  if (ef::GPT2Config::describes(ef::read_config(path).first)) {
    auto model = ef::GPT2Model<Scalar>::from_pretrained(path, options);
    const ef::GPT2Config config = model.config();
    return hold(std::move(model), config.n_layer, config.n_head);
  }
  auto model = ef::AutoModel<Scalar>::from_pretrained(path, options);
  const ef::EncoderConfig config = model.config();
  return hold(std::move(model), config.num_hidden_layers, config.num_attention_heads);
}

/// The maps of one layer or all, one head or all.
template <class Scalar>
std::vector<Map> maps_of(const ef::EncoderOutput<Scalar>& output, std::optional<ef::Index> layer,
                         std::optional<ef::Index> head) {
  std::vector<Map> maps;
  for (std::size_t i = 0; i < output.attentions.size(); ++i) {
    const ef::Tensor<Scalar>& heads = output.attentions[i].front();  // [heads, n, n]
    for (ef::Index j = 0; j < heads.size(0); ++j) {
      const auto at = static_cast<ef::Index>(i);
      if (layer.value_or(at) != at || head.value_or(j) != j) continue;
      Map& map = maps.emplace_back(Map{at, j, {}});
      for (ef::Index row = 0; row < heads.size(1); ++row) {
        std::vector<double>& numbers = map.rows.emplace_back();
        for (ef::Index k = 0; k < heads.size(2); ++k) {
          numbers.push_back(static_cast<double>(heads(j, row, k)));
        }
      }
    }
  }
  return maps;
}

}  // namespace

int main(int argc, char** argv) {
  Program program("Draws which tokens of a text attend to which, as SVG.");
  std::optional<ef::Index> layer, head;
  program.app.get_option("--output")->required()->description("SVG file");
  CLI::Option* only = program.app.add_option("--layer", layer, "draw this layer large, from 0");
  program.app.add_option("--head", head, "draw this head of the layer alone, from 0")->needs(only);
  return program.run(argc, argv, [&] {
    program.with_scalar([&]<class Scalar>() {
      const auto tokenizer = ef::Tokenizer::from_pretrained(ef::folder_of(program.model));
      const auto model =
          load<Scalar>(program.model, {.precision = program.precision(), .pack = true});
      const auto has = [](const char* what, std::optional<ef::Index> number, ef::Index count) {
        ef::check(number.value_or(0) >= 0 && number.value_or(0) < count, "--", what, " ",
                  number.value_or(0), ": the model has ", count, ", counted from 0");
      };
      has("layer", layer, model.layers);
      has("head", head, model.heads);
      ef::Context cx = program.context();
      std::string svg;
      ef::Json json;
      program.for_each_line([&](const Line& line) {
        ef::check(line.number == 1, "a picture is of one text; give the others to another run");
        const ef::Encoding encoding = program.encode(tokenizer, line, model.most_tokens);
        ef::check(encoding.size() > 0, "has no tokens");
        ef::Batch batch;
        batch.add(encoding.ids, encoding.type_ids);
        const auto maps = maps_of(model.forward(cx, batch), layer, head);
        std::vector<std::string> labels;
        for (std::size_t i = 0; i < encoding.ids.size(); ++i) {
          labels.push_back(label_of(tokenizer, encoding, i, line));
        }
        json = {{"tokens", labels}, {"maps", ef::Json::array()}};
        for (const Map& map : maps) {
          json["maps"].push_back({{"layer", map.layer}, {"head", map.head}, {"rows", map.rows}});
        }
        const auto across = static_cast<std::size_t>(
            layer ? std::lround(std::ceil(std::sqrt(static_cast<double>(maps.size()))))
                  : model.heads);
        const std::string title = line.pair ? line.text + " | " + *line.pair : line.text;
        svg = Picture(labels, !layer, maps.size()).draw(ef::valid_utf8(title), maps, across);
      });
      ef::check(!svg.empty(), "there is no text");
      ef::write_file(program.output, svg);
      if (program.json) Program::print(json);
    });
  });
}
