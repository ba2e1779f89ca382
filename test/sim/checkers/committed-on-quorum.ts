/**
 * What a leader calls committed lies on the disks of a quorum, durably: in both halves of a joint configuration. A disk
 * that was damaged since counts as it was; that the cluster survives it is the fault atlas's promise.
 */

import type { Effects } from "../../../src/raft/effect.ts";
import type { Configuration, LogIndex, NodeId } from "../../../src/raft/entry.ts";
import { quorumValue } from "../../../src/raft/quorum.ts";
import type { DurableLogs } from "./durable-logs.ts";
import type { Checker, NodeView } from "./view.ts";
import { demand } from "./violation.ts";

interface Seen {
  readonly incarnation: string;
  readonly commitIndex: LogIndex;
  readonly configuration: Configuration;
}

export class CommittedOnQuorum implements Checker {
  readonly #disks: DurableLogs;
  readonly #isDamaged: (id: NodeId) => boolean;
  readonly #before = new Map<NodeId, Seen>();

  constructor(disks: DurableLogs, isDamaged: (id: NodeId) => boolean) {
    this.#disks = disks;
    this.#isDamaged = isDamaged;
  }

  started({ id }: NodeView): void {
    this.#before.delete(id);
  }

  stepped(node: NodeView, { changed }: Effects): void {
    if (changed === null) return;
    const { commitIndex, configuration, role } = changed;
    const before = this.#before.get(node.id);
    this.#before.set(node.id, { incarnation: node.incarnation, commitIndex, configuration });
    if (role !== "leader" || commitIndex <= (before?.commitIndex ?? 0)) return;
    const term = node.log.term(commitIndex);
    const reachedBy = (id: NodeId): number =>
      this.#isDamaged(id) || this.#disks.of(id).holds({ index: commitIndex, term }) ? 1 : 0;
    // An entry that changes the configuration is committed by the one before it.
    const isOnQuorum =
      quorumValue(configuration, reachedBy) === 1 ||
      (before !== undefined && quorumValue(before.configuration, reachedBy) === 1);
    demand(isOnQuorum, "committed entries are durable on a quorum", () => {
      const voters = configuration.voters.map((id) => `${id}: ${this.#disks.of(id).lastIndex}`);
      return `leader ${node.id} commits ${commitIndex}/${term}, disks hold ${voters.join(", ")}`;
    });
  }
}
