#!/usr/bin/env bash
# Compiles every header alone, twice included, and prints the seconds of processor time that each
# takes; then a program with RoBERTa inference. The budgets are 3 s and 8 s at -O2 with g++ 12. Since
# machines differ and are shared, what fails is counted in yardsticks: the time that the headers of
# others which we include, Eigen's and nlohmann's, take in the same run. The limits are about twice
# what the slowest header and the program take.
# The compiler is $CXX, else g++.
set -euo pipefail
cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/../.."
scratch=$(mktemp -d)
trap 'rm -r "$scratch"' EXIT
status=0
export scratch CXX=${CXX:-g++}
export flags="-std=c++20 -O2 -Iinclude -isystem ${EIGEN_INCLUDE_DIR:-/usr/include/eigen3} -Wall -Wextra\
  -Wpedantic -Wshadow -Wconversion -Werror"

# compile_alone NAME SOURCE BUDGET LIMIT: one line; fails where it does not compile, or takes more
# than LIMIT yardsticks.
compile_alone() {
  local object=$scratch/$BASHPID.o seconds TIMEFORMAT='%U %S'
  # shellcheck disable=SC2086
  if ! seconds=$({ time $CXX $flags -x c++ -c "$2" -o "$object" 2> "$object.log"; } 2>&1); then
    cat "$object.log" >&2
    echo "error: does not compile alone: $1"
    return 1
  fi
  rm -f "$object"
  awk -v name="$1" -v budget="$3" -v limit="$4" -v yardstick="${yardstick:-0}" '{
    taken = $1 + $2
    remark = (taken > budget) ? "  (above the budget of " budget " s)" : ""
    printf "%5.1f s  %s%s\n", taken, name, remark
    exit yardstick > 0 && taken > limit * yardstick
  }' <<< "$seconds" || { echo "error: takes more than $4 yardsticks: $1"; return 1; }
}

header_alone() {
  local source=$scratch/${1//\//_}.cpp
  printf '#include "%s"\n#include "%s"\n' "$1" "$1" > "$source"
  compile_alone "$1" "$source" 3 6
}
export -f compile_alone header_alone

# Two headers need other libraries.
without='$^'
if command -v mpicxx > /dev/null; then
  flags+=" $(mpicxx --showme:compile | sed 's/-I */-isystem /g')"
else
  without+='|/data_parallel\.hpp$'
  echo 'no MPI (Debian: libopenmpi-dev): training/data_parallel.hpp is left out'
fi
if ! $CXX -fsyntax-only -include sentencepiece_processor.h -x c++ /dev/null 2> "$scratch/log"; then
  without+='|/sentencepiece\.hpp$'
  echo 'no sentencepiece (Debian: libsentencepiece-dev): tokenizers/sentencepiece.hpp is left out'
fi

# As many at once as of our own headers; the slowest counts.
printf '#include <Eigen/Core>\n#include <nlohmann/json.hpp>\n' > "$scratch/yardstick.cpp"
yardstick=$(seq $((2 * $(nproc))) | xargs -P "$(nproc)" -I{} \
  bash -c 'compile_alone yardstick "$scratch/yardstick.cpp" 100 100' | sort -n | awk 'END { print $1 }')
export yardstick
echo "the yardstick takes $yardstick s"

echo "every header alone ($($CXX --version | head -1)):"
# Fragments that only make sense inside another header are named *.inl.hpp, begin*.hpp or end*.hpp.
(cd include && find eigenformer -name '*.hpp') | sort |
  grep -vE "\.inl\.hpp$|/(begin|end)[a-z0-9_]*\.hpp$|$without" |
  xargs -P "$(nproc)" -I{} bash -c 'header_alone {}' || status=1

if [[ -e examples/fill_mask.cpp ]]; then
  cat > "$scratch/inference.cpp" << 'END'
#include <eigenformer/models/roberta.hpp>

int main() {
  const auto model = eigenformer::RobertaForMaskedLM<float>::from_pretrained("folder");
  eigenformer::Context cx;
  eigenformer::Batch batch;
  return model(cx, batch).matrix().rows() == 0 ? 0 : 1;
}
END
  echo 'a program with RoBERTa inference:'
  compile_alone 'RoBERTa inference' "$scratch/inference.cpp" 8 16 || status=1
fi
exit $status
