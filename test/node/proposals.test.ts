import { describe, expect, it } from "vitest";
import { Proposals } from "../../src/node/proposals.ts";
import { failure } from "../../src/node/write-request.ts";
import { request } from "./fakes.ts";

const bytes = Uint8Array.of(7);
const unique = failure("INTERNAL", "stands for an SQL error");

describe("answers that wait for Raft", () => {
  it("a write is answered when its entry is committed, not before", () => {
    const proposals = new Proposals();
    const told = request();
    proposals.write({ index: 3, term: 1 }, told.request, bytes);
    proposals.committed(2, () => 1);
    expect(told.answer).toBeNull();
    proposals.committed(3, () => 1);
    expect(told.answer).toEqual({ result: bytes, index: 3 });
  });

  it("an SQL error waits for what it may have seen", () => {
    const proposals = new Proposals();
    const [write, error] = [request(), request()];
    proposals.write({ index: 3, term: 1 }, write.request, bytes);
    proposals.read({ index: 3, term: 1 }, error.request, { kind: "failure", failure: unique });
    expect(error.answer).toBeNull();
    proposals.committed(3, () => 1);
    expect(error.answer).toEqual(unique);
  });

  it("D6: a deposed leader's write is applied if its index commits with its term", () => {
    const proposals = new Proposals();
    const told = request();
    proposals.write({ index: 3, term: 1 }, told.request, bytes);
    proposals.leadershipLost();
    expect(told.answer).toBeNull();
    proposals.committed(5, () => 1);
    expect(told.answer).toEqual({ result: bytes, index: 3 });
  });

  it("D6: and not applied if another term's entry commits there", () => {
    const proposals = new Proposals();
    const told = request();
    proposals.write({ index: 3, term: 1 }, told.request, bytes);
    proposals.leadershipLost();
    proposals.committed(2, () => 1);
    expect(told.answer).toBeNull();
    proposals.committed(3, () => 2);
    expect(told.answer).toMatchObject({ code: "LEADERSHIP_LOST", outcome: "not-applied" });
  });

  it("an observation of a deposed leader is void", () => {
    const proposals = new Proposals();
    const told = request();
    proposals.read({ index: 3, term: 1 }, told.request, { kind: "failure", failure: unique });
    proposals.leadershipLost();
    expect(told.answer).toMatchObject({ code: "LEADERSHIP_LOST", outcome: "not-applied" });
  });

  it("orphans of an old term do not hold up the tickets of a new one", () => {
    const proposals = new Proposals();
    const [old, fresh] = [request(), request()];
    proposals.write({ index: 9, term: 1 }, old.request, bytes);
    proposals.leadershipLost();
    proposals.write({ index: 5, term: 3 }, fresh.request, bytes);
    proposals.committed(5, () => 3);
    expect(fresh.answer).toEqual({ result: bytes, index: 5 });
    expect(old.answer).toBeNull();
  });

  it("past its deadline a proposed write is unknown, an observation is not applied", () => {
    const proposals = new Proposals();
    const [write, error, orphan] = [request(100), request(100), request(100)];
    proposals.write({ index: 2, term: 1 }, orphan.request, bytes);
    proposals.leadershipLost();
    proposals.write({ index: 3, term: 2 }, write.request, bytes);
    proposals.read({ index: 3, term: 2 }, error.request, { kind: "failure", failure: unique });
    proposals.expire(99);
    expect(write.answer).toBeNull();
    proposals.expire(100);
    expect(write.answer).toMatchObject({ code: "DEADLINE_EXCEEDED", outcome: "unknown" });
    expect(orphan.answer).toMatchObject({ code: "DEADLINE_EXCEEDED", outcome: "unknown" });
    expect(error.answer).toMatchObject({ code: "DEADLINE_EXCEEDED", outcome: "not-applied" });
    expect(proposals.pending).toBe(0);
  });
});
