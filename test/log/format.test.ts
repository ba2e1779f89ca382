/** The bytes on the disk, pinned: a change here is a new format version. */

import { crc32 } from "node:zlib";
import { describe, expect, test } from "vitest";
import { checksum } from "../../src/log/crc.ts";
import { LogOpenError } from "../../src/log/errors.ts";
import {
  batchHeaderFault,
  decodeBatchHeader,
  decodeSegmentHeader,
  encodeBase,
  encodeBatchHeader,
  encodeEntry,
  encodeHardState,
  encodeRestart,
  encodeSegmentHeader,
  readRecord,
  segmentHeaderFault,
} from "../../src/log/format.ts";
import { decodeIdentity, encodeIdentity } from "../../src/log/identity-store.ts";
import { maskOf } from "../../src/log/torn.ts";

const BIG = 0x0102_0304_0506_07;

const segmentHeader = {
  number: 9,
  segmentId: BIG,
  nodeId: 3,
  incarnation: "00112233445566ff",
  nextIndex: 77,
  bytes: 4096,
  previous: 0xdeadbeef,
};

const batchHeader = {
  segmentId: BIG,
  sequence: 12,
  durableSequence: 11,
  lastIndex: 80,
  length: 192,
  records: 2,
  previous: 0xcafebabe,
  bodyCrc: 0x01020304,
};

function lines(bytes: Buffer): string[] {
  return bytes.toString("hex").match(/.{1,32}/g) ?? [];
}

describe("the format of a segment", () => {
  test("its header", () => {
    const bytes = Buffer.alloc(64);
    const crc = encodeSegmentHeader(bytes, 0, segmentHeader);
    expect(lines(bytes)).toEqual([
      "42414c53414c4f470100000009000000",
      "07060504030201000300000000000000",
      "00112233445566ff4d00000000000000",
      `00100000efbeadde00000000${crcHex(bytes.subarray(0, 60))}`,
    ]);
    expect(crc).toBe(crc32(bytes.subarray(0, 60)));
    expect(segmentHeaderFault(bytes, 0)).toBe(null);
    expect(decodeSegmentHeader(bytes, 0)).toEqual(segmentHeader);
  });

  test("a batch header", () => {
    const bytes = Buffer.alloc(64);
    encodeBatchHeader(bytes, 0, batchHeader);
    expect(lines(bytes)).toEqual([
      "42544348010000000706050403020100",
      "0c000000000000000b00000000000000",
      "5000000000000000c000000002000000",
      `bebafeca0403020100000000${crcHex(bytes.subarray(0, 60))}`,
    ]);
    expect(batchHeaderFault(bytes, 0)).toBe(null);
    expect(decodeBatchHeader(bytes, 0)).toEqual(batchHeader);
  });

  test("an entry, a hard state, a base and a restart", () => {
    const bytes = Buffer.alloc(40 + 40 + 32 + 32);
    bytes.write("hello", 32);
    let at = encodeEntry(bytes, 0, { kind: "configuration", index: 80, term: 5 }, 5);
    at = encodeHardState(bytes, at, { currentTerm: 6, votedFor: 2, commitIndex: 79 });
    at = encodeBase(bytes, at, { index: 70, term: 4 });
    at = encodeRestart(bytes, at, { index: 90, term: 8 });
    expect(at).toBe(bytes.length);
    expect(bytes.toString("hex").match(/.{1,16}/g)).toEqual([
      "05000000010300b5",
      "5000000000000000",
      "0500000000000000",
      `86a61036${crcHex(bytes.subarray(0, 28))}`,
      "68656c6c6fa5a5a5",
      "08000000020000b5",
      "4f00000000000000",
      "0600000000000000",
      crcHex(bytes.subarray(72, 80)) + crcHex(bytes.subarray(40, 68)),
      "0200000000000000",
      "00000000030000b5",
      "4600000000000000",
      "0400000000000000",
      `00000000${crcHex(bytes.subarray(80, 108))}`,
      "00000000040000b5",
      "5a00000000000000",
      "0800000000000000",
      `00000000${crcHex(bytes.subarray(112, 140))}`,
    ]);
    expect(readRecord(bytes, 0, 40)).toMatchObject({
      type: 1,
      kind: "configuration",
      mask: 0,
      end: 40,
    });
    expect(readRecord(bytes, 0, 39)).toBe(null);
  });

  test("a mask", () => {
    expect(Buffer.from(maskOf(BIG, 1).subarray(0, 16)).toString("hex")).toBe(
      "dbcee29e305ee7a75dc175a87fcfb0ae",
    );
    expect(maskOf(BIG, 2)).not.toEqual(maskOf(BIG, 1));
    expect(maskOf(BIG, 1)).toHaveLength(512);
  });

  test("of another version is told from damage", () => {
    const bytes = Buffer.alloc(64);
    encodeSegmentHeader(bytes, 0, segmentHeader);
    bytes[8] = 2;
    expect(segmentHeaderFault(bytes, 0)).toBe("damaged");
    bytes.writeUInt32LE(crc32(bytes.subarray(0, 60)), 60);
    expect(segmentHeaderFault(bytes, 0)).toBe("version");
    encodeBatchHeader(bytes, 0, batchHeader);
    bytes[4] = 2;
    expect(batchHeaderFault(bytes, 0)).toBe("damaged");
    bytes.writeUInt32LE(crc32(bytes.subarray(0, 60)), 60);
    expect(batchHeaderFault(bytes, 0)).toBe("version");
  });
});

describe("the format of an identity", () => {
  const identity = {
    nodeId: 3,
    incarnation: "000102030405060708090a0b0c0d0e0f",
    clusterId: "f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff",
    phase: "formed",
    members: [1, 2, 3],
    votesFrom: 258,
    seed: "5eed".repeat(16),
  } as const;

  test("its bytes", () => {
    const bytes = encodeIdentity(identity, 8);
    expect(lines(bytes).slice(0, 6)).toEqual([
      "42414c53414d45540100000003000000",
      "08000000000000000300000000000000",
      "000102030405060708090a0b0c0d0e0f",
      "f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff",
      "02000000000000000100000000000000",
      "02000000000000000300000000000000",
    ]);
    expect(bytes).toHaveLength(512);
    expect(bytes.subarray(468, 500).toString("hex")).toBe("5eed".repeat(16));
    expect(bytes.subarray(500, 508).toString("hex")).toBe("0201000000000000");
    expect(bytes.subarray(508).toString("hex")).toBe(crcHex(bytes.subarray(0, 508)));
    expect(decodeIdentity(bytes, "meta.a")).toEqual({ identity, sequence: 8 });
  });

  test("of another version is told from damage", () => {
    const bytes = encodeIdentity(identity, 8);
    bytes[8] = 2;
    expect(decodeIdentity(bytes, "meta.a")).toBe(null);
    bytes.writeUInt32LE(crc32(bytes.subarray(0, 508)), 508);
    expect(() => decodeIdentity(bytes, "meta.a")).toThrow(LogOpenError);
  });
});

test("the checksum is CRC-32 at any length", () => {
  const bytes = Buffer.from(Array.from({ length: 300 }, (_, at) => (at * 31) & 0xff));
  for (let length = 0; length < 250; length += 1) {
    expect(checksum(bytes, 7, 7 + length)).toBe(crc32(bytes.subarray(7, 7 + length)));
  }
});

function crcHex(bytes: Buffer): string {
  const crc = Buffer.alloc(4);
  crc.writeUInt32LE(crc32(bytes));
  return crc.toString("hex");
}
