/** The order in which a node's parts end once nothing is done any more: peers, then the machine, the log last. */

import type { NodeParts } from "./ports.ts";
import type { WriterDriver } from "./writer-driver.ts";

export function endParts(
  { transport, machine, log }: NodeParts,
  driver: Pick<WriterDriver, "stop">,
  done: () => void,
): void {
  let running = 2;
  const ended = (): void => {
    running -= 1;
    if (running === 0) log.close(done);
  };
  transport.stop(() => {
    // Both at once: while a reader reads, the writer cannot bring all of its WAL to the file.
    machine.readers.close(ended);
    driver.stop(ended);
  });
}
