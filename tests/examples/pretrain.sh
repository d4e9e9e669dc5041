#!/usr/bin/env bash
source "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/expect.bash"
verses=$here/../fixtures/text/verses.txt
head -80 "$verses" > "$scratch/text"
tail -n +81 "$verses" > "$scratch/dev"
tiny=(--vocab-size 320 --hidden 32 --layers 2 --heads 2 --intermediate 48 --positions 66 --length 48
  --batch 8 --lr 5e-3 --clip 1 --dropout 0.1 --seed 3 --steps 40 --save-every 8 --report-every 3)
run=("${tiny[@]}" --corpus "$scratch/text" --dev "$scratch/dev")

# instead OPTION VALUE: the run with another value, in ${other[@]}.
instead() {
  local i
  other=("${run[@]}")
  for i in "${!other[@]}"; do
    [[ ${other[i]} != "$1" ]] || other[i + 1]=$2
  done
}

expect_common
expect_usage
expect_usage --corpus "$scratch/text" --output "$scratch/x"
expect_usage "${run[@]}"
while read -r option value; do
  instead "$option" "$value"
  expect_usage "${other[@]}" --output "$scratch/x"
done <<< '--batch 0
--lr nan
--clip -1
--seed -1'
expect_usage "${run[@]}" --output "$scratch/x" --schedule steep
expect_usage --corpus "$scratch/text" --steps 1 --output "$scratch/x" --model "$model" --hidden 64
expect_usage "${run[@]}" --output "$scratch/x" --tokenizer "$model"

# A folder with everything, and falling losses.
expect 0 "${run[@]}" --output "$scratch/one" --json --threads 2
[[ -z $err ]] || complain "prints $err"
lines 17 # at every third update and at every eighth, of which one is both
matches '^\{"learning_rate":[0-9.e-]+,"loss":5\.[0-9]+,"seconds_left":[0-9.]+,"step":3,"tokens_per_second":[0-9.]+\}$'
matches '^\{"dev_accuracy":[0-9.e-]+,"dev_loss":[0-9.]+,"learning_rate":.*,"loss":4\.[0-9]+,"perplexity":[0-9.]+,"seconds_left":0.0,"step":40,'
files='config.json curves.svg log.jsonl merges.txt model.safetensors optimizer.safetensors pretraining.json tokenizer.json tokenizer_config.json vocab.json'
[[ $(cd "$scratch/one" && echo *) == "$files" ]] || complain "other files: $(ls "$scratch/one")"
[[ $(ls -A "$scratch/one") == $(ls "$scratch/one") ]] || complain 'leaves hidden files'
[[ $(wc -l < "$scratch/one/log.jsonl") -eq 17 ]] || complain 'another number of reports in the log'
grep -q '"model_max_length": 64,' "$scratch/one/tokenizer_config.json" || complain 'another longest text'
[[ $(grep -c 'best [0-9.]* at' "$scratch/one/curves.svg") -eq 2 ]] ||
  complain 'no curves of the held-out loss and of what is right'

# The same command does nothing more; without --json it prints lines to read.
expect 0 "${run[@]}" --output "$scratch/one"
lines 0
expect 0 "${run[@]}" --output "$scratch/two" --threads 1
matches '^step +8  loss [0-9.]+  held out [0-9.]+, perplexity [0-9.]+, [0-9.]+ % right  rate [0-9.e-]+  [0-9]+ tokens/s  0:[0-9]+ left$'
diff -r "$scratch/one" "$scratch/two" || complain 'other numbers with one thread'

# Killed while the last files were moved, when nothing is left to train.
mkdir "$scratch/two/.saved"
mv "$scratch/two/model.safetensors" "$scratch/two/.saved"
echo old > "$scratch/two/model.safetensors"
expect 0 "${run[@]}" --output "$scratch/two"
diff -r "$scratch/one" "$scratch/two" || complain 'other files after the last of them were not moved'

# Killed as soon as the log has so many lines, and gone on with: the same files.
rm -r "$scratch/two"
kills=0
for reports in 0 1 3 5 8 11 14; do
  "$program" "${run[@]}" --output "$scratch/two" > /dev/null &
  child=$!
  until [[ -e $scratch/two/log.jsonl && $(wc -l < "$scratch/two/log.jsonl") -ge $reports ]]; do
    kill -0 "$child" 2> /dev/null || break
  done
  kill -KILL "$child" 2> /dev/null && kills=$((kills + 1))
  wait "$child" 2> /dev/null || true
done
[[ $kills -ge 3 ]] || complain "ends too early to be killed, but for $kills times"
expect 0 "${run[@]}" --output "$scratch/two"
diff -r "$scratch/one" "$scratch/two" || complain 'other numbers after it was killed'

# Two processes make the numbers of one that computes its batches in two parts, but for rounding, and
# go on where all were killed.
if [[ $(ldd "$program") != *libmpi* ]]; then
  echo 'skipped: several processes; this pretrain was built without MPI'
  (export OMPI_COMM_WORLD_SIZE=2; expect_error 'built without MPI' "${run[@]}" --output "$scratch/mpi"; exit "$failures") ||
    failures=$((failures + 1))
else
  # More processes than processors, as root too; leaks are MPI's own.
  export OMPI_MCA_rmaps_base_oversubscribe=1 OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
  export OMPI_MCA_mpi_yield_when_idle=1 OMPI_MCA_btl_vader_single_copy_mechanism=none
  several=(env ASAN_OPTIONS=detect_leaks=0 mpirun -n 2 "$program" "${run[@]}" --threads 1)
  "${several[@]}" --output "$scratch/mpi" > "$scratch/lines" || complain 'fails with two processes'
  [[ $(wc -l < "$scratch/lines") -eq 17 ]] || complain "two processes print $(wc -l < "$scratch/lines") lines"
  expect 0 "${run[@]}" --output "$scratch/parts" --accumulate 2
  awk '{ held_out = $5 == "held" ? $7 : 0 }
    NR == FNR { losses[$2] = $4; all_held_out[$2] = held_out; next }
    !($2 in losses) || (losses[$2] - $4) ^ 2 + (all_held_out[$2] - held_out) ^ 2 > 1e-6 { exit 1 }
  ' "$scratch/out" "$scratch/lines" ||
    complain 'other losses with two processes'
  killed=
  for attempt in 1 2 3 4 5; do
    rm -rf "$scratch/mpi_killed"
    "${several[@]}" --output "$scratch/mpi_killed" > /dev/null 2>&1 &
    child=$!
    until [[ -e $scratch/mpi_killed/log.jsonl && $(wc -l < "$scratch/mpi_killed/log.jsonl") -ge 5 ]]; do
      kill -0 "$child" 2> /dev/null || break
    done
    if kill -KILL "$child" 2> /dev/null; then killed=$attempt; break; fi
  done
  [[ -n $killed ]] || complain 'two processes end too early to be killed'
  wait "$child" 2> /dev/null || true
  sleep 1 # until its processes know
  "${several[@]}" --output "$scratch/mpi_killed" > /dev/null || complain 'does not go on with two processes'
  diff -r "$scratch/mpi" "$scratch/mpi_killed" || complain 'other numbers after two processes were killed'
  "${several[@]}" --output "$scratch/one" > /dev/null 2>&1 && complain 'goes on in other parts'
fi

# Going on as another training is refused.
while read -r option value; do
  instead "$option" "$value"
  expect_error "${option#--} is" "${other[@]}" --output "$scratch/one"
done <<< '--seed 4
--batch 4
--hidden 64
--vocab-size 330
--lr 1e-3
--dropout 0.2
--steps 50'
expect_error 'corpus is' "${tiny[@]}" --corpus "$verses" --output "$scratch/one"

# From a model, whose files stay as they are, with its tokenizer; with a tokenizer alone.
mkdir "$scratch/start"
cp "$scratch/one/"{config.json,model.safetensors,tokenizer.json,tokenizer_config.json} "$scratch/start"
expect 0 --corpus "$scratch/text" "$scratch/dev" --model "$scratch/start" --steps 2 --batch 4 \
  --length 64 --output "$scratch/more"
matches '^step +2  loss 4\.'
cmp "$scratch/start/tokenizer.json" "$scratch/more/tokenizer.json" || complain 'another tokenizer'
expect 0 --corpus "$scratch/text" "$scratch/dev" --model "$scratch/start" --steps 1 --batch 4 \
  --length 64 --repeat-positions 32 --output "$scratch/longer"
cmp -s "$scratch/longer/model.safetensors" "$scratch/more/model.safetensors" && complain 'the same model'
expect_error 'has 1 to 64' --corpus "$scratch/text" --model "$scratch/start" --steps 1 --batch 4 \
  --length 64 --repeat-positions 65 --output "$scratch/none"
expect_usage "${tiny[@]}" --repeat-positions 3 --output "$scratch/none"
expect 0 --corpus "$scratch/text" --tokenizer "$scratch/start" --hidden 32 --layers 1 --heads 2 --steps 1 \
  --batch 6 --length 48 --whole-words --doc-sentences --accumulate 3 --output "$scratch/third"
cmp "$scratch/start/tokenizer.json" "$scratch/third/tokenizer.json" || complain 'another tokenizer'

# BERT's recipe, on documents: next sentences, static masks. Killed in between it makes the same files.
for file in text dev; do
  awk '{ print } NR % 8 == 0 { print "" }' "$scratch/$file" > "$scratch/$file.documents"
done
bert=(--beta2 0.99 --recipe bert "${tiny[@]}" --corpus "$scratch/text.documents" --dev "$scratch/dev.documents")
expect 0 "${bert[@]}" --output "$scratch/bert" --json
lines 17
matches '"dev_nsp_accuracy":[0-9.]+,"dev_nsp_loss":[0-9.]+,.*,"loss":[0-9.]+,"perplexity":[0-9.]+,"seconds_left":0.0,"step":40,'
for setting in '"beta2": 0.99,' '"duplicates": 10,' '"masking": "bert",' '"recipe": "bert",'; do
  grep -q "$setting" "$scratch/bert/pretraining.json" || complain "another setting than $setting"
done
grep -q '"BertForPreTraining"' "$scratch/bert/config.json" || complain 'another model'
grep -q '"BertProcessing"' "$scratch/bert/tokenizer.json" || complain 'pairs as RoBERTa has them'
"$program" "${bert[@]}" --output "$scratch/bert_killed" > /dev/null &
child=$!
until [[ -e $scratch/bert_killed/log.jsonl && $(wc -l < "$scratch/bert_killed/log.jsonl") -ge 5 ]]; do
  kill -0 "$child" 2> /dev/null || break
done
kill -KILL "$child" 2> /dev/null || complain 'ends too early to be killed'
wait "$child" 2> /dev/null || true
expect 0 "${bert[@]}" --output "$scratch/bert_killed"
matches ' % right, next sentences [0-9.]+ %  rate '
diff -r "$scratch/bert" "$scratch/bert_killed" || complain 'other numbers after it was killed'
expect_error 'duplicates is 10, not 0' "${bert[@]}" --duplicates 0 --output "$scratch/bert"
expect_error 'no-nsp is false, not true' "${bert[@]}" --no-nsp --output "$scratch/bert"
expect 0 "${bert[@]}" --no-nsp --duplicates 0 --output "$scratch/no_nsp" --json
[[ $out != *nsp* ]] || complain 'next sentences without pairs'
grep -q '"BertForMaskedLM"' "$scratch/no_nsp/config.json" || complain 'another model'

# SpanBERT's recipe, killed in between; a BERT is a start for it.
spanbert=(--recipe spanbert "${run[@]}")
expect 0 "${spanbert[@]}" --output "$scratch/spanbert" --json
lines 17
matches '"dev_sbo_accuracy":[0-9.]+,"dev_sbo_loss":[0-9.]+,.*,"loss":[0-9.]+,"perplexity":[0-9.]+,"seconds_left":0.0,"step":40,'
for setting in '"duplicates": 0,' '"eps": 1e-08,' '"masking": "span",' '"segment-pairs": false,'; do
  grep -q "$setting" "$scratch/spanbert/pretraining.json" || complain "another setting than $setting"
done
grep -q '"BertForMaskedLM"' "$scratch/spanbert/config.json" || complain 'another model'
"$program" "${spanbert[@]}" --output "$scratch/spanbert_killed" > /dev/null &
child=$!
until [[ -e $scratch/spanbert_killed/log.jsonl && $(wc -l < "$scratch/spanbert_killed/log.jsonl") -ge 5 ]]; do
  kill -0 "$child" 2> /dev/null || break
done
kill -KILL "$child" 2> /dev/null || complain 'ends too early to be killed'
wait "$child" 2> /dev/null || true
expect 0 "${spanbert[@]}" --output "$scratch/spanbert_killed"
matches ' % right, by boundaries [0-9.]+ %  rate '
diff -r "$scratch/spanbert" "$scratch/spanbert_killed" || complain 'other numbers after it was killed'
expect 0 --recipe spanbert --corpus "$scratch/text" "$scratch/dev" --model "$scratch/no_nsp" --steps 1 \
  --batch 4 --length 48 --output "$scratch/spanbert_of_bert"

# Errors leave nothing behind.
expect_error 'the text is one document' --recipe bert "${run[@]}" --output "$scratch/none"
expect_usage --recipe elmo "${run[@]}" --output "$scratch/none"
touch "$scratch/empty"
expect_error 'no text' "${tiny[@]}" --corpus "$scratch/empty" --output "$scratch/none"
expect_error "$scratch/nowhere" "${tiny[@]}" --corpus "$scratch/nowhere" --output "$scratch/none"
expect_error "$scratch/empty" "${tiny[@]}" --corpus "$scratch/text" "$scratch/empty" --output "$scratch/none"
instead --dev "$scratch/empty"
expect_error "$scratch/empty: holds no text" "${other[@]}" --output "$scratch/none"
printf 'And God said\nLet there be <mask>\n' > "$scratch/masked"
instead --dev "$scratch/masked"
expect_error "$scratch/masked line 2: has the mask token" "${other[@]}" --output "$scratch/none"
expect_error "$scratch/masked line 2: has the mask token" "${tiny[@]}" --corpus "$scratch/masked" --output "$scratch/none"
instead --dev "$scratch/nowhere"
expect_error "$scratch/nowhere" "${other[@]}" --output "$scratch/none"
instead --batch 1000
expect_error 'a batch takes 1000' "${other[@]}" --output "$scratch/none"
instead --length 65
expect_error '65 tokens, but the model takes 64' "${other[@]}" --output "$scratch/none"
[[ ! -e $scratch/none ]] || complain 'a folder of a failed run'
expect_error 'not trained here' "${run[@]}" --output "$scratch/start"
printf 'not UTF-8: \xff\xfe, and it goes on\n%.0s' {1..200} > "$scratch/bytes"
expect 0 "${tiny[@]}" --corpus "$scratch/bytes" --output "$scratch/bytes_model"

# A loss that is not finite, and a full disk, keep the last checkpoint.
instead --lr 1e9
expect 1 "${other[@]}" --output "$scratch/steep"
[[ $err == 'error: training: the '* && $err == *'of update '* ]] || complain "another error: $err"
[[ -e $scratch/steep/model.safetensors ]] || complain 'no checkpoint'
mkdir "$scratch/full"
(
  trap '' XFSZ
  ulimit -f 150
  expect 1 "${run[@]}" --output "$scratch/full/model"
  [[ $err == "error: $scratch/full/model"*': cannot be written: '* ]] || complain "another error: $err"
  exit "$failures"
) || failures=$((failures + 1))
