#!/usr/bin/env bash
source "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/expect.bash"
svg=$scratch/map.svg

# well_formed: the picture is UTF-8 and XML: elements are closed, and what is special is escaped.
well_formed() {
  iconv -f UTF-8 -t UTF-8 "$svg" > /dev/null || complain 'not UTF-8'
  ! LC_ALL=C grep -qP '[\x00-\x08\x0B-\x1F\x7F]|\xEF\xBF[\xBE\xBF]' "$svg" || complain 'holds what XML refuses'
  awk 'BEGIN { RS = "<" }
    NR == 1 { bad = $0 != ""; next }
    {
      tag = text = $0
      bad = bad || !sub(/>.*/, "", tag) || !sub(/^[^>]*>/, "", text)
      gsub(/&#[0-9]+;/, "", text)
      bad = bad || text ~ /[&>]/ || (depth == 0 && NR > 2)
      name = tag
      sub(/[ \/].*/, "", name)
      if (tag ~ /^\//) bad = bad || stack[depth--] != substr(tag, 2)
      else if (tag !~ /\/$/) stack[++depth] = name
    }
    END { exit bad || depth != 0 || NR < 3 }' "$svg" || complain 'is not well-formed'
}
# holds NUMBER TEXT: the picture holds TEXT as often.
holds() {
  local found
  found=$(grep -oF -- "$2" "$svg" | wc -l)
  [[ $found -eq $1 ]] || complain "$found times $2, not $1, in the picture"
}
draw() {
  expect 0 --output "$svg" "$@"
  well_formed
}
# rows: the numbers of --json, one row of a map a line.
rows() { grep -oE '\[[0-9.e,-]+\]' <<< "$out" | tr -d '[]'; }

expect_common
expect_usage 'no output'
expect_usage --output "$svg" --head 1 'God'

draw 'In the beginning God created the heaven and the earth.'
holds 16 '<title>layer '
holds 1 'layer 3, head 2<'
holds 1 'In the beginning God created'
[[ -z $out ]] || complain "prints $out"

# Rows are probabilities; the numbers in the cells are those of that layer and head.
draw --json 'God created'
lines 1
matches '"tokens":\["<s>","God","created","</s>"\]'
all=$(rows)
[[ $(wc -l <<< "$all") -eq 64 ]] || complain 'not 16 maps of 4 tokens'
awk -F, '{ sum = 0; for (i = 1; i <= NF; ++i) sum += $i; if (NF != 4 || sum < 0.9999 || sum > 1.0001) exit 1 }' \
  <<< "$all" || complain "rows do not sum to 1: $all"
draw --json --layer 2 --head 1 'God created'
holds 1 '<title>'
holds 2 '>created<'
holds 2 '>&#60;s&#62;<'
[[ $(rows) == "$(sed -n '37,40p' <<< "$all")" ]] || complain 'another map'
cells=$(sed '1,/<g>/d' "$svg" | grep -oE '>[01]\.[0-9]{2}<' | tr -d '<>')
[[ $cells == "$(rows | tr ',' '\n' | awk '{ printf "%.2f\n", $1 }')" ]] || complain "other numbers: $cells"
draw --layer 3 'God'
holds 4 '<title>layer 3, '

# Odd texts: each token with its part of the text, as XML may hold it.
draw --layer 0 --head 0 $'<b> & "c" \x01\x7f\xff\xef\xbf\xbf \xe6\x97\xa5\xf0\x9f\x91\xa9  \n x'
draw --layer 0 --head 0 $'first text\tsecond 日本'
holds 1 'first text | second 日本'
draw ''
draw "$(printf 'word %.0s' {1..120})"

# Every head's folder; threads and precisions.
for fixture in sequence_single_label token_holes question_answering causal base_no_pooler; do
  with_tokenizer $fixture
  draw --model "$folder" 'abc'
done
# Other families: a BERT, and a GPT-2, whose tokens do not attend to those after them.
draw --model "$here/../fixtures/bert_pipelines/masked_lm" 'abc'
holds 4 '<title>layer '
draw --json --model "$here/../fixtures/generation" --layer 1 --head 0 'abc abc'
rows | awk -F, '{ for (i = NR + 1; i <= NF; ++i) if ($i != 0) exit 1 } END { if (NR < 2) exit 1 }' ||
  complain "attends to what comes: $out"

for threads in 1 3; do
  expect 0 --threads $threads --output "$scratch/$threads.svg" 'In the beginning'
done
cmp "$scratch/1.svg" "$scratch/3.svg" || complain 'threads change the picture'
for precision in double bf16 int8; do draw --precision $precision 'God'; done

# A run that fails leaves no file.
rm "$svg"
expect_error 'has 4, counted from 0' --output "$svg" --layer 4 'God'
expect_error 'has 4, counted from 0' --output "$svg" --layer 0 --head -1 'God'
expect_error 'input 2' --output "$svg" 'God' 'created'
expect_error '--max-length' --output "$svg" "$(printf 'word %.0s' {1..600})"
expect_error 'no text' --output "$svg" < /dev/null
with_tokenizer no_layers
expect_error 'has 0' --model "$folder" --output "$svg" 'a'
expect_error "$scratch/nowhere" --model "$scratch/nowhere" --output "$svg" 'God'
[[ ! -e $svg ]] || complain 'a file of a failed run'
expect_error "$scratch/no/folder" --output "$scratch/no/folder/x.svg" 'God'
