/**
 * The set of SQLite's extensions in the words of the hello, and what differs between two sets. Paths are not told: nodes may
 * keep the same file in different places.
 */

import type { Extension } from "../sql/extension.ts";

/** Of what a stranger sends, so much gets into a message. */
const SHOWN_MAX = 64;

/** By name, as extensions are loaded. */
export function tellExtensions(extensions: readonly Extension[]): string[] {
  return extensions.map(({ name, sha256, entry, deterministic }) =>
    [name, sha256, entry ?? "-", deterministic ? "deterministic" : "undeclared"].join(" "),
  );
}

/** What differs, on which side, and the way out; null if nothing does. */
export function extensionConflict(
  mine: readonly string[],
  other: readonly string[],
): string | null {
  const [ours, theirs] = [readSet(mine), readSet(other)];
  const differences: string[] = [];
  for (const name of new Set([...ours.keys(), ...theirs.keys()])) {
    const difference = compare(ours.get(name), theirs.get(name));
    if (difference !== null) differences.push(`${name.slice(0, SHOWN_MAX)} ${difference}`);
  }
  if (differences.length === 0) return null;
  const list = differences.slice(0, 8).join(", ");
  return (
    `its extensions of SQLite are not those of this node: ${list}; ` +
    "start all nodes with the same files, declared alike"
  );
}

interface Told {
  readonly sha256: string;
  readonly entry: string;
  readonly declared: string;
}

function readSet(texts: readonly string[]): Map<string, Told> {
  const set = new Map<string, Told>();
  for (const text of texts) {
    // A file's name may have spaces in it.
    const words = text.split(" ");
    const [sha256 = "", entry = "", declared = ""] = words.slice(-3);
    set.set(words.slice(0, -3).join(" "), { sha256, entry, declared });
  }
  return set;
}

function compare(ours: Told | undefined, theirs: Told | undefined): string | null {
  if (ours === undefined) return "is loaded there and not here";
  if (theirs === undefined) return "is loaded here and not there";
  const differ = (what: string, here: string, there: string) =>
    `${what} (here ${here.slice(0, SHOWN_MAX)}, there ${there.slice(0, SHOWN_MAX)})`;
  if (ours.sha256 !== theirs.sha256) {
    return differ("is another file there, by its SHA-256", ours.sha256, theirs.sha256);
  }
  if (ours.entry !== theirs.entry) {
    return differ("begins with another function there", ours.entry, theirs.entry);
  }
  if (ours.declared === theirs.declared) return null;
  return differ("is declared otherwise there", ours.declared, theirs.declared);
}
