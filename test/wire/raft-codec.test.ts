/** Raft's messages on the wire: every kind, against the schema, and against whatever else may arrive. */

import { join } from "node:path";
import fc from "fast-check";
import protobuf from "protobufjs";
import { describe, expect, test } from "vitest";
import type { Entry } from "../../src/raft/entry.ts";
import type { Message, MessageKind } from "../../src/raft/message.ts";
import { BalsaError } from "../../src/sql/errors.ts";
import { MessageReader } from "../../src/wire/message-reader.ts";
import {
  decodeRaftBatch,
  encodeRaftBatch,
  MESSAGE_KIND_NUMBERS,
  measureRaftBatches,
} from "../../src/wire/raft-codec.ts";
import { SizedWriter, varintSize } from "../../src/wire/sized-writer.ts";

const uint = fc.oneof(
  fc.nat(300),
  fc.maxSafeNat(),
  fc.constantFrom(0, 127, 128, 2 ** 28, 2 ** 53 - 1),
);
const bool = fc.boolean();
const entry: fc.Arbitrary<Entry> = fc.record({
  index: uint,
  term: uint,
  kind: fc.constantFrom("command", "noop", "configuration"),
  payload: fc.uint8Array({ maxLength: 300 }).map((bytes) => Buffer.from(bytes)),
});
const envelope = { from: uint, to: uint, term: uint };

/** Total by type: a new kind of message does not compile until it stands here. */
const MESSAGES: { readonly [K in MessageKind]: fc.Arbitrary<Extract<Message, { kind: K }>> } = {
  AppendEntries: fc.record({
    ...envelope,
    kind: fc.constant("AppendEntries"),
    prevLogIndex: uint,
    prevLogTerm: uint,
    entries: fc.array(entry, { maxLength: 5 }),
    leaderCommit: uint,
  }),
  AppendEntriesResult: fc.record({
    ...envelope,
    kind: fc.constant("AppendEntriesResult"),
    index: uint,
    rejected: bool,
    hintIndex: uint,
    hintTerm: uint,
  }),
  Heartbeat: fc.record({
    ...envelope,
    kind: fc.constant("Heartbeat"),
    leaderCommit: uint,
    readPosition: uint,
  }),
  HeartbeatResult: fc.record({
    ...envelope,
    kind: fc.constant("HeartbeatResult"),
    readPosition: uint,
  }),
  RequestVote: fc.record({
    ...envelope,
    kind: fc.constant("RequestVote"),
    preVote: bool,
    lastLogIndex: uint,
    lastLogTerm: uint,
    transfer: bool,
  }),
  RequestVoteResult: fc.record({
    ...envelope,
    kind: fc.constant("RequestVoteResult"),
    preVote: bool,
    rejected: bool,
    commitIndex: uint,
    commitTerm: uint,
  }),
  ReadIndex: fc.record({ ...envelope, kind: fc.constant("ReadIndex"), context: uint }),
  ReadIndexResult: fc.record({
    ...envelope,
    kind: fc.constant("ReadIndexResult"),
    context: uint,
    index: uint,
  }),
  TimeoutNow: fc.record({ ...envelope, kind: fc.constant("TimeoutNow") }),
  InstallSnapshot: fc.record({
    ...envelope,
    kind: fc.constant("InstallSnapshot"),
    lastIncludedIndex: uint,
    lastIncludedTerm: uint,
  }),
};
const anyMessage: fc.Arbitrary<Message> = fc.oneof(...Object.values(MESSAGES));

const root = new protobuf.Root();
root.resolvePath = (_origin, target) => join(import.meta.dirname, "../../proto", target);
root.loadSync("balsa/v1/raft.proto");
const schema = root.lookupType("balsa.v1.RaftMessages");

describe("Raft messages on the wire", () => {
  for (const kind of Object.keys(MESSAGES) as MessageKind[]) {
    test(`${kind} comes back as it was sent`, () => {
      fc.assert(
        fc.property(MESSAGES[kind], uint, fc.boolean(), (message, clockMs, lowSpace) => {
          const decoded = decodeRaftBatch(encodeRaftBatch([message], clockMs, lowSpace));
          expect(decoded).toEqual({ group: 0, messages: [message], clockMs, lowSpace });
        }),
        { numRuns: 50 },
      );
    });
  }

  test("every kind has a number of its own", () => {
    const numbers = Object.values(MESSAGE_KIND_NUMBERS);
    expect(new Set(numbers).size).toBe(numbers.length);
  });

  test("the bytes are those of the published schema, both ways", () => {
    fc.assert(
      fc.property(fc.array(anyMessage, { minLength: 1, maxLength: 4 }), (messages) => {
        const bytes = encodeRaftBatch(messages, 1_700_000_000_000);
        const parsed = schema.decode(bytes);
        expect(schema.verify(parsed)).toBeNull();
        const again = schema.encode(parsed).finish();
        expect(decodeRaftBatch(again).messages).toEqual(messages);
        expect(schema.toObject(parsed, { longs: Number })["clockMs"]).toBe(1_700_000_000_000);
      }),
      { numRuns: 100 },
    );
  });

  test("payloads are views into what was received", () => {
    const payload = Buffer.alloc(1000, 7);
    const message: Message = {
      kind: "AppendEntries",
      from: 1,
      to: 2,
      term: 3,
      prevLogIndex: 0,
      prevLogTerm: 0,
      entries: [{ index: 1, term: 3, kind: "command", payload }],
      leaderCommit: 0,
    };
    const bytes = encodeRaftBatch([message], 0);
    const [decoded] = decodeRaftBatch(bytes).messages;
    if (decoded?.kind !== "AppendEntries") throw new Error("expected AppendEntries");
    expect(decoded.entries[0]?.payload.buffer).toBe(bytes.buffer);
  });

  test("a long list is cut into batches below the bound, in order", () => {
    const messages = Array.from({ length: 50 }, (_, context): Message => {
      return { kind: "ReadIndex", from: 1, to: 2, term: 0, context: context + 1 };
    });
    const batches = measureRaftBatches(messages, { clockMs: 5, lowSpace: true }, 100);
    expect(batches.length).toBeGreaterThan(4);
    const decoded = batches.flatMap((batch) => {
      expect(batch.size).toBeLessThanOrEqual(100);
      const buffer = Buffer.alloc(batch.size);
      batch.write(new SizedWriter(buffer));
      return decodeRaftBatch(buffer).messages;
    });
    expect(decoded).toEqual(messages);
  });

  test("whatever arrives is either decoded or refused with PROTOCOL", () => {
    const mutated = fc.tuple(fc.array(anyMessage, { maxLength: 3 }), fc.nat(), fc.nat(255), bool);
    fc.assert(
      fc.property(mutated, ([messages, at, byte, cut]) => {
        const bytes = encodeRaftBatch(messages, 1);
        const position = bytes.length === 0 ? 0 : at % bytes.length;
        if (bytes.length > 0) bytes[position] = byte;
        try {
          decodeRaftBatch(cut ? bytes.subarray(0, position) : bytes);
        } catch (error) {
          expect(error).toBeInstanceOf(BalsaError);
          expect((error as BalsaError).code).toBe("PROTOCOL");
        }
      }),
      { numRuns: 500 },
    );
  });

  test("numbers take the bytes that protobuf gives them", () => {
    fc.assert(
      fc.property(fc.maxSafeNat(), (value) => {
        const buffer = Buffer.alloc(varintSize(value));
        const writer = new SizedWriter(buffer);
        writer.varint(value);
        expect(writer.position).toBe(buffer.length);
        expect(buffer).toEqual(Buffer.from(protobuf.Writer.create().uint64(value).finish()));
        expect(new MessageReader(buffer).uint()).toBe(value);
      }),
    );
  });
});
