#!/usr/bin/env bash
source "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/expect.bash"

expect_common
expect_usage 'a query without a corpus'

with_tokenizer sequence_regression
printf 'abc\nc\n\nabc\nb' > "$scratch/corpus"

# All lines, equal ones in order; as many as asked for.
expect 0 --model "$folder" --corpus "$scratch/corpus" --json ab
lines 1
times 5 '"line":'
matches '^\{"hits":\[\{"line":[0-4],"score":0\.[0-9]+,"text":"[abc]*"\},'
matches '"line":0,"score":(0\.[0-9]+),"text":"abc"\},\{"line":3,'
found=$out
expect 0 --model "$folder" --corpus "$scratch/corpus" --json --top 2 ab
times 2 '"line":'
[[ $found == "${out%\]\}}"* ]] || complain 'another order of the best ones'
expect 0 --model "$folder" --corpus "$scratch/corpus" ab
lines 6
matches '^   0\.[0-9]+ #*  +0  abc$'

# Several queries, one object each; threads do not change a bit; an empty corpus.
for threads in 1 3; do
  expect 0 --model "$folder" --corpus "$scratch/corpus" --json --threads $threads \
    --input <(printf 'ab\nc\n\n')
  lines 3
  [[ $(head -1 <<< "$out") == "$found" ]] || complain 'another answer in a file'
done
expect 0 --model "$folder" --corpus /dev/null --json ab
matches '^\{"hits":\[\]\}$'

expect_error "$scratch/absent" --model "$folder" --corpus "$scratch/absent" ab
expect_error 'line 2' --model "$folder" --corpus <(printf 'a\nb\tc\n') ab
with_tokenizer sequence_single_label
expect_error '3 labels' --model "$folder" --corpus "$scratch/corpus" ab
