#!/usr/bin/env bash
# yaml_serde: JSON with a character beyond U+FFFF as two escapes, as Python's json.dumps writes it, is refused as YAML.
#
# YAML 1.2 calls itself a superset of JSON, so one reader of YAML is often used for both. But \ud83d is half of a character in JSON
# and a whole one in YAML, where no text can have it: yaml_serde (libyaml) refuses the document, PyYAML reads two lone
# surrogates that cannot be encoded again, and the readers of JavaScript read the character. Whoever takes both formats tries
# JSON first.
# Versions: yaml_serde 0.10.7 (crates.io), PyYAML 6.0.3 (Python package index), yaml 2.8.1 (npm).
# Output seen:
#     Python writes: "\ud83d\ude00"
#     yaml_serde:    found invalid Unicode character escape code at line 1 column 4, while parsing a quoted scalar
#     PyYAML:        two surrogates
#     yaml:          one character
#
# Installs and builds in a temporary folder and removes it; fails when the behaviour is another one.
set -euo pipefail
here=$(mktemp -d)
trap 'rm -rf "$here"' EXIT
expect() { [ "$1" = "$2" ] || { printf 'expected: %s\nfound:    %s\n' "$2" "$1" >&2; exit 1; }; printf '%s\n' "$1"; }

mkdir "$here/src"
cat > "$here/Cargo.toml" <<'TOML'
[package]
name = "reader"
version = "0.0.0"
edition = "2021"
[dependencies]
yaml_serde = "=0.10.7"
[workspace]
TOML
cat > "$here/src/main.rs" <<'RUST'
fn main() {
    let text = std::fs::read_to_string(std::env::args().nth(1).unwrap()).unwrap();
    match yaml_serde::from_str::<String>(&text) {
        Ok(text) => println!("{text}"),
        Err(error) => println!("{error}"),
    }
}
RUST
python3 -c 'import json; print(json.dumps("\U0001f600"), end="")' > "$here/text.json"
python3 -m pip install --quiet --disable-pip-version-check --root-user-action=ignore --target "$here/packages" pyyaml==6.0.3
npm install --silent --no-audit --no-fund --prefix "$here" yaml@2.8.1 > /dev/null

expect "Python writes: $(cat "$here/text.json")" 'Python writes: "\ud83d\ude00"'
expect "yaml_serde:    $(cd "$here" && CARGO_TARGET_DIR="$here/target" cargo run --quiet -- text.json)" \
    'yaml_serde:    found invalid Unicode character escape code at line 1 column 4, while parsing a quoted scalar'
expect "PyYAML:        $(cd "$here" && PYTHONPATH="$here/packages" python3 -c '
import yaml
text = yaml.safe_load(open("text.json"))
print("two surrogates" if text == "\ud83d\ude00" else repr(text))')" 'PyYAML:        two surrogates'
expect "yaml:          $(cd "$here" && node -e '
const text = require("yaml").parse(require("fs").readFileSync("text.json", "utf8"));
console.log(text === "\u{1f600}" ? "one character" : JSON.stringify(text))')" 'yaml:          one character'
