/**
 * What a leader believes of a follower's disk is true: matchIndex is at most what that disk holds durably, of the same
 * entries. Of a follower in the leader's term: in a later one another leader may have replaced what was not committed.
 */

import type { Effects } from "../../../src/raft/effect.ts";
import type { NodeId } from "../../../src/raft/entry.ts";
import type { DurableLogs } from "./durable-logs.ts";
import type { Checker, NodeView } from "./view.ts";
import { demand } from "./violation.ts";

export class ProgressTruth implements Checker {
  readonly #disks: DurableLogs;
  readonly #isDamaged: (id: NodeId) => boolean;

  constructor(disks: DurableLogs, isDamaged: (id: NodeId) => boolean) {
    this.#disks = disks;
    this.#isDamaged = isDamaged;
  }

  stepped(node: NodeView, { changed }: Effects): void {
    if (changed === null || changed.role !== "leader") return;
    const { log, id, status } = node;
    for (const peer of node.progress) {
      const { matchIndex } = peer;
      if (peer.id === id || matchIndex < log.firstIndex() || this.#isDamaged(peer.id)) continue;
      const disk = this.#disks.of(peer.id);
      if (disk.term !== status.currentTerm) continue;
      const term = log.term(matchIndex);
      demand(disk.holds({ index: matchIndex, term }), "matchIndex is true", () => {
        const theirs = `${disk.lastIndex}, term ${disk.termAt(matchIndex)} there`;
        return `leader ${id} believes ${peer.id} to hold ${matchIndex}/${term}, its disk ${theirs}`;
      });
    }
  }
}
