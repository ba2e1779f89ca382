/**
 * What a node attests is durable (trap A1): the bytes behind an acknowledgement or a vote are on its disk before the
 * message leaves. Looked at twice: against what the log said to be durable, and, for one message in many, by opening the
 * log as the worst power cut at this moment would leave it. And whatever a node acknowledged, it still has when it
 * starts again, unless a leader replaced it.
 */

import type { Effects } from "../../../src/raft/effect.ts";
import type { Entry, HardState, LogIndex, NodeId, Term } from "../../../src/raft/entry.ts";
import type { Message } from "../../../src/raft/message.ts";
import type { DurableLogs } from "./durable-logs.ts";
import type { Checker, LogView, NodeView } from "./view.ts";
import { demand } from "./violation.ts";

export type WorstCase = LogView & { readonly hardState: HardState };

interface Claim {
  index: LogIndex;
  term: Term;
}

/** Opening a log takes a millisecond. */
const MESSAGES_PER_LOOK = 60;

export class AttestedDurability implements Checker {
  readonly #disks: DurableLogs;
  readonly #worstCase: (id: NodeId) => WorstCase | null;
  readonly #claims = new Map<NodeId, Claim>();
  #messages = 0;

  /** `worstCase`: the log that a power cut now would leave; null if it cannot be told. */
  constructor(disks: DurableLogs, worstCase: (id: NodeId) => WorstCase | null) {
    this.#disks = disks;
    this.#worstCase = worstCase;
  }

  sent(node: NodeView, message: Message): void {
    if (message.kind === "AppendEntriesResult" && !message.rejected) {
      this.#acknowledged(node, message.index, message.term);
    } else if (message.kind === "RequestVoteResult" && !message.rejected && !message.preVote) {
      const { term, votedFor } = this.#disks.of(node.id);
      const isStored = term === message.term && votedFor === message.to;
      demand(isStored || term > message.term, "a vote is durable before it leaves", () => {
        return `node ${node.id} votes for ${message.to} in ${message.term}, stored: ${votedFor}/${term}`;
      });
    } else {
      return;
    }
    this.#messages += 1;
    if (this.#messages % MESSAGES_PER_LOOK === 0) this.#look(node.id, message.term);
  }

  /** A leader's word may replace what was acknowledged to an earlier one. */
  stepped({ id }: NodeView, { persist }: Effects): void {
    const first = persist?.entries[0];
    const claim = this.#claims.get(id);
    if (first === undefined || claim === undefined || first.index > claim.index) return;
    if (isSameEntry(first, claim)) return;
    claim.index = first.index - 1;
    claim.term = -1;
  }

  started({ id, log }: NodeView): void {
    this.#compare(id, log, "after a restart");
  }

  damaged(id: NodeId): void {
    this.#claims.delete(id);
  }

  #acknowledged({ id }: NodeView, index: LogIndex, term: Term): void {
    const disk = this.#disks.of(id);
    demand(disk.lastIndex >= index, "an acknowledged entry is durable", () => {
      return `node ${id} acknowledges ${index} in term ${term}, durable is ${disk.lastIndex}`;
    });
    demand(disk.term >= term, "an acknowledgement's term is durable", () => {
      return `node ${id} acknowledges ${index} in term ${term}, durable is term ${disk.term}`;
    });
    const claim = this.#claims.get(id);
    if (claim === undefined) this.#claims.set(id, { index, term: disk.termAt(index) });
    else if (index >= claim.index) {
      claim.index = index;
      claim.term = disk.termAt(index);
    }
  }

  #look(id: NodeId, term: Term): void {
    const worst = this.#worstCase(id);
    if (worst === null) return;
    this.#compare(id, worst, "after a power cut right now");
    demand(worst.hardState.currentTerm >= term, "an attested term survives a power cut", () => {
      return `node ${id} attests term ${term}, the disk holds ${worst.hardState.currentTerm}`;
    });
  }

  #compare(id: NodeId, log: LogView, when: string): void {
    const claim = this.#claims.get(id);
    if (claim === undefined || claim.index < log.firstIndex()) return;
    const last = log.lastIndex();
    const holds = last >= claim.index && (claim.term < 0 || log.term(claim.index) === claim.term);
    demand(holds, "acknowledged entries stay", () => {
      return `node ${id} acknowledged ${claim.index}/${claim.term}, and ${when} ends at ${last}`;
    });
  }
}

function isSameEntry(entry: Entry, { index, term }: Claim): boolean {
  return entry.index === index && entry.term === term;
}
