// A folder in, an answer out: the pipeline, then its parts by hand.
#include <cstdio>
#include <exception>
#include <string>

#include <eigenformer/eigenformer.hpp>

namespace ef = eigenformer;

bool modules_agree();

namespace {

bool fills_the_mask(const std::string& folder) {
  ef::FillMask fill = ef::FillMask::from_pretrained(folder);
  double sum = 0;
  for (const auto& guess : fill("In the beginning God created the <mask> and the earth.")) {
    std::printf("%-10s %.3f\n", guess.token.c_str(), guess.score);
    sum += guess.score;
  }
  return sum > 0 && sum <= 1;
}

bool batches_do_not_mix(const std::string& folder) {
  const auto tokenizer = ef::Tokenizer::from_pretrained(folder);
  const auto model = ef::RobertaForMaskedLM<float>::from_pretrained(folder);
  ef::Context cx;
  const ef::Batch both = tokenizer.encode_batch({"Hello <mask>!", "A longer second text."});
  const ef::Batch alone = tokenizer.encode_batch({"Hello <mask>!"});
  const ef::Tensor<float> logits = model(cx, both);
  const Eigen::MatrixXf first = logits.rows(both.segment(0)).matrix();
  const Eigen::MatrixXf expected = model(cx, alone).matrix();
  return first.rows() == alone.tokens() && first.isApprox(expected, 1e-4F);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) return 2;
  try {
    const bool good = fills_the_mask(argv[1]) && batches_do_not_mix(argv[1]) && modules_agree();
    std::puts(good ? "good" : "wrong answer");
    return good ? 0 : 1;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "error: %s\n", error.what());
    return 1;
  }
}
