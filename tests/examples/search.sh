#!/usr/bin/env bash
source "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/expect.bash"
verses=$here/../fixtures/text/verses.txt
encoder=$here/../fixtures/sentences/encoder

expect_common
expect_usage 'a query without a corpus'
expect_usage --corpus "$verses" --index "$verses" 'God'
expect_usage --index "$verses" --output "$scratch/index" 'God'
expect_usage --corpus "$verses" --top 0 'God'

# A line of the corpus finds itself, and lines count from 0.
query=$(sed -n 4p "$verses")
expect 0 --corpus "$verses" --json --top 3 "$query"
lines 1
times 3 '"line":'
times 3 '"text":'
matches '^\{"hits":\[\{"line":3,"score":(1\.0|0\.99999)'
found=$out
expect 0 --corpus "$verses" --top 3 "$query"
lines 4
matches '^   1\.000 #{20}      3  And they took them wives'

# Several queries, from any source, one object each; threads do not change a bit.
printf '%s\nGod\n\n' "$query" > "$scratch/queries"
for threads in 1 3; do
  expect 0 --corpus "$verses" --json --top 3 --threads $threads --input "$scratch/queries"
  lines 3
  [[ $(head -1 <<< "$out") == "$found" ]] || complain 'another answer in a file'
done
expect 0 --corpus "$verses" --json --top 3 <<< "$query"
[[ $out == "$found" ]] || complain 'another answer from standard input'
for i in {1..150}; do echo "query $i"; done > "$scratch/many"
expect 0 --corpus "$verses" --json --input "$scratch/many"
lines 150
expect 0 --corpus "$verses" --json --precision double --top 1 "$query"
matches '"line":3,'

# Equal lines go by line; fewer lines than asked for; an empty corpus.
printf 'light\nGod\n\nlight\nGod' > "$scratch/twice"
expect 0 --corpus "$scratch/twice" --json --top 10 'God'
times 5 '"line":'
matches '^\{"hits":\[\{"line":1,.*\{"line":4,'
expect 0 --corpus /dev/null --json 'God'
matches '^\{"hits":\[\]\}$'

# An index is written whole and answers the same.
expect 0 --corpus "$verses" --output "$scratch/index" --json --top 3 "$query"
expect 0 --index "$scratch/index" --json --top 3 "$query"
[[ $out == "$found" ]] || complain 'another answer from an index'
expect_error "$scratch/index" --index "$scratch/index" --model "$encoder" 'God'
truncate -s -1 "$scratch/index"
expect_error "$scratch/index" --index "$scratch/index" 'God'
expect_error "not an index" --index "$model/model.safetensors" 'God'

expect_error "$scratch/absent" --corpus "$scratch/absent" 'God'
printf 'a\nb\tc\td\n' > "$scratch/tabs"
expect_error 'line 2' --corpus "$scratch/tabs" --output "$scratch/none" 'God'
[[ ! -e $scratch/none ]] || complain 'a file of a failed run'
expect_error "$scratch/no/folder" --corpus "$verses" --output "$scratch/no/folder" 'God'
