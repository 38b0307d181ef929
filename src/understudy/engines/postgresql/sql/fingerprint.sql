-- The schema of all application tables as lines "table: what", in an order that does not depend on the server.
-- The same on PostgreSQL 15 to 18: 18 stores NOT NULL as constraints (contype n), which are left out.
WITH t AS (
    SELECT c.oid, format('%I.%I', n.nspname, c.relname) AS name, c.relkind, c.relreplident
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p') AND c.relpersistence <> 't'
      AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'understudy')
      AND NOT EXISTS (SELECT FROM pg_depend d
                      WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
), lines AS (
    SELECT t.name || ': '
        || CASE t.relkind WHEN 'p' THEN 'partitioned ' || pg_get_partkeydef(t.oid) ELSE 'table' END
        || ' replica identity ' || t.relreplident::text AS line
    FROM t
    UNION ALL
    SELECT t.name || ': column ' || quote_ident(a.attname) || ' ' || format_type(a.atttypid, a.atttypmod)
        || CASE WHEN a.attnotnull THEN ' not null' ELSE '' END
        || CASE WHEN a.attidentity <> '' THEN ' identity ' || a.attidentity::text ELSE '' END
        || CASE WHEN a.attgenerated <> '' THEN ' generated ' || a.attgenerated::text ELSE '' END
    FROM t JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum > 0 AND NOT a.attisdropped
    UNION ALL
    SELECT t.name || ': constraint ' || quote_ident(k.conname) || ' ' || pg_get_constraintdef(k.oid)
    FROM t JOIN pg_constraint k ON k.conrelid = t.oid AND k.contype <> 'n'
    UNION ALL
    SELECT t.name || ': ' || pg_get_indexdef(i.indexrelid)
        || CASE WHEN i.indisreplident THEN ' replica identity' ELSE '' END
    FROM t JOIN pg_index i ON i.indrelid = t.oid
)
SELECT line FROM lines ORDER BY line COLLATE "C"
