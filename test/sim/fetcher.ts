/**
 * Fetching snapshots in the simulator: a copy travels from one store to another on virtual time. It fails when either
 * process ends, when the source is behind, or when the way is cut at the start or at the end.
 */

import type { FetchEvents, SnapshotFetcher } from "../../src/node/ports.ts";
import type { LogIndex, NodeId } from "../../src/raft/entry.ts";
import type { SimEnvironment } from "./environment.ts";
import type { SimSnapshot, Store } from "./machine.ts";
import type { Prng } from "./prng.ts";

export interface FetcherParts {
  readonly environment: SimEnvironment;
  readonly dice: Prng;
  readonly store: Store;
  /** Null if that node does not run, or cannot be reached both ways. */
  sourceOf(from: NodeId): Store | null;
}

/** As long as a small database takes on a bad day: leaders change meanwhile. */
const TRANSFER_MS_MAX = 800;

export class SimFetcher implements SnapshotFetcher {
  readonly #parts: FetcherParts;

  constructor(parts: FetcherParts) {
    this.#parts = parts;
  }

  fetch(from: NodeId, atLeast: LogIndex, events: FetchEvents): { cancel(): void } {
    const { environment, dice, store, sourceOf } = this.#parts;
    let cancelled = false;
    let snapshot: SimSnapshot | null = null;
    const later = (ms: number, run: () => void): void => {
      environment.after(ms, () => {
        if (!cancelled) run();
      });
    };
    later(dice.next() * 20, () => {
      const source = sourceOf(from);
      snapshot = source?.copy() ?? null;
      if (snapshot === null) return events.failed("it cannot be reached");
      if (snapshot.mark.index < atLeast) return events.failed("it is behind");
      later(dice.next() * TRANSFER_MS_MAX, () => {
        if (sourceOf(from) === null || snapshot === null) return events.failed("broken off");
        store.keep(snapshot);
        events.ready(snapshot.mark, snapshot.configuration);
      });
    });
    return {
      cancel: () => {
        cancelled = true;
      },
    };
  }
}
