#!/usr/bin/env bash
source "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/expect.bash"
data=$scratch/data
mkdir "$data"
programs=$(dirname "$program")

# with NAME ARGUMENT...: another of the examples, where it is built; its output is in $other.
with() {
  unset other
  [[ ! -x $programs/$1 ]] || other=$("$programs/$1" "${@:2}")
}

# What a training reports but for its pace, which those that are done before do not have.
without_pace() { sed -E 's/"(learning_rate|seconds_left|tokens_per_second)":[^,]*,//g' <<< "$out"; }

# reports NUMBER METRIC OUTPUT: so many epochs, and a last object that its folder confirms.
reports() {
  lines $(($1 + 1))
  times "$1" '"epoch":'
  [[ $(tail -1 <<< "$out") =~ ^\{\"metric\":\"$2\",\"value\":([0-9.e-]+)\}$ ]] ||
    complain "another last line: $out"
  value=${BASH_REMATCH[1]}
  [[ $out == *"\"$2\":$value,"* ]] || complain "no epoch has the value of the last line: $out"
  for file in config.json model.safetensors tokenizer.json curves.svg finetune.json; do
    [[ -s $3/$file ]] || complain "no $file"
  done
  [[ ! -e $3/checkpoint ]] || complain 'the checkpoint is left'
}

expect_common
expect_usage --task classification --train x --dev y
expect_usage --task translation --train x --dev y --output z
expect_usage --task ner --train x --dev y --output z --epochs 0
expect_usage --task ner --train x --dev y --output z --precision int8
expect_usage --task ner --train x --dev y --output z a text
expect_usage --task ner --train x --dev y --output z --seed -1

# Classes.
for split in train dev; do
  printf 'sentence\tlabel\n' > "$data/$split.tsv"
  for name in Moses Aaron David Samuel; do
    printf 'And %s went up unto the LORD.\tgood\n' $name
    printf 'And %s did evil in the sight of all.\tevil\n' $name
  done >> "$data/$split.tsv"
done
base=(--task classification --train "$data/train.tsv" --batch 4 --threads 1)
classes=("${base[@]}" --dev "$data/dev.tsv" --epochs 4 --lr 1e-3)
expect 0 "${classes[@]}" --json --output "$scratch/classes"
reports 4 accuracy "$scratch/classes"
[[ $value == 1.0 ]] || complain "does not learn two classes: $out"
for key in learning_rate tokens_per_second seconds_left; do times 4 "\"$key\":"; done
learned=$(without_pace)
with classify --model "$scratch/classes" --json 'And Moses went up unto the LORD.'
[[ ${other-'{"labels":[{"label":"good"'} == '{"labels":[{"label":"good"'* ]] || complain "classify: $other"

# Adapters in place of all weights.
adapted=("${base[@]}" --dev "$data/dev.tsv" --epochs 4 --lr 1e-2 --lora 4 --output "$scratch/adapted")
expect 0 "${adapted[@]}" --lora-alpha 32 --json
reports 4 accuracy "$scratch/adapted"
for file in adapter_config.json adapter_model.safetensors; do
  [[ -s $scratch/adapted/adapter/$file ]] || complain "no $file"
done
expect_error lora_alpha "${adapted[@]}"
expect_error freeze_encoder "${base[@]}" --dev "$data/dev.tsv" --lora 4 --freeze-encoder --output "$scratch/x"


# The same command goes on, finished or not; other settings are refused.
expect 0 "${classes[@]}" --json --output "$scratch/classes"
[[ $out == "$learned" ]] || complain "another output when it is finished: $out"
(timeout -s KILL 2 "$program" "${classes[@]}" --save-every 1 --output "$scratch/killed" || true) &> /dev/null
expect 0 "${classes[@]}" --save-every 1 --json --output "$scratch/killed"
[[ $(without_pace) == "$learned" ]] || complain "another output after a kill: $out"
cmp "$scratch/classes/model.safetensors" "$scratch/killed/model.safetensors" || complain 'other weights'
expect_error learning_rate "${base[@]}" --dev "$data/dev.tsv" --epochs 4 --lr 2e-3 --output "$scratch/classes"
expect_error config.json "${classes[@]}" --output "$model"
while read -r option value name; do
  expect_error "$name" "${base[@]}" --dev "$data/dev.tsv" "$option" "$value" --output "$scratch/none"
done <<< '--clip -1 clip
--clip nan clip
--lr inf learning_rate
--patience -3 patience
--save-every -2 save_every
--stride 5 stride
--pair-column label column'

expect_usage --task qa --train x --dev y --output z --stride -5
expect_error 'column is for' --task ner --train x --dev y --output z --text-column label
(export OMPI_COMM_WORLD_SIZE=2; expect_error mpirun "${classes[@]}" --output "$scratch/none"; exit "$failures") ||
  failures=$((failures + 1))

# Seeds, in words.
expect 0 "${base[@]}" --dev "$data/dev.tsv" --epochs 1 --seeds 2 --ema 0.5 --metric f1 --output "$scratch/seeds"
matches '^new: classifier.out_proj.weight$'
matches '^seed 2  epoch   1  loss [0-9.]+  dev [0-9.]+  accuracy [0-9.]+  f1 .*  rate [0-9.e-]+  [0-9]+ tokens/s  0:00 left$'
matches '^f1 over 2 seeds: [0-9.]+, standard deviation [0-9.]+; the best is that of seed [12]$'

# Numbers.
sed 's/good$/4.5/;s/evil$/0.5/;s/label/score/' "$data/train.tsv" > "$data/numbers.tsv"
expect 0 --task regression --train "$data/numbers.tsv" --dev "$data/numbers.tsv" --epochs 2 --batch 4 \
  --lr 1e-3 --threads 1 --json --output "$scratch/numbers"
reports 2 pearson_spearman "$scratch/numbers"
with classify --model "$scratch/numbers" --json 'And Moses went up unto the LORD.'
[[ ${other-'{"score":'} == '{"score":'* ]] || complain "classify: $other"

# Names.
for name in Moses Aaron David Samuel; do
  printf 'And\tO\n%s\tB-PER\nwent\tO\nup\tO\nto\tO\nZion\tB-LOC\n.\tO\n\n' $name
done > "$data/names"
expect 0 --task ner --train "$data/names" --dev "$data/names" --epochs 8 --batch 2 --lr 1e-3 \
  --threads 1 --json --output "$scratch/names"
reports 8 f1 "$scratch/names"
[[ $value == 1.0 ]] || complain "does not learn names: $out"
with tag --model "$scratch/names" --json --aggregation first 'And Moses went up to Zion .'
[[ ${other-Moses} == *'"text":"Moses","type":"PER"'* || -z ${other+x} ]] || complain "tag: $other"

# Answers.
{
  printf '{"data":[{"paragraphs":['
  for name in Moses Aaron David Samuel; do
    [[ $name == Moses ]] || printf ,
    printf '{"context":"And %s went up unto the LORD.","qas":[{"id":"%s","question":"Who went up?",' $name $name
    printf '"answers":[{"text":"%s","answer_start":4}]}]}' $name
  done
  printf ']}]}'
} > "$data/squad.json"
expect 0 --task qa --train "$data/squad.json" --dev "$data/squad.json" --epochs 8 --batch 2 --lr 1e-3 \
  --threads 1 --json --output "$scratch/answers"
reports 8 f1 "$scratch/answers"
with answer --model "$scratch/answers" --json --question 'Who went up?' --context 'And David went up unto the LORD.'
[[ ${other-David} == *David* ]] || complain "answer: $other"

# What is wrong is named, and nothing is written.
broken() {
  printf '%b' "$3" > "$data/broken"
  expect_error "$2" --task "$1" --train "$data/broken" --dev "$data/broken" --output "$scratch/none"
}
broken classification 'broken line 3' 'sentence\tlabel\na\t1\nb\n'
broken classification 'no texts' ''
broken classification '1 different' 'sentence\tlabel\na\t1\n'
broken regression 'broken line 2' 'sentence\tscore\na\tnan\n'
broken ner 'broken line 2' 'a\tO\nb\n'
broken qa 'broken' '{"data": [{}]}'
broken qa 'broken' '{"data":'
expect_error "$scratch/absent" --task ner --train "$scratch/absent" --dev "$data/names" --output "$scratch/none"
expect_error 'line 3' "${base[@]}" --dev <(printf 'sentence\tlabel\na\tgood\nb\tbad\n') --output "$scratch/none"
[[ ! -e $scratch/none ]] || complain 'an output of a failed run'
