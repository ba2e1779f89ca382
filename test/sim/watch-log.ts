/** Shows the checkers what a node's log is asked to store and to drop. */

import type { Log } from "../../src/node/ports.ts";
import type { LiveView } from "./host.ts";
import type { World } from "./world.ts";

export function watchLog(world: World, view: LiveView, log: Log): void {
  const { referee } = world;
  const { id } = view;
  const append = log.append.bind(log);
  log.append = (hardState, entries, done) => {
    append(hardState, entries, () => {
      referee.disks.stored(id, hardState, entries);
      done();
    });
  };
  const compactTo = log.compactTo.bind(log);
  log.compactTo = (index, done) => {
    world.coverage.add("compactions");
    const base = { index, term: log.term(index) };
    world.guard(() => referee.compacting(view, index));
    compactTo(index, () => {
      referee.disks.compacted(id, base);
      done();
    });
  };
  const restart = log.restart.bind(log);
  log.restart = (base, done) => {
    world.coverage.add("snapshots installed");
    world.guard(() => referee.installing(view, base));
    restart(base, () => {
      referee.disks.restarted(id, base);
      done();
    });
  };
}
