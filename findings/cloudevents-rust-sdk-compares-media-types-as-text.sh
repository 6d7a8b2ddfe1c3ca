#!/usr/bin/env bash
# CloudEvents SDK for Rust: an event whose datacontenttype is JSON in another case, or +json with a parameter, cannot be read.
#
# Media types are compared without regard to case, and parameters come after them (RFC 9110, 8.3.1). The SDK looks whether the
# text begins with application/json or text/json or ends with +json, as it stands. Where it does not, data must be a string, and the whole event
# is refused: "invalid type: map, expected a string". The SDK for Python reads all of them. Whoever sends to
# unknown readers writes datacontenttype as application/json in lower case, or leaves it out.
# Versions: cloudevents-sdk 0.9.0 (crates.io), cloudevents 2.2.0 (Python package index).
# Output seen:
#     application/json; charset=utf-8            Rust: read      Python: read
#     Application/JSON                           Rust: refused   Python: read
#     application/vnd.shop+json                  Rust: read      Python: read
#     application/vnd.shop+json; charset=utf-8   Rust: refused   Python: read
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
cloudevents-sdk = { version = "=0.9.0", default-features = false }
serde_json = "1"
[workspace]
TOML
cat > "$here/src/main.rs" <<'RUST'
fn main() {
    let text = std::env::args().nth(1).unwrap();
    match serde_json::from_str::<cloudevents::Event>(&text) {
        Ok(_) => println!("read"),
        Err(error) if error.to_string().contains("invalid type: map, expected a string") => println!("refused"),
        Err(error) => println!("{error}"),
    }
}
RUST
(cd "$here" && CARGO_TARGET_DIR="$here/target" cargo build --quiet)
python3 -m pip install --quiet --disable-pip-version-check --root-user-action=ignore --target "$here/packages" cloudevents==2.2.0
cat > "$here/reader.py" <<'PYTHON'
import sys
from cloudevents.core.bindings import http
from cloudevents.core.formats.json import JSONFormat

message = http.HTTPMessage(headers={"content-type": "application/cloudevents+json"}, body=sys.argv[1].encode())
print("read" if http.from_structured_event(message, JSONFormat()).get_data() == {"x": 1} else "otherwise")
PYTHON
reads() {
    local event="{\"specversion\":\"1.0\",\"id\":\"1\",\"source\":\"/shop\",\"type\":\"order\",\"datacontenttype\":\"$1\",\"data\":{\"x\":1}}"
    printf '%-42s Rust: %-9s Python: %s' "$1" "$("$here/target/debug/reader" "$event")" "$(PYTHONPATH="$here/packages" python3 "$here/reader.py" "$event")"
}
expect "$(reads 'application/json; charset=utf-8')" 'application/json; charset=utf-8            Rust: read      Python: read'
expect "$(reads 'Application/JSON')" 'Application/JSON                           Rust: refused   Python: read'
expect "$(reads 'application/vnd.shop+json')" 'application/vnd.shop+json                  Rust: read      Python: read'
expect "$(reads 'application/vnd.shop+json; charset=utf-8')" 'application/vnd.shop+json; charset=utf-8   Rust: refused   Python: read'
