/** Plays a plan on a leader, keeps its log, and replays it on followers that come to it by other ways. */

import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import Database from "better-sqlite3";
import { MachineCore } from "../../src/machine/machine-core.ts";
import type { ExecuteJob, ExecuteOutcome, TransactionVerb } from "../../src/node/ports.ts";
import type { Entry } from "../../src/raft/entry.ts";
import { DEFAULT_LIMITS } from "../../src/sql/limits.ts";
import type { AutoVacuum } from "../../src/sql/settings.ts";
import type { Statement } from "../../src/sql/statement.ts";
import { decodeCommand } from "../../src/wire/log-codec.ts";
import { decodeOpenSessionResponse } from "../../src/wire/sql-codec.ts";
import { encodeBatch, encodeScript } from "../../src/wire/statement-codec.ts";
import { Dice } from "./dice.ts";
import type { Coverage, Plan, Step } from "./plan.ts";

/** A node did not come to what the leader had. */
export class Divergence extends Error {
  override readonly name = "Divergence";
}

const START_MS = Date.UTC(2024, 1, 28, 23, 59, 30);
const ZONES = ["UTC", "America/New_York", "Asia/Kolkata", "Pacific/Chatham"];
const AUTO_VACUUM: readonly AutoVacuum[] = ["none", "none", "incremental", "full"];
const EMPTY = new Uint8Array(0);
const NESTED_EVENTS = {
  savepoint: "event: nested transaction",
  release: "event: nested transaction released",
  rollbackTo: "event: nested transaction rolled back",
} as const;

/** Where a run keeps its files; removed with it. */
export class Directory {
  readonly #path: string;
  #files = 0;

  constructor(under: string = tmpdir()) {
    this.#path = mkdtempSync(join(under, "balsa-determinism-"));
  }

  file(): string {
    this.#files += 1;
    return join(this.#path, `${this.#files}.db`);
  }

  remove(): void {
    rmSync(this.#path, { recursive: true, force: true });
  }
}

export class Leader {
  readonly log: Entry[] = [];
  path: string;
  readonly #directory: Directory;
  readonly #coverage: Coverage;
  readonly #dice: Dice;
  readonly #autoVacuum: AutoVacuum;
  #core: MachineCore;
  #term = 1;
  #committed = 0;
  #timeMs = START_MS;
  #session = 0;
  #sequence = 0;
  #id = 0;

  constructor(plan: Plan, directory: Directory, coverage: Coverage) {
    this.#directory = directory;
    this.#coverage = coverage;
    this.#dice = new Dice(plan.seed ^ 0x5eed);
    this.path = directory.file();
    this.#autoVacuum = AUTO_VACUUM[plan.seed % AUTO_VACUUM.length] ?? "none";
    if (this.#autoVacuum !== "none") coverage.add("event: leader with auto_vacuum");
    this.#core = this.#open();
  }

  #open(): MachineCore {
    return MachineCore.open({ path: this.path, autoVacuum: this.#autoVacuum });
  }

  play(step: Step): void {
    switch (step.kind) {
      case "request":
        return this.#request(step);
      case "script":
        this.#coverage.add("event: script");
        return this.#took(this.#execute(encodeScript(step.sql), false), 2, step.covers);
      case "transaction":
        return this.#transaction(step);
      case "checksum":
        return this.#checksum();
      case "commit":
        this.#coverage.add("event: commit");
        return this.commit();
      case "lose":
        return this.#lose(step.share);
      case "handover":
        return this.#handOver();
    }
  }

  commit(): void {
    // Also with nothing in the log: what failed, or only read, has opened a transaction.
    const last = this.log.at(-1) ?? { index: 0, term: 0 };
    this.#core.commit({ index: last.index, term: last.term });
    this.#committed = last.index;
  }

  close(): void {
    this.#core.close();
  }

  #request(step: Extract<Step, { kind: "request" }>): void {
    if (step.dtMs < 0) this.#coverage.add("event: clock ran back");
    this.#timeMs += step.dtMs;
    const batch = encodeBatch(step.statements, DEFAULT_LIMITS, step.goOn ? "continue" : "stop");
    const outcome = this.#execute(batch, step.session);
    if (step.goOn) this.#wentOn(outcome);
    const { length } = step.statements;
    if (length > 1) this.#coverage.add("event: request of several statements");
    if (step.session && outcome.kind === "failure") {
      this.#coverage.add("event: failed request in a session");
    }
    const broken = outcome.kind === "broken";
    if (broken && step.statements[0]?.sql.startsWith("ANALYZE")) {
      this.#coverage.add("event: failed ANALYZE");
    }
    this.#failedClause(outcome, step.statements);
    this.#took(outcome, length, step.covers);
  }

  #failedClause(outcome: ExecuteOutcome, statements: readonly Statement[]): void {
    if (outcome.kind !== "failure" && outcome.kind !== "broken") return;
    const { sql = "" } = statements[outcome.failure.statementIndex] ?? {};
    const [, clause] = /^(?:INSERT|UPDATE) OR (\w+)/.exec(sql) ?? [];
    if (clause !== undefined) this.#coverage.add(`event: failed OR ${clause}`);
  }

  #took(outcome: ExecuteOutcome, statements: number, covers: readonly string[]): void {
    const coverage = this.#coverage;
    if (outcome.kind === "proposal" || outcome.kind === "answer") {
      this.#cover(covers);
      coverage.add(outcome.kind === "answer" ? "event: answer without an entry" : "event: entry");
      return;
    }
    if (outcome.kind === "apart") throw new Error("a setting was refused between transactions");
    const { code, statementIndex, message } = outcome.failure;
    if (code === "INTERNAL" || code === "INVALID_ARGUMENT") {
      throw new Error(`the generator wrote what cannot be: ${message}`);
    }
    if (code === "REFUSED") coverage.add("refused");
    coverage.add("event: failed request");
    coverage.add(`event: failed with ${code.replace("SQLITE_", "")}`);
    if (statementIndex > 0 && statements > 1) {
      coverage.add("event: failed request, in the middle of a batch");
    }
    if (outcome.kind === "broken") {
      coverage.add("event: writer given up");
      this.#reopen();
    }
  }

  #wentOn(outcome: ExecuteOutcome): void {
    this.#coverage.add("event: batch that goes on");
    if (outcome.kind !== "proposal") return;
    const failed = decodeCommand(outcome.payload).failed?.length ?? 0;
    this.#coverage.add("event: failed statement of a batch that goes on", failed);
  }

  /** It has the writer for itself: the cycle before it has ended, as on a node. */
  #transaction({ parts, commits }: Extract<Step, { kind: "transaction" }>): void {
    this.commit();
    this.#verb("begin");
    const analyzed: boolean[] = [];
    for (const part of parts) {
      const batch = part.kind === "run" ? encodeBatch(part.statements) : EMPTY;
      const outcome = this.#verb(part.kind, batch);
      if (part.kind !== "run") this.#coverage.add(NESTED_EVENTS[part.kind]);
      else if (outcome.kind === "failure")
        this.#coverage.add("event: failed step of a transaction");
      if (part.kind === "savepoint") analyzed.push(false);
      else if (part.kind === "run") {
        if (part.statements.some(({ sql }) => sql.startsWith("ANALYZE"))) analyzed.fill(true);
      } else if (analyzed.pop() && part.kind === "rollbackTo") {
        this.#coverage.add("event: ANALYZE rolled back in a nested transaction");
      }
      if (outcome.kind === "broken") return this.#took(outcome, 1, []);
      if (part.kind === "run" && outcome.kind === "answer") this.#cover(part.covers);
    }
    const outcome = this.#keep(this.#verb(commits ? "commit" : "rollback"));
    this.#coverage.add(`event: transaction ${commits ? "committed" : "rolled back"}`);
    this.#took(outcome, 1, []);
    if (outcome.kind !== "broken") this.commit();
  }

  #checksum(): void {
    const outcome = this.#keep(this.#verb("checksum"));
    if (outcome.kind !== "proposal") throw new Error(`no checksum: ${outcome.kind}`);
    this.#coverage.add("event: range checksum");
    if (outcome.result[0] === 1) this.#coverage.add("event: whole pass of range checksums");
  }

  #verb(verb: TransactionVerb, batch: Uint8Array = EMPTY): ExecuteOutcome {
    return this.#core.execute({ ...this.#job(false), batch, openSession: false, verb });
  }

  #cover(kinds: readonly string[]): void {
    for (const kind of kinds) this.#coverage.add(kind);
  }

  #job(session: boolean): Omit<ExecuteJob, "batch" | "openSession"> {
    const sequence = session ? ++this.#sequence : 0;
    return {
      id: ++this.#id,
      session: session ? this.#session : 0,
      sequence,
      acknowledgedThrough: session && this.#dice.chance(0.5) ? sequence - 1 : 0,
      timeMs: this.#timeMs,
      seedHigh: this.#dice.below(2 ** 32),
      seedLow: this.#dice.below(2 ** 32),
    };
  }

  #execute(batch: Uint8Array, session: boolean): ExecuteOutcome {
    if (session && this.#session === 0) this.#openSession();
    const job = { ...this.#job(session), batch, openSession: false };
    let outcome = this.#core.execute(job);
    if (outcome.kind === "apart") {
      this.#coverage.add("event: setting of the cluster");
      this.commit();
      outcome = this.#core.execute({ ...job, verb: "setting" });
    }
    if (outcome.kind === "failure" && outcome.failure.code === "SESSION_EXPIRED") this.#session = 0;
    return this.#keep(outcome);
  }

  #openSession(): void {
    const outcome = this.#keep(
      this.#core.execute({ ...this.#job(false), batch: EMPTY, openSession: true }),
    );
    if (outcome.kind !== "proposal") throw new Error(`no session: ${outcome.kind}`);
    this.#session = decodeOpenSessionResponse(outcome.result).session;
    this.#sequence = 0;
  }

  #keep(outcome: ExecuteOutcome): ExecuteOutcome {
    if (outcome.kind === "proposal") {
      const { payload } = outcome;
      const index = this.log.length + 1;
      this.log.push({ index, term: this.#term, kind: "command", payload });
    }
    return outcome;
  }

  /** As the node does when the open transaction is lost: another writer, that applies the log. */
  #reopen(): void {
    this.#core.close();
    this.#core = this.#open();
    applyAll(this.#core, this.log, "the leader after it was started again");
    this.#committed = this.log.length;
  }

  #lose(share: number): void {
    this.#coverage.add("event: leadership lost");
    const thrown = Math.floor(share * (this.log.length - this.#committed));
    this.#coverage.add("event: entries thrown away", thrown);
    this.log.length -= thrown;
    this.#term += 1;
    this.#reopen();
  }

  #handOver(): void {
    this.#coverage.add("event: handover");
    this.#core.close();
    this.#term += 1;
    this.path = this.#directory.file();
    this.#core = this.#open();
    for (let at = 0; at < this.log.length; ) {
      const to = at + this.#dice.between(1, 20);
      applySome(this.#core, this.log.slice(at, to), "the next leader");
      at = Math.min(to, this.log.length);
    }
    this.#committed = this.log.length;
  }
}

function applyAll(core: MachineCore, log: readonly Entry[], who: string): void {
  applySome(core, log.slice(core.state.appliedIndex), who);
}

function applySome(core: MachineCore, entries: readonly Entry[], who: string): void {
  const { mismatch } = core.apply(entries);
  if (mismatch !== null) {
    throw new Divergence(`${who} stops at entry ${mismatch.index}: ${mismatch.detail}`);
  }
}

/** How a follower lives. */
export interface Life {
  readonly seed: number;
  readonly entriesMax: number;
  readonly restarts: number;
  readonly reseeds: number;
  readonly preparedStatements: number;
  readonly autoVacuum: AutoVacuum;
}

/** Applies the log; the path of its file, closed. */
export function follow(
  log: readonly Entry[],
  life: Life,
  directory: Directory,
  coverage: Coverage,
): string {
  const dice = new Dice(life.seed);
  const { preparedStatements, autoVacuum } = life;
  if (life.restarts === 1) coverage.add("event: follower started again behind every entry");
  if (life.reseeds === 1) coverage.add("event: follower re-seeded behind every entry");
  if (preparedStatements === 1) coverage.add("event: follower with one statement in its cache");
  let path = directory.file();
  process.env["TZ"] = dice.pick(ZONES);
  let core = MachineCore.open({ path, autoVacuum, preparedStatements });
  for (let at = 0; at < log.length; ) {
    const to = Math.min(log.length, at + dice.between(1, life.entriesMax));
    applySome(core, log.slice(at, to), `a follower (${JSON.stringify(life)})`);
    at = to;
    if (dice.chance(life.reseeds)) {
      const from = path;
      path = directory.file();
      const image = dice.chance(0.5) ? backup(from) : null;
      core.close();
      writeFileSync(path, image ?? readFileSync(from));
      const how = image === null ? "a file" : "a backup";
      coverage.add(`event: follower re-seeded from ${how}`);
      core = MachineCore.open({ path, autoVacuum, preparedStatements });
    } else if (dice.chance(life.restarts)) {
      core.close();
      coverage.add("event: follower restart");
      core = MachineCore.open({ path, autoVacuum, preparedStatements });
    }
  }
  core.close();
  return path;
}

/** While the writer has it open, with its WAL. */
function backup(path: string): Buffer {
  const database = new Database(path, { readonly: true });
  try {
    return database.serialize();
  } finally {
    database.close();
  }
}
