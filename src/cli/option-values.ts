/** Options that name nodes: addresses, lists of them, members with their ids, whole numbers. Resolves no names. */

import { InvalidArgumentError } from "commander";
import { formatAddress, parseAddress } from "../rpc/addresses.ts";
import type { ExtensionOptions } from "../sql/extension.ts";

/** For commander's argParser: what it throws becomes a usage error that names the option. */
export function addressOption(text: string): string {
  const wrong = new InvalidArgumentError(
    `"${text}" is not HOST:PORT, such as 127.0.0.1:4001, or [::1]:4001 for IPv6.`,
  );
  try {
    const address = parseAddress(text.trim());
    if (address.port === 0) throw wrong;
    return formatAddress(address);
  } catch {
    throw wrong;
  }
}

/** `a:1,b:2`. */
export function endpointsOption(text: string): string[] {
  return text.split(",").map(addressOption);
}

/** `1=a:1,2=b:2`: each id from 1, no id and no address twice. */
export function peersOption(text: string): Map<number, string> {
  const peers = new Map<number, string>();
  for (const part of text.split(",")) {
    const [id, address, ...rest] = part.split("=");
    if (id === undefined || address === undefined || rest.length > 0) {
      throw new InvalidArgumentError(`"${part}" is not ID=HOST:PORT, such as 1=127.0.0.1:4001.`);
    }
    const number = idOption(id.trim());
    if (peers.has(number)) throw new InvalidArgumentError(`Node ${number} is named twice.`);
    const checked = addressOption(address);
    if ([...peers.values()].includes(checked)) {
      throw new InvalidArgumentError(`${checked} is given to two nodes.`);
    }
    peers.set(number, checked);
  }
  return peers;
}

/** `1=DIR`, and again for each node: no id and no directory twice. */
export function directoryOption(
  text: string,
  before: ReadonlyMap<number, string> | undefined,
): Map<number, string> {
  const at = text.indexOf("=");
  if (at < 1 || at === text.length - 1) {
    throw new InvalidArgumentError(`"${text}" is not ID=DIR, such as 1=data/node1.`);
  }
  const directories = new Map(before);
  const [id, dir] = [idOption(text.slice(0, at).trim()), text.slice(at + 1)];
  if (directories.has(id)) throw new InvalidArgumentError(`Node ${id} is named twice.`);
  if ([...directories.values()].includes(dir)) {
    throw new InvalidArgumentError(`${dir} is given to two nodes.`);
  }
  return directories.set(id, dir);
}

/**
 * `PATH`, `PATH#deterministic,sha256=HEX,entry=NAME`, and again for each. Several in one text, as a variable has them, are parted
 * by colons, like the directories in PATH.
 */
export function extensionsOption(
  text: string,
  before: readonly ExtensionOptions[] | undefined,
): ExtensionOptions[] {
  return [...(before ?? []), ...text.split(":").map(extensionOption)];
}

function extensionOption(text: string): ExtensionOptions {
  const mark = text.lastIndexOf("#");
  const path = mark < 0 ? text : text.slice(0, mark);
  if (path === "") {
    throw new InvalidArgumentError(`"${text}" names no file, such as /usr/lib/vec0.so.`);
  }
  let found: ExtensionOptions = { path };
  for (const word of mark < 0 ? [] : text.slice(mark + 1).split(",")) {
    const [key, value = ""] = word.split("=", 2);
    if (word === "deterministic") found = { ...found, deterministic: true };
    else if (key === "sha256" && /^[0-9a-f]{64}$/i.test(value)) found = { ...found, sha256: value };
    else if (key === "entry" && /^\w+$/.test(value)) found = { ...found, entry: value };
    else {
      throw new InvalidArgumentError(
        `"${word}" behind the # of an extension is none of deterministic, sha256=HEX (64 digits), entry=NAME.`,
      );
    }
  }
  return found;
}

/** As `extensionsOption` takes it. */
export function formatExtension(extension: ExtensionOptions): string {
  const { path, sha256, entry, deterministic } = extension;
  const words = deterministic === true ? ["deterministic"] : [];
  if (sha256 !== undefined) words.push(`sha256=${sha256}`);
  if (entry !== undefined) words.push(`entry=${entry}`);
  return words.length === 0 ? path : `${path}#${words.join(",")}`;
}

export function idOption(text: string): number {
  return wholeNumber(text, 1, 2 ** 32);
}

/** A whole number within bounds, digits only. */
export function wholeOption(min: number, max: number): (text: string) => number {
  return (text) => wholeNumber(text, min, max);
}

function wholeNumber(text: string, min: number, max: number): number {
  const value = Number(text);
  if (/^[0-9]{1,15}$/.test(text) && value >= min && value <= max) return value;
  throw new InvalidArgumentError(`"${text}" is not a whole number from ${min} to ${max}.`);
}
