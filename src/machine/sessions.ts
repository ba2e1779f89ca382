/**
 * Exactly once (DESIGN D6): which writes of which session were applied, with their answers. Part of the replicated state:
 * every decision depends on the log alone. In memory while a transaction runs, one row a session when it ends; what the
 * rows hold does not depend on where transactions end, so files agree.
 */

import type { Database, Statement } from "better-sqlite3";
import { BalsaError } from "../sql/errors.ts";
import { invariant } from "../sql/invariant.ts";
import { MessageReader } from "../wire/message-reader.ts";
import { MessageWriter } from "../wire/message-writer.ts";

/** Bounds of sessions. They decide what an entry does: all nodes of a cluster must have the same. */
export interface SessionLimits {
  /** Log time after which an unused session expires, ms. Default 1 h. */
  readonly ttlMs: number;
  /** Sessions at once; one more ends the one unused for longest. Default 10,000. */
  readonly sessions: number;
  /** Bytes of answers that a session may have unacknowledged. Default 16 MiB. */
  readonly rememberedBytes: number;
  /** Answers that a session may have unacknowledged. Default 10,000. */
  readonly remembered: number;
  /** Bytes of the unacknowledged answers of all sessions; more end those unused for longest that hold any. Default 256 MiB. */
  readonly allRememberedBytes: number;
}

export const DEFAULT_SESSION_LIMITS: SessionLimits = {
  ttlMs: 3_600_000,
  sessions: 10_000,
  rememberedBytes: 16 * 1024 * 1024,
  remembered: 10_000,
  allRememberedBytes: 256 * 1024 * 1024,
};

interface Answer {
  readonly result: Uint8Array;
  /** Known when the entry is; 0 while it is only executed. Not stored. */
  index: number;
}

interface Session {
  readonly id: number;
  /** Log time of the last write. */
  usedMs: number;
  /** Answers up to this sequence have arrived and are forgotten. */
  floor: number;
  readonly answers: Map<number, Answer>;
  bytes: number;
  dirty: boolean;
}

/** Where a write belongs. */
export interface SessionWrite {
  readonly session: number;
  readonly sequence: number;
  readonly acknowledgedThrough: number;
}

type SessionRow = [id: bigint, usedMs: bigint, floor: bigint, answers: Uint8Array];

/** Beside its bytes, each answer costs about this. */
const ANSWER_BYTES = 64;

export const SESSION_SCHEMA = `CREATE TABLE IF NOT EXISTS balsa_session(
  id INTEGER PRIMARY KEY,
  used_ms INTEGER NOT NULL,
  acknowledged_through INTEGER NOT NULL,
  answers BLOB NOT NULL
)`;

export class Sessions {
  readonly #limits: SessionLimits;
  readonly #sessions = new Map<number, Session>();
  /** Found last, and still there: often it is the next one's as well. */
  #last: Session | null = null;
  readonly #dirty: Session[] = [];
  readonly #removed = new Set<number>();
  /** Of all sessions. */
  #bytes = 0;
  #fresh: Answer[] = [];
  readonly #upsert: Statement;
  readonly #delete: Statement;
  readonly #select: Statement<unknown[], SessionRow>;

  constructor(database: Database, limits: SessionLimits) {
    this.#limits = limits;
    this.#upsert = database.prepare("INSERT OR REPLACE INTO balsa_session VALUES (?, ?, ?, ?)");
    this.#delete = database.prepare("DELETE FROM balsa_session WHERE id = ?");
    this.#select = database
      .prepare<unknown[], SessionRow>("SELECT * FROM balsa_session ORDER BY id")
      .raw(true);
  }

  /** From the file, as of its applied index. */
  load(appliedIndex: number): void {
    this.#sessions.clear();
    this.#last = null;
    this.#dirty.length = 0;
    this.#removed.clear();
    this.#bytes = 0;
    this.#fresh = [];
    for (const [id, usedMs, floor, bytes] of this.#select.all()) {
      const answers = decodeAnswers(bytes, appliedIndex);
      let size = 0;
      for (const { result } of answers.values()) size += result.length + ANSWER_BYTES;
      this.#bytes += size;
      this.#sessions.set(Number(id), {
        id: Number(id),
        usedMs: Number(usedMs),
        floor: Number(floor),
        answers,
        bytes: size,
        dirty: false,
      });
    }
  }

  /**
   * Before a write runs: its first answer if it was applied before, null if it must run.
   * @throws BalsaError SESSION_EXPIRED, SEQUENCE_EXPIRED, LIMIT_EXCEEDED or INVALID_ARGUMENT.
   */
  admit(write: SessionWrite, timeMs: number): { result: Uint8Array; index: number } | null {
    const { sequence, acknowledgedThrough } = write;
    const session = this.#living(write.session, timeMs);
    if (session === undefined) {
      const message = `the session ${write.session} is unknown or was not used for too long`;
      throw new BalsaError("SESSION_EXPIRED", message);
    }
    if (sequence < 1 || acknowledgedThrough >= sequence) {
      const message = `sequence ${sequence} with answers up to ${acknowledgedThrough} acknowledged`;
      throw new BalsaError("INVALID_ARGUMENT", message);
    }
    const known = session.answers.get(sequence);
    if (known !== undefined) return known;
    if (sequence <= session.floor) {
      const message = `the answer to write ${sequence} was acknowledged before`;
      // Whether it was applied is known to whoever acknowledged it.
      throw new BalsaError("SEQUENCE_EXPIRED", message, { outcome: "unknown" });
    }
    this.#refuseFull(session, acknowledgedThrough);
    return null;
  }

  /** Would this answer make the session remember too much? */
  fits(write: SessionWrite, resultBytes: number): boolean {
    const session = this.#find(write.session);
    invariant(session !== undefined, "a write belongs to a living session");
    return session.bytes + resultBytes <= this.#limits.rememberedBytes;
  }

  /** The write took effect. */
  remember(write: SessionWrite, timeMs: number, result: Uint8Array, index: number): void {
    const session = this.#find(write.session);
    invariant(session !== undefined, "a write belongs to a living session");
    session.usedMs = timeMs;
    if (write.acknowledgedThrough > session.floor) this.#forget(session, write.acknowledgedThrough);
    const answer: Answer = { result, index };
    session.answers.set(write.sequence, answer);
    session.bytes += result.length + ANSWER_BYTES;
    this.#bytes += result.length + ANSWER_BYTES;
    const { allRememberedBytes } = this.#limits;
    while (this.#bytes > allRememberedBytes && this.#bytes > session.bytes) {
      this.#removeOldest((each) => each !== session && each.bytes > 0);
    }
    if (index === 0) this.#fresh.push(answer);
    this.#touch(session);
  }

  /** An entry opened a session; expired ones go, and at the bound the one unused for longest. */
  open(id: number, timeMs: number): void {
    for (const session of this.#sessions.values()) {
      if (timeMs - session.usedMs > this.#limits.ttlMs) this.#remove(session);
    }
    while (this.#sessions.size >= this.#limits.sessions) this.#removeOldest();
    const session: Session = {
      id,
      usedMs: timeMs,
      floor: 0,
      answers: new Map(),
      bytes: 0,
      dirty: false,
    };
    this.#sessions.set(id, session);
    this.#touch(session);
  }

  /** Executed entries have become part of the log, up to `lastIndex`: a bound of each one's own index. */
  placed(lastIndex: number): void {
    for (const answer of this.#fresh) answer.index = lastIndex;
    this.#fresh = [];
  }

  /** Writes what changed into the open transaction, before it commits. */
  flush(): void {
    for (const id of this.#removed) this.#delete.run(BigInt(id));
    this.#removed.clear();
    for (const session of this.#dirty) {
      session.dirty = false;
      if (this.#sessions.get(session.id) !== session) continue;
      const { id, usedMs, floor } = session;
      this.#upsert.run(BigInt(id), BigInt(usedMs), BigInt(floor), encodeAnswers(session.answers));
    }
    this.#dirty.length = 0;
  }

  #find(id: number): Session | undefined {
    if (this.#last?.id === id) return this.#last;
    const session = this.#sessions.get(id);
    this.#last = session ?? null;
    return session;
  }

  #living(id: number, timeMs: number): Session | undefined {
    const session = this.#find(id);
    if (session === undefined || timeMs - session.usedMs > this.#limits.ttlMs) return undefined;
    return session;
  }

  /** Before it runs, so that nothing needs to be undone. */
  #refuseFull(session: Session, acknowledgedThrough: number): void {
    const { remembered, rememberedBytes } = this.#limits;
    if (session.answers.size < remembered && session.bytes < rememberedBytes) return;
    let { size } = session.answers;
    let { bytes } = session;
    for (const [sequence, { result }] of session.answers) {
      if (sequence > acknowledgedThrough) continue;
      size -= 1;
      bytes -= result.length + ANSWER_BYTES;
    }
    if (size < remembered && bytes < rememberedBytes) return;
    const message =
      `the session has ${size} answers (${bytes} bytes) that were not acknowledged; ` +
      "wait for answers before sending more";
    const limit = size < remembered ? "rememberedBytes" : "remembered";
    const value = String(size < remembered ? rememberedBytes : remembered);
    throw new BalsaError("LIMIT_EXCEEDED", message, { facts: { limit, value } });
  }

  #forget(session: Session, through: number): void {
    const { floor, answers } = session;
    session.floor = through;
    // The window moves by a step or two; only a jump is worth looking at every answer.
    if (through - floor <= answers.size) {
      for (let sequence = floor + 1; sequence <= through; sequence += 1) {
        this.#forgetOne(session, sequence);
      }
      return;
    }
    for (const sequence of answers.keys()) {
      if (sequence <= through) this.#forgetOne(session, sequence);
    }
  }

  #forgetOne(session: Session, sequence: number): void {
    const answer = session.answers.get(sequence);
    if (answer === undefined) return;
    session.answers.delete(sequence);
    session.bytes -= answer.result.length + ANSWER_BYTES;
    this.#bytes -= answer.result.length + ANSWER_BYTES;
  }

  #touch(session: Session): void {
    if (session.dirty) return;
    session.dirty = true;
    this.#dirty.push(session);
  }

  #remove(session: Session): void {
    this.#sessions.delete(session.id);
    if (this.#last === session) this.#last = null;
    this.#bytes -= session.bytes;
    this.#removed.add(session.id);
  }

  #removeOldest(mayGo: (session: Session) => boolean = () => true): void {
    let oldest: Session | null = null;
    for (const session of this.#sessions.values()) {
      if (!mayGo(session)) continue;
      if (oldest === null || session.usedMs < oldest.usedMs) oldest = session;
      else if (session.usedMs === oldest.usedMs && session.id < oldest.id) oldest = session;
    }
    if (oldest !== null) this.#remove(oldest);
  }
}

// Answers, by sequence: { 1: sequence, 2: result }, in the wire format of protobuf, each as field 1.
const writer = new MessageWriter();

/** In the order of the log, also after a restart. */
function encodeAnswers(answers: ReadonlyMap<number, Answer>): Uint8Array {
  writer.start();
  for (const [sequence, { result }] of answers) {
    const begin = writer.beginMessage(1);
    writer.uint(1, sequence);
    writer.bytes(2, result);
    writer.endMessage(begin);
  }
  return writer.finish();
}

function decodeAnswers(bytes: Uint8Array, appliedIndex: number): Map<number, Answer> {
  const reader = new MessageReader(bytes);
  const answers = new Map<number, Answer>();
  for (let tag = reader.tag(); tag !== 0; tag = reader.tag()) {
    invariant(tag === 10, `a session's answers hold a field ${tag}`);
    const outer = reader.enter();
    let sequence = 0;
    let result: Uint8Array = Buffer.alloc(0);
    for (let inner = reader.tag(); inner !== 0; inner = reader.tag()) {
      if (inner === 8) sequence = reader.uint();
      else if (inner === 18) result = reader.bytes();
      else reader.skip(inner);
    }
    reader.leave(outer);
    answers.set(sequence, { result, index: appliedIndex });
  }
  return answers;
}
