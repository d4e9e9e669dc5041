// The file of a search index: one that is taken can be searched, copied and saved.
#include "eigenformer/pipelines/search.hpp"

#include <string>

#include "fuzz.hpp"

namespace eigenformer::fuzz {
namespace {

const Target target_search("search", [](std::string_view input) {
  static const Folder folder;
  static Context cx(1);
  folder.remove("index");
  const std::string path = folder.write("index", input);
  passes([&] {
    const Search search = Search::open(path);
    for (Index line = 0; line < search.size() && line < 64; ++line) {
      passes([&] { (void)search.text(line); });
    }
    passes([&] {
      if (search.hidden() > 4096) return;  // of an index without lines: any number
      const auto queries = Tensor<float>::full({2, search.hidden()}, 0.5f);
      for (const auto& hits : search(cx, queries, 3)) {
        expect(static_cast<Index>(hits.size()) == std::min<Index>(3, search.size()),
               "there are as many hits as are asked for");
        for (const SearchHit& hit : hits) {
          expect(hit.line >= 0 && hit.line < search.size(), "hits are lines");
          expect(hit.score > -1.02f && hit.score < 1.02f, "scores are cosines");
        }
      }
    });
    search.save(folder / "saved");
    expect(Search::open(folder / "saved").size() == search.size(), "a saved index is taken");
  });
});

}  // namespace
}  // namespace eigenformer::fuzz
