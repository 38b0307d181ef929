-- The objects of Understudy on every node. May be run again at any time; changes nothing that is there.
CREATE SCHEMA IF NOT EXISTS understudy;

-- Local to the node: the highest epoch it has seen.
CREATE TABLE IF NOT EXISTS understudy.fence (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    epoch bigint NOT NULL,
    plan bigint NOT NULL DEFAULT 0,
    primary_node text NOT NULL
);

-- Replicated.
CREATE TABLE IF NOT EXISTS understudy.heartbeat (
    cluster text PRIMARY KEY,
    number bigint NOT NULL,
    at timestamptz NOT NULL
);
CREATE TABLE IF NOT EXISTS understudy.marker (
    id text PRIMARY KEY,
    at timestamptz NOT NULL DEFAULT now()
);
CREATE TABLE IF NOT EXISTS understudy.sequence_sample (
    name text PRIMARY KEY,
    last_value bigint NOT NULL,
    per_second double precision NOT NULL DEFAULT 0,
    at timestamptz NOT NULL
);
CREATE TABLE IF NOT EXISTS understudy.commit_token (
    token uuid PRIMARY KEY,
    at timestamptz NOT NULL DEFAULT now()
);
-- Rows come in the order of time, so this index is a few pages, and nearly free to write.
CREATE INDEX IF NOT EXISTS commit_token_at ON understudy.commit_token USING brin (at);

-- Local to the node: the journal of rewinds.
CREATE TABLE IF NOT EXISTS understudy.rewound (
    link text PRIMARY KEY,
    keys bigint NOT NULL,
    at timestamptz NOT NULL DEFAULT now()
);

-- What the client library needs, whatever role the application uses.
GRANT USAGE ON SCHEMA understudy TO PUBLIC;
GRANT SELECT ON understudy.fence, understudy.heartbeat TO PUBLIC;
GRANT SELECT, INSERT, UPDATE (at) ON understudy.commit_token TO PUBLIC;
