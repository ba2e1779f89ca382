/**
 * What comes back, as balsa.v1.BatchResult and RowChunk. Written by the machine's processes from SQLite's values, read by
 * clients; what lies between passes the bytes on.
 */

// The global of this name is a getter, which is asked anew at each use.
import { Buffer } from "node:buffer";
import type { Failure } from "../sql/errors.ts";
import type { StatementResult } from "../sql/result.ts";
import type { IntegerMode, Row, Value } from "../sql/value.ts";
import { readFailure, writeFailure } from "./failure-codec.ts";
import { MessageReader } from "./message-reader.ts";
import { MessageWriter } from "./message-writer.ts";
import { TextCache } from "./text-cache.ts";
import { readValue, type SqliteValue, toInteger, writeSqliteValue } from "./value-codec.ts";

export interface RowChunk {
  /** Empty but in the first chunk of a query. */
  readonly columns: readonly string[];
  readonly rows: readonly (readonly Value[])[];
}

/** Collects the results of a request's statements, in order. */
export class BatchResultWriter {
  readonly #writer = new MessageWriter();
  #result = 0;

  /** Bytes so far. */
  get length(): number {
    return this.#writer.length;
  }

  start(): void {
    this.#writer.start();
  }

  beginResult(columns: readonly string[]): void {
    this.#result = this.#writer.beginMessage(1);
    for (const column of columns) this.#writer.string(1, column);
  }

  row(values: readonly SqliteValue[]): void {
    writeRow(this.#writer, values);
  }

  endResult(changes: number | bigint, lastInsertRowid: number | bigint): void {
    if (changes !== 0 && changes !== 0n) this.#writer.int64(3, changes);
    if (lastInsertRowid !== 0 && lastInsertRowid !== 0n) this.#writer.int64(4, lastInsertRowid);
    this.#writer.endMessage(this.#result);
  }

  /** Of a statement that failed, in a batch that goes on. */
  failed(failure: Failure): void {
    const result = this.#writer.beginMessage(1);
    const begin = this.#writer.beginMessage(5);
    writeFailure(this.#writer, failure);
    this.#writer.endMessage(begin);
    this.#writer.endMessage(result);
  }

  finish(): Buffer {
    return this.#writer.finish();
  }
}

/** No result without rows has more bytes. */
const PLAIN_BYTES_MAX = 32;
/** Results are handed out where they are written, one behind the other. */
const PLAIN_BUFFER_BYTES = 8 * 1024;
let plainBuffer = Buffer.allocUnsafeSlow(PLAIN_BUFFER_BYTES);
let plainBegin = 0;

/** What BatchResultWriter makes of one statement without rows. */
export function encodePlainResult(changes: number, rowid: number | bigint): Buffer {
  if (plainBuffer.length - plainBegin < PLAIN_BYTES_MAX) {
    plainBuffer = Buffer.allocUnsafeSlow(PLAIN_BUFFER_BYTES);
    plainBegin = 0;
  }
  const begin = plainBegin;
  let end = begin + 2;
  if (changes !== 0) end = putPlain(24, changes, end);
  if (rowid !== 0 && rowid !== 0n) {
    end = typeof rowid === "number" ? putPlain(32, rowid, end) : putExact(32, rowid, end);
  }
  plainBuffer[begin] = 10;
  plainBuffer[begin + 1] = end - begin - 2;
  plainBegin = end;
  return plainBuffer.subarray(begin, end);
}

/** A safe integer, not negative. Returns where it ends. */
function putPlain(tag: number, value: number, from: number): number {
  const target = plainBuffer;
  let at = from;
  let rest = value;
  target[at++] = tag;
  for (; rest >= 2 ** 31; rest = Math.floor(rest / 128)) target[at++] = (rest % 128) | 0x80;
  for (; rest >= 0x80; rest >>>= 7) target[at++] = (rest & 0x7f) | 0x80;
  target[at++] = rest;
  return at;
}

function putExact(tag: number, value: bigint, from: number): number {
  const target = plainBuffer;
  let at = from;
  let rest = BigInt.asUintN(64, value);
  target[at++] = tag;
  for (; rest >= 0x80n; rest >>= 7n) target[at++] = Number(rest & 0x7fn) | 0x80;
  target[at++] = Number(rest);
  return at;
}

/** The result of a transaction whose fate was asked for: it was not applied, and never will be. */
export const NOT_APPLIED: Uint8Array = Uint8Array.of(16, 1);

/** The result of a setting: of one statement, without rows or changes. */
export const SETTING_DONE: Uint8Array = Uint8Array.of(10, 0);

/** Collects the rows of one chunk after another. */
export class RowChunkWriter {
  readonly #writer = new MessageWriter();

  get length(): number {
    return this.#writer.length;
  }

  start(columns: readonly string[]): void {
    this.#writer.start();
    for (const column of columns) this.#writer.string(1, column);
  }

  row(values: readonly SqliteValue[]): void {
    writeRow(this.#writer, values);
  }

  finish(): Buffer {
    return this.#writer.finish();
  }
}

function writeRow(writer: MessageWriter, values: readonly SqliteValue[]): void {
  const begin = writer.beginMessage(2);
  for (let i = 0; i < values.length; i++) writeSqliteValue(writer, 1, values[i] ?? null);
  writer.endMessage(begin);
}

/** A statement's result, and why it has none if it failed in a batch that goes on. */
export interface DecodedResult extends StatementResult {
  readonly failure?: Failure;
}

export function decodeBatchResult(bytes: Uint8Array, integers: IntegerMode): DecodedResult[] {
  const reader = new MessageReader(bytes);
  const results: DecodedResult[] = [];
  for (let tag = reader.tag(); tag !== 0; tag = reader.tag()) {
    if (tag === 10) {
      const outer = reader.enter();
      results.push(readStatementResult(reader, integers));
      reader.leave(outer);
    } else reader.skip(tag);
  }
  return results;
}

function readStatementResult(reader: MessageReader, integers: IntegerMode): DecodedResult {
  const columns: string[] = [];
  const rows: Value[][] = [];
  let changes: number | bigint = 0;
  let failure: Failure | null = null;
  let lastInsertRowid: number | bigint = integers === "bigint" ? 0n : 0;
  for (let tag = reader.tag(); tag !== 0; tag = reader.tag()) {
    if (tag === 10) columns.push(reader.string());
    else if (tag === 18) rows.push(readRow(reader, integers));
    else if (tag === 24) changes = reader.int64();
    else if (tag === 32) lastInsertRowid = toInteger(reader.int64(), integers);
    else if (tag === 42) {
      const outer = reader.enter();
      failure = readFailure(reader);
      reader.leave(outer);
    } else reader.skip(tag);
  }
  const result = {
    columns,
    rows: toRows(columns, rows),
    changes: Number(changes),
    lastInsertRowid,
  };
  return failure === null ? result : { ...result, failure };
}

/** One and the same string for each name: as a row's property it need not be looked for among all strings again. */
const names = new TextCache();

export function decodeRowChunk(bytes: Uint8Array, integers: IntegerMode): RowChunk {
  const reader = new MessageReader(bytes);
  const columns: string[] = [];
  const rows: Value[][] = [];
  for (let tag = reader.tag(); tag !== 0; tag = reader.tag()) {
    if (tag === 10) columns.push(reader.knownString(names));
    else if (tag === 18) rows.push(readRow(reader, integers));
    else reader.skip(tag);
  }
  return { columns, rows };
}

function readRow(reader: MessageReader, integers: IntegerMode): Value[] {
  const outer = reader.enter();
  const values: Value[] = [];
  for (let tag = reader.tag(); tag !== 0; tag = reader.tag()) {
    if (tag === 10) values.push(readValue(reader, integers));
    else reader.skip(tag);
  }
  reader.leave(outer);
  return values;
}

/** Rows by column name; of columns with one name the last stays. */
export function toRows(columns: readonly string[], rows: readonly (readonly Value[])[]): Row[] {
  return rows.map((values) => toRow(columns, values));
}

export function toRow(columns: readonly string[], values: readonly Value[]): Row {
  const row: Row = {};
  for (let i = 0; i < columns.length; i++) {
    const column = columns[i] as string;
    const value = values[i] ?? null;
    if (column === "__proto__") defineCell(row, column, value);
    else row[column] = value;
  }
  return row;
}

/** A column called __proto__ must not replace the row's prototype. */
function defineCell(row: Row, column: string, value: Value): void {
  Object.defineProperty(row, column, {
    value,
    configurable: true,
    enumerable: true,
    writable: true,
  });
}
