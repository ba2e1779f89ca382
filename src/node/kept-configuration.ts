/** Sees to it that the database file holds the configuration in force (DESIGN D9): each writer is told what it lacks. */

import type { Configuration, LogIndex } from "../raft/entry.ts";
import type { MachineState, Writer } from "./ports.ts";

export class KeptConfiguration {
  #wanted: Configuration | null = null;
  #writer: Writer | null = null;
  /** Index of the one that the writer has, in its file or to be written with its next commit. */
  #stored: LogIndex = 0;

  /** As of the last committed entry; told before that is applied. */
  set(configuration: Configuration): void {
    this.#wanted = configuration;
    this.#send();
  }

  opened(writer: Writer, { configuration }: MachineState): void {
    this.#writer = writer;
    this.#stored = configuration?.index ?? 0;
    this.#send();
  }

  /** Until another one is opened. */
  closed(): void {
    this.#writer = null;
  }

  #send(): void {
    if (this.#writer === null || this.#wanted === null || this.#wanted.index <= this.#stored)
      return;
    this.#stored = this.#wanted.index;
    this.#writer.configure(this.#wanted);
  }
}
