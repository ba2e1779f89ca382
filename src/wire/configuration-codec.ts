/**
 * A configuration as JSON: in the database file, in a snapshot's manifest, and between a node and its writer. Written
 * seldom, read by people too. Only its shape is judged here.
 */

import type { Configuration, MemberRecord } from "../raft/entry.ts";
import { malformed } from "./message-reader.ts";

type Fields = { readonly [name: string]: unknown };

export function encodeConfiguration(configuration: Configuration): string {
  return JSON.stringify(configuration);
}

/** Fields that an older version did not have get the value that they had then. @throws BalsaError PROTOCOL */
export function decodeConfiguration(text: string): Configuration {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw malformed("a configuration that is no JSON");
  }
  return checkConfiguration(value);
}

/** Of a value that JSON gave. @throws BalsaError PROTOCOL */
export function checkConfiguration(value: unknown): Configuration {
  if (typeof value !== "object" || value === null) throw malformed("configuration");
  const fields = value as Fields;
  return {
    voters: ids(fields, "voters"),
    outgoing: ids(fields, "outgoing"),
    learners: ids(fields, "learners"),
    learnersNext: ids(fields, "learnersNext"),
    autoLeave: fields["autoLeave"] === true,
    records: list(fields, "records").map(checkRecord),
    index: whole(fields, "index"),
  };
}

function checkRecord(value: unknown): MemberRecord {
  if (typeof value !== "object" || value === null) throw malformed("records");
  const fields = value as Fields;
  return {
    id: whole(fields, "id"),
    address: text(fields, "address"),
    incarnation: text(fields, "incarnation"),
    awaitsVote: fields["awaitsVote"] === true,
  };
}

function ids(fields: Fields, name: string): readonly number[] {
  const found = list(fields, name);
  if (!found.every(isWhole)) throw malformed(name);
  return found;
}

function list(fields: Fields, name: string): readonly unknown[] {
  const found = fields[name] ?? [];
  if (!Array.isArray(found)) throw malformed(name);
  return found;
}

function whole(fields: Fields, name: string): number {
  const found = fields[name] ?? 0;
  if (!isWhole(found)) throw malformed(name);
  return found;
}

function text(fields: Fields, name: string): string {
  const found = fields[name] ?? "";
  if (typeof found !== "string" || found.length > 1_000) throw malformed(name);
  return found;
}

function isWhole(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}
