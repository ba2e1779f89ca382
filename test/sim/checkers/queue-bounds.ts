/** What is under way has bounds: appends to one follower, bytes in one append. And a leader's marks are in order. */

import type { Effects } from "../../../src/raft/effect.ts";
import type { Message } from "../../../src/raft/message.ts";
import { DEFAULT_RAFT_OPTIONS } from "../../../src/raft/raft.ts";
import type { Checker, NodeView } from "./view.ts";
import { demand } from "./violation.ts";

export class QueueBounds implements Checker {
  stepped({ id, progress, status }: NodeView, _effects: Effects): void {
    for (const peer of progress) {
      const { inflightCount, matchIndex, nextIndex } = peer;
      const fits = inflightCount <= DEFAULT_RAFT_OPTIONS.maxInflightMessages;
      demand(fits, "appends under way are bounded", () => `${id} to ${peer.id}: ${inflightCount}`);
      const inOrder = matchIndex < nextIndex && nextIndex <= status.lastIndex + 1;
      demand(inOrder || peer.state === "snapshot", "match < next ≤ last + 1", () => {
        return `${id} to ${peer.id}: ${matchIndex}, ${nextIndex}, ${status.lastIndex}`;
      });
    }
  }

  sent({ id }: NodeView, message: Message): void {
    if (message.kind !== "AppendEntries" || message.entries.length < 2) return;
    const bytes = message.entries.reduce((sum, { payload }) => sum + payload.length, 0);
    demand(bytes <= DEFAULT_RAFT_OPTIONS.maxMessageBytes, "an append is bounded", () => {
      return `node ${id} sends ${bytes} bytes in ${message.entries.length} entries`;
    });
  }
}
