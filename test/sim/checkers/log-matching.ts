/** Log matching (Figure 3): where two logs agree on an index's term, they agree on everything before it. */

import { crc32 } from "node:zlib";
import type { NodeId } from "../../../src/raft/entry.ts";
import type { LogView } from "./committed-log.ts";
import { demand } from "./violation.ts";

export function checkLogMatching(logs: ReadonlyMap<NodeId, LogView>): void {
  const nodes = [...logs.entries()];
  for (let a = 0; a < nodes.length; a += 1) {
    for (let b = a + 1; b < nodes.length; b += 1) {
      const [left, right] = [nodes[a], nodes[b]];
      if (left !== undefined && right !== undefined) comparePair(left, right);
    }
  }
}

function comparePair(left: [NodeId, LogView], right: [NodeId, LogView]): void {
  const last = Math.min(left[1].lastIndex(), right[1].lastIndex());
  // What one of them has dropped was compared when it was committed (committed-log.ts).
  const first = Math.max(left[1].firstIndex(), right[1].firstIndex());
  let agreed = 0;
  for (let at = last; at >= first; at -= 1) {
    if (left[1].term(at) === right[1].term(at)) {
      agreed = at;
      break;
    }
  }
  for (let at = first; at <= agreed; ) {
    const ours = left[1].entries(at, agreed + 1, 1 << 20);
    const theirs = right[1].entries(at, agreed + 1, 1 << 20);
    const count = Math.min(ours.length, theirs.length);
    for (let k = 0; k < count; k += 1) {
      const [x, y] = [ours[k], theirs[k]];
      const same = x?.term === y?.term && x && y && crc32(x.payload) === crc32(y.payload);
      demand(Boolean(same), "log matching", () => {
        return `nodes ${left[0]} and ${right[0]} agree at ${agreed} but differ at ${at + k}`;
      });
    }
    at += Math.max(1, count);
  }
}
