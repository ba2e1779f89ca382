/**
 * What a node leaves beside its database file, so that it notices when somebody else has changed it
 * (docs/decisions/0020-changed-from-outside.md). It opens no database, and never judges what one holds.
 *
 *   main.db.seal      how the file stood when the node had closed it; gone before the node writes to it again
 *   main.db.changed   it was found changed, and nothing has taken its place since
 */

import { randomInt } from "node:crypto";
import {
  closeSync,
  constants,
  fsyncSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  utimesSync,
  writeSync,
} from "node:fs";
import { dirname } from "node:path";
import type { FileLook, MachineState, Verdict } from "../node/ports.ts";
import { decodeConfiguration, encodeConfiguration } from "../wire/configuration-codec.ts";
import { decodeSettings, encodeSettings } from "./kept-settings.ts";
import { FileChanged } from "./machine-fault.ts";
import type { WriterEngine } from "./process-engines.ts";

export const SEAL_SUFFIX = ".seal";
export const CHANGED_SUFFIX = ".changed";

/** Of both files. One of a later version is not understood. */
const VERSION = 1;
/** The mark lies so far back that no write leaves it, even where a file system keeps whole seconds only. */
const MARK_BEHIND_S = 3;
const MICROSECONDS = 1_000_000;

interface FileFacts {
  readonly bytes: bigint;
  readonly modifiedNs: bigint;
  readonly inode: bigint;
}

export class FileSeal {
  readonly #path: string;
  /** Of the file that the writer has open; null: none yet. */
  #inode: bigint | null = null;
  /** As it was looked at last. */
  #bytes = 0n;

  /** Told before each step on the disk: a test throws in it, as a crash would end it there. */
  onStep: (step: string) => void = () => {};

  /** `path`: the database file. */
  constructor(path: string) {
    this.#path = path;
  }

  /** Compares, and changes nothing. */
  look(): FileLook {
    const changed = this.#read(CHANGED_SUFFIX);
    const text = this.#read(SEAL_SUFFIX);
    const seal = parse(text ?? "");
    if (changed !== null) {
      // Whatever it says: that it is there is enough.
      const { what, state } = parse(changed) ?? {};
      const words = typeof what === "string" ? what : "an earlier start or run has found that";
      return { kind: "changed", what: words, state: toState(state) ?? toState(seal?.["state"]) };
    }
    if (text === null) return { kind: "unsealed" };
    const { version, bytes, modifiedNs, state } = seal ?? {};
    if (version !== VERSION || !isNumber(bytes) || !isNumber(modifiedNs)) {
      const isLater = typeof version === "number" && version > VERSION;
      const why = isLater ? `it has version ${version}` : "it cannot be read";
      return { kind: "unreadable", why: `${this.#path}${SEAL_SUFFIX}: ${why}` };
    }
    const what = this.#difference(bytes, modifiedNs);
    return what === "" ? { kind: "intact" } : { kind: "changed", what, state: toState(state) };
  }

  /**
   * To be called by whoever holds the writer's lock, before it opens the database. If nothing is wrong the seal is gone,
   * durably: from here on a crash leaves none. If something is, that is noted, as far as the disk has room for it.
   */
  break(): FileLook {
    const found = this.look();
    if (found.kind === "changed") this.note(found.what, found.state);
    else if (found.kind !== "unsealed") this.#remove(SEAL_SUFFIX);
    return found;
  }

  /** The writer has the database open. */
  opened(): void {
    const facts = this.#facts();
    this.#inode = facts?.inode ?? null;
    this.#bytes = facts?.bytes ?? 0n;
  }

  /** @throws FileChanged when another file has taken the name of the one that is open, or that one was emptied */
  demandSameFile(): void {
    const facts = this.#facts();
    if (facts === null) throw new FileChanged("it was removed while the node had it open");
    if (this.#inode !== null && facts.inode !== this.#inode) {
      throw new FileChanged("another file took its place while the node had it open");
    }
    if (facts.bytes === 0n && this.#bytes > 0n) {
      throw new FileChanged("it was emptied while the node had it open");
    }
    this.#bytes = facts.bytes;
  }

  /** It was found changed; `state`: what it had applied before, if that is known. Durable, if there is room. */
  note(what: string, state: MachineState | null): void {
    try {
      const said = { version: VERSION, what, state: state === null ? null : toJson(state) };
      this.#write(CHANGED_SUFFIX, JSON.stringify(said));
    } catch {
      this.#noteWithoutRoom();
    }
  }

  /** What the file is now is what it shall be. Durable. */
  forget(): void {
    this.#remove(CHANGED_SUFFIX);
    this.#remove(SEAL_SUFFIX);
  }

  /**
   * Closes the database in order and seals the file. Gives why it has no seal, or nothing if it has one.
   * @throws FileChanged when somebody else has written to it, up to this moment
   */
  close(engine: Pick<WriterEngine, "emptyWal" | "look" | "state" | "close">): string {
    this.onStep("empty the WAL");
    const isEmpty = engine.emptyWal();
    this.demandSameFile();
    // From here on each write shows in the file's time, and each commit before it in what the connection sees.
    this.onStep("mark");
    const marked = isEmpty ? this.#mark() : null;
    this.onStep("look");
    engine.look();
    const { state } = engine;
    this.onStep("close");
    engine.close();
    if (marked === null) return "somebody still reads it";
    const { bytes, modifiedNs } = marked;
    const what = this.#difference(String(bytes), String(modifiedNs));
    if (what !== "") throw new FileChanged(what);
    this.onStep("sync the file");
    try {
      syncPath(this.#path);
      const seal = { version: VERSION, bytes: `${bytes}`, modifiedNs: `${modifiedNs}` };
      this.#write(SEAL_SUFFIX, JSON.stringify({ ...seal, state: toJson(state) }));
      return "";
    } catch (error) {
      return error instanceof Error ? error.message : String(error);
    }
  }

  /** A time that no write leaves: those that fall into one tick of the kernel's clock leave the same. */
  #mark(): FileFacts {
    const second = Math.floor(Date.now() / 1_000) - MARK_BEHIND_S;
    try {
      utimesSync(this.#path, second, second + randomInt(MICROSECONDS) / MICROSECONDS);
    } catch {
      // Another user's file: its time is left as the last write made it.
    }
    const facts = this.#facts();
    if (facts === null) throw new FileChanged("it was removed while the node had it open");
    return facts;
  }

  /** What differs, in words; empty: nothing. */
  #difference(bytes: string, modifiedNs: string): string {
    const facts = this.#facts();
    if (facts === null) return "it is gone";
    if (String(facts.bytes) !== bytes) return `it has ${facts.bytes} bytes instead of ${bytes}`;
    for (const suffix of ["-wal", "-journal"]) {
      const size = statSync(this.#path + suffix, { throwIfNoEntry: false })?.size ?? 0;
      if (size > 0) return `${this.#path}${suffix} has ${size} bytes, and the node left none there`;
    }
    if (String(facts.modifiedNs) === modifiedNs) return "";
    return `it was last written at ${time(facts.modifiedNs)}, and not by the node, which left the mark ${time(modifiedNs)}`;
  }

  #facts(): FileFacts | null {
    const found = statSync(this.#path, { bigint: true, throwIfNoEntry: false });
    if (found === undefined) return null;
    return { bytes: found.size, modifiedNs: found.mtimeNs, inode: found.ino };
  }

  #read(suffix: string): string | null {
    try {
      return readFileSync(this.#path + suffix, "utf8");
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === "ENOENT") return null;
      throw error;
    }
  }

  /** Whole or not at all, and durable. @throws the file system's error; then nothing of it is left */
  #write(suffix: string, text: string): void {
    const [path, part] = [this.#path + suffix, `${this.#path}${suffix}.new`];
    try {
      const file = openSync(part, "w");
      try {
        const bytes = Buffer.from(`${text}\n`);
        if (writeSync(file, bytes) !== bytes.length) throw new Error(`no room for ${part}`);
        this.onStep(`sync ${suffix}`);
        fsyncSync(file);
      } finally {
        closeSync(file);
      }
      this.onStep(`name ${suffix}`);
      renameSync(part, path);
      this.onStep(`sync the name of ${suffix}`);
      syncPath(dirname(this.#path));
    } catch (error) {
      rmSync(part, { force: true });
      throw error;
    }
  }

  /** An empty file needs a name alone. */
  #noteWithoutRoom(): void {
    try {
      const { O_CREAT, O_WRONLY } = constants;
      closeSync(openSync(this.#path + CHANGED_SUFFIX, O_CREAT | O_WRONLY));
      syncPath(dirname(this.#path));
    } catch {
      // Nothing can be noted: the seal is still there and says the same, or else this run alone knows.
    }
  }

  #remove(suffix: string): void {
    this.onStep(`remove ${suffix}`);
    for (const end of ["", ".new"]) rmSync(this.#path + suffix + end, { force: true });
    this.onStep(`sync the removal of ${suffix}`);
    syncPath(dirname(this.#path));
  }
}

function syncPath(path: string): void {
  const file = openSync(path, "r");
  try {
    fsyncSync(file);
  } finally {
    closeSync(file);
  }
}

function time(ns: bigint | string): string {
  return new Date(Number(BigInt(ns) / 1_000_000n)).toISOString();
}

function parse(text: string): { readonly [name: string]: unknown } | null {
  try {
    const found: unknown = JSON.parse(text);
    return typeof found === "object" && found !== null ? { ...found } : null;
  } catch {
    return null;
  }
}

/** Whole, as text: nanoseconds are more than a number holds. */
function isNumber(given: unknown): given is string {
  return typeof given === "string" && /^[0-9]{1,20}$/.test(given);
}

function toJson(state: MachineState): object {
  const { configuration, settings, changed: _, ...rest } = state;
  const text = configuration === null ? null : encodeConfiguration(configuration);
  return { ...rest, configuration: text, settings: encodeSettings(settings) };
}

/** null: it cannot be read. */
function toState(given: unknown): MachineState | null {
  try {
    const found = given as {
      readonly [name: string]: number;
    } & { configuration: string | null; settings: string; settled: Verdict | null };
    const { configuration: text, settings, settled } = found;
    const number = (name: string): number => {
      const value = found[name];
      if (Number.isSafeInteger(value) && (value as number) >= 0) return value as number;
      throw new RangeError(name);
    };
    return {
      appliedIndex: number("appliedIndex"),
      appliedTerm: number("appliedTerm"),
      timeMs: number("timeMs"),
      originIndex: number("originIndex"),
      configuration: text === null ? null : decodeConfiguration(text),
      settings: decodeSettings(settings),
      settled,
    };
  } catch {
    return null;
  }
}
