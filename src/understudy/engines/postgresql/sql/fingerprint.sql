-- The schema of the application as lines "name: what", in an order that does not depend on the server: its tables, and
-- what it would miss on the other node besides: policies, triggers, functions, views, types. The same on PostgreSQL 15
-- to 18, and at different providers: 18 stores NOT NULL as constraints (contype n), which are left out; so are the text
-- of a view, which versions print differently, the roles of a policy and the owners, which have other names elsewhere.
WITH t AS (
    SELECT c.oid, format('%I.%I', n.nspname, c.relname) AS name, c.relkind, c.relreplident, c.relnamespace,
           CASE WHEN c.relrowsecurity THEN ' row security' ELSE '' END
           || CASE WHEN c.relforcerowsecurity THEN ' forced' ELSE '' END AS security
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p') AND c.relpersistence <> 't' AND {of_application}
), s AS (
    -- Providers have schemas of their own, with functions and views: those without a table are none of the application's.
    SELECT n.oid, n.nspname FROM pg_namespace n
    WHERE n.nspname = 'public' OR n.oid IN (SELECT relnamespace FROM t)
), extension AS (
    SELECT d.classid, d.objid FROM pg_depend d WHERE d.deptype = 'e'
), lines AS (
    SELECT t.name || ': '
        || CASE t.relkind WHEN 'p' THEN 'partitioned ' || pg_get_partkeydef(t.oid) ELSE 'table' END
        || ' replica identity ' || t.relreplident::text || t.security AS line
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
    UNION ALL
    SELECT t.name || ': policy ' || quote_ident(p.polname) || ' for ' || p.polcmd::text
        || CASE WHEN p.polpermissive THEN '' ELSE ' restrictive' END
        || CASE WHEN p.polroles = '{0}' THEN ' to public' ELSE '' END
        || coalesce(' using ' || pg_get_expr(p.polqual, p.polrelid), '')
        || coalesce(' with check ' || pg_get_expr(p.polwithcheck, p.polrelid), '')
    FROM t JOIN pg_policy p ON p.polrelid = t.oid
    UNION ALL
    SELECT t.name || ': ' || pg_get_triggerdef(g.oid)
        || CASE g.tgenabled WHEN 'O' THEN '' ELSE ' enabled ' || g.tgenabled::text END
    FROM t JOIN pg_trigger g ON g.tgrelid = t.oid AND NOT g.tgisinternal AND g.tgparentid = 0
    WHERE NOT EXISTS (SELECT FROM extension e WHERE e.classid = 'pg_trigger'::regclass AND e.objid = g.oid)
    UNION ALL
    SELECT format('%I.%I(%s): ', s.nspname, p.proname, pg_get_function_identity_arguments(p.oid))
        || CASE p.prokind WHEN 'p' THEN 'procedure' WHEN 'a' THEN 'aggregate' WHEN 'w' THEN 'window function'
           ELSE 'function' END
        || coalesce(' returns ' || pg_get_function_result(p.oid), '') || ' language ' || l.lanname
        || ' ' || p.provolatile::text || CASE WHEN p.proisstrict THEN ' strict' ELSE '' END
        || CASE WHEN p.prosecdef THEN ' security definer' ELSE '' END
        || coalesce(' set ' || array_to_string(p.proconfig, ', '), '')
        || ' text ' || hashtextextended(p.prosrc COLLATE "C", 0)
    FROM s JOIN pg_proc p ON p.pronamespace = s.oid JOIN pg_language l ON l.oid = p.prolang
    WHERE NOT EXISTS (SELECT FROM extension e WHERE e.classid = 'pg_proc'::regclass AND e.objid = p.oid)
      -- Constructors come with their range type; only superusers make event triggers: those are the provider's.
      AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_proc'::regclass AND d.objid = p.oid
                      AND d.deptype = 'i')
      AND p.prorettype <> 'event_trigger'::regtype
    UNION ALL
    SELECT format('%I.%I: ', s.nspname, v.relname) || CASE v.relkind WHEN 'v' THEN 'view' ELSE 'materialized view' END
        || coalesce(' with ' || array_to_string(v.reloptions, ', '), '')
        || (SELECT coalesce(string_agg(' ' || quote_ident(a.attname) || ' ' || format_type(a.atttypid, a.atttypmod),
                                       ',' ORDER BY a.attnum), '')
            FROM pg_attribute a WHERE a.attrelid = v.oid AND a.attnum > 0 AND NOT a.attisdropped)
    FROM s JOIN pg_class v ON v.relnamespace = s.oid AND v.relkind IN ('v', 'm') AND v.relpersistence <> 't'
    WHERE NOT EXISTS (SELECT FROM extension e WHERE e.classid = 'pg_class'::regclass AND e.objid = v.oid)
    UNION ALL
    SELECT format('%I.%I: ', s.nspname, y.typname)
        || CASE y.typtype
           WHEN 'e' THEN 'enum ' || (SELECT coalesce(string_agg(quote_literal(l.enumlabel), ', ' ORDER BY l.enumsortorder),
                                                     '') FROM pg_enum l WHERE l.enumtypid = y.oid)
           WHEN 'd' THEN 'domain ' || format_type(y.typbasetype, y.typtypmod)
               || CASE WHEN y.typnotnull THEN ' not null' ELSE '' END
               || (SELECT coalesce(string_agg(' ' || quote_ident(k.conname) || ' ' || pg_get_constraintdef(k.oid), ','
                                              ORDER BY k.conname), '')
                   FROM pg_constraint k WHERE k.contypid = y.oid AND k.contype <> 'n')
           WHEN 'r' THEN 'range of ' || (SELECT format_type(r.rngsubtype, NULL) FROM pg_range r WHERE r.rngtypid = y.oid)
           ELSE 'type' || (SELECT coalesce(string_agg(' ' || quote_ident(a.attname) || ' '
                                                      || format_type(a.atttypid, a.atttypmod), ',' ORDER BY a.attnum), '')
                           FROM pg_attribute a WHERE a.attrelid = y.typrelid AND a.attnum > 0 AND NOT a.attisdropped)
           END
    FROM s JOIN pg_type y ON y.typnamespace = s.oid LEFT JOIN pg_class c ON c.oid = y.typrelid
    WHERE (y.typtype IN ('e', 'd', 'r') OR c.relkind = 'c')  -- every table has a type of its own: not those
      AND NOT EXISTS (SELECT FROM extension e WHERE e.classid = 'pg_type'::regclass AND e.objid = y.oid)
)
SELECT line FROM lines ORDER BY line COLLATE "C"
