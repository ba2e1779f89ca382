/** A handful of queries, each answered by every node, at a different consistency each; all must agree. */

import type { BindValue, Consistency, Database, Row } from "balsa";
import type { TestCluster } from "balsa/testing";
import { say, showRows } from "./show.ts";

interface Query {
  readonly title: string;
  readonly sql: string;
  readonly args: { readonly [name: string]: BindValue };
}

const LISBON = { lon: -9.13333, lat: 38.71667 };

/** Kilometres between two positions, by the law of cosines; min() guards acos against rounding. */
function kilometres(from: string, to: string): string {
  return (
    `6371 * acos(min(1, sin(radians(${from}.lat)) * sin(radians(${to}.lat)) + ` +
    `cos(radians(${from}.lat)) * cos(radians(${to}.lat)) * cos(radians(${to}.lon - ${from}.lon))))`
  );
}

const QUERIES: readonly Query[] = [
  {
    title: 'full text: names like "san jose", the largest first',
    sql: `SELECT c.name, c.country, c.population
      FROM city_name JOIN city AS c ON c.id = city_name.rowid
      WHERE city_name MATCH :words ORDER BY c.population DESC, c.id LIMIT 4`,
    args: { words: "name: san jos*" },
  },
  {
    title: "R*Tree: the nearest to Lisbon with over 100,000 people",
    sql: `WITH here (lon, lat) AS (VALUES (:lon, :lat))
      SELECT c.name, c.population, round(${kilometres("here", "c")}, 1) AS km
      FROM here JOIN city_position AS p
        ON p.lon_min >= here.lon - 1 AND p.lon_max <= here.lon + 1
        AND p.lat_min >= here.lat - 1 AND p.lat_max <= here.lat + 1
      JOIN city AS c ON c.id = p.id
      WHERE c.population > 100000 ORDER BY km, c.id LIMIT 5`,
    args: LISBON,
  },
  {
    title: "recursive CTE: from a village, always to the nearest city twice as large",
    sql: `WITH RECURSIVE way (step, id) AS (
        SELECT 0, (SELECT id FROM city WHERE name = :start AND country = 'PT')
        UNION ALL
        SELECT step + 1, (
          SELECT c.id FROM city AS own
            JOIN city_position AS p ON p.lon_min BETWEEN own.lon - 4 AND own.lon + 4
              AND p.lat_min BETWEEN own.lat - 4 AND own.lat + 4
            JOIN city AS c ON c.id = p.id
          WHERE own.id = way.id AND c.population >= 2 * own.population
          ORDER BY ${kilometres("own", "c")}, c.id LIMIT 1)
        FROM way WHERE way.id IS NOT NULL AND step < 12)
      SELECT step, c.name, c.country, c.population FROM way JOIN city AS c USING (id)
      ORDER BY step`,
    args: { start: "Sagres" },
  },
  {
    title: "JSON: the cities of over ten million, by country",
    sql: `SELECT json_group_object(country, json(names)) AS json FROM (
        SELECT country, json_group_array(name ORDER BY population DESC) AS names
        FROM city WHERE population > 10000000 GROUP BY country ORDER BY country)`,
    args: {},
  },
  {
    title: "aggregate: countries by people in cities, with their share",
    sql: `SELECT country, count(*) AS cities, sum(population) AS people,
        round(100.0 * sum(population) / sum(sum(population)) OVER (), 1) AS percent
      FROM city GROUP BY country ORDER BY people DESC LIMIT 4`,
    args: {},
  },
];

const CONSISTENCIES: readonly Consistency[] = ["linearizable", "session", "stale"];

/** `index`: the log index of the last write, which session reads of these new clients must see. */
export async function runQueries(cluster: TestCluster, index: number): Promise<void> {
  const clients = cluster.nodes.map(({ id }) => cluster.connectTo(id));
  try {
    for (const [at, query] of QUERIES.entries()) {
      say(query.title);
      const answers: { readonly rows: Row[]; readonly how: string }[] = [];
      for (const [turn, consistency] of CONSISTENCIES.entries()) {
        // Another node for each consistency, another pairing for each query.
        const place = (at + turn) % clients.length;
        const client = clients[place];
        if (client === undefined) throw new Error("no client");
        const began = performance.now();
        const rows = await read(client, query, consistency, index);
        const ms = (performance.now() - began).toFixed(1);
        answers.push({ rows, how: `node ${place + 1} ${consistency} ${ms} ms` });
      }
      showRows(answers[0]?.rows ?? []);
      say(`  (${answers.map(({ how }) => how).join(" · ")})`);
      const different = new Set(answers.map(({ rows }) => JSON.stringify(rows)));
      if (different.size !== 1) throw new Error("the nodes gave different answers");
    }
  } finally {
    await Promise.all(clients.map((client) => client.close()));
  }
}

function read(db: Database, query: Query, consistency: Consistency, index: number): Promise<Row[]> {
  const options = consistency === "session" ? { consistency, atLeast: index } : { consistency };
  return db.with(options).prepare(query.sql).all(query.args);
}
