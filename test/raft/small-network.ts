/**
 * A few cores and what they send each other, delivered until nothing is left; the test says what is lost. Storing, applying
 * and fetching snapshots happen at once. For what only several nodes together show; schedules are random-cluster.ts's.
 */

import type { Message } from "../../src/raft/message.ts";
import { type Given, Subject } from "./raft-harness.ts";

/** Rounds in which messages still beget messages; more is a loop. */
const ROUNDS_MAX = 200;

export class SmallNetwork {
  readonly nodes: ReadonlyMap<number, Subject>;
  /** Everything that was delivered, in order. */
  readonly delivered: Message[] = [];
  #isLost: (message: Message) => boolean = () => false;

  constructor(given: readonly Given[]) {
    this.nodes = new Map(
      given.map((each) => {
        const { id = 1 } = each;
        // Dice of their own, else all would stand for election at the same moment, again and again.
        const random = () => ((3 * id) % 10) / 10;
        return [id, new Subject({ ...each, options: { random, ...each.options } })];
      }),
    );
  }

  /** Members 1 to `size`, all alike. */
  static of(size: number, given: Given = {}): SmallNetwork {
    const voters = Array.from({ length: size }, (_, at) => at + 1);
    return new SmallNetwork(voters.map((id) => ({ voters, ...given, id })));
  }

  node(id: number): Subject {
    const node = this.nodes.get(id);
    if (node === undefined) throw new Error(`no node ${id}`);
    return node;
  }

  get leader(): number {
    const leading = [...this.nodes.values()].filter(({ status }) => status.role === "leader");
    const terms = leading.map(({ status }) => status.currentTerm);
    const newest = leading.filter(({ status }) => status.currentTerm === Math.max(...terms));
    if (newest.length > 1) throw new Error("two leaders in one term");
    return newest[0]?.id ?? 0;
  }

  /** From now on; replaces what was said before. */
  lose(isLost: (message: Message) => boolean): this {
    this.#isLost = isLost;
    return this;
  }

  /** Nothing to and from these. */
  isolate(...ids: readonly number[]): this {
    return this.lose(({ from, to }) => ids.includes(from) !== ids.includes(to));
  }

  heal(): this {
    return this.lose(() => false);
  }

  campaign(id: number): this {
    this.node(id).raft.step({ kind: "campaign" });
    return this.run();
  }

  propose(id: number, text = "x"): this {
    this.node(id).raft.propose([new TextEncoder().encode(text)]);
    return this.run();
  }

  transfer(from: number, to: number): this {
    this.node(from).raft.step({ kind: "transferLeadership", to });
    return this.run();
  }

  /** One tick on each, `count` times. */
  tick(count = 1, ...ids: readonly number[]): this {
    for (let tick = 0; tick < count; tick += 1) {
      for (const [id, node] of this.nodes) if (ids.length === 0 || ids.includes(id)) node.tick();
      this.run();
    }
    return this;
  }

  run(): this {
    for (let round = 0; round < ROUNDS_MAX; round += 1) {
      const sent = [...this.nodes.values()].flatMap((node) => this.#settle(node));
      if (sent.length === 0) return this;
      for (const message of sent) {
        if (this.#isLost(message)) continue;
        this.delivered.push(message);
        this.nodes.get(message.to)?.hear(message);
      }
    }
    throw new Error("the network never comes to rest");
  }

  #settle(node: Subject): Message[] {
    for (let round = 0; round < ROUNDS_MAX; round += 1) {
      const effects = node.take();
      const index = effects?.apply.at(-1)?.index;
      if (index !== undefined) node.raft.step({ kind: "applied", index });
      if (effects?.fetchSnapshot) {
        const { from, ...mark } = effects.fetchSnapshot;
        const { configuration } = this.node(from).status;
        node.raft.step({ kind: "snapshotReady", snapshot: { ...mark, configuration } });
      }
      const snapshot = node.persists[0]?.snapshot;
      if (snapshot) node.log.reset(snapshot.index, snapshot.term);
      if (!node.store() && effects === null) return node.sent.splice(0);
    }
    throw new Error("a node never comes to rest");
  }
}
