/**
 * `make demo`: Balsa's main job on real input. Three nodes, 135,233 cities, queries everywhere; then the leader is
 * killed under load and every acknowledged row is looked for in every file. The last line is the result as JSON.
 */

import type { Database } from "balsa";
import { leaderOf, TestCluster } from "balsa/testing";
import { loadCities } from "./demo/cities.ts";
import { LEDGER, Writers } from "./demo/ledger.ts";
import { runQueries } from "./demo/queries.ts";
import { grouped, say, seconds, step, watchCount } from "./demo/show.ts";
import { judge, type Verdict } from "./demo/verdict.ts";

const CITIES = 135_233;
/** Its id. */
const LISBON = 2_267_057;
const WRITERS = 32;
const BEFORE_KILL_MS = 3_000;
const AFTER_KILL_MS = 5_000;
const CATCH_UP_MS_MAX = 60_000;

interface Outcome {
  readonly loaded: number;
  readonly writers: Writers;
  readonly outageMs: number;
  readonly verdict: Verdict;
}

async function demo(): Promise<Outcome> {
  step(1, "Three nodes on 127.0.0.1");
  const cluster = await TestCluster.start({ args: ["--log-format", "text"] });
  const db = cluster.connect({ deadlineMs: 30_000 });
  try {
    const leader = await cluster.ready();
    for (const { id, endpoint, pid } of cluster.nodes) {
      say(`node ${id}  ${endpoint}  pid ${pid}  ${id === leader.id ? "leads" : "follows"}`);
    }

    step(2, `${grouped(CITIES)} cities with a full-text and a spatial index`);
    const loaded = await loadCities(db);
    // Any write will do: its log index is what the session reads of other clients ask for.
    const { index } = await db.prepare("UPDATE city SET name = name WHERE id = ?").run(LISBON);
    await cluster.caughtUp(CATCH_UP_MS_MAX);

    step(3, "Queries: every node, every consistency");
    await runQueries(cluster, index);

    step(4, `${WRITERS} writers, and the leader is killed`);
    const { writers, outageMs } = await killTheLeader(cluster, db);

    step(5, "What is in the files of the three nodes");
    await cluster.caughtUp(CATCH_UP_MS_MAX);
    await cluster.stopNodes();
    const verdict = judge(cluster, writers);
    for (const { id, rows, digest } of verdict.nodes) {
      say(`node ${id}  ${grouped(rows)} rows in the ledger, digest of everything ${digest}`);
    }
    return { loaded, writers, outageMs, verdict };
  } catch (error) {
    process.stderr.write(`${cluster.lastWords()}\n`);
    throw error;
  } finally {
    await cluster.stop();
  }
}

async function killTheLeader(
  cluster: TestCluster,
  db: Database,
): Promise<{ readonly writers: Writers; readonly outageMs: number }> {
  await db.exec(LEDGER);
  const node = await cluster.leader();
  const writers = new Writers(db, WRITERS);
  const stopWatching = watchCount("rows acknowledged", () => writers.count);
  writers.start();
  await elapsed(BEFORE_KILL_MS);
  writers.resetGap();
  say(`        kill -9 ${node.pid}: node ${node.id}, which led`);
  node.signal("SIGKILL");
  await elapsed(AFTER_KILL_MS);
  await writers.stop();
  stopWatching();
  const outageMs = Math.round(writers.gapMs);
  const now = leaderOf(await db.status());
  say(
    `node ${now?.id} took over in term ${now?.term}; the longest wait for an answer: ${outageMs} ms`,
  );
  const restarted = performance.now();
  await node.kill();
  node.start();
  await cluster.caughtUp(CATCH_UP_MS_MAX);
  say(`node ${node.id} started again and caught up in ${seconds(performance.now() - restarted)}`);
  return { writers, outageMs };
}

function elapsed(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

function report({ loaded, writers, outageMs, verdict }: Outcome): boolean {
  const { lost, duplicated, unknownApplied, invented, identical } = verdict;
  const unknown = writers.unknown.reduce((sum, { size }) => sum + size, 0);
  step(6, "Report");
  say(`cities loaded                ${grouped(loaded)}`);
  say(`rows acknowledged            ${grouped(writers.count)}`);
  say(`  of these lost              ${lost}`);
  say(`  of all rows doubled        ${duplicated}`);
  say(`outcome unknown to a writer  ${unknown}, of which ${unknownApplied} took effect`);
  say(`refused, not applied         ${writers.refused}`);
  say(`rows out of nowhere          ${invented}`);
  say(`writes stood still for       ${outageMs} ms after the leader was killed`);
  say(`the three nodes' content is  ${identical ? "identical" : "DIFFERENT"}`);
  const acknowledged = writers.count;
  const result = { loaded, acknowledged, lost, duplicated, outageMs, identical };
  process.stdout.write(`\n${JSON.stringify(result)}\n`);
  return lost === 0 && duplicated === 0 && invented === 0 && identical && loaded === CITIES;
}

// An exit runs the cluster's clean-up, which kills the nodes and removes their files.
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
  process.once(signal, () => process.exit(130));
}

try {
  process.exitCode = report(await demo()) ? 0 : 1;
} catch (error) {
  process.stderr.write(`demo failed: ${error instanceof Error ? error.message : String(error)}\n`);
  process.exitCode = 1;
}
process.exit();
