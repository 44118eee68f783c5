#!/usr/bin/env bash
# The house rules that a machine can check; CONTRIBUTING.md gives their reasons. Prints each breach with its place.
set -uo pipefail
cd "$(dirname "$0")/../.."
breaches=0

# rule <what is wrong> <lines that are wrong>
rule() {
  [[ -z $2 ]] && return
  echo "$1:"
  sed 's/^/  /' <<<"$2"
  breaches=$((breaches + $(wc -l <<<"$2")))
}

# code <file...>: the files' lines as file:line:text, without their comments.
code() {
  grep -nH '' "$@" | sed -E 's@^([^:]*:[0-9]+:[^"]*("([^"\\]|\\.)*"[^"]*)*)//.*@\1@'
}

mapfile -t library < <(find include loader -path loader/tool -prune -o \( -name '*.hpp' -o -name '*.h' -o -name '*.cpp' \) -print)
mapfile -t public < <(find include -type f)
mapfile -t everything < <(find . \( -path ./build -o -path ./.git -o -path ./.cache -o -name __pycache__ \) -prune -o -type f -print)

rule 'the library never prints, exits or reads the environment' "$(code "${library[@]}" | grep -E \
  '\b(printf|fprintf|vprintf|puts|fputs|putchar|perror|println|abort|_?exit|quick_exit|terminate|(secure_)?getenv|setenv)\(|std::(cout|cerr|clog)\b|fmt::print\b|#include <(iostream|print|fmt/ostream\.h)>')"

rule 'loader/ knows nothing of CUDA' "$(code "${library[@]}" | grep -E \
  '#include ["<]cuda|libcuda|\bcu(Mem|Stream|Event|Ctx|Device|Module|Launch|Init|Get)[A-Z]')"

rule 'dependencies run one way: tool, bench, tests -> include <- loader <- cuda' "$(
  code "${public[@]}" | grep -E '#include "' | grep -vE '#include "sluice/'
  code "${library[@]}" | grep -E '#include "(tests|bench|cuda|loader/tool)/')"

# Each room and the rooms that it may include, its own among them.
declare -A may_include=(
  [base]='base'
  [format]='base|format'
  [plan]='base|format|plan'
  [rules]='base|format|plan|rules'
  [read]='base|format|plan|read'
  [device]='base|format|plan|device'
  [engine]='base|format|plan|read|device|engine'
  [c]='c'
  [python]='plan|rules|c|python')
rule 'includes run one way: base <- format <- plan <- { rules, read, device } <- engine <- { tool, c }, c <- python, and cuda -> base, plan, device' "$(
  for room in "${!may_include[@]}"; do
    code loader/"$room"/*.?pp | grep -E '#include "loader/' | grep -vE "#include \"loader/(${may_include[$room]})/"
  done
  code cuda/*.?pp | grep -E '#include "loader/' | grep -vE '#include "loader/(base|plan|device)/'
  for folder in loader/*/; do
    room=$(basename "$folder")
    [[ $room == tool || -n ${may_include[$room]:-} ]] || echo "$folder: a room without a place in the order"
  done
  for file in loader/*.[ch]pp; do [[ -e $file ]] && echo "$file: in no room"; done)"

rule 'a source includes the header of its name first, which so is seen to compile alone' "$(
  for source in loader/*/*.cpp cuda/*.cpp; do
    header=${source%.cpp}.hpp
    [[ ! -e $header || $(grep -m 1 '^#include' "$source") == "#include \"$header\"" ]] || echo "$source"
  done)"

rule 'a header is taken once' "$(
  find include loader cuda tests bench \( -name '*.hpp' -o -name '*.cuh' \) -exec grep -L '^#pragma once' {} +)"

untested=tests/house_rules/untested.txt
rule "every source has a test of its name, or a line with the reason in $untested" "$(
  for source in "${library[@]}"; do
    [[ $source == loader/*.cpp ]] || continue
    name=${source#loader/}
    name=${name%.cpp}
    [[ -e tests/loader/${name}_test.cpp ]] || grep -q "^$name: ..*" $untested || echo "$source"
  done
  sed -n 's/^\([a-z_0-9/]*\):.*/\1/p' $untested | while read -r name; do
    [[ -e loader/$name.cpp ]] || echo "$untested: $name is no source"
    [[ -e tests/loader/${name}_test.cpp ]] && echo "$untested: $name has a test"
  done)"

# The brackets keep this file from breaking its own rules.
rule 'the project speaks of no one machine and of no registry' "$(grep -nHIE \
  '[p]ypi\.org|[p]ythonhosted|(^|[^a-zA-Z0-9_.>])/(w[o]rk|r[o]ot|h[o]me)/' "${everything[@]}")"

rule 'nothing is left for later' "$(grep -nHIE '\b([T]ODO|[F]IXME|[X]XX|[H]ACK)\b' "${everything[@]}")"

# Hostile files and seeds are what they are, to the byte.
mapfile -t texts < <(printf '%s\n' "${everything[@]}" | grep -vE '^\./tests/(data|fuzz/seeds)/')
rule 'lines end without blanks, and files with a newline' "$(
  grep -nHIE '[[:blank:]]+$' "${texts[@]}"
  for file in "${texts[@]}"; do
    [[ -s $file && -n $(tail -c 1 "$file" | tr -d '\n\0') ]] && echo "$file: no newline at the end"
  done)"

((breaches == 0)) && echo "house rules: kept by ${#everything[@]} files"
exit $((breaches != 0))
