/**
 * Nobody executes for a cluster of another machine version: every command was proposed by a leader that ran the version that
 * was in force at its place in the log. Only the commands that set the version may come from others.
 */

import type { Effects } from "../../../src/raft/effect.ts";
import type { Entry, Term } from "../../../src/raft/entry.ts";
import { MACHINE_VERSION } from "../../../src/sql/settings.ts";
import { decodeCommand } from "../../../src/wire/log-codec.ts";
import type { Checker, NodeView } from "./view.ts";
import { demand } from "./violation.ts";

export class MachineVersionRule implements Checker {
  readonly #ranBy = new Map<Term, string>();
  #inForce = "";
  /** How often it was set. */
  changes = 0;

  stepped({ machineVersion }: NodeView, { changed }: Effects): void {
    if (changed?.role === "leader") this.#ranBy.set(changed.currentTerm, machineVersion);
  }

  /** In the order of the log. */
  committed({ index, term, kind, payload }: Entry): void {
    if (kind !== "command") return;
    const { setting, verdict } = decodeCommand(payload);
    // What others found is no execution: its leader may serve nothing.
    if (verdict !== undefined) return;
    if (setting?.name === MACHINE_VERSION) {
      if (setting.value !== this.#inForce) this.changes += 1;
      this.#inForce = setting.value;
      return;
    }
    const ranBy = this.#ranBy.get(term);
    const isFit = this.#inForce === "" || ranBy === this.#inForce;
    demand(isFit, "only the cluster's machine version executes", () => {
      return `entry ${index} of term ${term} was executed by ${ranBy}, in force is ${this.#inForce}`;
    });
  }
}
