/**
 * What a caller asks for, as balsa.v1.Statement and Batch. Written by clients, read by the machine's processes; what lies
 * between passes the bytes on.
 */

import { BalsaError } from "../sql/errors.ts";
import { DEFAULT_LIMITS, type Limits } from "../sql/limits.ts";
import type { OnError, Statement } from "../sql/statement.ts";
import type { Args, BindValue } from "../sql/value.ts";
import { MessageReader } from "./message-reader.ts";
import { MessageWriter } from "./message-writer.ts";
import { TextCache } from "./text-cache.ts";
import { readSqliteValue, type SqliteValue, writeBindValue } from "./value-codec.ts";

/** Parameters as SQLite binds them; by name without its prefix. */
export type BoundArgs =
  | { readonly kind: "positional"; readonly values: readonly SqliteValue[] }
  | { readonly kind: "named"; readonly values: { readonly [name: string]: SqliteValue } };

export interface BoundStatement {
  readonly sql: string;
  readonly args: BoundArgs;
}

export interface BoundBatch {
  readonly statements: readonly BoundStatement[];
  /** The one statement is a script of several, without parameters. */
  readonly script: boolean;
  /** A statement that fails leaves nothing, and does not stop the ones behind it. */
  readonly goOn: boolean;
}

const writer = new MessageWriter();
const texts = new TextCache();

/** @throws BalsaError INVALID_ARGUMENT naming the parameter, or LIMIT_EXCEEDED naming the limit. */
export function encodeStatement(statement: Statement, limits: Limits = DEFAULT_LIMITS): Buffer {
  writer.start();
  writeStatement(statement, limits);
  checkRequest(limits);
  return writer.finish();
}

/** @throws as encodeStatement. */
export function encodeBatch(
  statements: readonly Statement[],
  limits: Limits = DEFAULT_LIMITS,
  onError: OnError = "stop",
): Buffer {
  if (statements.length > limits.statements) throw tooMany(statements.length, limits.statements);
  writer.start();
  let index = 0;
  try {
    for (; index < statements.length; index++) {
      const begin = writer.beginMessage(1);
      writeStatement(statements[index] as Statement, limits);
      writer.endMessage(begin);
      checkRequest(limits);
    }
  } catch (error) {
    throw error instanceof BalsaError && index > 0 ? blamed(error, index) : error;
  }
  writer.bool(3, onError === "continue");
  return writer.finish();
}

/** A script: several statements in one text, without parameters. @throws as encodeStatement. */
export function encodeScript(sql: string, limits: Limits = DEFAULT_LIMITS): Buffer {
  writer.start();
  const begin = writer.beginMessage(1);
  writeStatement({ sql }, limits);
  writer.endMessage(begin);
  writer.bool(2, true);
  checkRequest(limits);
  return writer.finish();
}

export function decodeStatement(bytes: Uint8Array): BoundStatement {
  return readStatement(new MessageReader(bytes));
}

export function decodeBatch(bytes: Uint8Array): BoundBatch {
  const reader = new MessageReader(bytes);
  const statements: BoundStatement[] = [];
  let script = false;
  let goOn = false;
  for (let tag = reader.tag(); tag !== 0; tag = reader.tag()) {
    if (tag === 10) {
      const outer = reader.enter();
      statements.push(readStatement(reader));
      reader.leave(outer);
    } else if (tag === 16) script = reader.bool();
    else if (tag === 24) goOn = reader.bool();
    else reader.skip(tag);
  }
  return { statements, script, goOn };
}

function writeStatement(statement: Statement, limits: Limits): void {
  const { sql, args } = (statement ?? {}) as Statement;
  if (typeof sql !== "string") {
    throw new BalsaError("INVALID_ARGUMENT", `a statement is text, not ${typeof sql}`);
  }
  if (sql.length > limits.statementBytes || sql.length * 3 > limits.statementBytes) {
    checkText(sql, limits.statementBytes);
  }
  writer.string(1, sql);
  if (args !== undefined) writeArgs(args, limits.valueBytes);
}

function writeArgs(args: Args, valueBytesMax: number): void {
  if (isPositional(args)) {
    for (let i = 0; i < args.length; i++) {
      writeBindValue(writer, 2, args[i] as BindValue, i + 1, valueBytesMax);
    }
    return;
  }
  for (const name of Object.keys(args)) {
    const begin = writer.beginMessage(3);
    writer.string(1, name);
    writeBindValue(writer, 2, args[name] as BindValue, name, valueBytesMax);
    writer.endMessage(begin);
  }
}

/** Array.isArray does not narrow a readonly array away from an object. */
function isPositional(args: Args): args is readonly BindValue[] {
  return Array.isArray(args);
}

function checkText(sql: string, bytesMax: number): void {
  const bytes = Buffer.byteLength(sql);
  if (bytes <= bytesMax) return;
  const message =
    `the statement has ${bytes} bytes, more than a statement may have (${bytesMax}); ` +
    "pass values as parameters, and split a long script into several";
  const facts = { limit: "statementBytes", value: String(bytesMax) };
  throw new BalsaError("LIMIT_EXCEEDED", message, { facts });
}

function checkRequest(limits: Limits): void {
  if (writer.length <= limits.requestBytes) return;
  const message =
    `the request has more than ${limits.requestBytes} bytes; ` +
    "split it into several requests, or a large value over several rows";
  const facts = { limit: "requestBytes", value: String(limits.requestBytes) };
  throw new BalsaError("LIMIT_EXCEEDED", message, { facts });
}

function blamed({ code, message, facts }: BalsaError, statementIndex: number): BalsaError {
  return new BalsaError(code, message, { facts, statementIndex });
}

function tooMany(count: number, countMax: number): BalsaError {
  const message = `${count} statements, more than a request may have (${countMax}); split it`;
  return new BalsaError("LIMIT_EXCEEDED", message, {
    facts: { limit: "statements", value: String(countMax) },
  });
}

function readStatement(reader: MessageReader): BoundStatement {
  let sql = "";
  const positional: SqliteValue[] = [];
  let named: { [name: string]: SqliteValue } | null = null;
  for (let tag = reader.tag(); tag !== 0; tag = reader.tag()) {
    if (tag === 10) sql = reader.knownString(texts);
    else if (tag === 18) positional.push(readSqliteValue(reader));
    else if (tag === 26) {
      // No prototype: a parameter may be called "constructor".
      named ??= Object.create(null) as { [name: string]: SqliteValue };
      readNamed(reader, named);
    } else reader.skip(tag);
  }
  if (named === null) return { sql, args: { kind: "positional", values: positional } };
  if (positional.length > 0) {
    throw new BalsaError("INVALID_ARGUMENT", "parameters both by position and by name");
  }
  return { sql, args: { kind: "named", values: named } };
}

function readNamed(reader: MessageReader, named: { [name: string]: SqliteValue }): void {
  const outer = reader.enter();
  let name = "";
  let value: SqliteValue = null;
  for (let tag = reader.tag(); tag !== 0; tag = reader.tag()) {
    if (tag === 10) name = reader.string();
    else if (tag === 18) value = readSqliteValue(reader);
    else reader.skip(tag);
  }
  reader.leave(outer);
  named[name] = value;
}
