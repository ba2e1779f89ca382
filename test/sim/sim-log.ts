/** The real log on a simulated disk, with small segments, so that a short run fills several. */

import { openLogNow } from "../../src/log/open-log.ts";
import type { SegmentedLog } from "../../src/log/segmented-log.ts";
import type { NodeId } from "../../src/raft/entry.ts";
import type { SimulatedDisk } from "./disk.ts";

const OPTIONS = { dir: "log", segmentBytes: 32 * 1024, cacheBytes: 16 * 1024 } as const;

/** @throws what openLogNow throws */
export function openSimLog(
  nodeId: NodeId,
  disk: SimulatedDisk,
  random: () => number,
): SegmentedLog {
  return openLogNow({ ...OPTIONS, nodeId, disk, random });
}

/** The log as it would be found if the power were cut now and nothing survived that was not synced. */
export function worstCase(nodeId: NodeId, disk: SimulatedDisk): SegmentedLog {
  const copy = disk.clone({ random: () => 0.5, schedule: () => {} });
  copy.crash({ sector: () => 0, directoryChanges: () => 0 });
  return openSimLog(nodeId, copy, () => 0.5);
}
