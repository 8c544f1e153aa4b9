#!/usr/bin/env bash
# Bring a recording in: import.sh NAME DIRECTORY
#
# DIRECTORY holds README.md (how it was made), truth.jsonl (the faults that really happened), one journal per node as
# NODE.export or NODE.export.xz (journalctl -o export), and if there is one the script that made the faults (*.txt).
# Journals are compressed, never changed; every file's checksum is noted in SHA256SUMS.
# Look through a journal before you publish it: it holds whatever the node logged.
set -euo pipefail

fail() {
  echo "import: $*" >&2
  exit 1
}

[ $# -eq 2 ] || fail "usage: import.sh NAME DIRECTORY"
name=$1
from=$(cd "$2" && pwd)
cd "$(dirname "$0")"
to=recorded/$name
reader=/lib/systemd/systemd-journal-remote

[[ $name =~ ^[a-z0-9][a-z0-9-]*$ ]] || fail "$name: lower-case letters, digits and dashes only"
[ ! -e "$to" ] || fail "$to is already here: a recording is never replaced"
[ -s "$from/README.md" ] || fail "$from/README.md is missing: say how, when and with which versions it was made"
[ -s "$from/truth.jsonl" ] || fail "$from/truth.jsonl is missing: say which faults really happened"
python3 -c 'import json, sys; [json.loads(line) for line in open(sys.argv[1])]' "$from/truth.jsonl" 2>/dev/null ||
  fail "$from/truth.jsonl is not one JSON object a line"
shopt -s nullglob
journals=("$from"/*.export "$from"/*.export.xz)
[ "${#journals[@]}" -gt 0 ] || fail "$from holds no NODE.export or NODE.export.xz"

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
mkdir "$scratch/new"
for journal in "${journals[@]}"; do
  node=$(basename "${journal%.xz}" .export)
  if [[ $journal == *.xz ]]; then
    cp "$journal" "$scratch/new/$node.export.xz"
  else
    xz -9 -c "$journal" >"$scratch/new/$node.export.xz"
  fi
  xz -dc "$scratch/new/$node.export.xz" | "$reader" -o "$scratch/$node.journal" - >/dev/null 2>"$scratch/error" ||
    fail "$journal: systemd cannot read it: $(tail -n 1 "$scratch/error")"
  entries=$(journalctl --file "$scratch/$node.journal" --output cat --output-fields MESSAGE --quiet | wc -l)
  [ "$entries" -gt 0 ] || fail "$journal holds no entry"
  echo "import: $node: $entries lines"
done
for other in "$from"/*.txt; do cp "$other" "$scratch/new/"; done
cp "$from/README.md" "$from/truth.jsonl" "$scratch/new/"

mkdir -p recorded
chmod 755 "$scratch/new"
chmod 644 "$scratch/new"/*
mv "$scratch/new" "$to"
sha256sum "$to"/* >>SHA256SUMS
sort -k2 -o SHA256SUMS SHA256SUMS
echo "import: $to: now name it in README.md"
