/** Frames between nodes: against the schema, byte by byte where it is fixed, and against damage. */

import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { BalsaError } from "../../src/sql/errors.ts";
import {
  decodePeerFrame,
  encodeForm,
  encodeFormResult,
  encodeGoodbye,
  encodeHello,
  encodePing,
  encodeRaftFrame,
  FRAME_HEADER_BYTES,
  type Hello,
  PEER_MAGIC,
  type PeerFrame,
  type PeerPhase,
} from "../../src/wire/peer-codec.ts";
import { messageType } from "../../src/wire/proto.ts";
import { measureRaftBatches } from "../../src/wire/raft-codec.ts";

const schema = messageType("PeerFrame");
const members = fc.array(fc.maxSafeNat(), { maxLength: 5 });
const phase = fc.constantFrom<PeerPhase>("blank", "forming", "formed");
const hello: fc.Arbitrary<Hello> = fc.record({
  version: fc.nat(),
  id: fc.maxSafeNat(),
  clusterId: fc.string(),
  phase,
  members,
  incarnation: fc.string(),
  seed: fc.string(),
  address: fc.string({ unit: "grapheme" }),
  to: fc.maxSafeNat(),
  machine: fc.string(),
  engine: fc.string(),
  votesFrom: fc.maxSafeNat(),
  extensions: fc.array(fc.string({ minLength: 1 }), { maxLength: 3 }),
  machineVersion: fc.string(),
});

function body(frame: Buffer): Buffer {
  expect(frame.readUInt32BE(0)).toBe(frame.length - FRAME_HEADER_BYTES);
  return frame.subarray(FRAME_HEADER_BYTES);
}

/** Through our decoder, and through the schema and back. */
function bothWays(frame: Buffer): readonly [PeerFrame, PeerFrame] {
  const bytes = body(frame);
  const again = schema.encode(schema.decode(bytes)).finish();
  return [decodePeerFrame(bytes), decodePeerFrame(again)];
}

describe("frames between nodes", () => {
  test("a hello comes back as it was sent", () => {
    fc.assert(
      fc.property(hello, (sent) => {
        for (const got of bothWays(encodeHello(sent)))
          expect(got).toEqual({ kind: "hello", hello: sent });
      }),
    );
  });

  test("so do the frames of formation", () => {
    fc.assert(
      fc.property(fc.string(), members, phase, (clusterId, ids, at) => {
        const admission = ids.length > 1 ? { incarnation: "i", votesFrom: ids.length } : null;
        const form = { clusterId, phase: "forming", members: ids, admission } as const;
        for (const got of bothWays(encodeForm(form))) expect(got).toEqual({ kind: "form", form });
        const result = { clusterId, phase: at, removedAt: ids.length, votesFrom: 3 };
        const back = bothWays(encodeFormResult(result));
        for (const got of back) expect(got).toEqual({ kind: "formResult", result });
      }),
    );
  });

  test("and goodbye, pings and Raft's", () => {
    expect(bothWays(encodeGoodbye())).toEqual([{ kind: "goodbye" }, { kind: "goodbye" }]);
    expect(bothWays(encodePing("question"))[0]).toEqual({ kind: "ping", answer: false });
    expect(bothWays(encodePing("answer"))[1]).toEqual({ kind: "ping", answer: true });
    const message = { kind: "TimeoutNow", from: 1, to: 2, term: 3 } as const;
    const [batch] = measureRaftBatches([message], { clockMs: 9, lowSpace: true }, 1000);
    if (batch === undefined) throw new Error("a batch expected");
    const raft = {
      kind: "raft",
      batch: { group: 0, messages: [message], clockMs: 9, lowSpace: true },
    };
    expect(bothWays(encodeRaftFrame(batch))).toEqual([raft, raft]);
  });

  test("the first bytes of a connection and of a frame never change", () => {
    expect(PEER_MAGIC.toString("hex")).toBe("0062616c73610d0a");
    expect(encodePing("answer").toString("hex")).toBe("0000000432020801");
    expect(encodeGoodbye().toString("hex")).toBe("000000021a00");
  });

  test("a frame of a later version is passed over, not refused", () => {
    // Field 15, length 1.
    expect(decodePeerFrame(Buffer.from([0x7a, 1, 0]))).toEqual({ kind: "unknown" });
    expect(decodePeerFrame(Buffer.alloc(0))).toEqual({ kind: "unknown" });
  });

  test("damage is refused with PROTOCOL, or gives another frame; nothing else", () => {
    fc.assert(
      fc.property(hello, fc.nat(), fc.nat(255), (sent, at, byte) => {
        const bytes = body(encodeHello(sent));
        if (bytes.length > 0) bytes[at % bytes.length] = byte;
        try {
          decodePeerFrame(bytes);
        } catch (error) {
          expect(error).toBeInstanceOf(BalsaError);
          expect((error as BalsaError).code).toBe("PROTOCOL");
        }
      }),
      { numRuns: 500 },
    );
  });
});
