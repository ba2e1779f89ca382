/** Failures as balsa.v1.Failure. A code that is not known here is kept in the facts and becomes INTERNAL. */

import { type Failure, isBalsaCode, type Outcome } from "../sql/errors.ts";
import { MessageReader } from "./message-reader.ts";
import { MessageWriter } from "./message-writer.ts";

/** balsa.v1.Outcome. */
const OUTCOMES: readonly Outcome[] = ["not-applied", "applied", "unknown"];
const OUTCOME_NUMBERS: Record<Outcome, number> = { "not-applied": 0, applied: 1, unknown: 2 };

const writer = new MessageWriter();
/** Of failures that are told again and again. */
const kept = new WeakMap<Failure, Uint8Array>();

/** From now on it is encoded no more: for one object that is the answer to many. */
export function keepEncoded(failure: Failure): void {
  if (!kept.has(failure)) kept.set(failure, encodeFailure(failure));
}

export function encodeFailure(failure: Failure): Buffer {
  writer.start();
  writeFailure(writer, failure);
  return writer.finish();
}

export function decodeFailure(bytes: Uint8Array): Failure {
  return readFailure(new MessageReader(bytes));
}

/** Writes the fields; the caller opens the message around them. */
export function writeFailure(target: MessageWriter, failure: Failure): void {
  const encoded = kept.get(failure);
  if (encoded !== undefined) return target.encoded(encoded);
  target.string(1, failure.code);
  target.string(2, failure.message);
  target.uint(3, OUTCOME_NUMBERS[failure.outcome]);
  target.uint(4, failure.statementIndex);
  for (const [name, fact] of Object.entries(failure.facts)) {
    const begin = target.beginMessage(5);
    target.string(1, name);
    target.string(2, fact);
    target.endMessage(begin);
  }
}

export function readFailure(reader: MessageReader): Failure {
  let code = "";
  let message = "";
  let outcome: Outcome = "not-applied";
  let statementIndex = 0;
  const facts: { [name: string]: string } = {};
  for (let tag = reader.tag(); tag !== 0; tag = reader.tag()) {
    if (tag === 10) code = reader.string();
    else if (tag === 18) message = reader.string();
    else if (tag === 24) outcome = OUTCOMES[reader.uint()] ?? "unknown";
    else if (tag === 32) statementIndex = reader.uint32();
    else if (tag === 42) readFact(reader, facts);
    else reader.skip(tag);
  }
  if (!isKnownCode(code)) {
    facts["code"] = code;
    code = "INTERNAL";
  }
  return { code: code as Failure["code"], message, outcome, statementIndex, facts };
}

function isKnownCode(code: string): boolean {
  return isBalsaCode(code) || code.startsWith("SQLITE_");
}

function readFact(reader: MessageReader, facts: { [name: string]: string }): void {
  const outer = reader.enter();
  let name = "";
  let fact = "";
  for (let tag = reader.tag(); tag !== 0; tag = reader.tag()) {
    if (tag === 10) name = reader.string();
    else if (tag === 18) fact = reader.string();
    else reader.skip(tag);
  }
  reader.leave(outer);
  if (name !== "__proto__") facts[name] = fact;
}
