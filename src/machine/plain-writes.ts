/**
 * The request that nearly all are: one INSERT, UPDATE or DELETE of a text that was run before, in a schema where it changes
 * what it names and nothing else. It comes to what request-executor.ts would come to, byte for byte, with less ado. What to
 * do when it fails is not for here.
 */

// The global of this name is a getter, which is asked anew at each use.
import { Buffer } from "node:buffer";
import type { RunResult, Statement } from "better-sqlite3";
import type { Limits } from "../sql/limits.ts";
import { PlainBatchReader } from "../wire/plain-batch.ts";
import { encodePlainResult } from "../wire/result-codec.ts";
import type { SqliteValue } from "../wire/value-codec.ts";
import type { LargestRowid } from "./largest-rowid.ts";
import type { PreparedStatement, StatementCache } from "./prepared-statement.ts";
import { rowidRule } from "./rowid-rule.ts";
import type { SchemaFacts } from "./schema-facts.ts";
import { isPlainWrite } from "./statement-rules.ts";

/** A result without rows never has more bytes. */
const RESULT_BYTES_MAX = 32;
/** As largest-rowid.ts: a row below is none that it looks for. */
const ROWID_SMALL = 2 ** 32;

export interface PlainParts {
  readonly cache: StatementCache;
  readonly largest: LargestRowid;
  /** SQLite's own, where a number cannot hold it. */
  readonly lastRowid: () => bigint;
}

export interface PlainEffect {
  readonly changes: number;
  /** Encoded balsa.v1.BatchResult. */
  readonly result: Buffer;
}

export class PlainWrites {
  readonly #parts: PlainParts;
  readonly #batch = new PlainBatchReader();

  constructor(parts: PlainParts) {
    this.#parts = parts;
  }

  /** It is run under this schema: the next one like it, alone in its request, may be run here. */
  learn(prepared: PreparedStatement, facts: SchemaFacts): void {
    if (prepared.plain?.facts === facts) return;
    const isPlain = isPlainWrite(prepared, facts);
    prepared.plain = { facts, isPlain, inserts: rowidRule(prepared, facts) === "inserts" };
  }

  /** Null: the request is none of these, or breaks a limit. `facts`: null if nobody needed them so far. */
  find(
    bytes: Uint8Array,
    limits: Limits,
    resultBytesMax: number,
    facts: SchemaFacts | null,
  ): PreparedStatement | null {
    if (facts === null) return null;
    const { length } = bytes;
    if (length > limits.statementBytes || length > limits.valueBytes) return null;
    if (length > limits.requestBytes || resultBytesMax < RESULT_BYTES_MAX) return null;
    const batch = this.#batch;
    if (!batch.read(bufferOf(bytes), 0, length)) return null;
    const prepared = this.#parts.cache.known(batch.sql);
    if (prepared?.plain?.facts !== facts || !prepared.plain.isPlain) return null;
    const { count } = prepared.shape.parameters;
    return count === batch.values.length && count <= limits.parameters ? prepared : null;
  }

  /** What `find` found. @throws what SQLite says, or BalsaError REFUSED: then its changes may be there. */
  run({ statement, shape, plain }: PreparedStatement, facts: SchemaFacts): PlainEffect {
    const { changes, lastInsertRowid } = runWith(statement, this.#batch.values);
    // Of a statement that inserts nothing SQLite would show what an earlier request inserted.
    const found = plain?.inserts === true && changes > 0 ? (lastInsertRowid as number) : 0;
    const isExact = found >= 0 && found <= Number.MAX_SAFE_INTEGER;
    const rowid = isExact ? found : this.#parts.lastRowid();
    if (changes > 1 || found >= ROWID_SMALL || shape.verb === "update") {
      const effect = { shape, changes, totalChanges: changes, rowid: BigInt(rowid) };
      this.#parts.largest.check(effect, facts);
    }
    return { changes, result: encodePlainResult(changes, rowid) };
  }
}

/** Values that stand alone are bound for less than an array of them. */
function runWith(statement: Statement<unknown[]>, values: readonly SqliteValue[]): RunResult {
  switch (values.length) {
    case 0:
      return statement.run();
    case 1:
      return statement.run(values[0]);
    case 2:
      return statement.run(values[0], values[1]);
    case 3:
      return statement.run(values[0], values[1], values[2]);
    case 4:
      return statement.run(values[0], values[1], values[2], values[3]);
    default:
      return statement.run(values);
  }
}

function bufferOf(bytes: Uint8Array): Buffer {
  if (Buffer.isBuffer(bytes)) return bytes;
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
}
