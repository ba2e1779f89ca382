/** Events of a writer that may be replaced: whoever is not the one any more is not heard. */

import type { WriterEvents } from "./ports.ts";

/** A writer's events, passed on for as long as `isHeard`. */
export function heardWhile(isHeard: () => boolean, events: WriterEvents): WriterEvents {
  const tell =
    <A extends unknown[]>(told: (...facts: A) => void) =>
    (...facts: A): void => {
      if (isHeard()) told(...facts);
    };
  return {
    ready: tell(events.ready),
    executed: tell(events.executed),
    applied: tell(events.applied),
    committed: tell(events.committed),
    settings: tell(events.settings),
    checkpointed: tell(events.checkpointed),
    changed: tell(events.changed),
    exited: tell(events.exited),
  };
}
