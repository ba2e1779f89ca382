/**
 * Values as balsa.v1.Value, and nothing else. Two views of the same bytes: the caller's (an integer is a number when it
 * is safe) and SQLite's (INTEGER is always a bigint, REAL always a number), so that no kind is ever guessed (D15).
 */

import { BalsaError } from "../sql/errors.ts";
import type { BindValue, IntegerMode, Value } from "../sql/value.ts";
import type { MessageReader } from "./message-reader.ts";
import type { MessageWriter } from "./message-writer.ts";

/** As better-sqlite3 takes and gives it with safe integers on: bigint is INTEGER, number is REAL. */
export type SqliteValue = null | bigint | number | string | Uint8Array;

const INT64_MIN = -(2n ** 63n);
const INT64_MAX = 2n ** 63n - 1n;

const INTEGER = 1;
const REAL = 2;
const TEXT = 3;
const BLOB = 4;
const INTEGER_TAG = 8;
const REAL_TAG = 17;
const TEXT_TAG = 26;
const BLOB_TAG = 34;

/**
 * Writes what a caller binds. An integral number is an INTEGER, any other a REAL (−0 and ±Infinity too); NaN is NULL,
 * as in SQLite. `name` says which parameter in the error.
 */
export function writeBindValue(
  writer: MessageWriter,
  field: number,
  value: BindValue,
  name: string | number,
  valueBytesMax: number,
): void {
  const begin = writer.beginMessage(field);
  const before = writer.length;
  switch (typeof value) {
    case "number":
      if (Number.isSafeInteger(value) && !Object.is(value, -0)) writer.int64(INTEGER, value);
      else if (!Number.isNaN(value)) writeNumber(writer, value);
      break;
    case "string":
      writer.string(TEXT, value);
      break;
    case "bigint":
      if (value < INT64_MIN || value > INT64_MAX) {
        throw invalid(name, "is a bigint beyond 64 bits; store it as text");
      }
      writer.int64(INTEGER, value);
      break;
    case "boolean":
      writer.int64(INTEGER, value ? 1 : 0);
      break;
    case "object":
      if (value !== null) writeObject(writer, value, name);
      break;
    case "undefined":
      throw invalid(name, "is undefined; for NULL give null");
    default:
      throw invalid(name, `is a ${typeof value}`);
  }
  if (writer.length - before > valueBytesMax)
    checkSize(writer.length - before, valueBytesMax, name);
  writer.endMessage(begin);
}

/** Integral but beyond 2^53: still an integer if it fits into 64 bits, as the rule says; otherwise REAL. */
function writeNumber(writer: MessageWriter, value: number): void {
  if (Number.isInteger(value) && Math.abs(value) < 2 ** 63 && value !== 0) {
    writer.int64(INTEGER, BigInt(value));
  } else {
    writer.double(REAL, value);
  }
}

function writeObject(writer: MessageWriter, value: object, name: string | number): void {
  if (value instanceof Uint8Array) {
    writer.bytes(BLOB, value);
  } else if (value instanceof Date) {
    if (Number.isNaN(value.getTime())) throw invalid(name, "is an invalid Date");
    writer.string(TEXT, value.toISOString());
  } else {
    const kind = value.constructor?.name ?? "object";
    throw invalid(name, `is of an unsupported type (${kind}); serialize it first`);
  }
}

function invalid(name: string | number, problem: string): BalsaError {
  const parameter = String(name);
  return new BalsaError("INVALID_ARGUMENT", `parameter ${parameter} ${problem}`, {
    facts: { parameter },
  });
}

/** Also of values that are checked again where they arrive: the sender may not be ours. */
export function checkSize(bytes: number, bytesMax: number, name: string | number): void {
  if (bytes - 16 <= bytesMax) return;
  const message =
    `parameter ${name} has ${bytes} bytes, more than a value may have (${bytesMax}); ` +
    "split it over several rows, or keep it elsewhere and store a reference";
  const facts = { limit: "valueBytes", value: String(bytesMax), parameter: String(name) };
  throw new BalsaError("LIMIT_EXCEEDED", message, { facts });
}

/** Writes what SQLite gave. */
export function writeSqliteValue(writer: MessageWriter, field: number, value: SqliteValue): void {
  const begin = writer.beginMessage(field);
  if (typeof value === "string") writer.string(TEXT, value);
  else if (typeof value === "bigint") writer.int64(INTEGER, value);
  else if (typeof value === "number") writer.double(REAL, value);
  else if (value !== null) writer.bytes(BLOB, value);
  writer.endMessage(begin);
}

/** Reads a nested Value for binding; a blob is a view. */
export function readSqliteValue(reader: MessageReader): SqliteValue {
  const outer = reader.enter();
  let value: SqliteValue = null;
  for (let tag = reader.tag(); tag !== 0; tag = reader.tag()) {
    if (tag === INTEGER_TAG) value = reader.bigint64();
    else if (tag === TEXT_TAG) value = reader.string();
    else if (tag === REAL_TAG) value = reader.double();
    else if (tag === BLOB_TAG) value = reader.bytes();
    else reader.skip(tag);
  }
  reader.leave(outer);
  return value;
}

/** Reads a nested Value for a caller; a blob is a copy of its own. */
export function readValue(reader: MessageReader, integers: IntegerMode): Value {
  const outer = reader.enter();
  let value: Value = null;
  for (let tag = reader.tag(); tag !== 0; tag = reader.tag()) {
    if (tag === INTEGER_TAG) value = toInteger(reader.int64(), integers);
    else if (tag === TEXT_TAG) value = reader.string();
    else if (tag === REAL_TAG) value = reader.double();
    else if (tag === BLOB_TAG) value = Uint8Array.from(reader.bytes());
    else reader.skip(tag);
  }
  reader.leave(outer);
  return value;
}

/** `number` refuses what it cannot hold exactly. */
export function toInteger(value: number | bigint, integers: IntegerMode): number | bigint {
  if (integers === "auto") return value;
  if (integers === "bigint") return BigInt(value);
  if (typeof value === "number") return value;
  const message = `the integer ${value} is too large for a number; use integers: "auto" or "bigint"`;
  throw new BalsaError("INVALID_ARGUMENT", message, { facts: { value: String(value) } });
}
