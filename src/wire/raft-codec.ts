/**
 * Raft's messages as balsa.v1.RaftMessages, by hand: this is the path of every write. Payloads of decoded entries are
 * views into the received bytes, never copies. It judges shapes only, never who sent a message or whether it is true.
 */

import type { Entry, EntryKind } from "../raft/entry.ts";
import type { Message, MessageKind } from "../raft/message.ts";
import { BalsaError } from "../sql/errors.ts";
import { unreachable } from "../sql/invariant.ts";
import { MessageReader } from "./message-reader.ts";
import { bytesFieldSize, SizedWriter, uintFieldSize } from "./sized-writer.ts";

/** RaftMessage.kind; numbers are never reused. */
export const MESSAGE_KIND_NUMBERS: Record<MessageKind, number> = {
  AppendEntries: 1,
  AppendEntriesResult: 2,
  Heartbeat: 3,
  HeartbeatResult: 4,
  RequestVote: 5,
  RequestVoteResult: 6,
  ReadIndex: 7,
  ReadIndexResult: 8,
  TimeoutNow: 9,
  InstallSnapshot: 10,
};

/** LogEntry.kind. */
const ENTRY_KIND_NUMBERS: Record<EntryKind, number> = { command: 0, noop: 1, configuration: 2 };
const ENTRY_KINDS: readonly EntryKind[] = ["command", "noop", "configuration"];

/** What the sender says of itself with each batch. */
export interface SenderFacts {
  /** Its wall clock, ms since 1970. */
  readonly clockMs: number;
  /** Its disk is full, or nearly. */
  readonly lowSpace: boolean;
}

export interface RaftBatch extends SenderFacts {
  /** Which database; 0 is main. */
  readonly group: number;
  readonly messages: readonly Message[];
}

const NO_ENTRIES: readonly Entry[] = [];
const NO_PAYLOAD: Uint8Array = Buffer.alloc(0);

/** The fields of RaftMessage, flat: one shape for all kinds keeps the hot path monomorphic. */
class Fields {
  kind = 0;
  from = 0;
  to = 0;
  term = 0;
  index = 0;
  logTerm = 0;
  commit = 0;
  hintIndex = 0;
  hintTerm = 0;
  context = 0;
  rejected = false;
  preVote = false;
  transfer = false;
  entries: readonly Entry[] = NO_ENTRIES;
}

function toFields(message: Message): Fields {
  const fields = new Fields();
  fields.kind = MESSAGE_KIND_NUMBERS[message.kind];
  fields.from = message.from;
  fields.to = message.to;
  fields.term = message.term;
  switch (message.kind) {
    case "AppendEntries":
      fields.index = message.prevLogIndex;
      fields.logTerm = message.prevLogTerm;
      fields.commit = message.leaderCommit;
      fields.entries = message.entries;
      return fields;
    case "AppendEntriesResult":
      fields.index = message.index;
      fields.rejected = message.rejected;
      fields.hintIndex = message.hintIndex;
      fields.hintTerm = message.hintTerm;
      return fields;
    case "Heartbeat":
      fields.commit = message.leaderCommit;
      fields.context = message.readPosition;
      return fields;
    case "HeartbeatResult":
      fields.context = message.readPosition;
      return fields;
    case "RequestVote":
      fields.preVote = message.preVote;
      fields.index = message.lastLogIndex;
      fields.logTerm = message.lastLogTerm;
      fields.transfer = message.transfer;
      return fields;
    case "RequestVoteResult":
      fields.preVote = message.preVote;
      fields.rejected = message.rejected;
      fields.commit = message.commitIndex;
      fields.logTerm = message.commitTerm;
      return fields;
    case "ReadIndex":
      fields.context = message.context;
      return fields;
    case "ReadIndexResult":
      fields.context = message.context;
      fields.index = message.index;
      return fields;
    case "TimeoutNow":
      return fields;
    case "InstallSnapshot":
      fields.index = message.lastIncludedIndex;
      fields.logTerm = message.lastIncludedTerm;
      return fields;
    default:
      return unreachable(message);
  }
}

function fromFields(fields: Fields): Message {
  const { from, to, term, index, logTerm, context } = fields;
  const { preVote, rejected } = fields;
  switch (fields.kind) {
    case MESSAGE_KIND_NUMBERS.AppendEntries: {
      const { entries, commit: leaderCommit } = fields;
      const [prevLogIndex, prevLogTerm] = [index, logTerm];
      const kind = "AppendEntries";
      return { kind, from, to, term, prevLogIndex, prevLogTerm, entries, leaderCommit };
    }
    case MESSAGE_KIND_NUMBERS.AppendEntriesResult: {
      const { hintIndex, hintTerm } = fields;
      return { kind: "AppendEntriesResult", from, to, term, index, rejected, hintIndex, hintTerm };
    }
    case MESSAGE_KIND_NUMBERS.Heartbeat: {
      const leaderCommit = fields.commit;
      return { kind: "Heartbeat", from, to, term, leaderCommit, readPosition: context };
    }
    case MESSAGE_KIND_NUMBERS.HeartbeatResult:
      return { kind: "HeartbeatResult", from, to, term, readPosition: context };
    case MESSAGE_KIND_NUMBERS.RequestVote: {
      const { transfer } = fields;
      const [lastLogIndex, lastLogTerm] = [index, logTerm];
      return { kind: "RequestVote", from, to, term, preVote, lastLogIndex, lastLogTerm, transfer };
    }
    case MESSAGE_KIND_NUMBERS.RequestVoteResult: {
      const [commitIndex, commitTerm] = [fields.commit, logTerm];
      const kind = "RequestVoteResult";
      return { kind, from, to, term, preVote, rejected, commitIndex, commitTerm };
    }
    case MESSAGE_KIND_NUMBERS.ReadIndex:
      return { kind: "ReadIndex", from, to, term, context };
    case MESSAGE_KIND_NUMBERS.ReadIndexResult:
      return { kind: "ReadIndexResult", from, to, term, context, index };
    case MESSAGE_KIND_NUMBERS.TimeoutNow:
      return { kind: "TimeoutNow", from, to, term };
    case MESSAGE_KIND_NUMBERS.InstallSnapshot: {
      const [lastIncludedIndex, lastIncludedTerm] = [index, logTerm];
      return { kind: "InstallSnapshot", from, to, term, lastIncludedIndex, lastIncludedTerm };
    }
    default:
      throw new BalsaError("PROTOCOL", `unknown Raft message kind ${fields.kind}`);
  }
}

// --- encoding --------------------------------------------------------------------------------------------------

function entrySize(entry: Entry): number {
  const { length } = entry.payload;
  return (
    uintFieldSize(entry.index) +
    uintFieldSize(entry.term) +
    uintFieldSize(ENTRY_KIND_NUMBERS[entry.kind]) +
    (length === 0 ? 0 : bytesFieldSize(length))
  );
}

function writeEntry(writer: SizedWriter, entry: Entry): void {
  writer.uintField(1, entry.index);
  writer.uintField(2, entry.term);
  writer.uintField(3, ENTRY_KIND_NUMBERS[entry.kind]);
  if (entry.payload.length === 0) return;
  writer.bytesHeader(4, entry.payload.length);
  writer.raw(entry.payload);
}

function fieldsSize(fields: Fields): number {
  let size =
    uintFieldSize(fields.kind) +
    uintFieldSize(fields.from) +
    uintFieldSize(fields.to) +
    uintFieldSize(fields.term) +
    uintFieldSize(fields.index) +
    uintFieldSize(fields.logTerm) +
    uintFieldSize(fields.commit) +
    uintFieldSize(fields.hintIndex) +
    uintFieldSize(fields.hintTerm) +
    uintFieldSize(fields.context);
  if (fields.rejected) size += 2;
  if (fields.preVote) size += 2;
  if (fields.transfer) size += 2;
  for (const entry of fields.entries) size += bytesFieldSize(entrySize(entry));
  return size;
}

function writeFields(writer: SizedWriter, fields: Fields): void {
  writer.uintField(1, fields.kind);
  writer.uintField(2, fields.from);
  writer.uintField(3, fields.to);
  writer.uintField(4, fields.term);
  writer.uintField(5, fields.index);
  writer.uintField(6, fields.logTerm);
  writer.uintField(7, fields.commit);
  writer.uintField(8, fields.hintIndex);
  writer.uintField(9, fields.hintTerm);
  writer.uintField(10, fields.context);
  writer.boolField(11, fields.rejected);
  writer.boolField(12, fields.preVote);
  writer.boolField(13, fields.transfer);
  for (const entry of fields.entries) {
    writer.bytesHeader(14, entrySize(entry));
    writeEntry(writer, entry);
  }
}

/** A batch whose size is known, ready to be written behind whatever frames it. */
export interface MeasuredBatch {
  readonly size: number;
  /** How many messages it holds. */
  readonly count: number;
  write(writer: SizedWriter): void;
}

/**
 * Cuts messages into batches of at most `maxBytes`, each at least one message: a single message may be larger.
 */
export function measureRaftBatches(
  messages: readonly Message[],
  facts: SenderFacts,
  maxBytes: number,
): MeasuredBatch[] {
  const batches: MeasuredBatch[] = [];
  const base = uintFieldSize(facts.clockMs) + uintFieldSize(facts.lowSpace ? 1 : 0);
  let gathered: Fields[] = [];
  let sizes: number[] = [];
  let size = base;
  for (const message of messages) {
    const fields = toFields(message);
    const own = fieldsSize(fields);
    const framed = bytesFieldSize(own);
    if (gathered.length > 0 && size + framed > maxBytes) {
      batches.push(measured(gathered, sizes, facts, size));
      gathered = [];
      sizes = [];
      size = base;
    }
    gathered.push(fields);
    sizes.push(own);
    size += framed;
  }
  if (gathered.length > 0) batches.push(measured(gathered, sizes, facts, size));
  return batches;
}

function measured(
  gathered: readonly Fields[],
  sizes: readonly number[],
  facts: SenderFacts,
  size: number,
): MeasuredBatch {
  const write = (writer: SizedWriter): void => {
    gathered.forEach((fields, at) => {
      writer.bytesHeader(2, sizes[at] ?? 0);
      writeFields(writer, fields);
    });
    writer.uintField(3, facts.clockMs);
    writer.uintField(4, facts.lowSpace ? 1 : 0);
  };
  return { size, count: gathered.length, write };
}

// --- decoding --------------------------------------------------------------------------------------------------

/** Tags of length-delimited fields, where the switch over numbers does not apply. */
const ENTRY_PAYLOAD = (4 << 3) | 2;
const MESSAGE_ENTRIES = (14 << 3) | 2;
const BATCH_MESSAGES = (2 << 3) | 2;

function readEntry(reader: MessageReader): Entry {
  let index = 0;
  let term = 0;
  let kindNumber = 0;
  let payload: Uint8Array = NO_PAYLOAD;
  for (let tag = reader.tag(); tag !== 0; tag = reader.tag()) {
    if (tag === 1 << 3) index = reader.uint();
    else if (tag === 2 << 3) term = reader.uint();
    else if (tag === 3 << 3) kindNumber = reader.uint();
    else if (tag === ENTRY_PAYLOAD) payload = reader.bytes();
    else reader.skip(tag);
  }
  const kind = ENTRY_KINDS[kindNumber];
  if (kind === undefined) {
    throw new BalsaError("PROTOCOL", `unknown kind ${kindNumber} of log entry ${index}`);
  }
  return { index, term, kind, payload };
}

function readMessage(reader: MessageReader): Message {
  const fields = new Fields();
  let entries: Entry[] | null = null;
  for (let tag = reader.tag(); tag !== 0; tag = reader.tag()) {
    if (tag === 1 << 3) fields.kind = reader.uint();
    else if (tag === 2 << 3) fields.from = reader.uint();
    else if (tag === 3 << 3) fields.to = reader.uint();
    else if (tag === 4 << 3) fields.term = reader.uint();
    else if (tag === 5 << 3) fields.index = reader.uint();
    else if (tag === 6 << 3) fields.logTerm = reader.uint();
    else if (tag === 7 << 3) fields.commit = reader.uint();
    else if (tag === 8 << 3) fields.hintIndex = reader.uint();
    else if (tag === 9 << 3) fields.hintTerm = reader.uint();
    else if (tag === 10 << 3) fields.context = reader.uint();
    else if (tag === 11 << 3) fields.rejected = reader.bool();
    else if (tag === 12 << 3) fields.preVote = reader.bool();
    else if (tag === 13 << 3) fields.transfer = reader.bool();
    else if (tag === MESSAGE_ENTRIES) {
      entries ??= [];
      const outer = reader.enter();
      entries.push(readEntry(reader));
      reader.leave(outer);
    } else reader.skip(tag);
  }
  if (entries !== null) fields.entries = entries;
  return fromFields(fields);
}

/** Throws BalsaError PROTOCOL on anything that is not a RaftMessages of this version. */
export function readRaftBatch(reader: MessageReader): RaftBatch {
  let group = 0;
  let clockMs = 0;
  let lowSpace = false;
  const messages: Message[] = [];
  for (let tag = reader.tag(); tag !== 0; tag = reader.tag()) {
    if (tag === BATCH_MESSAGES) {
      const outer = reader.enter();
      messages.push(readMessage(reader));
      reader.leave(outer);
    } else if (tag === 1 << 3) group = reader.uint();
    else if (tag === 3 << 3) clockMs = reader.uint();
    else if (tag === 4 << 3) lowSpace = reader.bool();
    else reader.skip(tag);
  }
  return { group, messages, clockMs, lowSpace };
}

/** One RaftMessages by itself. */
export function encodeRaftBatch(
  messages: readonly Message[],
  clockMs: number,
  lowSpace = false,
): Buffer {
  const facts = { clockMs, lowSpace };
  const [batch] = measureRaftBatches(messages, facts, Number.POSITIVE_INFINITY);
  const buffer = Buffer.allocUnsafe(batch?.size ?? 0);
  batch?.write(new SizedWriter(buffer));
  return buffer;
}

export function decodeRaftBatch(bytes: Uint8Array): RaftBatch {
  return readRaftBatch(new MessageReader(bytes));
}
