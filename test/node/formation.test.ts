import { beforeEach, describe, expect, it } from "vitest";
import { Formation } from "../../src/node/formation.ts";
import type { FormAnswer, FormRequest, Identity } from "../../src/node/ports.ts";
import type { NodeId } from "../../src/raft/entry.ts";
import { Clock, silent } from "./fakes.ts";

const MEMBERS = [1, 2, 3];

interface Peer {
  identity: Identity;
  formation: Formation;
  formed: number;
  trouble: string;
  up: boolean;
}

describe("forming a cluster", () => {
  let clock: Clock;
  let peers: Map<NodeId, Peer>;
  let drop: (kind: "form" | "result", from: NodeId, to: NodeId) => boolean;

  beforeEach(() => {
    clock = new Clock();
    peers = new Map();
    drop = () => false;
  });

  function blank(id: NodeId): Identity {
    return {
      nodeId: id,
      incarnation: `${id}`,
      clusterId: "",
      phase: "blank",
      members: [],
      votesFrom: 0,
      seed: "",
    };
  }

  /** Starts or restarts a node with what it has on disk. */
  function start(id: NodeId, identity: Identity, members: readonly NodeId[] = MEMBERS): Peer {
    const peer = { identity, formed: 0, trouble: "", up: true } as Peer;
    const later = (to: NodeId, run: (target: Formation) => void) => {
      clock.scheduler.after(1, () => {
        const target = peers.get(to);
        if (peer.up && target?.up) run(target.formation);
      });
    };
    peer.formation = new Formation({
      environment: clock.environment,
      logger: silent,
      members,
      identity: () => peer.identity,
      store: (next, done) => {
        clock.scheduler.after(1, () => {
          if (!peer.up) return;
          peer.identity = next;
          done();
        });
      },
      transport: {
        sendForm: (to, request: FormRequest) => {
          if (!drop("form", id, to)) later(to, (target) => target.form(id, request));
        },
        sendFormResult: (to, answer: FormAnswer) => {
          if (!drop("result", id, to)) later(to, (target) => target.formResult(id, answer));
        },
      },
      formed: () => {
        peer.formed += 1;
      },
      trouble: (text) => {
        peer.trouble = text;
      },
    });
    peers.set(id, peer);
    peer.formation.start();
    for (const [other, { formation, up }] of peers) {
      if (other === id || !up) continue;
      formation.hello(hello(id, members));
      peer.formation.hello(hello(other));
    }
    return peer;
  }

  function hello(id: NodeId, members: readonly NodeId[] = MEMBERS) {
    const { clusterId, phase, incarnation, seed, votesFrom } = peers.get(id)!.identity;
    const who = { id, clusterId, phase, incarnation, members, seed, votesFrom };
    return { ...who, address: `n${id}`, machineVersion: "" };
  }

  function stop(id: NodeId): Identity {
    const peer = peers.get(id)!;
    peer.up = false;
    peer.formation.stop();
    return peer.identity;
  }

  const phases = () => MEMBERS.map((id) => peers.get(id)?.identity.phase);
  const clusterIds = () => new Set(MEMBERS.map((id) => peers.get(id)?.identity.clusterId));

  it("three blank nodes agree on one cluster id, and each starts once", () => {
    for (const id of MEMBERS) start(id, blank(id));
    clock.advance(2_000);
    expect(phases()).toEqual(["formed", "formed", "formed"]);
    expect(clusterIds().size).toBe(1);
    expect([...clusterIds()][0]).toMatch(/^[0-9a-f]{32}$/);
    expect(MEMBERS.map((id) => peers.get(id)?.formed)).toEqual([1, 1, 1]);
  });

  it("tells everybody that it takes part now: what they heard when it connected is past", () => {
    const told = new Set<string>();
    drop = (kind, from, to) => {
      if (kind === "result" && peers.get(from)?.identity.phase === "formed")
        told.add(`${from}>${to}`);
      return false;
    };
    for (const id of MEMBERS) start(id, blank(id));
    clock.advance(2_000);
    expect([...told].sort()).toEqual(["1>2", "1>3", "2>1", "2>3", "3>1", "3>2"]);
  });

  it("forms nothing beside a cluster that one of the listed has met, though all listed are blank", () => {
    for (const [id, met] of [
      [1, false],
      [2, false],
      [3, true],
    ] as const) {
      const peer = start(id, blank(id));
      const other = {
        id: 5,
        clusterId: "f".repeat(32),
        phase: "formed",
        incarnation: "5",
      } as const;
      const rest = { seed: "", votesFrom: 0, address: "n5", machineVersion: "" };
      if (met) peer.formation.hello({ ...other, ...rest, members: MEMBERS });
    }
    clock.advance(5_000);
    expect(phases()[2]).toBe("blank");
    expect(MEMBERS.map((id) => peers.get(id)?.formed)).toEqual([0, 0, 0]);
  });

  it("waits for every listed peer", () => {
    start(1, blank(1));
    start(2, blank(2));
    clock.advance(5_000);
    expect(phases().slice(0, 2)).toEqual(["blank", "blank"]);
    start(3, blank(3));
    clock.advance(2_000);
    expect(phases()).toEqual(["formed", "formed", "formed"]);
  });

  it("nobody votes before every listed peer has stored the cluster's id", () => {
    // What node 3 answers is lost: whether it has stored the id, nobody knows.
    drop = (kind, from) => kind === "result" && from === 3;
    for (const id of MEMBERS) start(id, blank(id));
    clock.advance(5_000);
    expect(phases()).toEqual(["forming", "forming", "forming"]);
    expect(MEMBERS.map((id) => peers.get(id)?.formed)).toEqual([0, 0, 0]);
    drop = () => false;
    clock.advance(2_000);
    expect(MEMBERS.map((id) => peers.get(id)?.formed)).toEqual([1, 1, 1]);
  });

  it("a single node forms by itself", () => {
    peers.clear();
    const alone = start(7, blank(7), [7]);
    clock.advance(100);
    expect(alone.identity.phase).toBe("formed");
    expect(alone.formed).toBe(1);
  });

  it("lost messages are repeated", () => {
    let lost = 0;
    drop = () => {
      lost += 1;
      return lost <= 5;
    };
    for (const id of MEMBERS) start(id, blank(id));
    clock.advance(5_000);
    expect(phases()).toEqual(["formed", "formed", "formed"]);
  });

  it("a crash at any moment leaves a state that goes on to one cluster", () => {
    for (let crashAtMs = 0; crashAtMs < 14; crashAtMs += 1) {
      for (const victim of MEMBERS) {
        peers = new Map();
        for (const id of MEMBERS) start(id, blank(id));
        clock.advance(crashAtMs);
        const kept = stop(victim);
        clock.advance(300);
        start(victim, kept);
        clock.advance(3_000);
        expect([crashAtMs, victim, ...phases()]).toEqual([
          crashAtMs,
          victim,
          "formed",
          "formed",
          "formed",
        ]);
        expect(clusterIds().size).toBe(1);
      }
    }
  });

  it("D7: a node whose directory was emptied does not take part and says why", () => {
    for (const id of MEMBERS) start(id, blank(id));
    clock.advance(2_000);
    const before = peers.get(1)?.identity.clusterId;
    stop(3);
    const wiped = start(3, blank(3));
    clock.advance(5_000);
    expect(wiped.identity.phase).toBe("blank");
    expect(wiped.formed).toBe(0);
    expect(wiped.trouble).toContain("empty");
    expect(wiped.trouble).toContain(before);
  });

  it("D7: also when it is the one that proposes", () => {
    for (const id of MEMBERS) start(id, blank(id));
    clock.advance(2_000);
    stop(1);
    const wiped = start(1, blank(1));
    clock.advance(5_000);
    expect(wiped.identity.phase).toBe("blank");
    expect(clusterIds().size).toBe(2);
  });

  it("A12: an admission is for one incarnation, and brings from where it votes", () => {
    const peer = start(3, { ...blank(3), incarnation: "second life" });
    const request = { clusterId: "c".repeat(32), phase: "formed" as const, members: [1, 2, 3] };
    const admit = (incarnation: string) => {
      peer.formation.form(1, { ...request, admission: { incarnation, votesFrom: 77 } });
      clock.advance(1_000);
    };
    admit("first life");
    expect(peer.identity).toMatchObject({ phase: "blank", clusterId: "" });
    expect(peer.formed).toBe(0);
    admit("second life");
    expect(peer.identity).toMatchObject({ ...request, votesFrom: 77 });
    expect(peer.formed).toBe(1);
  });

  it("A12: a node whose log was set aside forms no other cluster", () => {
    // Its peers lost everything at the same time: together they must not begin from nothing.
    start(3, { ...blank(3), clusterId: "d".repeat(32), phase: "lost" });
    for (const id of [1, 2]) start(id, blank(id));
    clock.advance(5_000);
    expect(phases()).toEqual(["blank", "blank", "lost"]);
    expect(MEMBERS.map((id) => peers.get(id)?.formed)).toEqual([0, 0, 0]);
  });

  it("a directory of another cluster is told apart", () => {
    for (const id of MEMBERS) start(id, blank(id));
    clock.advance(2_000);
    stop(2);
    const foreign: Identity = {
      nodeId: 2,
      incarnation: "x",
      clusterId: "f".repeat(32),
      phase: "formed",
      votesFrom: 0,
      members: MEMBERS,
      seed: "",
    };
    expect(start(2, foreign).trouble).toContain("WRONG_CLUSTER");
  });

  it("whoever calls from another cluster is no trouble to a node that has its leader", () => {
    const first = start(1, { ...blank(1), clusterId: "a".repeat(32), phase: "formed" });
    const stranger = { ...blank(2), clusterId: "f".repeat(32), phase: "formed" } as const;
    start(2, stranger);
    expect(first.trouble).toContain("WRONG_CLUSTER");
    first.formation.leader(true);
    expect(first.trouble).toBe("");
    first.formation.hello(hello(2));
    expect(first.trouble).toBe("");
    first.formation.leader(false);
    first.formation.hello(hello(2));
    expect(first.trouble).toContain("WRONG_CLUSTER");
  });

  describe("that begins with a file", () => {
    const FILE = "ab".repeat(32);
    const seeded = (id: NodeId, seed = FILE): Identity => ({ ...blank(id), seed });

    it("forms when all founders have the same one, and each keeps it", () => {
      for (const id of MEMBERS) start(id, seeded(id));
      clock.advance(3_000);
      expect(phases()).toEqual(["formed", "formed", "formed"]);
      expect(MEMBERS.map((id) => peers.get(id)?.identity.seed)).toEqual([FILE, FILE, FILE]);
    });

    it.each([
      ["cd".repeat(32), /the file of SHA-256 (cd)+.*the file of SHA-256 (ab)+/],
      ["", /begins with an empty database, this one with the file of SHA-256 (ab)+/],
    ])("does not form when one has %j, and the message shows both", (other, message) => {
      const first = start(1, seeded(1));
      start(2, seeded(2));
      const odd = start(3, seeded(3, other));
      clock.advance(3_000);
      expect(phases()).toEqual(["blank", "blank", "blank"]);
      expect(first.trouble).toMatch(message);
      expect(odd.trouble).toMatch(/balsa import from the same file, or none was/);
      // Also when somebody proposes it.
      const request = { clusterId: "c".repeat(32), phase: "forming", members: MEMBERS } as const;
      odd.formation.form(1, { ...request, admission: null });
      clock.advance(1_000);
      expect(odd.identity.phase).toBe("blank");
    });

    it("is not joined by a node that has a file, too: not even when it is admitted", () => {
      for (const id of MEMBERS) start(id, blank(id));
      clock.advance(3_000);
      stop(3);
      const late = start(3, seeded(3));
      expect(late.trouble).toMatch(/prepared by balsa import.*empty directory/);
      const { clusterId } = peers.get(1)!.identity;
      const admission = { incarnation: "3", votesFrom: 5 };
      late.formation.form(1, { clusterId, phase: "formed", members: MEMBERS, admission });
      clock.advance(1_000);
      expect(late.identity.phase).toBe("blank");
    });
  });

  it("lists that disagree form nothing, and the message shows both", () => {
    start(1, blank(1));
    start(2, blank(2));
    const odd = start(3, blank(3), [1, 2, 3, 4]);
    clock.advance(3_000);
    expect(phases()).toEqual(["blank", "blank", "blank"]);
    expect(odd.trouble).toContain("1,2,3,4");
    expect(peers.get(1)?.trouble).toContain("1,2,3,4");
  });
});
