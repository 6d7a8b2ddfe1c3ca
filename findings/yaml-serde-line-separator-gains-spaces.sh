#!/usr/bin/env bash
# yaml_serde: a text with U+2028 (or U+2029) gains two spaces when a reader of YAML 1.2 reads what was written.
#
# The writer takes the character for a line break, as YAML 1.1 does, and folds the text there: 'a<U+2028>  b', the next line
# indented. To YAML 1.2 (5.4: "YAML 1.2 treats them as non-break characters") that is one line with two spaces in it. PyYAML, a
# reader of 1.1, and yaml_serde itself get the text back; yaml and js-yaml, the readers of JavaScript, get another one, without
# an error. serde_yaml 0.9 and its other forks write the same. Whoever writes for unknown readers has such texts in double quotes
# with an escape, which all four read alike.
# Versions: yaml_serde 0.10.7 (crates.io), PyYAML 6.0.3 (Python package index), yaml 2.8.1 and js-yaml 4.1.0 (npm).
# Output seen (LS stands for U+2028):
#     written:    'aLS  b'
#     yaml_serde: aLSb
#     PyYAML:     aLSb
#     yaml:       aLS  b
#     js-yaml:    aLS  b
#
# Installs and builds in a temporary folder and removes it; fails when the behaviour is another one.
set -euo pipefail
here=$(mktemp -d)
trap 'rm -rf "$here"' EXIT
expect() { [ "$1" = "$2" ] || { printf 'expected: %s\nfound:    %s\n' "$2" "$1" >&2; exit 1; }; printf '%s\n' "$1"; }
shown() { python3 -c 'import sys; print(sys.stdin.read().rstrip("\n").replace("\u2028", "LS"))'; }
export PYTHONIOENCODING=utf-8

mkdir "$here/src"
cat > "$here/Cargo.toml" <<'TOML'
[package]
name = "writer"
version = "0.0.0"
edition = "2021"
[dependencies]
yaml_serde = "=0.10.7"
[workspace]
TOML
cat > "$here/src/main.rs" <<'RUST'
fn main() {
    let written = yaml_serde::to_string("a\u{2028}b").unwrap();
    std::fs::write(std::env::args().nth(1).unwrap(), &written).unwrap();
    print!("{}", yaml_serde::from_str::<String>(&written).unwrap());
}
RUST
own=$(cd "$here" && CARGO_TARGET_DIR="$here/target" cargo run --quiet -- "$here/text.yaml" | shown)
python3 -m pip install --quiet --disable-pip-version-check --root-user-action=ignore --target "$here/packages" pyyaml==6.0.3
npm install --silent --no-audit --no-fund --prefix "$here" yaml@2.8.1 js-yaml@4.1.0 > /dev/null
javascript() { (cd "$here" && node -e "process.stdout.write(require('$1').$2(require('fs').readFileSync('text.yaml', 'utf8')))" | shown); }

expect "written:    $(shown < "$here/text.yaml")" "written:    'aLS  b'"
expect "yaml_serde: $own" 'yaml_serde: aLSb'
expect "PyYAML:     $(cd "$here" && PYTHONPATH="$here/packages" python3 -c 'import yaml; print(yaml.safe_load(open("text.yaml", encoding="utf-8")))' | shown)" \
    'PyYAML:     aLSb'
expect "yaml:       $(javascript yaml parse)" 'yaml:       aLS  b'
expect "js-yaml:    $(javascript js-yaml load)" 'js-yaml:    aLS  b'
