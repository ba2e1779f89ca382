/**
 * How long ago this replica was seen to hold all that its leader had committed: what `status` shows. It trusts that
 * messages travel fast, so no read relies on it (reads rely on ReadGate's proof).
 */

import type { LogIndex } from "../raft/entry.ts";
import type { Message } from "../raft/message.ts";

export class Freshness {
  #caughtUpAtMs = Number.NEGATIVE_INFINITY;
  /** The leader had committed this much at that time; not applied yet. */
  #behind: { index: LogIndex; atMs: number } | null = null;

  heard(message: Message, applied: LogIndex, nowMs: number): void {
    if (message.kind !== "AppendEntries" && message.kind !== "Heartbeat") return;
    if (message.leaderCommit <= applied) this.#caughtUpAtMs = nowMs;
    else this.#behind ??= { index: message.leaderCommit, atMs: nowMs };
  }

  applied(index: LogIndex): void {
    if (this.#behind === null || index < this.#behind.index) return;
    this.#caughtUpAtMs = Math.max(this.#caughtUpAtMs, this.#behind.atMs);
    this.#behind = null;
  }

  /** Milliseconds; -1 if it never was. */
  lagMs(nowMs: number): number {
    const lagMs = nowMs - this.#caughtUpAtMs;
    return Number.isFinite(lagMs) ? Math.round(lagMs) : -1;
  }
}
