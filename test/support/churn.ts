/**
 * A cluster whose members come and go, die and lose their disks while clients are at work: everything that membership
 * allows, at random. Never more disks are lost than the cluster bears; what it bears, it must bear. It judges nothing.
 */

import { rmSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import {
  BalsaError,
  type ConnectOptions,
  type Database,
  type MemberStatus,
} from "../../src/client/index.ts";
import { readFileContent } from "../../src/machine/content-digest.ts";
import { TestCluster } from "../../src/testing/cluster.ts";
import { damageLog } from "./damage.ts";
import { randomOf } from "./random.ts";

const MEMBERS_MIN = 3;
const MEMBERS_MAX = 5;
/** A node that comes back, or joins, has this long to be a voter. */
const VOTER_MS_MAX = 90_000;

export type Deed = "kill" | "wipe" | "damage" | "grow" | "shrink" | "transfer";

export class Churn {
  readonly cluster: TestCluster;
  /** What was done, for a human. */
  readonly done: string[] = [];
  readonly counts: Record<Deed, number> = {
    kill: 0,
    wipe: 0,
    damage: 0,
    grow: 0,
    shrink: 0,
    transfer: 0,
  };
  readonly #dice: () => number;
  readonly #restarts: Promise<void>[] = [];

  private constructor(cluster: TestCluster, seed: number) {
    this.cluster = cluster;
    this.#dice = randomOf(seed);
  }

  static async start(seed: number): Promise<Churn> {
    const cluster = await TestCluster.start({ nodes: MEMBERS_MIN });
    await cluster.ready();
    return new Churn(cluster, seed);
  }

  /** Of the first members: clients that know one node only would be lost with it. */
  get ids(): readonly number[] {
    return [1, 2, 3];
  }

  connect({
    only: _only,
    ...options
  }: Partial<ConnectOptions> & { readonly only?: number }): Database {
    return this.cluster.connect(options);
  }

  async members(): Promise<readonly MemberStatus[]> {
    return (await this.cluster.admin.leader()).members;
  }

  /** Does one thing; resolves when the cluster has its voters back, except after a kill. */
  async act(deed: Deed = this.#draw()): Promise<void> {
    const began = performance.now();
    const what = await this.#perform(deed);
    if (what === "") return;
    this.counts[deed] += 1;
    this.done.push(`${what} (${((performance.now() - began) / 1_000).toFixed(1)} s)`);
  }

  #draw(): Deed {
    const deeds: readonly Deed[] = [
      "kill",
      "kill",
      "kill",
      "wipe",
      "wipe",
      "damage",
      "grow",
      "grow",
      "shrink",
      "shrink",
      "transfer",
    ];
    return deeds[Math.floor(this.#dice() * deeds.length)] as Deed;
  }

  async #perform(deed: Deed): Promise<string> {
    if (deed === "kill") return this.#kill();
    // Each of these needs a majority that has its disks, whatever dies meanwhile.
    await this.settled();
    const members = await this.members();
    const victim = members[Math.floor(this.#dice() * members.length)] as MemberStatus;
    switch (deed) {
      case "wipe":
        return this.#wipe(victim.id);
      case "damage":
        return this.#damage(victim.id);
      case "grow": {
        if (members.length >= MEMBERS_MAX) return "";
        const { id } = await this.cluster.add();
        return `added node ${id}`;
      }
      case "shrink":
        if (members.length <= MEMBERS_MIN) return "";
        await this.cluster.remove(victim.id);
        rmSync(this.cluster.node(victim.id).dir, { recursive: true, force: true });
        return `removed node ${victim.id}`;
      case "transfer":
        return this.#transfer();
    }
  }

  /** On a busy machine nobody may take over within the second that is allowed; then the leader goes on. */
  async #transfer(): Promise<string> {
    try {
      return `transferred to node ${await this.cluster.admin.transferLeadership()}`;
    } catch (error) {
      if (!(error instanceof BalsaError) || error.code !== "UNAVAILABLE") throw error;
      return `not transferred: ${error.message}`;
    }
  }

  /** The next thing happens meanwhile. */
  async #kill(): Promise<string> {
    const members = await this.members();
    const running = members.filter(({ id }) => this.cluster.node(id).pid !== null);
    const victim = running[Math.floor(this.#dice() * running.length)];
    if (victim === undefined) return "";
    const node = this.cluster.node(victim.id);
    await node.kill();
    const awayMs = 100 + this.#dice() * 1_500;
    this.#restarts.push(pause(awayMs).then(() => node.start()));
    return `killed node ${victim.id}`;
  }

  async #wipe(id: number): Promise<string> {
    const node = this.cluster.node(id);
    await node.kill();
    rmSync(node.dir, { recursive: true, force: true });
    node.start();
    await this.cluster.voter(id, VOTER_MS_MAX);
    return `emptied the disk of node ${id}`;
  }

  /** The middle of its log is not what was written: it is refused at the start, and set aside. */
  async #damage(id: number): Promise<string> {
    const node = this.cluster.node(id);
    await node.kill();
    damageLog(join(node.dir, "log"), this.#dice);
    node.start();
    await this.cluster.voter(id, VOTER_MS_MAX);
    return `damaged the log of node ${id}`;
  }

  /** Everybody runs, has a vote and is connected. */
  async settled(): Promise<void> {
    await Promise.all(this.#restarts.splice(0));
    await this.cluster.until("the members did not settle", VOTER_MS_MAX, async () => {
      const members = await this.members();
      return members.every(({ role, connected }) => role === "voter" && connected) || null;
    });
  }

  /** Of every member, when all have applied everything; the processes are stopped. */
  async contents(): Promise<string[]> {
    await this.settled();
    const members = await this.members();
    await this.cluster.until("the members did not catch up", VOTER_MS_MAX, async () => {
      const { nodes } = await this.cluster.admin.status();
      const found = nodes.flatMap(({ status }) => status ?? []);
      const own = found.filter(({ id }) => members.some((member) => member.id === id));
      const newest = Math.max(...own.map(({ lastIndex }) => lastIndex));
      const isDone = own.every(({ appliedIndex }) => appliedIndex === newest);
      return (own.length === members.length && isDone) || null;
    });
    await this.cluster.stopNodes();
    return members.map(({ id }) => {
      return readFileContent(join(this.cluster.node(id).dir, "main.db")).digest;
    });
  }
}
