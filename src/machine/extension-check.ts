/**
 * Tries extensions at a node's start in a process of its own, where they may crash or hang: who passes is loaded by the
 * writer and the readers later. Two halves: what the node does, and what the child does.
 */

import type { Logger } from "../node/ports.ts";
import { BalsaError } from "../sql/errors.ts";
import type { Extension, KnownExtension } from "../sql/extension.ts";
import { DEFAULT_LIMITS } from "../sql/limits.ts";
import { ChildChannel } from "./child-channel.ts";
import { ChildProcess } from "./child-process.ts";
import { learnNames } from "./extension-names.ts";
import { type ChildArguments, decodeJson, decodeText, encodeJson } from "./process-messages.ts";

/** The child to its node: which extension comes next; then one of the others. */
const FROM_CHECK = { loading: 1, done: 2, fault: 3 } as const;
/** For one extension, a cold start of the child included. */
const LOAD_MS_MAX = 10_000;

export interface ExtensionCheckParts {
  readonly logger: Logger;
  /** Milliseconds that one may take. Default 10,000. */
  readonly loadMsMax?: number;
  /** Another program instead of the built child, for tests. */
  readonly command?: readonly string[];
}

/** @throws BalsaError INVALID_ARGUMENT that names the extension which cannot be used, and why */
export async function checkExtensions(
  extensions: readonly Extension[],
  parts: ExtensionCheckParts,
): Promise<readonly KnownExtension[]> {
  if (extensions.length === 0) return [];
  const known = await learnInChild(extensions, parts);
  demandDistinct(known);
  for (const { name, path, sha256, deterministic, functions, collations, modules } of known) {
    const facts = { extension: name, path, sha256, deterministic, functions, collations, modules };
    parts.logger.info(facts, "extension loaded");
  }
  return known;
}

/** The one loaded last would win, and nobody would see it. @throws BalsaError INVALID_ARGUMENT that names both */
export function demandDistinct(known: readonly KnownExtension[]): void {
  for (const kind of ["functions", "collations", "modules"] as const) demandOneOwner(known, kind);
}

function demandOneOwner(
  known: readonly KnownExtension[],
  kind: "functions" | "collations" | "modules",
): void {
  const owners = new Map<string, string>();
  for (const { name, [kind]: names } of known) {
    for (const one of names) {
      const other = owners.get(one);
      if (other !== undefined) {
        const what = `${one} is among the ${kind} of both ${other} and ${name}`;
        throw new BalsaError("INVALID_ARGUMENT", `extensions: ${what}; use only one of them`);
      }
      owners.set(one, name);
    }
  }
}

function learnInChild(
  extensions: readonly Extension[],
  { logger, loadMsMax = LOAD_MS_MAX, command }: ExtensionCheckParts,
): Promise<readonly KnownExtension[]> {
  return new Promise((resolve, reject) => {
    const child = new ChildProcess({ logger, ...(command === undefined ? {} : { command }) });
    let loading = "";
    let known: readonly KnownExtension[] | null = null;
    let fault = "";
    const timer = setTimeout(() => child.kill(`it took longer than ${loadMsMax} ms`), loadMsMax);
    const given: ChildArguments = {
      role: "extensions",
      dir: "",
      limits: DEFAULT_LIMITS,
      lockWaitMs: 0,
      walBytesMax: 0,
      extensions: extensions.map((one) => ({ ...one, functions: [], collations: [], modules: [] })),
    };
    child.start();
    child.become(given, {
      frame: (type, _id, payload) => {
        timer.refresh();
        if (type === FROM_CHECK.loading) loading = decodeText(payload);
        else if (type === FROM_CHECK.done) known = decodeJson(payload) as KnownExtension[];
        else fault = decodeText(payload);
      },
      exited: (reason) => {
        clearTimeout(timer);
        if (known !== null) return resolve(known);
        const message = fault || `extension ${loading} cannot be used: ${reason}`;
        reject(new BalsaError("INVALID_ARGUMENT", message));
      },
    });
  });
}

/** The child's half. Never returns. */
export function runExtensionCheck({ extensions }: ChildArguments): never {
  const channel = new ChildChannel(() => undefined);
  try {
    channel.startWatchdog();
    const known = extensions.map((extension) => {
      channel.send(FROM_CHECK.loading, 0, Buffer.from(extension.name));
      channel.flush();
      return learnNames(extension);
    });
    return channel.end(FROM_CHECK.done, 0, encodeJson(known));
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error);
    return channel.end(FROM_CHECK.fault, 0, Buffer.from(message));
  }
}
