/** What a node takes on at a time, and what it says beyond that. */

import { expect, test } from "vitest";
import { Admission } from "../../src/node/admission.ts";
import { DEFAULT_LIMITS } from "../../src/sql/limits.ts";

const limits = {
  ...DEFAULT_LIMITS,
  pendingWrites: 2,
  pendingReads: 1,
  pendingBytes: 100,
  requestBytes: 60,
};

test("one write more than the limit is refused, and none when one has left", () => {
  const admission = new Admission(limits);
  expect(admission.enterWrite(1)).toBeNull();
  expect(admission.enterWrite(1)).toBeNull();
  expect(admission.enterWrite(1)).toMatchObject({
    code: "OVERLOADED",
    outcome: "not-applied",
    facts: { limit: "pendingWrites", value: "2" },
  });
  admission.leaveWrite(1);
  admission.leaveWrite(1);
  expect(admission.enterWrite(1)).toBeNull();
});

test("reads have a limit of their own", () => {
  const admission = new Admission(limits);
  admission.enterWrite(1);
  expect(admission.enterRead(1)).toBeNull();
  expect(admission.enterRead(1)).toMatchObject({ facts: { limit: "pendingReads" } });
});

test("bytes of reads and writes count together, and one alone has a limit", () => {
  const admission = new Admission(limits);
  expect(admission.enterWrite(61)).toMatchObject({
    code: "LIMIT_EXCEEDED",
    facts: { limit: "requestBytes", size: "61" },
  });
  admission.leaveWrite(61);
  expect(admission.enterWrite(60)).toBeNull();
  expect(admission.enterRead(41)).toMatchObject({ facts: { limit: "pendingBytes" } });
});

test("what would be refused is told without being counted, always by the same object", () => {
  const admission = new Admission(limits);
  expect(admission.full("write")).toBeNull();
  admission.enterWrite(1);
  expect(admission.full("write")).toBeNull();
  admission.enterWrite(1);
  const full = admission.full("write");
  expect(full).toMatchObject({ code: "OVERLOADED", facts: { limit: "pendingWrites", value: "2" } });
  expect(admission.full("write")).toBe(full);
  expect(admission.enterWrite(1)).toBe(full);
  admission.leaveWrite(1);
  expect(admission.full("read")).toBeNull();
  admission.leaveWrite(1);
  expect(admission.full("write")).toBeNull();
  admission.enterRead(60);
  expect(admission.full("read")).toMatchObject({ facts: { limit: "pendingReads" } });
  admission.enterWrite(40);
  expect(admission.full("write")).toMatchObject({ facts: { limit: "pendingBytes" } });
});
