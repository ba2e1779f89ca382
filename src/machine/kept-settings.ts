/**
 * The cluster's settings on one connection: as its file has them, and as the open transaction will leave them. Switches of
 * SQLite's that work only between transactions are thrown here, before the transaction that stores them begins. It
 * begins and ends none itself.
 */

import { crc32 } from "node:zlib";
import type { Database } from "better-sqlite3";
import { BalsaError, type Failure } from "../sql/errors.ts";
import { invariant } from "../sql/invariant.ts";
import {
  type ClusterSettings,
  DEFAULT_SETTINGS,
  isSwitch,
  otherMachineText,
  type Setting,
  SWITCHES,
  type SwitchName,
  withSetting,
} from "../sql/settings.ts";
import { MachineFault, toStatementFailure } from "./machine-fault.ts";

export class KeptSettings {
  readonly #database: Database;
  #stored: ClusterSettings = DEFAULT_SETTINGS;
  #current: ClusterSettings = DEFAULT_SETTINGS;

  constructor(database: Database) {
    this.#database = database;
  }

  /** As of the last COMMIT. */
  get stored(): ClusterSettings {
    return this.#stored;
  }

  /** As the open transaction sees them. */
  get current(): ClusterSettings {
    return this.#current;
  }

  /** Why a node that runs `own` must not execute; null: it may. Entries that others made it applies whatever they ran. */
  otherMachine(own: string): Failure | null {
    const { machineVersion: cluster } = this.#current;
    if (own === "" || cluster === "" || own === cluster) return null;
    return toStatementFailure(new BalsaError("NO_LEADER", otherMachineText(own, cluster)), 0);
  }

  /** It is so already. */
  has(setting: Setting): boolean {
    const next = withSetting(this.#current, setting);
    return next !== null && encodeSettings(next) === encodeSettings(this.#current);
  }

  /** @param text what the file holds; null: nothing was ever set */
  load(text: string | null): void {
    this.#stored = text === null ? DEFAULT_SETTINGS : decodeSettings(text);
    this.#current = this.#stored;
    for (const name of Object.keys(SWITCHES) as SwitchName[]) this.#throw(name);
  }

  /** Between transactions; the next one must store it. False if it is not known here. */
  set(setting: Setting): boolean {
    // SQLite passes over `foreign_keys` inside a transaction, without a word.
    invariant(!this.#database.inTransaction, "a setting changes between transactions");
    const next = withSetting(this.#current, setting);
    if (next === null) return false;
    this.#current = next;
    if (isSwitch(setting.name)) this.#throw(setting.name);
    return true;
  }

  /** What the COMMIT has to store; null: nothing new. */
  unsaved(): string | null {
    return this.#current === this.#stored ? null : encodeSettings(this.#current);
  }

  committed(): void {
    this.#stored = this.#current;
  }

  #throw(name: SwitchName): void {
    const isOn = this.#current[SWITCHES[name]];
    this.#database.pragma(`${name} = ${isOn ? "ON" : "OFF"}`);
    const found = this.#database.pragma(name, { simple: true });
    invariant(found === (isOn ? 1n : 0n), `PRAGMA ${name} takes effect`);
  }
}

export function encodeSettings(settings: ClusterSettings): string {
  return JSON.stringify(settings);
}

/** What is missing is as it was before it could be set. @throws MachineFault */
export function decodeSettings(text: string): ClusterSettings {
  try {
    const found = JSON.parse(text) as Partial<ClusterSettings>;
    return { ...DEFAULT_SETTINGS, ...found };
  } catch (error) {
    throw new MachineFault(`balsa_meta: settings that cannot be read: ${text}`, { cause: error });
  }
}

export function digestOf({ name, value }: Setting): number {
  return crc32(`${name} = ${value}`);
}
