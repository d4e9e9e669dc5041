#!/usr/bin/env bash
source "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/expect.bash"
fixtures=$here/../fixtures/question_answering
folder=$fixtures/model
question='Who created the heaven and the earth?'
context='In the beginning God created the heaven and the earth.'

expect_common
expect_usage --model "$folder" --question "$question"
expect_usage --model "$folder" --context "$context"
expect_usage --model "$folder" --question "$question" --context "$context" 'another text'
expect_usage --model "$folder" --squad "$fixtures/squad.json"
expect_usage --model "$folder" --output "$scratch/predictions.json" "$question"
expect_usage --model "$folder" --top 0 --question "$question" --context "$context"

# The same answer from options, arguments, a file and standard input.
expect 0 --model "$folder" --json --question "$question" --context "$context"
lines 1
matches '^\{"answer":".*","end":[0-9]+,"score":[0-9.e-]+,"start":[0-9]+\}$'
best=$out
expect 0 --model "$folder" --json "$question"$'\t'"$context"
[[ $out == "$best" ]] || complain 'another answer from an argument'
printf 'Why?\tGod\n%s\t%s' "$question" "$context" > "$scratch/lines"
for threads in 1 3; do
  expect 0 --model "$folder" --json --threads $threads --input "$scratch/lines"
  lines 2
  [[ $(tail -1 <<< "$out") == "$best" ]] || complain 'another answer in a file'
  [[ $(head -1 <<< "$out") == '{"answer":"God","end":3,'*',"start":0}' ]] || complain "not God: $out"
done
expect 0 --model "$folder" --json < "$scratch/lines"
[[ $(tail -1 <<< "$out") == "$best" ]] || complain 'another answer from standard input'

# Several answers, none, and the one that is marked.
expect 0 --model "$folder" --json --top 3 --question "$question" --context "$context"
times 4 '"answer":'
matches '"answers":\[\{'
expect 0 --model "$folder" --json --top 50 --impossible --question "$question" --context "$context"
times 1 '"answer":"","end":0,'
expect 0 --model "$folder" --question 'Why?' --context 'God'
lines 3
matches '^ +[0-9.]+ %  God '
matches '^>>>God<<<$'
for precision in double bf16 int8; do
  expect 0 --model "$folder" --precision $precision --json --question 'Why?' --context 'God'
  matches '"answer":"God"'
done

# Long contexts are read in windows; --max-length is theirs.
expect 0 --model "$folder" --json --input <(printf 'Why?\t'; for _ in {1..2000}; do printf 'word '; done)
lines 1
expect 0 --model "$folder" --json --max-length 60 "$question"$'\t'"$context"
expect_error '129' --model "$folder" --max-length 129 "$question"$'\t'"$context"

# A whole file of SQuAD.
expect 0 --model "$folder" --squad "$fixtures/squad.json" --output "$scratch/predictions.json"
lines 0
predictions=$(grep -cE '^ "[0-9]+-[0-9]": ".*",?$' "$scratch/predictions.json")
[[ $predictions -eq $(grep -c '^"id"' "$fixtures/squad.json") ]] || complain "$predictions predictions"

expect_error 'line 1' --model "$folder" --input <(echo 'no tab')
expect_error 'question 0 is empty' --model "$folder" --question '' --context "$context"
expect_error 'context' --model "$folder" --question "$question" --context ''
expect_error 'qa_outputs' --question "$question" --context "$context"
echo '{"data": [{}]}' > "$scratch/squad.json"
expect_error 'data[0]' --model "$folder" --squad "$scratch/squad.json" --output "$scratch/none.json"
expect_error "$scratch/absent" --model "$folder" --squad "$scratch/absent" --output "$scratch/none.json"
[[ ! -e $scratch/none.json ]] || complain 'a file of a failed run'
expect_error "$scratch/no/folder" --model "$folder" --squad "$fixtures/squad.json" \
  --output "$scratch/no/folder/x"
