/** What is set for the whole cluster: part of the replicated state, changed by entries of their own. Knows no SQL. */

export interface ClusterSettings {
  /** Whether foreign keys are enforced. */
  readonly foreignKeys: boolean;
  /** Whether a trigger may set itself off. */
  readonly recursiveTriggers: boolean;
  /** The machine whose nodes may lead; empty: none was set yet, and any may. See docs/decisions/0015. */
  readonly machineVersion: string;
}

/** As better-sqlite3 is built, not as the bare library. */
export const DEFAULT_SETTINGS: ClusterSettings = {
  foreignKeys: true,
  recursiveTriggers: true,
  machineVersion: "",
};

/** One of them, as a log entry names it. The value of a switch is `on` or `off`. */
export interface Setting {
  readonly name: string;
  readonly value: string;
}

/** What becomes of free pages, as SQLite names it; chosen when a database file is made. */
export const AUTO_VACUUM = ["none", "full", "incremental"] as const;
export type AutoVacuum = (typeof AUTO_VACUUM)[number];

/** Settings that SQLite knows as a PRAGMA of a connection, by its name for them. */
export const SWITCHES = {
  foreign_keys: "foreignKeys",
  recursive_triggers: "recursiveTriggers",
} as const;

export type SwitchName = keyof typeof SWITCHES;

export const MACHINE_VERSION = "machine_version";

export function isSwitch(name: string): name is SwitchName {
  return Object.hasOwn(SWITCHES, name);
}

/** The settings with one changed; null if this program does not know the setting, or not such a value. */
export function withSetting(
  settings: ClusterSettings,
  { name, value }: Setting,
): ClusterSettings | null {
  if (name === MACHINE_VERSION) return value === "" ? null : { ...settings, machineVersion: value };
  if (!isSwitch(name) || (value !== "on" && value !== "off")) return null;
  return { ...settings, [SWITCHES[name]]: value === "on" };
}

/** Why a node of another machine executes nothing. */
export function otherMachineText(own: string, cluster: string): string {
  return (
    `this node runs machine version ${own}, the cluster ${cluster}: it leads only until another node can, ` +
    "and executes nothing; see balsa upgrade"
  );
}
