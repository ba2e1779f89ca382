/** What happened in a run, counted: so that a fault which is never injected, or a path that is never taken, shows. */

export const COVERED = [
  "elections",
  "kills",
  "power cuts",
  "pauses",
  "clock drifts",
  "wall clock jumps",
  "wipes",
  "disk slow",
  "disk stalls",
  "disk hangs",
  "disk full",
  "failed writes",
  "failed syncs",
  "bits rotten",
  "sectors lost",
  "sectors misdirected",
  "sectors garbled",
  "partitions: one alone",
  "partitions: halves",
  "partitions: one way",
  "partitions: ring",
  "partitions: bridge",
  "partitions: swizzle",
  "links clogged",
  "links slow",
  "storms",
  "replays",
  "connections reset",
  "messages lost",
  "messages doubled",
  "messages replayed",
  "halts expected",
  "starts refused",
  "logs set aside",
  "range checksums",
  "rows planted",
  "changes from outside found",
  "databases exchanged",
  "verdicts gone by",
  "decided by hand",
  "compactions",
  "snapshots installed",
  "installations finished at a start",
  "members added",
  "learners added",
  "learners promoted",
  "members removed",
  "members replaced at once",
  "leaders ended in a change",
  "leaderships handed over",
  "changes refused",
  "retries",
  "unknown outcomes",
  "lost answers",
  "refused for good",
  "blobs published",
  "blobs deleted",
  "blobs taken back",
  "programs replaced",
  "machine version set anew",
  "upgrades asked for",
  "liveness with a broken minority",
  "worst-case disks opened",
] as const;

/** Not demanded of a run: log time is a majority's, so it takes several clocks that jump the same way. */
type Seldom = "sessions expired";

export type Covered = (typeof COVERED)[number] | Seldom;

export class Coverage {
  readonly counts = new Map<Covered, number>();

  add(name: Covered, count = 1): void {
    this.counts.set(name, this.of(name) + count);
  }

  of(name: Covered): number {
    return this.counts.get(name) ?? 0;
  }

  merge(counts: { readonly [name: string]: number }): void {
    for (const name of COVERED) this.add(name, counts[name] ?? 0);
  }

  toJSON(): { readonly [name: string]: number } {
    return Object.fromEntries(this.counts);
  }
}
