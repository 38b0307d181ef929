// An ordinary Node.js application with an ordinary pool (`pg`): it writes rows and tells what it was promised.
//
// DATABASE_URL names the database, argv[2] the writer. One line of standard output per row: `acked N` or
// `error N CODE MESSAGE`. An error is noted and the next row is tried on whatever the pool gives; a row is never
// repeated. Ends when standard input does.
"use strict";

const { Pool } = require("pg");

const writer = Number(process.argv[2]);
const pool = new Pool({ connectionString: process.env.DATABASE_URL, max: 4, connectionTimeoutMillis: 20000 });
pool.on("error", () => {}); // an idle connection was closed: the pool has already let it go
// Without this Node.js ends the process when a connection is closed between two statements of a transaction.
pool.on("connect", (client) => client.on("error", () => {}));

let next = 0;
let ended = false;
process.stdin.on("end", () => {
  ended = true;
});
process.stdin.resume();

const pause = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

async function write(seq) {
  const client = await pool.connect();
  let failed;
  try {
    await client.query("BEGIN");
    await client.query("UPDATE pgbench_branches SET bbalance = bbalance + 1 WHERE bid = 1");
    await client.query(
      "INSERT INTO pgbench_history (tid, bid, aid, delta, mtime, writer, seq) VALUES (1, 1, 1, 1, now(), $1, $2)",
      [writer, seq],
    );
    await client.query("COMMIT");
  } catch (error) {
    failed = error;
    throw error;
  } finally {
    client.release(failed);
  }
}

async function one() {
  while (!ended) {
    const seq = ++next;
    try {
      await write(seq);
      console.log(`acked ${seq}`);
    } catch (error) {
      console.log(`error ${seq} ${error.code || "-"} ${error.message.replace(/\s+/g, " ")}`);
    }
    await pause(5);
  }
}

Promise.all([one(), one(), one(), one()]).then(() => pool.end());
