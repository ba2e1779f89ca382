import { beforeEach, describe, expect, it } from "vitest";
import { Failover } from "../../src/node/failover.ts";
import type { RaftStatus } from "../../src/raft/effect.ts";
import { votersOnly } from "../../src/raft/entry.ts";
import { Clock } from "./fakes.ts";

describe("a leader's death (D8)", () => {
  let clock: Clock;
  let status: RaftStatus;
  let campaigns: number[];
  let failover: Failover;
  let mayLead: boolean;

  beforeEach(() => {
    clock = new Clock();
    campaigns = [];
    mayLead = true;
    status = {
      id: 2,
      role: "follower",
      currentTerm: 4,
      votedFor: 1,
      leader: 1,
      commitIndex: 5,
      lastIndex: 5,
      lastTerm: 4,
      isStalled: false,
      configuration: votersOnly([1, 2, 3]),
    };
    failover = watch(2);
  });

  function watch(id: number): Failover {
    return new Failover({
      id,
      environment: clock.environment,
      status: () => status,
      forgetLeader: () => {
        status = { ...status, leader: 0 };
      },
      campaign: () => campaigns.push(clock.scheduler.nowMs),
      mayLead: () => mayLead,
    });
  }

  it("a broken connection to the leader starts a campaign far below the election timeout", () => {
    failover.disconnected(1);
    expect(status.leader).toBe(0);
    clock.advance(100);
    expect(campaigns).toHaveLength(1);
    expect(campaigns[0]).toBeLessThan(50);
  });

  it("two followers do not campaign at the same moment", () => {
    const other = watch(3);
    failover.disconnected(1);
    status = { ...status, leader: 1 };
    other.disconnected(1);
    clock.advance(200);
    expect(campaigns).toHaveLength(2);
    expect((campaigns[1] ?? 0) - (campaigns[0] ?? 0)).toBeGreaterThanOrEqual(20);
  });

  it("another follower's death is none of its business", () => {
    failover.disconnected(3);
    clock.advance(1_000);
    expect(status.leader).toBe(1);
    expect(campaigns).toEqual([]);
  });

  it("a leader that shows itself again ends it", () => {
    failover.disconnected(1);
    status = { ...status, leader: 1 };
    failover.changed(status);
    clock.advance(1_000);
    expect(campaigns).toEqual([]);
  });

  it("a refused pre-vote is repeated while the dead leader's address refuses connections", () => {
    failover.disconnected(1);
    clock.advance(100);
    failover.refused(1);
    clock.advance(100);
    failover.refused(3);
    clock.advance(100);
    expect(campaigns).toHaveLength(2);
  });

  it("so is a pre-vote that was never answered, by a voter that had not noticed yet", () => {
    failover.disconnected(1);
    clock.advance(100);
    status = { ...status, role: "preCandidate" };
    failover.refused(1);
    clock.advance(100);
    expect(campaigns).toHaveLength(2);
    status = { ...status, role: "candidate" };
    failover.refused(1);
    clock.advance(100);
    expect(campaigns).toHaveLength(2);
  });

  it("a node that may not lead does not run", () => {
    mayLead = false;
    failover.disconnected(1);
    clock.advance(1_000);
    expect(campaigns).toEqual([]);
  });
});
