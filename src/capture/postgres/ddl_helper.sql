-- Statements that change tables, for Trailcast. Run it in the database that is captured, as a superuser (or whoever may create
-- event triggers there). It writes a note into the server's log, in the transaction of the statement, for each table that was
-- created, altered or dropped; an extract makes a DDL record of the notes of tables that it captures. What the client sent
-- (up to 64 KiB, with every value in it) goes into the trail, but for texts that speak of roles or passwords. To take it away:
--   DROP EVENT TRIGGER trailcast_ddl; DROP EVENT TRIGGER trailcast_drop; DROP SCHEMA trailcast CASCADE;
BEGIN;

CREATE SCHEMA IF NOT EXISTS trailcast;
GRANT USAGE ON SCHEMA trailcast TO PUBLIC;

CREATE OR REPLACE FUNCTION trailcast.note_statement(tag text, schema_name text, table_name text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    statement text := pg_catalog.left(pg_catalog.current_query(), 65536);
BEGIN
    -- What was sent may hold other statements too.
    IF statement IS NULL
        OR statement ~* '\m(create|alter)\s+(role|user|group|subscription|server|database)\M'
        OR statement ~* '\mpassword\s*=?\s*(''|E''|\$)'
    THEN
        statement := pg_catalog.format('%s %I.%I', tag, schema_name, table_name);
    END IF;
    PERFORM pg_catalog.pg_logical_emit_message(true, 'trailcast.ddl', pg_catalog.json_build_object(
        'tag', tag, 'schema', schema_name, 'table', table_name, 'statement', statement)::text);
END
$$;
REVOKE ALL ON FUNCTION trailcast.note_statement(text, text, text) FROM PUBLIC;

CREATE OR REPLACE FUNCTION trailcast.note_commands() RETURNS event_trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    changed record;
BEGIN
    FOR changed IN
        SELECT DISTINCT c.command_tag AS tag, n.nspname AS schema_name, r.relname AS table_name
        FROM pg_catalog.pg_event_trigger_ddl_commands() c
        JOIN pg_catalog.pg_class r ON r.oid = c.objid AND r.relkind IN ('r', 'p') AND r.relpersistence <> 't'
        JOIN pg_catalog.pg_namespace n ON n.oid = r.relnamespace
        WHERE c.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND NOT c.in_extension
    LOOP
        PERFORM trailcast.note_statement(changed.tag, changed.schema_name, changed.table_name);
    END LOOP;
EXCEPTION WHEN OTHERS THEN
    -- Nobody's statement fails because of a note.
    RAISE WARNING 'trailcast: a statement was not noted: %', SQLERRM;
END
$$;

CREATE OR REPLACE FUNCTION trailcast.note_drops() RETURNS event_trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    dropped record;
BEGIN
    FOR dropped IN
        SELECT d.schema_name, d.object_name AS table_name FROM pg_catalog.pg_event_trigger_dropped_objects() d
        WHERE d.object_type = 'table' AND NOT d.is_temporary
    LOOP
        PERFORM trailcast.note_statement('DROP TABLE', dropped.schema_name, dropped.table_name);
    END LOOP;
EXCEPTION WHEN OTHERS THEN
    RAISE WARNING 'trailcast: a statement was not noted: %', SQLERRM;
END
$$;

DROP EVENT TRIGGER IF EXISTS trailcast_ddl;
CREATE EVENT TRIGGER trailcast_ddl ON ddl_command_end EXECUTE FUNCTION trailcast.note_commands();
DROP EVENT TRIGGER IF EXISTS trailcast_drop;
CREATE EVENT TRIGGER trailcast_drop ON sql_drop EXECUTE FUNCTION trailcast.note_drops();

COMMIT;
